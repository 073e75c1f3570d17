"""Activations and softmax, written in other functions: their gradients and fusions follow."""

import math

from flame.errors import DTypeError
from flame.ir.dtype import DType
from flame.ops.elementwise import to_dtype, where
from flame.ops.method import method
from flame.ops.reduce import amax
from flame.tensor import Tensor

__all__ = ["gelu", "leaky_relu", "log_softmax", "silu", "softmax"]


@method
def silu(input: Tensor) -> Tensor:
    """x * sigmoid(x) (Elfwing et al. 2018)."""
    return input * input.sigmoid()


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x times the normal distribution function at x, or its "tanh" approximation (Hendrycks and Gimpel 2016)."""
    if approximate == "none":
        return input * 0.5 * ((input * math.sqrt(0.5)).erf() + 1.0)
    if approximate == "tanh":
        inner = (input + input * input * input * 0.044715) * math.sqrt(2 / math.pi)
        return input * 0.5 * (inner.tanh() + 1.0)
    raise DTypeError(f"gelu: approximate is {approximate!r}; choose 'none' or 'tanh'")


def leaky_relu(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x where positive, else negative_slope * x."""
    return where(input > 0, input, input * negative_slope)


@method
def softmax(input: Tensor, dim: int, dtype: DType | None = None) -> Tensor:
    """exp(x) over its sum along `dim`; `(…)` to the same shape."""
    wide = input if dtype is None else to_dtype(input, dtype)
    e = (wide - amax(wide.detach(), dim, True)).exp()
    return e / e.sum(dim, True)


@method
def log_softmax(input: Tensor, dim: int, dtype: DType | None = None) -> Tensor:
    """The logarithm of softmax along `dim`, without its rounding."""
    wide = input if dtype is None else to_dtype(input, dtype)
    centred = wide - amax(wide.detach(), dim, True)
    return centred - centred.exp().sum(dim, True).log()
