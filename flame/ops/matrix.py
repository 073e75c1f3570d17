"""PyTorch's older names for linear algebra, as functions of flame and methods of Tensor."""

from typing import NamedTuple

from flame.errors import ShapeError
from flame.ops.create import zeros_like
from flame.ops.linalg import decompose, equations
from flame.ops.method import method
from flame.ops.product import matmul
from flame.ops.shape import transpose
from flame.tensor import Tensor

__all__ = [
    "cholesky",
    "cholesky_inverse",
    "cholesky_solve",
    "det",
    "inverse",
    "logdet",
    "matrix_exp",
    "matrix_power",
    "pinverse",
    "qr",
    "slogdet",
    "svd",
]


class Singular(NamedTuple):
    """Left singular vectors, falling singular values, right singular vectors: all vectors as columns."""

    U: Tensor
    S: Tensor
    V: Tensor


@method
def inverse(input: Tensor) -> Tensor:
    """As `linalg.inv`."""
    return equations.inv(input)


@method
def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """As `linalg.pinv`, with rtol = rcond."""
    return decompose.pinv(input, rtol=rcond)


@method
def det(input: Tensor) -> Tensor:
    """As `linalg.det`."""
    return decompose.det(input)


@method
def slogdet(input: Tensor) -> decompose.SlogDet:
    """As `linalg.slogdet`."""
    return decompose.slogdet(input)


@method
def logdet(input: Tensor) -> Tensor:
    """The logarithm of determinants; -inf where one is 0, nan where it is negative."""
    sign, logarithm = decompose.slogdet(input)
    return logarithm + sign.log()


@method
def matrix_power(input: Tensor, n: int) -> Tensor:
    """As `linalg.matrix_power`."""
    return equations.matrix_power(input, n)


@method
def matrix_exp(input: Tensor) -> Tensor:
    """As `linalg.matrix_exp`."""
    return equations.matrix_exp(input)


@method
def cholesky(input: Tensor, upper: bool = False) -> Tensor:
    """As `linalg.cholesky`."""
    return decompose.cholesky(input, upper=upper)


@method
def cholesky_solve(B: Tensor, L: Tensor, upper: bool = False) -> Tensor:
    """X with L Lᵀ X = B, or Lᵀ L X = B with `upper`, for a triangular L: (*, n, k), (*, n, n) → (*, n, k)."""
    if B.ndim < 2:
        raise ShapeError(f"cholesky_solve: B must be (*, n, k), got {B.shape}")
    first, second = (transpose(L, -1, -2), L) if upper else (L, transpose(L, -1, -2))
    between = equations.solve_triangular(first, B, upper=False)
    return equations.solve_triangular(second, between, upper=True)


@method
def cholesky_inverse(L: Tensor, upper: bool = False) -> Tensor:
    """The inverse of L Lᵀ, or of Lᵀ L with `upper`, for a triangular L."""
    root = equations.inv(L.triu() if upper else L.tril())
    return matmul(root, transpose(root, -1, -2)) if upper else matmul(transpose(root, -1, -2), root)


@method
def qr(input: Tensor, some: bool = True) -> decompose.QR:
    """As `linalg.qr`; complete without `some`."""
    return decompose.qr(input, "reduced" if some else "complete")


@method
def svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> Singular:
    """As `linalg.svd`, but with V, not its transpose; all vectors without `some`, zeros without `compute_uv`."""
    u, s, vh = decompose.svd(input, full_matrices=not some or not compute_uv)
    if not compute_uv:
        u, vh = zeros_like(u), zeros_like(vh)
    return Singular(u, s, transpose(vh, -1, -2))
