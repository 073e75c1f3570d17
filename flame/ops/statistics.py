"""Medians, modes and quantiles along a dimension, from the order of the elements."""

from typing import Any

import numpy as np

from flame.errors import DTypeError, IndexingError, ShapeError
from flame.ir import dtype as dt
from flame.ir.node import apply, reshape
from flame.ops.elementwise import TABLE, to_dtype, where
from flame.ops.method import axis, tensor_method
from flame.ops.reduce import Selected, amax, fold
from flame.ops.shape import cut
from flame.ops.sort import at_kept, order
from flame.tensor import Tensor, new, same_device

__all__ = ["median", "mode", "nanmedian", "nanquantile", "quantile"]

INTERPOLATIONS = ("linear", "lower", "higher", "nearest", "midpoint")


def _positions(like: Tensor, at: int) -> Tensor:
    """0, 1, 2, ... along a dimension, of size 1 in all others."""
    n = like.shape[at]
    place = reshape(apply("iota", n=n), tuple(n if a == at else 1 for a in range(like.ndim)))
    return new(place, like.device)


def _inside(place: Tensor, n: int) -> Tensor:
    """Positions among n, seen to lie there, so that nobody has to look."""
    return TABLE["minimum"](TABLE["maximum"](place, 0), n - 1)


def _median(name: str, input: Tensor, dim: int, keepdim: bool) -> Selected:
    """The lower of the two middle elements; a nan wins, or is passed over in the nan form."""
    at = axis(name, dim, input.ndim)
    n = input.shape[at] if input.ndim else 1
    if not n:
        raise IndexingError(f"{name}: dim {dim} of shape {input.shape} has no element")
    if not input.ndim:
        return Selected(input.clone(), order(name, input, dim, False))
    nans = input.detach().isnan()
    if name == "nanmedian" and input.dtype.is_float:
        middle = _inside(n - 1 - fold("sum", name, nans.long(), at, True), n) // 2
        return at_kept(input, at, order(name, input, dim, False).gather(at, middle), keepdim)
    place = order(name, input, dim, False, ((n - 1) // 2, (n + 1) // 2))
    if input.dtype.is_float:
        first = fold("min", name, where(nans, _positions(input, at), n), at, True)  # of the nans
        place = where(first < n, _inside(first, n), place)
    return at_kept(input, at, place, keepdim)


def _whole(name: str, input: Tensor) -> Tensor:
    """Over all elements; equal medians share the gradient evenly."""
    if not input.numel():
        if not input.dtype.is_float:
            raise ShapeError(f"{name}: an empty tensor of {input.dtype} has no median; shape {input.shape}")
        return new(apply("sum", input.reshape(-1).node, axes=(0,)), input.device, input) * float("nan")
    flat = input.reshape(-1)
    found = _median(name, flat, 0, False).values
    if not flat.requires_grad:
        return found
    shared = amax(where(flat.eq(found.detach()), flat, float("-inf")))
    return where(found.detach().isnan(), found, shared)


@tensor_method
def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower of the two middle values of all elements; with `dim`, (values, indices) along it. Any nan wins."""
    return _whole("median", input) if dim is None else _median("median", input, dim, keepdim)


@tensor_method
def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The median of what is not nan, as `median`; nan where nothing is left."""
    return _whole("nanmedian", input) if dim is None else _median("nanmedian", input, dim, keepdim)


@tensor_method
def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> Selected:
    """(values, indices) of the most frequent value along a dimension: the smallest of several, at its last place."""
    at = axis("mode", dim, input.ndim)
    places = order("mode", input, dim, False)
    if not input.ndim:
        return Selected(input.clone(), places)
    n = input.shape[at]
    if not n:
        raise IndexingError(f"mode: dim {dim} of shape {input.shape} has no element")
    ranked = input.detach().gather(at, places)
    line = _positions(input, at)
    fresh = cut(ranked, at, 1, n).ne(cut(ranked, at, 0, n - 1))
    starts = where(fresh, cut(line, at, 1, n), 0).cummax(at).values if n > 1 else None
    lengths = cut(line, at, 1, n) - starts if starts is not None else None  # how many equal ones come before each
    if lengths is None:
        return at_kept(input, at, places, keepdim)
    longest = fold("max", "mode", lengths, at, True)
    first = fold("min", "mode", where(lengths.eq(longest), cut(line, at, 1, n), n), at, True)
    return at_kept(input, at, places.gather(at, where(longest.gt(0), _inside(first, n), 0)), keepdim)


def _quantile(name: str, input: Tensor, q: Any, dim: int | None, keepdim: bool, interpolation: str) -> Tensor:
    if input.dtype not in (dt.float32, dt.float64):
        raise DTypeError(f"{name}: needs float32 or float64, got {input.dtype}; cast it first, e.g. .float()")
    if interpolation not in INTERPOLATIONS:
        raise ShapeError(f"{name}: interpolation {interpolation!r} is none of {', '.join(INTERPOLATIONS)}")
    q = _fractions(name, input, q)
    flat = input.reshape(-1) if dim is None or not input.ndim else input
    at = 0 if dim is None else axis(name, dim, input.ndim)
    if not flat.shape[at]:
        raise ShapeError(f"{name}: needs elements along dim {dim}, got a tensor of shape {input.shape}")
    last = flat.permute(*(a for a in range(flat.ndim) if a != at), at)
    found = _at_ranks(name, last, q.reshape(-1), interpolation)
    found = found.permute(found.ndim - 1, *range(found.ndim - 1))
    if keepdim:
        kept = (1,) * input.ndim if dim is None else tuple(1 if a == at else n for a, n in enumerate(input.shape))
        found = found.reshape(found.shape[0], *kept)
    return found if q.ndim else found.squeeze(0)


def _fractions(name: str, input: Tensor, q: Any) -> Tensor:
    """The quantiles asked for, as a tensor of at most one dimension in the input's dtype."""
    if not isinstance(q, Tensor):
        if not isinstance(q, (int, float, np.integer, np.floating)):
            raise DTypeError(f"{name}: q is a number or a tensor, got {type(q).__name__}")
        if not 0 <= q <= 1:
            raise ShapeError(f"{name}: q={q} is outside [0, 1]")
        return new(apply("const", value=float(q), text=repr(float(q)), as_=input.dtype), input.device)
    if q.ndim > 1 or q.dtype is not input.dtype:
        raise ShapeError(f"{name}: q must be a number or a 1-d tensor of {input.dtype}, got {q.dtype} of {q.shape}")
    same_device(name, input, q)
    return q


def _at_ranks(name: str, last: Tensor, q: Tensor, interpolation: str) -> Tensor:
    """(…, n) to (…, len(q)): between the two elements beside each rank q * (n - 1)."""
    n, nans = last.shape[-1], last.detach().isnan()
    count = fold("sum", name, to_dtype(nans, last.dtype), -1, True)
    if name == "nanquantile":
        ranks = (q * ((n - 1) - count)).clamp(min=0)
    else:
        ranks = where(count.gt(0), float(n - 1), q * float(n - 1))  # one nan makes all of them nan
    ranked = last.gather(-1, order(name, last, -1, False))
    if interpolation in ("lower", "higher", "nearest"):
        way = {"lower": ranks.floor, "higher": ranks.ceil, "nearest": ranks.round}[interpolation]
        return ranked.gather(-1, _inside(way().long(), n))
    below = ranks.floor()
    low, high = ranked.gather(-1, _inside(below.long(), n)), ranked.gather(-1, _inside(ranks.ceil().long(), n))
    weight = ranks - below if interpolation == "linear" else to_dtype(ranks.ne(below), last.dtype) * 0.5
    return low + weight * (high - low)


@tensor_method
def quantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """The q-quantiles along a dimension, or of all elements; a tensor of several q gets a dimension in front.

    Between two elements `interpolation` is linear, lower, higher, nearest or midpoint. A nan makes the result nan.
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation)


@tensor_method
def nanquantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """The quantiles of what is not nan, as `quantile`; nan where nothing is left."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation)
