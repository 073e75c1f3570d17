"""Tensors from data and from nothing."""

import math
from collections.abc import Callable, Iterator
from operator import index
from typing import Any

import numpy as np

from flame.errors import DTypeError, ShapeError
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir.dtype import DType
from flame.ir.node import Node, apply
from flame.ops.elementwise import to_dtype, where
from flame.ops.method import constant, method, sizes, spread
from flame.ops.place import device as device_of
from flame.runtime import devices
from flame.runtime.device import Device
from flame.tensor import Tensor, from_array, new

__all__ = [
    "arange",
    "empty",
    "empty_like",
    "eye",
    "full",
    "full_like",
    "get_default_dtype",
    "linspace",
    "logspace",
    "ones",
    "ones_like",
    "scalar_tensor",
    "set_default_dtype",
    "tensor",
    "tril_indices",
    "triu_indices",
    "zeros",
    "zeros_like",
]

Where = str | Device | None


def get_default_dtype() -> DType:
    """The floating dtype of Python's floats, and of tensors made without one."""
    return dt.default()


def set_default_dtype(d: DType) -> None:
    """Let Python's floats, and tensors made without a dtype, be of this floating one; at first it is float32."""
    dt.set_default(d)


def tensor(data: Any, *, dtype: DType | None = None, device: Where = None, requires_grad: bool = False) -> Tensor:
    """A leaf with a copy of `data`: a number, nested lists, a NumPy array or a tensor.

    Python floats become the default dtype (float32), ints int64; NumPy arrays keep theirs. A tensor's copy stays on
    its device. Raises DTypeError for what holds no numbers.
    """
    if isinstance(data, Tensor):
        device, data = device or data.device, data.numpy()
    array = np.asarray(data) if isinstance(data, (np.ndarray, np.generic)) else _listed(data, dtype)
    if dtype is not None:
        with np.errstate(over="ignore", invalid="ignore"):
            array = dt.converted(array, dtype.numpy)
    if requires_grad and not dt.of_numpy(array.dtype).is_float:
        raise DTypeError(f"tensor: only floating tensors can require gradients, not {dt.of_numpy(array.dtype)}")
    return from_array(array, _where(device), requires_grad)


def _listed(data: Any, dtype: DType | None) -> np.ndarray:
    """Python numbers as an array in FLAME's default dtypes; tensors and arrays among them are read, and keep theirs."""
    data = list(data) if isinstance(data, Iterator) else data
    first = data
    while isinstance(first, (list, tuple)) and first:
        first = first[0]
    own = isinstance(first, (Tensor, np.ndarray)) or hasattr(first, "__array__")
    try:
        array = np.asarray(_read(data))
        kind = _promoted(data) if own else dt.default() if array.dtype == np.float64 else None
    except (ValueError, OverflowError) as problem:
        raise DTypeError(f"tensor: the nested lists are ragged ({problem}); make all rows equally long") from None
    if (array.dtype.kind not in "biuf" and not dt.is_known(array.dtype)) or array.dtype == np.uint64:
        raise DTypeError(f"tensor: cannot make numbers of {data!r}; give numbers, lists of numbers or NumPy arrays")
    if dtype is not None and dtype.category == dt.INT and array.dtype.kind in "iu" and array.size:
        info = np.iinfo(dtype.numpy)  # PyTorch lets negative numbers wrap into unsigned ones
        least = info.min or -info.max
        if int(array.min()) < least or int(array.max()) > info.max:
            raise DTypeError(f"tensor: {dtype} holds {info.min} to {info.max}; {data!r} goes beyond")
    return array.astype(kind.numpy) if kind is not None and dtype is None else array


def _promoted(data: Any) -> DType | None:
    """The dtype in which all numbers of nested lists meet."""
    if not isinstance(data, (list, tuple)):
        held = isinstance(data, Tensor) or hasattr(data, "__array__")
        return dt.of_numpy(_read(data).dtype) if held else dt.of_scalar(data)
    found: DType | None = None
    for kind in map(_promoted, data):
        found = kind if found is None else found if kind is None else dt.promote(found, kind)
    return found


def _read(data: Any) -> Any:
    """Nested lists with every tensor as an array."""
    if isinstance(data, (list, tuple)):
        return [_read(x) for x in data]
    return np.asarray(data) if isinstance(data, Tensor) or hasattr(data, "__array__") else data


def _where(device: Where) -> Device:
    return devices.default() if device is None else device_of(device)


def _leaf(made: Tensor, requires_grad: bool) -> Tensor:
    return made.requires_grad_() if requires_grad else made


def full(
    size: Any, fill_value: Any, *, dtype: DType | None = None, device: Where = None, requires_grad: bool = False
) -> Tensor:
    """One value everywhere; without a dtype, that of the value."""
    value = fill_value.item() if isinstance(fill_value, (Tensor, np.generic)) else fill_value
    kind = dtype or dt.of_scalar(value)
    shape = sizes((size,) if isinstance(size, int) else (tuple(size),))
    if min(shape, default=0) < 0:
        raise ShapeError(f"full: a tensor cannot have the shape {shape}: sizes are 0 or more")
    node = apply("mark", nd.expand(constant(value, kind), shape), uid=_next())
    return _leaf(new(node, _where(device)), requires_grad)


def _next() -> int:
    """Tensors made alike are still different tensors: each may be a parameter of its own."""
    global _made
    _made += 1
    return -_made


_made = 0


def _everywhere(name: str, value: float, what: str) -> Callable[..., Tensor]:
    @spread("size")
    def function(*size: Any, dtype: DType | None = None, device: Where = None, requires_grad: bool = False) -> Tensor:
        shape = _size(name, size)
        return full(shape, value, dtype=dtype or dt.default(), device=device, requires_grad=requires_grad)

    return _named(function, name, f"{what}, in the default dtype unless `dtype` is given.")


def _like(name: str, value: float, what: str) -> Callable[..., Tensor]:
    def function(
        input: Tensor, *, dtype: DType | None = None, device: Where = None, requires_grad: bool = False
    ) -> Tensor:
        return full_like(input, value, dtype=dtype, device=device, requires_grad=requires_grad)

    return _named(function, name, f"{what}, in the shape, dtype and device of a tensor.")


def _new(name: str, value: float, what: str) -> None:
    @spread("size")
    def function(
        self: Tensor, *size: Any, dtype: DType | None = None, device: Where = None, requires_grad: bool = False
    ) -> Tensor:
        return new_full(self, _size(name, size), value, dtype=dtype, device=device, requires_grad=requires_grad)

    method(_named(function, name, f"{what}, in the dtype and on the device of this tensor."))


def _named(function: Callable[..., Tensor], name: str, doc: str) -> Callable[..., Tensor]:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


def _size(name: str, size: tuple[Any, ...]) -> tuple[int, ...]:
    shape = sizes(size)
    if min(shape, default=0) < 0:
        raise ShapeError(f"{name}: a tensor cannot have the shape {shape}: sizes are 0 or more")
    return shape


def full_like(
    input: Tensor, fill_value: Any, *, dtype: DType | None = None, device: Where = None, requires_grad: bool = False
) -> Tensor:
    """One value everywhere, in the shape, dtype and device of a tensor."""
    return full(
        input.shape, fill_value, dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad
    )


@method
def new_full(
    self: Tensor, size: Any, fill_value: Any, *, dtype: DType | None = None, device: Where = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """One value everywhere, in the dtype and on the device of this tensor."""
    return full(size, fill_value, dtype=dtype or self.dtype, device=device or self.device, requires_grad=requires_grad)


@method
def new_tensor(
    self: Tensor, data: Any, *, dtype: DType | None = None, device: Where = None, requires_grad: bool = False
) -> Tensor:
    """A leaf with a copy of `data`, in the dtype and on the device of this tensor."""
    return tensor(data, dtype=dtype or self.dtype, device=device or self.device, requires_grad=requires_grad)


ABOUT = {
    "zeros": (0, "0 everywhere"),
    "ones": (1, "1 everywhere"),
    "empty": (0, "Values that do not matter; they are 0"),
}
zeros, ones, empty = (_everywhere(name, *about) for name, about in ABOUT.items())
zeros_like, ones_like, empty_like = (_like(f"{name}_like", *about) for name, about in ABOUT.items())
for _name, _about in ABOUT.items():
    _new(f"new_{_name}", *_about)


def scalar_tensor(s: Any, *, dtype: DType | None = None, device: Where = None, requires_grad: bool = False) -> Tensor:
    """A 0-d tensor with one number, in the default dtype unless `dtype` is given."""
    return full((), s, dtype=dtype or dt.default(), device=device, requires_grad=requires_grad)


# --- numbers in a row -------------------------------------------------------------------------------------------------
def iota(n: int) -> Node:
    return apply("iota", n=n)


def _number(x: Any) -> Any:
    return x.item() if isinstance(x, (Tensor, np.generic)) else x


def arange(
    start: Any = 0, end: Any = None, step: Any = 1, *, dtype: DType | None = None, device: Where = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """start, start + step, ... below `end`; from 0 with one argument; int64 for integers, else the default dtype."""
    start, end = (0, start) if end is None else (start, end)
    start, end, step = _number(start), _number(end), _number(step)
    kind = dtype or dt.result_type([], [start, end, step])
    if not all(math.isfinite(x) for x in (start, end, step)):
        raise ShapeError(f"arange: {start}, {end} and {step} must be finite")
    if kind is dt.int64:
        start, end, step = int(start), int(end), int(step)
    if step == 0 or (end - start) * step < 0:
        raise ShapeError(f"arange: steps of {step} do not lead from {start} to {end}")
    count = -(-(end - start) // step) if kind is dt.int64 else math.ceil((end - start) / step)
    start, step = (start, step) if kind.is_float else (int(start), int(step))
    place = new(iota(count), _where(device))
    if (start, step) != (0, 1):
        place = (to_dtype(place, dt.float64) if kind.is_float else place) * step + start
    return _leaf(to_dtype(place, kind), requires_grad)


def _spaced(name: str, start: Any, end: Any, steps: int, device: Where) -> Tensor:
    """`steps` values in float64; counted from the nearer end, so that both are met exactly."""
    if steps < 0:
        raise ShapeError(f"{name}: the number of steps must be at least 0, got {steps}")
    first, last = float(_number(start)), float(_number(end))
    by = (last - first) / (steps - 1) if steps > 1 else 0.0
    place = new(iota(steps), _where(device))
    wide = to_dtype(place, dt.float64)
    if steps < 2:
        return wide * 0.0 + first
    return where(place < steps // 2, wide * by + first, (wide - (steps - 1)) * by + last)


def linspace(
    start: Any, end: Any, steps: int, *, dtype: DType | None = None, device: Where = None, requires_grad: bool = False
) -> Tensor:
    """`steps` values from start to end, both included, evenly apart."""
    return _leaf(to_dtype(_spaced("linspace", start, end, index(steps), device), dtype or dt.default()), requires_grad)


def logspace(
    start: Any, end: Any, steps: int, base: float = 10.0, *, dtype: DType | None = None, device: Where = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """base ** start to base ** end in `steps` values, their logarithms evenly apart."""
    powers = float(base) ** _spaced("logspace", start, end, index(steps), device)
    return _leaf(to_dtype(powers, dtype or dt.default()), requires_grad)


# --- matrices ---------------------------------------------------------------------------------------------------------
def eye(
    n: int, m: int | None = None, *, dtype: DType | None = None, device: Where = None, requires_grad: bool = False
) -> Tensor:
    """1 on the diagonal of an (n, m) matrix, else 0."""
    place, columns = _where(device), n if m is None else m
    if min(n, columns) < 0:
        raise ShapeError(f"eye: sizes are 0 or more, got ({n}, {columns})")
    row, column = new(nd.reshape(iota(n), (n, 1)), place), new(iota(columns), place)
    return _leaf(to_dtype(row.eq(column), dtype or dt.default()), requires_grad)


def _indices(name: str, row: int, col: int, offset: int, dtype: DType, device: Where) -> Tensor:
    if min(row, col) < 0:
        raise ShapeError(f"{name}: sizes are 0 or more, got ({row}, {col})")
    rows, columns = np.ogrid[:row, :col]
    inside = columns <= rows + offset if name == "tril_indices" else columns >= rows + offset
    found = np.stack(np.nonzero(inside)).astype(dtype.numpy)
    return from_array(found, _where(device))


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: DType = dt.int64, device: Where = None) -> Tensor:
    """The positions of the lower triangle of a (row, col) matrix, row by row: (2, count)."""
    return _indices("tril_indices", row, col, offset, dtype, device)


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: DType = dt.int64, device: Where = None) -> Tensor:
    """The positions of the upper triangle of a (row, col) matrix, row by row: (2, count)."""
    return _indices("triu_indices", row, col, offset, dtype, device)


@method
def fill_(self: Tensor, value: float) -> Tensor:
    """Take one value everywhere."""
    return self._become(full(self.shape, value, dtype=self.dtype, device=self.device), "fill_()")


@method
def zero_(self: Tensor) -> Tensor:
    """Take 0 everywhere."""
    return self.fill_(0)
