# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# The entries of a table are lambdas, which cannot say their types.
"""Windows over an axis: two movements, each the other's gradient.

`skew` reads position i * stride + k * dilation for tap k of window i. A window view of x is `skew` of x repeated along
a new axis of taps; the gradient, a sum of `unskew` over the taps, follows from the rule of `expand`.
"""

from typing import Any

import numpy as np

from flame.errors import ShapeError
from flame.ir import rules
from flame.ir.node import Index, Node, Shape, apply, const
from flame.ir.op import Grads
from flame.ir.ops.movement import movement


def windows(size: int, taps: int, stride: int, dilation: int) -> int:
    """How many windows of that many taps fit into an axis."""
    return max(0, (size - (taps - 1) * dilation - 1) // stride + 1)


def changed(shape: Shape, axis: int, size: int) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1 :])


def _checked(shape: Shape, axis: int, taps: int, stride: int, dilation: int) -> None:
    rules.reduced(shape, axes=(axis, taps))
    if axis == taps or shape[taps] < 1 or stride < 1 or dilation < 1:
        raise ShapeError(
            f"windows along axis {axis} of {shape} with taps along axis {taps}, stride {stride} and dilation "
            f"{dilation} need two axes, a tap, and steps of at least 1"
        )


def skewed(shape: Shape, *, axis: int, taps: int, stride: int, dilation: int) -> Shape:
    _checked(shape, axis, taps, stride, dilation)
    return changed(shape, axis, windows(shape[axis], shape[taps], stride, dilation))


def unskewed(shape: Shape, *, axis: int, taps: int, stride: int, dilation: int, size: int, fill: float) -> Shape:
    _checked(shape, axis, taps, stride, dilation)
    if windows(size, shape[taps], stride, dilation) != shape[axis]:
        raise ShapeError(
            f"{shape[axis]} windows of {shape[taps]} taps, stride {stride} and dilation {dilation} do not come from "
            f"{size} positions"
        )
    return changed(shape, axis, size)


def skew_index(at: Index, shape: Shape, axis: int, taps: int, stride: int, dilation: int) -> tuple[Index, None]:
    place = at[axis] * stride + at[taps] * dilation
    return tuple(place if a == axis else i for a, i in enumerate(at)), None


def unskew_index(
    at: Index, shape: Shape, axis: int, taps: int, stride: int, dilation: int, size: int, fill: float
) -> tuple[Index, Node]:
    """Which window has this tap here, and whether there is one."""
    start = at[axis] - at[taps] * dilation
    inside = (start >= 0) & (start < shape[axis] * stride)
    if stride > 1:
        inside = inside & apply("eq", start % stride, const(0))
        start = start // stride
    return tuple(start if a == axis else i for a, i in enumerate(at)), inside


def _tap(shape: Shape, axis: int, taps: int, k: int, places: slice) -> Any:
    """The index of tap k at some places of the axis."""
    return tuple(places if a == axis else k if a == taps else slice(None) for a in range(len(shape)))


def _places(k: int, count: int, stride: int, dilation: int) -> slice:
    return slice(k * dilation, k * dilation + max(0, (count - 1) * stride + 1), stride)


def skew_numpy(a: Any, axis: int, taps: int, stride: int, dilation: int) -> Any:
    out = np.empty(skewed(a.shape, axis=axis, taps=taps, stride=stride, dilation=dilation), a.dtype)
    for k in range(a.shape[taps]):
        places = _places(k, out.shape[axis], stride, dilation)
        out[_tap(a.shape, axis, taps, k, slice(None))] = a[_tap(a.shape, axis, taps, k, places)]
    return out


def unskew_numpy(a: Any, axis: int, taps: int, stride: int, dilation: int, size: int, fill: float) -> Any:
    out = np.full(changed(a.shape, axis, size), fill, a.dtype)
    for k in range(a.shape[taps]):
        places = _places(k, a.shape[axis], stride, dilation)
        out[_tap(a.shape, axis, taps, k, places)] = a[_tap(a.shape, axis, taps, k, slice(None))]
    return out


def skew_grad(g: Node, y: Node, a: Node) -> Grads:
    return (apply("unskew", g, size=a.shape[y["axis"]], fill=0, **dict(y.attrs)),)


def unskew_grad(g: Node, y: Node, a: Node) -> Grads:
    return (apply("skew", g, **{name: y[name] for name in ("axis", "taps", "stride", "dilation")}),)


def behind(n: int, y: Node, a: Node) -> Node:
    """The rule for a batch: both axes lie one further behind."""
    return apply(y.op, a, **{**dict(y.attrs), "axis": y["axis"] + 1, "taps": y["taps"] + 1})


movement(
    "skew",
    skewed,
    skew_numpy,
    skew_index,
    skew_grad,
    examples=(
        {"axis": 1, "taps": 0, "stride": 1, "dilation": 1},
        {"axis": 1, "taps": 0, "stride": 2, "dilation": 1},
    ),
    batch=behind,
    doc="Tap k of window i, read at i * stride + k * dilation along an axis.",
)
movement(
    "unskew",
    unskewed,
    unskew_numpy,
    unskew_index,
    unskew_grad,
    examples=(
        {"axis": 0, "taps": 1, "stride": 1, "dilation": 2, "size": 9, "fill": 0},
        {"axis": 0, "taps": 1, "stride": 2, "dilation": 3, "size": 15, "fill": 0},
    ),
    batch=behind,
    doc="Tap k of window i, put back to i * stride + k * dilation along an axis; `fill` elsewhere.",
)
