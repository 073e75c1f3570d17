"""Choose what becomes memory, and which results one kernel computes.

A *space* is what a kernel iterates over: `grid` rows of `row` elements that are folded together, or free elements. A
result may be computed in a space if, walking from its element (g, r) down to stored values, every fold met is met at
row g and folds exactly that row. A fold met anywhere else is stored itself: it is small, its inputs are not. A scan
along rows that lie side by side is computed by the lanes of a row together, beside what one reader makes of its
elements; any other by a kernel of its own in which each lane walks along the axis. Folds that a scan's kernel reads are
stored. Then results over equal spaces that share an input, or read one another, become one group, unless a third group
lies between them.
"""

from dataclasses import replace
from math import prod

from flame.ir.graph import readers, toposort
from flame.ir.group import (
    Group,
    Space,
    carried,
    columns_of,
    fold_position,
    position,
    row_of,
    scan_of,
    segment_position,
    trailing,
)
from flame.ir.index import side_by_side
from flame.ir.node import Index, Node, memory, var
from flame.ir.op import Kind
from flame.ir.ops.movement import flatten
from flame.ir.target import Target
from flame.passes.merge import LARGEST, merge
from flame.passes.simplify import Scalars

Fit = tuple[Space | None, frozenset[Node]]
FOLDS = (Kind.REDUCE, Kind.SEGMENT)
LARGE = 1 << 20  # elements that no cache holds while a kernel reads them line by line
NEAR = 8  # neighbours that one transaction brings
ALONE = (Kind.CALL, Kind.SCAN)  # what is computed by a kernel or call of its own


def groups(roots: tuple[Node, ...], target: Target, simple: Scalars, fuse: bool = True) -> list[Group]:
    """Groups in an order in which they can be computed. Without `fuse`, every operator is a kernel of its own."""
    order = toposort(roots)
    rank = {n: i for i, n in enumerate(order)}
    walker = Walker(simple, target)
    if fuse:
        stored = _must(roots, order, target) | _cheaper(order)
    else:
        stored = set(order) - {n for n in order if n.op.kind in (Kind.LEAF, Kind.MOVEMENT)} | _must(
            roots, order, target
        )
    spaces: dict[Node, Space | None] = {}
    for n in reversed(order):  # readers first: they say what else must be stored
        if n in stored and n.op.name != "leaf":
            spaces[n], misfits = walker.space(n, stored)
            stored |= misfits
            walker.turned |= walker.across(n, spaces[n], stored)
            stored |= walker.turned
    work = sorted(spaces, key=rank.__getitem__)
    return merge(work, roots, spaces, stored, walker, fuse)


def _must(roots: tuple[Node, ...], order: list[Node], target: Target) -> set[Node]:
    """What has memory in any case: roots, leaves, most scans, and what libraries read and write."""
    keep, read_by = set(roots), readers(order)
    for n in order:
        if n.op.name == "leaf" or (n.op.kind is Kind.SCAN and not _passing(n, read_by[n], target)):
            keep.add(n)
        elif n.op.kind is Kind.CALL:
            keep.update((n, *map(memory, n.src)))
        elif n.op.kind is Kind.SEGMENT:
            keep.update(map(_source, n.src[1:]))  # all elements of a row read where it begins: it is found once
    return keep


def _passing(n: Node, read_by: list[Node], target: Target) -> bool:
    """True if a scan's only reader can compute with its elements where they are made."""
    alone = len(read_by) == 1 and read_by[0].op.kind is Kind.ELEMENTWISE
    return alone and target.max_lanes > 1 and trailing(n)


def _source(n: Node) -> Node:
    """What movements move."""
    while n.op.kind is Kind.MOVEMENT:
        n = n.src[0]
    return n


def _cheaper(order: list[Node]) -> set[Node]:
    """Elementwise values that many read: storing once moves fewer bytes than computing again in each reader."""
    ends: dict[Node, frozenset[Node]] = {}
    read_by = readers(order)
    for n in reversed(order):  # the calls and scans that would need it
        ends[n] = frozenset[Node]().union(*(({r} if r.op.kind in ALONE else ends[r]) for r in read_by[n]))
    keep: set[Node] = set()
    size: dict[Node, frozenset[Node]] = {}
    inputs: dict[Node, frozenset[Node]] = {}
    for n in order:
        if n.op.kind in ALONE:
            size[n], inputs[n] = frozenset(), frozenset()
            continue
        size[n] = frozenset((n,)).union(*(size[s] for s in n.src if s not in keep))
        inputs[n] = frozenset[Node]().union(*(({s} if s in keep or _memory(s) else inputs[s]) for s in n.src))
        if n.op.kind is Kind.ELEMENTWISE:
            read = sum(prod(i.shape) * i.dtype.size for i in inputs[n])
            kernels, own = len(ends[n]) + 1, prod(n.shape) * n.dtype.size
            again = n.shape and kernels > 2 and read + own + kernels * own < kernels * read
            if again or len(size[n]) >= LARGEST:
                keep.add(n)
    return keep


def _memory(n: Node) -> bool:
    return n.op.name == "leaf" or n.op.kind in ALONE


def _crosses(index: Node) -> bool:
    """True if neighbours in memory belong to different rows."""
    rows, elements = ([v for v in toposort([index]) if v.op.name == "var" and v["name"] == name] for name in "gr")
    if not rows or not elements:
        return False
    return side_by_side(index, rows[0], NEAR) and not side_by_side(index, elements[0], NEAR)


class Walker:
    """Walks from an element of a result down to stored values, symbolically; remembers every step it took."""

    def __init__(self, simple: Scalars, target: Target):
        self.simple = simple
        self.lanes, self.carry = target.max_lanes, target.carry
        self.turned: set[Node] = set()  # what has a kernel of its own, which turns it round
        self._moves: dict[object, Index] = {}
        self._positions: dict[object, Index | None] = {}

    def space(self, n: Node, stored: set[Node]) -> Fit:
        """The space in which to compute n, and the folds that must be stored because they do not fit it."""
        if n.op.kind is Kind.CALL:
            return None, frozenset()
        best: Fit | None = None
        for space in self._candidates(n, stored):
            misfits = frozenset(self.walk(n, space, stored - {n})[0])
            if best is None or len(misfits) < len(best[1]):
                best = space, misfits
            if not misfits:
                break
        assert best is not None
        return best

    def _candidates(self, n: Node, stored: set[Node]) -> list[Space]:
        """The rows folded somewhere below n, nearest first; free elements last. A scan has only its own space, a fold
        its own and, where it reads a fold of the same columns, that in which they are read once.
        """
        if n.op.kind is Kind.SCAN:
            return [scan_of(n, self.lanes)]
        if n.op.kind is Kind.SEGMENT:
            return [Space(prod(n.shape))]
        found: dict[Space, None] = {}
        pending, seen = [n], {n}
        for m in pending:
            if m is not n and (m not in stored or n.op.kind is Kind.REDUCE):
                found |= dict.fromkeys(s for s in self._rows(m) if self.at(n, s) is not None)
            if m in stored and m is not n:
                continue
            fresh = [s for s in m.src if s not in seen]
            seen.update(fresh)
            pending.extend(fresh)
        if n.op.kind is Kind.REDUCE:
            mine = columns_of(n, self.lanes)
            return [*(s for s in found if s == mine), row_of(n, self.lanes)]
        return [*found, Space(prod(n.shape))]

    def _rows(self, m: Node) -> list[Space]:
        """The rows that lanes may fold or scan together for m."""
        if m.op.kind is Kind.SCAN:
            return [space] if (space := scan_of(m, self.lanes)).row else []
        if m.op.kind is not Kind.REDUCE:
            return []
        own, columns = row_of(m, self.lanes), columns_of(m, self.lanes)
        return [s for s in (own, columns) if s is not None and s.row]

    def at(self, n: Node, space: Space) -> Index | None:
        """Where in n the element (g, r) of the space lies."""
        key = (n.shape, space, carried(n, space), n.attrs if n.op.kind is Kind.SCAN else None)
        if key not in self._positions:
            found = position(n, space)
            self._positions[key] = found and tuple(map(self.simple, found))
        return self._positions[key]

    def walk(
        self, n: Node, space: Space, stored: set[Node], mine: frozenset[Node] = frozenset()
    ) -> tuple[set[Node], bool]:
        """Folds below n[g, r] that do not fit the space, and whether each of `mine` is met where it is stored."""
        misfits: set[Node] = set()
        aligned = True
        start = self.at(n, space)
        assert start is not None
        pending: list[tuple[Node, Index]] = [(n, start)]
        seen: set[tuple[Node, Index]] = set()
        while pending:
            m, at = pending.pop()
            if (m, at) in seen or m.op.kind is Kind.LEAF:
                continue
            seen.add((m, at))
            if m in mine:
                aligned = aligned and at == self.at(m, space)
            elif m in stored:
                continue
            if m.op.kind in (*FOLDS, Kind.SCAN) and not self._fits(m, at, space, m is n):
                misfits.add(m)
            else:
                pending.extend(self._below(m, at, space))
        return misfits, aligned

    def across(self, n: Node, space: Space | None, stored: set[Node]) -> set[Node]:
        """What a row kernel would read across memory, a line for each element: a tile kernel turns it round first."""
        if self.lanes == 1 or space is None or not space.row or space.behind != 1 or prod(n.shape) != space.size:
            return set()
        start = self.at(n, space)
        assert start is not None
        found: set[Node] = set()
        pending: list[tuple[Node, Index, Node | None]] = [(n, start, None)]
        seen: set[tuple[Node, Index]] = set()
        while pending:
            m, at, turned = pending.pop()
            if (m, at) in seen:
                continue
            seen.add((m, at))
            if m is not n and (m in stored or m.op.kind is Kind.LEAF):
                if turned is not None and prod(m.shape) >= LARGE and _crosses(self.simple(flatten(at, m.shape))):
                    found.add(turned)
                continue
            moves = m.op.kind is Kind.MOVEMENT and m is not n
            pending.extend((s, i, (turned or m) if moves else None) for s, i in self._below(m, at, space))
        return found

    def _fits(self, m: Node, at: Index, space: Space, own: bool) -> bool:
        if m.op.kind is Kind.SCAN:
            return space == scan_of(m, self.lanes) and at == self.at(m, space)
        if space.scan or space.walk:
            return False
        if m.op.kind is Kind.SEGMENT:
            return not space.row and at == self.at(m, space)
        if carried(m, space):
            return own and at == self.at(m, space)
        if space.row:
            same = replace(space, steps=1) in self._rows(m)
        else:
            same = row_of(m, self.lanes).row == 0
        return same and at == self.at(m, space)

    def _below(self, m: Node, at: Index, space: Space) -> list[tuple[Node, Index]]:
        """Which elements of its sources m[at] reads."""
        match m.op.kind:
            case Kind.MOVEMENT:
                return [(m.src[0], self._moved(m, at))]
            case Kind.REDUCE:
                key = (m.src[0].shape, m["axes"], at, space, carried(m, space))
                if key not in self._moves:
                    self._moves[key] = tuple(map(self.simple, fold_position(m, at, space)))
                return [(m.src[0], self._moves[key])]
            case Kind.SEGMENT:
                return [(m.src[0], tuple(map(self.simple, segment_position(m, at)))), (m.src[1], at), (m.src[2], at)]
            case Kind.GATHER:
                return [(m.src[1], at), (m.src[0], self._gathered(m, at))]
            case _:
                return [(s, at) for s in m.src]

    def _moved(self, m: Node, at: Index) -> Index:
        key = (m.op, m.attrs, m.src[0].shape, at)
        if key not in self._moves:
            assert m.op.index is not None
            found = m.op.index(at, m.src[0].shape, **dict(m.attrs))[0]
            self._moves[key] = tuple(map(self.simple, found))
        return self._moves[key]

    def _gathered(self, m: Node, at: Index) -> Index:
        """Where a gather reads is known only when it runs: a variable of its own stands for it."""
        assert m.op.index is not None
        return m.op.index(at, var(f"at{id(m.src[1])}"), m.src[0].shape, **dict(m.attrs))
