"""Windows for spectra: weights that fall towards both ends."""

import math
from collections.abc import Callable
from typing import Any

from flame.errors import DTypeError, ShapeError
from flame.ir import dtype as dt
from flame.ir.dtype import DType
from flame.ops.create import arange, full
from flame.ops.elementwise import to_dtype
from flame.tensor import Tensor

__all__ = ["bartlett_window", "blackman_window", "hamming_window", "hann_window"]


def _window(
    name: str, length: int, periodic: bool, dtype: DType | None, device: Any, f: Callable[[Tensor], Tensor]
) -> Tensor:
    """`f` of positions as parts of the whole, 0 to 1; a periodic window lacks the last one."""
    kind = dtype or dt.default()
    if length < 0 or not kind.is_float:
        problem = DTypeError if length >= 0 else ShapeError
        raise problem(f"{name}: needs a length of at least 0 and a floating dtype, got {length} and {kind}")
    if length < 2:
        return full((length,), 1, dtype=kind, device=device)
    place = arange(length, dtype=dt.float64, device=device)
    return to_dtype(f(place * (1 / (length if periodic else length - 1))), kind)


def _cosines(*weights: float) -> Callable[[Tensor], Tensor]:
    """Σ (-1)^k wₖ cos(2 π k x)."""

    def f(x: Tensor) -> Tensor:
        out = x * 0 + weights[0]
        for k, w in enumerate(weights[1:], 1):
            out = out + (x * (2 * math.pi * k)).cos() * ((-1) ** k * w)
        return out

    return f


def hann_window(window_length: int, periodic: bool = True, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """0.5 - 0.5 cos(2 π k / N) for each position k; N is the length, or one less without `periodic`."""
    return _window("hann_window", window_length, periodic, dtype, device, _cosines(0.5, 0.5))


def hamming_window(
    window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, *, dtype: DType | None = None,
    device: Any = None,
) -> Tensor:  # fmt: skip
    """alpha - beta cos(2 π k / N) for each position k; N as for `hann_window`."""
    return _window("hamming_window", window_length, periodic, dtype, device, _cosines(alpha, beta))


def blackman_window(
    window_length: int, periodic: bool = True, *, dtype: DType | None = None, device: Any = None
) -> Tensor:
    """0.42 - 0.5 cos(2 π k / N) + 0.08 cos(4 π k / N) for each position k; N as for `hann_window`."""
    return _window("blackman_window", window_length, periodic, dtype, device, _cosines(0.42, 0.5, 0.08))


def bartlett_window(
    window_length: int, periodic: bool = True, *, dtype: DType | None = None, device: Any = None
) -> Tensor:
    """1 - |2 k / N - 1| for each position k; N as for `hann_window`."""
    return _window("bartlett_window", window_length, periodic, dtype, device, lambda x: 1 - (x * 2 - 1).abs())
