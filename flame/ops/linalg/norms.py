"""Norms of vectors and matrices, and condition numbers."""

import math
from typing import Any

from flame.errors import DTypeError, IndexingError, ShapeError
from flame.ir.dtype import DType
from flame.ops.elementwise import to_dtype
from flame.ops.linalg.decompose import svdvals
from flame.ops.linalg.equations import inv
from flame.ops.method import axes, axis
from flame.ops.norm import length
from flame.ops.reduce import widened
from flame.ops.shape import movedim, reshape
from flame.tensor import Tensor

__all__ = ["cond", "matrix_norm", "norm", "vector_norm"]


def vector_norm(
    x: Tensor, ord: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """(Σ |x|^ord)^(1/ord) over dimensions, or over all: 0 counts what is not 0, ±inf is the largest or smallest.

    Where the norm is 0 the gradient is 0. Half precisions are computed in float32.
    """
    return _vector_norm("vector_norm", x, ord, dim, keepdim, dtype)


def _vector_norm(name: str, x: Tensor, ord: Any, dim: Any, keepdim: bool, dtype: DType | None) -> Tensor:
    kind = x.dtype if dtype is None else dtype
    if not kind.is_float or not x.dtype.is_float:
        raise DTypeError(f"{name}: needs a floating tensor, got {x.dtype} as {kind}; cast it first, e.g. .float()")
    if isinstance(ord, str):
        raise DTypeError(f"{name}: {ord!r} is a norm of matrices; give a number")
    over = axes(name, dim, x.ndim)
    wide = widened(to_dtype(x, kind))
    if (not math.isfinite(ord) or ord < 0) and any(not x.shape[a] for a in over):
        raise ShapeError(f"{name}: dim {dim} of {x.shape} has no element; there is no norm of order {ord}")
    return to_dtype(length(name, wide, float(ord), list(over) if x.ndim else None, keepdim), kind)


def matrix_norm(
    A: Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """A norm of matrices: "fro", "nuc" (the sum of singular values), ±2 (of these), ±1 (of columns), ±inf (of rows)."""
    return _matrix_norm("matrix_norm", A, ord, dim, keepdim, dtype)


def _matrix_norm(name: str, A: Tensor, ord: Any, dim: Any, keepdim: bool, dtype: DType | None) -> Tensor:
    if not isinstance(dim, (tuple, list)) or len(dim) != 2 or A.ndim < 2:
        raise ShapeError(f"{name}: needs two dims of a tensor that has two, got dim {dim} of {A.shape}")
    a, b = (axis(name, d, A.ndim) for d in dim)
    if a == b:
        raise IndexingError(f"{name}: dim {dim} names one dimension twice")
    if ord == "fro":
        return _vector_norm(name, A, 2, (a, b), keepdim, dtype)
    if ord not in ("nuc", 1, -1, 2, -2, math.inf, -math.inf):
        raise DTypeError(f"{name}: order {ord!r} is none of fro, nuc, 1, -1, 2, -2, inf and -inf")
    wide = A if dtype is None else to_dtype(A, dtype)
    if not wide.dtype.is_float:
        raise DTypeError(f"{name}: needs a floating tensor, got {wide.dtype}; cast it first, e.g. .float()")
    plane = movedim(wide, (a, b), (-2, -1))
    if ord in ("nuc", 2, -2):
        values = svdvals(plane)
        out = values.sum(-1) if ord == "nuc" else values.amax(-1) if ord == 2 else values.amin(-1)
    else:
        sums = plane.abs().sum(-2 if abs(ord) == 1 else -1)
        out = sums.amax(-1) if ord > 0 else sums.amin(-1)
    return reshape(out, [1 if d in (a, b) else n for d, n in enumerate(A.shape)]) if keepdim else out


def norm(A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The 2-norm of all elements; with `ord`, that norm of vectors over one dim, of matrices over two."""
    if ord is None:
        return _vector_norm("norm", A, 2, dim, keepdim, dtype)
    if dim is None and A.ndim not in (1, 2):
        raise ShapeError(f"norm: order {ord!r} without dim needs a vector or a matrix, got {A.shape}")
    if dim is None and A.ndim == 2:
        dim = (0, 1)
    if isinstance(dim, (tuple, list)) and len(dim) == 2:
        return _matrix_norm("norm", A, ord, dim, keepdim, dtype)
    return _vector_norm("norm", A, ord, dim, keepdim, dtype)


def cond(A: Tensor, p: Any = None) -> Tensor:
    """The condition number |A| |A⁻¹| in a norm of matrices; with the singular values for None, 2 and -2."""
    if p is None or p in (2, -2):
        values = svdvals(A)
        first, last = values[..., 0], values[..., -1]
        return last / first if p == -2 else first / last
    return matrix_norm(A, p) * matrix_norm(inv(A), p)
