"""Tensors joined or repeated: each result reads its sources where they lie."""

import itertools
from collections.abc import Sequence
from math import prod
from operator import index
from typing import Any

import numpy as np

from flame.errors import DTypeError, IndexingError, ShapeError
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir.node import apply
from flame.ops.elementwise import to_dtype, where
from flame.ops.method import axis, method, sizes, spread
from flame.ops.shape import (
    atleast_1d,
    atleast_2d,
    atleast_3d,
    cut,
    expand,
    flip,
    owned_axis,
    padded,
    reshape,
    several,
    transpose,
    unsqueeze,
)
from flame.tensor import Tensor, from_array, new, same_device

__all__ = [
    "block_diag",
    "cartesian_prod",
    "cat",
    "column_stack",
    "combinations",
    "concat",
    "concatenate",
    "dstack",
    "hstack",
    "meshgrid",
    "repeat_interleave",
    "roll",
    "rot90",
    "row_stack",
    "stack",
    "tile",
    "vstack",
]


def _listed(name: str, tensors: Any) -> list[Tensor]:
    if isinstance(tensors, Tensor):
        raise DTypeError(f"{name}: needs a sequence of tensors, got one of shape {tensors.shape}; wrap it in a list")
    given = list(tensors)
    if not given:
        raise ShapeError(f"{name}: needs at least one tensor")
    for t in given:
        if not isinstance(t, Tensor):
            raise DTypeError(f"{name}: needs tensors, got {type(t).__name__}")
    return given


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors one behind the other along one dimension; all other sizes agree; dtypes are promoted.

    A tensor of shape (0,) fits everywhere, as in PyTorch.
    """
    return _joined("cat", tensors, dim)


def concat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """As `cat`."""
    return _joined("concat", tensors, dim)


def concatenate(tensors: Sequence[Tensor], axis: int = 0, dim: int | None = None) -> Tensor:
    """As `cat`, under NumPy's name; `dim` stands for `axis`."""
    return _joined("concatenate", tensors, axis if dim is None else dim)


def _joined(name: str, tensors: Sequence[Tensor], dim: int) -> Tensor:
    every = _listed(name, tensors)
    device = same_device(name, *every)
    dtype = every[0].dtype
    for t in every:
        dtype = dt.promote(dtype, t.dtype)
    if not all(t.ndim for t in every):
        raise ShapeError(f"{name}: a 0-d tensor has no dimension to join along; stack() them instead")
    given = [t for t in every if t.shape != (0,)] or every[:1]
    a = axis(name, dim, given[0].ndim)
    rest = [(*t.shape[:a], *t.shape[a + 1 :]) for t in given]
    for t, r in zip(given, rest, strict=True):
        if t.ndim != given[0].ndim or r != rest[0]:
            raise ShapeError(
                f"{name}: {t.shape} does not fit {given[0].shape}: all sizes but that of dim {dim} must agree"
            )
    given = [to_dtype(t, dtype) for t in given if t.shape[a]] or [to_dtype(given[0], dtype)]
    total = sum(t.shape[a] for t in given)
    place = apply("iota", n=total)
    here = new(nd.reshape(place, tuple(total if i == a else 1 for i in range(given[0].ndim))), device)
    out, end = None, total
    for t in reversed(given):
        start = end - t.shape[a]
        low = [start if i == a else 0 for i in range(t.ndim)]
        high = [total - end if i == a else 0 for i in range(t.ndim)]
        piece = padded(t, low, high)
        out, end = piece if out is None else where(here < start + t.shape[a], piece, out), start
    assert out is not None
    return new(out.node, device, *every)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape along a new dimension."""
    given = _listed("stack", tensors)
    for t in given:
        if t.shape != given[0].shape:
            raise ShapeError(f"stack: shapes {given[0].shape} and {t.shape} must agree")
    return _joined("stack", [unsqueeze(t, axis("stack", dim, given[0].ndim + 1)) for t in given], dim)


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Side by side: along the second dimension, or the only one."""
    given = [atleast_1d(t) for t in _listed("hstack", tensors)]
    return _joined("hstack", given, min(1, given[0].ndim - 1))


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """On top of each other: along the first dimension of tensors with at least two."""
    return _joined("vstack", [atleast_2d(t) for t in _listed("vstack", tensors)], 0)


def row_stack(tensors: Sequence[Tensor]) -> Tensor:
    """As `vstack`."""
    return _joined("row_stack", [atleast_2d(t) for t in _listed("row_stack", tensors)], 0)


def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """Behind each other: along the third dimension of tensors with at least three."""
    return _joined("dstack", [atleast_3d(t) for t in _listed("dstack", tensors)], 2)


def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """As `hstack`; vectors and numbers are columns."""
    given = _listed("column_stack", tensors)
    return _joined("column_stack", [reshape(t, (t.numel(), 1)) if t.ndim < 2 else t for t in given], 1)


def block_diag(*tensors: Tensor) -> Tensor:
    """Matrices along a diagonal, zeros elsewhere; numbers and vectors are rows."""
    rows, at = [], 0
    given = [atleast_2d(t) for t in _listed("block_diag", several(tensors))]
    for t in given:
        if t.ndim > 2:
            raise ShapeError(f"block_diag: needs at most two dimensions, got {t.shape}")
    width = sum(t.shape[1] for t in given)
    for t in given:
        rows.append(padded(t, (0, at), (0, width - at - t.shape[1])))
        at += t.shape[1]
    return _joined("block_diag", rows, 0)


# --- repeated ---------------------------------------------------------------------------------------------------------
@method
@spread("repeats")
def repeat(input: Tensor, *repeats: Any) -> Tensor:
    """The whole tensor repeated along each dimension; new dimensions come first."""
    times = sizes(repeats)
    lead = len(times) - input.ndim
    if lead < 0 or min(times, default=0) < 0:
        raise ShapeError(f"repeat: needs a count of at least 0 for each of {input.ndim} dimensions, got {times}")
    shape = (1,) * lead + input.shape
    inner = tuple(x for n in shape for x in (1, n))
    outer = tuple(x for c, n in zip(times, shape, strict=True) for x in (c, n))
    return reshape(expand(reshape(input, inner), outer), tuple(c * n for c, n in zip(times, shape, strict=True)))


@method
@spread("dims")
def tile(input: Tensor, *dims: Any) -> Tensor:
    """As `repeat`; counts may be missing in front."""
    times = sizes(dims)
    return repeat(input, (1,) * (input.ndim - len(times)) + times)


@method
def repeat_interleave(
    input: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Each position of `dim` repeated; of the flattened tensor without one.

    `repeats` is a count, or an integer tensor with one for each position, which is computed. With integers alone,
    `repeat_interleave(repeats)` gives the positions themselves.
    """
    if repeats is None:
        counts = _counts(input, None)
        return from_array(np.repeat(np.arange(len(counts)), counts), input.device)
    if dim is None:
        input, dim = reshape(input, input.numel()), 0
    a = axis("repeat_interleave", dim, input.ndim)
    input = atleast_1d(input)
    if isinstance(repeats, (int, np.integer)) or (isinstance(repeats, Tensor) and repeats.numel() == 1):
        return _each(input, a, index(repeats))
    counts = _counts(repeats, input.shape[a])
    if output_size is not None and int(counts.sum()) != output_size:
        raise ShapeError(f"repeat_interleave: the repeats add up to {counts.sum()}, not output_size {output_size}")
    rows = from_array(np.repeat(np.arange(len(counts)), counts), input.device)
    return input.index_select(a, rows)


def _each(input: Tensor, a: int, count: int) -> Tensor:
    if count < 0:
        raise ShapeError(f"repeat_interleave: repeats must be at least 0, got {count}")
    s = input.shape
    wide = expand(unsqueeze(input, a + 1), (*s[: a + 1], count, *s[a + 1 :]))
    return reshape(wide, (*s[:a], s[a] * count, *s[a + 1 :]))


def _counts(repeats: Any, size: int | None) -> np.ndarray:
    counts = repeats.numpy() if isinstance(repeats, Tensor) else np.asarray(repeats)
    if counts.dtype not in (np.int32, np.int64):
        raise DTypeError(f"repeat_interleave: repeats must be int32 or int64, got {counts.dtype}")
    if counts.ndim != 1 or (size is not None and len(counts) != size) or (counts < 0).any():
        raise ShapeError(f"repeat_interleave: needs {size} counts of at least 0, got {counts.tolist()}")
    return counts


# --- moved around -----------------------------------------------------------------------------------------------------
@method
def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """Elements moved along dimensions; those that leave at one end enter at the other. Flattened without `dims`."""
    by = sizes((shifts,)) if isinstance(shifts, int) else sizes((tuple(shifts),))
    at = () if dims is None else sizes((dims,)) if isinstance(dims, int) else sizes((tuple(dims),))
    if not at and len(by) == 1:
        return reshape(_rolled(reshape(input, input.numel()), 0, by[0]), input.shape)
    if not by or len(by) != len(at):
        raise ShapeError(f"roll: needs a shift for each dim, got shifts {by} for dims {at}")
    out = input
    for d, shift in zip(at, by, strict=True):
        out = _rolled(out, owned_axis("roll", d, input), shift) if input.numel() else out
    return new(out.node, out.device, input)


def _rolled(input: Tensor, a: int, shift: int) -> Tensor:
    n = input.shape[a]
    if not n or not shift % n:
        return input
    return cat([cut(input, a, n - shift % n, n), cut(input, a, 0, n - shift % n)], a)


@method
def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """Turned by k times 90 degrees in the plane of two dimensions, from the first towards the second."""
    if len(dims) != 2 or input.ndim < 2:
        raise ShapeError(f"rot90: needs two dims of a tensor that has two, got dims {tuple(dims)} of {input.shape}")
    a, b = (axis("rot90", d, input.ndim) for d in dims)
    if a == b:
        raise IndexingError(f"rot90: dims {tuple(dims)} name one dimension")
    if k % 4 == 2:
        return flip(input, a, b)
    if k % 4 == 1:
        return transpose(flip(input, b), a, b)
    return flip(transpose(input, a, b), b) if k % 4 else new(input.node, input.device, input)


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Coordinates of a grid over vectors: each varies along its own dimension; "xy" swaps the first two."""
    given = _listed("meshgrid", several(tensors))
    if indexing not in ("ij", "xy"):
        raise DTypeError(f"meshgrid: indexing must be 'ij' or 'xy', got {indexing!r}")
    for t in given:
        if t.ndim > 1 or t.dtype is not given[0].dtype:
            raise ShapeError(f"meshgrid: needs vectors of one dtype, got {t.dtype} of shape {t.shape}")
    shape = tuple(t.numel() for t in given)
    grids = [
        expand(reshape(t, tuple(n if i == a else 1 for i, n in enumerate(shape))), shape) for a, t in enumerate(given)
    ]
    return tuple(transpose(g, 0, 1) if indexing == "xy" and len(given) > 1 else g for g in grids)


def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All combinations of an element of each vector, one a row."""
    given = _listed("cartesian_prod", several(tensors))
    grids = meshgrid(*given)
    if len(given) == 1:
        return grids[0]
    return stack([reshape(g, prod(g.shape)) for g in grids], 1)


def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All combinations of r elements of a vector, one a row, in the order of itertools."""
    if input.ndim != 1 or r < 0:
        raise ShapeError(f"combinations: needs a vector and r of at least 0, got {input.shape} and {r}")
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = np.array(list(choose(range(input.numel()), r)), np.int64)
    if not rows.size:
        return new(nd.expand(nd.const(0, input.dtype), (0,) if not r else (0, r)), input.device)
    return reshape(input.index_select(0, from_array(rows.reshape(-1), input.device)), rows.shape)
