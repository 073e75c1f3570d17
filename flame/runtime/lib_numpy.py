"""Library routines on the CPU: NumPy's BLAS, on raw memory."""

import ctypes
from collections.abc import Callable
from math import prod

import numpy as np

from flame.ir.dtype import by_name
from flame.ir.library import MatmulSpec, View

Routine = Callable[..., None]


def bind(spec: MatmulSpec) -> Routine:
    """A product as `run(out, a, b)` on addresses; transposes and strides are read in place."""
    dtype = by_name(spec.dtype).numpy
    left, right = (*spec.batch, spec.m, spec.k), (*spec.batch, spec.k, spec.n)
    result = (*spec.batch, spec.m, spec.n)
    whole = View.of(result)

    def run(out: int, a: int, b: int) -> None:
        np.matmul(array(a, dtype, left, spec.a), array(b, dtype, right, spec.b), out=array(out, dtype, result, whole))

    return run


def array(address: int, dtype: np.dtype, shape: tuple[int, ...], view: View) -> np.ndarray:
    """Memory at an address as a strided array."""
    size = dtype.itemsize
    reach = view.offset + sum((n - 1) * s for n, s in zip(shape, view.strides, strict=True)) + 1 if prod(shape) else 0
    memory = (ctypes.c_char * (reach * size)).from_address(address)
    strides = tuple(s * size for s in view.strides)
    return np.ndarray(shape, dtype, memory, view.offset * size, strides)


ROUTINES: dict[str, Callable[[MatmulSpec], Routine]] = {"matmul": bind}
