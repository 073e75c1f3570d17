# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# The entries of a table are lambdas, which cannot say their types.
"""Elementwise operators: out[i] = f(a[i], b[i], ...)."""

from collections.abc import Callable
from typing import Any

import numpy as np

from flame.ir import dtype as dt
from flame.ir import rules, special
from flame.ir.node import Node, apply, cast, like, where
from flame.ir.op import Grads, Kind, Op, define
from flame.ir.philox import philox


def elementwise(
    name: str, scalar: str, numpy: Callable[..., Any], grad: Callable[..., Grads] | None, **more: Any
) -> Op:
    rest = {"shape": rules.same, "dtype": rules.numeric} | more
    return define(name, Kind.ELEMENTWISE, scalar=scalar, numpy=numpy, grad=grad, **rest)


def nothing(g: Node, y: Node, *src: Node) -> Grads:
    """Constant almost everywhere: no gradient flows."""
    return (None,) * len(src)


def level(g: Node, y: Node, a: Node) -> Grads:
    """Steps: the gradient is 0, and there is one."""
    return (like(g, 0),)


def only(condition: Node, g: Node) -> Node:
    """`g` where the condition holds, else 0."""
    return where(condition, g, like(g, 0))


def share(loses: str) -> Callable[..., Grads]:
    """The larger (or smaller) operand gets the gradient; equal ones half of it each; beside nan both, as in PyTorch."""

    def grad(g: Node, y: Node, a: Node, b: Node) -> Grads:
        half = where(apply("eq", a, b), g * 0.5, g)
        return where(apply(loses, a, b), like(g, 0), half), where(apply(loses, b, a), like(g, 0), half)

    return grad


def power_grad(g: Node, y: Node, a: Node, b: Node) -> Grads:
    """d a**b: b * a**(b-1) and a**b * log(a); 0 where b is 0, and where a is 0 with b >= 0."""
    by_base = where(apply("eq", b, like(b, 0)), like(g, 0), g * b * apply("pow", a, b - 1))
    still = apply("eq", a, like(a, 0)) & (b >= 0)
    return by_base, where(still, like(g, 0), g * y * apply("log", a))


elementwise("add", "({0} + {1})", np.add, lambda g, y, a, b: (g, g), doc="Sum.")
elementwise("sub", "({0} - {1})", np.subtract, lambda g, y, a, b: (g, -g), doc="Difference.")
elementwise("mul", "({0} * {1})", np.multiply, lambda g, y, a, b: (g * b, g * a), doc="Product.")
elementwise(
    "div",
    "({0} / {1})",
    np.divide,
    lambda g, y, a, b: (g / b, -(g * y / b)),
    dtype=rules.floating,
    domain=(0.5, 2),
    doc="Quotient; integers are divided as float32.",
)
elementwise("neg", "(-{0})", np.negative, lambda g, y, a: (-g,), doc="The negative.")
elementwise(
    "floor_divide", "floordiv({0}, {1})", np.floor_divide, nothing, domain=(0.5, 2), doc="Quotient, rounded down."
)
elementwise(
    "remainder",
    "modulo({0}, {1})",
    np.mod,
    lambda g, y, a, b: (g, -(g * apply("floor_divide", a, b))),
    domain=(0.5, 2),
    doc="What floor division leaves; it has the sign of the divisor.",
)
elementwise(
    "fmod",
    "fmod({0}, {1})",
    np.fmod,
    lambda g, y, a, b: (g, -(g * apply("trunc", a / b))),
    dtype=rules.numeric,
    domain=(0.5, 2),
    doc="What division rounded towards 0 leaves; it has the sign of the dividend.",
)
elementwise(
    "trunc_divide",
    "trunc_divide({0}, {1})",
    special.trunc_divide,
    nothing,
    dtype=rules.whole,
    public=False,
    doc="Quotient of integers, rounded towards 0; 0 by 0.",
)
elementwise(
    "pow",
    "power({0}, {1})",
    np.power,
    power_grad,
    dtype=rules.floating,
    domain=(0.5, 2),
    doc="a to the power of b.",
)
elementwise("maximum", "maximum({0}, {1})", np.maximum, share("lt"), dtype=rules.keep, doc="The larger; nan wins.")
elementwise("minimum", "minimum({0}, {1})", np.minimum, share("gt"), dtype=rules.keep, doc="The smaller; nan wins.")
elementwise(
    "relu",
    "maximum({0}, {T}(0))",
    lambda a: np.maximum(a, a.dtype.type(0)),
    lambda g, y, a: (only(a > 0, g),),
    doc="max(x, 0).",
)


def comparison(name: str, sign: str, numpy: Callable[..., Any], doc: str) -> None:
    elementwise(name, f"({{0}} {sign} {{1}})", numpy, nothing, dtype=rules.truth, doc=doc)


comparison("eq", "==", np.equal, "True where equal; nan is not equal to itself.")
comparison("ne", "!=", np.not_equal, "True where different.")
comparison("lt", "<", np.less, "True where the first is smaller.")
comparison("le", "<=", np.less_equal, "True where the first is smaller or equal.")
comparison("gt", ">", np.greater, "True where the first is larger.")
comparison("ge", ">=", np.greater_equal, "True where the first is larger or equal.")
elementwise("logical_and", "({0} & {1})", np.logical_and, nothing, dtype=rules.logical, doc="Both.")
elementwise("logical_or", "({0} | {1})", np.logical_or, nothing, dtype=rules.logical, doc="One or both.")
elementwise("logical_xor", "({0} ^ {1})", np.logical_xor, nothing, dtype=rules.logical, doc="Just one.")
elementwise("logical_not", "logical_not({0})", np.logical_not, nothing, dtype=rules.logical, doc="Not.")
elementwise("isnan", "({0} != {0})", np.isnan, nothing, dtype=rules.truth, doc="True where the value is nan.")
elementwise(
    "where",
    "select({0}, {1}, {2})",
    np.where,
    lambda g, y, c, a, b: (None, only(c, g), where(c, like(g, 0), g)),
    dtype=rules.second,
    public=False,
    doc="The second operand where the first is true, else the third.",
)


elementwise(
    "abs",
    "absolute({0})",
    np.abs,
    lambda g, y, a: (where(a > 0, g, where(a < 0, -g, like(g, 0))),),
    doc="Absolute value.",
)
elementwise("sign", "sign({0})", special.sign, level, doc="1, 0 or -1; 0 of nan.")
elementwise(
    "signbit", "signbit({0})", np.signbit, nothing, dtype=rules.float_truth, doc="True where the sign is minus."
)
elementwise(
    "copysign",
    "copysign({0}, {1})",
    np.copysign,
    lambda g, y, a, b: (g * apply("sign", a) * apply("sign", y), like(g, 0)),
    dtype=rules.floating,
    doc="The size of the first with the sign of the second.",
)
elementwise(
    "nextafter",
    "nextafter({0}, {1})",
    np.nextafter,
    lambda g, y, a, b: (g, None),
    dtype=rules.full_precision,
    doc="The number next to the first in the direction of the second.",
)
for _name, _numpy, _doc in (
    ("floor", np.floor, "Largest whole number below."),
    ("ceil", np.ceil, "Smallest whole number above."),
    ("round", np.round, "Nearest whole number, halves to even."),
    ("trunc", np.trunc, "Whole number next towards 0."),
):
    elementwise(_name, f"{_name}({{0}})", _numpy, level, dtype=rules.floating, doc=_doc)

elementwise(
    "cast",
    "to_{to}({0})",
    lambda a, to: dt.converted(a, to.numpy),
    lambda g, y, a: (cast(g, a.dtype) if a.dtype.is_float else None,),
    dtype=rules.target,
    public=False,
    examples=tuple({"to": d} for d in dt.BY_NAME.values()),
    doc="The same values in another dtype.",
)
elementwise(
    "detach",
    "{0}",
    lambda a: a,
    nothing,
    dtype=rules.held,
    transparent=True,
    public=False,
    doc="The same value; no gradient passes.",
)
elementwise(
    "mark",
    "{0}",
    lambda a, uid: a,
    lambda g, y, a: (g,),
    dtype=rules.held,
    transparent=True,
    public=False,
    examples=({"uid": 0},),
    doc="The same value under a name of its own: gradients are asked for it, not for its source.",
)
elementwise(
    "philox",
    "philox({0}, {1})",
    philox,
    nothing,
    dtype=rules.integers,
    costly=True,
    public=False,
    doc="Random 32 bits from (key, counter), the same on every device.",
)
