"""Diagonals and triangles of matrices, and tensors written into parts of others."""

from typing import Any

from flame.errors import ShapeError
from flame.ir import node as nd
from flame.ir.node import Node, apply
from flame.ops.elementwise import to_dtype, where
from flame.ops.method import axis, method
from flame.ops.shape import movedim, owned_axis, ravel, reshape, unsqueeze
from flame.tensor import Tensor, new

__all__ = [
    "diag",
    "diag_embed",
    "diagflat",
    "diagonal",
    "diagonal_scatter",
    "select_scatter",
    "slice_scatter",
    "trace",
    "tril",
    "triu",
]


# --- diagonals --------------------------------------------------------------------------------------------------------
def _plane(name: str, input: Tensor, dim1: int, dim2: int) -> tuple[int, int]:
    if input.ndim < 2:
        raise ShapeError(f"{name}: needs at least two dimensions, got {input.shape}")
    a, b = axis(name, dim1, input.ndim), axis(name, dim2, input.ndim)
    if a == b:
        raise ShapeError(f"{name}: dims {dim1} and {dim2} are the same of {input.ndim}; name two")
    return a, b


@method
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of the plane of two dimensions as the last dimension; `offset` counts to the right."""
    a, b = _plane("diagonal", input, dim1, dim2)
    plane = movedim(input, (a, b), (-2, -1))
    return new(apply("diagonal", plane.node, offset=int(offset)), input.device, input)


@method
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The last dimension as the diagonal of a square plane of two new dimensions; zeros elsewhere."""
    a, b = owned_axis("diag_embed", dim1, unsqueeze(input, 0)), owned_axis("diag_embed", dim2, unsqueeze(input, 0))
    if a == b or not input.ndim:
        raise ShapeError(f"diag_embed: needs a dimension, and two different dims, got {input.shape}, {dim1}, {dim2}")
    size = input.shape[-1] + abs(offset)
    made = new(
        apply("on_diagonal", input.node, offset=int(offset), rows=size, columns=size, fill=0), input.device, input
    )
    return movedim(made, (-2, -1), (a, b))


@method
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """A vector as the diagonal of a matrix, or the diagonal of a matrix as a vector."""
    if input.ndim == 1:
        return diag_embed(input, diagonal)
    if input.ndim != 2:
        raise ShapeError(f"diag: needs a vector or a matrix, got {input.shape}; use diagonal or diag_embed")
    return _diagonal(input, diagonal)


_diagonal = diagonal


@method
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """All elements as the diagonal of a matrix."""
    return diag_embed(ravel(input), offset)


@method
def trace(input: Tensor) -> Tensor:
    """The sum of the diagonal of a matrix; integers are summed as int64."""
    if input.ndim != 2:
        raise ShapeError(f"trace: needs a matrix, got {input.shape}")
    return _diagonal(input).sum(0)


@method
def fill_diagonal_(self: Tensor, fill_value: float, wrap: bool = False) -> Tensor:
    """Take one value where all indices are equal; with `wrap`, the diagonal of a tall matrix begins again below."""
    s = self.shape
    if self.ndim < 2 or (self.ndim > 2 and len(set(s)) > 1):
        raise ShapeError(f"fill_diagonal_: needs a matrix, or dimensions of one size, got {s}")
    along = [
        new(nd.reshape(apply("iota", n=n), (n,) + (1,) * (self.ndim - 1 - a)), self.device) for a, n in enumerate(s)
    ]
    if wrap and self.ndim == 2 and s[1]:
        hit = (along[0] * s[1] + along[1]).remainder(s[1] + 1).eq(0)
    else:
        hit = along[0].eq(along[1])
        for more in along[2:]:
            hit = hit & along[0].eq(more)
    return self._become(to_dtype(where(hit, fill_value, self), self.dtype), "fill_diagonal_()")


# --- triangles --------------------------------------------------------------------------------------------------------
@method
def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The lower triangle of the last two dimensions; zeros above it."""
    return _triangle("tril", input, diagonal)


@method
def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The upper triangle of the last two dimensions; zeros below it."""
    return _triangle("triu", input, diagonal)


def _triangle(name: str, input: Tensor, diagonal: int) -> Tensor:
    if input.ndim < 2:
        raise ShapeError(f"{name}: needs at least two dimensions, got {input.shape}")
    m, n = input.shape[-2:]
    row = new(nd.reshape(apply("iota", n=m), (m, 1)), input.device)
    column = new(nd.reshape(apply("iota", n=n), (1, n)), input.device)
    keep = column <= row + diagonal if name == "tril" else column >= row + diagonal
    return to_dtype(where(keep, input, 0), input.dtype)


# --- written into a part ----------------------------------------------------------------------------------------------
def _written(name: str, input: Tensor, src: Tensor, part: tuple[int, ...], place: Any) -> Tensor:
    """`input` with `src` where `place` puts it: a movement of nodes that is false where nothing lies."""
    if src.shape != part:
        raise ShapeError(f"{name}: src has shape {src.shape}, the part of {input.shape} has {part}; they must agree")
    same = to_dtype(src, input.dtype)
    inside = place(nd.expand(nd.const(True), part), False)
    return where(new(inside, input.device), new(place(same.node, 0), input.device, same), input)


@method
def slice_scatter(
    input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """`input` with `src` at the positions start, start + step, ... below `end` of one dimension."""
    a = owned_axis("slice_scatter", dim, input)
    if step < 1:
        raise ShapeError(f"slice_scatter: step must be at least 1, got {step}")
    n = input.shape[a]
    lo, hi, _ = slice(start, end, step).indices(n)
    count = len(range(lo, hi, step))
    part = tuple(count if i == a else m for i, m in enumerate(input.shape))
    end = lo + (count - 1) * step + 1 if count else lo

    def place(source: Node, fill: float) -> Node:
        low, high, steps = (
            [v if i == a else w for i in range(input.ndim)] for v, w in ((lo, 0), (n - end, 0), (step, 1))
        )
        return apply("pad", source, low=tuple(low), high=tuple(high), step=tuple(steps), fill=fill)

    return _written("slice_scatter", input, src, part, place)


@method
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """`input` with `src` at one position of one dimension, which `src` lacks."""
    a = owned_axis("select_scatter", dim, input)
    n, part = input.shape[a], (*input.shape[:a], *input.shape[a + 1 :])
    if not -n <= index < n:
        raise ShapeError(f"select_scatter: index {index} is out of range for dim {dim} of {input.shape}")
    if src.shape != part:
        raise ShapeError(f"select_scatter: src has shape {src.shape}, the part of {input.shape} has {part}")
    return slice_scatter(input, reshape(src, (*part[:a], 1, *part[a:])), a, index % n, index % n + 1)


@method
def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """`input` with `src` on the diagonal of the plane of two dimensions."""
    a, b = _plane("diagonal_scatter", input, dim1, dim2)
    plane = movedim(input, (a, b), (-2, -1))
    rows, columns = plane.shape[-2:]
    part = apply("diagonal", plane.node, offset=int(offset)).shape

    def place(source: Node, fill: float) -> Node:
        return apply("on_diagonal", source, offset=int(offset), rows=rows, columns=columns, fill=fill)

    return movedim(_written("diagonal_scatter", plane, src, part, place), (-2, -1), (a, b))
