"""Tall folds in two stages: what few results would fold alone, many partial results fold first."""

from math import prod

from flame.ir.graph import transform
from flame.ir.node import Node, apply, reshape
from flame.ir.op import Kind
from flame.ir.target import Target

TALL = 1 << 10  # a fold of fewer elements is left alone
LONG = 1 << 17  # a trailing fold of fewer elements stays in its row kernel
ALONE = 1 << 12  # a fold to one number of fewer elements is one block's
ENOUGH = 1 << 19  # elements in flight that keep a GPU busy
BLOCKS = 512  # partial results of each: enough blocks when the fold is carried by a row kernel
NARROW = 2048  # elements of a row up to which several rows share a block
LEAST = 16  # elements that a lane folds in the first stage
FEW = 16  # parts that serve the cores of a CPU


def split(roots: tuple[Node, ...], target: Target) -> tuple[Node, ...]:
    """No fold leaves most of the machine idle."""

    def step(n: Node) -> Node:
        if n.op.kind is not Kind.REDUCE:
            return n
        (a,) = n.src
        axes: tuple[int, ...] = n["axes"]
        row, grid, rank = prod(a.shape[x] for x in axes), prod(n.shape), len(a.shape)
        leading = axes == tuple(range(len(axes)))
        trailing = axes == tuple(range(rank - len(axes), rank))
        if leading and not trailing and row >= TALL and grid < ENOUGH:
            return _leading(n, row, grid, _parts_leading(row, grid, target))
        if trailing and row >= (ALONE if grid == 1 else LONG):
            return _trailing(n, row, grid, _parts_trailing(row, grid, target))
        return n

    return transform(roots, step)


def _parts_leading(row: int, grid: int, target: Target) -> int:
    if target.max_lanes == 1:
        return FEW
    carried = BLOCKS if grid > NARROW else 2 * BLOCKS  # narrow rows share a block
    wanted = carried if grid <= target.carry else -(-ENOUGH // grid)
    return max(1, min(wanted, row // LEAST))


def _parts_trailing(row: int, grid: int, target: Target) -> int:
    if target.max_lanes == 1:
        return 1 if grid >= FEW else FEW
    return max(1, min(1 << 9, (1 << 10) // grid, row // TALL))


def _leading(n: Node, row: int, grid: int, parts: int) -> Node:
    parts, tall = _even(n, reshape(n.src[0], (row, grid)), 0, row, parts)
    if parts == 1:
        return n
    tall = reshape(tall, (parts, tall.shape[0] // parts, grid))
    return reshape(apply(n.op, apply(n.op, tall, axes=(1,)), axes=(0,)), n.shape)


def _trailing(n: Node, row: int, grid: int, parts: int) -> Node:
    if parts == 1:
        return n
    parts, long = _even(n, reshape(n.src[0], (grid, row)), 1, row, parts)
    if parts == 1:
        return n
    long = reshape(long, (grid, parts, long.shape[1] // parts))
    return reshape(apply(n.op, apply(n.op, long, axes=(2,)), axes=(1,)), n.shape)


def _even(n: Node, a: Node, axis: int, row: int, parts: int) -> tuple[int, Node]:
    """About `parts` equal parts: a divisor if one is near, else the neutral value fills the last part."""
    near = next((p for p in range(parts, min(2 * parts, row) + 1) if row % p == 0), None)
    near = near or next((p for p in range(parts, max(1, parts // 2), -1) if row % p == 0), None)
    if near:
        return near, a
    assert n.op.identity is not None
    step = -(-row // parts)
    parts = -(-row // step)
    high = tuple(parts * step - row if x == axis else 0 for x in range(2))
    return parts, apply("pad", a, low=(0, 0), high=high, step=(1, 1), fill=n.op.identity(n.dtype))
