"""Distinct elements. How many there are is known when the input is computed: these realize it, on the host."""

from typing import Any

import numpy as np

from flame.ops.method import axis, tensor_method
from flame.tensor import Tensor, from_array

__all__ = ["unique", "unique_consecutive"]


def _host(input: Tensor) -> np.ndarray:
    """The values; half precisions, which NumPy sorts slowly or not at all, as float32."""
    found = input.detach().numpy()
    return found.astype(np.float32) if input.dtype.is_float and input.dtype.size == 2 else found


def _returned(input: Tensor, values: Any, inverse: Any, counts: Any) -> Any:
    """The values in the input's dtype, and what else was asked for."""
    out = [from_array(np.asarray(values, input.dtype.numpy, order="C"), input.device)]
    out += [from_array(np.asarray(a, np.int64, order="C"), input.device) for a in (inverse, counts) if a is not None]
    return out[0] if len(out) == 1 else tuple(out)


@tensor_method
def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The distinct elements in order, or the distinct slices of a dimension; each nan is its own.

    With them, if asked for: at which of them each element is found, and how often each occurs. `sorted=False` sorts
    too. The result has no gradient.
    """
    array = _host(input)
    at = None if dim is None else axis("unique", dim, input.ndim)
    values, inverse, counts = np.unique(array, return_inverse=True, return_counts=True, axis=at, equal_nan=False)
    inverse = inverse.reshape(-1) if at is not None else inverse.reshape(array.shape)
    return _returned(input, values, inverse if return_inverse else None, counts if return_counts else None)


@tensor_method
def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The input without elements (or slices of a dimension) that equal the one before them.

    With them, if asked for: at which of them each element is found, and how many each stands for. No gradient.
    """
    array = _host(input)
    at = 0 if dim is None else axis("unique_consecutive", dim, input.ndim)
    lines = array.reshape(-1) if dim is None else np.moveaxis(array, at, 0)
    differs = (lines[1:] != lines[:-1]).any(tuple(range(1, lines.ndim)))
    fresh = np.concatenate([np.ones(min(1, len(lines)), bool), differs])
    starts = np.flatnonzero(fresh)
    values = lines[starts] if dim is None else np.moveaxis(lines[starts], 0, at)
    inverse = np.cumsum(fresh) - 1
    counts = np.diff(np.append(starts, len(lines)))
    inverse = inverse.reshape(array.shape) if dim is None else inverse
    return _returned(input, values, inverse if return_inverse else None, counts if return_counts else None)
