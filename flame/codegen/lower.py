"""Groups to kernels, by asking each operator for one element.

In a space with rows: loop over the rows; in each, one loop over the row for each *level* of folds (a fold is one
level above the folds its values read); results with an element for each (g, r) are stored in the first loop that can.
In a space of free elements the folds are serial loops inside each element, by level in the same way. In a space of a
scan each element is a serial loop along the axis, which stores what it has at every step; or the lanes of a row walk
along it together, in one loop with the scans in their order.
"""

from collections.abc import Callable, Iterable
from math import prod

from flame.codegen.linear import terms
from flame.ir import node as nd
from flame.ir.dtype import DType
from flame.ir.graph import toposort
from flame.ir.group import Group, Space, carried, fold_position, leading, position, row_number, segment_position
from flame.ir.loop import Fold, Gather, Init, Kernel, Loop, Param, Role, Scan, Statement, Store
from flame.ir.node import Index, Node, apply, cast, const, memory, var
from flame.ir.op import Kind
from flame.ir.ops.contract import results
from flame.ir.ops.index import inside
from flame.ir.ops.movement import flatten
from flame.ir.plan import Call, Launch, Plan, Slot, Step

Simple = Callable[[Node], Node]
Key = tuple[Node, Index, Node | None]  # a node, where, and the condition under which its element exists


def lower(roots: tuple[Node, ...], groups: list[Group], simple: Simple) -> tuple[Plan, tuple[Node, ...]]:
    """The plan, and which node each of its slots is.

    `simple` simplifies an index: two ways to the same element must give one expression.
    """
    leaves = [n for n in toposort(roots) if n.op.name == "leaf"]
    made = [n for g in groups for n in g.results]
    stored = list(dict.fromkeys(leaves + made + [m for n in made if n.op.kind is Kind.CALL for m in results(n)]))
    slot = {n: i for i, n in enumerate(stored)}
    everything = set(stored)
    steps: list[Step] = []
    for g in groups:
        if g.space is None:
            n, (out, *more) = g.results[0], (slot[m] for m in results(g.results[0]))
            inputs = tuple(slot[memory(s)] for s in n.src)
            steps.append(Call(n["routine"], n["spec"], out, inputs, tuple(more)))
        else:
            kernel, reads = _Lowering(g, g.space, everything, simple).kernel()
            steps.append(Launch(kernel, tuple(slot[r] for r in (*reads, *g.results))))
    plan = Plan(
        tuple(Slot(n.shape, n.dtype, n.op.name == "leaf" and n["host"]) for n in stored),
        tuple(slot[n] for n in leaves),
        tuple(steps),
        tuple(slot[r] for r in roots),
    )
    return plan, tuple(stored)


class _Lowering:
    """The state of lowering one group."""

    def __init__(self, group: Group, space: Space, stored: set[Node], simple: Simple):
        self.group, self.space, self.simple = group, space, simple
        self.given = stored - set(group.results)
        self.params: dict[Node, Param] = {}
        self.known: dict[Key, Node] = {}
        self.folds: list[tuple[int, Node, Node, Node]] = []  # level, accumulator, value, the reduction
        self.levels: dict[Node, int] = {}  # of accumulators
        self.bounds: dict[Node, tuple[Node, Node]] = {}  # of accumulators of segments
        self.sums: dict[Node, Node] = {}  # of elements of a row
        self.there = simple(row_number(space) < space.grid)  # as all rows are that a block takes
        self.steps: list[tuple[Node, Node, Node]] = []  # of scans: accumulator, its next value, the scan
        self.scans: list[Scan] = []  # of rows

    def kernel(self) -> tuple[Kernel, list[Node]]:
        stores: list[tuple[Store, int]] = []
        for i, n in enumerate(self.group.results):
            at = position(n, self.space)
            assert at is not None
            at = tuple(map(self.simple, at))
            index = self.simple(flatten(at, n.shape))
            size = self.space.size if (cut := leading(n, self.space)) else prod(n.shape)
            guard = apply("lt", index, const(prod(n.shape))) if cut else None
            stores.append((Store(f"out{i}", index, _unrounded(self.element(n, at, guard)), guard), size))
        outer = self.loops()(stores)
        outs = (Param(f"out{i}", n.dtype, True) for i, n in enumerate(self.group.results))
        name = "_".join(dict.fromkeys(n.op.name for n in self.group.results))[:32]
        return Kernel(name, (*self.params.values(), *outs), (outer,)), list(self.params)

    # --- loops --------------------------------------------------------------------------------------------------------
    def loops(self) -> Callable[[list[tuple[Store, int]]], Loop]:
        """How the space is walked."""
        if self.space.walk:
            return self.scanned_rows
        return self.rows if self.space.row else self.scan if self.space.scan else self.spread

    def rows(self, stores: list[tuple[Store, int]]) -> Loop:
        space = self.space
        r = var("r", extent=space.row)
        full = [s for s, size in stores if size == space.size and space.row > 1]
        carry = [f for f in self.folds if carried(f[3], space)]
        out = [s for (s, _), n in zip(stores, self.group.results, strict=True) if carried(n, space)]
        body: list[Statement] = []
        for level in range(1 + max([f[0] for f in self.folds] + [self.level(s.value) for s in full], default=0)):
            here = [f for f in self.folds if f[0] == level]
            folds = [f for f in here if f not in carry]
            inner: list[Statement] = [_fold(f) for f in here]
            inner += [s for s in full if self.level(s.value) == level]
            body += _inits(folds)
            if inner:
                body.append(Loop(r, space.row, Role.ROW, tuple(inner)))
            body += [Gather(acc, _combine(n)) for _, acc, _, n in folds]
        body += [s for s, _ in stores if s not in full and s not in out]
        if space.steps == 1:
            return Loop(var("g", extent=space.grid), space.grid, Role.GRID, tuple(body))
        k, c, bounds = var("k", extent=space.steps), var("c", extent=space.parts), None
        if space.grid % space.steps:
            bounds = const(0), self.simple(apply("minimum", const(space.grid) - c * space.steps, const(space.steps)))
        around = (
            Loop(r, space.row, Role.ROW, tuple(_inits(carry))),
            Loop(k, space.steps, Role.SERIAL, tuple(body), bounds),
            Loop(r, space.row, Role.ROW, tuple(out)),
        )
        return Loop(c, space.parts, Role.GRID, around)

    def spread(self, stores: list[tuple[Store, int]]) -> Loop:
        body: list[Statement] = []
        for level in range(1 + max((f[0] for f in self.folds), default=-1)):
            here = [f for f in self.folds if f[0] == level]
            body += _inits(here)
            for size, bounds in dict.fromkeys(map(self.walked, here)):
                folds = tuple(_fold(f) for f in here if self.walked(f) == (size, bounds))
                body.append(Loop(var(f"k{size}", extent=size), size, Role.SERIAL, folds, bounds))
        body += [s for s, _ in stores]
        return Loop(var("r", extent=self.space.grid), self.space.grid, Role.SPREAD, tuple(body))

    def walked(self, f: tuple[int, Node, Node, Node]) -> tuple[int, tuple[Node, Node] | None]:
        """How many elements a fold visits at most, and between which bounds."""
        _, acc, _, n = f
        return (n.src[0].shape[n["axis"]] if acc in self.bounds else _folded(n)), self.bounds.get(acc)

    def scan(self, stores: list[tuple[Store, int]]) -> Loop:
        length = self.space.scan
        steps = tuple(Init(acc, following) for acc, following, _ in self.steps)
        walk = Loop(var("k", extent=length), length, Role.SERIAL, (*steps, *(s for s, _ in stores)))
        body = (*(_start(acc, n) for acc, _, n in self.steps), walk)
        return Loop(var("r", extent=self.space.grid), self.space.grid, Role.SPREAD, body)

    def scanned_rows(self, stores: list[tuple[Store, int]]) -> Loop:
        space = self.space
        full = [s for s, size in stores if size == space.size]
        walk = Loop(var("r", extent=space.row), space.row, Role.ROW, (*self.scans, *full))
        body = (*(Init(s.carry, s.neutral) for s in self.scans), walk, *(s for s, _ in stores if s not in full))
        return Loop(var("g", extent=space.grid), space.grid, Role.GRID, body)

    def level(self, value: Node) -> int:
        """0 for what reads no fold; one more than the folds it reads."""
        return max((1 + self.levels[n] for n in toposort([value]) if n in self.levels), default=0)

    # --- elements -----------------------------------------------------------------------------------------------------
    def element(self, n: Node, index: Index, ok: Node | None = None) -> Node:
        """The scalar `n[index]`, if there is one. Iterative: graphs are deeper than Python's stack."""
        root: Key = (n, tuple(map(self.simple, index)), ok)
        stack: list[Key] = [root]
        while stack:
            key = stack[-1]
            missing = [] if key in self.known else [k for k in self.needs(key) if k not in self.known]
            if missing:
                stack.extend(reversed(missing))
                continue
            stack.pop()
            if key not in self.known:
                self.known[key] = self.made(key)
        return self.known[root]

    def needs(self, key: Key) -> list[Key]:
        """The elements of its sources that an element is made of."""
        n, at, ok = key
        if n in self.given:
            return []
        match n.op.kind:
            case Kind.ELEMENTWISE:
                return [(s, at, ok) for s in n.src]
            case Kind.SCAN:  # every element before it exists
                return [(s, at, None) for s in n.src]
            case Kind.MOVEMENT:
                return [self.moved(key)[0]]
            case Kind.REDUCE:  # every element of its row exists, whichever of its readers' elements do
                return [(n.src[0], self.simple_index(fold_position(n, at, self.space)), None)]
            case Kind.SEGMENT:
                return [
                    (n.src[0], self.simple_index(segment_position(n, at)), ok),
                    (n.src[1], at, ok),
                    (n.src[2], at, ok),
                ]
            case Kind.GATHER:
                first: Key = (n.src[1], at, ok)
                return [first, self.gathered(key)] if first in self.known else [first]
            case _:
                return []

    def made(self, key: Key) -> Node:
        n, at, ok = key
        if n in self.given:
            return self.load(n, at, ok)
        parts = [self.known[k] for k in self.needs(key)]
        match n.op.kind:
            case Kind.ELEMENTWISE:
                return apply(n.op, *parts, **dict(n.attrs))
            case Kind.MOVEMENT:
                inside = self.moved(key)[1]
                return parts[0] if inside is None else nd.where(inside, parts[0], const(n["fill"], parts[0].dtype))
            case Kind.REDUCE:
                return self.fold(n, parts[0])
            case Kind.SEGMENT:
                return self.segment(n, *parts)
            case Kind.SCAN:
                return self.scanned(n, *parts) if self.space.walk else self.stepped(n, parts)
            case Kind.GATHER:
                return parts[1]
            case _ if n.op.element is not None:
                return n.op.element(at, **dict(n.attrs))
        raise AssertionError(f"{n} should have been stored or decomposed")

    def moved(self, key: Key) -> tuple[Key, Node | None]:
        """The element a movement reads, and the condition under which there is one."""
        n, at, ok = key
        assert n.op.index is not None
        index, inside = n.op.index(at, n.src[0].shape, **dict(n.attrs))
        inside = None if inside is None else self.simple(inside)
        inside = None if inside is self.there else inside
        both = inside if ok is None else ok if inside is None else ok & inside
        return (n.src[0], self.simple_index(index), both), inside

    def gathered(self, key: Key) -> Key:
        n, at, ok = key
        assert n.op.index is not None
        where = self.known[n.src[1], at, ok]
        return n.src[0], self.simple_index(n.op.index(at, where, n.src[0].shape, **dict(n.attrs))), ok

    def simple_index(self, index: Iterable[Node]) -> Index:
        return tuple(map(self.simple, index))

    def load(self, n: Node, at: Index, ok: Node | None) -> Node:
        host = n.op.name == "leaf" and n["host"]
        param = self.params.setdefault(n, Param(f"a{len(self.params)}", n.dtype, by_value=host))
        if host:
            return apply("load", param=param.name, as_=n.dtype)
        where = (self.simple(flatten(at, n.shape)), *((ok,) if ok is not None else ()))
        return apply("load", *where, param=param.name, as_=n.dtype)

    def segment(self, n: Node, value: Node, begin: Node, end: Node) -> Node:
        """The accumulator of a segment: no bound leaves the axis, whatever its value."""
        size = n.src[0].shape[n["axis"]] + 1
        bounds = self.simple(inside(begin, size)), self.simple(inside(end, size))
        return self.fold(n, value, bounds)

    def fold(self, n: Node, value: Node, bounds: tuple[Node, Node] | None = None) -> Node:
        """The accumulator of a reduction; half precisions are folded in float32."""
        if (apart := self.apart(n, value)) is not None:
            return apart
        acc = var(f"acc{len(self.levels)}", n.dtype.register)
        self.levels[acc] = max(map(self.level, (value, *(bounds or ()))))
        if bounds is not None:
            self.bounds[acc] = bounds
        self.folds.append((self.levels[acc], acc, cast(value, acc.dtype), n))
        return cast(acc, n.dtype)

    def apart(self, n: Node, value: Node) -> Node | None:
        """The sum over a row that needs not wait for the folds it reads: they are factors of sums that do not."""
        if not (self.level(value) and self.space.row and n.op.combine == "add" and value.dtype is n.dtype.register):
            return None
        row = var("r", extent=self.space.row)
        found = None if carried(n, self.space) else terms(value, row, self.level)
        if not found:
            return None
        total: Node | None = None
        for element, factor in found.items():
            if element not in self.sums:
                self.sums[element] = self.fold(n, element)
            total = self.sums[element] * factor if total is None else total + self.sums[element] * factor
        return total

    def stepped(self, n: Node, values: list[Node]) -> Node:
        """The accumulator of a scan; half precisions are accumulated in float32."""
        acc = var(f"acc{len(self.steps)}", n.dtype.register)
        self.steps.append((acc, _stepped(n, acc, [cast(v, acc.dtype) for v in values]), n))
        return cast(acc, n.dtype)

    def scanned(self, n: Node, value: Node) -> Node:
        """The accumulator of a scan whose lanes walk together: elements are folded in any grouping."""
        acc, carry, left, right = (
            var(f"{name}{len(self.scans)}", n.dtype.register) for name in ("acc", "carry", "left", "right")
        )
        both, neutral = _stepped(n, left, [right]), _neutral(n, acc.dtype)
        self.scans.append(Scan(acc, carry, cast(value, acc.dtype), left, right, both, neutral, n["reverse"]))
        return cast(acc, n.dtype)


def _stepped(n: Node, state: Node, values: list[Node]) -> Node:
    assert n.op.step is not None
    return n.op.step(state, *values)


def _neutral(n: Node, dtype: DType) -> Node:
    assert n.op.identity is not None
    return const(n.op.identity(dtype), dtype)


def _unrounded(value: Node) -> Node:
    """A store rounds to its own precision: rounding before it is work done twice."""
    rounds = value.op.name == "cast" and value.dtype.register is not value.dtype
    return value.src[0] if rounds and value.src[0].dtype is value.dtype.register else value


def _combine(n: Node) -> str:
    assert n.op.combine is not None
    return n.op.combine


def _fold(f: tuple[int, Node, Node, Node]) -> Fold:
    return Fold(f[1], _combine(f[3]), f[2])


def _inits(folds: list[tuple[int, Node, Node, Node]]) -> list[Statement]:
    return [_start(acc, n) for _, acc, _, n in folds]


def _start(acc: Node, n: Node) -> Init:
    """What an accumulator is before the first element."""
    return Init(acc, _neutral(n, acc.dtype))


def _folded(n: Node) -> int:
    return prod(n.src[0].shape[a] for a in n["axes"])
