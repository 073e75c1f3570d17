"""Equations, inverses and powers of matrices; torch.linalg's names for some products."""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from flame.errors import DTypeError, ShapeError
from flame.ops.create import eye, full
from flame.ops.diagonal import diagonal as _diagonal
from flame.ops.diagonal import tril, triu
from flame.ops.elementwise import to_dtype
from flame.ops.linalg.decompose import matrix_rank, performed, pinv
from flame.ops.product import chain, crossed, matmul, powers
from flame.ops.shape import broadcast_shapes, expand, movedim, reshape, squeeze, transpose, unsqueeze
from flame.tensor import Tensor

__all__ = [
    "cross",
    "diagonal",
    "inv",
    "lstsq",
    "matrix_exp",
    "matrix_power",
    "multi_dot",
    "solve",
    "solve_triangular",
    "tensorinv",
    "tensorsolve",
    "vander",
    "vecdot",
]


class LeastSquares(NamedTuple):
    """What minimises |A X - B|, the sums of squares that remain, and the ranks."""

    solution: Tensor
    residuals: Tensor
    rank: Tensor
    singular_values: Tensor


def inv(A: Tensor) -> Tensor:
    """The inverse of square matrices: (*, n, n). Raises LinAlgError, when computed, where one is singular."""
    return performed("inv", A)


def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """X with A X = B, or X A = B without `left`. (*, n, n), (*, n, k) → (*, n, k); leading dimensions broadcast.

    B of (n), or with the leading dimensions of A, is a vector for each matrix. Raises LinAlgError, when computed, where
    a matrix is singular.
    """
    return _solved("solve", A, B, left)


def _solved(name: str, A: Tensor, B: Tensor, left: bool) -> Tensor:
    if A.dtype is not B.dtype:
        raise DTypeError(f"{name}: operands are {A.dtype} and {B.dtype}; cast one of them")
    if A.ndim < 2 or A.shape[-1] != A.shape[-2]:
        raise ShapeError(f"{name}: needs square matrices, got {A.shape}")
    vector = name == "solve" and (B.ndim == 1 or (B.ndim == A.ndim - 1 and B.shape == A.shape[:-1]))
    b = unsqueeze(B, -1) if vector else B
    if b.ndim < 2 or A.shape[-1] != b.shape[-2 if left else -1]:
        raise ShapeError(f"{name}: {B.shape} does not fit {A.shape}: the number of equations must agree")
    a, b = (A, b) if left else (transpose(A, -1, -2), transpose(b, -1, -2))
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    out = performed("solve", *(expand(t, (*batch, *t.shape[-2:])) for t in (a, b)))
    out = out if left else transpose(out, -1, -2)
    return squeeze(out, -1) if vector else out


def solve_triangular(A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Tensor:
    """As `solve` for one triangle of A, the other being taken as 0; with `unitriangular` the diagonal as 1."""
    if A.ndim < 2:
        raise ShapeError(f"solve_triangular: needs square matrices, got {A.shape}")
    triangle = triu if upper else tril
    a = triangle(A)
    if unitriangular:
        strict = triangle(A, 1 if upper else -1)
        a = strict + eye(A.shape[-2], A.shape[-1], dtype=A.dtype, device=A.device)
    return _solved("solve_triangular", a, B, left)


def lstsq(A: Tensor, B: Tensor, rcond: float | None = None, *, driver: str | None = None) -> LeastSquares:
    """X that minimises |A X - B|, the shortest one: (*, m, n), (*, m, k) → (*, n, k), by singular values.

    Singular values up to rcond · largest count as 0. `driver` is a LAPACK driver of PyTorch: the solution is the same;
    "gelsy", the default, leaves the residuals empty.
    """
    if driver not in (None, "gels", "gelsy", "gelsd", "gelss"):
        raise DTypeError(f"lstsq: driver {driver!r} is none of gels, gelsy, gelsd and gelss")
    if A.ndim < 2 or B.ndim not in (A.ndim, A.ndim - 1) or A.dtype is not B.dtype:
        raise ShapeError(f"lstsq: {A.dtype} {A.shape} does not fit {B.dtype} {B.shape}")
    vector = B.ndim == A.ndim - 1
    b = unsqueeze(B, -1) if vector else B
    if A.shape[-2] != b.shape[-2]:
        raise ShapeError(f"lstsq: {A.shape} and {B.shape} must have as many rows")
    solution = matmul(pinv(A, rtol=rcond), b)
    nothing = full((0,), 0, dtype=A.dtype, device=A.device)
    residuals = nothing
    if A.shape[-2] > A.shape[-1] and driver in ("gels", "gelsd", "gelss"):
        rest = matmul(A, solution) - b
        residuals = (rest * rest).sum(-2)
    return LeastSquares(squeeze(solution, -1) if vector else solution, residuals, matrix_rank(A, rtol=rcond), nothing)


def matrix_power(A: Tensor, n: int) -> Tensor:
    """A multiplied by itself n times, by repeated squaring; of the inverse for a negative n. (*, k, k)."""
    if A.ndim < 2 or A.shape[-1] != A.shape[-2]:
        raise ShapeError(f"matrix_power: needs square matrices, got {A.shape}")
    base, count, out = inv(A) if n < 0 else A, abs(n), None
    while count:
        if count % 2:
            out = base if out is None else out @ base
        base, count = base @ base if count > 1 else base, count // 2
    return A * 0 + eye(A.shape[-1], dtype=A.dtype, device=A.device) if out is None else out


def matrix_exp(A: Tensor) -> Tensor:
    """Σ Aᵏ / k! of square matrices: (*, n, n); by scaling, a Padé approximant and squaring (Higham, 2005)."""
    return performed("matrix_exp", A)


def tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """The inverse for `tensordot`: the first `ind` dimensions and the others must multiply to one size."""
    if ind < 1 or prod(A.shape[:ind]) != prod(A.shape[ind:]):
        raise ShapeError(f"tensorinv: the first {ind} dimensions of {A.shape} and the others must multiply to one size")
    return reshape(inv(reshape(A, (prod(A.shape[:ind]), -1))), (*A.shape[ind:], *A.shape[:ind]))


def tensorsolve(A: Tensor, B: Tensor, dims: Sequence[int] | None = None) -> Tensor:
    """X with tensordot(A, X, X.ndim) = B; `dims` of A move to the end first."""
    a = A if dims is None else movedim(A, tuple(dims), tuple(range(A.ndim - len(dims), A.ndim)))
    shape = a.shape[B.ndim :]
    if prod(shape) != B.numel() or prod(a.shape[: B.ndim]) != B.numel():
        raise ShapeError(
            f"tensorsolve: {A.shape} does not fit {B.shape}: its dimensions must multiply to {B.numel()} twice"
        )
    return reshape(solve(reshape(a, (B.numel(), -1)), reshape(B, -1)), shape)


# --- products under torch.linalg's names ------------------------------------------------------------------------------
def multi_dot(tensors: Sequence[Tensor]) -> Tensor:
    """The product of several matrices in the order of least work; the first and the last may be vectors."""
    if len(tensors) < 2:
        raise ShapeError(f"multi_dot: needs at least two tensors, got {len(tensors)}")
    return chain("multi_dot", tensors)


def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The cross product along a dimension of size 3; the others broadcast."""
    return crossed("cross", input, other, dim)


def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """Sums of products along a dimension; the others broadcast."""
    if x.dtype is not y.dtype:
        raise DTypeError(f"vecdot: operands are {x.dtype} and {y.dtype}; cast one of them")
    product = x * y
    return to_dtype(product.sum(dim), x.dtype)


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonal of the last two dimensions, unless others are named."""
    return _diagonal(A, offset, dim1, dim2)


def vander(x: Tensor, *, N: int | None = None) -> Tensor:
    """Rising powers of vectors: (*, n) → (*, n, N)."""
    if not x.ndim:
        raise ShapeError("vander: needs a vector, got a 0-d tensor")
    return powers("vander", x, x.shape[-1] if N is None else N, True)
