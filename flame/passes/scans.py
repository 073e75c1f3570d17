"""Scans before fusion: what is the same along an axis is walked once; long lines are walked in parts at a time."""

from math import prod

from flame.ir.graph import toposort, transform
from flame.ir.group import trailing
from flame.ir.node import Node, apply, cast, expand, reshape
from flame.ir.op import OPS, Kind
from flame.ir.ops.reduce import neighbour
from flame.ir.target import Target

LONG = 128  # a shorter line is walked by one lane
ROW = 8192  # a shorter line is one block's, where its lanes walk together
ROWS = 1 << 10  # lines of a block that keep a GPU busy
EVEN = 512  # parts of lines are multiples of this many elements, which wide accesses bring
SHORT = 32  # the least steps of a part
BUSY = 1 << 16  # lanes that keep a GPU busy

Axes = frozenset[int]
FOLDS = {o.combine: o for o in OPS.values() if o.kind is Kind.REDUCE}


def scans(roots: tuple[Node, ...], target: Target) -> tuple[Node, ...]:
    """No scan walks equal elements side by side, and none leaves most of the machine idle."""
    made = _all_narrow(roots)
    if target.max_lanes == 1 or not any(n.op.kind is Kind.SCAN for n in toposort(made)):
        return made
    return transform(made, lambda n: _in_parts(n) if n.op.kind is Kind.SCAN else n)


def _in_parts(n: Node) -> Node:
    """Parts of a long line side by side, a scan over what they come to, and a step from that for each element."""
    axis: int = n["axis"]
    size = n.shape[axis]
    steps = _steps(n)
    if steps >= size:
        return n
    parts = -(-size // steps)
    assert n.op.step is not None and n.op.identity is not None
    wide = [_cut(cast(s, s.dtype.register), axis, parts, steps, n.op.identity(s.dtype.register)) for s in n.src]
    attrs = {"axis": axis + 1, "reverse": n["reverse"]}
    inner = n.op.local(*wide, **attrs) if n.op.local else (apply(n.op, *wide, **attrs),)
    if n.op.combine and trailing(n):  # so that nothing but the step reads the parts: one kernel scans and steps
        totals = [apply(FOLDS[n.op.combine], wide[0], axes=(axis + 1,))]
    else:
        totals = [_edge(x, axis + 1, n["reverse"]) for x in inner]
    over = _in_parts(apply(n.op, *totals, axis=axis, reverse=n["reverse"]))
    before = neighbour(over, axis, n["reverse"], n.op.identity(over.dtype))
    shape = inner[0].shape
    carried = expand(reshape(before, (*shape[: axis + 1], 1, *shape[axis + 2 :])), shape)
    whole = reshape(n.op.step(carried, *inner), (*n.shape[:axis], parts * steps, *n.shape[axis + 1 :]))
    start, step = (0,) * len(n.shape), (1,) * len(n.shape)
    return cast(apply("slice", whole, start=start, stop=n.shape, step=step), n.dtype)


def _steps(n: Node) -> int:
    """How many elements of a line one lane, or one block, walks over; all where the lines keep the machine busy."""
    size = n.shape[int(n["axis"])]
    lines = prod(n.shape) // size if size else 0
    if trailing(n):
        even = -(-prod(n.shape) // (ROWS * EVEN)) * EVEN
        return max(ROW, even) if lines and size > ROW and lines < ROWS else size
    return max(SHORT, -(-prod(n.shape) // BUSY)) if lines and size >= LONG and lines * 2 <= BUSY else size


def _cut(a: Node, axis: int, parts: int, steps: int, fill: float) -> Node:
    """The axis as (parts, steps), filled up at its end."""
    rank, more = len(a.shape), parts * steps - a.shape[axis]
    if more:
        high = tuple(more if x == axis else 0 for x in range(rank))
        a = apply("pad", a, low=(0,) * rank, high=high, step=(1,) * rank, fill=fill)
    return reshape(a, (*a.shape[:axis], parts, steps, *a.shape[axis + 1 :]))


def _edge(a: Node, axis: int, first: bool) -> Node:
    """The first or last position of an axis, without the axis."""
    at = 0 if first else a.shape[axis] - 1
    start = tuple(at if x == axis else 0 for x in range(len(a.shape)))
    stop = tuple(at + 1 if x == axis else n for x, n in enumerate(a.shape))
    found = apply("slice", a, start=start, stop=stop, step=(1,) * len(a.shape))
    return reshape(found, a.shape[:axis] + a.shape[axis + 1 :])


def _all_narrow(roots: tuple[Node, ...]) -> tuple[Node, ...]:
    """One lane walks for all that would find the same."""
    same: dict[Node, Axes] = {}

    def step(n: Node) -> Node:
        made = _narrow(n, _common([same[s] for s in n.src])) if n.op.kind is Kind.SCAN else n
        for m in (n, made, *made.src):
            if m not in same:
                same[m] = _level(m, same)
        return made

    return transform(roots, step)


def _narrow(n: Node, level: Axes) -> Node:
    axes = [a for a in level if a != n["axis"] and n.shape[a] > 1]
    if not axes:
        return n
    start, step = (0,) * len(n.shape), (1,) * len(n.shape)
    stop = tuple(1 if a in axes else size for a, size in enumerate(n.shape))
    lines = (apply("slice", s, start=start, stop=stop, step=step) for s in n.src)
    return expand(apply(n.op, *lines, **dict(n.attrs)), n.shape)


def _level(n: Node, same: dict[Node, Axes]) -> Axes:
    """Axes along which a value is known not to change."""
    parts = [same.get(s, Axes()) for s in n.src]
    match n.op.name:
        case "expand":
            lead, shape = len(n.shape) - len(n.src[0].shape), n.src[0].shape
            grown = {a for a in range(len(n.shape)) if a < lead or shape[a - lead] == 1}
            return Axes(grown | {a + lead for a in parts[0]})
        case "permute":
            return Axes(i for i, a in enumerate(n["order"]) if a in parts[0])
        case _ if n.op.kind in (Kind.ELEMENTWISE, Kind.SCAN) and parts:
            walked: set[int] = {n["axis"]} if n.op.kind is Kind.SCAN else set()
            return _common(parts) - walked
        case _:
            return Axes()


def _common(parts: list[Axes]) -> Axes:
    return Axes(a for a in parts[0] if all(a in p for p in parts))
