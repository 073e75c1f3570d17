# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# The entries of a table are lambdas, which cannot say their types.
"""Scans: what each element and all before it along one axis fold to; `reverse` walks from the end.

The recurrence h[i] = b[i] + a[i] * h[i-1] is closed under differentiation, and the gradients of products and of
logcumsumexp are recurrences: exact where factors are 0, without a division, to every order.
"""

import math
from typing import Any

import numpy as np

from flame.ir import rules
from flame.ir.library import widened
from flame.ir.node import Node, apply, const, expand, like, reshape, where
from flame.ir.op import Grads, Kind, Op, define
from flame.ir.ops.reduce import after, before, highest, lowest


def back(name: str, y: Node, *src: Node) -> Node:
    """A scan against the direction of `y`."""
    return apply(name, *src, axis=y["axis"], reverse=not y["reverse"])


def recurrence_grad(g: Node, y: Node, a: Node, b: Node) -> Grads:
    """What flows into h[i] is g[i] and a[i+1] times what flows into h[i+1]."""
    flow = back("recurrence", y, after(a, y, 0), g)
    return flow * before(y, y, 0), flow


def product_grad(g: Node, y: Node, a: Node) -> Grads:
    """The product of all earlier factors times the sum of g[k] * a[i+1] * ... * a[k]: no factor is divided out."""
    return (before(y, y, 1) * back("recurrence", y, after(a, y, 0), g),)


def logarithm_grad(g: Node, y: Node, a: Node) -> Grads:
    """The sum of g[k] * exp(a[i] - y[k]), as exp(a[i] - y[i]) times a recurrence whose factors are at most 1."""
    following = after(y, y, math.inf)
    infinite = apply("eq", y, following) & apply("eq", apply("abs", y), like(y, math.inf))
    ratio = apply("exp", where(infinite, like(y, 0), y - following))
    return (apply("exp", a - y) * back("recurrence", y, ratio, g),)


def extreme_places(y: Node, a: Node) -> Node:
    """Where the extremes so far lie, the last of equal ones; that of the last nan where there is one."""
    axis, n = y["axis"], y.shape[y["axis"]]
    line = reshape(apply("iota", n=n), tuple(n if x == axis else 1 for x in range(len(y.shape))))
    place, nothing = expand(line, y.shape), expand(const(n - 1 if y["reverse"] else 0), y.shape)
    hit = apply("eq", a, y)
    if a.dtype.is_float:
        hit = apply("logical_or", hit, apply("isnan", a))
    return apply("cummin" if y["reverse"] else "cummax", where(hit, place, nothing), axis=axis, reverse=y["reverse"])


def extreme_grad(g: Node, y: Node, a: Node) -> Grads:
    """Each extreme's place gets what flows into all places that show it."""
    return (apply("scatter_add", extreme_places(y, a), g, axis=y["axis"], size=a.shape[y["axis"]]),)


def along(a: Any, axis: int, reverse: bool) -> Any:
    """The array with the axis of a scan in front, in the order of the walk; half precisions widened."""
    first = np.moveaxis(widened(a), axis, 0)
    return first[::-1] if reverse else first


def returned(out: Any, a: Any, axis: int, reverse: bool) -> Any:
    """The other way round: in the order and the dtype of `a`."""
    return np.moveaxis(out[::-1] if reverse else out, 0, axis).astype(a.dtype)


def accumulated(function: Any) -> Any:
    """The meaning of a scan by NumPy's own."""

    def numpy(a: Any, axis: int, reverse: bool) -> Any:
        line = along(a, axis, reverse)
        return returned(function.accumulate(line, 0, dtype=line.dtype), a, axis, reverse)

    return numpy


def recurrence_numpy(a: Any, b: Any, axis: int, reverse: bool) -> Any:
    factors, terms = along(a, axis, reverse), along(b, axis, reverse)
    out = np.zeros_like(terms)
    for i in range(len(terms)):
        out[i] = factors[i] * out[i - 1] + terms[i]  # the last place is still 0 when the first asks for it
    return returned(out, b, axis, reverse)


def add_logarithms(x: Node, y: Node) -> Node:
    """log(exp(x) + exp(y)); the difference of equal infinities counts as 0."""
    top, low = apply("maximum", x, y), apply("minimum", x, y)
    gap = where(apply("eq", x, y), like(x, 0), low - top)
    return top + apply("log1p", apply("exp", gap))


def recurrence_local(a: Node, b: Node, **attrs: Any) -> tuple[Node, Node]:
    """Over a part, what came before is multiplied by all its factors."""
    return apply("cumprod", a, **attrs), apply("recurrence", a, b, **attrs)


def scan(
    name: str, step: Any, identity: Any, numpy: Any, grad: Any, doc: str, dtype: Any = rules.numeric, **more: Any
) -> Op:
    examples = tuple({"axis": axis, "reverse": reverse} for axis in (0, 1) for reverse in (False, True))
    return define(
        name,
        Kind.SCAN,
        shape=rules.scanned,
        dtype=dtype,
        step=step,
        identity=identity,
        numpy=numpy,
        grad=grad,
        doc=doc,
        public=False,
        examples=examples,
        **more,
    )


scan(
    "recurrence",
    lambda h, a, b: a * h + b,
    lambda d: 0,
    recurrence_numpy,
    recurrence_grad,
    "h[i] = a[i] * h[i-1] + b[i] from (a, b), where h[-1] is 0: a linear recurrence.",
    local=recurrence_local,
)
scan(
    "cumsum",
    lambda s, a: s + a,
    lambda d: 0,
    accumulated(np.add),
    lambda g, y, a: (back("cumsum", y, g),),
    "Sum of each element and all before it.",
    combine="add",
)
scan(
    "cumprod",
    lambda p, a: p * a,
    lambda d: 1,
    accumulated(np.multiply),
    product_grad,
    "Product of each element and all before it.",
    combine="mul",
)
scan(
    "cummax",
    lambda m, a: apply("maximum", m, a),
    lowest,
    accumulated(np.maximum),
    extreme_grad,
    "Largest of each element and all before it; nan wins.",
    rules.keep,
    combine="maximum",
)
scan(
    "cummin",
    lambda m, a: apply("minimum", m, a),
    highest,
    accumulated(np.minimum),
    extreme_grad,
    "Smallest of each element and all before it; nan wins.",
    rules.keep,
    combine="minimum",
)
scan(
    "logcumsumexp",
    add_logarithms,
    lambda d: -math.inf,
    accumulated(np.logaddexp),
    logarithm_grad,
    "log(sum(exp(x))) of each element and all before it.",
    rules.floating,
)
