"""Losses that want a distance or a score to exceed another by a margin."""

from collections.abc import Callable

from flame.errors import FlameError, ShapeError
from flame.nn.functional.loss.classes import check_classes, chosen, in_range, per_target
from flame.nn.functional.loss.common import check_floating, check_reduction, reduce
from flame.ops.create import arange, ones
from flame.ops.distance import pairwise_distance
from flame.ops.elementwise import where
from flame.tensor import Tensor

__all__ = [
    "cosine_embedding_loss",
    "margin_ranking_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]

COSINE_EPS = 1e-12  # PyTorch's: keeps the square root of a zero vector's length differentiable


def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """max(0, margin − target · (input1 − input2)): with target 1 the first should be larger, with −1 the second.

    Operands of equally many dimensions broadcast to (*) → () or, for "none", (*); floating. Raises ShapeError when
    they have not equally many dimensions.

    >>> margin_ranking_loss(flame.tensor([1.0]), flame.tensor([3.0]), flame.tensor([1.0])).item()
    2.0
    """
    if not input1.ndim == input2.ndim == target.ndim:
        raise ShapeError(
            f"margin_ranking_loss: shapes {tuple(input1.shape)}, {tuple(input2.shape)} and target "
            f"{tuple(target.shape)} must have equally many dimensions; reshape or unsqueeze them"
        )
    return reduce((margin - target * (input1 - input2)).clamp(min=0.0), reduction, "margin_ranking_loss")


def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """1 − cos(input1, input2) where the target is 1, and max(0, cos − margin) where it is −1.

    (N, D), (N, D), (N) → () or, for "none", (N); or (D), (D), () → (). Floating; a target of neither costs nothing.
    Raises ShapeError for other shapes.

    >>> cosine_embedding_loss(flame.tensor([1.0, 0.0]), flame.tensor([0.0, 1.0]), flame.tensor(1)).item()
    1.0
    """
    name = "cosine_embedding_loss"
    check_floating(name, input1=input1, input2=input2)
    if target.ndim > 1 or input1.ndim != target.ndim + 1 or input2.ndim != target.ndim + 1:
        raise ShapeError(
            f"{name}: shapes {tuple(input1.shape)}, {tuple(input2.shape)} and target {tuple(target.shape)}; "
            "give (N, D), (N, D) and (N), or (D), (D) and ()"
        )
    length = ((input1 * input1).sum(-1) + COSINE_EPS) * ((input2 * input2).sum(-1) + COSINE_EPS)
    cosine = (input1 * input2).sum(-1) / length.sqrt()
    loss = where(target == 1, 1 - cosine, where(target == -1, (cosine - margin).clamp(min=0.0), 0.0))
    return reduce(loss, reduction, name)


def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Σ max(0, margin − x[target] + x[i])ᵖ / C over the other classes i.

    input (N, C) or (C), floating; target (N) or (), integers in [0, C) → () or, for "none", the target's shape.
    `weight` (C) scales what the target's class costs. Raises ShapeError, DTypeError, or FlameError for a p that is
    neither 1 nor 2.

    >>> round(multi_margin_loss(flame.tensor([[0.0, 0.0, 1.0]]), flame.tensor([2])).item(), 4)
    0.0
    """
    name = "multi_margin_loss"
    if p not in (1, 2):
        raise FlameError(f"{name}: p is {p}, but only 1 and 2 are meant")
    if input.ndim not in (1, 2):
        raise ShapeError(f"{name}: the input has shape {tuple(input.shape)}; give (N, C) or (C)")
    check_classes(name, input, target.reshape(()) if input.ndim == 1 and target.numel() == 1 else target, weight, -1)
    shape, target = target.shape, target.reshape(input.shape[:-1])
    mine = chosen(input.shape[-1], target)
    short = (margin - where(mine, input, 0.0).sum(-1, keepdim=True) + input).relu()
    cost = where(mine, 0.0, short if p == 1 else short * short).sum(-1) / input.shape[-1]
    if weight is not None or not in_range(name, target, input.shape[-1], None):
        weight = ones(input.shape[-1], dtype=input.dtype, device=input.device) if weight is None else weight
        cost = cost * per_target(name, weight, target)
    return reduce(cost.reshape(shape), reduction, name)


def multilabel_margin_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Σ max(0, 1 − (x[t] − x[i])) / C over the classes t that are meant and those i that are not.

    input (N, C) or (C), floating; target of the same shape, integers: the classes that are meant, ended by −1
    → () or, for "none", (N) or (). Raises ShapeError, DTypeError, or IndexingError for a class that is known not to be.

    >>> multilabel_margin_loss(flame.tensor([[0.0, 1.0]]), flame.tensor([[1, -1]])).item()
    0.0
    """
    name = "multilabel_margin_loss"
    if input.ndim not in (1, 2) or tuple(target.shape) != tuple(input.shape):
        raise ShapeError(
            f"{name}: the input has shape {tuple(input.shape)} and the target {tuple(target.shape)}; "
            "both must be (N, C), or both (C)"
        )
    check_floating(name, input=input)
    classes = input.shape[-1]
    in_range(name, target, classes, None, least=-1)
    place = arange(classes, device=input.device)
    earlier = place.unsqueeze(0) <= place.unsqueeze(1)  # (C, C): column not after row
    ended = (earlier & (target < 0).unsqueeze(-2)).any(-1)  # (*, C): a −1 stands here or before
    named = chosen(classes, where(ended, -1, target))  # (*, C target, C class)
    meant = named.any(-2).unsqueeze(-2)  # (*, 1, C)
    score = where(named, input.unsqueeze(-2), 0.0).sum(-1, keepdim=True)  # (*, C, 1): x[t]
    short = where(meant | ended.unsqueeze(-1), 0.0, (1 - (score - input.unsqueeze(-2))).relu())
    return reduce(short.sum((-2, -1)) / classes, reduction, name)


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """max(0, margin + |anchor − positive|ₚ − |anchor − negative|ₚ) over the last dimension.

    (*, D), three times → () or, for "none", (*); floating. `eps` is added to each difference. With `swap` the negative
    is compared with the nearer of the other two (Balntas et al., BMVC 2016). Raises ShapeError for different numbers
    of dimensions and FlameError for a margin that is not positive.

    >>> near, far = flame.tensor([[0.0, 0.0]]), flame.tensor([[3.0, 4.0]])
    >>> round(triplet_margin_loss(near, far, near, eps=0.0).item(), 4)
    6.0
    """

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return pairwise_distance(a, b, p, eps)

    return _triplet("triplet_margin_loss", anchor, positive, negative, distance, margin, swap, reduction)


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """`triplet_margin_loss` with a distance of one's own; without one, the Euclidean of the last dimension.

    (*, D), three times → () or, for "none", what the distance returns.

    >>> a = flame.tensor([[0.0, 2.0]])
    >>> triplet_margin_with_distance_loss(a, a, a, distance_function=lambda a, b: (a - b).abs().sum(-1)).item()
    1.0
    """
    given = distance_function or pairwise_distance
    name = "triplet_margin_with_distance_loss"
    return _triplet(name, anchor, positive, negative, given, margin, swap, reduction)


def _triplet(
    name: str,
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    distance: Callable[[Tensor, Tensor], Tensor],
    margin: float,
    swap: bool,
    reduction: str,
) -> Tensor:
    check_reduction(name, reduction)
    if not margin > 0:
        raise FlameError(f"{name}: margin is {margin}, but must be positive")
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise ShapeError(
            f"{name}: anchor {tuple(anchor.shape)}, positive {tuple(positive.shape)} and negative "
            f"{tuple(negative.shape)} must have equally many dimensions"
        )
    near, far = distance(anchor, positive), distance(anchor, negative)
    far = far.minimum(distance(positive, negative)) if swap else far
    return reduce((margin + near - far).clamp(min=0.0), reduction, name)
