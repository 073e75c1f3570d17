"""Values in eight bits and a scale: what float8 holds of a tensor whose numbers lie anywhere."""

from typing import Any

import ml_dtypes

from flame.errors import DTypeError
from flame.ir import dtype as dt
from flame.ir.dtype import DType
from flame.ops.elementwise import TABLE, to_dtype, where
from flame.ops.reduce import amax
from flame.tensor import Tensor


def float8_quantize(x: Tensor, dtype: DType = dt.float8_e4m3fn, dim: Any = None) -> tuple[Tensor, Tensor]:
    """(codes, scale) with x ≈ codes · scale: the largest magnitude becomes the largest number of the dtype.

    One float32 scale for the whole tensor, or one for each slice along `dim` (an integer or several), which stays in
    the scale's shape with size 1. Codes are rounded to the nearest: e4m3fn keeps 4 digits and magnitudes down to 2⁻¹⁵
    of the largest normal, e5m2 3 digits and 2⁻³⁰. Zeros have scale 1. No gradient flows through. Raises DTypeError for
    a dtype that is no float8, and for integers.

    >>> codes, scale = flame.amp.float8_quantize(flame.tensor([[0.5, -7.0], [448.0, 0.0]]), dim=1)
    >>> codes.dtype, scale.shape, flame.amp.float8_dequantize(codes, scale).tolist()
    (flame.float8_e4m3fn, (2, 1), [[0.5, -7.0], [448.0, 0.0]])
    """
    if not dtype.stored or not x.dtype.is_float or x.dtype.stored:
        raise DTypeError(f"float8_quantize: cannot make {dtype} of {x.dtype}; give floats, and a float8 dtype")
    wide = to_dtype(x.detach(), dt.float32)
    size = TABLE["abs"](wide)
    largest = amax(size, tuple(range(x.ndim)) if dim is None else dim, dim is not None)
    scale = where(largest > 0, largest / float(ml_dtypes.finfo(dtype.numpy).max), 1.0)
    return to_dtype(wide / scale, dtype), scale


def float8_dequantize(codes: Tensor, scale: Tensor, dtype: DType = dt.float32) -> Tensor:
    """codes · scale in a dtype to compute with, multiplied in float32."""
    if not codes.dtype.stored:
        raise DTypeError(f"float8_dequantize: codes are float8, got {codes.dtype}; they come from float8_quantize")
    return to_dtype(to_dtype(codes, dt.float32) * scale, dtype)
