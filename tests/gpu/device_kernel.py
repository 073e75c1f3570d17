"""Printed kernels on the GPU, on numpy arrays."""

import ctypes

import numpy as np

from flame.runtime import cuda, cuda_compile
from tests.runtime.printed import source


def on_gpu(body: str, args, n: int = 0, blocks: int = 1, threads: int = 32) -> None:
    """Compile, load and launch a body; arrays are copied in and out again, everything else is passed by value."""
    cuda.use(0)
    signature = tuple("address" if is_array(a) else np.asarray(a).dtype.name.replace("bool", "boolean") for a in args)
    options = (("cc", cuda.device(0).cc), ("threads", threads))
    function = cuda.load(cuda_compile.compile_cuda(source(body, len(args)), "k", signature, options), "k")
    stream, held = cuda.Stream(), []
    cells = (ctypes.c_int64 * (len(args) + 1))(n)
    start = ctypes.addressof(cells)
    for k, a in enumerate(args, 1):
        if is_array(a):
            cells[k] = cuda.allocate(max(a.nbytes, 1))
            held.append((cells[k], a))
            cuda.copy_in(cells[k], a.ctypes.data, a.nbytes, stream)
        else:
            raw = np.asarray(a).tobytes()
            ctypes.memmove(start + 8 * k, raw, len(raw))
    cuda.pack(function, blocks, threads, [start + 8 * k for k in range(len(args) + 1)])(stream.handle)
    stream.synchronize()
    for address, a in held:
        cuda.copy_out(a.ctypes.data, address, a.nbytes, stream)
    stream.synchronize()
    for address, _ in held:
        cuda.free(address)


def is_array(a) -> bool:
    """Whether an argument is memory rather than a value."""
    return isinstance(a, np.ndarray) and a.ndim > 0


class OnDevice:
    """A numpy array's bytes on the GPU, freed at the end of a `with` block."""

    def __init__(self, array: np.ndarray, offset: int = 0):
        self.array, self.base = array, cuda.allocate(array.nbytes + offset + 16)
        self.address = self.base + offset

    def __enter__(self) -> "OnDevice":
        cuda.copy_in(self.address, self.array.ctypes.data, self.array.nbytes)
        cuda.synchronize()
        return self

    def __exit__(self, *_: object) -> None:
        cuda.free(self.base)

    def read(self) -> np.ndarray:
        """The bytes now, as an array."""
        out = np.empty_like(self.array)
        cuda.synchronize()
        cuda.copy_out(out.ctypes.data, self.address, out.nbytes)
        cuda.synchronize()
        return out
