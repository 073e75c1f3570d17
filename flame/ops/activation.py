"""Activations and softmax, written in other functions: their gradients and fusions follow."""

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

from flame.errors import DTypeError, ShapeError
from flame.ir import dtype as dt
from flame.ir.dtype import DType
from flame.ops.elementwise import TABLE, to_dtype, where
from flame.ops.method import axis, element, method
from flame.ops.part import chunk
from flame.ops.random import rand
from flame.ops.reduce import amax
from flame.tensor import Tensor

__all__ = [
    "celu",
    "gelu",
    "hardshrink",
    "leaky_relu",
    "log_softmax",
    "prelu",
    "rrelu",
    "selu",
    "silu",
    "softmax",
    "threshold",
]


def floating(name: str, input: Tensor) -> Tensor:
    """The tensor, unless it has a dtype that the activation has no values in."""
    if not input.dtype.is_float:
        raise DTypeError(f"{name}: needs a floating tensor, got {input.dtype}; cast it first, e.g. .float()")
    return input


# --- linear on one side -----------------------------------------------------------------------------------------------
def in_float32(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function of several steps whose half precisions are rounded once, at its end, as PyTorch's kernels do."""

    @functools.wraps(function)
    def widely(input: Tensor, *args: Any, **named: Any) -> Tensor:
        if not isinstance(input, Tensor) or not input.dtype.is_float or input.dtype.size != 2:
            return function(input, *args, **named)
        return to_dtype(function(to_dtype(input, dt.float32), *args, **named), input.dtype)

    return widely


def leaky_relu(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x where positive, else negative_slope * x."""
    x = floating("leaky_relu", input)
    return where(x > 0, x, x * negative_slope)


def rrelu(input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False) -> Tensor:
    """As leaky_relu, with a slope drawn for each element in training, and the mean one elsewhere."""
    if lower > upper:
        raise DTypeError(f"rrelu: the lower slope {lower} is above the upper one {upper}; exchange them")
    if not training:
        return leaky_relu(floating("rrelu", input), (lower + upper) / 2)
    slope = rand(input.shape, dtype=input.dtype, device=input.device) * (upper - lower) + lower
    return where(floating("rrelu", input) > 0, input, input * slope)


@method
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x where positive, else weight * x, with one weight, or one for each channel (dimension 1)."""
    if weight.numel() != 1:
        channels = input.shape[1] if input.ndim > 1 else 1
        if weight.ndim != 1 or weight.numel() != channels:
            raise ShapeError(
                f"prelu: a weight of shape {weight.shape} does not fit an input of shape {input.shape}; it needs one "
                f"element, or one for each of the {channels} channels in dimension 1"
            )
        weight = weight.reshape(-1, *(1,) * (input.ndim - 2))
    elif weight.ndim:
        weight = weight.reshape(())
    if weight.dtype is not input.dtype:
        raise DTypeError(f"prelu: the input is {input.dtype}, the weight {weight.dtype}; cast one of them")
    return where(input > 0, input, weight * input)


def _elu(input: Tensor, alpha: float, scale: float, inner: float) -> Tensor:
    """scale * x where positive, else scale * alpha * (exp(inner * x) - 1)."""
    positive = input > 0
    below = where(positive, 0.0, input)  # a large positive number must not overflow, in the gradient either
    return where(positive, input * scale if scale != 1 else input, (below * inner).expm1() * (alpha * scale))


@in_float32
def elu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """x where positive, else alpha * (exp(x) - 1) (Clevert et al., 2016)."""
    return _elu(floating("elu", input), alpha, 1, 1)


@in_float32
def celu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """x where positive, else alpha * (exp(x / alpha) - 1) (Barron, 2017)."""
    if alpha == 0:
        raise DTypeError("celu: alpha is 0, by which x is divided; use relu()")
    return _elu(floating("celu", input), alpha, 1, 1 / alpha)


SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


@in_float32
def selu(input: Tensor) -> Tensor:
    """elu with the constants that keep mean 0 and variance 1 (Klambauer et al., 2017)."""
    return _elu(floating("selu", input), SELU_ALPHA, SELU_SCALE, 1)


# --- pieces of lines --------------------------------------------------------------------------------------------------
def threshold(input: Tensor, threshold: float, value: float) -> Tensor:
    """x where above the threshold, else `value`."""
    limit, instead = (element("threshold", v, input.dtype) for v in (threshold, value))
    return where(input <= limit, instead, input)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """x between two limits, which themselves get no gradient."""
    if min_val > max_val:
        raise DTypeError(f"hardtanh: min_val={min_val} is above max_val={max_val}; exchange them")
    low, high = (element("hardtanh", v, input.dtype) for v in (min_val, max_val))
    return where(input <= low, low, where(input >= high, high, input))


@in_float32
def hardsigmoid(input: Tensor) -> Tensor:
    """(x + 3) / 6 between 0 and 1."""
    return hardtanh(floating("hardsigmoid", input) + 3, 0, 6) / 6


@in_float32
def hardswish(input: Tensor) -> Tensor:
    """x * hardsigmoid(x) (Howard et al., 2019), with the gradient 0 from -3 down and 1 from 3 on."""
    x = floating("hardswish", input)
    return where(x <= -3, x * 0.0, where(x >= 3, x, x * (x + 3) / 6))


@method
def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x beyond lambd on either side, else 0."""
    x = floating("hardshrink", input)
    return where((x >= -lambd) & TABLE["le"](x, lambd), 0.0, x)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by lambd, and 0 within."""
    if lambd < 0:
        raise DTypeError(f"softshrink: lambd is {lambd}, but must not be negative")
    x = floating("softshrink", input)
    return where(x > lambd, x - lambd, where(x < -lambd, x + lambd, x * 0.0))


# --- smooth -----------------------------------------------------------------------------------------------------------
@method
def silu(input: Tensor) -> Tensor:
    """x * sigmoid(x) (Elfwing et al. 2018)."""
    x = floating("silu", input)
    return x * x.sigmoid()


@in_float32
def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta x)) / beta, and x itself where beta x is above the threshold."""
    scaled = floating("softplus", input) * beta
    large = scaled > threshold
    return where(large, input, where(large, 0.0, scaled).exp().log1p() / beta)


@in_float32
def mish(input: Tensor) -> Tensor:
    """x * tanh(softplus(x)) (Misra, 2019)."""
    return input * softplus(floating("mish", input)).tanh()


@in_float32
def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)), which does not overflow."""
    x = floating("logsigmoid", input)
    return TABLE["minimum"](x, 0) - (-TABLE["abs"](x)).exp().log1p()


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return input / (TABLE["abs"](input) + 1)


@in_float32
def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x times the normal distribution function at x, or its "tanh" approximation (Hendrycks and Gimpel 2016)."""
    x = floating("gelu", input)
    if approximate == "none":
        return x * 0.5 * ((x * math.sqrt(0.5)).erf() + 1.0)
    if approximate == "tanh":
        inner = (x + x * x * x * 0.044715) * math.sqrt(2 / math.pi)
        return x * 0.5 * (inner.tanh() + 1.0)
    raise DTypeError(f"gelu: approximate is {approximate!r}; choose 'none' or 'tanh'")


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half along `dim` times the sigmoid of the second (Dauphin et al., 2017)."""
    at = axis("glu", dim, input.ndim)
    if not input.ndim or input.shape[at] % 2:
        raise ShapeError(f"glu: dimension {dim} of shape {input.shape} must have an even size to be halved")
    first, second = chunk(floating("glu", input), 2, at)
    return first * second.sigmoid()


# --- along a dimension ------------------------------------------------------------------------------------------------
def _along(name: str, input: Tensor, dim: int | None, dtype: DType | None) -> tuple[Tensor, int]:
    """The operand in the wanted dtype, and the dimension; where none is given, the old choice with its warning."""
    if dim is None:
        dim = 0 if input.ndim in (0, 1, 3) else 1
        warnings.warn(f"{name}: no dim is given, {dim} is taken; say dim={dim}", stacklevel=4)
    return floating(name, input if dtype is None else to_dtype(input, dtype)), axis(name, dim, input.ndim)


def _centred(x: Tensor, dim: int) -> Tensor:
    return x - amax(x.detach(), dim, True)


@method
def softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """exp(x) over its sum along `dim`; `(…)` to the same shape."""
    x, dim = _along("softmax", input, dim, dtype)
    if not x.ndim or not x.numel():
        return (x - x).exp()
    e = _centred(x, dim).exp()
    return e / e.sum(dim, True)


@method
def log_softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """The logarithm of softmax along `dim`, without its rounding."""
    x, dim = _along("log_softmax", input, dim, dtype)
    if not x.ndim or not x.numel():
        return x - x
    centred = _centred(x, dim)
    return centred - centred.exp().sum(dim, True).log()
