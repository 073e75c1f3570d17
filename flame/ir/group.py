"""What one kernel computes: some results over one space."""

from dataclasses import dataclass
from math import prod

from flame.ir.node import Index, Node, const, var
from flame.ir.op import Kind
from flame.ir.ops.movement import unflatten

SIDE_BY_SIDE = 8  # columns whose elements one transaction brings
KEPT = (32, 512)  # rows of columns that a block keeps in registers; fewer are read again from its cache
SERIAL_FROM = 1 << 14  # with this many results, each lane folds its own; with fewer, a block folds each
FREE = 1 << 19  # bytes of results from which lanes that fold their own have enough to read at once
COLUMNS = 256  # unless so few lie side by side that lanes of a block share the rows of a long fold


@dataclass(frozen=True, slots=True)
class Space:
    """`grid` independent items of `row` elements each, folded together; row 0: no fold is shared, elements are free."""

    grid: int
    row: int = 0
    behind: int = 1  # rows that lie side by side, element by element (a fold over a column has many); 0: strewn about
    steps: int = 1  # rows that one block takes one after the other, carrying folds over them in registers
    scan: int = 0  # elements that a lane walks over, one after the other, storing what it has at each
    walk: int = 0  # 1: the lanes of a row tell each element what those before it fold to; -1: those behind it

    @property
    def parts(self) -> int:
        """Blocks that take `steps` rows each, the last one perhaps fewer."""
        return -(-self.grid // self.steps)

    @property
    def size(self) -> int:
        return self.grid * (self.row or self.scan or 1)


@dataclass(frozen=True, slots=True)
class Group:
    """The results of one kernel. A library call is a group of its own, without a space."""

    space: Space | None
    results: tuple[Node, ...]


def row_of(n: Node, lanes: int) -> Space:
    """The space in which a fold is shared by the lanes of a block; `row` 0 when each lane folds its own."""
    space = _row(n)
    narrow = 0 < space.behind <= COLUMNS < space.row
    short = columns_of(n, lanes) is not None and space.grid * n.src[0].dtype.size < FREE
    together = space.behind == 1 or (lanes > 1 and (space.grid < SERIAL_FROM or narrow or short))
    return space if together and space.row > 1 else Space(space.grid)


def columns_of(n: Node, lanes: int) -> Space | None:
    """The space in which a block keeps the columns that a fold reads, for what reads them once more."""
    space = _row(n)
    return space if lanes > 1 and space.behind >= SIDE_BY_SIDE and KEPT[0] <= space.row <= KEPT[1] else None


def _row(n: Node) -> Space:
    axes: tuple[int, ...] = n["axes"]
    shape = n.src[0].shape
    folded = [a for a in axes if shape[a] > 1]
    run = range(min(folded, default=0), max(folded, default=-1) + 1)
    strewn = any(shape[a] > 1 and a not in folded for a in run)
    behind = 0 if strewn else prod(shape[run.stop :])
    return Space(prod(n.shape), prod(shape[a] for a in axes), behind)


def scan_of(n: Node, lanes: int) -> Space:
    """The space of a scan: the lanes of a row share it, or each walks along its axis at one place of all others."""
    length = n.shape[int(n["axis"])]
    if lanes > 1 and trailing(n):
        return Space(prod(n.shape) // length, length, walk=-1 if n["reverse"] else 1)
    return _columns(n)


def trailing(n: Node) -> bool:
    """True if a scan goes along rows that lie side by side, and its step folds what parts of them come to."""
    axis: int = n["axis"]
    return n.op.local is None and n.shape[axis] > 1 and prod(n.shape[axis:]) == n.shape[axis]


def _columns(n: Node) -> Space:
    length = n.shape[int(n["axis"])]
    return Space(prod(n.shape) // length if length else 0, scan=length)


def axis(name: str, extent: int) -> Node:
    return var(name, extent=extent) if extent != 1 else const(0)


def row_number(space: Space) -> Node:
    if space.steps == 1:
        return axis("g", space.grid)
    return axis("c", space.parts) * space.steps + axis("k", space.steps)


def carried(n: Node, space: Space) -> bool:
    """True if n folds each element of the row over the rows that one block takes."""
    if space.steps == 1 or n.op.kind is not Kind.REDUCE or n["axes"] != (1,):
        return False
    return n.src[0].shape == (space.parts, space.steps, space.row)


def carrying(n: Node) -> Space | None:
    """The row space in which the fold n would be carried: that of the rows below what fills the last part up."""
    if n.op.kind is not Kind.REDUCE or n["axes"] != (1,) or len(n.src[0].shape) != 3:
        return None
    parts, steps, row = n.src[0].shape
    whole = n.src[0].src[0] if n.src[0].op.name == "reshape" else n.src[0]
    fills = whole.op.name == "pad" and whole.shape == (parts * steps, row) and whole["fill"] == _neutral(n)
    only_behind = fills and whole["low"] == (0, 0) and whole["high"][1] == 0 and whole["step"] == (1, 1)
    return Space(whole.src[0].shape[0] if only_behind else parts * steps, row, 1, steps)


def _neutral(n: Node) -> object:
    assert n.op.identity is not None
    return n.op.identity(n.dtype)


def position(n: Node, space: Space) -> Index | None:
    """Where in `n` the element (g, r) of the space lies; None if n has another size."""
    size = prod(n.shape)
    if space.scan:
        return _walked(n, space) if n.op.kind is Kind.SCAN and _columns(n) == space else None
    if carried(n, space):
        return unflatten(axis("c", space.parts) * space.row + axis("r", space.row), n.shape)
    if not space.row:
        flat = axis("r", space.grid) if size == space.grid else None
    elif size == space.grid:
        flat = row_number(space)
    elif (size == space.size and space.behind) or leading(n, space):
        g, r, k = row_number(space), axis("r", space.row), space.behind
        flat = g * space.row + r if k == 1 else (g // k * space.row + r) * k + g % k
    else:
        flat = None
    return None if flat is None else unflatten(flat, n.shape)


def leading(n: Node, space: Space) -> bool:
    """True if n is a line of which the rows of a scan are parts, and the last row goes beyond its end."""
    size = prod(n.shape)
    return space.walk != 0 and size in n.shape and space.size - space.row < size < space.size and size > space.grid


def _walked(n: Node, space: Space) -> Index:
    """Where in a scan the lane of place r stands after k steps."""
    at, k = n["axis"], axis("k", space.scan)
    rest = iter(unflatten(axis("r", space.grid), n.shape[:at] + n.shape[at + 1 :]))
    step = const(space.scan - 1) - k if n["reverse"] else k
    return tuple(step if a == at else next(rest) for a in range(len(n.shape)))


def fold_position(m: Node, at: Index, space: Space) -> Index:
    """Where in its source a fold reads, when its own element is `at`."""
    shape, axes = m.src[0].shape, tuple[int, ...](m["axes"])
    extents = tuple(shape[a] for a in axes)
    k = axis("k" if carried(m, space) else "r" if space.row else f"k{prod(extents)}", prod(extents))
    inner, rest = iter(unflatten(k, extents)), iter(at)
    return tuple(next(inner) if a in axes else next(rest) for a in range(len(shape)))


def segment_position(m: Node, at: Index) -> Index:
    """Where a segment's fold, whose own element is `at`, reads its values."""
    here: int = m["axis"]
    count = m.src[0].shape[here]
    return tuple(axis(f"k{count}", count) if a == here else i for a, i in enumerate(at))
