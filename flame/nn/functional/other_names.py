"""Functions that PyTorch has under a second name, or with one option fixed."""

from collections.abc import Callable
from typing import Any

from flame.nn.functional.adaptive import adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d
from flame.nn.functional.conv import conv1d
from flame.nn.functional.fractional import fractional_max_pool2d, fractional_max_pool3d
from flame.nn.functional.pool import max_pool1d, max_pool2d, max_pool3d
from flame.nn.functional.resample import interpolate
from flame.tensor import Tensor

__all__ = [
    "adaptive_max_pool1d_with_indices",
    "adaptive_max_pool2d_with_indices",
    "adaptive_max_pool3d_with_indices",
    "conv_tbc",
    "fractional_max_pool2d_with_indices",
    "fractional_max_pool3d_with_indices",
    "max_pool1d_with_indices",
    "max_pool2d_with_indices",
    "max_pool3d_with_indices",
    "upsample_bilinear",
    "upsample_nearest",
]


def _with_indices(pool: Callable[..., Any], rank: int, arguments: str = "2") -> Any:
    def run(input: Tensor, *args: Any, **options: Any) -> tuple[Tensor, Tensor]:
        return pool(input, *args, **{**options, "return_indices": True})

    name, given = f"{pool.__name__}_with_indices", ", ".join(["4"] * rank)
    run.__name__ = run.__qualname__ = name
    run.__doc__ = f"""`{pool.__name__}` with return_indices=True: (values, positions).

    >>> values, positions = {name}(flame.ones(1, 2, {given}), {arguments})
    >>> values.shape == positions.shape == (1, 2, {", ".join(["2"] * rank)})
    True
    """
    return run


max_pool1d_with_indices = _with_indices(max_pool1d, 1)
max_pool2d_with_indices = _with_indices(max_pool2d, 2)
max_pool3d_with_indices = _with_indices(max_pool3d, 3)
adaptive_max_pool1d_with_indices = _with_indices(adaptive_max_pool1d, 1)
adaptive_max_pool2d_with_indices = _with_indices(adaptive_max_pool2d, 2)
adaptive_max_pool3d_with_indices = _with_indices(adaptive_max_pool3d, 3)
fractional_max_pool2d_with_indices = _with_indices(fractional_max_pool2d, 2, "2, 2")
fractional_max_pool3d_with_indices = _with_indices(fractional_max_pool3d, 3, "2, 2")


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate(mode="nearest")`, by its old name.

    >>> upsample_nearest(flame.ones(1, 1, 2, 2), scale_factor=2).shape
    (1, 1, 4, 4)
    """
    return interpolate(input, size, scale_factor, mode="nearest")


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate(mode="bilinear", align_corners=True)`, by its old name.

    >>> upsample_bilinear(flame.ones(1, 1, 2, 2), (3, 5)).shape
    (1, 1, 3, 5)
    """
    return interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)


def conv_tbc(input: Tensor, weight: Tensor, bias: Tensor, pad: int = 0) -> Tensor:
    """`conv1d` with time first: (T, N, C), weight (k, C, out), bias (out) → (T + 2 pad − k + 1, N, out).

    >>> conv_tbc(flame.ones(7, 2, 3), flame.ones(3, 3, 4), flame.zeros(4), pad=1).shape
    (7, 2, 4)
    """
    return conv1d(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=pad).permute(2, 0, 1)
