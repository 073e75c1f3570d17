"""Losses of class numbers, and of distributions over classes."""

from flame.bounds import check, known
from flame.errors import DTypeError, FlameError, IndexingError, ShapeError
from flame.ir import dtype as dt
from flame.nn.functional.loss.common import check_floating, check_reduction, reduce, weighted
from flame.ops.create import arange, ones
from flame.ops.elementwise import to_dtype, where
from flame.tensor import Tensor

__all__ = ["cross_entropy", "nll_loss"]


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """−log softmax(input)[target]: the cost of logits against the right classes, or against distributions over them.

    input (N, C), (C) or (N, C, d1, …), floating; target (N), () or (N, d1, …), integers in [0, C) → () or, for
    "none", the target's shape. Positions whose target is `ignore_index` cost nothing and do not count. `weight` (C)
    scales each class; the mean then divides by the weights of the targets. A target outside [0, C) is an error.
    A floating target of the input's shape holds the probability of each class; the mean then divides by the number of
    positions. `label_smoothing` s mixes the target with the uniform distribution: (1 − s) · cost of the target
    + s/C · Σ cost of all classes (Szegedy et al., arXiv:1512.00567).
    Raises IndexingError (a target outside: at the call where the targets are in the CPU's memory, else when the loss
    is computed), ShapeError, DTypeError (a floating target of another shape) or FlameError (reduction, label_smoothing
    out of [0, 1]).

    >>> round(cross_entropy(flame.tensor([[0.0, 0.0]]), flame.tensor([1])).item(), 4)
    0.6931
    """
    name, dim = "cross_entropy", 0 if input.ndim == 1 else 1
    check_reduction(name, reduction)
    if not 0 <= label_smoothing <= 1:
        raise FlameError(f"{name}: label_smoothing is {label_smoothing}, but must lie between 0 and 1")
    if target.dtype.is_float and tuple(target.shape) == tuple(input.shape):
        return _of_distributions(input, target, weight, ignore_index, reduction, label_smoothing, dim)
    check_classes(name, input, target, weight, dim)
    classes = input.shape[dim]
    cost = -input.log_softmax(dim).movedim(dim, -1)  # (*, C), with (*) the target's shape
    cost = cost if weight is None else cost * weight
    loss, scale = _of_targets(name, cost, target, weight, ignore_index)
    if label_smoothing:
        spread = where(target == ignore_index, 0.0, cost.sum(-1))
        loss = (1 - label_smoothing) * loss + (label_smoothing / classes) * spread
    return weighted(loss, scale, reduction, name)


def _of_distributions(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    dim: int,
) -> Tensor:
    """Cross entropy against the probability of each class."""
    name = "cross_entropy"
    if ignore_index >= 0:
        raise FlameError(f"{name}: ignore_index={ignore_index} has no meaning for targets that are probabilities")
    check_floating(name, input=input)
    check_weight(name, input, weight, dim)
    classes = input.shape[dim]
    cost = -input.log_softmax(dim).movedim(dim, -1)
    cost = cost if weight is None else cost * weight
    wanted = target.movedim(dim, -1)
    wanted = wanted * (1 - label_smoothing) + label_smoothing / classes if label_smoothing else wanted
    return reduce((cost * wanted).sum(-1), reduction, name)


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """−input[target]: the cost of log-probabilities against the right classes.

    input (N, C), (C) or (N, C, d1, …), floating; target (N), () or (N, d1, …), integers in [0, C) → () or, for
    "none", the target's shape. Positions whose target is `ignore_index` cost nothing and do not count. `weight` (C)
    scales each class; the mean then divides by the weights of the targets. A target outside [0, C) is an error.
    Raises IndexingError, ShapeError, DTypeError or FlameError.

    >>> nll_loss(flame.tensor([[-1.0, -2.0]]), flame.tensor([1])).item()
    2.0
    """
    name, dim = "nll_loss", 0 if input.ndim == 1 else 1
    check_reduction(name, reduction)
    check_classes(name, input, target, weight, dim)
    cost = -input.movedim(dim, -1)
    cost = cost if weight is None else cost * weight
    loss, scale = _of_targets(name, cost, target, weight, ignore_index)
    return weighted(loss, scale, reduction, name)


def _of_targets(
    name: str, cost: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int | None
) -> tuple[Tensor, Tensor]:
    """The cost of each target among those of all classes (*, C), and how much each position counts; both (*)."""
    counted = target != ignore_index
    loss = where(counted, where(chosen(cost.shape[-1], target), cost, 0.0).sum(-1), 0.0)
    scale = to_dtype(counted, cost.dtype)
    if weight is None and in_range(name, target, cost.shape[-1], ignore_index):
        return loss, scale
    weight = ones(cost.shape[-1], dtype=cost.dtype, device=cost.device) if weight is None else weight
    return loss, scale * per_target(name, weight, target, ignore_index)


def chosen(classes: int, target: Tensor) -> Tensor:
    """(*) → (*, C): True at the class that the target names. A comparison, not a gather: it fuses into a row kernel."""
    return arange(classes, device=target.device) == target.unsqueeze(-1)


def per_target(name: str, weight: Tensor, target: Tensor, ignore_index: int | None = None) -> Tensor:
    """(C), (*) → (*): the weight of each target; targets that are not known yet are checked when they are read."""
    in_range(name, target, weight.shape[0], ignore_index)
    safe = target if ignore_index is None else where(target == ignore_index, 0, target)
    flat = to_dtype(safe, dt.int64).reshape(-1)
    check(name, flat, weight.shape[0], (flat.node, weight.shape[0]))
    return weight.index_select(0, flat).reshape(target.shape)


def in_range(name: str, target: Tensor, classes: int, ignore_index: int | None, least: int = 0) -> bool:
    """True where every target is known to name a class; raises IndexingError where one is known not to."""
    found = known(target)
    if found is not None and found.within(least, classes - 1):
        return True
    if found is None or not found.exact:
        return False
    numbers = target.numpy()
    wrong = numbers[(numbers != ignore_index) & ((numbers < least) | (numbers >= classes))]
    if wrong.size:
        besides = "" if ignore_index is None else f", or ignore_index={ignore_index}"
        raise IndexingError(
            f"{name}: target {int(wrong[0])} is out of range for {classes} classes; choose from [{least}, "
            f"{classes - 1}]{besides}"
        )
    return True


def check_classes(name: str, input: Tensor, target: Tensor, weight: Tensor | None, dim: int) -> None:
    """Raise DTypeError or ShapeError where the target does not name a class for each position of the input."""
    check_floating(name, input=input)
    if target.dtype.is_float or target.dtype.name == "bool":
        raise DTypeError(f"{name}: target has dtype {target.dtype}, but holds class indices: give integers")
    wanted = tuple(n for axis, n in enumerate(input.shape) if axis != dim % max(input.ndim, 1))
    if input.ndim == 0 or tuple(target.shape) != wanted:
        raise ShapeError(
            f"{name}: the input has shape {tuple(input.shape)} and the target {tuple(target.shape)}; "
            f"for this input, (N, C, …) or (C), the target must have shape {wanted}"
        )
    check_weight(name, input, weight, dim)


def check_weight(name: str, input: Tensor, weight: Tensor | None, dim: int) -> None:
    """Raise ShapeError where there is not a weight for each class."""
    if weight is not None and tuple(weight.shape) != (input.shape[dim],):
        raise ShapeError(f"{name}: weight has shape {tuple(weight.shape)} for {input.shape[dim]} classes")
