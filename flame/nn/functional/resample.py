"""Images of another size: each axis by itself, each element a weighted sum of a few neighbours.

Which neighbours and which weights is known beforehand: tables, in the arithmetic that PyTorch computes them with.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from operator import index
from typing import Any

import numpy as np

from flame.autograd.function import Function, FunctionCtx
from flame.errors import DTypeError, FlameError, ShapeError
from flame.ir import dtype as dt
from flame.ir.node import apply
from flame.nn.functional.adaptive import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from flame.ops.elementwise import to_dtype, where
from flame.tensor import Tensor, from_array, new

__all__ = ["interpolate", "upsample"]

LINEAR = {"linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2}  # modes of weighted sums, and for how many axes
NEAREST = ("nearest", "nearest-exact")
MODES = (*NEAREST, *LINEAR, "area")
AREA = {1: adaptive_avg_pool1d, 2: adaptive_avg_pool2d, 3: adaptive_avg_pool3d}


def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Images of another size. (N, C, L), (N, C, H, W) or (N, C, D, H, W) → (N, C, *size).

    Either `size` or `scale_factor`, one number for all axes or one for each. Modes: "nearest", "nearest-exact" (any
    dtype), "area", and for floating tensors "linear" (three dimensions), "bilinear" and "bicubic" (four; Keys, 1981),
    "trilinear" (five). `align_corners` puts the first and last elements of input and result in the same places;
    `antialias` widens the filter of a smaller image ("bilinear", "bicubic"). `recompute_scale_factor` computes with
    the sizes' ratio rather than with the scale_factor given. Half precisions are computed in float32.
    Raises ShapeError, DTypeError or FlameError for what does not fit.

    >>> interpolate(flame.tensor([[[1.0, 2.0]]]), scale_factor=2, mode="linear").numpy().tolist()
    [[[1.0, 1.25, 1.75, 2.0]]]
    """
    _check_mode(input, mode, align_corners, antialias)
    rank = input.ndim - 2
    if (size is None) == (scale_factor is None):
        raise FlameError("interpolate: give either size or scale_factor")
    if recompute_scale_factor and size is not None:
        raise FlameError("interpolate: recompute_scale_factor needs a scale_factor, but size is given")
    scales: Sequence[float | None] = (None,) * rank
    if size is None:
        given = _per_axis("scale_factor", scale_factor, rank)
        out = tuple(math.floor(n * s) for n, s in zip(input.shape[2:], given, strict=True))
        scales = scales if recompute_scale_factor or mode == "area" else tuple(map(float, given))
    else:
        try:
            out = tuple(map(index, _per_axis("size", size, rank)))
        except TypeError:
            raise DTypeError(f"interpolate: size is {size!r}; sizes are integers") from None
    if min((*out, *input.shape[1:])) < 1:
        raise ShapeError(f"interpolate: cannot make {out} of shape {tuple(input.shape)}; sizes must be at least 1")
    if mode == "area":
        return AREA[rank](input, out)
    return _resized(input, out, scales, mode, bool(align_corners), antialias)


def upsample(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Tensor:
    """`interpolate` under its older name.

    >>> upsample(flame.tensor([[[1.0, 2.0]]]), scale_factor=2).numpy().tolist()
    [[[1.0, 1.0, 2.0, 2.0]]]
    """
    return interpolate(input, size, scale_factor, mode, align_corners)


# --- checks -----------------------------------------------------------------------------------------------------------
def _check_mode(input: Tensor, mode: str, align_corners: bool | None, antialias: bool) -> None:
    if mode not in MODES:
        raise FlameError(f"interpolate: mode is {mode!r}; choose from {', '.join(MODES)}")
    if input.ndim not in (3, 4, 5):
        raise ShapeError(f"interpolate: needs 3, 4 or 5 dimensions, (N, C, …), got shape {tuple(input.shape)}")
    if mode in LINEAR and LINEAR[mode] != input.ndim - 2:
        raise ShapeError(
            f"interpolate: mode {mode!r} needs {LINEAR[mode] + 2} dimensions, got shape {tuple(input.shape)}"
        )
    if align_corners is not None and mode not in LINEAR:
        raise FlameError(f"interpolate: align_corners is for {', '.join(LINEAR)}; leave it out for mode {mode!r}")
    if antialias and mode not in ("bilinear", "bicubic"):
        raise FlameError(f"interpolate: antialias is for bilinear and bicubic, not for mode {mode!r}")
    if mode not in NEAREST and not input.dtype.is_float:
        raise DTypeError(f"interpolate: mode {mode!r} needs a floating tensor, got {input.dtype}; cast it first")


def _per_axis(what: str, value: Any, rank: int) -> tuple[Any, ...]:
    found = tuple(value) if isinstance(value, (tuple, list)) else (value,) * rank
    if len(found) != rank:
        raise ShapeError(f"interpolate: {what} is {value!r}; give one number, or {rank}: one for each axis")
    return found


# --- tables -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Table:
    """For each of m results, t positions of an axis of `size`, and their weights: (m, t) each."""

    size: int
    place: np.ndarray
    weight: np.ndarray

    @cached_property
    def backwards(self) -> "Table":
        """For each position of the axis, the results that read it: the same weights, transposed."""
        rows = [dict[int, float]() for _ in range(self.size)]
        for i, (places, weights) in enumerate(zip(self.place, self.weight, strict=True)):
            for p, w in zip(places, weights, strict=True):
                if w:
                    rows[p][i] = rows[p].get(i, 0.0) + w
        most = max(1, *map(len, rows))
        place, weight = np.zeros((self.size, most), np.int64), np.zeros((self.size, most), self.weight.dtype)
        for p, row in enumerate(rows):
            place[p, : len(row)], weight[p, : len(row)] = list(row), list(row.values())
        return Table(len(self.place), place, weight)


@lru_cache(256)
def table(kind: str, n: int, out: int, scale: float | None, align: bool, antialias: bool, wide: bool) -> Table:
    """The table of one axis: n elements to `out`; in float64 where `wide`, else in float32."""
    number: Any = np.float64 if wide else np.float32
    if align:
        ratio = number(n - 1) / number(out - 1) if out > 1 else number(0)
    else:
        ratio = number(1.0 / scale) if scale is not None and scale > 0 else number(n) / number(out)
    at = np.arange(out).astype(number)
    half = number(0.5)
    if antialias:
        return _widened(kind, n, at, ratio)
    if kind == "nearest":
        place = np.minimum(np.floor(at * ratio).astype(np.int64), n - 1)
        return Table(n, place[:, None], np.ones((out, 1), number))
    if kind == "nearest-exact":
        place = np.floor(np.maximum((at + half) * ratio - half, number(0)) + half).astype(np.int64)
        return Table(n, np.minimum(place, n - 1)[:, None], np.ones((out, 1), number))
    real = at * ratio if align else (at + half) * ratio - half
    if kind == "bicubic":
        first = np.minimum(np.floor(real).astype(np.int64), n - 1)
        weight = np.stack(cubic(np.clip(real - first.astype(number), 0, 1), -0.75), 1).astype(number)
        return Table(n, np.clip(first[:, None] + np.arange(-1, 3), 0, n - 1), weight)
    real = np.maximum(real, number(0))
    first = np.minimum(real.astype(np.int64), n - 1)
    part = np.clip(real - first.astype(number), number(0), number(1))
    part = np.zeros_like(part) if out == n and (align or ratio == 1) else part
    return Table(n, np.stack([first, np.minimum(first + 1, n - 1)], 1), np.stack([1 - part, part], 1))


def cubic(t: Any, a: float) -> tuple[Any, Any, Any, Any]:
    """The weights of the four neighbours of a point t behind the second (Keys, 1981)."""

    def near(x: Any) -> Any:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: Any) -> Any:
        return ((x - 5) * x + 8) * x * a - 4 * a

    return far(t + 1), near(t), near(1 - t), far(2 - t)


def _widened(kind: str, n: int, at: Any, ratio: Any) -> Table:
    """The filter stretched over all elements that a result of a smaller image stands for."""
    number = at.dtype.type
    reach = number(2 if kind == "bicubic" else 1) * max(ratio, number(1))
    centre = ratio * (at + number(0.5))
    low = np.maximum((centre - reach + number(0.5)).astype(np.int64), 0)
    high = np.minimum((centre + reach + number(0.5)).astype(np.int64), n)
    place = low[:, None] + np.arange(max(1, int((high - low).max())))
    x = np.abs((place.astype(number) - centre[:, None] + number(0.5)) / max(ratio, number(1)))
    if kind == "bicubic":
        far, near = cubic(x - 1, -0.5)[0], cubic(x, -0.5)[1]
        weight = np.where(x < 1, near, np.where(x < 2, far, 0))
    else:
        weight = np.maximum(0, 1 - x)
    weight = np.where(place < high[:, None], weight, 0)
    return Table(n, np.minimum(place, n - 1), (weight / weight.sum(1, keepdims=True)).astype(number))


# --- sums -------------------------------------------------------------------------------------------------------------
def _resized(
    input: Tensor, out: tuple[int, ...], scales: Sequence[float | None], mode: str, align: bool, antialias: bool
) -> Tensor:
    kind = mode if mode in (*NEAREST, "bicubic") else "linear"
    x = input if kind in NEAREST or input.dtype.size > 2 else to_dtype(input, dt.float32)
    for axis in reversed(range(2, input.ndim)):
        made = table(kind, x.shape[axis], out[axis - 2], scales[axis - 2], align, antialias, x.dtype is dt.float64)
        x = _along(x, axis, made, kind in NEAREST)
    return to_dtype(x, input.dtype)


def _along(x: Tensor, axis: int, made: Table, whole: bool) -> Tensor:
    """One axis through a table: (…, n, …) to (…, m, …)."""
    m = len(made.place)
    times = m // made.size
    if whole and times and np.array_equal(made.place[:, 0], np.arange(m) // max(1, times)):
        behind = x.unsqueeze(axis + 1)  # every element `times` times: no table
        return behind.expand(*(times if a == axis + 1 else -1 for a in range(behind.ndim))).flatten(axis, axis + 1)
    return _Weighted.apply(x, axis, made)


class _Weighted(Function):
    """Weighted sums along an axis by a table. The gradient is the same, backwards: no scatter is in it."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, axis: int, made: Table) -> Tensor:
        ctx.axis, ctx.table = axis, made  # pyright: ignore[reportAttributeAccessIssue]
        m, t = made.place.shape
        place = from_array(made.place, x.device).reshape(m * t, *(1,) * (x.ndim - axis - 1))
        places = place.expand(*x.shape[:axis], m * t, *x.shape[axis + 1 :])
        picked = new(apply("gather", x.node, places.node, axis=axis), x.device)
        if not x.dtype.is_float or (t == 1 and (made.weight == 1).all()):
            return picked
        weight = from_array(made.weight, x.device).reshape(m, t, *(1,) * (x.ndim - axis - 1))
        picked = picked.unflatten(axis, (m, t))
        return to_dtype(where(weight.ne(0), picked * weight, 0).sum(axis + 1), x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return _Weighted.apply(grads[0], ctx.axis, ctx.table.backwards), None, None
