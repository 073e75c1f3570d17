"""Losses of predictions that are numbers. Shapes: (*), (*) → () or, with reduction="none", (*); floating."""

import math

from flame.errors import FlameError, ShapeError
from flame.nn.functional.loss.common import (
    HALF_LOG_TWO_PI,
    check_floating,
    check_reduction,
    check_same_shape,
    reduce,
    weighted,
)
from flame.ops.create import full_like
from flame.ops.elementwise import where
from flame.tensor import Tensor

__all__ = ["gaussian_nll_loss", "huber_loss", "kl_div", "l1_loss", "mse_loss", "poisson_nll_loss", "smooth_l1_loss"]


def _error(name: str, input: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """input − target, after their checks."""
    check_same_shape(name, input, target=target, weight=weight)
    error = input - target
    check_floating(name, **{"the input": error})
    return error


def _total(loss: Tensor, weight: Tensor | None, reduction: str, name: str) -> Tensor:
    """The loss, each element times its weight; the mean divides by the sum of the weights."""
    if weight is None:
        return reduce(loss, reduction, name)
    return weighted(loss * weight, weight, reduction, name)


def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None) -> Tensor:
    """|input − target|, its mean or its sum. (*), (*) → () or, for "none", (*); floating.

    `weight` (*) scales each element; the mean then divides by the sum of the weights. Raises ShapeError when shapes
    differ (PyTorch warns and broadcasts, which is nearly always a mistake) and FlameError for another reduction.

    >>> l1_loss(flame.tensor([1.0, 2.0]), flame.tensor([1.0, 4.0])).item()
    1.0
    """
    return _total(_error("l1_loss", input, target, weight).abs(), weight, reduction, "l1_loss")


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None) -> Tensor:
    """(input − target)², its mean or its sum. (*), (*) → () or, for "none", (*); floating.

    `weight` (*) scales each element; the mean then divides by the sum of the weights. Raises ShapeError when shapes
    differ (PyTorch warns and broadcasts, which is nearly always a mistake) and FlameError for another reduction.

    >>> mse_loss(flame.tensor([1.0, 2.0]), flame.tensor([1.0, 4.0])).item()
    2.0
    """
    error = _error("mse_loss", input, target, weight)
    return _total(error * error, weight, reduction, "mse_loss")


def smooth_l1_loss(input: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """0.5 · error² / beta where |error| < beta, else |error| − 0.5 · beta (Girshick, arXiv:1504.08083).

    (*), (*) → () or, for "none", (*); floating. beta 0 is `l1_loss`. Raises ShapeError when shapes differ and
    FlameError for a negative beta or another reduction.

    >>> smooth_l1_loss(flame.tensor([0.5, 3.0]), flame.tensor([0.0, 0.0]), reduction="none").tolist()
    [0.125, 2.5]
    """
    if beta < 0 or math.isnan(beta):
        raise FlameError(f"smooth_l1_loss: beta is {beta}, but must be 0 or more")
    if beta == 0:
        return reduce(_error("smooth_l1_loss", input, target).abs(), reduction, "smooth_l1_loss")
    error = _error("smooth_l1_loss", input, target)
    far = error.abs()
    return reduce(where(far < beta, error * error * (0.5 / beta), far - 0.5 * beta), reduction, "smooth_l1_loss")


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """0.5 · error² where |error| ≤ delta, else delta · (|error| − 0.5 · delta) (Huber, 1964).

    (*), (*) → () or, for "none", (*); floating. `weight` (*) scales each element; the mean divides by their number, as
    PyTorch's. Raises ShapeError when shapes differ and FlameError for a delta that is not positive.

    >>> huber_loss(flame.tensor([0.5, 3.0]), flame.tensor([0.0, 0.0]), reduction="none", delta=2.0).tolist()
    [0.125, 4.0]
    """
    if not delta > 0:
        raise FlameError(f"huber_loss: delta is {delta}, but must be positive")
    error = _error("huber_loss", input, target, weight)
    far = error.abs()
    loss = where(far <= delta, error * error * 0.5, (far - 0.5 * delta) * delta)
    return reduce(loss if weight is None else loss * weight, reduction, "huber_loss")


def kl_div(input: Tensor, target: Tensor, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """target · (log target − input), pointwise: the divergence of exp(input) from the target, once summed.

    input holds log-probabilities, target probabilities, or their logarithms with `log_target`. They broadcast to (*)
    → () or, for "none", (*); floating. "batchmean" divides the sum by the input's first size, which is the
    mathematical definition; "mean" divides by the number of elements. Raises FlameError for another reduction.

    >>> p = flame.tensor([[0.25, 0.75]])
    >>> kl_div(p.log(), p, reduction="batchmean").item()
    0.0
    """
    check_reduction("kl_div", reduction, "batchmean")
    check_floating("kl_div", input=input, target=target)
    loss = target.exp() * (target - input) if log_target else target.xlogy(target) - target * input
    if reduction == "batchmean":
        return loss.sum() / input.shape[0] if input.ndim else loss.sum()
    return reduce(loss, reduction, "kl_div")


def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:
    """−log Poisson(target | rate) without its constant. Operands broadcast to (*) → () or, for "none", (*); floating.

    The rate is exp(input), or the input itself without `log_input`; then `eps` keeps its logarithm finite. `full` adds
    Stirling's approximation of log(target!) where the target exceeds 1. Raises FlameError for another reduction.

    >>> poisson_nll_loss(flame.tensor([0.0]), flame.tensor([2.0])).item()
    1.0
    """
    check_reduction("poisson_nll_loss", reduction)
    check_floating("poisson_nll_loss", input=input)
    loss = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        large = target > 1
        t = where(large, target, 1.0)
        loss = loss + where(large, t * t.log() - t + (t.log() * 0.5 + HALF_LOG_TWO_PI), 0.0)
    return reduce(loss, reduction, "poisson_nll_loss")


def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """0.5 · (log var + (input − target)² / var): −log of a normal density without its constant, which `full` adds.

    (*), (*) → () or, for "none", (*); floating. `var` is a number or a tensor: of the input's shape, of that without
    its last dimension, or with one dimension of size 1 instead. Variances below `eps` count as eps, but the gradient
    sees them as they are; a negative one in a tensor makes the loss nan. Raises ShapeError for another shape of var
    and FlameError for a negative number, an eps that is not positive, or another reduction.

    >>> gaussian_nll_loss(flame.tensor([1.0]), flame.tensor([3.0]), flame.tensor([1.0])).item()
    2.0
    """
    check_reduction("gaussian_nll_loss", reduction)
    check_floating("gaussian_nll_loss", input=input, var=var)
    if not isinstance(var, Tensor):
        if var < 0:
            raise FlameError(f"gaussian_nll_loss: var is {var}, but a variance is not negative")
        var = full_like(input, var)
    var = _fitting_variance(input, var)
    floor = where(var < eps, where(var < 0, math.nan, eps - var), 0.0).detach()
    spread = var + floor
    error = input - target
    loss = (spread.log() + error * error / spread) * 0.5
    return reduce(loss + HALF_LOG_TWO_PI if full else loss, reduction, "gaussian_nll_loss")


def _fitting_variance(input: Tensor, var: Tensor) -> Tensor:
    """The variance in a shape that broadcasts with the input's; raises ShapeError where there is none."""
    whole, given = tuple(input.shape), tuple(var.shape)
    if given == whole:
        return var
    if given == whole[:-1]:
        return var.unsqueeze(-1)
    if len(given) == len(whole) and [b for a, b in zip(whole, given) if a != b] == [1]:
        return var
    raise ShapeError(
        f"gaussian_nll_loss: the input has shape {whole} and var {given}; var needs the same shape, that without the "
        "last dimension, or with one dimension of size 1"
    )
