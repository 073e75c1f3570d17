"""Distances between rows; vectors scaled to length 1, and the angle between two."""

from typing import Any

from flame.ir.dtype import promote
from flame.ir.node import broadcast_shapes
from flame.ops import distance
from flame.ops.elementwise import to_dtype
from flame.ops.norm import length
from flame.ops.reduce import floats, sum, widened
from flame.tensor import Tensor

__all__ = ["cosine_similarity", "normalize", "pairwise_distance", "pdist"]


def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The p-norm of the difference of every two rows, in order of their numbers: (n, d) → (n (n - 1) / 2), floating.

    Where two rows are equal the gradient is 0. Raises ShapeError for what is no matrix.

    >>> pdist(flame.tensor([[0.0], [1.0], [3.0]])).numpy().tolist()
    [1.0, 3.0, 2.0]
    """
    return distance.pdist(input, p)


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of x1 − x2 + eps over the last dimension: (*, d), (*, d) → (*), or (*, 1) with `keepdim`; floating.

    Raises ShapeError for two 0-d tensors, DTypeError unless both have one floating dtype.

    >>> round(pairwise_distance(flame.tensor([3.0, 4.0]), flame.tensor([0.0, 0.0])).item(), 4)
    5.0
    """
    return distance.pairwise_distance(x1, x2, p, eps, keepdim)


def normalize(input: Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12) -> Tensor:
    """`input` divided by its p-norm over `dim`, or by `eps` where that is larger.

    >>> import flame
    >>> flame.nn.functional.normalize(flame.tensor([[3.0, 4.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929]]
    """
    wide = widened(floats("normalize", input))
    return input / to_dtype(length("normalize", wide, float(p), dim, True).clamp(min=eps), input.dtype)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between two tensors that broadcast, along `dim`; norms are at least `eps`.

    >>> import flame
    >>> flame.nn.functional.cosine_similarity(flame.tensor([[1.0, 0.0]]), flame.tensor([[0.0, 2.0]])).tolist()
    [0.0]
    """
    shape, dtype = broadcast_shapes(x1.shape, x2.shape), promote(x1.dtype, x2.dtype)
    a, b = (floats("cosine_similarity", to_dtype(x, dtype)).expand(*shape) for x in (x1, x2))
    return sum(_unit(a, dim, eps) * _unit(b, dim, eps), dim)


def _unit(x: Tensor, dim: int, eps: float) -> Tensor:
    """Divided by a norm that is at least eps; the gradient is that of the norm itself, as PyTorch's."""
    size = length("cosine_similarity", widened(x), 2.0, dim, True)
    return x / to_dtype(size + (size.clamp(min=eps) - size).detach(), x.dtype)
