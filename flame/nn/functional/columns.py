"""Windows of images as columns, and back."""

from math import prod
from typing import Any

from flame.errors import ShapeError
from flame.ir.node import apply
from flame.ir.ops.convolution import overlapped
from flame.ops.shape import padded
from flame.ops.window import each, windows
from flame.tensor import Tensor, new

__all__ = ["fold", "unfold"]

Size = Any  # one integer for both axes, or a pair


def unfold(input: Tensor, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1) -> Tensor:
    """The windows of images as columns (im2col). (N, C, H, W) or (C, H, W) → (N, C · KH · KW, windows).

    Raises ShapeError where no window fits.

    >>> unfold(flame.arange(4).reshape(1, 2, 2).float(), (1, 2)).numpy().tolist()
    [[0.0, 2.0], [1.0, 3.0]]
    """
    kernel, apart, pad, by, out = _layout("unfold", input.shape[-2:], kernel_size, dilation, padding, stride)
    if input.ndim not in (3, 4):
        raise ShapeError(f"unfold: needs (N, C, H, W) or (C, H, W), got shape {tuple(input.shape)}")
    first = input.ndim - 2
    x = padded(input, [0] * first + [*pad], [0] * first + [*pad])
    every = windows(x.node, kernel, by, apart)
    order = (*range(2, 2 + first), 0, 1, 2 + first, 3 + first)  # the taps behind the channels
    shape = (*input.shape[: first - 1], input.shape[first - 1] * prod(kernel), prod(out))
    return new(apply("permute", every, order=order), input.device, input).reshape(*shape)


def fold(
    input: Tensor, output_size: Size, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1
) -> Tensor:
    """Columns put back as windows of images, sums where they overlap (col2im): the gradient of `unfold`.

    (N, C · KH · KW, windows) or (C · KH · KW, windows) → (N, C, *output_size). Raises ShapeError where the columns are
    not the windows of such an image.

    >>> fold(flame.ones(2, 2), (2, 2), (1, 2)).numpy().tolist()
    [[[1.0, 1.0], [1.0, 1.0]]]
    """
    size = each("fold", "output_size", output_size, 2)
    kernel, apart, pad, by, out = _layout("fold", size, kernel_size, dilation, padding, stride)
    taps = prod(kernel)
    if input.ndim not in (2, 3) or input.shape[-2] % taps or input.shape[-1] != prod(out):
        raise ShapeError(
            f"fold: an image of {size} has {prod(out)} windows of {kernel}: the input must be (N, C · {taps}, "
            f"{prod(out)}) or (C · {taps}, {prod(out)}), got shape {tuple(input.shape)}"
        )
    lead = (*input.shape[:-2], input.shape[-2] // taps)
    first = len(lead)
    columns = input.reshape(*lead, *kernel, *out)
    every = apply("permute", columns.node, order=(first, first + 1, *range(first), first + 2, first + 3))
    full = tuple(n + 2 * p for n, p in zip(size, pad, strict=True))
    image = new(overlapped(every, first + 2, full, by, apart), input.device, input)
    return image[(..., *(slice(p, p + n) for p, n in zip(pad, size, strict=True)))]


def _layout(name: str, size: Any, kernel_size: Size, dilation: Size, padding: Size, stride: Size) -> tuple[Any, ...]:
    kernel, apart = each(name, "kernel_size", kernel_size, 2), each(name, "dilation", dilation, 2)
    pad, by = each(name, "padding", padding, 2, 0), each(name, "stride", stride, 2)
    sides = zip(size, kernel, apart, pad, by, strict=False)
    out = tuple((n + 2 * p - (k - 1) * d - 1) // s + 1 for n, k, d, p, s in sides)
    if min(out, default=0) < 1:
        raise ShapeError(
            f"{name}: windows of {kernel} with dilation {apart} do not fit into {tuple(size)} with padding {pad}"
        )
    return kernel, apart, pad, by, out
