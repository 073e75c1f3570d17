# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# The entries of a table are lambdas, which cannot say their types.
"""Where to read or write is itself a value: gather and scatter."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from flame.ir import dtype as dt
from flame.ir import rules
from flame.ir.node import Index, Node, Shape, apply, binary, cast, const, expand, like, reshape, where
from flame.ir.op import OPS, Grads, Kind, Op, define
from flame.ir.ops.elementwise import only
from flame.ir.ops.reduce import highest, lowest


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


def scatter_by_fold(node: Node) -> Node:
    """For each place, the fold of the values whose index is it: all are looked at."""
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
        decompose=scatter_by_fold,
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
