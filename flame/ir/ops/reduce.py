# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# The entries of a table are lambdas, which cannot say their types.
"""Reductions: the fold of one or several axes."""

import math
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from flame.ir import dtype as dt
from flame.ir import rules
from flame.ir.dtype import DType
from flame.ir.library import widened
from flame.ir.node import Node, apply, cast, expand, like, reshape
from flame.ir.op import Grads, Kind, Op, define
from flame.ir.ops.elementwise import only


def spread(g: Node, y: Node, a: Node) -> Node:
    """Give every element of `a` the value of `g` it was folded into."""
    kept = tuple(1 if i in y["axes"] else n for i, n in enumerate(a.shape))
    return expand(reshape(g, kept), a.shape)


def neighbour(a: Node, axis: int, forward: bool, fill: float) -> Node:
    """At each place the next (or, without `forward`, the previous) element along an axis; `fill` beyond the end."""
    if not a.shape[axis]:
        return a
    ones, zeros = (1,) * len(a.shape), (0,) * len(a.shape)
    start = tuple(int(forward) if x == axis else 0 for x in range(len(a.shape)))
    stop = tuple(n - int(not forward) if x == axis else n for x, n in enumerate(a.shape))
    kept = apply("slice", a, start=start, stop=stop, step=ones)
    edge = tuple(int(x == axis) for x in range(len(a.shape)))
    low, high = (zeros, edge) if forward else (edge, zeros)
    return apply("pad", kept, low=low, high=high, step=ones, fill=fill)


def before(a: Node, y: Node, fill: float) -> Node:
    """What the scan `y` met one step earlier."""
    return neighbour(a, y["axis"], y["reverse"], fill)


def after(a: Node, y: Node, fill: float) -> Node:
    """What the scan `y` meets one step later."""
    return neighbour(a, y["axis"], not y["reverse"], fill)


def sum_numpy(a: Any, axes: tuple[int, ...]) -> Any:
    wide = widened(a)
    return np.sum(wide, axes, dtype=wide.dtype).astype(a.dtype)


def product_numpy(a: Any, axes: tuple[int, ...]) -> Any:
    wide = widened(a)
    return np.prod(wide, axes, dtype=wide.dtype).astype(a.dtype)


def product_grad(g: Node, y: Node, a: Node) -> Grads:
    """The product of all other elements, as that of those before and that of those behind: exact where some are 0."""
    axes: tuple[int, ...] = y["axes"]
    kept = [i for i in range(len(a.shape)) if i not in axes]
    order = (*kept, *axes)
    turned = apply("permute", a, order=order)
    line = reshape(turned, (*(a.shape[i] for i in kept), prod(a.shape[i] for i in axes)))
    at = len(kept)
    front, behind = (apply("cumprod", line, axis=at, reverse=r) for r in (False, True))
    others = before(front, front, 1) * before(behind, behind, 1)
    back = apply("permute", reshape(others, turned.shape), order=tuple(order.index(i) for i in range(len(order))))
    return (spread(g, y, a) * back,)


def extreme_grad(beats: str, sign: int) -> Callable[..., Grads]:
    """Equal extremes share the gradient evenly, as in torch.amax.

    Where `a` is computed again for the gradient, it need not be the extreme bit by bit: if nothing is equal, what
    rounding explains is.
    """

    def grad(g: Node, y: Node, a: Node) -> Grads:
        equal = apply("eq", a, spread(y, y, a))
        none = apply("eq", apply("sum", cast(equal, a.dtype), axes=y["axes"]), like(y, 0))
        near = y - apply("abs", y) * (2 * sign * a.dtype.epsilon)
        hit = apply("logical_or", equal, spread(none, y, a) & apply(beats, a, spread(near, y, a)))
        count = apply("sum", cast(hit, a.dtype), axes=y["axes"])
        return (only(hit, spread(g / count, y, a)),)

    return grad


def lowest(d: DType) -> Any:
    return -math.inf if d.is_float else False if d is dt.boolean else int(np.iinfo(d.numpy).min)


def highest(d: DType) -> Any:
    return math.inf if d.is_float else True if d is dt.boolean else int(np.iinfo(d.numpy).max)


def reduction(name: str, combine: str, identity: Any, numpy: Any, grad: Any, doc: str, **more: Any) -> Op:
    rest = {"shape": rules.reduced, "dtype": rules.keep} | more
    examples = ({"axes": (1,)}, {"axes": (0,)}, {"axes": (0, 1)})
    return define(
        name,
        Kind.REDUCE,
        combine=combine,
        identity=identity,
        numpy=numpy,
        grad=grad,
        doc=doc,
        public=False,
        examples=examples,
        **rest,
    )


reduction(
    "sum", "add", lambda d: 0, sum_numpy, lambda g, y, a: (spread(g, y, a),), "Sum over axes.", dtype=rules.numeric
)
reduction(
    "prod",
    "mul",
    lambda d: 1,
    product_numpy,
    product_grad,
    "Product over axes; half precisions are multiplied in float32.",
    dtype=rules.numeric,
)
reduction(
    "max",
    "maximum",
    lowest,
    lambda a, axes: np.max(a, axes),
    extreme_grad("ge", 1),
    "Largest; nan wins.",
    shape=rules.reduced_some,
)
reduction(
    "min",
    "minimum",
    highest,
    lambda a, axes: np.min(a, axes),
    extreme_grad("le", -1),
    "Smallest; nan wins.",
    shape=rules.reduced_some,
)
