"""Pools and resampling as modules; each is the function of nn.functional that it names."""

from flame.errors import ShapeError
from flame.nn.conv import each
from flame.nn.plain import REQUIRED, Plain

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "FractionalMaxPool2d",
    "FractionalMaxPool3d",
    "LPPool1d",
    "LPPool2d",
    "LPPool3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
    "Upsample",
    "UpsamplingBilinear2d",
    "UpsamplingNearest2d",
]

MAX = {
    "kernel_size": REQUIRED,
    "stride": None,
    "padding": 0,
    "dilation": 1,
    "return_indices": False,
    "ceil_mode": False,
}
AVERAGE = {"kernel_size": REQUIRED, "stride": None, "padding": 0, "ceil_mode": False, "count_include_pad": True}
UNPOOL = {"kernel_size": REQUIRED, "stride": None, "padding": 0}
POWER = {"norm_type": REQUIRED, "kernel_size": REQUIRED, "stride": None, "ceil_mode": False}
SIZE = {"output_size": REQUIRED}
FRACTIONAL = {
    "kernel_size": REQUIRED,
    "output_size": None,
    "output_ratio": None,
    "return_indices": False,
    "_random_samples": None,
}


class _Strided(Plain):
    """A stride that is not given is the kernel's size."""

    tuples = 0  # dimensions for which kernel, stride and padding become tuples, as in PyTorch's repr

    def check(self) -> None:
        """See the class."""
        if self.stride is None:
            self.stride = self.kernel_size
        if self.tuples:
            for name in ("kernel_size", "stride", "padding"):
                setattr(self, name, each(getattr(self, name), self.tuples))


class MaxPool1d(_Strided):
    """The largest of each window. (N, C, L) → (N, C, L′)."""

    function, options, shown = "max_pool1d", MAX, ("kernel_size", "stride", "padding", "dilation", "ceil_mode")


class MaxPool2d(_Strided):
    """The largest of each window. (N, C, H, W) → (N, C, H′, W′)."""

    function, options, shown = "max_pool2d", MAX, ("kernel_size", "stride", "padding", "dilation", "ceil_mode")


class MaxPool3d(_Strided):
    """The largest of each window. (N, C, D, H, W) → (N, C, D′, H′, W′)."""

    function, options, shown = "max_pool3d", MAX, ("kernel_size", "stride", "padding", "dilation", "ceil_mode")


class AvgPool1d(_Strided):
    """The mean of each window. (N, C, L) → (N, C, L′)."""

    function, options, shown = "avg_pool1d", AVERAGE, ("kernel_size", "stride", "padding")
    tuples = 1


class AvgPool2d(_Strided):
    """The mean of each window. (N, C, H, W) → (N, C, H′, W′)."""

    function, options, shown = "avg_pool2d", AVERAGE | {"divisor_override": None}, ("kernel_size", "stride", "padding")


class AvgPool3d(_Strided):
    """The mean of each window. (N, C, D, H, W) → (N, C, D′, H′, W′)."""

    function, options, shown = "avg_pool3d", AVERAGE | {"divisor_override": None}, ("kernel_size", "stride", "padding")


class MaxUnpool1d(_Strided):
    """What MaxPool1d took, back at its indices; zeros elsewhere. (N, C, L), indices → (N, C, L′)."""

    function, options, tuples = "max_unpool1d", UNPOOL, 1


class MaxUnpool2d(_Strided):
    """What MaxPool2d took, back at its indices; zeros elsewhere."""

    function, options, tuples = "max_unpool2d", UNPOOL, 2


class MaxUnpool3d(_Strided):
    """What MaxPool3d took, back at its indices; zeros elsewhere."""

    function, options, tuples = "max_unpool3d", UNPOOL, 3


class LPPool1d(Plain):
    """The root of the sum of powers of each window. (N, C, L) → (N, C, L′)."""

    function, options = "lp_pool1d", POWER


class LPPool2d(Plain):
    """The root of the sum of powers of each window. (N, C, H, W) → (N, C, H′, W′)."""

    function, options = "lp_pool2d", POWER


class LPPool3d(Plain):
    """The root of the sum of powers of each window. (N, C, D, H, W) → (N, C, D′, H′, W′)."""

    function, options = "lp_pool3d", POWER


class AdaptiveAvgPool1d(Plain):
    """Means of windows that make `output_size` of any size."""

    function, options = "adaptive_avg_pool1d", SIZE


class AdaptiveAvgPool2d(Plain):
    """Means of windows that make `output_size` of any size."""

    function, options = "adaptive_avg_pool2d", SIZE


class AdaptiveAvgPool3d(Plain):
    """Means of windows that make `output_size` of any size."""

    function, options = "adaptive_avg_pool3d", SIZE


class AdaptiveMaxPool1d(Plain):
    """Maxima of windows that make `output_size` of any size."""

    function, options, shown = "adaptive_max_pool1d", SIZE | {"return_indices": False}, ("output_size",)


class AdaptiveMaxPool2d(Plain):
    """Maxima of windows that make `output_size` of any size."""

    function, options, shown = "adaptive_max_pool2d", SIZE | {"return_indices": False}, ("output_size",)


class AdaptiveMaxPool3d(Plain):
    """Maxima of windows that make `output_size` of any size."""

    function, options, shown = "adaptive_max_pool3d", SIZE | {"return_indices": False}, ("output_size",)


class Upsample(Plain):
    """Another resolution, by size or by factor; see `functional.interpolate`. (N, C, *) → (N, C, *′)."""

    function, shown = "interpolate", ("scale_factor", "mode")
    options = {
        "size": None,
        "scale_factor": None,
        "mode": "nearest",
        "align_corners": None,
        "recompute_scale_factor": None,
    }

    def check(self) -> None:
        """Factors are floats."""
        given = self.scale_factor
        if given is not None:
            self.scale_factor = tuple(map(float, given)) if isinstance(given, (list, tuple)) else float(given)

    def extra_repr(self) -> str:
        first = f"size={self.size!r}" if self.scale_factor is None else f"scale_factor={self.scale_factor!r}"
        return f"{first}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """Upsample by the nearest element."""

    options = {"size": None, "scale_factor": None}
    mode, fixed = "nearest", {"mode": "nearest"}


class UpsamplingBilinear2d(Upsample):
    """Upsample bilinearly, corners aligned."""

    options = {"size": None, "scale_factor": None}
    mode, fixed = "bilinear", {"mode": "bilinear", "align_corners": True}


class FractionalMaxPool2d(Plain):
    """The largest of windows that begin at random (Graham, arXiv:1412.6071). (N, C, H, W) → (N, C, H′, W′)."""

    function, options, shown, buffers_of = "fractional_max_pool2d", FRACTIONAL, (), ("_random_samples",)

    def check(self) -> None:
        """One of the sizes."""
        if (self.output_size is None) == (self.output_ratio is None):
            raise ShapeError(f"{type(self).__name__}: give output_size or output_ratio, one of them")


class FractionalMaxPool3d(FractionalMaxPool2d):
    """The largest of windows that begin at random. (N, C, D, H, W) → (N, C, D′, H′, W′)."""

    function = "fractional_max_pool3d"
