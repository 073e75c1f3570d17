"""Modules that only move elements: padding, flattening, shuffling, folding; and distances."""

from typing import Any

from flame.nn import functional as F
from flame.nn.module import Module
from flame.nn.plain import REQUIRED, Plain
from flame.tensor import Tensor

__all__ = [
    "ChannelShuffle",
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "CosineSimilarity",
    "Flatten",
    "Fold",
    "Identity",
    "PairwiseDistance",
    "PixelShuffle",
    "PixelUnshuffle",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "Unflatten",
    "Unfold",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]


class Identity(Module):
    """The input itself, whatever the arguments. (*) → (*)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        """(*) → (*)."""
        return input


class Flatten(Module):
    """Dimensions from start_dim to end_dim as one. (N, *) → (N, product of *)."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        """(N, *) → (N, product of *)."""
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """One dimension as several."""

    def __init__(self, dim: int, unflattened_size: Any) -> None:
        super().__init__()
        self.dim, self.unflattened_size = dim, unflattened_size

    def forward(self, input: Tensor) -> Tensor:
        """(*, S, *) → (*, unflattened_size, *)."""
        return input.unflatten(self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class PixelShuffle(Plain):
    """(N, C · r², H, W) → (N, C, H · r, W · r) (Shi et al., arXiv:1609.05158)."""

    function, options = "pixel_shuffle", {"upscale_factor": REQUIRED}


class PixelUnshuffle(Plain):
    """(N, C, H · r, W · r) → (N, C · r², H, W)."""

    function, options = "pixel_unshuffle", {"downscale_factor": REQUIRED}


class ChannelShuffle(Plain):
    """Channels of groups interleaved. (N, C, *) → the same."""

    function, options = "channel_shuffle", {"groups": REQUIRED}


class Fold(Plain):
    """Windows added up to an image; see `functional.fold`. (N, C · k, L) → (N, C, *output_size)."""

    function = "fold"
    options = {"output_size": REQUIRED, "kernel_size": REQUIRED, "dilation": 1, "padding": 0, "stride": 1}


class Unfold(Plain):
    """The windows of an image as columns; see `functional.unfold`. (N, C, H, W) → (N, C · k, L)."""

    function, options = "unfold", {"kernel_size": REQUIRED, "dilation": 1, "padding": 0, "stride": 1}


class CosineSimilarity(Plain):
    """The cosine between vectors along `dim`."""

    function, options, shown = "cosine_similarity", {"dim": 1, "eps": 1e-8}, ()


class PairwiseDistance(Plain):
    """The p-norm of the difference of vectors."""

    function, options, shown = "pairwise_distance", {"p": 2.0, "eps": 1e-6, "keepdim": False}, ()


class _Padding(Module):
    """`padding` elements around the last dimensions: one number, or (before, after) of each, the last first."""

    mode, dimensions = "constant", 1

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = (padding,) * (2 * self.dimensions) if isinstance(padding, int) else tuple(padding)
        self.value = 0.0

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, *) → (N, C, *′)."""
        if self.mode == "constant":
            return F.pad(input, self.padding, value=self.value)
        return F.pad(input, self.padding, mode=self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPadding(_Padding):
    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


def _pads(kind: str, mode: str, base: type[_Padding], doc: str) -> list[type[_Padding]]:
    """The classes of one mode for 1 to 3 dimensions."""
    made = []
    for n in (1, 2, 3):
        body = {"mode": mode, "dimensions": n, "__doc__": doc, "__module__": __name__}
        made.append(type(f"{kind}Pad{n}d", (base,), body))
    return made


ConstantPad1d, ConstantPad2d, ConstantPad3d = _pads("Constant", "constant", _ConstantPadding, "`value` around.")
ZeroPad1d, ZeroPad2d, ZeroPad3d = _pads("Zero", "constant", _Padding, "Zeros around.")
ReflectionPad1d, ReflectionPad2d, ReflectionPad3d = _pads("Reflection", "reflect", _Padding, "Mirrored at the edge.")
ReplicationPad1d, ReplicationPad2d, ReplicationPad3d = _pads(
    "Replication", "replicate", _Padding, "The edge element repeated."
)
CircularPad1d, CircularPad2d, CircularPad3d = _pads("Circular", "circular", _Padding, "What lies at the other side.")
