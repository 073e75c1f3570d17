"""Fractional max pools: windows whose steps vary by chance (Graham, arXiv:1412.6071)."""

from math import prod
from typing import Any

from flame.errors import ShapeError
from flame.ir import dtype as dt
from flame.nn.functional.pool import AXES, check_rank
from flame.ops.create import arange
from flame.ops.elementwise import to_dtype
from flame.ops.join import cat
from flame.ops.random import rand
from flame.ops.window import each
from flame.tensor import Tensor

__all__ = [
    "fractional_max_pool2d",
    "fractional_max_pool3d",
]


def _sizes(name: str, rank: int, input: Tensor, kernel: Any, size: Any, ratio: Any) -> list[tuple[int, int, int]]:
    """(input, output, kernel) of each axis."""
    if (size is None) == (ratio is None):
        raise ShapeError(f"{name}: give output_size or output_ratio, one of them")
    check_rank(name, rank, input)
    have, spans = input.shape[-rank:], each(name, "kernel_size", kernel, rank)
    if size is None:
        shares = (ratio,) * rank if isinstance(ratio, float) else tuple(ratio)
        if len(shares) != rank or not all(0 < share < 1 for share in shares):
            raise ShapeError(f"{name}: output_ratio is {ratio}; it is a number between 0 and 1, or {rank} of them")
        size = [int(n * share) for n, share in zip(have, shares, strict=True)]
    wanted = each(name, "output_size", size, rank)
    if any(o + k - 1 > n for n, o, k in zip(have, wanted, spans, strict=True)):
        raise ShapeError(
            f"{name}: outputs {wanted} of windows {spans} do not fit into {AXES[rank]} = {tuple(have)}; an axis of n "
            "has room for n - kernel + 1 at most"
        )
    return list(zip(have, wanted, spans, strict=True))


def _starts(sample: Tensor, size: int, out: int, kernel: int) -> Tensor:
    """Where the windows begin, (N, C, out); the last one ends with the axis."""
    last = sample.new_full((*sample.shape, 1), size - kernel, dtype=dt.int64)
    if out == 1:
        return last
    step, sample = (size - kernel) / (out - 1), sample.unsqueeze(-1)
    begun = to_dtype((arange(out - 1, device=sample.device) + sample) * step, dt.int64)
    return cat([begun - to_dtype(sample * step, dt.int64), last], -1)


def _pooled(
    name: str, rank: int, input: Tensor, kernel_size: Any, output_size: Any, output_ratio: Any, samples: Tensor | None
) -> tuple[Tensor, Tensor]:
    axes = _sizes(name, rank, input, kernel_size, output_size, output_ratio)
    x = input.unsqueeze(0) if input.ndim == rank + 1 else input
    n, c = x.shape[:2]
    if samples is None:
        samples = rand(n, c, rank, dtype=input.dtype, device=input.device)
    if tuple(samples.shape) != (n, c, rank):
        raise ShapeError(f"{name}: _random_samples has shape {tuple(samples.shape)}, not {(n, c, rank)}")
    order = range(rank) if rank == 3 else reversed(range(rank))  # PyTorch's samples of images begin with the width
    flat: Tensor | None = None
    for axis, chance in enumerate(order):
        size, out, kernel = axes[axis]
        starts = _starts(samples[..., chance], size, out, kernel).unsqueeze(-1)
        shape = [n, c, *[1] * (2 * rank)]
        shape[2 + axis], shape[2 + rank + axis] = out, kernel
        place = (starts + arange(kernel, device=x.device)).reshape(shape)
        flat = place if flat is None else flat * size + place
    assert flat is not None
    outs, taps = [out for _, out, _ in axes], prod(kernel for _, _, kernel in axes)
    flat = flat.reshape(n, c, prod(outs) * taps)
    read = x.reshape(n, c, -1).gather(2, flat).reshape(n, c, *outs, taps)
    value, position = read.max(-1)
    place = flat.reshape(n, c, *outs, taps).gather(-1, position.unsqueeze(-1)).squeeze(-1)
    return (value.squeeze(0), place.squeeze(0)) if x is not input else (value, place)


def fractional_max_pool2d(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """The largest of `output_size` windows, which begin at random. (N, C, H, W) or (C, H, W) → (N, C, H', W').

    The output's size is given, or a share of the input's. `_random_samples` (N, C, 2) in [0, 1) replace the random
    numbers. With return_indices also positions in the flattened (H, W). Raises ShapeError where windows do not fit.

    >>> fractional_max_pool2d(flame.ones(1, 2, 9, 9), 3, output_ratio=0.5).shape
    (1, 2, 4, 4)
    """
    given = (input, kernel_size, output_size, output_ratio, _random_samples)
    found = _pooled("fractional_max_pool2d", 2, *given)
    return found if return_indices else found[0]


def fractional_max_pool3d(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """The largest of `output_size` windows, which begin at random. (N, C, D, H, W) or (C, D, H, W) → the same ranks.

    As `fractional_max_pool2d`; `_random_samples` are (N, C, 3).

    >>> fractional_max_pool3d(flame.ones(1, 2, 6, 6, 6), 2, output_size=(2, 3, 3)).shape
    (1, 2, 2, 3, 3)
    """
    given = (input, kernel_size, output_size, output_ratio, _random_samples)
    found = _pooled("fractional_max_pool3d", 3, *given)
    return found if return_indices else found[0]
