"""Distances between rows of matrices."""

import numpy as np

from flame.errors import DTypeError, ShapeError
from flame.ops.elementwise import to_dtype
from flame.ops.norm import length
from flame.ops.product import matmul
from flame.ops.reduce import floats, root, widened
from flame.ops.shape import broadcast_shapes, expand, transpose, unsqueeze
from flame.tensor import Tensor, from_array

__all__ = ["cdist", "pairwise_distance", "pdist"]

MODES = ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist")
LARGE = 25  # rows from which on PyTorch, too, forms Euclidean distances by a matrix product


def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str = "use_mm_for_euclid_dist_if_necessary") -> Tensor:
    """The p-norm of the difference of each row of x1 and each of x2: (…, m, d) and (…, n, d) to (…, m, n).

    Euclidean distances of many rows go through a matrix product, |a|² + |b|² − 2ab, which loses digits of small ones;
    `compute_mode` forbids it. Where rows are equal the gradient is 0.
    """
    _check("cdist", p, x1, x2)
    if min(x1.ndim, x2.ndim) < 2 or x1.shape[-1] != x2.shape[-1]:
        raise ShapeError(f"cdist: needs rows of one length, got {x1.shape} and {x2.shape}")
    if compute_mode not in MODES:
        raise DTypeError(f"cdist: compute_mode {compute_mode!r} is none of {', '.join(MODES)}")
    large = max(x1.shape[-2], x2.shape[-2]) > LARGE
    if p == 2 and (compute_mode == MODES[1] or (compute_mode == MODES[0] and large)):
        batch = broadcast_shapes(x1.shape[:-2], x2.shape[:-2])
        a, b = (expand(x, (*batch, *x.shape[-2:])) for x in (x1, x2))
        squares = (a * a).sum(-1, True) + transpose((b * b).sum(-1, True), -1, -2)
        return root((squares - matmul(a, transpose(b, -1, -2)) * 2).clamp(min=0))
    return _length("cdist", unsqueeze(x1, -2) - unsqueeze(x2, -3), p)


def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The p-norm of the difference of every two rows: (n, d) to (n (n - 1) / 2), in order of their numbers."""
    _check("pdist", p, input)
    if input.ndim != 2:
        raise ShapeError(f"pdist: needs a matrix, got {input.shape}")
    first, second = (from_array(i, input.device) for i in np.triu_indices(input.shape[0], 1))
    return _length("pdist", input.index_select(0, first) - input.index_select(0, second), p)


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of x1 − x2 + eps over the last dimension: (*, d), (*, d) → (*), or (*, 1) with `keepdim`."""
    difference = floats("pairwise_distance", x1) - floats("pairwise_distance", x2) + eps
    if not difference.ndim:
        raise ShapeError("pairwise_distance: two 0-d tensors have no dimension to measure along; unsqueeze one")
    found = to_dtype(_length("pairwise_distance", widened(difference), p), difference.dtype)
    return unsqueeze(found, -1) if keepdim else found


def _check(name: str, p: float, *rows: Tensor) -> None:
    for x in rows:
        if not x.dtype.is_float or x.dtype is not rows[0].dtype:
            raise DTypeError(
                f"{name}: needs floating tensors of one dtype, got {', '.join(str(r.dtype) for r in rows)}"
            )
    if p < 0:
        raise ShapeError(f"{name}: p must be at least 0, got {p}")


def _length(name: str, difference: Tensor, p: float) -> Tensor:
    """The p-norm over the last dimension, 0 of none."""
    return length(name, difference, float(p), -1, False) if difference.shape[-1] else difference.sum(-1)
