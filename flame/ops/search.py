"""Sorted search, counting, and the positions of combinations."""

import itertools
from math import prod
from typing import Any, NamedTuple

import numpy as np

from flame.bounds import check, known
from flame.errors import DTypeError, IndexingError, ShapeError
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir import spans
from flame.ir.node import apply
from flame.ir.ops.index import count_below
from flame.ops.create import tensor
from flame.ops.elementwise import to_dtype, where
from flame.ops.join import stack
from flame.ops.method import NUMBERS, method
from flame.ops.scatter import fold, hit
from flame.ops.shape import expand, reshape
from flame.tensor import Tensor, from_array, new, same_device

__all__ = [
    "bincount",
    "bucketize",
    "cartesian_prod",
    "combinations",
    "histc",
    "histogram",
    "one_hot",
    "searchsorted",
    "tril_indices",
    "triu_indices",
]


# --- sorted search ----------------------------------------------------------------------------------------------------
def searchsorted(
    sorted_sequence: Tensor,
    input: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """Where values belong in sorted lines: how many elements are smaller, or with `right` not larger.

    (n) and a number or any shape, or (*, n) and (*, m) → the shape of the values, as int64 or int32. `side="right"` is
    `right=True`; `sorter` is an order that sorts the lines; nan belongs at the end.
    """
    if side is not None:
        if side not in ("left", "right"):
            raise IndexingError(f"searchsorted: side must be 'left' or 'right', not {side!r}")
        if right and side == "left":
            raise IndexingError("searchsorted: side='left' contradicts right=True; give one of them")
        right = side == "right"
    line = sorted_sequence
    if not line.ndim:
        raise ShapeError("searchsorted: the sorted sequence must have a dimension, got a 0-d tensor")
    if sorter is not None:
        if sorter.shape != line.shape or sorter.dtype is not dt.int64:
            raise ShapeError(
                f"searchsorted: sorter must be int64 of shape {line.shape}, got {sorter.dtype} {sorter.shape}"
            )
        line = line.gather(-1, sorter)
    return _searched("searchsorted", line, input, right, out_int32)


def _searched(name: str, line: Tensor, input: Any, right: bool, narrow: bool) -> Tensor:
    if isinstance(input, NUMBERS):
        input = new(nd.const(input, dt.result_type([(line.dtype, line.ndim)], [input])), line.device)
    if not isinstance(input, Tensor):
        raise DTypeError(f"{name}: needs a number or a tensor of values, got {input!r}")
    same_device(name, line, input)
    if line.ndim > 1 and (line.ndim != input.ndim or line.shape[:-1] != input.shape[:-1]):
        raise ShapeError(
            f"{name}: lines of shape {line.shape} and values of shape {input.shape} must agree in all dimensions but "
            "the last, or the sorted sequence must be 1-d"
        )
    kind = dt.promote(line.dtype, input.dtype)
    values = nd.cast(input.node, kind)
    flat = nd.reshape(values, (input.numel(),)) if line.ndim == 1 else values
    found = nd.reshape(count_below(nd.cast(line.node, kind), flat, line.ndim - 1, right), input.shape)
    return to_dtype(new(found, line.device), dt.int32 if narrow else dt.int64)


def bucketize(input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """The number of the bucket between sorted 1-d boundaries that each value lies in; with `right`, [low, high)."""
    if boundaries.ndim != 1:
        raise ShapeError(f"bucketize: boundaries must be 1-d, got {boundaries.shape}")
    return _searched("bucketize", boundaries, input, right, out_int32)


# --- counting ---------------------------------------------------------------------------------------------------------
@method
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each integer from 0 on occurs in a 1-d tensor, or the sum of the weights where it does.

    (n) → (largest + 1, at least `minlength`), int64; of weights float32 or float64. Realizes the largest. Raises
    IndexingError for negative integers.
    """
    if input.ndim != 1 or input.dtype.category != dt.INT:
        raise DTypeError(f"bincount: needs a 1-d integer tensor, got {input.dtype} of shape {input.shape}")
    if weights is not None and weights.shape != input.shape:
        raise ShapeError(f"bincount: weights of shape {weights.shape} do not fit the input's {input.shape}")
    if minlength < 0:
        raise IndexingError(f"bincount: minlength must be 0 or more, not {minlength}")
    size = max(minlength, _classes("bincount", input) if input.numel() else 0)
    if weights is None:
        value = new(nd.expand(nd.const(1), input.shape), input.device)
    else:
        same_device("bincount", input, weights)
        value = weights if weights.dtype is dt.float32 else to_dtype(weights, dt.float64)
    if not size:
        return reshape(value, 0)
    return fold("scatter_add", nd.cast(input.node, dt.int64), value, 0, size)


def _classes(name: str, input: Tensor) -> int:
    """One more than the largest of the integers, none of which may be negative. Realizes."""
    found = known(input)
    if found is None or not found.exact:
        low, high = (int(v) for v in stack([input.amin(), input.amax()]).numpy())
        found = spans.Span(low, high, True)
    if found.low < 0:
        raise IndexingError(f"{name}: needs integers that are 0 or more, got {found.low}")
    return found.high + 1


@method
def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many elements lie in each of `bins` equal parts of [min, max]; of the data's own range where both are 0.

    Any shape → (bins), in the dtype of the floating input. Elements outside, and nan, are not counted.
    """
    if not input.dtype.is_float:
        raise DTypeError(f"histc: needs a floating tensor, got {input.dtype}; cast it first, e.g. .float()")
    if bins <= 0:
        raise ShapeError(f"histc: bins must be above 0, not {bins}")
    if max < min:
        raise ShapeError(f"histc: max {max} must not be below min {min}")
    flat = to_dtype(reshape(input.detach(), input.numel()), dt.float64 if input.dtype is dt.float64 else dt.float32)
    if not input.numel():
        return to_dtype(tensor(np.zeros(bins), device=input.device), input.dtype)
    low, high = (
        (flat.amin(), flat.amax())
        if min == max == 0
        else (tensor(float(v), dtype=flat.dtype, device=flat.device) for v in (min, max))
    )
    same = low.eq(high)
    low, high = where(same, low - 1, low), where(same, high + 1, high)
    inside = (flat >= low).logical_and(flat <= high)
    place = to_dtype(where(inside, (flat - low) * bins / (high - low), 0.0), dt.int64).clamp(max=bins - 1)
    counts = fold("scatter_add", place.node, to_dtype(inside, dt.int64), 0, bins)
    return to_dtype(counts, input.dtype)


class Histogram(NamedTuple):
    """How many elements lie in each bin, and the edges of the bins."""

    hist: Tensor
    bin_edges: Tensor


@method
def histogram(
    input: Tensor,
    bins: int | Tensor,
    *,
    range: tuple[float, float] | None = None,
    weight: Tensor | None = None,
    density: bool = False,
) -> Histogram:
    """How many elements lie in each bin, or the sum of their weights; with `density`, as a probability density.

    `bins` equal ones over a range, the data's own by default, or the 1-d tensor of their edges. A bin holds its left
    edge, the last both. Any floating shape → (bins) and (bins + 1), in its dtype.
    """
    if not input.dtype.is_float:
        raise DTypeError(f"histogram: needs a floating tensor, got {input.dtype}; cast it first, e.g. .float()")
    if weight is not None and (weight.shape != input.shape or weight.dtype is not input.dtype):
        raise ShapeError(
            f"histogram: weight is {weight.dtype} of shape {weight.shape}, the input {input.dtype} of {input.shape}"
        )
    edges = bins if isinstance(bins, Tensor) else _edges(input, bins, range)
    if edges.ndim != 1 or edges.numel() < 2 or edges.dtype is not input.dtype:
        raise ShapeError(f"histogram: bins must be above 0, or 1-d edges of {input.dtype}, got {edges.shape}")
    flat, count = reshape(input.detach(), input.numel()), edges.numel() - 1
    inside = (flat >= edges[0]).logical_and(flat <= edges[-1])
    place = searchsorted(edges, flat, right=True) - 1
    place = where(inside, where(place < count, place, count - 1), 0)
    value = to_dtype(inside, input.dtype) if weight is None else where(inside, reshape(weight, input.numel()), 0.0)
    hist = fold("scatter_add", place.node, value, 0, count) if input.numel() else edges[1:] * 0
    return Histogram(hist / (hist.sum() * (edges[1:] - edges[:-1])) if density else hist, edges)


def _edges(input: Tensor, bins: int, range: tuple[float, float] | None) -> Tensor:
    """The edges of equal bins; a range of one point is widened."""
    if bins <= 0:
        raise ShapeError(f"histogram: bins must be above 0, not {bins}")
    if range is not None and not range[0] <= range[1]:
        raise ShapeError(f"histogram: the range {range} must be (low, high) with low <= high")
    if range is None and input.numel():
        low, high = input.detach().amin(), input.detach().amax()
    else:
        low, high = (tensor(float(v), dtype=input.dtype, device=input.device) for v in range or (0, 1))
    if input.numel():
        same = low.eq(high)
        low, high = where(same, low - 0.5, low), where(same, high + 0.5, high)
    step = new(apply("iota", n=bins + 1), input.device)
    return where(step.eq(bins), high, low + (high - low) * (to_dtype(step, input.dtype) / bins))


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """int64 1 at the position each integer names, else 0: (*) → (*, num_classes); without a count it is realized.

    Raises IndexingError for integers outside [0, num_classes).

    >>> import flame
    >>> one_hot(flame.tensor([0, 2]), 3).tolist()
    [[1, 0, 0], [0, 0, 1]]
    """
    if tensor.dtype.category != dt.INT:
        raise DTypeError(f"one_hot: needs an integer tensor, got {tensor.dtype}")
    if num_classes < 0 and not tensor.numel():
        raise ShapeError("one_hot: no element says how many classes there are; pass num_classes")
    count = _classes("one_hot", tensor) if num_classes < 0 else num_classes
    if not count or not tensor.numel():
        return new(nd.expand(nd.const(0), (*tensor.shape, count)), tensor.device)
    index = nd.reshape(tensor.node, (*tensor.shape, 1))
    check("one_hot", tensor, count, (index, count))
    return to_dtype(hit(index, tensor, tensor.ndim, count), dt.int64)


# --- positions --------------------------------------------------------------------------------------------------------
def _triangle(name: str, host: Any) -> Any:
    def indices(row: int, col: int, offset: int = 0, *, dtype: dt.DType = dt.int64, device: Any = None) -> Tensor:
        if row < 0 or col < 0:
            raise ShapeError(f"{name}: a matrix of {row} rows and {col} columns does not exist")
        found = np.stack(host(row, offset, col)) if row and col else np.zeros((2, 0))
        return tensor(found, dtype=dtype, device=device)

    indices.__name__ = indices.__qualname__ = name
    part = "lower" if name.startswith("tril") else "upper"
    indices.__doc__ = f"Rows and columns of the {part} triangle of a (row, col) matrix, from diagonal `offset`: (2, n)."
    return indices


tril_indices, triu_indices = _triangle("tril_indices", np.tril_indices), _triangle("triu_indices", np.triu_indices)


def cartesian_prod(*tensors: Tensor) -> Tensor:
    """Every combination of one element of each 1-d tensor: (the product of the sizes, how many there are)."""
    for t in tensors:
        if t.ndim != 1:
            raise ShapeError(f"cartesian_prod: needs 1-d tensors, got {t.shape}")
    if len(tensors) == 1:
        return tensors[0]
    shape = tuple(t.numel() for t in tensors)
    columns = [
        reshape(expand(reshape(t, tuple(n if d == i else 1 for d in range(len(shape)))), shape), (prod(shape),))
        for i, (t, n) in enumerate(zip(tensors, shape, strict=True))
    ]
    return stack(columns, 1)


@method
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """Every choice of `r` elements of a 1-d tensor in their order: (count, r)."""
    if input.ndim != 1 or r < 0:
        raise ShapeError(f"combinations: needs a 1-d tensor and r >= 0, got {input.shape} and {r}")
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    chosen = np.array(list(choose(range(input.numel()), r)), np.int64).reshape(-1, r)
    places = from_array(chosen.reshape(-1), input.device)
    return reshape(new(apply("gather", input.node, places.node, axis=0), input.device, input), chosen.shape)
