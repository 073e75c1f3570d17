"""Convolutions and transposed convolutions: one contraction of the operator table below all of them.

Half precisions are summed in float32. Input, weight and bias have one dtype. An input without its batch dimension,
(C, …), gives a result without one.
"""

from typing import Any

from flame.errors import DTypeError, FlameError, ShapeError
from flame.ir.node import Node, apply
from flame.ir.ops.convolution import flipped, other_side
from flame.ops.window import each
from flame.tensor import Tensor, new, same_device

__all__ = ["conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]

Size = Any  # one integer for all axes, or a sequence of one for each


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Windows of a sequence times a weight. (N, C, L) or (C, L), (O, C / groups, K), (O) → (N, O, L').

    L' = (L + 2 · padding − dilation · (K − 1) − 1) // stride + 1. `padding` counts zeros on each side, or is "valid"
    (none) or "same" (L' = L; needs stride 1). Raises ShapeError for sizes that do not fit and DTypeError for mixed
    dtypes.

    >>> conv1d(flame.tensor([[1.0, 2.0, 4.0]]), flame.tensor([[[1.0, 10.0]]])).numpy().tolist()
    [[21.0, 42.0]]
    """
    return _convolution("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Windows of an image times a weight. (N, C, H, W) or (C, H, W), (O, C / groups, KH, KW), (O) → (N, O, H', W').

    Each axis as in `conv1d`; `stride`, `padding` and `dilation` may be pairs.

    >>> conv2d(flame.ones(1, 1, 4, 4), flame.ones(2, 1, 3, 3), padding="same").shape
    (1, 2, 4, 4)
    """
    return _convolution("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Windows of a volume times a weight. (N, C, D, H, W) or (C, D, H, W), (O, C / groups, KD, KH, KW), (O) →
    (N, O, D', H', W').

    Each axis as in `conv1d`; `stride`, `padding` and `dilation` may be triples.

    >>> conv3d(flame.ones(1, 2, 3, 4, 5), flame.ones(6, 1, 1, 2, 3), groups=2).shape
    (1, 6, 3, 3, 3)
    """
    return _convolution("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """The gradient of `conv1d` as a function: (N, C, L) or (C, L), (C, O / groups, K), (O) → (N, O, L').

    L' = (L − 1) · stride − 2 · padding + dilation · (K − 1) + output_padding + 1 (Dumoulin and Visin,
    arXiv:1603.07285); output_padding is less than stride or dilation. Raises ShapeError for sizes that do not fit.

    >>> conv_transpose1d(flame.tensor([[1.0, 2.0]]), flame.tensor([[[1.0, 10.0]]]), stride=2).numpy().tolist()
    [[1.0, 10.0, 2.0, 20.0]]
    """
    return _transposed("conv_transpose1d", 1, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """The gradient of `conv2d` as a function: (N, C, H, W) or (C, H, W), (C, O / groups, KH, KW), (O) →
    (N, O, H', W'), each axis as in `conv_transpose1d`.

    >>> conv_transpose2d(flame.ones(1, 3, 4, 4), flame.ones(3, 2, 2, 2), stride=2).shape
    (1, 2, 8, 8)
    """
    return _transposed("conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """The gradient of `conv3d` as a function: (N, C, D, H, W) or (C, D, H, W), (C, O / groups, KD, KH, KW), (O) →
    (N, O, D', H', W'), each axis as in `conv_transpose1d`.

    >>> conv_transpose3d(flame.ones(1, 1, 2, 2, 2), flame.ones(1, 1, 3, 3, 3), padding=1).shape
    (1, 1, 2, 2, 2)
    """
    return _transposed("conv_transpose3d", 3, input, weight, bias, stride, padding, output_padding, groups, dilation)


# --- below ------------------------------------------------------------------------------------------------------------
def _convolution(
    name: str,
    rank: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Size,
    padding: Size,
    dilation: Size,
    groups: int,
) -> Tensor:
    x = _checked(name, rank, input, weight, bias)
    _check_groups(name, x, weight, groups, weight.shape[1] * groups, weight.shape[0])
    by, apart = each(name, "stride", stride, rank), each(name, "dilation", dilation, rank)
    spans = tuple((k - 1) * d + 1 for k, d in zip(weight.shape[2:], apart, strict=True))
    low, high = _padding(name, padding, spans, by)
    long = tuple(n + lo + hi for n, lo, hi in zip(x.shape[2:], low, high, strict=True))
    if any(span > n for span, n in zip(spans, long, strict=True)) or 0 in weight.shape[2:]:
        raise ShapeError(
            f"{name}: a kernel of {tuple(weight.shape[2:])} with dilation {apart} does not fit into the padded input "
            f"of {long}; pad more, or use a smaller kernel"
        )
    attrs = {"stride": by, "low": low, "high": high, "spread": (1,) * rank, "dilation": apart, "groups": groups}
    return _finished(apply("convolution", x, weight.node, **attrs), input, weight, bias)


def _transposed(
    name: str,
    rank: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Size,
    padding: Size,
    output_padding: Size,
    groups: int,
    dilation: Size,
) -> Tensor:
    x = _checked(name, rank, input, weight, bias, weight.shape[1] * groups if weight.ndim > 1 else 0)
    _check_groups(name, x, weight, groups, weight.shape[0], weight.shape[0])
    by, apart = each(name, "stride", stride, rank), each(name, "dilation", dilation, rank)
    pad, more = each(name, "padding", padding, rank, 0), each(name, "output_padding", output_padding, rank, 0)
    if any(m >= max(s, d) for m, s, d in zip(more, by, apart, strict=True)):
        raise ShapeError(
            f"{name}: output_padding {more} must be smaller than stride {by} or dilation {apart}: it chooses among the "
            "sizes that the strided convolution would have made one"
        )
    low = tuple((k - 1) * d - p for k, d, p in zip(weight.shape[2:], apart, pad, strict=True))
    high = tuple(lo + m for lo, m in zip(low, more, strict=True))
    sides = zip(x.shape[2:], weight.shape[2:], by, pad, apart, more, strict=True)
    long = tuple((n - 1) * s - 2 * p + d * (k - 1) + m + 1 for n, k, s, p, d, m in sides)
    if min(long) < 1 or 0 in weight.shape[2:]:
        raise ShapeError(
            f"{name}: an input of {tuple(x.shape[2:])} and a kernel of {tuple(weight.shape[2:])} would give a result "
            f"of {long}; use less padding, or a larger input"
        )
    attrs = {"stride": (1,) * rank, "low": low, "high": high, "spread": by, "dilation": apart, "groups": groups}
    turned = flipped(other_side(weight.node, groups))
    return _finished(apply("convolution", x, turned, **attrs), input, weight, bias)


def _padding(name: str, padding: Size, spans: tuple[int, ...], stride: tuple[int, ...]) -> tuple[Any, Any]:
    """Zeros before and behind each axis."""
    rank = len(spans)
    if padding == "valid":
        return (0,) * rank, (0,) * rank
    if padding == "same":
        if max(stride) > 1:
            raise ShapeError(f'{name}: padding="same" needs stride 1, got {stride}; give the padding as numbers')
        low = tuple((s - 1) // 2 for s in spans)
        return low, tuple(s - 1 - lo for s, lo in zip(spans, low, strict=True))
    if isinstance(padding, str):
        raise FlameError(f'{name}: padding is {padding!r}; use "same", "valid" or numbers')
    low = each(name, "padding", padding, rank, 0)
    return low, low


def _checked(
    name: str, rank: int, input: Tensor, weight: Tensor, bias: Tensor | None, outputs: int | None = None
) -> Node:
    """The input with its batch dimension; raises where ranks or dtypes do not fit."""
    for what, t in (("input", input), ("weight", weight), ("bias", bias)):
        if not isinstance(t, Tensor) and not (what == "bias" and t is None):
            raise DTypeError(f"{name}: {what} is a {type(t).__name__}; give a Tensor")
    shapes = f"the input has shape {tuple(input.shape)} and the weight {tuple(weight.shape)}"
    if input.ndim not in (rank + 1, rank + 2) or weight.ndim != rank + 2:
        axes = ", ".join("DHW"[3 - rank :] if rank > 1 else "L")
        raise ShapeError(f"{name}: {shapes}; the input must be (N, C, {axes}) or (C, {axes}), the weight {rank + 2}-d")
    outputs = weight.shape[0] if outputs is None else outputs
    if bias is not None and tuple(bias.shape) != (outputs,):
        raise ShapeError(f"{name}: the bias has shape {tuple(bias.shape)}, but must have {outputs} elements")
    for what, t in (("weight", weight), ("bias", bias)):
        if t is not None and t.dtype is not input.dtype:
            raise DTypeError(f"{name}: the input is {input.dtype} and the {what} {t.dtype}; cast one of them first")
    if input.dtype.name == "bool":
        raise DTypeError(f"{name}: needs numbers, got bool; cast first, e.g. .float()")
    x = input.unsqueeze(0) if input.ndim == rank + 1 else input
    if 0 in x.shape[2:]:
        raise ShapeError(f"{name}: {shapes}; only the batch or the channels may be empty")
    return x.node


def _check_groups(name: str, x: Node, weight: Tensor, groups: int, channels: int, split: int) -> None:
    shapes = f"the input has {x.shape[1]} channels and the weight shape {tuple(weight.shape)}"
    if groups < 1 or split % groups or not split:
        raise ShapeError(f"{name}: groups is {groups}, but {shapes}; groups must divide its first dimension, {split}")
    if x.shape[1] != channels:
        raise ShapeError(f"{name}: {shapes} for groups={groups}; it is for {channels} channels")


def _finished(y: Node, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The result with its bias, and without the batch dimension that the input had not."""
    rank = len(y.shape) - 2
    device = same_device("convolution", input, weight)
    out = new(y, device, input, weight)
    out = out if bias is None else out + bias.reshape(-1, *(1,) * rank)
    return out if input.ndim == len(y.shape) else out.squeeze(0)
