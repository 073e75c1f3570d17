"""Pools: the largest, the mean or the p-norm of the windows over the last axes.

Windows are views: a pool reads its input once, and no scatter is in its gradient. An input without its batch
dimension, (C, …), gives a result without one.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

from flame.errors import FlameError, ShapeError
from flame.ir import dtype as dt
from flame.ir.dtype import DType
from flame.ir.node import apply
from flame.ir.ops.reduce import lowest
from flame.ops.elementwise import to_dtype, where
from flame.ops.math import sign
from flame.ops.shape import padded
from flame.ops.window import each, windows
from flame.tensor import Tensor, new

__all__ = [
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
]

Size = Any  # one integer for all axes, or a sequence of one for each
AXES = {1: "L", 2: "H, W", 3: "D, H, W"}


@dataclass(frozen=True)
class Windows:
    """The windows over the last axes of an input; `out` of them fit each axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    size: tuple[int, ...]
    out: tuple[int, ...]

    @property
    def ends(self) -> tuple[int, ...]:
        """How far the last window of each axis reaches beyond the input, if it does."""
        sides = zip(self.kernel, self.stride, self.padding, self.dilation, self.size, self.out, strict=True)
        return tuple(max(0, (o - 1) * s + (k - 1) * d + 1 - n - p) for k, s, p, d, n, o in sides)

    def of(self, input: Tensor, fill: float) -> Tensor:
        """(…, *size) to (*kernel, …, *out); `fill` stands around the input."""
        first = input.ndim - len(self.size)
        if any((*self.padding, *self.ends)):
            input = padded(input, [0] * first + [*self.padding], [0] * first + [*self.ends], fill)
        return new(windows(input.node, self.kernel, self.stride, self.dilation), input.device, input)

    def starts(self, like: Tensor, axis: int) -> Tensor:
        """Where each window begins along one axis; (out,)."""
        return new(apply("iota", n=self.out[axis]), like.device) * self.stride[axis] - self.padding[axis]

    def places(self, like: Tensor, axis: int) -> Tensor:
        """Which position of one axis each tap reads: (*kernel, *out), all but two of them of size 1."""
        rank = len(self.size)
        taps = new(apply("iota", n=self.kernel[axis]), like.device) * self.dilation[axis]
        place = taps.unsqueeze(-1) + self.starts(like, axis)
        return place.reshape(*(n if a % rank == axis else 1 for a, n in enumerate((*self.kernel, *self.out))))


def check_rank(name: str, rank: int, input: Tensor) -> None:
    if input.ndim not in (rank + 1, rank + 2):
        raise ShapeError(f"{name}: needs (N, C, {AXES[rank]}) or (C, {AXES[rank]}), got shape {tuple(input.shape)}")
    if input.dtype is dt.boolean:
        raise FlameError(f"{name}: needs numbers, got bool; cast first, e.g. .float()")


def layout(
    name: str, rank: int, input: Tensor, kernel_size: Size, stride: Size, padding: Size, dilation: Size, ceil_mode: bool
) -> Windows:
    """The windows, checked; raises ShapeError where there are none."""
    check_rank(name, rank, input)
    kernel, apart = each(name, "kernel_size", kernel_size, rank), each(name, "dilation", dilation, rank)
    by = kernel if stride is None or stride in ((), []) else each(name, "stride", stride, rank)
    pad = each(name, "padding", padding, rank, 0)
    size = tuple(input.shape[-rank:])
    spans = tuple((k - 1) * d + 1 for k, d in zip(kernel, apart, strict=True))
    if any(2 * p > span for p, span in zip(pad, spans, strict=True)):
        raise ShapeError(f"{name}: padding {pad} must be at most half of the kernel, which reaches over {spans}")
    out: list[int] = []
    for n, span, s, p in zip(size, spans, by, pad, strict=True):
        count = (n + 2 * p - span + (s - 1 if ceil_mode else 0)) // s + 1
        out.append(count - (ceil_mode and (count - 1) * s >= n + p))  # no window begins behind the input
    if min(out) < 1:
        raise ShapeError(f"{name}: windows of {spans} do not fit into {size} with padding {pad}; use a smaller kernel")
    return Windows(kernel, by, pad, apart, size, tuple(out))


# --- the largest ------------------------------------------------------------------------------------------------------
def first_largest(taps: Tensor, inside: Tensor | None, dtype: DType = dt.int64) -> Tensor:
    """Where along the first axis the largest value lies, the first of equal ones; only `inside` counts.

    Where the values are computed again for the comparison, the largest need not be there bit by bit: then what
    rounding explains is taken.
    """
    values = taps.detach()
    values = to_dtype(values, dt.float32) if values.dtype.is_float and values.dtype.size == 2 else values
    best = values.amax(0)
    hit = values >= best
    near = hit
    if values.dtype.is_float:
        hit = hit | values.isnan()
        near = values >= best - best.abs() * (4 * values.dtype.epsilon)
    if inside is not None:
        hit, near = hit & inside, near & inside
    n, place = taps.shape[0], to_dtype(_numbers(taps), dtype)
    return where(hit, place, where(near, place + n, 2 * n - 1)).amin(0) % n


def picked(taps: Tensor, position: Tensor) -> Tensor:
    """The element of the first axis at each position; it alone gets the gradient."""
    return to_dtype(where(_numbers(taps).eq(position), taps, 0).sum(0), taps.dtype)


def _numbers(taps: Tensor) -> Tensor:
    """0, 1, … along the first axis."""
    return new(apply("iota", n=taps.shape[0]), taps.device).reshape(-1, *(1,) * (taps.ndim - 1))


def _max(
    name: str,
    rank: int,
    input: Tensor,
    kernel_size: Size,
    stride: Size,
    padding: Size,
    dilation: Size,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    w = layout(name, rank, input, kernel_size, stride, padding, dilation, ceil_mode)
    every = w.of(input, lowest(input.dtype))
    taps = every.reshape(prod(w.kernel), *every.shape[rank:])
    if not (taps.requires_grad or return_indices):
        return taps.amax(0)
    inside: Tensor | None = None
    for axis, (before, behind) in enumerate(zip(w.padding, w.ends, strict=True)):
        if before or behind:
            place = w.places(input, axis)
            here = (place >= 0) & (place < w.size[axis])
            inside = here if inside is None else inside & here
    if inside is not None:
        inside = inside.expand(*w.kernel, *w.out).reshape(prod(w.kernel), *(1,) * (input.ndim - rank), *w.out)
    position = first_largest(taps, inside, dt.int32)
    value = picked(taps, position) if taps.requires_grad else taps.amax(0)
    return (value, _flat(w, input, position.long())) if return_indices else value


def _flat(w: Windows, input: Tensor, position: Tensor) -> Tensor:
    """The tap of each window as a flat position in the last axes of the input."""
    flat: Tensor | None = None
    for axis, (k, n) in enumerate(zip(w.kernel, w.size, strict=True)):
        tap = position // prod(w.kernel[axis + 1 :]) % k
        starts = w.starts(input, axis).reshape(-1, *(1,) * (len(w.size) - axis - 1))
        place = starts + tap * w.dilation[axis]
        flat = place if flat is None else flat * n + place
    assert flat is not None
    return flat


def max_pool1d(
    input: Tensor,
    kernel_size: Size,
    stride: Size = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest of each window. (N, C, L) or (C, L) → (N, C, L'), or with return_indices also where it lies, int64.

    L' = (L + 2 · padding − dilation · (kernel_size − 1) − 1) // stride + 1, rounded up with ceil_mode; stride is
    kernel_size unless given. Of equal elements the first counts, for the index and for the gradient; nan is largest.
    Raises ShapeError where no window fits, or padding is more than half of the kernel.

    >>> max_pool1d(flame.tensor([[1.0, 3.0, 2.0, 0.0]]), 2).numpy().tolist()
    [[3.0, 2.0]]
    """
    return _max("max_pool1d", 1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    input: Tensor,
    kernel_size: Size,
    stride: Size = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest of each window. (N, C, H, W) or (C, H, W) → (N, C, H', W'); each axis as in `max_pool1d`.

    With return_indices also where it lies, as a position in the flattened (H, W).

    >>> max_pool2d(flame.arange(16).reshape(1, 4, 4).float(), 2, return_indices=True)[1].numpy().tolist()
    [[[5, 7], [13, 15]]]
    """
    return _max("max_pool2d", 2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(
    input: Tensor,
    kernel_size: Size,
    stride: Size = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest of each window. (N, C, D, H, W) or (C, D, H, W) → (N, C, D', H', W'); each axis as in `max_pool1d`.

    With return_indices also where it lies, as a position in the flattened (D, H, W).

    >>> max_pool3d(flame.ones(1, 1, 4, 4, 4), (1, 2, 4)).shape
    (1, 1, 4, 2, 1)
    """
    return _max("max_pool3d", 3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


# --- the mean ---------------------------------------------------------------------------------------------------------
def _mean(
    name: str,
    rank: int,
    input: Tensor,
    kernel_size: Size,
    stride: Size,
    padding: Size,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None = None,
) -> Tensor:
    w = layout(name, rank, input, kernel_size, stride, padding, 1, ceil_mode)
    if divisor_override == 0:
        raise FlameError(f"{name}: divisor_override is 0; leave it out, or give another number")
    wide = to_dtype(input, dt.float32) if input.dtype.is_float and input.dtype.size == 2 else input
    every = w.of(wide, 0)
    total = to_dtype(every.sum(tuple(range(rank))), wide.dtype)
    count: Any = divisor_override or _counts(w, wide, count_include_pad)
    if input.dtype.is_float:
        return to_dtype(total / count, input.dtype)
    down = total.abs() // abs(count)  # integers are rounded towards zero
    return to_dtype(where((total < 0).ne(count < 0), -down, down), input.dtype)


def _counts(w: Windows, like: Tensor, include_pad: bool) -> Any:
    """How many elements each window averages: one number, or (*out) where windows reach over an edge."""
    if not any(w.ends) and (include_pad or not any(w.padding)):
        return prod(w.kernel)
    counts: Any = 1
    for axis, (k, p, n) in enumerate(zip(w.kernel, w.padding, w.size, strict=True)):
        start = w.starts(like, axis)
        end = (start + k).clamp(max=n + p if include_pad else n)
        count = end - (start if include_pad else start.clamp(min=0))
        counts = counts * count.reshape(-1, *(1,) * (len(w.size) - axis - 1))
    return to_dtype(counts, like.dtype)


def avg_pool1d(
    input: Tensor,
    kernel_size: Size,
    stride: Size = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window. (N, C, L) or (C, L) → (N, C, L'), with L' as in `max_pool1d`.

    Padding is zeros, which count unless count_include_pad is False. Half precisions are summed in float32; integers
    are rounded towards zero. Raises ShapeError where no window fits, or padding is more than half of the kernel.

    >>> avg_pool1d(flame.tensor([[1.0, 3.0, 2.0, 0.0]]), 2).numpy().tolist()
    [[2.0, 1.0]]
    """
    return _mean("avg_pool1d", 1, input, kernel_size, stride, padding, ceil_mode, count_include_pad)


def avg_pool2d(
    input: Tensor,
    kernel_size: Size,
    stride: Size = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window. (N, C, H, W) or (C, H, W) → (N, C, H', W'); each axis as in `avg_pool1d`.

    The sum is divided by `divisor_override` instead, where it is given.

    >>> avg_pool2d(flame.ones(1, 1, 4, 4), 2, divisor_override=1).numpy().tolist()
    [[[[4.0, 4.0], [4.0, 4.0]]]]
    """
    return _mean("avg_pool2d", 2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool3d(
    input: Tensor,
    kernel_size: Size,
    stride: Size = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window. (N, C, D, H, W) or (C, D, H, W) → (N, C, D', H', W'); as `avg_pool2d`.

    >>> avg_pool3d(flame.ones(1, 1, 4, 4, 4), (1, 2, 4)).shape
    (1, 1, 4, 2, 1)
    """
    return _mean("avg_pool3d", 3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


# --- the p-norm -------------------------------------------------------------------------------------------------------
def _norm(
    name: str, rank: int, input: Tensor, norm_type: float, kernel_size: Size, stride: Size, ceil_mode: bool
) -> Tensor:
    if norm_type == 0:
        raise FlameError(f"{name}: norm_type is 0, and there is no root of order 0; choose another number")
    if abs(norm_type) == float("inf"):
        sign_ = 1 if norm_type > 0 else -1
        size = input.abs() * sign_
        return _max(name, rank, size, kernel_size, stride, 0, 1, ceil_mode, False) * sign_
    mean = _mean(name, rank, input**norm_type, kernel_size, stride, 0, ceil_mode, True)
    return (sign(mean) * mean.abs().relu() * prod(each(name, "kernel_size", kernel_size, rank))) ** (1.0 / norm_type)


def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: Size, stride: Size = None, ceil_mode: bool = False
) -> Tensor:
    """(Σ xᵖ)^(1/p) of each window, for p = norm_type. (N, C, L) or (C, L) → (N, C, L'), with L' as in `max_pool1d`.

    Infinity gives the largest magnitude. Raises FlameError for an order of 0.

    >>> lp_pool1d(flame.tensor([[3.0, 4.0]]), 2, 2).numpy().tolist()
    [[5.0]]
    """
    return _norm("lp_pool1d", 1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: Size, stride: Size = None, ceil_mode: bool = False
) -> Tensor:
    """(Σ xᵖ)^(1/p) of each window, for p = norm_type. (N, C, H, W) or (C, H, W) → (N, C, H', W'); as `lp_pool1d`.

    >>> lp_pool2d(flame.ones(1, 1, 2, 2), 2, 2).numpy().tolist()
    [[[[2.0]]]]
    """
    return _norm("lp_pool2d", 2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(
    input: Tensor, norm_type: float, kernel_size: Size, stride: Size = None, ceil_mode: bool = False
) -> Tensor:
    """(Σ xᵖ)^(1/p) of each window. (N, C, D, H, W) or (C, D, H, W) → (N, C, D', H', W'); as `lp_pool1d`.

    >>> lp_pool3d(flame.ones(1, 1, 1, 2, 2), 2, (1, 2, 2)).numpy().tolist()
    [[[[[2.0]]]]]
    """
    return _norm("lp_pool3d", 3, input, norm_type, kernel_size, stride, ceil_mode)
