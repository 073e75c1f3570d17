"""Elementwise activations and softmax. Shapes: any (*), and the result has the input's shape and dtype.

`inplace=True` lets the input's handle take the result; tensors made from it before keep their values.
"""

from collections.abc import Callable
from typing import Any

from flame.ir.dtype import DType
from flame.ops import activation
from flame.ops.create import arange
from flame.ops.elementwise import where
from flame.ops.method import axis
from flame.ops.random import rand
from flame.tensor import Tensor

__all__ = [
    "celu",
    "celu_",
    "elu",
    "elu_",
    "gelu",
    "glu",
    "gumbel_softmax",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "hardtanh_",
    "leaky_relu",
    "leaky_relu_",
    "log_softmax",
    "logsigmoid",
    "mish",
    "prelu",
    "relu",
    "relu6",
    "relu_",
    "rrelu",
    "rrelu_",
    "selu",
    "selu_",
    "sigmoid",
    "silu",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "threshold",
    "threshold_",
]


def _given(input: Tensor, result: Tensor, inplace: bool, name: str) -> Tensor:
    """The result, which the input's handle takes where `inplace`."""
    return input._become(result, f"{name}(inplace=True)") if inplace else result


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(0, x), and nan where x is nan. (*) → (*).

    >>> relu(flame.tensor([-1.0, 2.0])).numpy().tolist()
    [0.0, 2.0]
    """
    return _given(input, input.relu(), inplace, "relu")


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(0, x), 6) (Krizhevsky, 2010). (*) → (*).

    >>> relu6(flame.tensor([-1.0, 2.0, 9.0])).numpy().tolist()
    [0.0, 2.0, 6.0]
    """
    return _given(input, activation.hardtanh(input, 0.0, 6.0), inplace, "relu6")


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, else negative_slope · x (Maas et al., 2013). (*) → (*), floating.

    >>> leaky_relu(flame.tensor([-1.0, 2.0]), 0.5).numpy().tolist()
    [-0.5, 2.0]
    """
    return _given(input, activation.leaky_relu(input, negative_slope), inplace, "leaky_relu")


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x where x > 0, else weight · x (He et al., arXiv:1502.01852). (N, C, *) and (C) or (1) → (N, C, *).

    Raises ShapeError for a weight that is neither one number nor one for each channel.

    >>> prelu(flame.tensor([-1.0, 2.0]), flame.tensor([0.25])).numpy().tolist()
    [-0.25, 2.0]
    """
    return activation.prelu(input, weight)


def rrelu(
    input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """x where x > 0, else a · x with a drawn from [lower, upper) (Xu et al., arXiv:1505.00853). (*) → (*), floating.

    Without `training` a is the mean of both. Raises DTypeError where lower is above upper.

    >>> rrelu(flame.tensor([-1.0, 2.0]), 0.25, 0.75).numpy().tolist()
    [-0.5, 2.0]
    """
    return _given(input, activation.rrelu(input, lower, upper, training), inplace, "rrelu")


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha (exp(x) − 1) (Clevert et al., arXiv:1511.07289). (*) → (*), floating.

    >>> [round(v, 4) for v in elu(flame.tensor([-1.0, 2.0])).numpy().tolist()]
    [-0.6321, 2.0]
    """
    return _given(input, activation.elu(input, alpha), inplace, "elu")


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """elu with the scales that keep mean 0 and variance 1 (Klambauer et al., arXiv:1706.02515). (*) → (*), floating.

    >>> round(selu(flame.tensor(1.0)).item(), 4)
    1.0507
    """
    return _given(input, activation.selu(input), inplace, "selu")


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha (exp(x / alpha) − 1) (Barron, arXiv:1704.07483). (*) → (*), floating.

    Raises DTypeError where alpha is 0.

    >>> round(celu(flame.tensor(-1.0), 2.0).item(), 4)
    -0.7869
    """
    return _given(input, activation.celu(input, alpha), inplace, "celu")


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x · Φ(x) with the normal distribution's Φ (Hendrycks and Gimpel, arXiv:1606.08415). (*) → (*), floating.

    approximate="none" computes Φ with erf, "tanh" as (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2.
    Raises DTypeError for another word.

    >>> round(gelu(flame.tensor(1.0)).item(), 4), round(gelu(flame.tensor(1.0), "tanh").item(), 4)
    (0.8413, 0.8412)
    """
    return activation.gelu(input, approximate)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """a · sigmoid(b) of the two halves along `dim` (Dauphin et al., arXiv:1612.08083). (*, 2n, *) → (*, n, *).

    Raises ShapeError for a size that is odd.

    >>> glu(flame.tensor([3.0, 0.0])).numpy().tolist()
    [1.5]
    """
    return activation.glu(input, dim)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x · sigmoid(x), also called swish (Elfwing et al., arXiv:1702.03118). (*) → (*), floating.

    >>> round(silu(flame.tensor(1.0)).item(), 4)
    0.7311
    """
    return _given(input, activation.silu(input), inplace, "silu")


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x · tanh(log(1 + exp(x))) (Misra, arXiv:1908.08681). (*) → (*), floating.

    >>> round(mish(flame.tensor(1.0)).item(), 4)
    0.8651
    """
    return _given(input, activation.mish(input), inplace, "mish")


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x · hardsigmoid(x) (Howard et al., arXiv:1905.02244). (*) → (*), floating.

    >>> hardswish(flame.tensor([-4.0, 0.0, 4.0])).numpy().tolist()
    [-0.0, 0.0, 4.0]
    """
    return _given(input, activation.hardswish(input), inplace, "hardswish")


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """(x + 3) / 6 between 0 and 1 (Courbariaux et al., arXiv:1511.00363). (*) → (*), floating.

    >>> hardsigmoid(flame.tensor([-4.0, 0.0, 4.0])).numpy().tolist()
    [0.0, 0.5, 1.0]
    """
    return _given(input, activation.hardsigmoid(input), inplace, "hardsigmoid")


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """x between min_val and max_val, where the gradient is 0. (*) → (*).

    Raises DTypeError where min_val is above max_val.

    >>> hardtanh(flame.tensor([-4.0, 0.5, 4.0])).numpy().tolist()
    [-1.0, 0.5, 1.0]
    """
    return _given(input, activation.hardtanh(input, min_val, max_val), inplace, "hardtanh")


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x where |x| > lambd, else 0. (*) → (*), floating.

    >>> hardshrink(flame.tensor([-0.2, 3.0])).numpy().tolist()
    [0.0, 3.0]
    """
    return activation.hardshrink(input, lambd)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by lambd, and 0 within it. (*) → (*), floating.

    Raises DTypeError where lambd is negative.

    >>> softshrink(flame.tensor([-2.0, 3.0])).numpy().tolist()
    [-1.5, 2.5]
    """
    return activation.softshrink(input, lambd)


def tanhshrink(input: Tensor) -> Tensor:
    """x − tanh(x). (*) → (*), floating.

    >>> round(tanhshrink(flame.tensor(1.0)).item(), 4)
    0.2384
    """
    return input - input.tanh()


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|). (*) → (*), floating.

    >>> softsign(flame.tensor([-1.0, 3.0])).numpy().tolist()
    [-0.5, 0.75]
    """
    return activation.softsign(input)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta x)) / beta, and x where beta x > threshold (Glorot et al., 2011). (*) → (*), floating.

    >>> round(softplus(flame.tensor(0.0)).item(), 4)
    0.6931
    """
    return activation.softplus(input, beta, threshold)


def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)), finite for every finite x. (*) → (*), floating.

    >>> logsigmoid(flame.tensor(-1000.0)).item()
    -1000.0
    """
    return activation.logsigmoid(input)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where x > threshold, else `value`. (*) → (*).

    >>> threshold(flame.tensor([0.1, 2.0]), 0.5, 9.0).numpy().tolist()
    [9.0, 2.0]
    """
    return _given(input, activation.threshold(input, threshold, value), inplace, "threshold")


def tanh(input: Tensor) -> Tensor:
    """Hyperbolic tangent. (*) → (*), floating.

    >>> tanh(flame.tensor(0.0)).item()
    0.0
    """
    return input.tanh()


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(−x)). (*) → (*), floating.

    >>> sigmoid(flame.tensor(0.0)).item()
    0.5
    """
    return input.sigmoid()


# --- along a dimension ------------------------------------------------------------------------------------------------
def softmax(input: Tensor, dim: int | None = None, dtype: DType | None = None) -> Tensor:
    """exp(x) / Σ exp(x) along `dim`, shifted by the maximum so that it cannot overflow. (*) → (*), floating.

    `dtype` casts the input first. Without `dim` it warns and takes PyTorch's old choice: 0 for 0, 1 or 3 dimensions,
    else 1. Raises IndexingError for a `dim` that the input has not.

    >>> softmax(flame.tensor([0.0, 0.0]), dim=0).numpy().tolist()
    [0.5, 0.5]
    """
    return activation.softmax(input, dim, dtype)


def softmin(input: Tensor, dim: int | None = None, dtype: DType | None = None) -> Tensor:
    """softmax(−x). (*) → (*), floating.

    >>> softmin(flame.tensor([0.0, 0.0]), dim=0).numpy().tolist()
    [0.5, 0.5]
    """
    return activation.softmax(-input, dim, dtype)


def log_softmax(input: Tensor, dim: int | None = None, dtype: DType | None = None) -> Tensor:
    """x − log Σ exp(x) along `dim`, without overflow or a logarithm of 0. (*) → (*), floating.

    `dtype` and `dim` as in `softmax`.

    >>> [round(v, 4) for v in log_softmax(flame.tensor([0.0, 0.0]), dim=0).numpy().tolist()]
    [-0.6931, -0.6931]
    """
    return activation.log_softmax(input, dim, dtype)


def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """softmax((logits + g) / tau) with Gumbel noise g (Jang et al., arXiv:1611.01144). (*) → (*), floating.

    With `hard` the result is one-hot, with the gradient of the soft one. `eps` says nothing, as in PyTorch.

    >>> gumbel_softmax(flame.tensor([0.0, 0.0]), hard=True).sum().item()
    1.0
    """
    uniform = rand(logits.shape, device=logits.device) + 2.0**-25  # inside (0, 1)
    noise = (-(-uniform.log()).log()).to(logits.dtype)
    soft = activation.softmax((logits + noise) / tau, dim)
    if not hard:
        return soft
    chosen = soft.detach().argmax(dim, keepdim=True)
    at = axis("gumbel_softmax", dim, soft.ndim)
    places = arange(soft.shape[at], device=soft.device).reshape(-1, *(1,) * (soft.ndim - 1 - at))
    return where(places.eq(chosen), 1.0, 0.0).to(soft.dtype) - soft.detach() + soft


# --- in place ---------------------------------------------------------------------------------------------------------
def _in_place(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def change(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return function(input, *args, inplace=True, **kwargs)

    change.__name__ = change.__qualname__ = f"{function.__name__}_"
    change.__doc__ = f"`{function.__name__}` with inplace=True."
    return change


relu_ = _in_place(relu)
leaky_relu_ = _in_place(leaky_relu)
rrelu_ = _in_place(rrelu)
elu_ = _in_place(elu)
selu_ = _in_place(selu)
celu_ = _in_place(celu)
hardtanh_ = _in_place(hardtanh)
threshold_ = _in_place(threshold)
