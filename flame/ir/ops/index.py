# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# The entries of a table are lambdas, which cannot say their types.
"""Where to read or write is itself a value: gather and scatter."""

from typing import Any

import numpy as np

from flame.ir import dtype as dt
from flame.ir import rules
from flame.ir.node import Index, Node, Shape, apply, binary, cast, const, expand, reshape
from flame.ir.op import Kind, define
from flame.ir.ops.elementwise import only


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


def scatter_numpy(index: Any, value: Any, axis: int, size: int) -> Any:
    shape = tuple(size if a == axis else n for a, n in enumerate(value.shape))
    out = np.zeros(shape, np.float32 if value.dtype.itemsize == 2 else value.dtype)
    at = list(np.indices(index.shape))
    at[axis] = np.clip(index.astype(np.int64), 0, size - 1)
    np.add.at(out, tuple(at), value)
    return out.astype(value.dtype)


def scatter_by_product(node: Node) -> Node:
    """One-hot rows times values where one index serves whole rows; else a sum over the elements that match."""
    index, value = node.src
    axis, size, count = node["axis"], node["size"], value.shape[node["axis"]]
    if axis == 0 and len(value.shape) == 2 and value.dtype.is_float and shared_index(index, axis):
        rows = (reshape(cast_iota(size), (size, 1)), inside(row_index(index, axis), size))
        hot = apply("eq", *(expand(x, (size, count)) for x in rows))
        return apply("matmul", cast(hot, value.dtype), value)
    lead, rest = value.shape[:axis], value.shape[axis + 1 :]
    full = (*lead, size, count, *rest)
    place = expand(reshape(cast_iota(size), (size, 1, *(1,) * len(rest))), full)
    here = expand(reshape(inside(index, size), (*lead, 1, count, *rest)), full)
    picked = only(apply("eq", place, here), expand(reshape(value, (*lead, 1, count, *rest)), full))
    return apply("sum", picked, axes=(axis + 1,))


def cast_iota(n: int) -> Node:
    return apply("iota", n=n)


def shared_index(index: Node, axis: int) -> bool:
    """True if the index is the same along all axes but one."""
    source = index.src[0].shape if index.op.name == "expand" else index.shape
    lead = len(index.shape) - len(source)
    return all(a == axis or a < lead or source[a - lead] == 1 for a in range(len(index.shape)))


def row_index(index: Node, axis: int) -> Node:
    """The index along its axis, at the first position of all others."""
    stop = tuple(n if a == axis else min(n, 1) for a, n in enumerate(index.shape))
    first = apply("slice", index, start=(0,) * len(stop), stop=stop, step=(1,) * len(stop))
    return reshape(first, (1, index.shape[axis]))


define(
    "scatter_add",
    Kind.CONTRACT,
    shape=rules.scattered,
    dtype=rules.last_by_index,
    numpy=scatter_numpy,
    grad=lambda g, y, index, value: (None, apply("gather", g, index, axis=y["axis"])),
    decompose=scatter_by_product,
    batch=lambda n, y, index, value: apply("scatter_add", index, value, axis=y["axis"] + 1, size=y["size"]),
    examples=({"axis": 0, "size": 5}, {"axis": 1, "size": 3}),
    public=False,
    doc="Zeros, with each value added where its index says; in a fixed order.",
)
