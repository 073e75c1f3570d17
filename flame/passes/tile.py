"""Transposed operands pass through shared memory: a tile is read along their own axis and written along the result's.

A free element r of a kernel lies at (o, y, m): r = (o * e + y) * s + m. Where a load walks along y, neighbouring lanes,
which hold neighbouring m, would each touch a line of memory of their own. So a block takes a tile of some y and some m:
its lanes first visit the tile with y fastest, and stage what they load; then with m fastest, and read what was staged.
"""

from dataclasses import dataclass, replace
from math import prod

from flame.ir import group
from flame.ir.graph import substitute, toposort, transform
from flame.ir.loop import Kernel, Loop, Param, Role, Stage, Statement, Store, free_stores, scalars
from flame.ir.node import Node, apply, const, var
from flame.ir.plan import Plan, map_kernels
from flame.ir.target import Target
from flame.passes.simplify import Scalars, terms

ELEMENTS = 4096  # of a tile
SHARED = 40 << 10  # bytes of a block's tiles: several blocks share a multiprocessor
STEP = 8  # sides of a tile are multiples of the widest access
SIDE, UNALIGNED = 64, 32  # of a tile along y where y is long: with wide accesses, and without
SLACK = 24  # a part of 1 / SLACK more than there is costs nothing
NARROW = 64  # an axis this short lies in the tile as a whole
CLOSE = 16  # neighbours of m among which those of y are so close that one warp uses up every sector it reads


@dataclass(frozen=True, slots=True)
class Axis:
    """The place (r // stride) % extent of a free element r."""

    stride: int
    extent: int


@dataclass(frozen=True, slots=True)
class Tile:
    """How many elements of o, y and m a block takes; `whole` counts those of each axis that there are."""

    sides: tuple[int, int, int]
    whole: tuple[int, int, int]

    @property
    def blocks(self) -> tuple[int, int, int]:
        o, y, m = (-(-n // side) for n, side in zip(self.whole, self.sides, strict=True))
        return o, y, m

    @property
    def pitch(self) -> int:
        """Places from one y to the next: odd, so that lanes along y meet different banks, as those along m do."""
        return self.sides[2] | 1

    @property
    def places(self) -> int:
        return self.sides[0] * self.sides[1] * self.pitch


def tile(plan: Plan, target: Target, simple: Scalars) -> Plan:
    """No operand that lies across its result is read a line of memory for each element."""
    if target.max_lanes == 1:
        return plan
    return map_kernels(plan, lambda k: tiled(k, simple))


def tiled(kernel: Kernel, simple: Scalars) -> Kernel:
    """The kernel with its transposed loads staged, those that agree on their axis."""
    outer, stores = kernel.outer, free_stores(kernel)
    if not stores:
        return kernel
    across: dict[Axis, list[Node]] = {}
    for n in toposort(v for s in stores for v in scalars(s)):
        if n.op.name == "load" and n.src and (axis := crossing(n.src[0], outer)):
            across.setdefault(axis, []).append(n)
    if not across:
        return kernel
    axis, loads = max(across.items(), key=lambda found: len(found[1]))
    types = {p.name: p for p in kernel.params}
    loads = loads[: max(1, SHARED // (1024 * _place(types[loads[0]["param"]])))]
    widest = max(_place(types[n["param"]]) for n in loads)
    room = min(ELEMENTS, SHARED // (widest * len(loads)))
    return _Tiling(kernel, axis, _sides(axis, outer.extent, room), simple).kernel(loads, stores)


def _place(p: Param) -> int:
    """Bytes of a staged element: halves are staged as the float32 that registers hold."""
    return max(4, p.dtype.register.size)


def crossing(index: Node, outer: Loop) -> Axis | None:
    """The axis along which a load's neighbours lie side by side, if that is not the innermost of its result."""
    found: list[tuple[int, Axis]] = []
    for n, factor in terms(index):
        if n.op.name == "const":
            continue
        axis = axis_of(n, outer)
        if axis is None:
            return None
        found.append((abs(factor), axis))
    if not found:
        return None
    nearest, axis = min(found, key=lambda f: f[0])
    inner = [f for f, a in found if a.stride == 1]
    return axis if inner and axis.stride > CLOSE and nearest < min(inner) and axis.extent > 1 else None


def axis_of(n: Node, outer: Loop) -> Axis | None:
    """The axis of the free elements that an index names, if it names one."""
    r, size, stride, extent = outer.var, outer.extent, 1, 0
    if n.op.name == "remainder" and n.src[1].op.name == "const":
        n, extent = n.src[0], n.src[1]["value"]
    if n.op.name == "floor_divide" and n.src[1].op.name == "const":
        n, stride = n.src[0], n.src[1]["value"]
    if n is not r or size % stride or (extent and (size // stride) % extent):
        return None
    return Axis(stride, extent or size // stride)


def _sides(axis: Axis, size: int, room: int) -> Tile:
    """The tile: short axes as a whole, long ones in parts that fit them well."""
    s, e = axis.stride, axis.extent
    whole = (size // (s * e), e, s)
    if s * e <= room:
        side = max(d for d in range(1, room // (s * e) + 1) if whole[0] % d == 0)
        return Tile((side, e, s), whole)
    if s <= NARROW:
        return Tile((1, _part(e, room // s), s), whole)
    if e <= NARROW:
        return Tile((1, e, _part(s, room // e)), whole)
    y = _part(e, UNALIGNED if e % 2 or s % 2 else SIDE)
    return Tile((1, y, _part(s, room // y)), whole)


def _part(n: int, most: int) -> int:
    """At most so many elements of n at a time: in equal parts if any are not small, else in parts that leave little."""
    if n <= most:
        return n
    sides = range(max(STEP, most // 2 // STEP * STEP), most + 1, STEP)
    return min(reversed(sides), key=lambda side: -(-n // side) * side // (n // SLACK + 1))


class _Tiling:
    """The state of tiling one kernel."""

    def __init__(self, kernel: Kernel, axis: Axis, made: Tile, simple: Scalars):
        self.old, self.tile, self.simple = kernel, made, simple
        self.axes = tuple(group.axis(name, n) for name, n in zip(("o", "y", "m"), made.whole, strict=True))
        o, y, m = self.axes
        self.flat = simple((o * axis.extent + y) * axis.stride + m)
        _, ny, nm = made.blocks
        self.blocks = made.blocks[0] * ny * nm
        g = var("g", extent=self.blocks)
        self.first = [g // (ny * nm) * made.sides[0], g // nm % ny * made.sides[1], g % nm * made.sides[2]]

    def kernel(self, loads: list[Node], stores: list[Store]) -> Kernel:
        extent = prod(self.tile.sides)
        _, ty, tm = self.tile.sides
        p, q = var("p", extent=extent), var("q", extent=extent)
        early = (p // (ty * tm), p % ty, p // ty % tm)
        late = (q // (ty * tm), q // tm % ty, q % tm)
        staged: list[Statement] = []
        known: dict[Node, Node] = {}
        for i, n in enumerate(loads):
            staged.append(Stage(f"tile{i}", self.tile.places, self.place(early), self.at(n, early)))
            known[n] = apply("load", self.place(late), param=f"tile{i}", as_=n.dtype)
        written = [self.store(s, late, known) for s in stores]
        body = (Loop(p, extent, Role.ROW, tuple(staged)), Loop(q, extent, Role.ROW, tuple(written)))
        outer = Loop(var("g", extent=self.blocks), self.blocks, Role.GRID, body)
        return replace(self.old, body=(outer,))

    def place(self, local: tuple[Node, Node, Node]) -> Node:
        o, y, m = local
        return self.simple((o * self.tile.sides[1] + y) * self.tile.pitch + m)

    def store(self, s: Store, local: tuple[Node, Node, Node], known: dict[Node, Node]) -> Store:
        names = {n: var(f"staged{i}", n.dtype) for i, n in enumerate(known)}  # what is staged is already in its place
        value = self.at(substitute((s.value,), names)[0], local)
        value = substitute((value,), {names[n]: place for n, place in known.items()})[0]
        return Store(s.param, self.at(s.index, local), value, self.guard(local))

    def at(self, n: Node, local: tuple[Node, Node, Node]) -> Node:
        """An expression of r at a place in the tile: first by axes, whose extents are known, then where they lie."""
        by_axes = self.simple(substitute((n,), {self.old.outer.var: self.flat})[0])
        here = {a: first + i for a, first, i in zip(self.axes, self.first, local, strict=True) if a.op.name == "var"}
        made = self.simple(substitute((by_axes,), here)[0])
        guard = self.guard(local)
        return made if guard is None else _guarded(made, guard)

    def guard(self, local: tuple[Node, Node, Node]) -> Node | None:
        """Whether a place of the tile is one of the result."""
        found: Node | None = None
        for first, i, side, n in zip(self.first, local, self.tile.sides, self.tile.whole, strict=True):
            if n % side:
                inside = self.simple(first + i < const(n))
                found = inside if found is None else found & inside
        return found


def _guarded(root: Node, guard: Node) -> Node:
    """No load beyond the edge."""

    def step(n: Node) -> Node:
        if n.op.name != "load" or not n.src:
            return n
        return apply("load", n.src[0], *(n.src[1:] or ()), guard, param=n["param"], as_=n.dtype)

    return transform((root,), step)[0]
