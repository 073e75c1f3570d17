"""Losses as functions."""

import math

from flame.errors import DTypeError, FlameError, ShapeError
from flame.ops.create import arange
from flame.ops.elementwise import where
from flame.tensor import Tensor

__all__ = ["cross_entropy", "mse_loss"]


def reduce(loss: Tensor, reduction: str, name: str) -> Tensor:
    """The mean, the sum or, for "none", all of `loss`; raises FlameError, naming the loss, for another word."""
    if reduction not in ("mean", "sum", "none"):
        raise FlameError(f'{name}: reduction is {reduction!r}; use "mean", "sum" or "none"')
    return loss if reduction == "none" else getattr(loss, reduction)()


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """(input − target)², its mean or its sum. (*), (*) → () or, for "none", (*); floating.

    Raises ShapeError when the shapes differ (PyTorch warns and broadcasts, which is nearly always a mistake).

    >>> mse_loss(flame.tensor([1.0, 2.0]), flame.tensor([1.0, 4.0])).item()
    2.0
    """
    if tuple(input.shape) != tuple(target.shape):
        raise ShapeError(
            f"mse_loss: the input has shape {tuple(input.shape)} and the target {tuple(target.shape)}; "
            "they must be equal, so reshape or expand one of them"
        )
    error = input - target
    return reduce(error * error, reduction, "mse_loss")


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """−log softmax(input)[target]: the cost of logits against the right classes.

    input (N, C), (C) or (N, C, d1, …), floating; target (N), () or (N, d1, …), integers in [0, C) → () or, for
    "none", the target's shape. Positions whose target is `ignore_index` cost nothing and do not count. `weight` (C)
    scales each class; the mean then divides by the weights of the targets. A target outside [0, C) makes the loss nan.
    `label_smoothing` s mixes the target with the uniform distribution: (1 − s) · cost of the target + s/C · Σ cost of
    all classes (Szegedy et al., arXiv:1512.00567).
    Raises ShapeError, DTypeError (a floating target) or FlameError (reduction, label_smoothing out of [0, 1]).

    >>> round(cross_entropy(flame.tensor([[0.0, 0.0]]), flame.tensor([1])).item(), 4)
    0.6931
    """
    dim = 0 if input.ndim == 1 else 1
    check_cross_entropy(input, target, weight, label_smoothing, dim)
    classes = input.shape[dim]
    cost = -input.log_softmax(dim).movedim(dim, -1)  # (*, C), with (*) the target's shape
    counted = target != ignore_index
    scale = counted.to(input.dtype)  # how much each position counts
    if weight is not None:
        cost = cost * weight
        scale = scale * weight.index_select(0, where(counted, target, 0).reshape(-1)).reshape(*target.shape)
    chosen = arange(classes, device=input.device) == target.unsqueeze(-1)
    loss = where(chosen, cost, 0.0).sum(-1)
    if label_smoothing:
        loss = (1 - label_smoothing) * loss + (label_smoothing / classes) * cost.sum(-1)
    loss = where(counted, where((target >= 0) & (target < classes), loss, math.nan), 0.0)
    return loss.sum() / scale.sum() if reduction == "mean" else reduce(loss, reduction, "cross_entropy")


def check_cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None, smoothing: float, dim: int) -> None:
    """Raise what `cross_entropy` says it raises."""
    if target.dtype.is_float or target.dtype.name == "bool":
        raise DTypeError(f"cross_entropy: target has dtype {target.dtype}, but holds class indices: give integers")
    wanted = tuple(n for axis, n in enumerate(input.shape) if axis != dim)
    if input.ndim == 0 or tuple(target.shape) != wanted:
        raise ShapeError(
            f"cross_entropy: the input has shape {tuple(input.shape)} and the target {tuple(target.shape)}; "
            f"for this input, (N, C, …) or (C), the target must have shape {wanted}"
        )
    if weight is not None and tuple(weight.shape) != (input.shape[dim],):
        raise ShapeError(f"cross_entropy: weight has shape {tuple(weight.shape)} for {input.shape[dim]} classes")
    if not 0 <= smoothing <= 1:
        raise FlameError(f"cross_entropy: label_smoothing is {smoothing}, but must lie between 0 and 1")
