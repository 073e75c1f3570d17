"""Matrices with orthonormal columns, or rows, as parametrizations: the exponential, Cayley and Householder maps."""

from collections.abc import Callable
from typing import Any

from flame.errors import FlameError, ShapeError
from flame.nn.module import Module
from flame.nn.utils.parametrize import register_parametrization
from flame.ops import linalg
from flame.ops.create import eye, zeros
from flame.ops.diagonal import diag_embed, diagonal, tril, triu
from flame.ops.join import cat
from flame.ops.random import randn
from flame.recording import no_grad
from flame.tensor import Tensor

__all__ = ["orthogonal"]


def _skew(x: Tensor) -> Tensor:
    """A skew-symmetric matrix from the lower triangle of a tall one. (…, n, k) → (…, n, n)."""
    low, (n, k) = tril(x), x.shape[-2:]
    if n != k:
        low = cat([low, zeros(*x.shape[:-1], n - k, dtype=x.dtype, device=x.device)], -1)
    return low - low.mT


def _exponential(x: Tensor) -> Tensor:
    """exp of the skew-symmetric matrix."""
    return linalg.matrix_exp(_skew(x))[..., : x.shape[-1]]


def _cayley(x: Tensor) -> Tensor:
    """(I − A/2)⁻¹ (I + A/2) of the skew-symmetric matrix A."""
    half = _skew(x) / 2
    one = eye(x.shape[-2], dtype=x.dtype, device=x.device).expand(half.shape)
    return linalg.solve(one - half, one + half)[..., : x.shape[-1]]


def _householder(x: Tensor) -> Tensor:
    """The product of k reflections, by the columns below the diagonal, which has signs.

    Together they are I − V T Vᵀ, where the inverse of T has 1/τ on its diagonal and VᵀV above it.
    """
    n, k = x.shape[-2:]
    one = eye(n, k, dtype=x.dtype, device=x.device)
    below = tril(x, -1)
    v = below + one
    inverse = triu(v.mT @ v, 1) + diag_embed((1 + (below * below).sum(-2)) / 2)
    product = one - v @ linalg.solve_triangular(inverse, v.mT[..., :k], upper=True)
    signs = diagonal(x, dim1=-2, dim2=-1).detach().trunc()
    return product * signs.unsqueeze(-2)


MAPS: dict[str, Callable[[Tensor], Tensor]] = {
    "matrix_exp": _exponential,
    "cayley": _cayley,
    "householder": _householder,
}


class _Orthogonal(Module):
    """`base @ map(original)`; the base is what the matrix was when it was last assigned."""

    def __init__(self, weight: Tensor, orthogonal_map: str, use_trivialization: bool) -> None:
        super().__init__()
        self.shape = tuple(weight.shape)
        self.orthogonal_map, self.use_trivialization = orthogonal_map, use_trivialization
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, x: Tensor) -> Tensor:
        """(…, m, n) → the same, with orthonormal columns, or rows where m < n."""
        wide = x.shape[-2] < x.shape[-1]
        q = MAPS[self.orthogonal_map](x.mT if wide else x)
        if self.use_trivialization:
            q = self.base @ q
        return q.mT if wide else q

    def right_inverse(self, value: Tensor) -> Tensor:
        """Take a matrix as the base, made orthonormal and square; without one, only what is trained can be given."""
        if tuple(value.shape) != self.shape:
            raise ShapeError(f"orthogonal: the weight has shape {self.shape}, the value {tuple(value.shape)}")
        if not self.use_trivialization:
            return value
        tall = value.mT if value.shape[-2] < value.shape[-1] else value
        n, k = tall.shape[-2:]
        if n != k:
            more = randn(*tall.shape[:-1], n - k, dtype=tall.dtype, device=tall.device)
            self.base = _made_orthonormal(cat([tall, more], -1))
        else:
            self.base = tall.detach() if _is_orthonormal(tall) else _made_orthonormal(tall)
        return -eye(*value.shape[-2:], dtype=value.dtype, device=value.device).expand(value.shape)


def _is_orthonormal(q: Tensor) -> bool:
    n = q.shape[-1]
    off = (q.mT @ q - eye(n, dtype=q.dtype, device=q.device)).abs().max()
    return off.item() <= 10 * n * q.dtype.epsilon


def _made_orthonormal(x: Tensor) -> Tensor:
    """The Q of a QR decomposition whose R has a positive diagonal."""
    q, r = linalg.qr(x)
    return (q * diagonal(r, dim1=-2, dim2=-1).sign().unsqueeze(-2)).detach()


def orthogonal(
    module: Module, name: str = "weight", orthogonal_map: str | None = None, *, use_trivialization: bool = True
) -> Module:
    """Keep a matrix orthonormal while it is trained: its columns, or its rows where it is wide.

    `orthogonal_map` is "matrix_exp" (of square matrices unless told otherwise), "cayley" or "householder" (of others).
    With `use_trivialization` the state has `parametrizations.NAME.0.base`, the matrix as it was (Lezcano-Casado,
    arXiv:1909.09501); without it the weight begins with what the map makes of its numbers. Raises ShapeError for a
    weight that is no matrix, and FlameError for another map, or for "householder" without trivialization.

    >>> layer = flame.nn.utils.parametrizations.orthogonal(flame.nn.Linear(3, 3))
    >>> bool((layer.weight @ layer.weight.T - flame.eye(3)).abs().max() < 1e-5)
    True
    """
    weight: Any = getattr(module, name, None)
    if not isinstance(weight, Tensor) or weight.ndim < 2:
        what = "has no tensor" if not isinstance(weight, Tensor) else f"has shape {tuple(weight.shape)}:"
        raise ShapeError(f"orthogonal: {type(module).__name__} {what} {name!r}; it needs a matrix, or a batch of them")
    chosen = orthogonal_map or ("matrix_exp" if weight.shape[-2] == weight.shape[-1] else "householder")
    if chosen not in MAPS:
        raise FlameError(f"orthogonal: orthogonal_map is {chosen!r}; choose from {', '.join(MAPS)}")
    if chosen == "householder" and not use_trivialization:
        raise FlameError("orthogonal: 'householder' keeps signs that a weight has not; leave use_trivialization=True")
    with no_grad():
        made = _Orthogonal(weight, chosen, use_trivialization)
    return register_parametrization(module, name, made, unsafe=True)
