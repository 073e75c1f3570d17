"""torch.special's names: most are functions of `flame` itself, under the name that mathematics gives them."""

import math

from flame.ops.activation import log_softmax, softmax
from flame.ops.elementwise import TABLE, where
from flame.ops.math import digamma, logit, mvlgamma, sinc
from flame.ops.reduce import logsumexp
from flame.tensor import Tensor

__all__ = [
    "digamma",
    "entr",
    "erf",
    "erfc",
    "erfinv",
    "exp2",
    "expit",
    "expm1",
    "gammaln",
    "log1p",
    "log_softmax",
    "logit",
    "logsumexp",
    "multigammaln",
    "ndtr",
    "psi",
    "round",
    "sinc",
    "softmax",
    "xlog1py",
    "xlogy",
]

erf, erfc, erfinv, exp2, expm1 = (TABLE[name] for name in ("erf", "erfc", "erfinv", "exp2", "expm1"))
log1p, round, xlogy, xlog1py = (TABLE[name] for name in ("log1p", "round", "xlogy", "xlog1py"))
expit, gammaln, psi, multigammaln = TABLE["sigmoid"], TABLE["lgamma"], digamma, mvlgamma


def entr(input: Tensor) -> Tensor:
    """-x log(x), 0 at 0, and -inf below. (*) → (*).

    >>> round(entr(flame.tensor(0.5)), decimals=4).item()
    0.3465999960899353
    """
    return where(input < 0, -math.inf, -xlogy(input, input))


def ndtr(input: Tensor) -> Tensor:
    """The normal distribution function, erfc(-x / sqrt(2)) / 2. (*) → (*).

    >>> ndtr(flame.tensor(0.0)).item()
    0.5
    """
    return erfc(input * -math.sqrt(0.5)) * 0.5
