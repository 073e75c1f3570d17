"""How a function becomes a method of Tensor, and how operands become nodes."""

import functools
from collections.abc import Callable, Sequence
from operator import index
from typing import Any, TypeVar

import numpy as np

from flame.errors import DTypeError, IndexingError, ShapeError
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir.dtype import DType
from flame.ir.node import Node, Shape
from flame.runtime.device import Device
from flame.tensor import Tensor, from_array, same_device

Function = TypeVar("Function", bound=Callable[..., Any])
NUMBERS = (bool, int, float, np.bool_, np.integer, np.floating)


def method(f: Function) -> Function:
    """Install a function of a tensor as a method of Tensor, under the same name."""
    setattr(Tensor, f.__name__, f)
    return f


def tensor_method(f: Function) -> Function:
    """As `method`; called as a function, it says so where its first argument is no tensor."""

    @functools.wraps(f)
    def function(*args: Any, **named: Any) -> Any:
        if args and not isinstance(args[0], Tensor):
            raise DTypeError(f"{f.__name__}: needs a Tensor, got {type(args[0]).__name__}; make one by flame.tensor()")
        return f(*args, **named)

    setattr(Tensor, f.__name__, f)
    return function  # type: ignore[return-value]


def spread(name: str) -> Callable[[Function], Function]:
    """A function whose last arguments are numbers one by one, `f(x, 2, 3)`, takes them by name too: `dims=(2, 3)`."""

    def around(f: Function) -> Function:
        @functools.wraps(f)
        def function(*args: Any, **named: Any) -> Any:
            if name in named:
                given = named.pop(name)
                args = (*args, tuple(given) if isinstance(given, (tuple, list)) else given)
            return f(*args, **named)

        return function  # type: ignore[return-value]

    return around


def operands(name: str, *given: Any) -> tuple[list[Node], Device, DType, list[Tensor]]:
    """Nodes, and the dtype in which tensors and numbers meet in an elementwise operation (torch.result_type)."""
    tensors = [g for g in given if isinstance(g, Tensor)]
    if not tensors:
        raise DTypeError(f"{name}: needs at least one Tensor, got {', '.join(type(g).__name__ for g in given)}")
    device = same_device(name, *tensors)
    numbers: list[Any] = []
    for g in given:
        if isinstance(g, np.ndarray):
            return operands(name, *(from_array(x, device) if isinstance(x, np.ndarray) else x for x in given))
        if not isinstance(g, (Tensor, *NUMBERS)):
            raise DTypeError(
                f"{name}: cannot combine a Tensor with {g!r} of type {type(g).__name__}; give a number or a Tensor"
            )
        if not isinstance(g, Tensor):
            if isinstance(g, int) and not -(1 << 63) <= g < 1 << 63:
                raise DTypeError(f"{name}: {g} is beyond 64 bits; give it as a float, e.g. {float(g)}")
            numbers.append(g)
    dtype = dt.result_type([(t.dtype, t.ndim) for t in tensors], numbers)
    return [g.node if isinstance(g, Tensor) else constant(g, dtype) for g in given], device, dtype, tensors


def element(name: str, number: Any, dtype: DType) -> Any:
    """A Python number as an element of a dtype: integers truncate it; DTypeError for what they cannot hold."""
    if not isinstance(number, NUMBERS):
        raise DTypeError(
            f"{name}: {number!r} of type {type(number).__name__} is no number; give a bool, an int or a float"
        )
    if dtype.category != dt.INT:
        return bool(number) if dtype is dt.boolean else float(number)
    most = int(np.iinfo(dtype.numpy).max)
    least = int(np.iinfo(dtype.numpy).min) or -most  # unsigned ones count from the end, as in PyTorch
    if number != number or not least <= number <= most:
        raise DTypeError(f"{name}: {number} is no {dtype}; cast the tensor first, e.g. x.float()")
    return int(number)


def constant(number: Any, dtype: DType) -> Node:
    """A Python number in a dtype; integers wrap around and floats overflow to infinity, as PyTorch's."""
    if number:  # 0.0 and -0.0 are equal keys
        return _constant(number.__class__, number, dtype)
    return nd.const(number, dtype)


@functools.lru_cache(1024)
def _constant(kind: type, number: Any, dtype: DType) -> Node:
    if dtype.category == dt.INT:
        least, span = int(np.iinfo(dtype.numpy).min), 1 << 8 * dtype.size
        number = (int(number) - least) % span + least
    with np.errstate(over="ignore"):
        return nd.const(number, dtype)


def meet(nodes: Sequence[Node], dtype: DType | None, name: str) -> list[Node]:
    """The nodes cast to one dtype and broadcast to one shape, for the operation `name`."""
    shape = nodes[0].shape
    for n in nodes[1:]:
        if n.shape != shape:
            try:
                shape = nd.broadcast_shapes(shape, n.shape)
            except ShapeError as error:
                raise ShapeError(f"{name}: {error}") from None
    return [nd.expand(n if dtype is None else nd.cast(n, dtype), shape) for n in nodes]


def axis(name: str, dim: Any, rank: int) -> int:
    """A dimension counted from the front; raises IndexingError outside [-rank, rank), DTypeError for no integer."""
    try:
        dim = index(dim)
    except TypeError:
        raise DTypeError(f"{name}: dim is an integer, got {dim!r} of type {type(dim).__name__}") from None
    if not -max(rank, 1) <= dim < max(rank, 1):
        raise IndexingError(
            f"{name}: dim {dim} is out of range for {rank} dimensions; choose from [{-rank}, {rank - 1}]"
        )
    return dim % max(rank, 1)


def axes(name: str, dim: Any, rank: int) -> tuple[int, ...]:
    """One dimension, several, or all (None or an empty list), from the front, in order."""
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return tuple(range(rank))
    found = sorted(axis(name, d, rank) for d in (dim if isinstance(dim, (tuple, list)) else (dim,)))
    if len(set(found)) < len(found):
        raise IndexingError(f"{name}: dim {dim} names a dimension twice")
    return tuple(found) if rank else ()


def sizes(given: tuple[Any, ...]) -> Shape:
    """A shape given as separate numbers or as one sequence."""
    found = given[0] if len(given) == 1 and isinstance(given[0], (tuple, list)) else given
    try:
        return tuple([index(n) for n in found])
    except TypeError:
        raise ShapeError(f"sizes and dimensions are integers, got {found!r}") from None
