"""Elementwise activations and softmax. Shapes: any (*), and the result has the input's shape and dtype."""

from flame.ir.dtype import DType
from flame.ops import activation
from flame.tensor import Tensor

__all__ = ["gelu", "leaky_relu", "log_softmax", "relu", "silu", "softmax"]


def relu(input: Tensor) -> Tensor:
    """max(0, x), and nan where x is nan. (*) → (*).

    >>> relu(flame.tensor([-1.0, 2.0])).numpy().tolist()
    [0.0, 2.0]
    """
    return input.relu()


def leaky_relu(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x where x > 0, else negative_slope · x (Maas et al., 2013). (*) → (*), floating.

    >>> leaky_relu(flame.tensor([-1.0, 2.0]), 0.5).numpy().tolist()
    [-0.5, 2.0]
    """
    return activation.leaky_relu(input, negative_slope)


def silu(input: Tensor) -> Tensor:
    """x · sigmoid(x), also called swish (Elfwing et al., arXiv:1702.03118). (*) → (*), floating.

    >>> round(silu(flame.tensor(1.0)).item(), 4)
    0.7311
    """
    return activation.silu(input)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x · Φ(x) with the normal distribution's Φ (Hendrycks and Gimpel, arXiv:1606.08415). (*) → (*), floating.

    approximate="none" computes Φ with erf, "tanh" as (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2.
    Raises DTypeError for another word.

    >>> round(gelu(flame.tensor(1.0)).item(), 4), round(gelu(flame.tensor(1.0), "tanh").item(), 4)
    (0.8413, 0.8412)
    """
    return activation.gelu(input, approximate)


def softmax(input: Tensor, dim: int, dtype: DType | None = None) -> Tensor:
    """exp(x) / Σ exp(x) along `dim`, shifted by the maximum so that it cannot overflow. (*) → (*), floating.

    `dtype` casts the input first. Raises IndexingError for a `dim` that the input has not.

    >>> softmax(flame.tensor([0.0, 0.0]), dim=0).numpy().tolist()
    [0.5, 0.5]
    """
    return activation.softmax(input, dim, dtype)


def log_softmax(input: Tensor, dim: int, dtype: DType | None = None) -> Tensor:
    """x − log Σ exp(x) along `dim`, without overflow or a logarithm of 0. (*) → (*), floating.

    `dtype` casts the input first. Raises IndexingError for a `dim` that the input has not.

    >>> [round(v, 4) for v in log_softmax(flame.tensor([0.0, 0.0]), dim=0).numpy().tolist()]
    [-0.6931, -0.6931]
    """
    return activation.log_softmax(input, dim, dtype)
