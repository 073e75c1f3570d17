"""Tensors from data and from nothing."""

import math
from typing import Any

import numpy as np

from flame.errors import DTypeError, ShapeError
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir.dtype import DType
from flame.ir.node import Node, apply
from flame.ops.elementwise import to_dtype
from flame.ops.method import method, sizes
from flame.ops.place import device as device_of
from flame.runtime import devices
from flame.runtime.device import Device
from flame.tensor import Tensor, from_array, new

__all__ = [
    "arange",
    "as_tensor",
    "empty",
    "empty_like",
    "eye",
    "from_numpy",
    "full",
    "full_like",
    "linspace",
    "ones",
    "ones_like",
    "tensor",
    "zeros",
    "zeros_like",
]

Where = str | Device | None


def tensor(data: Any, *, dtype: DType | None = None, device: Where = None, requires_grad: bool = False) -> Tensor:
    """A leaf with a copy of `data`: a number, nested lists, a NumPy array or a tensor.

    Python floats become float32, ints int64; NumPy arrays keep theirs. Raises DTypeError for what holds no numbers.
    """
    if isinstance(data, Tensor):
        data = data.numpy()
    if isinstance(data, (np.ndarray, np.generic)):
        array = np.asarray(data)
    else:
        array = _listed(data)
    if dtype is not None:
        array = array.astype(dtype.numpy)
    if requires_grad and not dt.of_numpy(array.dtype).is_float:
        raise DTypeError(f"only floating tensors can require gradients, this one is {dt.of_numpy(array.dtype)}")
    return from_array(array, _where(device), requires_grad)


def _listed(data: Any) -> np.ndarray:
    """Python numbers as an array in FLAME's default dtypes; tensors among them are read."""
    if isinstance(data, (list, tuple)) and any(isinstance(x, Tensor) for x in data):
        data = [x.numpy() if isinstance(x, Tensor) else x for x in data]
    try:
        array = np.asarray(data)
    except ValueError as problem:
        raise DTypeError(f"tensor: the nested lists are ragged ({problem}); make all rows equally long") from None
    if array.dtype.kind not in "biuf":
        raise DTypeError(f"tensor: cannot make numbers of {data!r}; give numbers, lists of numbers or NumPy arrays")
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _where(device: Where) -> Device:
    return devices.default() if device is None else device_of(device)


def _leaf(made: Tensor, requires_grad: bool) -> Tensor:
    return made.requires_grad_() if requires_grad else made


def as_tensor(data: Any, dtype: DType | None = None, device: Where = None) -> Tensor:
    """`data` itself where it is a fitting tensor, else a new one."""
    return data.to(dtype=dtype, device=device) if isinstance(data, Tensor) else tensor(data, dtype=dtype, device=device)


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor with a copy of a NumPy array."""
    return from_array(array)


def full(
    size: Any, fill_value: Any, *, dtype: DType | None = None, device: Where = None, requires_grad: bool = False
) -> Tensor:
    """One value everywhere."""
    kind = dtype or dt.of_scalar(fill_value)
    shape = sizes((size,) if isinstance(size, int) else tuple(size))
    if min(shape, default=0) < 0:
        raise ShapeError(f"a tensor cannot have the shape {shape}: sizes are 0 or more")
    node = apply("mark", nd.expand(nd.const(fill_value, kind), shape), uid=_next())
    return _leaf(new(node, _where(device)), requires_grad)


def _next() -> int:
    """Tensors made alike are still different tensors: each may be a parameter of its own."""
    global _made
    _made += 1
    return -_made


_made = 0


def zeros(*size: Any, dtype: DType = dt.float32, device: Where = None, requires_grad: bool = False) -> Tensor:
    """0 everywhere."""
    return full(sizes(size), 0, dtype=dtype, device=device, requires_grad=requires_grad)


def ones(*size: Any, dtype: DType = dt.float32, device: Where = None, requires_grad: bool = False) -> Tensor:
    """1 everywhere."""
    return full(sizes(size), 1, dtype=dtype, device=device, requires_grad=requires_grad)


def empty(*size: Any, dtype: DType = dt.float32, device: Where = None, requires_grad: bool = False) -> Tensor:
    """A tensor whose values do not matter; they are 0."""
    return zeros(*size, dtype=dtype, device=device, requires_grad=requires_grad)


def _like(name: str, value: float) -> Any:
    def like(input: Tensor, *, dtype: DType | None = None, device: Where = None, requires_grad: bool = False) -> Tensor:
        return full(
            input.shape, value, dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad
        )

    like.__name__, like.__doc__ = name, f"{value} everywhere, in the shape, dtype and device of a tensor."
    return like


zeros_like, ones_like, empty_like = _like("zeros_like", 0), _like("ones_like", 1), _like("empty_like", 0)


def full_like(input: Tensor, fill_value: float, *, dtype: DType | None = None, device: Where = None) -> Tensor:
    """One value everywhere, in the shape, dtype and device of a tensor."""
    return full(input.shape, fill_value, dtype=dtype or input.dtype, device=device or input.device)


def iota(n: int) -> Node:
    return apply("iota", n=n)


def arange(start: Any, end: Any = None, step: Any = 1, *, dtype: DType | None = None, device: Where = None) -> Tensor:
    """start, start + step, ... below `end`; from 0 with one argument; int64 for integers, float32 with a float."""
    start, end = (0, start) if end is None else (start, end)
    kind = dtype or dt.result_type([], [start, end, step])
    if step == 0 or (end - start) * step < 0:
        raise ShapeError(f"arange: steps of {step} do not lead from {start} to {end}")
    count = math.ceil((end - start) / step)
    place = new(iota(count), _where(device))
    if (start, step) != (0, 1):
        wide = to_dtype(place, dt.float64) if kind.is_float else place
        place = wide * step + start
    return to_dtype(place, kind)


def linspace(start: float, end: float, steps: int, *, dtype: DType = dt.float32, device: Where = None) -> Tensor:
    """`steps` values from start to end, both included, evenly apart."""
    by = (end - start) / (steps - 1) if steps > 1 else 0.0
    return to_dtype(to_dtype(new(iota(steps), _where(device)), dt.float64) * by + start, dtype)


def eye(n: int, m: int | None = None, *, dtype: DType = dt.float32, device: Where = None) -> Tensor:
    """1 on the diagonal of an (n, m) matrix, else 0."""
    where, columns = _where(device), n if m is None else m
    row, column = new(nd.reshape(iota(n), (n, 1)), where), new(iota(columns), where)
    return to_dtype(row.eq(column), dtype)


@method
def new_zeros(self: Tensor, *size: Any) -> Tensor:
    """0 everywhere, in the dtype and on the device of this tensor."""
    return zeros(*size, dtype=self.dtype, device=self.device)


@method
def fill_(self: Tensor, value: float) -> Tensor:
    """Take one value everywhere."""
    return self._become(full(self.shape, value, dtype=self.dtype, device=self.device), "fill_()")


@method
def zero_(self: Tensor) -> Tensor:
    """Take 0 everywhere."""
    return self.fill_(0)
