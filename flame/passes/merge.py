"""Join results into groups: one kernel for results over one space that share inputs or read one another."""

from collections.abc import Iterable
from math import prod
from typing import TYPE_CHECKING

from flame.ir.group import Group, Space, carrying
from flame.ir.node import Node
from flame.ir.op import Kind
from flame.ir.ops.contract import results

if TYPE_CHECKING:
    from flame.passes.fuse import Walker

LARGEST = 256  # operators of one kernel: compilers take more than twice as long for twice as many
MOST = 12  # results of one kernel
WIDEST = 24  # memory operands of one kernel
ENOUGH = 16  # rows that keep a machine busy
SMALL = 1 << 15  # elements that one block computes in no time


def merge(
    work: list[Node],
    roots: tuple[Node, ...],
    spaces: dict[Node, Space | None],
    stored: set[Node],
    walker: "Walker",
    fuse: bool,
) -> list[Group]:
    """Groups of results, in an order in which they can be computed, without results that only their own group reads."""
    below = {n: _below(n, stored) for n in work}
    reads = {n: found for n, (found, _) in below.items()}
    made = _Merging(spaces, reads, {n: inner for n, (_, inner) in below.items()}, stored, walker)
    for n in work:
        made.add(n, fuse)
    return _sorted(_needed(made.groups, roots, reads), reads)


def _below(n: Node, stored: set[Node]) -> tuple[set[Node], set[Node]]:
    """The stored values that n reads, and what is computed from them for it."""
    found: set[Node] = set()
    inner = {n}
    pending = list(n.src)
    while pending:
        m = pending.pop()
        if m in stored:
            found.add(m)
        elif m not in inner:
            inner.add(m)
            pending.extend(m.src)
    return found, inner


class _Merging:
    """The groups made so far, what each touches, and which groups each reads, directly or not (as bits)."""

    def __init__(
        self,
        spaces: dict[Node, Space | None],
        reads: dict[Node, set[Node]],
        inner: dict[Node, set[Node]],
        stored: set[Node],
        walker: "Walker",
    ):
        self.spaces, self.reads, self.inner, self.stored, self.walker = spaces, reads, inner, stored, walker
        self.groups: list[Group] = []
        self.home: dict[Node, int] = {}
        self.touching: dict[Node, set[int]] = {}
        self.inputs: list[set[Node]] = []
        self.content: list[set[Node]] = []  # what each computes
        self.above: list[int] = []

    def add(self, n: Node, fuse: bool) -> None:
        needs = {self.home[m] for m in self.reads[n] if m in self.home}
        space = self.spaces[n]
        for m in results(n) if n.op.kind is Kind.CALL else ():  # one call makes all of them
            if m in self.home:
                self._enter(n, self.home[m], needs, space)
                return
        if fuse and space is not None:
            near = set(needs).union(*(self.touching.get(m, ()) for m in self.reads[n] if _large(m, space)))
            for i in sorted(near):
                between = any(j != i and self.above[j] >> i & 1 for j in needs)
                if not between and (joined := self._join(n, self.groups[i], space, i)):
                    self._enter(n, i, needs, joined)
                    return
        self.groups.append(Group(space, ()))
        self.inputs.append(set())
        self.content.append(set())
        self.above.append(0)
        self._enter(n, len(self.groups) - 1, needs, space)

    def _enter(self, n: Node, i: int, needs: set[int], space: Space | None) -> None:
        self.groups[i] = Group(space, (*self.groups[i].results, n))
        self.home[n] = i
        self.inputs[i] |= self.reads[n]
        self.content[i] |= self.inner[n]
        for m in (n, *self.reads[n]):
            self.touching.setdefault(m, set()).add(i)
        more = 0
        for j in needs - {i}:
            more |= self.above[j] | 1 << j
        if more & ~self.above[i]:
            for k in range(len(self.above)):
                if k == i or self.above[k] >> i & 1:
                    self.above[k] |= more

    def _join(self, n: Node, group: Group, space: Space, i: int) -> Space | None:
        """The space of the group with n in it, or None if n does not belong there."""
        if group.space is None or group.space.scan or space.scan or len(group.results) >= MOST:
            return None
        if not self.walker.turned.isdisjoint((n, *group.results)):
            return None
        if len(self.inputs[i] | self.reads[n]) > WIDEST or len(self.content[i] | self.inner[n]) > LARGEST:
            return None
        wider = carrying(n)
        if wider and wider.row <= self.walker.carry and (group.space.grid, group.space.row) == (wider.grid, wider.row):
            tries = (wider,)
        else:
            tries = tuple(s for s in (group.space, space) if s.size == max(space.size, group.space.size))
        for s in dict.fromkeys(tries):
            if not _busy(s):
                continue
            results = (*group.results, n)
            if not self._shares(n, group, s) or any(self.walker.at(m, s) is None for m in results):
                continue
            mine = frozenset(results)
            others = self.stored - mine
            checks = (self.walker.walk(m, s, others, mine) for m in results)
            if all(not misfits and aligned for misfits, aligned in checks):
                return s
        return None

    def _shares(self, n: Node, group: Group, space: Space) -> bool:
        """True if one kernel saves reading something large again: an input of both, or a result of the group."""
        for m in group.results:
            if m in self.reads[n]:
                return True
            if any(_large(x, space) for x in self.reads[n] & self.reads[m]):
                return True
        return False


def _large(n: Node, space: Space) -> bool:
    """True if reading a value twice would cost what is worth saving."""
    return prod(n.shape) * 8 >= space.size and prod(n.shape) > 1


def _busy(space: Space) -> bool:
    """False where a few long rows would keep most of the machine waiting for what could be computed by all of it."""
    return not space.row or space.grid >= ENOUGH or space.size <= SMALL


def _needed(made: list[Group], roots: tuple[Node, ...], reads: dict[Node, set[Node]]) -> list[Group]:
    """Without the results that only their own group reads: they stay in its registers."""
    wanted = set(roots)
    for g in made:
        mine = set(g.results)
        for n in g.results:
            wanted |= reads[n] - mine
    kept = (Group(g.space, tuple(n for n in g.results if n in wanted)) for g in made)
    return [g for g in kept if g.results]


def _sorted(made: list[Group], reads: dict[Node, set[Node]]) -> list[Group]:
    """In an order in which each group finds what it reads, and little waits for long: the results that nobody reads
    any more come as soon as what they need is there, so that a weight's gradient does not keep its layer's values
    until all the others are computed.
    """
    home = {n: i for i, g in enumerate(made) for n in g.results}
    needs = [{home[m] for n in g.results for m in _reached(n, g, reads) if m in home} - {i} for i, g in enumerate(made)]
    depth: dict[int, int] = {}
    for i in _in_order(range(len(made)), needs):
        depth[i] = 1 + max((depth[j] for j in needs[i]), default=0)
    last = set(range(len(made))).difference(*needs)
    return [made[i] for i in _in_order(sorted(last, key=lambda i: (depth[i], i)), needs)]


def _in_order(goals: Iterable[int], needs: list[set[int]]) -> list[int]:
    """The goals and all they need, each after what it needs; the goals one after the other."""
    done: dict[int, None] = {}
    stack = list(goals)
    stack.reverse()
    while stack:
        i = stack[-1]
        waiting = [] if i in done else [j for j in needs[i] if j not in done]
        if waiting:
            stack.extend(sorted(waiting, reverse=True))
            continue
        stack.pop()
        done.setdefault(i)
    return list(done)


def _reached(n: Node, group: Group, reads: dict[Node, set[Node]]) -> set[Node]:
    """What n reads, also through results of its group that were dropped."""
    found: set[Node] = set()
    pending = [n]
    while pending:
        for m in reads[pending.pop()]:
            if m not in found:
                found.add(m)
                if m in reads and m.op.kind is not Kind.CALL and m not in group.results:
                    pending.append(m)
    return found
