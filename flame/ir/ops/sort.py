# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# The entries of a table are lambdas, which cannot say their types.
"""Sorting: the order of elements as positions. What is sorted, selected or ranked gathers at them."""

import numpy as np

from flame.ir import rules
from flame.ir.library import order
from flame.ir.node import Node, apply, cast, expand, reshape
from flame.ir.op import Kind, define
from flame.ir.ops.elementwise import only


def precedes(a: Node, b: Node) -> Node:
    """a < b, where nan is the largest."""
    less = apply("lt", a, b)
    if not a.dtype.is_float:
        return less
    number = apply("logical_not", apply("isnan", a))
    return apply("logical_or", less, apply("isnan", b) & number)


def argsort_by_counting(node: Node) -> Node:
    """An element's rank is how many come before it; the position of rank k is where the rank is k. O(n^2)."""
    (a,) = node.src
    axis, shape, n = node["axis"], a.shape, a.shape[node["axis"]]
    square = (*shape[:axis], n, n, *shape[axis + 1 :])
    here = expand(reshape(a, (*shape[:axis], n, 1, *shape[axis + 1 :])), square)
    there = expand(reshape(a, (*shape[:axis], 1, n, *shape[axis + 1 :])), square)
    first, second = (there, here) if not node["descending"] else (here, there)
    level = apply("logical_not", apply("logical_or", precedes(here, there), precedes(there, here)))
    line = apply("iota", n=n)
    rows = expand(reshape(line, (n, 1, *(1,) * (len(shape) - axis - 1))), square)
    columns = expand(reshape(line, (1, n, *(1,) * (len(shape) - axis - 1))), square)
    before = apply("logical_or", precedes(first, second), level & apply("lt", columns, rows))
    rank = apply("sum", cast(before, line.dtype), axes=(axis + 1,))
    holds = apply("eq", expand(reshape(rank, (*shape[:axis], 1, n, *shape[axis + 1 :])), square), rows)
    found = apply("sum", only(holds, columns), axes=(axis + 1,))
    first, last = node["ranks"]
    start = tuple(first if i == axis else 0 for i in range(len(shape)))
    stop = tuple(last if i == axis else size for i, size in enumerate(shape))
    return apply("slice", found, start=start, stop=stop, step=(1,) * len(shape))


def ordered(a: Node, axis: int, descending: bool = False, ranks: tuple[int, int] | None = None, below: int = 0) -> Node:
    """The positions at some ranks, or all, of the order along an axis; below: integers known to lie in [0, below)."""
    return apply("argsort", a, axis=axis, descending=descending, ranks=ranks or (0, a.shape[axis]), below=below)


def sorted_grad(g: Node, y: Node, a: Node) -> tuple[Node]:
    """What flows to a rank flows to where its element lies."""
    axis = y["axis"]
    return (apply("scatter_add", ordered(a, axis, y["descending"], y["ranks"]), g, axis=axis, size=a.shape[axis]),)


EXAMPLES = tuple(
    {"axis": axis, "descending": down, "ranks": ranks}
    for axis, n in ((0, 3), (1, 4))
    for down, ranks in ((False, (0, n)), (True, (0, n)), (True, (1, 3)))
)

define(
    "sorted",
    Kind.CONTRACT,
    shape=rules.ranked,
    dtype=rules.keep,
    numpy=lambda a, axis, descending, ranks: np.take_along_axis(a, order(a, axis, descending, ranks), axis),
    grad=sorted_grad,
    decompose=lambda y: apply("gather", y.src[0], ordered(y.src[0], **dict(y.attrs)), axis=y["axis"]),
    batch=lambda n, y, a: apply("sorted", a, **{**dict(y.attrs), "axis": y["axis"] + 1}),
    examples=EXAMPLES,
    public=False,
    doc="The elements at some ranks of the order along one axis; nan is the largest.",
)
define(
    "argsort",
    Kind.CONTRACT,
    shape=rules.ranked,
    dtype=rules.positions,
    numpy=lambda a, axis, descending, ranks, below: order(a, axis, descending, ranks),
    grad=lambda g, y, a: (None,),
    decompose=argsort_by_counting,
    batch=lambda n, y, a: ordered(a, y["axis"] + 1, y["descending"], y["ranks"], y["below"]),
    examples=tuple({**e, "below": 0} for e in EXAMPLES),
    public=False,
    doc="Positions at some ranks of the order along one axis; equal elements keep theirs, nan is the largest.",
)
