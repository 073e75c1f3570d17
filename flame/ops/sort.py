"""Sorting and selecting along a dimension. Order is stable, and nan is the largest number, as in PyTorch."""

from operator import index
from typing import Any

from flame.errors import DTypeError, IndexingError, ShapeError
from flame.ir.node import reshape
from flame.ir.ops.sort import ordered
from flame.ops.method import axis, tensor_method
from flame.ops.reduce import Selected
from flame.tensor import Tensor, new

__all__ = ["argsort", "kthvalue", "msort", "sort", "topk"]


def order(name: str, input: Tensor, dim: int, descending: bool, ranks: tuple[int, int] | None = None) -> Tensor:
    """The positions of the elements in their order along a dimension, or of those at some ranks, as int64."""
    at = axis(name, dim, input.ndim)
    if not input.ndim:
        return new(reshape(ordered(reshape(input.node, (1,)), 0, bool(descending)), ()), input.device)
    return new(ordered(input.node, at, bool(descending), ranks), input.device)


def at_places(input: Tensor, dim: int, places: Tensor) -> Selected:
    """The elements at places along a dimension, beside them."""
    return Selected(input.gather(dim, places) if input.ndim else input.clone(), places)


@tensor_method
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """Positions in the order of the elements along a dimension; always stable."""
    return order("argsort", input, dim, descending)


@tensor_method
def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Selected:
    """(values, indices) in order along a dimension; always stable, nan last, or first when descending."""
    return at_places(input, dim, order("sort", input, dim, descending))


@tensor_method
def msort(input: Tensor) -> Tensor:
    """The values in order along the first dimension."""
    return at_places(input, 0, order("msort", input, 0, False)).values


def _size(name: str, input: Tensor, dim: int) -> tuple[int, int]:
    """The dimension, and its size; 1 for a 0-d tensor."""
    at = axis(name, dim, input.ndim)
    return at, input.shape[at] if input.ndim else 1


def counted(name: str, k: Any) -> int:
    """How many, as an integer."""
    try:
        return index(k)
    except TypeError:
        raise DTypeError(f"{name}: k is an integer, got {k!r} of type {type(k).__name__}") from None


@tensor_method
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Selected:
    """(values, indices) of the k largest (or smallest) along a dimension, in order; raises ShapeError for k > size."""
    at, n = _size("topk", input, dim)
    k = counted("topk", k)
    if not 0 <= k <= n:
        raise ShapeError(f"topk: k={k} of a dimension of size {n}; choose 0 <= k <= {n} (dim {dim} of {input.shape})")
    places = order("topk", input, dim, largest, (0, k))
    if not input.ndim:
        return at_places(input, dim, places) if k else Selected(*(t.reshape(1)[:0] for t in (input, places)))
    return at_places(input, at, places)


@tensor_method
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Selected:
    """(value, index) of the k-th smallest, counted from 1, along a dimension; raises IndexingError outside it."""
    at, n = _size("kthvalue", input, dim)
    k = counted("kthvalue", k)
    if not 1 <= k <= n:
        raise IndexingError(f"kthvalue: k={k} of a dimension of size {n}; choose 1 <= k <= {n} (shape {input.shape})")
    return at_kept(input, at, order("kthvalue", input, dim, False, (k - 1, k)), keepdim)


def at_kept(input: Tensor, at: int, places: Tensor, keepdim: bool) -> Selected:
    """The elements at one place along a dimension, with or without that dimension."""
    found = at_places(input, at, places)
    return found if keepdim or not input.ndim else Selected(*(t.squeeze(at) for t in found))
