"""Dropout in its forms. Shapes: the result has the input's shape and dtype; masks come from `flame.random`'s stream.

A seed repeats a mask on every device, and the backward pass computes it again instead of reading it.
"""

import math

from flame.errors import FlameError, ShapeError
from flame.ops.elementwise import where
from flame.ops.random import rand
from flame.tensor import Tensor

__all__ = ["alpha_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout"]

SELU_FLOOR = -1.7580993408473766  # −scale · alpha of selu: what a neuron gives that is far below 0


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero each element with probability `p` and scale the rest by 1/(1−p) (Srivastava et al., 2014). (*) → (*).

    Without `training` it is the input. The mask comes from `flame.random`'s stream, so a seed repeats it.
    `inplace` rebinds the input to the result. Raises FlameError unless 0 ≤ p ≤ 1.

    >>> dropout(flame.ones(4), p=0.5, training=False).numpy().tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    return _dropped("dropout", input, p, training, inplace, input.shape)


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero whole channels with probability `p` and scale the rest by 1/(1−p). (N, C, L) or (C, L) → the same.

    Raises ShapeError for another number of dimensions and FlameError unless 0 ≤ p ≤ 1 (Tompson et al.,
    arXiv:1411.4280).

    >>> dropout1d(flame.ones(2, 3), training=False).shape
    (2, 3)
    """
    if input.ndim not in (2, 3):
        raise ShapeError(f"dropout1d: the input has shape {tuple(input.shape)}; give (N, C, L) or (C, L)")
    return _dropped("dropout1d", input, p, training, inplace, (*input.shape[:-1], 1))


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero whole channels with probability `p` and scale the rest by 1/(1−p). (N, C, *) → the same.

    Channels are the first two dimensions, as PyTorch has it, also for an input (N, C, L). Raises ShapeError for fewer
    than two dimensions and FlameError unless 0 ≤ p ≤ 1.

    >>> dropout2d(flame.ones(2, 3, 4, 4), training=False).shape
    (2, 3, 4, 4)
    """
    return _dropped("dropout2d", input, p, training, inplace, _channels("dropout2d", input))


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero whole channels with probability `p` and scale the rest by 1/(1−p). (N, C, *) → the same.

    Raises ShapeError for fewer than two dimensions and FlameError unless 0 ≤ p ≤ 1.

    >>> dropout3d(flame.ones(2, 3, 2, 2, 2), training=False).shape
    (2, 3, 2, 2, 2)
    """
    return _dropped("dropout3d", input, p, training, inplace, _channels("dropout3d", input))


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Give elements selu's floor with probability `p`, so that mean 0 and variance 1 stay (Klambauer et al., 2017).

    (*) → (*). Without `training` it is the input. Raises FlameError unless 0 ≤ p ≤ 1 (arXiv:1706.02515).

    >>> alpha_dropout(flame.ones(2)).tolist()
    [1.0, 1.0]
    """
    return _alpha("alpha_dropout", input, p, training, inplace, input.shape)


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """`alpha_dropout` of whole channels. (N, C, *) → the same.

    Raises ShapeError for fewer than two dimensions and FlameError unless 0 ≤ p ≤ 1.

    >>> feature_alpha_dropout(flame.ones(1, 2, 3)).shape
    (1, 2, 3)
    """
    return _alpha("feature_alpha_dropout", input, p, training, inplace, _channels("feature_alpha_dropout", input))


def _channels(name: str, input: Tensor) -> tuple[int, ...]:
    """The shape of a mask with one element a channel, the first two dimensions."""
    if input.ndim < 2:
        raise ShapeError(f"{name}: the input has shape {tuple(input.shape)}; give at least (N, C)")
    return (*input.shape[:2], *(1,) * (input.ndim - 2))


def _check(name: str, p: float) -> None:
    if not 0 <= p <= 1 or math.isnan(p):
        raise FlameError(f"{name}: p is {p}, but a probability lies between 0 and 1")


def _finish(name: str, input: Tensor, result: Tensor, inplace: bool) -> Tensor:
    return input._become(result, name) if inplace else result


def _dropped(name: str, input: Tensor, p: float, training: bool, inplace: bool, mask: tuple[int, ...]) -> Tensor:
    """Zeros where a mask of that shape, broadcast, says so; the rest scaled."""
    _check(name, p)
    if not training or p == 0:
        return input
    if p == 1:
        return _finish(name, input, input * 0.0, inplace)  # nan and infinity become nan, as in PyTorch
    kept = rand(mask, device=input.device) >= p
    return _finish(name, input, where(kept, input * (1 / (1 - p)), 0.0), inplace)


def _alpha(name: str, input: Tensor, p: float, training: bool, inplace: bool, mask: tuple[int, ...]) -> Tensor:
    """The floor where a mask of that shape says so, then the line that restores mean 0 and variance 1."""
    _check(name, p)
    if not training or p == 0:
        return input
    if p == 1:
        return _finish(name, input, input * 0.0, inplace)
    slope = 1 / math.sqrt((1 - p) * (1 + p * SELU_FLOOR**2))
    kept = rand(mask, device=input.device) >= p
    result = where(kept, input, SELU_FLOOR) * slope - slope * SELU_FLOOR * p
    return _finish(name, input, result, inplace)
