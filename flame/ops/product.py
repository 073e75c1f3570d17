"""Products of vectors and matrices: PyTorch's rules for ranks, one matrix product below."""

from math import prod

from flame.errors import DTypeError, ShapeError
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir.node import Node, apply
from flame.ops.method import method
from flame.tensor import Tensor, new, same_device

__all__ = ["bmm", "dot", "matmul", "mm"]


@method
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """(…, m, k) by (…, k, n) to (…, m, n); leading dimensions broadcast; a 1-d operand is a row on the left, a column
    on the right, and its dimension leaves the result. Half precisions are summed in float32.
    """
    if not isinstance(other, Tensor):
        raise DTypeError(f"matmul: needs two tensors, got {type(other).__name__}")
    device = same_device("matmul", input, other)
    if not input.ndim or not other.ndim:
        raise ShapeError(
            f"matmul: needs at least one dimension each, got {input.shape} and {other.shape}; use * for scalars"
        )
    dtype = dt.promote(input.dtype, other.dtype)
    if dtype is dt.boolean:
        raise DTypeError("matmul: needs numbers, got bool; cast first, e.g. .float()")
    a, b = nd.cast(input.node, dtype), nd.cast(other.node, dtype)
    row, column = len(a.shape) == 1, len(b.shape) == 1
    a = nd.reshape(a, (1, *a.shape)) if row else a
    b = nd.reshape(b, (*b.shape, 1)) if column else b
    out = _product(a, b)
    shape = tuple(n for i, n in enumerate(out.shape) if not (row and i == len(out.shape) - 2))
    shape = shape[:-1] if column else shape
    return new(nd.reshape(out, shape), device, input, other)


def _product(a: Node, b: Node) -> Node:
    """One matrix on the right serves all rows on the left: a single product instead of a batch."""
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            f"matmul: cannot multiply {a.shape} by {b.shape}: inner sizes {a.shape[-1]} and {b.shape[-2]} must agree; "
            "transpose one of them?"
        )
    if len(b.shape) == 2 and len(a.shape) > 2:
        rows = nd.reshape(a, (prod(a.shape[:-1]), a.shape[-1]))
        return nd.reshape(apply("matmul", rows, b), (*a.shape[:-1], b.shape[-1]))
    batch = nd.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return apply("matmul", nd.expand(a, (*batch, *a.shape[-2:])), nd.expand(b, (*batch, *b.shape[-2:])))


@method
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """(m, k) by (k, n) to (m, n)."""
    if input.ndim != 2 or mat2.ndim != 2:
        raise ShapeError(f"mm: needs two matrices, got {input.shape} and {mat2.shape}")
    return matmul(input, mat2)


@method
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """(b, m, k) by (b, k, n) to (b, m, n)."""
    if input.ndim != 3 or mat2.ndim != 3 or input.shape[0] != mat2.shape[0]:
        raise ShapeError(f"bmm: needs two batches of matrices, got {input.shape} and {mat2.shape}")
    return matmul(input, mat2)


@method
def dot(input: Tensor, other: Tensor) -> Tensor:
    """The sum of products of two vectors."""
    if input.ndim != 1 or other.ndim != 1:
        raise ShapeError(f"dot: needs two vectors, got {input.shape} and {other.shape}")
    return matmul(input, other)


def _matmul(self: Tensor, other: Tensor) -> Tensor:
    return matmul(self, other)


Tensor.__matmul__ = _matmul
