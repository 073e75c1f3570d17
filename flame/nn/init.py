"""Starting values, with the names and formulas of torch.nn.init. Each gives the tensor new values and returns it.

Random ones draw from `flame.random`'s stream: `flame.manual_seed` repeats them.
"""

import math

import numpy as np

from flame.errors import FlameError, ShapeError
from flame.ops.random import rand, randn
from flame.recording import no_grad
from flame.tensor import Tensor, from_array


def constant_(tensor: Tensor, val: float) -> Tensor:
    """`val` everywhere."""
    return set_(tensor, from_array(np.full(tensor.shape, val, tensor.dtype.numpy), tensor.device))


def zeros_(tensor: Tensor) -> Tensor:
    """0 everywhere."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """1 everywhere."""
    return constant_(tensor, 1.0)


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Uniform in [a, b)."""
    return set_(tensor, rand(tensor.shape, device=tensor.device) * (b - a) + a)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Normal with the given mean and standard deviation."""
    return set_(tensor, randn(tensor.shape, device=tensor.device) * std + mean)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Uniform in ±gain · √(6 / (fan_in + fan_out)) (Glorot and Bengio, AISTATS 2010)."""
    fan_in, fan_out = fans(tensor)
    bound = gain * math.sqrt(6 / (fan_in + fan_out))
    return uniform_(tensor, -bound, bound)


def kaiming_uniform_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Uniform in ±gain · √(3 / fan) (He et al., arXiv:1502.01852), with the gain of (leaky) relu of slope `a`, or 1."""
    gains = {"leaky_relu": math.sqrt(2 / (1 + a * a)), "relu": math.sqrt(2), "tanh": 5 / 3, "linear": 1.0}
    if nonlinearity not in gains or mode not in ("fan_in", "fan_out"):
        raise FlameError(
            f"kaiming_uniform_: nonlinearity is {nonlinearity!r} and mode {mode!r}; "
            f"use one of {', '.join(gains)} and fan_in or fan_out"
        )
    bound = gains[nonlinearity] * math.sqrt(3 / fans(tensor)[mode == "fan_out"])
    return uniform_(tensor, -bound, bound)


def fans(tensor: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight (out, in, *field)."""
    if tensor.ndim < 2:
        raise ShapeError(f"nn.init: fans need a weight of at least 2 dimensions, not the shape {tuple(tensor.shape)}")
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def set_(tensor: Tensor, value: Tensor) -> Tensor:
    """The tensor with a new value, cast to its dtype; nothing is computed yet."""
    with no_grad():
        return tensor.copy_(value)
