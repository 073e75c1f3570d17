"""Adaptive pools: bin i of `out` covers positions ⌊i · n / out⌋ to ⌈(i + 1) · n / out⌉ of an axis of n."""

from math import prod
from operator import index
from typing import Any

from flame.errors import DTypeError, ShapeError
from flame.ir import dtype as dt
from flame.ir.node import apply
from flame.ir.ops.reduce import lowest
from flame.nn.functional.pool import check_rank, first_largest, max_pool1d, max_pool2d, max_pool3d, picked
from flame.ops.elementwise import to_dtype, where
from flame.tensor import Tensor, new

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
]

Size = Any  # one integer for all axes, or a sequence of one (or None: as it is) for each
EVEN = {1: max_pool1d, 2: max_pool2d, 3: max_pool3d}


def adaptive_avg_pool1d(input: Tensor, output_size: Size) -> Tensor:
    """The mean of each of `output_size` bins. (N, C, L) or (C, L) → (N, C, output_size).

    Half precisions are summed in float32. Raises ShapeError for negative or too many sizes.

    >>> adaptive_avg_pool1d(flame.tensor([[1.0, 2.0, 6.0]]), 2).numpy().tolist()
    [[1.5, 4.0]]
    """
    return _mean("adaptive_avg_pool1d", 1, input, output_size)


def adaptive_avg_pool2d(input: Tensor, output_size: Size) -> Tensor:
    """The mean of each bin. (N, C, H, W) or (C, H, W) → (N, C, *output_size); None keeps a size.

    >>> adaptive_avg_pool2d(flame.ones(1, 3, 7, 5), (2, None)).shape
    (1, 3, 2, 5)
    """
    return _mean("adaptive_avg_pool2d", 2, input, output_size)


def adaptive_avg_pool3d(input: Tensor, output_size: Size) -> Tensor:
    """The mean of each bin. (N, C, D, H, W) or (C, D, H, W) → (N, C, *output_size); None keeps a size.

    >>> adaptive_avg_pool3d(flame.ones(1, 3, 4, 7, 5), 1).shape
    (1, 3, 1, 1, 1)
    """
    return _mean("adaptive_avg_pool3d", 3, input, output_size)


def adaptive_max_pool1d(input: Tensor, output_size: Size, return_indices: bool = False) -> Any:
    """The largest of each of `output_size` bins, and with return_indices where it lies. (N, C, L) or (C, L) →
    (N, C, output_size).

    Of equal elements the first counts, for the index and for the gradient; nan is largest.

    >>> adaptive_max_pool1d(flame.tensor([[1.0, 6.0, 2.0]]), 2).numpy().tolist()
    [[6.0, 6.0]]
    """
    return _max("adaptive_max_pool1d", 1, input, output_size, return_indices)


def adaptive_max_pool2d(input: Tensor, output_size: Size, return_indices: bool = False) -> Any:
    """The largest of each bin. (N, C, H, W) or (C, H, W) → (N, C, *output_size); None keeps a size.

    With return_indices also where it lies, as a position in the flattened (H, W); int64.

    >>> adaptive_max_pool2d(flame.ones(1, 3, 7, 5), (2, None)).shape
    (1, 3, 2, 5)
    """
    return _max("adaptive_max_pool2d", 2, input, output_size, return_indices)


def adaptive_max_pool3d(input: Tensor, output_size: Size, return_indices: bool = False) -> Any:
    """The largest of each bin. (N, C, D, H, W) or (C, D, H, W) → (N, C, *output_size); None keeps a size.

    With return_indices also where it lies, as a position in the flattened (D, H, W); int64.

    >>> adaptive_max_pool3d(flame.ones(1, 3, 4, 7, 5), 1).shape
    (1, 3, 1, 1, 1)
    """
    return _max("adaptive_max_pool3d", 3, input, output_size, return_indices)


# --- below ------------------------------------------------------------------------------------------------------------
def _sizes(name: str, rank: int, input: Tensor, output_size: Size) -> tuple[int, ...]:
    check_rank(name, rank, input)
    if not input.dtype.is_float:
        raise DTypeError(f"{name}: needs a floating tensor, got {input.dtype}; cast it first, e.g. .float()")
    given = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * rank
    if len(given) != rank:
        raise ShapeError(f"{name}: output_size is {output_size!r}; give one integer, or {rank}: one for each axis")
    try:
        out = tuple(n if m is None else index(m) for m, n in zip(given, input.shape[-rank:], strict=True))
    except TypeError:
        raise DTypeError(f"{name}: output_size is {output_size!r}; sizes are integers or None") from None
    if min(out) < 0 or (0 in input.shape[-rank:] and out != tuple(input.shape[-rank:])):
        raise ShapeError(f"{name}: cannot make {out} bins of {tuple(input.shape[-rank:])}; sizes are 0 or more")
    return out


def _taps(x: Tensor, axis: int, out: int) -> Tensor:
    """All n positions of one axis beside each bin, the positions first: (n, …, out)."""
    ahead = x.movedim(axis, 0)
    return ahead.unsqueeze(-1).expand(*ahead.shape, out)


def _bins(taps: Tensor) -> Tensor:
    """Which of n positions lie in each bin: (n, …, out), the axes between of size 1."""
    n, out = taps.shape[0], taps.shape[-1]
    bins = new(apply("iota", n=out), taps.device)
    place = new(apply("iota", n=n), taps.device).reshape(n, *(1,) * (taps.ndim - 1))
    return (place >= bins * n // max(1, out)) & (place < ((bins + 1) * n + (out - 1)) // max(1, out))


def _mean(name: str, rank: int, input: Tensor, output_size: Size) -> Tensor:
    sizes = _sizes(name, rank, input, output_size)
    x = to_dtype(input, dt.float32) if input.dtype.size == 2 else input
    for a, out in enumerate(sizes, input.ndim - rank):
        x = _mean_along(x, a, out)
    return to_dtype(x, input.dtype)


def _mean_along(x: Tensor, axis: int, out: int) -> Tensor:
    n = x.shape[axis]
    if out == n:
        return x
    if out and n % out == 0:
        return x.unflatten(axis, (out, n // out)).mean(axis + 1)
    taps = _taps(x, axis, out)
    mask = _bins(taps)
    total = where(mask, taps, 0).sum(0)
    return (total / to_dtype(mask.sum(0), x.dtype)).movedim(-1, axis)


def _max(name: str, rank: int, input: Tensor, output_size: Size, return_indices: bool) -> Any:
    sizes, shape = _sizes(name, rank, input, output_size), tuple(input.shape[-rank:])
    if 0 not in sizes and all(n % out == 0 for n, out in zip(shape, sizes, strict=True)):
        kernel = tuple(n // out for n, out in zip(shape, sizes, strict=True))
        return EVEN[rank](input, kernel, return_indices=return_indices)
    value, flat = input, None
    for a in reversed(range(rank)):  # rows of the last axis first: of equal elements the first in memory wins
        axis, step = input.ndim - rank + a, prod(shape[a + 1 :])
        taps, at = _largest(value, axis, sizes[a])
        value, place = picked(taps, at).movedim(-1, axis), at.movedim(-1, axis) * step
        flat = place if flat is None else place + picked(_taps(flat, axis, sizes[a]), at).movedim(-1, axis)
    return (value, flat) if return_indices else value


def _largest(x: Tensor, axis: int, out: int) -> tuple[Tensor, Tensor]:
    """What lies in each bin of one axis, and where its largest value lies: (n, …, out) and (…, out)."""
    taps = _taps(x, axis, out)
    mask = _bins(taps)
    taps = where(mask, taps, lowest(x.dtype))
    return taps, first_largest(taps, mask)
