"""What losses share: reductions, and checks of operands."""

import math
from typing import Any

from flame.errors import DTypeError, FlameError, ShapeError
from flame.ir import dtype as dt
from flame.ops.elementwise import to_dtype
from flame.tensor import Tensor

REDUCTIONS = ("mean", "sum", "none")


def check_reduction(name: str, reduction: str, *more: str) -> None:
    """Raise FlameError, naming the loss, for a word that is no reduction."""
    if reduction not in (*REDUCTIONS, *more):
        known = ", ".join(repr(r) for r in (*REDUCTIONS, *more))
        raise FlameError(f"{name}: reduction is {reduction!r}; use one of {known}")


def reduce(loss: Tensor, reduction: str, name: str) -> Tensor:
    """The mean, the sum or, for "none", all of `loss`; raises FlameError, naming the loss, for another word."""
    check_reduction(name, reduction)
    return loss if reduction == "none" else getattr(loss, reduction)()


def weighted(loss: Tensor, scale: Tensor, reduction: str, name: str) -> Tensor:
    """As `reduce`, but the mean divides by how much all elements count together; half precisions in float32."""
    if reduction != "mean":
        return reduce(loss, reduction, name)
    return to_dtype(wide(loss).sum() / wide(scale).sum(), loss.dtype)


def wide(x: Tensor) -> Tensor:
    """Half precisions as float32, so that a sum keeps its digits."""
    return to_dtype(x, dt.float32) if x.dtype.is_float and x.dtype.size == 2 else x


def check_floating(name: str, **operands: Any) -> None:
    """Raise DTypeError for the first tensor that holds no floating numbers."""
    for label, value in operands.items():
        if isinstance(value, Tensor) and not value.dtype.is_float:
            raise DTypeError(f"{name}: {label} has dtype {value.dtype}, but must be floating; cast it, e.g. .float()")


def check_same_shape(name: str, input: Tensor, **others: Tensor | None) -> None:
    """Raise ShapeError for the first operand that has not the shape of the input."""
    for label, value in others.items():
        if value is not None and tuple(value.shape) != tuple(input.shape):
            raise ShapeError(
                f"{name}: the input has shape {tuple(input.shape)} and the {label} {tuple(value.shape)}; "
                "they must be equal, so reshape or expand one of them"
            )


HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)
