"""Decompositions, and what is read off them."""

from typing import Any, NamedTuple

from flame.errors import DTypeError, ShapeError
from flame.ir.node import apply
from flame.ir.ops import linalg as rules
from flame.ops.create import full
from flame.ops.elementwise import to_dtype
from flame.ops.shape import transpose
from flame.tensor import Tensor, new

__all__ = [
    "cholesky",
    "det",
    "eigh",
    "eigvalsh",
    "matrix_rank",
    "pinv",
    "qr",
    "slogdet",
    "svd",
    "svdvals",
]


class QR(NamedTuple):
    """Orthonormal columns, and an upper triangular matrix."""

    Q: Tensor
    R: Tensor


class SVD(NamedTuple):
    """Left singular vectors as columns, falling singular values, right singular vectors as rows."""

    U: Tensor
    S: Tensor
    Vh: Tensor


class Eigh(NamedTuple):
    """Rising eigenvalues, and eigenvectors as columns."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class SlogDet(NamedTuple):
    """The sign of a determinant, and the logarithm of its absolute value."""

    sign: Tensor
    logabsdet: Tensor


def performed(name: str, *operands: Tensor, **attrs: Any) -> Tensor:
    """An operator of the host on tensors."""
    return new(apply(name, *(t.node for t in operands), **attrs), operands[0].device, *operands)


def _several(name: str, A: Tensor, shapes: Any, **attrs: Any) -> list[Tensor]:
    """The results of an operator that has several."""
    packed = apply(name, A.node, **attrs)
    return [new(n, A.device, A) for n in rules.parts(packed, shapes)]


def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """The lower triangular L with L Lᵀ = A, of symmetric positive definite matrices, or the upper Lᵀ. (*, n, n).

    Only that triangle is read. Raises LinAlgError, when computed, where a matrix is not positive definite.
    """
    return transpose(performed("cholesky", transpose(A, -1, -2)), -1, -2) if upper else performed("cholesky", A)


def qr(A: Tensor, mode: str = "reduced") -> QR:
    """Q with orthonormal columns and upper triangular R with Q R = A. (*, m, n) → (*, m, k), (*, k, n), k = min(m, n).

    Modes: "reduced"; "complete", with k = m, without gradient for m > n; "r", where Q is empty.
    """
    if mode not in ("reduced", "complete", "r"):
        raise DTypeError(f"qr: mode {mode!r} is none of reduced, complete and r")
    complete = mode == "complete"
    q, r = _several("qr", A, rules.qr_parts(_shape("qr", A), complete), complete=complete)
    return QR(full((0,), 0, dtype=A.dtype, device=A.device), r) if mode == "r" else QR(q, r)


def svd(A: Tensor, full_matrices: bool = True) -> SVD:
    """U, S and Vh with U diag(S) Vh = A. (*, m, n) → (*, m, m), (*, k), (*, n, n), k = min(m, n).

    Without `full_matrices` U is (*, m, k) and Vh (*, k, n). Gradients flow through the first k vectors; they are those
    of functions that do not depend on the vectors' signs, and where singular values are equal, not on their choice.
    """
    return SVD(*_several("svd", A, rules.svd_parts(_shape("svd", A), full_matrices), full=bool(full_matrices)))


def svdvals(A: Tensor) -> Tensor:
    """Falling singular values: (*, m, n) → (*, min(m, n))."""
    return svd(A, full_matrices=False).S


def eigh(A: Tensor, UPLO: str = "L") -> Eigh:
    """Rising eigenvalues and orthonormal eigenvectors of symmetric matrices: (*, n, n) → (*, n), (*, n, n).

    Only the lower triangle is read, or the upper with "U". Gradients as of `svd`.
    """
    if UPLO.upper() not in ("L", "U"):
        raise DTypeError(f"eigh: UPLO {UPLO!r} is neither 'L' nor 'U'")
    upper = UPLO.upper() == "U"
    return Eigh(*_several("eigh", A, rules.eigh_parts(_shape("eigh", A), upper), upper=upper))


def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """Rising eigenvalues of symmetric matrices: (*, n, n) → (*, n)."""
    return eigh(A, UPLO).eigenvalues


def _shape(name: str, A: Tensor) -> tuple[int, ...]:
    if A.ndim < 2:
        raise ShapeError(f"{name}: needs a matrix, or a batch of them, got {A.shape}")
    if name == "eigh" and A.shape[-1] != A.shape[-2]:
        raise ShapeError(f"{name}: needs square matrices, got {A.shape}")
    return A.shape


def det(A: Tensor) -> Tensor:
    """Determinants: (*, n, n) → (*). The gradient exists for singular matrices too, the second one not."""
    made = performed("det", A)
    return made if A.shape[-1] else new(full(A.shape[:-2], 1, dtype=A.dtype, device=A.device).node, A.device, A)


def slogdet(A: Tensor) -> SlogDet:
    """The sign of determinants, and the logarithm of their absolute values, which may leave the dtype's range."""
    if A.ndim > 1 and not A.shape[-1]:
        one, zero = (full(A.shape[:-2], v, dtype=A.dtype, device=A.device) for v in (1, 0))
        return SlogDet(*(new(t.node, A.device, A) for t in (one, zero)))
    sign, logarithm = _several("slogdet", A, [_shape("slogdet", A)[:-2]] * 2)
    return SlogDet(sign, logarithm)


def pinv(A: Tensor, *, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Tensor:
    """The inverse of Moore and Penrose: (*, m, n) → (*, n, m).

    Singular values up to max(atol, rtol · largest) count as 0; rtol is max(m, n) · epsilon unless `atol` is given.
    """
    absolute, relative = tolerances("pinv", A, atol, rtol)
    if hermitian:
        _shape("eigh", A)
    return performed("pinv", A, rtol=relative, atol=absolute)


def tolerances(name: str, A: Tensor, atol: Any, rtol: Any) -> tuple[float, float]:
    _shape(name, A)
    absolute = 0.0 if atol is None else float(atol)
    if rtol is None:
        relative = max(A.shape[-2:]) * A.dtype.epsilon if not absolute and A.dtype.is_float else 0.0
    else:
        relative = float(rtol)
    return absolute, relative


def matrix_rank(A: Tensor, tol: Any = None, *, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Tensor:
    """How many singular values exceed max(atol, rtol · largest), as int64: (*, m, n) → (*)."""
    absolute, relative = tolerances("matrix_rank", A, atol if tol is None else tol, rtol)
    values = (eigvalsh(A).abs() if hermitian else svdvals(A)).detach()
    if not values.shape[-1]:
        return full(A.shape[:-2], 0, device=A.device)
    cutoff = (values.amax(-1, True) * relative).clamp(min=absolute)
    return to_dtype(values > cutoff, full((), 0).dtype).sum(-1)
