"""Writing where an index says: scatter, index_add and their like. The same numbers every time.

Where an index names one place several times, values are added (multiplied, compared) in the order of the index, and of
values that are only put there the last one stays.
"""

from typing import Any

from flame.bounds import check, integers
from flame.errors import DTypeError, IndexingError, ShapeError
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir.node import Node, apply
from flame.ops.elementwise import TABLE, to_dtype, where
from flame.ops.join import cat
from flame.ops.method import NUMBERS, axis, constant, method
from flame.ops.place import in_place
from flame.ops.shape import cut, expand, reshape
from flame.tensor import Tensor, new, same_device

__all__ = [
    "index_add",
    "index_copy",
    "index_fill",
    "index_reduce",
    "put",
    "scatter",
    "scatter_add",
    "scatter_reduce",
]

FOLDS = {
    "sum": "scatter_add",
    "prod": "scatter_mul",
    "mean": "scatter_add",
    "amax": "scatter_max",
    "amin": "scatter_min",
}
TWO = {"sum": "add", "prod": "mul", "amax": "maximum", "amin": "minimum"}


# --- at positions along one dimension ---------------------------------------------------------------------------------
def fold(name: str, index: Node, value: Tensor, at: int, size: int) -> Tensor:
    """For each place along a dimension, the fold of the values whose index is it."""
    return new(apply(name, index, value.node, axis=at, size=size), value.device, value)


def hit(index: Node, like: Tensor, at: int, size: int) -> Tensor:
    """True at each place that some index names."""
    true = nd.expand(nd.const(True), index.shape)
    return new(apply("scatter_max", index, true, axis=at, size=size), like.device)


def last(index: Node, value: Tensor, at: int, size: int) -> tuple[Tensor, Tensor]:
    """At each place the last value whose index is it, and whether there is one."""
    n = index.shape[at]
    line = nd.reshape(apply("iota", n=n), tuple(n if d == at else 1 for d in range(len(index.shape))))
    order = apply("scatter_max", index, nd.expand(line, index.shape), axis=at, size=size)
    some = new(apply("ge", order, nd.like(order, 0)), value.device)
    return new(apply("gather", value.node, order, axis=at), value.device, value), some


def put_rows(x: Tensor, flat: Tensor, rows: Tensor, accumulate: bool) -> tuple[Tensor, Node]:
    """A matrix with rows put (or added) at positions within it, and the index that does so."""
    index = nd.expand(nd.reshape(flat.node, (flat.numel(), 1)), rows.shape)
    if not rows.numel():
        return x, index
    if accumulate:
        made = to_dtype(_wide(x) + fold("scatter_add", index, _wide(rows), 0, x.shape[0]), x.dtype)
    else:
        found, some = last(index, rows, 0, x.shape[0])
        made = where(some, found, x)
    return made, index


def _wide(x: Tensor) -> Tensor:
    """Half precisions are added in float32, and rounded once."""
    return to_dtype(x, dt.float32) if x.dtype.is_float and x.dtype.size == 2 else x


class Target:
    """Where a scatter writes: the part of a tensor that its index reaches, seen by values of the index's shape."""

    def __init__(self, name: str, x: Tensor, dim: int, index: Tensor, src: Tensor | None):
        self.x, self.name, self.index = x, name, index
        integers(name, index)
        same_device(name, x, index, *([] if src is None else [src]))
        self.at = axis(name, dim, x.ndim)
        self.line = reshape(x, 1) if not x.ndim else x
        given = reshape(index, 1) if not index.ndim else index
        if given.ndim != self.line.ndim:
            raise ShapeError(f"{name}: index of shape {index.shape} needs as many dimensions as the tensor, {x.shape}")
        for d, (m, n) in enumerate(zip(given.shape, self.line.shape, strict=True)):
            if m > n and d != self.at and given.numel():
                raise ShapeError(f"{name}: index of shape {index.shape} is larger than {x.shape} in dim {d}")
        self.size, self.places = self.line.shape[self.at], given.node
        self.value = None if src is None else self._source(src, given.shape)
        self.part = self.line
        for d, m in enumerate(given.shape):
            if d != self.at and m != self.line.shape[d]:
                self.part = cut(self.part, d, 0, m)

    def _source(self, src: Tensor, shape: tuple[int, ...]) -> Tensor:
        """What is written: as much of the source as the index has."""
        if src.dtype is not self.x.dtype:
            raise DTypeError(
                f"{self.name}: the source is {src.dtype}, the tensor {self.x.dtype}; cast one of them first"
            )
        src = reshape(src, 1) if not src.ndim else src
        if len(src.shape) != len(shape) or any(m > n for m, n in zip(shape, src.shape, strict=True)):
            raise ShapeError(f"{self.name}: index of shape {shape} is larger than the source, {src.shape}")
        for d, m in enumerate(shape):
            src = src if m == src.shape[d] else cut(src, d, 0, m)
        return src

    def done(self, part: Tensor, index: Node | None = None) -> Tensor:
        """The tensor with that part replaced, its index checked; `index` is that of the scatter, if another."""
        check(self.name, self.index, self.size, (index or self.places, self.size))
        whole = self.line.shape
        if part.shape != whole:
            rest = {
                "low": (0,) * len(whole),
                "high": tuple(n - m for n, m in zip(whole, part.shape, strict=True)),
                "step": (1,) * len(whole),
                "fill": 0,
            }
            inside = apply("pad", nd.expand(nd.const(True), part.shape), **rest)
            node = nd.where(inside, apply("pad", part.node, **rest), self.line.node)
            part = new(node, part.device, part, self.line)
        return reshape(part, self.x.shape)


@method
def scatter(
    input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None, reduce: str | None = None
) -> Tensor:
    """The tensor with values of `src` (a tensor or a number) put along `dim` where the index says.

    Of values for one place the last in the order of the index stays. `reduce` is "add" or "multiply": all are folded
    into what is there. Raises IndexingError for positions outside [0, size).
    """
    src = value if src is None else src
    if reduce is not None:
        if reduce not in ("add", "multiply"):
            raise IndexingError(f"scatter: reduce must be 'add' or 'multiply', not {reduce!r}")
        filled = src if isinstance(src, Tensor) and src.ndim else _filled("scatter", input, src, index)
        return _folded("scatter", input, dim, index, filled, {"add": "sum", "multiply": "prod"}[reduce], True)
    if isinstance(src, Tensor) and (src.ndim or not index.ndim):
        to = Target("scatter", input, dim, index, src)
        if not to.places.shape or 0 in to.places.shape:
            return input
        assert to.value is not None
        found, some = last(to.places, to.value, to.at, to.size)
        return to.done(where(some, found, to.part))
    to = Target("scatter", input, dim, index, None)
    if 0 in to.places.shape:
        return input
    some = hit(to.places, input, to.at, to.size)
    return to.done(where(some, _number("scatter", input, src), to.part))


def _number(name: str, input: Tensor, value: Any) -> Tensor:
    """A number, or a 0-d tensor, in the dtype of the tensor it goes into."""
    if isinstance(value, Tensor) and not value.ndim:
        same_device(name, input, value)
        return to_dtype(value, input.dtype)
    if not isinstance(value, NUMBERS):
        raise DTypeError(f"{name}: needs a number or a tensor to put there, got {value!r}")
    return new(constant(value, input.dtype), input.device)


def _filled(name: str, input: Tensor, value: Any, index: Tensor) -> Tensor:
    return expand(_number(name, input, value), index.shape)


@method
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """The tensor with the values of `src` added along `dim` where the index says, in the order of the index."""
    return _folded("scatter_add", input, dim, index, src, "sum", True)


@method
def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """The tensor with the values of `src` folded into it along `dim` where the index says.

    `reduce` is "sum", "prod", "mean", "amax" or "amin"; without `include_self` the places that the index names forget
    what was there. Equal extremes share the gradient evenly.
    """
    return _folded("scatter_reduce", input, dim, index, src, reduce, include_self)


def _folded(name: str, input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, include: bool) -> Tensor:
    if reduce not in FOLDS:
        raise IndexingError(f"{name}: reduce must be one of {', '.join(FOLDS)}, not {reduce!r}")
    to = Target(name, input, dim, index, src)
    if 0 in to.places.shape or not to.size:
        return input
    assert to.value is not None
    part, value, places = _wide(to.part), _wide(to.value), to.places
    if reduce in ("amax", "amin") and include and (part.requires_grad or value.requires_grad):
        places, value = _with_self(part, value, places, to)
        made = fold(FOLDS[reduce], places, value, to.at, to.size)
    else:
        made = _combined(reduce, part, fold(FOLDS[reduce], places, value, to.at, to.size), places, to, include)
    return to.done(to_dtype(made, input.dtype), places)


def _with_self(part: Tensor, value: Tensor, places: Node, to: Target) -> tuple[Node, Tensor]:
    """What is there as one more value for its place: an extreme shares the gradient with those that equal it."""
    n = to.size
    line = nd.reshape(apply("iota", n=n), tuple(n if d == to.at else 1 for d in range(part.ndim)))
    mine = new(nd.cast(nd.expand(line, part.shape), places.dtype), part.device)
    index = cat([mine, new(places, part.device)], to.at)
    return index.node, cat([part, value], to.at)


def _combined(reduce: str, part: Tensor, found: Tensor, places: Node, to: Target, include: bool) -> Tensor:
    if reduce != "mean":
        if include:
            return TABLE[TWO[reduce]](part, found)
        return where(hit(places, part, to.at, to.size), found, part)
    kind = part.dtype if part.dtype.is_float else dt.int64
    ones = new(nd.expand(nd.const(1, kind), places.shape), part.device)
    count = fold("scatter_add", places, ones, to.at, to.size) + int(include)
    total = part + found if include else found
    count = where(count.eq(0), 1, count)
    mean = total / count if part.dtype.is_float else to_dtype(to_dtype(total, dt.int64).floor_divide(count), part.dtype)
    return mean if include else where(hit(places, part, to.at, to.size), mean, part)


# --- whole slices along one dimension ---------------------------------------------------------------------------------
def _slices(name: str, input: Tensor, dim: int, index: Tensor, source: Tensor) -> tuple[Tensor, Tensor, int]:
    """A 1-d index for whole slices as one of the shape of the source."""
    integers(name, index)
    at = axis(name, dim, input.ndim)
    if index.ndim > 1:
        raise ShapeError(f"{name}: index must be 1-d, got {index.shape}")
    source = reshape(source, 1) if not source.ndim else source
    whole = input.shape or (1,)
    wanted = (*whole[:at], index.numel(), *whole[at + 1 :])
    if source.shape != wanted:
        raise ShapeError(
            f"{name}: a source of shape {source.shape} does not fit {input.shape} with {index.numel()} indices along "
            f"dim {at}; it must be {wanted}"
        )
    line = reshape(index, tuple(index.numel() if d == at else 1 for d in range(len(wanted))))
    return expand(line, wanted), source, at


@method
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
    """The tensor with `alpha` times the slices of `source` added along `dim` where a 1-d index says."""
    full, source, at = _slices("index_add", input, dim, index, source)
    if alpha != 1:
        source = to_dtype(source * alpha, source.dtype)
    return _folded("index_add", input, at, full, source, "sum", True)


@method
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """The tensor with the slices of `source` put along `dim` where a 1-d index says; of equal positions the last."""
    full, source, at = _slices("index_copy", input, dim, index, source)
    to = Target("index_copy", input, at, full, source)
    if 0 in to.places.shape:
        return input
    assert to.value is not None
    found, some = last(to.places, to.value, to.at, to.size)
    return to.done(where(some, found, to.part))


@method
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """The tensor with one value (a number or a 0-d tensor) in the slices along `dim` that a 1-d index names."""
    integers("index_fill", index)
    at = axis("index_fill", dim, input.ndim)
    if index.ndim > 1:
        raise ShapeError(f"index_fill: index must be 1-d, got {index.shape}")
    if isinstance(value, Tensor) and value.ndim:
        raise ShapeError(f"index_fill: value must be a number or a 0-d tensor, got shape {value.shape}")
    if not index.numel() or not input.numel():
        return input
    size = (input.shape or (1,))[at]
    positive = _wrapped(index, size)
    places = nd.reshape(positive.node, (index.numel(),))
    some = hit(places, input, 0, size)
    line = reshape(some, tuple(size if d == at else 1 for d in range(input.ndim)))
    made = where(expand(line, input.shape), _number("index_fill", input, value), input)
    check("index_fill", index, size, (places, size), wraps=True)
    return made


def _wrapped(index: Tensor, size: int) -> Tensor:
    index = to_dtype(index, dt.int64)
    return where(index < 0, index + size, index)


@method
def index_reduce(
    input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """The tensor with the slices of `source` folded into it along `dim` where a 1-d index says; see scatter_reduce."""
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise IndexingError(f"index_reduce: reduce must be one of prod, mean, amax, amin, not {reduce!r}")
    full, source, at = _slices("index_reduce", input, dim, index, source)
    return _folded("index_reduce", input, at, full, source, reduce, include_self)


# --- the flattened tensor ---------------------------------------------------------------------------------------------
@method
def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """The tensor with values put (or added) at positions of the flattened one; negative ones count from the end."""
    integers("put", index)
    same_device("put", input, index, source)
    if source.dtype is not input.dtype:
        raise DTypeError(f"put: the source is {source.dtype}, the tensor {input.dtype}; cast one of them first")
    if source.numel() != index.numel():
        raise ShapeError(f"put: {index.numel()} positions need as many values, got {source.numel()}")
    if not index.numel():
        return input
    if not input.numel():
        raise IndexingError(f"put: a tensor of shape {input.shape} has no element to put a value at")
    flat, n = reshape(_wrapped(index, input.numel()), index.numel()), input.numel()
    made, used = put_rows(reshape(input, (n, 1)), flat, reshape(source, (index.numel(), 1)), accumulate)
    check("put", index, n, (used, n), wraps=True)
    return reshape(made, input.shape)


for _name in (
    "index_add",
    "index_copy",
    "index_fill",
    "index_reduce",
    "put",
    "scatter",
    "scatter_add",
    "scatter_reduce",
):
    in_place(_name)
