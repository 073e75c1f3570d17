# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# The entries of a table are lambdas, which cannot say their types.
"""Reductions: the fold of one or several axes."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from flame.ir import dtype as dt
from flame.ir import rules
from flame.ir.dtype import DType
from flame.ir.node import Node, apply, cast, expand, like, reshape
from flame.ir.op import Grads, Kind, Op, define
from flame.ir.ops.elementwise import only


def spread(g: Node, y: Node, a: Node) -> Node:
    """Give every element of `a` the value of `g` it was folded into."""
    kept = tuple(1 if i in y["axes"] else n for i, n in enumerate(a.shape))
    return expand(reshape(g, kept), a.shape)


def sum_numpy(a: Any, axes: tuple[int, ...]) -> Any:
    wide = a.astype(np.float32) if a.dtype.itemsize == 2 and a.dtype.kind not in "iu" else a
    return np.sum(wide, axes, dtype=wide.dtype).astype(a.dtype)


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
