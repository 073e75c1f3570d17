"""Tensors that lie in files: where their bytes are is known and checked, and nothing is read until it is asked for."""

import math
import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Union

import numpy as np

from flame.errors import CheckpointError, DTypeError
from flame.ir import dtype as dt
from flame.ir.dtype import DType
from flame.nn.parameter import Parameter
from flame.ops.create import Where, _where
from flame.tensor import Tensor, from_array

Source = Union[str, "os.PathLike[str]", bytes, IO[bytes]]
MOST_DIMENSIONS = 64  # NumPy's own limit

# Every element type that files hold, by PyTorch's name; those that FLAME lacks can be converted while they are read.
KINDS = {
    **{name: kind.numpy for name, kind in dt.BY_NAME.items()},
    **{name: np.dtype(name) for name in ("uint16", "uint32", "uint64", "complex64", "complex128")},
}


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor inside `memory`, the bytes of its storage; offset and strides count elements, no strides: row-major.

    The one who makes it has checked that no element lies outside.
    """

    memory: np.ndarray
    kind: np.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None = None
    offset: int = 0
    requires_grad: bool = False
    parameter: bool = False

    @property
    def nbytes(self) -> int:
        """The bytes of its elements, each counted as often as it appears."""
        return math.prod(self.shape) * self.kind.itemsize

    def array(self) -> np.ndarray:
        """A read-only view on the file; of booleans a copy, since a file may hold other bytes than 0 and 1."""
        if 0 in self.shape:
            return np.empty(self.shape, self.kind)
        size = self.kind.itemsize
        strides = None if self.strides is None else tuple(stride * size for stride in self.strides)
        kind = np.dtype(np.uint8) if self.kind == np.bool_ else self.kind
        found = np.ndarray(self.shape, kind, self.memory, self.offset * size, strides)
        return found != 0 if self.kind == np.bool_ else found

    def tensor(self, dtype: DType | None = None, device: Where = None) -> Tensor:
        """A tensor with a copy; raises DTypeError for an element type FLAME lacks, unless a `dtype` is asked for."""
        return load_array(self.array(), dtype, device)


def load_array(array: np.ndarray, dtype: DType | None = None, device: Where = None) -> Tensor:
    """A tensor with a copy of a view on a file, converted where a `dtype` is given."""
    if dtype is None:
        known(array.dtype)
    elif dtype.numpy != array.dtype:
        with np.errstate(over="ignore", invalid="ignore"):
            array = dt.converted(array, dtype.numpy)
    return from_array(array, _where(device))


def known(kind: np.dtype) -> DType:
    """FLAME's dtype of a file's element type; raises DTypeError where there is none."""
    for found in dt.BY_NAME.values():
        if found.numpy == kind:
            return found
    raise DTypeError(f"FLAME has no dtype {kind}; convert while loading, e.g. with dtype=flame.float32")


def as_parameter(value: Tensor, requires_grad: bool) -> Parameter:
    """A parameter that takes over the memory of a tensor just loaded."""
    made = Parameter.__new__(Parameter)
    Tensor.__init__(made, value.node, value.device, requires_grad)
    return made


def read(source: Source) -> tuple[np.ndarray, str]:
    """The bytes of a file, mapped and not read, and what to call it in messages; file objects are read whole."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return np.frombuffer(source, np.uint8), "the bytes"
    if not isinstance(source, (str, os.PathLike)):
        return np.frombuffer(source.read(), np.uint8), str(getattr(source, "name", "the file"))
    path = Path(source)
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            raise CheckpointError(f"{path.name} is empty")
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(mapped, np.uint8), path.name


def fitting_shape(what: str, shape: object, itemsize: int) -> tuple[int, ...]:
    """A shape found in a file, checked; raises CheckpointError where no memory could hold it."""
    if (
        not isinstance(shape, Sequence)
        or len(shape) > MOST_DIMENSIONS
        or any(type(n) is not int or n < 0 for n in shape)
        or math.prod(max(n, 1) for n in shape) * itemsize >= 1 << 62
    ):
        raise CheckpointError(f"{what} has a shape that no tensor has")
    return tuple(shape)
