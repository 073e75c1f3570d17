"""Convolutions as modules, with PyTorch's parameters, padding modes and starting values."""

import math
from typing import Any, ClassVar

from flame.errors import FlameError, ShapeError
from flame.ir.dtype import DType
from flame.nn import functional as F
from flame.nn import init
from flame.nn.module import Module
from flame.nn.parameter import blank
from flame.tensor import Tensor

MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


def each(value: Any, n: int) -> tuple[int, ...]:
    """One number for each of n dimensions."""
    return (value,) * n if isinstance(value, int) else tuple(value)


class _Conv(Module):
    """What convolutions and their transposes share: checks, parameters, starting values, repr."""

    n: ClassVar[int] = 1
    transposed: ClassVar[bool] = False

    def _setup(self, channels: tuple[int, int], kernel: Any, groups: int, bias: bool, made: dict[str, Any]) -> None:
        self.in_channels, self.out_channels = channels
        self.groups, self.kernel_size = groups, each(kernel, self.n)
        if min(*channels, groups) < 1 or self.in_channels % groups or self.out_channels % groups:
            raise ShapeError(
                f"{type(self).__name__}: groups={groups} must divide in_channels={self.in_channels} and "
                f"out_channels={self.out_channels}"
            )
        wide, narrow = channels if self.transposed else reversed(channels)
        self.weight = blank(wide, narrow // groups, *self.kernel_size, **made)
        self.register_parameter("bias", blank(self.out_channels, **made) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new starting values: uniform in ±1/√(fan in), weight and bias."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in = init.fans(self.weight)[0]
            bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
            init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}", f"kernel_size={self.kernel_size}", f"stride={self.stride}"]
        if self.padding != (0,) * self.n:
            parts.append(f"padding={self.padding}")
        if self.dilation != (1,) * self.n:
            parts.append(f"dilation={self.dilation}")
        if self.output_padding != (0,) * self.n:
            parts.append(f"output_padding={self.output_padding}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode}")
        return ", ".join(parts)


class _Forward(_Conv):
    """A convolution of n dimensions."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: str | None = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        name, n = type(self).__name__, self.n
        if padding_mode not in MODES:
            raise FlameError(f"{name}: padding_mode is {padding_mode!r}; choose from {', '.join(MODES)}")
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise FlameError(f"{name}: padding is {padding!r}; give numbers, 'same' or 'valid'")
        if padding == "same" and each(stride, n) != (1,) * n:
            raise FlameError(f"{name}: padding='same' needs stride 1, not {stride}")
        self.stride, self.dilation, self.padding_mode = each(stride, n), each(dilation, n), padding_mode
        self.padding = padding if isinstance(padding, str) else each(padding, n)
        self.output_padding = (0,) * n
        self._setup((in_channels, out_channels), kernel_size, groups, bias, {"device": device, "dtype": dtype})

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, *) or (C, *) → the same with out_channels channels."""
        return self.convolve(input, self.weight, self.bias)

    def convolve(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """This layer's convolution with a weight and a bias of the caller's."""
        run, padding = getattr(F, f"conv{self.n}d"), self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._around(), mode=MODES[self.padding_mode]), 0
        return run(input, weight, bias, self.stride, padding, self.dilation, self.groups)

    def _around(self) -> tuple[int, ...]:
        """(before, after) for each dimension, the last first, as `functional.pad` takes them."""
        if self.padding == "valid":
            return (0, 0) * self.n
        if self.padding == "same":
            spans = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            return tuple(x for s in reversed(spans) for x in (s // 2, s - s // 2))
        return tuple(x for p in reversed(each(self.padding, self.n)) for x in (p, p))


class Conv1d(_Forward):
    """Cross-correlation over one dimension. (N, C, L) → (N, out_channels, L′); weight (out, C / groups, k).

    >>> flame.nn.Conv1d(4, 6, 3, padding=1)(flame.ones(2, 4, 9)).shape
    (2, 6, 9)
    """

    n = 1


class Conv2d(_Forward):
    """Cross-correlation over images. (N, C, H, W) → (N, out_channels, H′, W′); weight (out, C / groups, k, k).

    >>> flame.nn.Conv2d(4, 6, 3, stride=2)(flame.ones(2, 4, 9, 9)).shape
    (2, 6, 4, 4)
    """

    n = 2


class Conv3d(_Forward):
    """Cross-correlation over volumes. (N, C, D, H, W) → (N, out_channels, D′, H′, W′)."""

    n = 3


class _Transposed(_Conv):
    """The transpose of a convolution of n dimensions."""

    transposed = True
    padding_mode = "zeros"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: str | None = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        if padding_mode != "zeros":
            raise FlameError(f"{type(self).__name__}: padding_mode is {padding_mode!r}; only 'zeros' has a transpose")
        self.stride, self.padding = each(stride, self.n), each(padding, self.n)
        self.output_padding, self.dilation = each(output_padding, self.n), each(dilation, self.n)
        self._setup((in_channels, out_channels), kernel_size, groups, bias, {"device": device, "dtype": dtype})

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        """(N, C, *) or (C, *) → the same with out_channels channels; `output_size` chooses among fitting sizes."""
        extra = self.output_padding if output_size is None else self._extra(input, output_size)
        convolve = getattr(F, f"conv_transpose{self.n}d")
        return convolve(input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation)

    def _extra(self, input: Tensor, output_size: Any) -> tuple[int, ...]:
        """The output padding that gives a size."""
        wanted, have = tuple(output_size)[-self.n :], input.shape[-self.n :]
        geometry = zip(have, self.stride, self.padding, self.dilation, self.kernel_size, strict=True)
        least = [(size - 1) * s - 2 * p + d * (k - 1) + 1 for size, s, p, d, k in geometry]
        extra = tuple(w - m for w, m in zip(wanted, least, strict=True))
        if any(not 0 <= e < s for e, s in zip(extra, self.stride, strict=True)):
            most = [m + s - 1 for m, s in zip(least, self.stride, strict=True)]
            raise ShapeError(
                f"{type(self).__name__}: output_size {wanted} does not follow from {have}; it lies between {least} "
                f"and {most}"
            )
        return extra


class ConvTranspose1d(_Transposed):
    """The transpose of Conv1d. (N, C, L) → (N, out_channels, L′); weight (C, out / groups, k)."""

    n = 1


class ConvTranspose2d(_Transposed):
    """The transpose of Conv2d. (N, C, H, W) → (N, out_channels, H′, W′); weight (C, out / groups, k, k)."""

    n = 2


class ConvTranspose3d(_Transposed):
    """The transpose of Conv3d. (N, C, D, H, W) → (N, out_channels, D′, H′, W′)."""

    n = 3
