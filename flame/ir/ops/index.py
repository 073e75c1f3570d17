# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# The entries of a table are lambdas, which cannot say their types.
"""Where to read or write is itself a value: gather and scatter."""

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import numpy as np

from flame.ir import dtype as dt
from flame.ir import rules
from flame.ir.library import true_places
from flame.ir.node import Index, Node, Shape, apply, binary, cast, const, expand, like, reshape, where
from flame.ir.op import OPS, Grads, Kind, Op, define
from flame.ir.ops.elementwise import only
from flame.ir.ops.reduce import highest, lowest
from flame.ir.ops.sort import ordered


def inside(position: Node, size: int) -> Node:
    """Positions outside an axis mean its first or last element: nothing outside the tensor is ever touched."""
    return binary("minimum", binary("maximum", cast(position, dt.int64), const(0)), const(size - 1))


def gather_index(at: Index, position: Node, shape: Shape, axis: int) -> Index:
    safe = inside(position, shape[axis])
    return tuple(safe if a == axis else i for a, i in enumerate(at))


define(
    "gather",
    Kind.GATHER,
    shape=rules.gathered,
    dtype=rules.first_by_index,
    numpy=lambda a, index, axis: np.take_along_axis(a, np.clip(index.astype(np.int64), 0, a.shape[axis] - 1), axis),
    index=gather_index,
    grad=lambda g, y, a, index: (
        apply("scatter_add", index, g, axis=y["axis"], size=a.shape[y["axis"]]),
        None,
    ),
    examples=({"axis": 0}, {"axis": 1}),
    public=False,
    doc="Along one axis, the elements that an index tensor names.",
)


FEW = 64  # places, or a quarter of the values, up to which looking at all values is quicker than sorting
LITTLE = 1 << 16  # elements looked at in no time


def wide(a: Any) -> bool:
    """True for half precisions, which are folded in float32."""
    return a.dtype.itemsize == 2 and a.dtype.kind not in "iu"


def of_neutral(op: Op, shape: Shape, like_: Any) -> Any:
    """Where nothing has been folded yet: an array of the neutral value."""
    assert op.identity is not None
    return np.full(shape, op.identity(dt.of_numpy(like_.dtype)), np.float32 if wide(like_) else like_.dtype)


def folding(op: Op) -> np.ufunc:
    """NumPy's function that folds two values."""
    numpy = OPS[op.combine or ""].numpy
    assert isinstance(numpy, np.ufunc)
    return numpy


def scatter_numpy(name: str) -> Callable[..., Any]:
    def numpy(index: Any, value: Any, axis: int, size: int) -> Any:
        out = of_neutral(OPS[name], tuple(size if a == axis else n for a, n in enumerate(value.shape)), value)
        at = list(np.indices(index.shape, sparse=True))
        at[axis] = np.clip(index.astype(np.int64), 0, size - 1)
        folding(OPS[name]).at(out, tuple(at), value)
        return out.astype(value.dtype)

    return numpy


def scatter_by_parts(node: Node) -> Node:
    """For each place the fold of the values whose index is it: by looking at all, or by sorting where they are many."""
    size, count = node["size"], node.src[1].shape[node["axis"]]
    few = min(size, 4 * count) <= FEW or size * prod(node.src[1].shape) <= LITTLE
    return scatter_by_fold(node) if few else scatter_by_segments(node)


def scatter_by_fold(node: Node) -> Node:
    """All values are looked at."""
    index, value = node.src
    axis, size, count = node["axis"], node["size"], value.shape[node["axis"]]
    lead, rest = value.shape[:axis], value.shape[axis + 1 :]
    full = (*lead, size, count, *rest)
    place = expand(reshape(apply("iota", n=size), (size, 1, *(1,) * len(rest))), full)
    here = expand(reshape(inside(index, size), (*lead, 1, count, *rest)), full)
    assert node.op.identity is not None
    others = expand(const(node.op.identity(value.dtype), value.dtype), full)
    picked = where(apply("eq", place, here), expand(reshape(value, (*lead, 1, count, *rest)), full), others)
    fold = next(o for o in OPS.values() if o.kind is Kind.REDUCE and o.combine == node.op.combine)
    return apply(fold, picked, axes=(axis + 1,))


def scatter_by_segments(node: Node) -> Node:
    """The values in the order of their places: those of one place stand side by side, in the order they had."""
    index, value = node.src
    axis, size = node["axis"], node["size"]
    lead, rest = value.shape[:axis], value.shape[axis + 1 :]
    shared = shared_index(index, axis)
    line, at = (row_index(index, axis), 0) if shared else (index, axis)
    line = cast(inside(line, size), narrow(size))
    order = ordered(line, at, below=size)
    edges = reshape(apply("iota", n=size + 1), (size + 1, *(1,) * (len(line.shape) - at - 1)))
    edges = expand(edges, (*line.shape[:at], size + 1, *line.shape[at + 1 :]))
    starts = count_below(apply("gather", line, order, axis=at), cast(edges, line.dtype), at)
    starts = cast(starts, narrow(line.shape[at]))
    begin, end = (along(starts, at, slice(i, size + i)) for i in (0, 1))
    if shared:
        order, begin, end = (reshape(n, (n.shape[0], *(1,) * len(rest))) for n in (order, begin, end))
    begin, end = (expand(n, (*lead, size, *rest)) for n in (begin, end))
    alike = value.src[0] if value.op.name == "expand" and value.src[0].op.name == "const" else None
    if alike is not None and node.op.combine == "add":
        return cast(end - begin, value.dtype) * expand(alike, begin.shape)
    fold = next(o for o in OPS.values() if o.kind is Kind.SEGMENT and o.combine == node.op.combine)
    return apply(fold, apply("gather", value, expand(order, value.shape), axis=axis), begin, end, axis=axis)


def narrow(most: int) -> dt.DType:
    """The dtype of positions up to `most` where they are stored: half the memory if they fit."""
    return dt.int32 if most < 1 << 31 else dt.int64


def along(n: Node, axis: int, part: slice) -> Node:
    """Some positions of one axis."""
    start, stop, step = part.indices(n.shape[axis])
    return apply(
        "slice",
        n,
        start=tuple(start if a == axis else 0 for a in range(len(n.shape))),
        stop=tuple(stop if a == axis else size for a, size in enumerate(n.shape)),
        step=tuple(step if a == axis else 1 for a in range(len(n.shape))),
    )


def shared_index(index: Node, axis: int) -> bool:
    """True if the index is the same along all axes but one."""
    source = index.src[0].shape if index.op.name == "expand" else index.shape
    lead = len(index.shape) - len(source)
    return all(a == axis or a < lead or source[a - lead] == 1 for a in range(len(index.shape)))


def row_index(index: Node, axis: int) -> Node:
    """The index along its axis, at the first position of all others."""
    stop = tuple(n if a == axis else min(n, 1) for a, n in enumerate(index.shape))
    first = apply("slice", index, start=(0,) * len(stop), stop=stop, step=(1,) * len(stop))
    return reshape(first, (index.shape[axis],))


def count_below(line: Node, value: Node, axis: int, right: bool = False) -> Node:
    """How many elements of sorted lines along an axis come before each value; with `right`, or are equal to it.

    Binary search in unrolled steps, from the highest bit of the answer down; nan comes behind all.
    """
    n = line.shape[axis]
    found = expand(const(0), value.shape)
    for bit in reversed(range(n.bit_length())):
        further = found + (1 << bit)
        element = apply("gather", line, further - 1, axis=axis)
        before = apply("logical_not", apply("gt" if right else "ge", element, value))
        found = where(apply("le", further, like(further, n)) & before, further, found)
    return found


def places_by_search(node: Node) -> Node:
    """How many are true up to each is sorted: a binary search in it finds the first that makes k + 1 of them."""
    (a,) = node.src
    axis, size = len(a.shape) - 1, node["size"]
    counts = running(a)
    wanted = expand(reshape(apply("iota", n=size), (*(1,) * axis, size)), node.shape) + 1
    return count_below(counts, wanted, axis)


LINE = 512  # elements that are counted one after the other, beside the other lines


def running(truth: Node) -> Node:
    """How many elements along the last axis are true up to each, itself included."""
    *lead, n = truth.shape
    axis, lines, flat = len(lead), -(-n // LINE), cast(truth, dt.int64)
    if lines < 2:
        return apply("cumsum", flat, axis=axis, reverse=False)
    none = (0,) * axis
    flat = apply("pad", flat, low=(*none, 0), high=(*none, lines * LINE - n), step=(1,) * (axis + 1), fill=0)
    inner = apply("cumsum", reshape(flat, (*lead, lines, LINE)), axis=axis + 1, reverse=False)
    totals = along(inner, axis + 1, slice(LINE - 1, LINE))
    before = apply("cumsum", totals, axis=axis, reverse=False) - totals
    counts = reshape(inner + expand(before, inner.shape), (*lead, lines * LINE))
    return along(counts, axis, slice(0, n))


define(
    "places",
    Kind.CONTRACT,
    shape=rules.placed,
    dtype=rules.places,
    numpy=true_places,
    grad=lambda g, y, a: (None,),
    decompose=places_by_search,
    batch=lambda n, y, a: apply("places", a, size=y["size"]),
    examples=({"size": 2}, {"size": 7}),
    public=False,
    doc="The positions of the first true elements along the last axis, in order; then its length.",
)


def scattered_again(y: Node, name: str, index: Node, value: Node) -> Node:
    """Other values at the places of the scatter `y`."""
    return apply(name, index, value, axis=y["axis"], size=y["size"])


def factor_grad(g: Node, y: Node, index: Node, value: Node) -> Grads:
    """A factor gets the product of the others: exact beside zeros. Its own gradient is so where no factor is 0."""
    back = partial(apply, "gather", axis=y["axis"])
    zero = apply("eq", value, like(value, 0))
    zeros = back(scattered_again(y, "scatter_add", index, cast(zero, value.dtype)), index)
    product = back(scattered_again(y, "scatter_mul", index, where(zero, like(value, 1), value)), index)
    alone = only(apply("eq", zeros, like(value, 1)), product)
    among = only(apply("eq", zeros, like(value, 0)), product / where(zero, like(value, 1), value))
    return None, back(g, index) * where(zero, alone, among)


def extreme_grad(beats: str, sign: int) -> Callable[..., Grads]:
    """Equal extremes share the gradient evenly; what rounding explains is equal, as for reductions."""

    def grad(g: Node, y: Node, index: Node, value: Node) -> Grads:
        back = partial(apply, "gather", axis=y["axis"])

        def counted(truth: Node) -> Node:
            return back(scattered_again(y, "scatter_add", index, cast(truth, value.dtype)), index)

        equal = apply("eq", value, back(y, index))
        none = apply("eq", counted(equal), like(value, 0))
        near = back(y - apply("abs", y) * (2 * sign * value.dtype.epsilon), index)
        hit = apply("logical_or", equal, none & apply(beats, value, near))
        return None, only(hit, back(g, index) / counted(hit))

    return grad


def scatter(name: str, combine: str, identity: Any, grad: Callable[..., Grads], doc: str, dtype: Any) -> None:
    define(
        name,
        Kind.CONTRACT,
        shape=rules.scattered,
        dtype=lambda index, a, **_: dtype(rules.first_by_index(a, index)),
        numpy=scatter_numpy(name),
        grad=grad,
        combine=combine,
        identity=identity,
        decompose=scatter_by_parts,
        batch=lambda n, y, index, value: apply(name, index, value, axis=y["axis"] + 1, size=y["size"]),
        examples=({"axis": 0, "size": 5}, {"axis": 1, "size": 3}),
        public=False,
        doc=f"{doc} In a fixed order; for places that no index names the neutral value.",
    )


scatter(
    "scatter_add",
    "add",
    lambda d: 0,
    lambda g, y, index, value: (None, apply("gather", g, index, axis=y["axis"])),
    "For each place, the sum of the values whose index is it.",
    rules.numeric,
)
scatter("scatter_mul", "mul", lambda d: 1, factor_grad, "The product of the values.", rules.numeric)
scatter("scatter_max", "maximum", lowest, extreme_grad("ge", 1), "The largest of the values; nan wins.", rules.keep)
scatter("scatter_min", "minimum", highest, extreme_grad("le", -1), "The smallest of the values; nan wins.", rules.keep)


def segment_numpy(name: str) -> Callable[..., Any]:
    def numpy(value: Any, begin: Any, end: Any, axis: int) -> Any:
        values, count = np.moveaxis(value, axis, 0), value.shape[axis]
        edges = [np.clip(np.moveaxis(e, axis, 0), 0, count) for e in (begin, end)]
        out = of_neutral(OPS[name], (len(edges[0]), *values.shape[1:]), value)
        tables = [e.reshape(len(e), prod(e.shape[1:])) for e in edges]
        shared = out.size > 0 and all(bool((table == table[:, :1]).all()) for table in tables)
        for at in [(...,)] if shared else np.ndindex(*values.shape[1:]):
            for s in range(len(out)):
                begin, end = (int(np.ravel(e[(s, *at)])[0]) for e in edges)
                if begin < end:
                    part = values[(slice(begin, end), *at)].astype(out.dtype)
                    out[(s, *at)] = folding(OPS[name]).reduce(part, 0, dtype=out.dtype)
        return np.moveaxis(out, 0, axis).astype(value.dtype)

    return numpy


def segment(name: str, combine: str, identity: Any, dtype: Any, doc: str) -> None:
    define(
        name,
        Kind.SEGMENT,
        shape=rules.segmented,
        dtype=lambda a, begin, end, **_: dtype(rules.first_by_index(a, rules.keep(begin, end))),
        numpy=segment_numpy(name),
        combine=combine,
        identity=identity,
        examples=({"axis": 0}, {"axis": 1}),
        public=False,
        doc=f"{doc} from each beginning to its end, in their order; of none the neutral value.",
    )


segment("segment_sum", "add", lambda d: 0, rules.numeric, "The sum of the values")
segment("segment_prod", "mul", lambda d: 1, rules.numeric, "The product of the values")
segment("segment_max", "maximum", lowest, rules.keep, "The largest of the values")
segment("segment_min", "minimum", highest, rules.keep, "The smallest of the values")
