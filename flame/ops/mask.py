"""Where elements are not 0, and what a mask selects."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from flame.bounds import at_hand, check
from flame.errors import DTypeError, ShapeError
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir import spans
from flame.ir.node import apply
from flame.ir.ops.index import running
from flame.ops.elementwise import to_dtype, where
from flame.ops.join import stack
from flame.ops.method import method
from flame.ops.place import in_place
from flame.ops.shape import expand, reshape
from flame.tensor import Tensor, from_array, new, realize, same_device

__all__ = ["argwhere", "masked_scatter", "masked_select", "nonzero", "nonzero_static", "unravel_index"]


@method
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """Where the elements that are not 0 lie, in row-major order: (count, rank), or a tuple of 1-d tensors.

    Realizes: how many there are is a size of the result.
    """
    flat = _places(reshape(input, input.numel()))
    columns = _unravelled(flat, input.shape if input.ndim or not as_tuple else (1,))
    if as_tuple:
        return columns
    return stack(columns, 1) if columns else from_array(np.zeros((flat.numel(), 0), np.int64), input.device)


def _unravelled(flat: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, ...]:
    """Positions of the flattened tensor as one of each dimension."""
    columns: list[Tensor] = []
    for n in reversed(shape):
        column = flat % n if n else flat
        spans.remember(column.node, spans.Span(0, max(0, n - 1)))
        columns.append(column)
        flat = flat.floor_divide(n) if n else flat
    return tuple(reversed(columns))


@method
def nonzero_static(input: Tensor, *, size: int, fill_value: int = -1) -> Tensor:
    """The first `size` places of `nonzero`, (size, rank), then rows of `fill_value`. Nothing is realized."""
    if size < 0:
        raise ShapeError(f"nonzero_static: size must be 0 or more, not {size}")
    n = input.numel()
    if not input.ndim or not n or not size:
        return to_dtype(new(nd.expand(nd.const(fill_value), (size, input.ndim)), input.device), dt.int64)
    places = new(apply("places", reshape(input, n).ne(0).node, size=size), input.device)
    there = reshape(places < n, (size, 1))
    return where(there, stack(_unravelled(places, input.shape), 1), fill_value)


def unravel_index(indices: Tensor, shape: int | Sequence[int]) -> tuple[Tensor, ...]:
    """Positions of a flattened tensor of that shape as a position in each of its dimensions."""
    if indices.dtype.category != dt.INT:
        raise DTypeError(f"unravel_index: needs an integer tensor, got {indices.dtype}")
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    if min(sizes, default=0) < 0:
        raise ShapeError(f"unravel_index: sizes are 0 or more, got {sizes}")
    return _unravelled(indices, sizes)


def _places(flat: Tensor) -> Tensor:
    """The positions of what is not 0 in a 1-d tensor."""
    if not flat.numel():
        return to_dtype(flat, dt.int64)
    truth = flat.ne(0)
    count = truth.sum()
    realize(truth, count)  # what is true is computed once
    places = new(apply("places", truth.node, size=int(count.item())), flat.device)
    spans.remember(places.node, spans.Span(0, flat.numel() - 1))
    return places


@method
def argwhere(input: Tensor) -> Tensor:
    """Where the elements that are not 0 lie, (count, rank). Realizes."""
    return nonzero(input)


@method
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where a mask is true, as a 1-d tensor; both broadcast. Realizes: their count is its size."""
    if mask.dtype is not dt.boolean:
        raise DTypeError(f"masked_select: the mask must be bool, got {mask.dtype}; compare first, e.g. x > 0")
    same_device("masked_select", input, mask)
    shape = nd.broadcast_shapes(input.shape, mask.shape)
    places = _places(reshape(expand(mask, shape), prod(shape)))
    flat = nd.reshape(nd.expand(input.node, shape), (prod(shape),))
    return new(apply("gather", flat, places.node, axis=0), input.device, input)


@method
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """The elements of `source`, in order, where a mask is true; the mask broadcasts.

    A source with fewer elements than the mask has true ones raises: ShapeError at the call where the mask is in the
    CPU's memory, IndexingError else, when the result is computed.
    """
    if mask.dtype is not dt.boolean:
        raise DTypeError(f"masked_scatter: the mask must be bool, got {mask.dtype}; compare first, e.g. x > 0")
    if source.dtype is not input.dtype:
        raise DTypeError(
            f"masked_scatter: the source is {source.dtype}, the tensor {input.dtype}; cast one of them first"
        )
    same_device("masked_scatter", input, mask, source)
    shape = nd.broadcast_shapes(input.shape, mask.shape)
    full = expand(mask, shape)
    places = prod(shape)
    if places and at_hand(mask):
        wanted = np.count_nonzero(mask.numpy()) * (places // mask.numel())
        if wanted > source.numel():
            raise ShapeError(f"masked_scatter: {source.numel()} elements are too few for {wanted} places of the mask")
    if not places or not source.numel():
        return expand(input, shape)
    order = new(running(reshape(full, places).node), input.device) - 1
    index = where(order < 0, 0, order)
    check("masked_scatter", index, source.numel(), (index.node, source.numel()))
    found = new(apply("gather", reshape(source, source.numel()).node, index.node, axis=0), input.device, source)
    return where(full, reshape(found, shape), input)


in_place("masked_scatter")
