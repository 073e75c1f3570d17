"""Linear, LayerNorm, Embedding, Dropout and the activations as modules, with PyTorch's parameters."""

import math
from collections.abc import Sequence

from flame.errors import FlameError, IndexingError
from flame.ir.dtype import DType
from flame.nn import functional as F
from flame.nn import init
from flame.nn.module import Module
from flame.nn.parameter import blank
from flame.ops.create import arange
from flame.ops.elementwise import where
from flame.tensor import Tensor


class Linear(Module):
    """x Wᵀ + b. (*, in_features) → (*, out_features). `weight` is (out_features, in_features), `bias` (out_features).

    Both start uniform in ±1/√in_features.

    >>> flame.nn.Linear(4, 3)(flame.ones(2, 4)).shape
    (2, 3)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: str | None = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = blank(out_features, in_features, device=device, dtype=dtype)
        self.register_parameter("bias", blank(out_features, device=device, dtype=dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new starting values."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features) if self.in_features else 0.0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        """(*, in_features) → (*, out_features)."""
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class LayerNorm(Module):
    """Normalization over the last dimensions (Ba et al., arXiv:1607.06450). (*, normalized_shape) → the same.

    `weight` (ones) and `bias` (zeros) have the shape `normalized_shape`; `elementwise_affine=False` does without both.

    >>> flame.nn.LayerNorm(8)(flame.ones(2, 8)).shape
    (2, 8)
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: str | None = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape, self.eps, self.elementwise_affine = shape, eps, elementwise_affine
        affine = elementwise_affine
        self.register_parameter("weight", blank(*shape, device=device, dtype=dtype) if affine else None)
        self.register_parameter("bias", blank(*shape, device=device, dtype=dtype) if affine and bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Ones and zeros."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """(*, normalized_shape) → the same."""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        affine = f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        return f"{self.normalized_shape}, eps={self.eps}, {affine}"


class Embedding(Module):
    """A table of vectors read by number. Integers (*) → (*, embedding_dim).

    `weight` is (num_embeddings, embedding_dim). The table starts normal with variance 1; the row `padding_idx` starts
    at 0 and gets no gradient.

    >>> flame.nn.Embedding(10, 4)(flame.tensor([1, 9])).shape
    (2, 4)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        device: str | None = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise IndexingError(f"Embedding: padding_idx is {padding_idx}, but there are {num_embeddings} rows")
            padding_idx %= num_embeddings
        self.padding_idx = padding_idx
        self.weight = blank(num_embeddings, embedding_dim, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw a new table."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            rows = arange(self.num_embeddings, device=self.weight.device).unsqueeze(-1)
            init.set_(self.weight, where(rows == self.padding_idx, 0.0, self.weight))

    def forward(self, input: Tensor) -> Tensor:
        """Integers (*) → (*, embedding_dim)."""
        return F.embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class Dropout(Module):
    """In training, zero each element with probability `p` and scale the rest by 1/(1−p). (*) → (*).

    >>> flame.nn.Dropout(0.1).eval()(flame.ones(2)).numpy().tolist()
    [1.0, 1.0]
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise FlameError(f"Dropout: p is {p}, but a probability lies between 0 and 1")
        self.p = p

    def forward(self, input: Tensor) -> Tensor:
        """(*) → (*)."""
        return F.dropout(input, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace=False"


class ReLU(Module):
    """max(0, x). (*) → (*)."""

    def forward(self, input: Tensor) -> Tensor:
        """(*) → (*)."""
        return F.relu(input)


class LeakyReLU(Module):
    """x where x > 0, else negative_slope · x. (*) → (*)."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self.negative_slope = negative_slope

    def forward(self, input: Tensor) -> Tensor:
        """(*) → (*)."""
        return F.leaky_relu(input, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class SiLU(Module):
    """x · sigmoid(x). (*) → (*)."""

    def forward(self, input: Tensor) -> Tensor:
        """(*) → (*)."""
        return F.silu(input)


class GELU(Module):
    """x · Φ(x), with `approximate="tanh"` as PyTorch's approximation by tanh. (*) → (*)."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        """(*) → (*)."""
        return F.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"
