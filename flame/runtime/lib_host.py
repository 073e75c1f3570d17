"""Routines of the host: NumPy's LAPACK on whole tensors, on raw memory here, or on copies of a device's."""

from collections.abc import Callable
from typing import Any

import numpy as np

from flame.ir.dtype import by_name
from flame.ir.library import HostSpec, View
from flame.runtime.lib_numpy import array

Copy = Callable[[int, np.ndarray], None]  # between memory at an address and a contiguous array of the host


def bind(spec: HostSpec, threads: int = 1) -> list[Callable[..., None]]:
    """The routine as `run(out, *inputs)` on addresses of the host's memory."""
    dtype = by_name(spec.dtype).numpy

    def run(out: int, *inputs: int) -> None:
        arrays = (array(at, dtype, s, View.of(s)) for at, s in zip(inputs, spec.shapes, strict=True))
        array(out, dtype, spec.result, View.of(spec.result))[...] = spec.numpy(*arrays)

    return [run]


def from_afar(spec: HostSpec, download: Copy, upload: Copy) -> Callable[..., None]:
    """The routine as `run(out, *inputs)` on addresses of a device: copied here, computed, and copied back."""
    dtype = by_name(spec.dtype).numpy

    def run(out: int, *inputs: int) -> None:
        arrays: list[Any] = []
        for at, shape in zip(inputs, spec.shapes, strict=True):
            arrays.append(np.empty(shape, dtype))
            download(at, arrays[-1])
        upload(out, np.ascontiguousarray(spec.numpy(*arrays), dtype))

    return run


ROUTINES = {"host": bind}
