"""Activations as modules; each is the function of nn.functional that it names."""

from flame.ir.dtype import DType
from flame.nn import functional as F
from flame.nn import init
from flame.nn.module import Module
from flame.nn.parameter import blank
from flame.nn.plain import REQUIRED, Plain
from flame.tensor import Tensor

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "SELU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "PReLU",
    "RReLU",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softmax2d",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Threshold",
]


class ReLU(Plain):
    """max(0, x). (*) → (*)."""

    function, options = "relu", {"inplace": False}


class ReLU6(Plain):
    """min(max(0, x), 6). (*) → (*)."""

    function, options = "relu6", {"inplace": False}


class LeakyReLU(Plain):
    """x where x > 0, else negative_slope · x. (*) → (*)."""

    function, options = "leaky_relu", {"negative_slope": 0.01, "inplace": False}


class RReLU(Plain):
    """x where x > 0, else a slope drawn from [lower, upper) in training and their mean afterwards. (*) → (*)."""

    function, options, trains = "rrelu", {"lower": 1 / 8, "upper": 1 / 3, "inplace": False}, True


class ELU(Plain):
    """x where x > 0, else alpha · (eˣ − 1). (*) → (*)."""

    function, options = "elu", {"alpha": 1.0, "inplace": False}


class SELU(Plain):
    """The self-normalizing ELU (Klambauer et al., arXiv:1706.02515). (*) → (*)."""

    function, options = "selu", {"inplace": False}


class CELU(Plain):
    """max(0, x) + min(0, alpha · (e^(x/alpha) − 1)). (*) → (*)."""

    function, options = "celu", {"alpha": 1.0, "inplace": False}


class GELU(Plain):
    """x · Φ(x), with `approximate="tanh"` as PyTorch's approximation by tanh. (*) → (*)."""

    function, options = "gelu", {"approximate": "none"}


class SiLU(Plain):
    """x · sigmoid(x). (*) → (*)."""

    function, options = "silu", {"inplace": False}


class Mish(Plain):
    """x · tanh(softplus(x)). (*) → (*)."""

    function, options = "mish", {"inplace": False}


class Hardswish(Plain):
    """x · relu6(x + 3) / 6. (*) → (*)."""

    function, options = "hardswish", {"inplace": False}


class Hardsigmoid(Plain):
    """relu6(x + 3) / 6. (*) → (*)."""

    function, options = "hardsigmoid", {"inplace": False}


class Hardtanh(Plain):
    """x between min_val and max_val. (*) → (*)."""

    function, options = "hardtanh", {"min_val": -1.0, "max_val": 1.0, "inplace": False}


class Hardshrink(Plain):
    """x where |x| > lambd, else 0. (*) → (*)."""

    function, options = "hardshrink", {"lambd": 0.5}

    def extra_repr(self) -> str:
        return f"{self.lambd}"


class Softshrink(Plain):
    """x moved towards 0 by lambd, 0 within. (*) → (*)."""

    function, options = "softshrink", {"lambd": 0.5}

    def extra_repr(self) -> str:
        return f"{self.lambd}"


class Tanhshrink(Plain):
    """x − tanh(x). (*) → (*)."""

    function = "tanhshrink"


class Softsign(Plain):
    """x / (1 + |x|). (*) → (*)."""

    function = "softsign"


class Softplus(Plain):
    """log(1 + e^(beta x)) / beta, x itself above the threshold. (*) → (*)."""

    function, options = "softplus", {"beta": 1.0, "threshold": 20.0}


class LogSigmoid(Plain):
    """log sigmoid(x). (*) → (*)."""

    function = "logsigmoid"


class Sigmoid(Plain):
    """1 / (1 + e⁻ˣ). (*) → (*)."""

    function = "sigmoid"


class Tanh(Plain):
    """tanh(x). (*) → (*)."""

    function = "tanh"


class Threshold(Plain):
    """x where x > threshold, else value. (*) → (*)."""

    function, options = "threshold", {"threshold": REQUIRED, "value": REQUIRED, "inplace": False}


class GLU(Plain):
    """a · sigmoid(b) of the two halves along `dim`. (*, 2n, *) → (*, n, *)."""

    function, options = "glu", {"dim": -1}


class Softmin(Plain):
    """softmax(−x) along `dim`. (*) → (*)."""

    function, options = "softmin", {"dim": REQUIRED}


class Softmax(Plain):
    """eˣ over its sum along `dim`. (*) → (*)."""

    function, options = "softmax", {"dim": REQUIRED}


class LogSoftmax(Plain):
    """log softmax(x) along `dim`. (*) → (*)."""

    function, options = "log_softmax", {"dim": REQUIRED}


class Softmax2d(Module):
    """softmax over the channels of (N, C, H, W) or (C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) → the same."""
        return F.softmax(input, -3)


class PReLU(Module):
    """x where x > 0, else a learnt slope, one or one for each channel (dimension 1). (N, C, *) → the same.

    `weight` is (num_parameters) and starts at `init` (He et al., arXiv:1502.01852).
    """

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, device: str | None = None, dtype: DType | None = None
    ) -> None:
        super().__init__()
        self.num_parameters, self.init = num_parameters, init
        self.weight = blank(num_parameters, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Every slope at its start."""
        init.constant_(self.weight, self.init)

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, *) → the same."""
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"
