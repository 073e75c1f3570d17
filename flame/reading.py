"""What a tensor is, and its value as Python, NumPy and a reader want it."""

import operator
from math import prod
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from flame import positions, printing, values
from flame.errors import DTypeError, ShapeError
from flame.ir import dtype as dt
from flame.ir.dtype import DType
from flame.ir.node import Node
from flame.runtime.buffer import Buffer
from flame.runtime.device import Device


class Readable:
    """The part of a Tensor that only looks: reading a value computes it."""

    __slots__ = ()
    __array_priority__ = 1000  # a NumPy array on the left leaves the operation to us

    if TYPE_CHECKING:
        node: Node
        device: Device
        requires_grad: bool
        is_leaf: bool
        _spent: str
        grad_fn: Any  # flame.autograd installs it

        def realize(self) -> Self: ...

    # --- what it is ---------------------------------------------------------------------------------------------------
    @property
    def shape(self) -> tuple[int, ...]:
        return self.node.shape

    @property
    def dtype(self) -> DType:
        return self.node.dtype

    @property
    def ndim(self) -> int:
        return len(self.node.shape)

    def dim(self) -> int:
        """How many dimensions the tensor has."""
        return self.ndim

    def numel(self) -> int:
        """How many elements the tensor has."""
        return prod(self.shape)

    def is_floating_point(self) -> bool:
        """True for float16, bfloat16, float32 and float64."""
        return self.dtype.is_float

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def is_cpu(self) -> bool:
        return self.device.type == "cpu"

    def __len__(self) -> int:
        if not self.shape:
            raise ShapeError("len() of a 0-d tensor; it has no dimension to count, use .numel()")
        return self.shape[0]

    __hash__ = object.__hash__

    # --- its value ----------------------------------------------------------------------------------------------------
    def numpy(self, *, force: bool = False) -> np.ndarray:
        """The value as a read-only NumPy array; bfloat16 as ml_dtypes.bfloat16. Copy it (`np.array(t)`) to write.

        On the CPU it is the tensor's own memory, which the array keeps alive. A tensor that requires gradients or lies
        on a GPU is read all the same: PyTorch's `force` changes nothing.
        """
        self.realize()
        found = values.get(self.node)
        if isinstance(found, Buffer):
            array = self.device.array(found, self.shape, self.dtype)
            positions.settle(self.device)
            return array
        out = np.array(found, self.dtype.numpy)
        out.flags.writeable = False
        return out

    def item(self) -> Any:
        """The one element as a Python number; raises ShapeError where there are none or several."""
        if self.numel() != 1:
            raise ShapeError(f"item() needs one element, this tensor has shape {self.shape}; index or reduce it first")
        return self.numpy().reshape(()).item()

    def tolist(self) -> Any:
        """The value as nested Python lists of numbers."""
        return self.numpy().tolist()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        found = self.numpy()
        if copy:
            return np.array(found, dtype)
        if copy is False and dtype is not None and np.dtype(dtype) != found.dtype:
            raise ValueError(f"a {self.dtype} tensor becomes an array of {np.dtype(dtype)} only by a copy")
        return found if dtype is None else found.astype(dtype, copy=False)

    def __bool__(self) -> bool:
        if self.numel() != 1:
            raise ShapeError(f"the truth of a tensor of shape {self.shape} is ambiguous; use .any() or .all()")
        return bool(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        if self.dtype.is_float:
            raise DTypeError(f"a {self.dtype} tensor cannot be an index; cast it with .long()")
        return operator.index(int(self.item()))

    # --- its text -----------------------------------------------------------------------------------------------------
    def __repr__(self) -> str:
        shape, kind = self.shape, self.dtype
        plain = (dt.float32, dt.int64, dt.boolean) if self.numel() else (dt.float32,)
        notes = [f"device={self.device.name!r}"] * (self.device.name != "cpu")
        notes += [f"size={shape}"] * (printing.summarized(shape) or (not self.numel() and len(shape) != 1))
        notes += [f"dtype={kind!r}"] * (kind not in plain)
        if self.requires_grad:
            known = self.is_leaf or self._spent  # a graph that backward() went through has no function to name
            notes.append("requires_grad=True" if known else f"grad_fn={self.grad_fn!r}")
        return printing.describe(self._printed(), shape, notes)

    def _printed(self) -> np.ndarray:
        """The elements that are printed; from the memory of a GPU only these are copied."""
        self.realize()
        found = values.get(self.node)
        if not isinstance(found, Buffer) or self.is_cpu:
            return printing.edges(self.numpy())

        def read(start: int, count: int) -> np.ndarray:
            part = np.empty(count, self.dtype.numpy)
            if count:
                self.device.download_from(found.address + start * self.dtype.size, part)
            return part

        shown = printing.pieces(self.shape, self.dtype.numpy, read)
        positions.settle(self.device)
        return shown

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if not self.shape else object.__format__(self, spec)
