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


def trunc_normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> Tensor:
    """Normal within [a, b], by the inverse of the distribution function."""
    low, high = (math.erf((edge - mean) / (std * math.sqrt(2))) for edge in (a, b))
    place = rand(tensor.shape, device=tensor.device) * (high - low) + low
    return set_(tensor, (place.erfinv() * (std * math.sqrt(2)) + mean).clamp(a, b))


def eye_(tensor: Tensor) -> Tensor:
    """1 on the diagonal of a matrix, 0 elsewhere."""
    if tensor.ndim != 2:
        raise ShapeError(f"eye_: needs a matrix, got shape {tuple(tensor.shape)}")
    return set_(tensor, from_array(np.eye(*tensor.shape, dtype=tensor.dtype.numpy), tensor.device))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """The convolution weight (out, in, *field) that passes its input's channels through."""
    if tensor.ndim not in (3, 4, 5) or tensor.shape[0] % groups:
        raise ShapeError(f"dirac_: needs a weight of 3 to 5 dimensions whose first is a multiple of {groups}")
    value = np.zeros(tensor.shape, np.float32)
    rows, centre = tensor.shape[0] // groups, tuple(n // 2 for n in tensor.shape[2:])
    for g in range(groups):
        for d in range(min(rows, tensor.shape[1])):
            value[(g * rows + d, d, *centre)] = 1
    return set_(tensor, from_array(value.astype(tensor.dtype.numpy), tensor.device))


def orthogonal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Rows or columns, whichever are fewer, orthonormal times `gain` (Saxe et al., arXiv:1312.6120)."""
    if tensor.ndim < 2:
        raise ShapeError(f"orthogonal_: needs at least 2 dimensions, got shape {tuple(tensor.shape)}")
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    drawn = randn(rows, columns).numpy().astype(np.float64)
    q, r = np.linalg.qr(drawn.T if rows < columns else drawn)
    q = q * np.sign(np.diag(r))
    value = (q.T if rows < columns else q).reshape(tensor.shape) * gain
    return set_(tensor, from_array(np.ascontiguousarray(value).astype(tensor.dtype.numpy), tensor.device))


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01) -> Tensor:
    """Normal, with a share `sparsity` of each column 0 (Martens, ICML 2010)."""
    if tensor.ndim != 2:
        raise ShapeError(f"sparse_: needs a matrix, got shape {tuple(tensor.shape)}")
    zeros = math.ceil(sparsity * tensor.shape[0])
    order = np.argsort(rand(tensor.shape).numpy(), axis=0)
    return set_(tensor, randn(tensor.shape) * std * from_array((order >= zeros).astype(np.float32)))


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps variances through a nonlinearity; `param` is leaky_relu's slope."""
    slope = 0.01 if param is None else param
    gains = {"relu": math.sqrt(2), "tanh": 5 / 3, "selu": 3 / 4, "leaky_relu": math.sqrt(2 / (1 + slope * slope))}
    plain = ("linear", "sigmoid", *(f"conv{t}{n}d" for t in ("", "_transpose") for n in (1, 2, 3)))
    if nonlinearity not in (*gains, *plain):
        raise FlameError(f"calculate_gain: nonlinearity is {nonlinearity!r}; use one of {', '.join((*gains, *plain))}")
    return gains.get(nonlinearity, 1.0)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Uniform in ±gain · √(6 / (fan_in + fan_out)) (Glorot and Bengio, AISTATS 2010)."""
    bound = gain * math.sqrt(6 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Normal with deviation gain · √(2 / (fan_in + fan_out)) (Glorot and Bengio, AISTATS 2010)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(fans(tensor))))


def kaiming_uniform_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Uniform in ±gain · √(3 / fan) (He et al., arXiv:1502.01852), with the gain of (leaky) relu of slope `a`, or 1."""
    bound = math.sqrt(3) * _deviation(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Normal with deviation gain / √fan (He et al., arXiv:1502.01852)."""
    return normal_(tensor, 0.0, _deviation(tensor, a, mode, nonlinearity))


def _deviation(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise FlameError(f"kaiming: mode is {mode!r}; use fan_in or fan_out")
    fan = fans(tensor)[mode == "fan_out"] or 1  # 0 of a tensor without elements
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


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
