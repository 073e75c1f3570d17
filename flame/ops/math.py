"""Arithmetic and mathematical functions made of the operators of the table; operands broadcast and are promoted."""

import functools
import math
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from flame.errors import DivisionError, DTypeError
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir.op import OPS
from flame.ir.ops.math import digamma as digamma_of
from flame.ops.elementwise import TABLE, apply_op, in_table, integers, to_dtype, truth, where
from flame.ops.method import method, operands
from flame.tensor import Tensor, new

__all__ = [
    "addcdiv",
    "addcmul",
    "deg2rad",
    "digamma",
    "float_power",
    "frac",
    "frexp",
    "heaviside",
    "lcm",
    "ldexp",
    "lerp",
    "logit",
    "mvlgamma",
    "nan_to_num",
    "rad2deg",
    "reciprocal",
    "rsub",
    "sinc",
    "square",
]

_add, _sub, _div, _pow, _round = (TABLE[name] for name in ("add", "sub", "div", "pow", "round"))


# --- sums and quotients -----------------------------------------------------------------------------------------------
@in_table
def add(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """input + alpha * other; of truth values "or"."""
    return _add(input, other) if alpha == 1 else _add(input, _times("add", input, other, alpha))


@in_table
def sub(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """input - alpha * other; raises DTypeError for truth values, which `logical_xor` is for."""
    return _sub(input, other) if alpha == 1 else _sub(input, _times("sub", input, other, alpha))


def rsub(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """other - alpha * input."""
    return sub(other, input, alpha=alpha)


def _times(name: str, input: Any, other: Any, alpha: float) -> Any:
    """alpha * other in the dtype of the sum."""
    if isinstance(alpha, (float, np.floating)) and integers(input, other):
        raise DTypeError(f"{name}: alpha is {alpha}, but the operands are integers; cast one first, e.g. x.float()")
    if not isinstance(other, Tensor):
        return other * alpha
    dtype = operands(name, input, other)[2]
    return to_dtype(to_dtype(other, dtype) * alpha, dtype)


@in_table
def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """input / other; rounding_mode="trunc" rounds towards 0, "floor" down, and both keep integers.

    The true quotient of integers is float32. Integers divided by 0 give 0; the Python number 0 as their divisor raises
    DivisionError.
    """
    if rounding_mode is None:
        return _div(input, other)
    if rounding_mode == "floor":
        return TABLE["floor_divide"](input, other)
    if rounding_mode == "trunc":
        if integers(input, other):
            return apply_op(OPS["trunc_divide"], input, nonzero_divisor("div", other))
        return TABLE["trunc"](_div(input, other))
    raise DTypeError(f"div: rounding_mode is {rounding_mode!r}; choose None, 'trunc' or 'floor'")


def nonzero_divisor(name: str, other: Any) -> Any:
    """The divisor of integers, unless it is the number 0."""
    if not isinstance(other, Tensor) and not np.any(other):
        raise DivisionError(f"{name}: integers have no quotient by 0; cast to float first, or divide by another number")
    return other


def _guarded(name: str) -> None:
    """An operator of the table that integers have no value of where the second operand is the number 0."""
    plain = TABLE[name]

    def function(input: Any, other: Any) -> Tensor:
        if other.__class__ is not float and not isinstance(other, Tensor) and integers(input, other):
            nonzero_divisor(name, other)
        return plain(input, other)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{plain.__doc__} Integers by 0 give 0; by the Python number 0 they raise DivisionError."
    in_table(function)


for _name in ("floor_divide", "remainder", "fmod"):
    _guarded(_name)


@method
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """input + value * tensor1 * tensor2."""
    return add(input, tensor1 * tensor2, alpha=value)


@method
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """input + value * tensor1 / tensor2; raises DTypeError where both of these are integers."""
    if integers(tensor1, tensor2):
        raise DTypeError("addcdiv: integers have no exact quotient; cast first, e.g. tensor1.float()")
    return add(input, tensor1 / tensor2, alpha=value)


@method
def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """input + weight * (end - input), from the nearer end, so that 0 and 1 give the ends exactly."""
    span = end - input
    if isinstance(weight, Tensor):
        near = TABLE["abs"](weight) < 0.5
        return where(near, input + weight * span, end - span * (1 - weight))
    return input + span * weight if abs(weight) < 0.5 else end - span * (1 - weight)


@method
def reciprocal(input: Tensor) -> Tensor:
    """1 / x; of integers in float32."""
    return 1.0 / input


@method
def frac(input: Tensor) -> Tensor:
    """x - trunc(x), with the sign of x."""
    if not input.dtype.is_float:
        raise DTypeError(f"frac: needs a floating tensor, got {input.dtype}; integers have no fraction")
    return input - TABLE["trunc"](input)


@in_table
def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """The nearest whole number, halves to even, or the nearest multiple of 10**-decimals; its gradient is 0."""
    if not decimals:
        return _round(input)
    if not input.dtype.is_float:
        raise DTypeError(f"round: decimals={decimals} needs a floating tensor, got {input.dtype}; cast it first")
    ten = 10.0 ** abs(decimals)
    return _round(input * ten) / ten if decimals > 0 else _round(input / ten) * ten


@in_table
def positive(input: Tensor) -> Tensor:
    """The tensor itself; raises DTypeError for truth values."""
    if input.dtype is dt.boolean:
        raise DTypeError("positive: bool has no sign; cast it first, e.g. .int()")
    return new(input.node, input.device, input)


# --- powers -----------------------------------------------------------------------------------------------------------
@method
def square(input: Tensor) -> Tensor:
    """x * x; of truth values in int64."""
    return input * input if input.dtype is not dt.boolean else to_dtype(input, dt.int64)


@in_table
def pow(input: Any, exponent: Any) -> Tensor:
    """input to the power of exponent; of integers by products, modulo the width of the dtype.

    Raises DTypeError for integers to the power of a negative Python number; as elements, negative exponents give 0,
    but 1 or -1 of these.
    """
    if integers(input, exponent):
        return _integer_power(input, exponent)
    if exponent.__class__ in (int, float) and isinstance(input, Tensor) and input.dtype.is_float:
        if exponent == 2:  # a product or a root is cheaper than a logarithm and an exponential, and exact
            return input * input
        if exponent == 3:
            return input * input * input
        if exponent == 0.5:
            return TABLE["sqrt"](input)
        if exponent == -1:
            return 1.0 / input
    return _pow(input, exponent)


def _integer_power(input: Any, exponent: Any) -> Tensor:
    """Repeated squaring, exact modulo the width of the dtype; for exponents up to 63."""
    nodes, device, dtype, _ = operands("pow", input, exponent)
    if dtype is dt.boolean:
        raise DTypeError("pow: needs numbers, got bool operands; cast one of them first, e.g. .int()")
    base, power = (to_dtype(new(n, device), dtype) for n in nodes)
    if not isinstance(exponent, Tensor):
        if exponent < 0:
            raise DTypeError(
                f"pow: integers have no power {exponent}; cast to float first, e.g. x.float() ** {exponent}"
            )
        return _power(base, int(exponent))
    odd = (power % 2).ne(0)
    reciprocal = where(base.eq(1) | (base.eq(-1) & ~odd), 1, where(base.eq(-1), -1, 0))  # whole only of 1 and -1
    out = where(power >= 0, 1, reciprocal.to(dtype))
    for bit in range(6):
        out = where((power // 2**bit % 2).ne(0) & (power >= 0), out * _power(base, 2**bit), out)
    return out


def _power(base: Tensor, exponent: int) -> Tensor:
    out: Tensor | None = None
    while exponent:
        if exponent % 2:
            out = base if out is None else out * base
        base, exponent = base * base, exponent // 2
    return new(nd.like(base.node, 1), base.device) if out is None else new(out.node, out.device)


def float_power(input: Any, exponent: Any) -> Tensor:
    """input to the power of exponent, both in float64."""
    return pow(*(to_dtype(x, dt.float64) if isinstance(x, Tensor) else float(x) for x in (input, exponent)))


method(float_power)


class Frexp(NamedTuple):
    """What `frexp` gives."""

    mantissa: Tensor
    exponent: Tensor


@method
def frexp(input: Tensor) -> Frexp:
    """(m, e) with input = m * 2**e and 1/2 <= |m| < 1, e in int32; 0, infinity and nan are their own m, with e = 0."""
    if not input.dtype.is_float:
        raise DTypeError(f"frexp: needs a floating tensor, got {input.dtype}; cast it first, e.g. .float()")
    if input.dtype.size < 4:
        wide = frexp(to_dtype(input, dt.float32))
        return Frexp(to_dtype(wide.mantissa, input.dtype), wide.exponent)
    size = TABLE["abs"](input.detach())
    plain = (size > 0) & (size < math.inf)
    guess = where(plain, TABLE["floor"](TABLE["log2"](where(plain, size, 1.0))), 0.0)
    near = _scaled_down(size, guess)  # in [1/2, 2), by a guess that may be one off
    exponent = where(plain, guess + where(near < 0.5, -1.0, where(near < 1, 0.0, where(near < 2, 1.0, 2.0))), 0.0)
    return Frexp(_scaled_down(input, exponent), to_dtype(exponent, dt.int32))


def _scaled_down(x: Tensor, exponent: Tensor) -> Tensor:
    """x / 2**exponent in two steps: 2**exponent itself may be no number of the dtype."""
    half = TABLE["floor"](exponent * 0.5)
    return x * TABLE["exp2"](-half) * TABLE["exp2"](half - exponent)


@method
def ldexp(input: Tensor, other: Any) -> Tensor:
    """input * 2**other."""
    return input * (TABLE["exp2"](other) if isinstance(other, Tensor) else 2.0**other)


# --- functions of one float -------------------------------------------------------------------------------------------
@method
def deg2rad(input: Tensor) -> Tensor:
    """Degrees as radians."""
    return input * (math.pi / 180)


@method
def rad2deg(input: Tensor) -> Tensor:
    """Radians as degrees."""
    return input * (180 / math.pi)


@method
def sinc(input: Tensor) -> Tensor:
    """sin(pi x) / (pi x), and 1 at 0."""
    zero = TABLE["eq"](input, 0)
    angle = where(zero, 1.0, input * math.pi)
    return where(zero, 1.0, TABLE["sin"](angle) / angle)


@method
def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """log(x / (1 - x)), the inverse of the sigmoid; with `eps`, x is first clamped to [eps, 1 - eps]."""
    if eps is not None:
        input = where(input < eps, eps, where(input > 1 - eps, 1 - eps, input))
    return apply_op(OPS["logit"], input)


@method
def digamma(input: Tensor) -> Tensor:
    """The logarithmic derivative of the gamma function (Abramowitz and Stegun 6.3.5, 6.3.7, 6.3.18)."""
    wide = input if input.dtype.is_float else to_dtype(input, dt.default())
    return new(digamma_of(wide.node), wide.device, wide)


@method
def mvlgamma(input: Tensor, p: int) -> Tensor:
    """The logarithm of the multivariate gamma function of dimension p; raises DTypeError where p is below 1."""
    if p < 1:
        raise DTypeError(f"mvlgamma: p is {p}, but a dimension is 1 or more")
    wide = input if input.dtype.is_float else to_dtype(input, dt.default())
    out = TABLE["lgamma"](wide) + p * (p - 1) / 4 * math.log(math.pi)
    for j in range(1, p):
        out = out + TABLE["lgamma"](wide - j / 2)
    return out


@method
def nan_to_num(
    input: Tensor, nan: float | None = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """`nan` for nan, `posinf` and `neginf` for the infinities: by default 0 and the dtype's largest numbers."""
    if not input.dtype.is_float:
        return new(input.node, input.device)
    limit = float(ml_dtypes.finfo(input.dtype.numpy).max)
    high, low = limit if posinf is None else posinf, -limit if neginf is None else neginf
    out = where(TABLE["isnan"](input), 0.0 if nan is None else nan, input)
    return where(TABLE["eq"](input, math.inf), high, where(TABLE["eq"](input, -math.inf), low, out))


# --- of two tensors ---------------------------------------------------------------------------------------------------
@method
def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """0 where the input is negative or nan, 1 where positive, `values` where it is 0; both must have one dtype."""
    if input.dtype is not values.dtype:
        raise DTypeError(f"heaviside: got {input.dtype} and {values.dtype}; cast one of them to the other's dtype")
    return where(TABLE["eq"](input, 0), values, to_dtype(input > 0, input.dtype))


@method
def lcm(input: Tensor, other: Tensor) -> Tensor:
    """The least common multiple of integers, 0 where one of them is."""
    return TABLE["abs"](input // TABLE["gcd"](input, other)) * TABLE["abs"](other)


_sign, _signbit = TABLE["sign"], TABLE["signbit"]


@in_table
def sign(input: Tensor) -> Tensor:
    """1, 0 or -1; 0 of nan; truth values stay what they are."""
    return _sign(input) if input.dtype is not dt.boolean else new(input.node, input.device)


@in_table
def signbit(input: Tensor) -> Tensor:
    """True where the sign is minus: of -0.0 and of a nan with that bit too."""
    if input.dtype.is_float:
        return _signbit(input)
    return input < 0 if input.dtype is not dt.boolean else new(nd.like(truth(input.node), False), input.device)


def _alias(name: str, of: str) -> None:
    """PyTorch's other name of a function."""
    original = TABLE[of]

    @functools.wraps(original)
    def function(*args: Any, **kwargs: Any) -> Tensor:
        return original(*args, **kwargs)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Another name of `{of}`."
    in_table(function)


for _name, _of in (
    ("absolute", "abs"), ("negative", "neg"), ("subtract", "sub"), ("multiply", "mul"), ("divide", "div"),
    ("true_divide", "div"), ("fix", "trunc"), ("sgn", "sign"), ("arcsin", "asin"), ("arccos", "acos"),
    ("arctan", "atan"), ("arctan2", "atan2"), ("arcsinh", "asinh"), ("arccosh", "acosh"), ("arctanh", "atanh"),
    ("greater", "gt"), ("greater_equal", "ge"), ("less", "lt"), ("less_equal", "le"), ("not_equal", "ne"),
):  # fmt: skip
    _alias(_name, _of)
