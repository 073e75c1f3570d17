"""Borders and rearrangements of images: (*, channels, height, width)."""

from collections.abc import Sequence

from flame.errors import ShapeError
from flame.ops import pad as borders
from flame.tensor import Tensor

__all__ = ["channel_shuffle", "pad", "pixel_shuffle", "pixel_unshuffle"]


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """A border of `pad` = (before, after) for each dimension, the last dimension first; negative counts crop.

    Modes: "constant" (`value`, or 0), "reflect" (mirrored at the edge, which is not repeated), "replicate" (the edge
    repeated) and "circular" (going round); all of them for every rank. Raises ShapeError where a border is longer
    than what it is made of, and DTypeError for another mode.

    >>> pad(flame.tensor([1, 2, 3]), (1, 1), "reflect").numpy().tolist()
    [2, 1, 2, 3, 2]
    """
    return borders.pad(input, pad, mode, value)


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """Channels as pixels (Shi et al., arXiv:1609.05158): (*, C·r², H, W) → (*, C, H·r, W·r).

    Raises ShapeError where r² does not divide the channels.

    >>> pixel_shuffle(flame.arange(4).reshape(4, 1, 1), 2).numpy().tolist()
    [[[0, 1], [2, 3]]]
    """
    r = upscale_factor
    *lead, c, h, w = _image("pixel_shuffle", input)
    if r < 1 or c % (r * r):
        raise ShapeError(f"pixel_shuffle: {c} channels of {input.shape} do not divide by {r} squared")
    n = len(lead)
    split = input.reshape(*lead, c // (r * r), r, r, h, w)
    order = (*range(n), n, n + 3, n + 1, n + 4, n + 2)
    return split.permute(order).reshape(*lead, c // (r * r), h * r, w * r)


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """Pixels as channels, the inverse of `pixel_shuffle`: (*, C, H·r, W·r) → (*, C·r², H, W).

    Raises ShapeError where r does not divide height and width.

    >>> pixel_unshuffle(flame.arange(4).reshape(1, 2, 2), 2).shape
    (4, 1, 1)
    """
    r = downscale_factor
    *lead, c, h, w = _image("pixel_unshuffle", input)
    if r < 1 or h % r or w % r:
        raise ShapeError(f"pixel_unshuffle: height and width of {input.shape} do not divide by {r}")
    n = len(lead)
    split = input.reshape(*lead, c, h // r, r, w // r, r)
    order = (*range(n), n, n + 2, n + 4, n + 1, n + 3)
    return split.permute(order).reshape(*lead, c * r * r, h // r, w // r)


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Channels of each group side by side with those of the others (arXiv:1707.01083). (N, C, *) → the same.

    Raises ShapeError where `groups` does not divide the channels.

    >>> channel_shuffle(flame.arange(4).reshape(1, 4, 1), 2).reshape(-1).numpy().tolist()
    [0, 2, 1, 3]
    """
    if input.ndim < 3:
        raise ShapeError(f"channel_shuffle: needs (N, C, *), got {input.shape}")
    n, c, *rest = input.shape
    if groups < 1 or c % groups:
        raise ShapeError(f"channel_shuffle: {groups} groups do not divide {c} channels of {input.shape}")
    return input.reshape(n, groups, c // groups, *rest).transpose(1, 2).reshape(input.shape)


def _image(name: str, input: Tensor) -> tuple[int, ...]:
    if input.ndim < 3:
        raise ShapeError(f"{name}: needs (*, channels, height, width), got {input.shape}")
    return input.shape
