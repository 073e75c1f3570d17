"""Tests of values, and choices by comparison: limits, closeness, nan and infinities."""

import math
from typing import Any

from flame.errors import DTypeError
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ops.elementwise import TABLE, to_dtype, truth, where
from flame.ops.method import method
from flame.tensor import Tensor, new

__all__ = [
    "allclose",
    "clamp",
    "clamp_max",
    "clamp_min",
    "clip",
    "equal",
    "fmax",
    "fmin",
    "is_nonzero",
    "isclose",
    "isfinite",
    "isin",
    "isinf",
    "isneginf",
    "isposinf",
    "isreal",
]


# --- limits -----------------------------------------------------------------------------------------------------------
@method
def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Values below `min` become min, then those above `max` max; the gradient passes where nothing was changed.

    Limits are numbers or tensors that broadcast; one that is nan gives nan.
    """
    if min is None and max is None:
        raise DTypeError("clamp: needs min, max or both")
    if isinstance(min, Tensor) and isinstance(max, Tensor):
        min = where(min < max, min, min.detach())  # as in PyTorch, equal limits share no gradient: it is nobody's
    out = input if min is None else _limited(input, min, "lt")
    return out if max is None else _limited(out, max, "gt")


def _limited(input: Tensor, limit: Any, beyond: str) -> Tensor:
    if isinstance(limit, Tensor):
        outside = TABLE[beyond](input, limit)
        return where(outside | TABLE["isnan"](limit) if limit.dtype.is_float else outside, limit, input)
    if limit != limit:
        return where(new(nd.like(truth(input.node), True), input.device), limit, input)
    return where(TABLE[beyond](input, limit), limit, input)


@method
def clip(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Another name of `clamp`."""
    return clamp(input, min, max)


@method
def clamp_min(input: Tensor, min: Any) -> Tensor:
    """Values below `min` become min."""
    return clamp(input, min=min)


@method
def clamp_max(input: Tensor, max: Any) -> Tensor:
    """Values above `max` become max."""
    return clamp(input, max=max)


@method
def fmax(input: Tensor, other: Any) -> Tensor:
    """The larger; a number wins over nan."""
    return where(TABLE["ge"](input, other) | (other != other), input, other)


@method
def fmin(input: Tensor, other: Any) -> Tensor:
    """The smaller; a number wins over nan."""
    return where(TABLE["le"](input, other) | (other != other), input, other)


# --- what kind of number ----------------------------------------------------------------------------------------------
def _always(input: Tensor, answer: bool) -> Tensor:
    return new(nd.like(truth(input.node), answer), input.device)


@method
def isfinite(input: Tensor) -> Tensor:
    """True where the value is neither infinite nor nan."""
    return TABLE["eq"](input - input, 0) if input.dtype.is_float else _always(input, True)


@method
def isinf(input: Tensor) -> Tensor:
    """True where the value is infinite."""
    return TABLE["eq"](TABLE["abs"](input), math.inf) if input.dtype.is_float else _always(input, False)


@method
def isposinf(input: Tensor) -> Tensor:
    """True where the value is positive infinity."""
    return TABLE["eq"](input, math.inf) if input.dtype.is_float else _always(input, False)


@method
def isneginf(input: Tensor) -> Tensor:
    """True where the value is negative infinity."""
    return TABLE["eq"](input, -math.inf) if input.dtype.is_float else _always(input, False)


@method
def isreal(input: Tensor) -> Tensor:
    """True everywhere: no dtype of FLAME is complex."""
    return _always(input, True)


def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Which elements are among `test_elements` (with `invert`: are not); one of the two may be a number.

    `assume_unique` says nothing here: no sorting is done.
    """
    if not isinstance(test_elements, Tensor):
        found = TABLE["eq"](elements, test_elements)
    elif isinstance(elements, Tensor):
        found = TABLE["eq"](elements.unsqueeze(-1), test_elements.reshape(-1)).any(-1)
    else:
        found = TABLE["eq"](test_elements, elements).any()
    return TABLE["logical_not"](found) if invert else found


@method
def is_nonzero(input: Tensor) -> bool:
    """Whether the one element is not 0, as a Python bool; raises ShapeError for none or several."""
    return bool(input)


# --- closeness --------------------------------------------------------------------------------------------------------
@method
def isclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Tensor:
    """True where |input - other| <= atol + rtol * |other| or both are equal, with `equal_nan` also where both are nan.

    Raises DTypeError for operands of two dtypes or a negative tolerance.
    """
    if input.dtype is not other.dtype:
        raise DTypeError(f"isclose: got {input.dtype} and {other.dtype}; cast one of them to the other's dtype")
    if rtol < 0 or atol < 0:
        raise DTypeError(f"isclose: rtol={rtol} and atol={atol} must not be negative")
    same = TABLE["eq"](input, other)
    if input.dtype is dt.boolean or (rtol == 0 and atol == 0 and not equal_nan):
        return same
    a, b = (t if t.dtype.is_float else to_dtype(t, dt.float64) for t in (input.detach(), other.detach()))
    gap = TABLE["abs"](a - b)
    found = same | (isfinite(gap) & (gap <= TABLE["abs"](b) * rtol + atol))
    return found | (TABLE["isnan"](a) & TABLE["isnan"](b)) if equal_nan and input.dtype.is_float else found


@method
def allclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether `isclose` holds everywhere, as a Python bool: the tensors are computed."""
    return bool(isclose(input, other, rtol, atol, equal_nan).all().item())


@method
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether both have one shape and equal elements, as a Python bool: the tensors are computed."""
    if input.dtype is not other.dtype:
        raise DTypeError(f"equal: got {input.dtype} and {other.dtype}; cast one of them to the other's dtype")
    return input.shape == other.shape and bool(TABLE["eq"](input, other).all().item())
