"""x[key] and x[key] = value: integers, slices, None, Ellipsis, truth values, masks and integer tensors, in any mixture.

The *basic* keys (integers, slices, None, Ellipsis) select a region. The *advanced* ones (integer tensors, masks, Python
truth values) name positions in it along one dimension each; they broadcast to one shape, which takes the place of the
first of them, or comes first where they do not stand side by side, as in NumPy and PyTorch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from flame.bounds import check, integers, known
from flame.errors import DTypeError, IndexingError, ShapeError
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir.node import Node, Shape, apply
from flame.ir.ops.index import running
from flame.ops.create import tensor
from flame.ops.elementwise import to_dtype, where
from flame.ops.mask import nonzero
from flame.ops.method import NUMBERS, constant, method
from flame.ops.place import in_place
from flame.ops.scatter import put_rows
from flame.ops.shape import cut, expand, flip, permute, reshape, squeeze
from flame.tensor import Tensor, from_array, new, same_device

__all__ = ["index_put"]

Picked = list[tuple[int, Tensor]]  # a dimension of the region, and the positions in it


@dataclass
class Region:
    """A part of a tensor: what each dimension keeps, in the shape that the keys give it."""

    start: list[int] = field(default_factory=list)
    stop: list[int] = field(default_factory=list)
    step: list[int] = field(default_factory=list)  # negative: read backwards
    shape: list[int] = field(default_factory=list)  # with None, without integers

    def add(self, n: int, start: int, count: int, step: int, kept: bool) -> None:
        """`count` elements of a dimension of size n, from `start` on."""
        self.start.append(start)
        self.stop.append(start + (count - 1) * step + (1 if step > 0 else -1) if count else start)
        self.step.append(step)
        if kept:
            self.shape.append(count)

    def read(self, x: Tensor) -> Tensor:
        """The region of x."""
        for d in range(x.ndim):
            x = _sliced(x, d, self.start[d], self.stop[d], self.step[d])
        return reshape(x, tuple(self.shape))

    def write(self, x: Tensor, value: Tensor) -> Tensor:
        """x with the region replaced by a value of its shape."""
        counts = tuple(len(range(a, b, by)) for a, b, by in zip(self.start, self.stop, self.step, strict=True))
        if counts == x.shape and min(self.step, default=1) > 0:
            return reshape(value, x.shape)
        if not prod(counts):
            return x
        value = reshape(value, counts)
        backwards = [d for d, by in enumerate(self.step) if by < 0]
        if backwards:
            value = flip(value, backwards)
        step = tuple(abs(by) for by in self.step)
        low = tuple(min(a, a + (n - 1) * by) for a, n, by in zip(self.start, counts, self.step, strict=True))
        ends = (lo + (n - 1) * by + 1 for lo, n, by in zip(low, counts, step, strict=True))
        high = tuple(n - end for n, end in zip(x.shape, ends, strict=True))
        inside = nd.expand(nd.const(True), counts)
        here, placed = (apply("pad", v, low=low, high=high, step=step, fill=0) for v in (inside, value.node))
        return new(nd.where(here, placed, x.node), x.device, x, value)


def _sliced(x: Tensor, d: int, start: int, stop: int, step: int) -> Tensor:
    if step < 0:
        n = x.shape[d]
        return _sliced(flip(x, d), d, n - 1 - start, n - 1 - stop, -step)
    return x if (start, stop, step) == (0, x.shape[d], 1) else cut(x, d, start, max(start, stop), step)


def parse(name: str, x: Tensor, key: Any) -> tuple[Region, Picked]:
    """The region that the basic keys select, and the advanced keys by its dimensions."""
    keys = _complete(name, x, list(key) if isinstance(key, tuple) else [key])
    region, picked, dim = Region(), Picked(), 0
    for k in keys:
        if k is None:
            region.shape.append(1)
        elif isinstance(k, (bool, np.bool_)):
            picked.append((len(region.shape), from_array(np.zeros(int(k), np.int64), x.device)))
            region.shape.append(1)
        elif isinstance(k, slice):
            start, stop, step = _whole(name, k).indices(x.shape[dim])
            region.add(x.shape[dim], start, len(range(start, stop, step)), step, True)
            dim += 1
        elif isinstance(k, Tensor):
            dim = _advanced(name, x, k, dim, region, picked)
        else:
            i, n = k.__index__(), x.shape[dim]
            if not -n <= i < n:
                raise IndexingError(f"{name}: index {i} is out of range for dimension {dim} of size {n}")
            region.add(n, i % n, 1, 1, False)
            dim += 1
    return region, picked


def _whole(name: str, k: slice) -> slice:
    """A slice of integers; tensors of one integer are read."""
    try:
        found = slice(*(None if v is None else v.__index__() for v in (k.start, k.stop, k.step)))
    except (AttributeError, TypeError):
        raise IndexingError(f"{name}: the slice {k!r} must be made of integers or None") from None
    if found.step == 0:
        raise IndexingError(f"{name}: the step of a slice cannot be 0")
    return found


def _complete(name: str, x: Tensor, keys: list[Any]) -> list[Any]:
    """One key for each dimension, and the Nones and truth values between; sequences as tensors."""
    keys = [_key(name, k, x) for k in keys]
    used = sum(_consumes(k) for k in keys)
    if used > x.ndim:
        raise IndexingError(f"{name}: {used} indices for a tensor of {x.ndim} dimensions, shape {x.shape}")
    if not any(k is Ellipsis for k in keys):
        keys.append(Ellipsis)
    at = next(i for i, k in enumerate(keys) if k is Ellipsis)
    keys[at : at + 1] = [slice(None)] * (x.ndim - used)
    return [k for k in keys if k is not Ellipsis]


def _consumes(k: Any) -> int:
    """How many dimensions a key speaks of."""
    if k is None or k is Ellipsis or isinstance(k, (bool, np.bool_)):
        return 0
    return k.ndim if isinstance(k, Tensor) and k.dtype is dt.boolean else 1


def _key(name: str, k: Any, x: Tensor) -> Any:
    if isinstance(k, (list, range, np.ndarray)) and not (isinstance(k, np.ndarray) and not k.ndim):
        k = tensor(list(k) if isinstance(k, range) else k, device=x.device) if len(k) else _nothing(x)
    if isinstance(k, np.ndarray):
        k = k[()]
    if isinstance(k, Tensor):
        if k.dtype is dt.boolean:
            return k if k.ndim else bool(k.item())
        integers(name, k)
        same_device(name, x, k)
        return k
    if k is None or k is Ellipsis or isinstance(k, (slice, bool, np.bool_)):
        return k
    if not hasattr(k, "__index__"):
        raise IndexingError(
            f"{name}: cannot index with {k!r} of type {type(k).__name__}; use integers, slices, None, Ellipsis, masks "
            "or integer tensors"
        )
    return k


def _nothing(x: Tensor) -> Tensor:
    return from_array(np.zeros(0, np.int64), x.device)


def _advanced(name: str, x: Tensor, k: Tensor, dim: int, region: Region, picked: Picked) -> int:
    """Enter a mask, as the positions where it is true, or an integer tensor; returns the next dimension."""
    rank = k.ndim if k.dtype is dt.boolean else 1
    whole = x.shape[dim : dim + rank]
    if k.dtype is dt.boolean and k.shape != whole:
        raise IndexingError(
            f"{name}: a mask of shape {k.shape} does not fit {x.shape} from dimension {dim} on; their sizes must agree"
        )
    places = nonzero(k, as_tuple=True) if k.dtype is dt.boolean else (k,)
    for place, n in zip(places, whole, strict=True):
        picked.append((len(region.shape), place))
        region.add(n, 0, n, 1, True)
    return dim + rank


# --- reading ----------------------------------------------------------------------------------------------------------
def __getitem__(self: Tensor, key: Any) -> Tensor:  # noqa: N807  installed on Tensor
    """The elements that a key selects: integers, slices, None, Ellipsis, truth values, masks and integer tensors.

    Negative integers count from the end. Masks realize: their number of true elements is a size of the result. A 0-d
    integer tensor is an integer, but nothing is computed to know it. Raises IndexingError for what lies outside, at the
    call where the positions are known, else when the result is computed.
    """
    region, picked = parse("getitem", self, key)
    part = region.read(self)
    if not picked:
        return part
    front, flat, shape, rest = _joined("getitem", part, picked)
    index = expand(reshape(flat, (flat.numel(), 1)), (flat.numel(), front.shape[1]))
    found = new(apply("gather", front.node, index.node, axis=0), self.device, self)
    _check("getitem", picked, part.shape, (index.node, front.shape[0]))
    return _placed(reshape(found, (*shape, *rest)), picked, len(shape))


def _check(name: str, picked: Picked, shape: Shape, site: tuple[Node, int]) -> None:
    for d, k in picked:
        check(name, k, shape[d], site, wraps=True)


def wrapped(k: Tensor, n: int) -> Tensor:
    """Positions of a dimension of size n, negative ones counted from the front."""
    k, found = to_dtype(k, dt.int64), known(k)
    return k if found is not None and found.low >= 0 else where(k < 0, k + n, k)


def _joined(name: str, x: Tensor, picked: Picked) -> tuple[Tensor, Tensor, Shape, Shape]:
    """The indexed dimensions as the rows of a matrix, the numbers of the rows wanted, their shape and that of a row."""
    dims = [d for d, _ in picked]
    others = [d for d in range(x.ndim) if d not in dims]
    shape: Shape = ()
    for _, k in picked:
        try:
            shape = nd.broadcast_shapes(shape, k.shape)
        except ShapeError:
            shapes = ", ".join(str(k.shape) for _, k in picked)
            raise IndexingError(f"{name}: index tensors of shapes {shapes} do not broadcast to one shape") from None
    flat: Tensor | None = None
    for d, k in picked:
        place = expand(wrapped(k, x.shape[d]), shape)
        flat = place if flat is None else flat * x.shape[d] + place
    assert flat is not None
    rest = tuple(x.shape[d] for d in others)
    rows = prod(x.shape[d] for d in dims)
    for d, k in picked:
        if not x.shape[d] and prod(shape):
            raise IndexingError(f"{name}: index {k.shape} has nothing to point at: dimension {d} has size 0")
    front = reshape(permute(x, *dims, *others), (rows, prod(rest)))
    return front, reshape(flat, (prod(shape),)), shape, rest


def _first(picked: Picked) -> int:
    """Where the dimensions of the index go: those that stand apart come first. A 0-d index is an integer."""
    gone = [d for d, k in picked if not k.ndim]
    dims = [d - sum(g < d for g in gone) for d, k in picked if k.ndim]
    return dims[0] if dims and dims == list(range(dims[0], dims[0] + len(dims))) else 0


def _placed(found: Tensor, picked: Picked, rank: int) -> Tensor:
    """The `rank` leading dimensions moved to where those of the index go."""
    at = _first(picked)
    order = [*range(rank, rank + at), *range(rank), *range(rank + at, found.ndim)]
    return permute(found, *order) if at and rank else found


# --- writing ----------------------------------------------------------------------------------------------------------
def __setitem__(self: Tensor, key: Any, value: Any) -> None:  # noqa: N807  installed on Tensor
    """Put a number, or a tensor that broadcasts, where a key points: this handle takes the result.

    Where positions repeat, the last value wins. Tensors made from this one before keep their values. Gradients flow to
    what is kept and to the value. Raises IndexingError as reading does, ShapeError for a value that does not fit, and
    GradError on a leaf that requires gradients.
    """
    self._become(_written("setitem", self, key, value, False), "setitem")


def _written(name: str, x: Tensor, key: Any, value: Any, accumulate: bool) -> Tensor:
    mask = key[0] if isinstance(key, tuple) and len(key) == 1 else key
    if isinstance(mask, np.ndarray) and mask.dtype == np.bool_:
        mask = from_array(mask, x.device)
    given = _value(name, x, value)
    if isinstance(mask, Tensor) and mask.dtype is dt.boolean and mask.ndim and not accumulate:
        return _masked(name, x, mask, given)
    region, picked = parse(name, x, key)
    if not picked:
        return region.write(x, _fitted(name, to_dtype(given, x.dtype), tuple(region.shape)))
    return region.write(x, _replaced(name, region.read(x), picked, _alike(name, x, given), accumulate))


def _value(name: str, x: Tensor, value: Any) -> Tensor:
    if isinstance(value, Tensor):
        same_device(name, x, value)
        return value
    if isinstance(value, NUMBERS):
        return new(constant(value, x.dtype), x.device)
    return tensor(value, device=x.device)


def _masked(name: str, x: Tensor, mask: Tensor, value: Tensor) -> Tensor:
    """A value wherever a mask over the leading dimensions is true; one row for each is read in their order."""
    same_device(name, x, mask)
    if mask.shape != x.shape[: mask.ndim]:
        raise IndexingError(f"{name}: a mask of shape {mask.shape} does not fit the tensor's {x.shape}")
    value, rest = _alike(name, x, value), x.shape[mask.ndim :]
    if value.ndim > len(rest) and mask.numel():
        rows = new(running(reshape(mask, mask.numel()).node), mask.device).realize()
        count = int(rows[-1].item())
        full = _fitted(name, value, (count, *rest))
        if not count or not prod(rest):
            return x
        before = where(rows > 1, rows - 1, 0)  # rows of no element read one nearby, and are not chosen
        index = nd.expand(nd.reshape(before.node, (mask.numel(), 1)), (mask.numel(), prod(rest)))
        value = new(apply("gather", reshape(full, (count, prod(rest))).node, index, axis=0), x.device, full)
        value = reshape(value, x.shape)
    else:
        value = _fitted(name, value, rest)
    chosen = reshape(mask, (*mask.shape, *(1,) * len(rest)))
    return where(expand(chosen, x.shape), value, x)


def _alike(name: str, x: Tensor, value: Tensor) -> Tensor:
    """A value in the dtype of the tensor it goes into: only single numbers are cast."""
    if value.ndim and value.dtype is not x.dtype:
        raise DTypeError(f"{name}: a value of {value.dtype} does not fit a tensor of {x.dtype}; cast one of them first")
    return to_dtype(value, x.dtype)


def _fitted(name: str, value: Tensor, shape: Shape) -> Tensor:
    """A value broadcast to a shape; leading dimensions of size 1 too many are dropped."""
    given = value.shape
    while value.ndim > len(shape) and value.shape[0] == 1:
        value = squeeze(value, 0)
    try:
        return expand(value, shape)
    except ShapeError:
        raise ShapeError(f"{name}: a value of shape {given} does not broadcast to the selected shape {shape}") from None


def _replaced(name: str, part: Tensor, picked: Picked, value: Tensor, accumulate: bool) -> Tensor:
    """The region with values put (or added) at the positions that index tensors name."""
    front, flat, shape, rest = _joined(name, part, picked)
    at, rank = _first(picked), len(shape)
    full = _fitted(name, value, (*rest[:at], *shape, *rest[at:]))
    full = permute(full, *range(at, at + rank), *range(at), *range(at + rank, full.ndim))
    put, index = put_rows(front, flat, reshape(full, (prod(shape), prod(rest))), accumulate)
    _check(name, picked, part.shape, (index, front.shape[0]))
    dims = [d for d, _ in picked]
    order = [*dims, *(d for d in range(part.ndim) if d not in dims)]
    back = reshape(put, tuple(part.shape[d] for d in order))
    return permute(back, *(order.index(d) for d in range(part.ndim)))


@method
def index_put(input: Tensor, indices: Sequence[Tensor], values: Tensor, accumulate: bool = False) -> Tensor:
    """The tensor with values put at the positions that index tensors (or masks) name; added, with `accumulate`.

    Where positions repeat, the last value wins, or all are added in their order.
    """
    if values.dtype is not input.dtype:
        raise DTypeError(
            f"index_put: values of {values.dtype} do not fit a tensor of {input.dtype}; cast one of them first"
        )
    return _written("index_put", input, tuple(indices), values, accumulate)


method(__getitem__)
method(__setitem__)
in_place("index_put")
