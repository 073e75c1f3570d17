"""Losses of yes or no: probabilities, logits, and targets of 1 and −1."""

from flame.errors import ShapeError
from flame.nn.functional.loss.common import check_floating, check_reduction, check_same_shape, reduce, wide
from flame.ops.activation import logsigmoid
from flame.ops.elementwise import to_dtype, where
from flame.tensor import Tensor

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "hinge_embedding_loss",
    "multilabel_soft_margin_loss",
    "soft_margin_loss",
]

LEAST_LOG, STEEPEST = -100.0, 1e12  # PyTorch's bounds of the logarithm and its slope


def _bounded_log(x: Tensor) -> Tensor:
    """log(x), and at 0 the value −100 with the slope 10¹², so that a saturated prediction still learns."""
    zero = x == 0
    return where(zero, x * STEEPEST + LEAST_LOG, where(zero, 1.0, x).log())


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """−(target · log(input) + (1 − target) · log(1 − input)), with logarithms of at least −100.

    input (*) holds probabilities, target (*) anything in [0, 1] → () or, for "none", (*); floating. `weight` broadcasts
    and scales each element. An input outside [0, 1] makes the loss nan (PyTorch raises on the CPU). From logits,
    `binary_cross_entropy_with_logits` is exact where this has lost its digits. Raises ShapeError when shapes differ.

    >>> round(binary_cross_entropy(flame.tensor([0.5]), flame.tensor([1.0])).item(), 4)
    0.6931
    """
    check_same_shape("binary_cross_entropy", input, target=target)
    check_floating("binary_cross_entropy", input=input, target=target)
    chance = wide(input)  # the slope at 0 is beyond a half precision
    loss = to_dtype(-(target * _bounded_log(chance) + (1 - target) * _bounded_log(1 - chance)), input.dtype)
    return reduce(loss if weight is None else loss * weight, reduction, "binary_cross_entropy")


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """−(pos_weight · target · log σ(x) + (1 − target) · log σ(−x)) of logits x, without overflow.

    input (*), target (*) in [0, 1] → () or, for "none", (*); floating. `weight` and `pos_weight` broadcast: the first
    scales each element, the second what positives cost. Raises ShapeError when shapes differ.

    >>> round(binary_cross_entropy_with_logits(flame.tensor([0.0]), flame.tensor([1.0])).item(), 4)
    0.6931
    """
    name = "binary_cross_entropy_with_logits"
    check_same_shape(name, input, target=target)
    check_floating(name, input=input)
    positive = logsigmoid(input) if pos_weight is None else logsigmoid(input) * pos_weight
    loss = -(target * positive + (1 - target) * logsigmoid(-input))
    return reduce(loss if weight is None else loss * weight, reduction, name)


def soft_margin_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """log(1 + exp(−target · input)), without overflow. (*), (*) of 1 and −1 → () or, for "none", (*); floating.

    Raises ShapeError when shapes differ.

    >>> round(soft_margin_loss(flame.tensor([0.0]), flame.tensor([-1.0])).item(), 4)
    0.6931
    """
    check_same_shape("soft_margin_loss", input, target=target)
    check_floating("soft_margin_loss", input=input)
    return reduce(-logsigmoid(target * input), reduction, "soft_margin_loss")


def multilabel_soft_margin_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """The binary cross entropy of each class from its logit, averaged over the classes.

    input (*, C), target (*, C) of 0 and 1 → () or, for "none", (*); floating. `weight` (C) scales each class.
    Raises ShapeError when shapes differ.

    >>> round(multilabel_soft_margin_loss(flame.zeros(1, 3), flame.tensor([[1.0, 0.0, 1.0]])).item(), 4)
    0.6931
    """
    name = "multilabel_soft_margin_loss"
    check_same_shape(name, input, target=target)
    check_floating(name, input=input)
    check_reduction(name, reduction)
    if input.ndim == 0:
        raise ShapeError(f"{name}: the input is 0-d, but its last dimension holds the classes; give (*, C)")
    loss = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    loss = loss if weight is None else loss * weight
    return reduce(loss.sum(-1) / input.shape[-1], reduction, name)


def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """The input where the target is 1, and max(0, margin − input) where it is −1: for distances of pairs.

    Operands broadcast to (*) → () or, for "none", (*); floating. Where the target is neither, both are added.

    >>> hinge_embedding_loss(flame.tensor([0.5, 0.25]), flame.tensor([1.0, -1.0]), reduction="none").tolist()
    [0.5, 0.75]
    """
    check_floating("hinge_embedding_loss", input=input)
    near = where(target == -1, 0.0, input)
    far = where(target == 1, 0.0, (margin - input).clamp(min=0.0))
    return reduce(near + far, reduction, "hinge_embedding_loss")
