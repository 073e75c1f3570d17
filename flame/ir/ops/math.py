# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
"""Mathematical functions of floats: exponentials, circular and hyperbolic functions, error and gamma functions."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from flame.ir import dtype as dt
from flame.ir import rules, special
from flame.ir.node import Node, apply, cast, like, where
from flame.ir.op import Grads
from flame.ir.ops.elementwise import elementwise


def rsqrt(a: Node) -> Node:
    return apply("rsqrt", a)


def smooth(name: str, numpy: Callable[..., Any], grad: Callable[..., Any], doc: str, **more: Any) -> None:
    """An operator of one float; `grad(g, y, a)` is one Node."""
    rule = lambda g, y, a: (grad(g, y, a),)  # noqa: E731  a table reads better in one line
    elementwise(name, f"{name}({{0}})", numpy, rule, dtype=rules.floating, doc=doc, costly=True, **more)


smooth("exp", np.exp, lambda g, y, a: g * y, "e to the power of x.")
smooth("exp2", np.exp2, lambda g, y, a: g * y * math.log(2), "2 to the power of x.")
smooth("expm1", np.expm1, lambda g, y, a: g * (y + 1), "exp(x) - 1, exact for small x.")
smooth("log", np.log, lambda g, y, a: g / a, "Natural logarithm.", domain=(0.5, 2))
smooth("log2", np.log2, lambda g, y, a: g / (a * math.log(2)), "Logarithm to base 2.", domain=(0.5, 2))
smooth("log10", np.log10, lambda g, y, a: g / (a * math.log(10)), "Logarithm to base 10.", domain=(0.5, 2))
smooth("log1p", np.log1p, lambda g, y, a: g / (a + 1), "log(1 + x), exact for small x.", domain=(-0.5, 2))
smooth("sqrt", np.sqrt, lambda g, y, a: g / (y + y), "Square root.", domain=(0.5, 2))
smooth("rsqrt", lambda a: 1 / np.sqrt(a), lambda g, y, a: g * y * y * y * -0.5, "1 / sqrt(x).", domain=(0.5, 2))
smooth("tanh", np.tanh, lambda g, y, a: g * (like(y, 1) - y * y), "Hyperbolic tangent.")
smooth("sigmoid", lambda a: 1 / (1 + np.exp(-a)), lambda g, y, a: g * y * (like(y, 1) - y), "1 / (1 + exp(-x)).")
smooth("erf", special.erf, lambda g, y, a: g * apply("exp", -(a * a)) * (2 / math.sqrt(math.pi)), "Error function.")
smooth("sin", np.sin, lambda g, y, a: g * apply("cos", a), "Sine of x in radians.")
smooth("cos", np.cos, lambda g, y, a: -(g * apply("sin", a)), "Cosine of x in radians.")
smooth(
    "erfc",
    special.erfc,
    lambda g, y, a: g * apply("exp", -(a * a)) * (-2 / math.sqrt(math.pi)),
    "1 - erf(x), exact where that is small.",
)
smooth(
    "erfinv",
    special.erfinv,
    lambda g, y, a: g * apply("exp", y * y) * (math.sqrt(math.pi) / 2),
    "The inverse of the error function.",
    domain=(-0.9, 0.9),
)
smooth("tan", np.tan, lambda g, y, a: g * (y * y + 1), "Tangent of x in radians.", domain=(-1, 1))
smooth("asin", np.arcsin, lambda g, y, a: g * rsqrt(-(a * a) + 1), "Inverse sine.", domain=(-0.9, 0.9))
smooth("acos", np.arccos, lambda g, y, a: -(g * rsqrt(-(a * a) + 1)), "Inverse cosine.", domain=(-0.9, 0.9))
smooth("atan", np.arctan, lambda g, y, a: g / (a * a + 1), "Inverse tangent.")
smooth("sinh", np.sinh, lambda g, y, a: g * apply("cosh", a), "Hyperbolic sine.")
smooth("cosh", np.cosh, lambda g, y, a: g * apply("sinh", a), "Hyperbolic cosine.")
smooth("asinh", np.arcsinh, lambda g, y, a: g * rsqrt(a * a + 1), "Inverse hyperbolic sine.")
smooth("acosh", np.arccosh, lambda g, y, a: g * rsqrt(a * a - 1), "Inverse hyperbolic cosine.", domain=(1.2, 3))
smooth("atanh", np.arctanh, lambda g, y, a: g / (-(a * a) + 1), "Inverse hyperbolic tangent.", domain=(-0.9, 0.9))
smooth("lgamma", special.lgamma, lambda g, y, a: g * digamma(a), "Logarithm of the size of the gamma function.",
       domain=(0.5, 3))  # fmt: skip


# --- of two floats ----------------------------------------------------------------------------------------------------
def two(name: str, scalar: str, numpy: Callable[..., Any], grad: Callable[..., Grads], doc: str, **more: Any) -> None:
    elementwise(name, scalar, numpy, grad, dtype=rules.floating, doc=doc, costly=True, **more)


def atan2_grad(g: Node, y: Node, a: Node, b: Node) -> Grads:
    size = a * a + b * b
    size = where(apply("eq", size, like(size, 0)), like(size, 1), size)  # 0 at the origin
    return g * b / size, -(g * a / size)


def logaddexp_grad(scale: float) -> Callable[..., Grads]:
    """Each operand's share of the sum."""
    return lambda g, y, a, b: (
        g * apply("sigmoid", (a - b) * scale),
        g * apply("sigmoid", (b - a) * scale),
    )


def xlogy_grad(logarithm: str, shift: float) -> Callable[..., Grads]:
    """Where a is 0 and the logarithm has no value, the gradient of a is 0, as in PyTorch."""

    def grad(g: Node, y: Node, a: Node, b: Node) -> Grads:
        inside = b + shift if shift else b
        none = apply("eq", a, like(a, 0)) & apply("le", inside, like(b, 0))
        return where(none, like(g, 0), g * apply(logarithm, b)), g * a / inside

    return grad


def times_log(logarithm: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """x * log(y), which is 0 where x is, unless y is nan."""
    return lambda a, b: np.where((a == 0) & (b == b), a.dtype.type(0), a * logarithm(b))


def logit_grad(g: Node, y: Node, a: Node) -> Grads:
    inside = (a >= 0) & apply("le", a, like(a, 1))
    return (where(inside, g / (a * (-a + 1)), like(g, math.nan)),)


NOTHING_OF_IT = "select(({{0}} == {{T}}(0)) & ({{1}} == {{1}}), {{T}}(0), {{0}} * {logarithm}({{1}}))"

two("atan2", "atan2({0}, {1})", np.arctan2, atan2_grad, "Angle of the point (second, first).", domain=(0.5, 2))
two("hypot", "hypot({0}, {1})", np.hypot, lambda g, y, a, b: (g * (a / y), g * (b / y)), "sqrt(a * a + b * b).")
two(
    "logaddexp",
    f"select({{0}} == {{1}}, {{0}} + {{T}}({math.log(2)}), "
    "maximum({0}, {1}) + log1p(exp(-absolute({0} - {1}))))",
    np.logaddexp,
    logaddexp_grad(1),
    "log(exp(a) + exp(b)).",
)
two(
    "logaddexp2",
    "select({0} == {1}, {0} + {T}(1), maximum({0}, {1}) + log1p(exp2(-absolute({0} - {1})))"
    f" * {{T}}({1 / math.log(2)}))",
    np.logaddexp2,
    logaddexp_grad(math.log(2)),
    "log2(2**a + 2**b).",
)
two(
    "xlogy",
    NOTHING_OF_IT.format(logarithm="log"),
    times_log(np.log),
    xlogy_grad("log", 0),
    "a * log(b), and 0 where a is 0.",
    domain=(0.5, 2),
)
two(
    "xlog1py",
    NOTHING_OF_IT.format(logarithm="log1p"),
    times_log(np.log1p),
    xlogy_grad("log1p", 1),
    "a * log(1 + b), and 0 where a is 0.",
    domain=(0.5, 2),
)
elementwise(
    "logit",
    "log({0} / ({T}(1) - {0}))",
    lambda a: np.log(a / (1 - a)),
    logit_grad,
    dtype=rules.floating,
    public=False,
    domain=(0.1, 0.9),
    doc="The inverse of the sigmoid.",
)


# --- the derivative of lgamma, in operators there are -----------------------------------------------------------------
BERNOULLI = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)  # B(2k) / 2k
SHIFT = 10  # the asymptotic series is exact in float64 from there on


def digamma(a: Node) -> Node:
    """The logarithmic derivative of the gamma function: reflected to x >= 1/2, moved up by ten, then its series."""
    if a.dtype.size < 4:
        return cast(digamma(cast(a, dt.float32)), a.dtype)
    left = a < 0.5
    x = where(left, -a + 1, a)
    below = like(a, 1) / x
    for k in range(1, SHIFT):
        below = below + like(a, 1) / (x + k)
    z = x + SHIFT
    inverse = like(a, 1) / (z * z)
    series = inverse * BERNOULLI[-1]
    for coefficient in reversed(BERNOULLI[:-1]):
        series = (series + coefficient) * inverse
    right = apply("log", z) - like(a, 0.5) / z - series - below
    fraction = apply("fmod", a, like(a, 1))  # all that pi / tan(pi x) needs, with the sign of a zero
    turn = where(left, fraction, like(a, 0.5)) * math.pi
    cotangent = where(left, like(a, math.pi) / apply("tan", turn), like(a, 0))
    whole = left & apply("eq", a, apply("trunc", a)) & apply("ne", a, like(a, 0))
    return where(whole, like(a, math.nan), right - cotangent)
