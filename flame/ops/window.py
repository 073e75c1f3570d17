"""Windows of a tensor: views that repeat elements without a copy."""

from collections.abc import Sequence
from operator import index
from typing import Any

from flame.errors import DTypeError, ShapeError
from flame.ir import node as nd
from flame.ir.node import Node, apply
from flame.ops.method import axis, method
from flame.tensor import Tensor, new

__all__: list[str] = []  # torch.unfold is a method only; nn.functional.unfold is another function


def each(name: str, what: str, value: Any, rank: int, least: int = 1) -> tuple[int, ...]:
    """A number for each of `rank` axes, given as one for all or as a sequence."""
    try:
        found = tuple(map(index, value)) if isinstance(value, (tuple, list)) else (index(value),) * rank
    except TypeError:
        raise DTypeError(f"{name}: {what} is {value!r}; give an integer, or {rank} of them") from None
    found = found * rank if len(found) == 1 else found
    if len(found) != rank:
        raise ShapeError(f"{name}: {what} is {value!r}; give one integer, or {rank}: one for each axis")
    if min(found, default=least) < least:
        raise ShapeError(f"{name}: {what} is {value!r}, but must be at least {least}")
    return found


def window_axis(node: Node, at: int, taps: int, stride: int, dilation: int = 1) -> Node:
    """(…, J, …) to (taps, …, I, …): the windows of one axis.

    The taps lead: neighbouring windows stay side by side in what is folded over them, and in the gradient.
    """
    wide = nd.expand(node, (taps, *node.shape))
    return apply("skew", wide, axis=at + 1, taps=0, stride=stride, dilation=dilation)


def windows(node: Node, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Node:
    """(…, *J) to (*kernel, …, *I): the windows over the last axes."""
    rank = len(kernel)
    for a in reversed(range(rank)):
        node = window_axis(node, len(node.shape) - rank + a, kernel[a], stride[a], dilation[a])
    return node


@method
def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Windows of `size` along a dimension, `step` apart: (…, n, …) to (…, (n - size) // step + 1, …, size)."""
    at = axis("unfold", dimension, input.ndim)
    n = input.shape[at] if input.ndim else 1
    if not 0 <= size <= n:
        raise ShapeError(f"unfold: windows of {size} do not fit dimension {dimension} of shape {input.shape}")
    if step < 1:
        raise ShapeError(f"unfold: step is {step}, but windows are at least 1 apart")
    if not size:  # as many windows as fit, of nothing
        count = (n // step + 1,) if input.ndim else ()
        none = (*input.shape[:at], *count, *input.shape[at + 1 :], 0)
        return new(nd.expand(nd.const(0, input.dtype), none), input.device, input)
    if not input.ndim:
        return new(nd.reshape(input.node, (1,)), input.device, input)
    taps = window_axis(input.node, at, size, step)
    return new(apply("permute", taps, order=(*range(1, input.ndim + 1), 0)), input.device, input)
