"""Functions that numpy lacks, one element at a time in float64: the meaning of a few operators, slow and exact."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
ROOT_PI = math.sqrt(math.pi)


def _of_python(f: Callable[[float], float]) -> Callable[[Array], Array]:
    """A function of Python's floats over arrays; the result has the operand's dtype."""
    many = np.vectorize(f, [np.float64])
    return lambda a: many(a.astype(np.float64)).astype(a.dtype)


def _lgamma(x: float) -> float:
    """Infinite at 0 and the negative integers, and beyond the largest float."""
    try:
        return math.lgamma(x)
    except (ValueError, OverflowError):
        return math.inf


erf, erfc, lgamma = _of_python(math.erf), _of_python(math.erfc), _of_python(_lgamma)


def _erfinv(y: float) -> float:
    """Winitzki's estimate, then three steps of Halley's; near 1 of the complement, which does not cancel."""
    size = abs(y)
    if size >= 1 or size == 0 or size != size:
        return math.copysign(math.inf, y) if size == 1 else y if size == 0 else math.nan
    low = math.log1p(-size * size)
    t = 2 / (math.pi * 0.147) + low / 2
    x = math.sqrt(-low / 0.147 / (math.sqrt(t * t - low / 0.147) + t))
    for _ in range(3):
        off = math.erf(x) - size if size < 0.5 else (1 - size) - math.erfc(x)
        step = off * ROOT_PI / 2 * math.exp(x * x)
        x -= step / (1 + x * step)
    return math.copysign(x, y)


erfinv = _of_python(_erfinv)


def trunc_divide(a: Array, b: Array) -> Array:
    """The integer quotient rounded towards zero; 0 by zero."""
    return np.floor_divide(a - np.fmod(a, b), b)


def shift_left(a: Array, b: Array) -> Array:
    """a * 2**b modulo the width; 0 for a count that is negative or no less than the width."""
    inside = (b >= 0) & (b < 8 * a.dtype.itemsize)
    return np.where(inside, np.left_shift(a, np.where(inside, b, 0)), 0).astype(a.dtype)


def shift_right(a: Array, b: Array) -> Array:
    """a / 2**b, rounded down; a count out of range is the largest one: 0, or -1 of negative numbers."""
    most = 8 * a.dtype.itemsize - 1
    if a.dtype.kind == "u":
        inside = (b >= 0) & (b <= most)
        return np.where(inside, np.right_shift(a, np.where(inside, b, 0)), 0).astype(a.dtype)
    return np.right_shift(a, np.where((b < 0) | (b > most), most, b).astype(a.dtype))


def sign(a: Array) -> Array:
    """1, 0 or -1; 0 of nan."""
    return (a > 0).astype(a.dtype) - (a < 0).astype(a.dtype)


def gcd(a: Array, b: Array) -> Array:
    """The greatest common divisor; the least integer counts as itself."""
    return np.gcd(a, b)
