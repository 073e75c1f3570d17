"""Circular and hyperbolic functions and their inverses, and erfc and its inverse, for CPU kernels in float32.

As in math_cpu: branch-free, so that loops over them vectorise, with polynomials fitted for FLAME.
"""

from math import inf, log, nan, pi, sqrt

from flame.runtime import math_cpu
from flame.runtime.math_cpu import F64, Value, absolute, clamp, copysign, fma, polynomial

# tan(r) is the quotient of math_cpu's sine and cosine.


def tan(x: Value) -> Value:
    """Of any float32, however large."""
    odd, even, quarter = math_cpu.sine_and_cosine(x)
    turned = (quarter & 1).is_("==", 0)
    result = turned.where(odd, -even) / turned.where(even, odd)
    result = absolute(x).is_("<", inf).where(result, nan)
    return x.is_("==", 0.0).where(x, result)


# atan(z) = z + z^3 ATAN(z^2) for |z| <= tan(pi/8).
ATAN = (-0.33333316445350647, 0.19998468458652496, -0.14243480563163757, 0.10593396425247192, -0.060771118849515915)
WIDE = sqrt(2.0) + 1.0  # tan(3 pi/8)


def _atan_of_quotient(a: Value, b: Value) -> Value:
    """atan(a / b) of sizes, with one division: by the angles 0, pi/4 or pi/2 turned towards 0."""
    large, small = a.is_(">", b * WIDE), a.is_(">", b * (sqrt(2.0) - 1.0))
    above = large.where(-b, small.where(a - b, a))
    below = large.where(a, small.where(a + b, b))
    same = a.is_("==", b)  # 0 by 0, infinity by infinity
    z = same.where(0.0, above / below)
    base = large.where(a.const(pi / 2), small.where(a.const(pi / 4), 0.0))
    base = same.where(a.is_("==", 0.0).where(a.const(0.0), pi / 4), base)
    square = z * z
    return base + fma(square * z, polynomial(square, ATAN), z)


def atan(x: Value) -> Value:
    """The inverse tangent."""
    return copysign(_atan_of_quotient(absolute(x), x.const(1.0)), x)


def atan2(y: Value, x: Value) -> Value:
    """The angle of the point (x, y)."""
    a, b = absolute(y), absolute(x)
    scale = a.is_(">", 2.0**120).where(a.const(2.0**-8), b.is_(">", 2.0**120).where(a.const(2.0**-8), 1.0))
    turn = _atan_of_quotient(a * scale, b * scale)
    turn = copysign(x.const(1.0), x).is_("<", 0.0).where(turn.const(pi) - turn, turn)
    return copysign(turn, y)


# asin(z) = z + z^3 ASIN(z^2) for |z| <= 1/2.
ASIN = (0.16666659712791443, 0.07500503957271576, 0.04451695829629898, 0.03180769085884094, 0.014438697136938572,
        0.03751632943749428)  # fmt: skip


def _asin_parts(x: Value) -> tuple[Value, Value]:
    """(is |x| over a half, asin of |x|, or there of sqrt((1 - |x|) / 2))."""
    size = absolute(x)
    outer = size.is_(">", 0.5)
    rest = (size.const(1.0) - size) * 0.5
    z = outer.where(rest.call("llvm.sqrt"), size)
    square = outer.where(rest, size * size)
    return outer, fma(square * z, polynomial(square, ASIN), z)


def asin(x: Value) -> Value:
    """The inverse sine; nan outside [-1, 1]."""
    outer, part = _asin_parts(x)
    return copysign(outer.where(fma(part, -2.0, pi / 2), part), x)


def acos(x: Value) -> Value:
    """The inverse cosine; nan outside [-1, 1]."""
    outer, part = _asin_parts(x)
    below = x.is_("<", 0.0)
    double = part + part
    middle = part.const(pi / 2) - copysign(part, x)
    return outer.where(below.where(part.const(pi) - double, double), middle)


# sinh(x) = x + x^3 SINH(x^2) for |x| <= 1.
SINH = (0.1666666716337204, 0.008333349600434303, 0.0001983615948120132, 2.8169511097075883e-06)


def sinh(x: Value) -> Value:
    """(e^x - e^-x) / 2."""
    size, square = absolute(x), x * x
    half = math_cpu.half_exp(size)
    near = fma(square * x, polynomial(square, SINH), x)
    return size.is_("<", 1.0).where(near, copysign(half - half.const(0.25) / half, x))


def cosh(x: Value) -> Value:
    """(e^x + e^-x) / 2."""
    half = math_cpu.half_exp(absolute(x))
    return half + half.const(0.25) / half


HUGE = 1e10  # beyond, 1 vanishes beside x^2


def asinh(x: Value) -> Value:
    """log(x + sqrt(x^2 + 1)), by log1p where that cancels."""
    t = absolute(x)
    square = t * t
    more = square / ((square + 1.0).call("llvm.sqrt") + 1.0)
    large = t.is_(">", HUGE)
    return copysign(math_cpu.log1p(large.where(t, t + more)) + large.where(t.const(log(2.0)), 0.0), x)


def acosh(x: Value) -> Value:
    """log(x + sqrt(x^2 - 1)), by log1p where that cancels; nan below 1."""
    t = x - 1.0
    large = x.is_(">", HUGE)
    root = (t * (t + 2.0)).call("llvm.sqrt")
    result = math_cpu.log1p(large.where(x, t + root)) + large.where(x.const(log(2.0)), 0.0)
    return x.is_("<", 1.0).where(nan, result)


def atanh(x: Value) -> Value:
    """log((1 + x) / (1 - x)) / 2; nan outside [-1, 1]."""
    t = absolute(x)
    return copysign(math_cpu.log1p((t + t) / (t.const(1.0) - t)) * 0.5, x)


# erfc(x) = exp(-x^2) ERFCX((x - 2) / (x + 2)) for x >= 1/2.
ERFCX = (0.25539568066596985, -0.42718586325645447, 0.24165815114974976, -0.07897847145795822, 0.003733834018930793,
         0.006995631381869316, -0.0008538573747500777, -0.0009706553537398577, 6.421853322535753e-05,
         0.00014502168050967157)  # fmt: skip


def erfc(x: Value) -> Value:
    """1 - erf(x); above 1/2 by e^(-x^2), whose exponent is squared in float64."""
    t = clamp(x, 0.5, 10.5)
    wide = t.to(F64, "fpext")
    square = wide * wide
    high = square.to(x.type, "fptrunc")
    lost = (square - high.to(F64, "fpext")).to(x.type, "fptrunc")
    power = math_cpu.exp(-high)
    far = (power - power * lost) * polynomial((t - 2.0) / (t + 2.0), ERFCX)
    return x.is_("<", 0.5).where(x.const(1.0) - math_cpu.erf(x), far)


# erfinv(y) = y ERFINV(w - 2.5) for w = -log(1 - y^2) below 5, y TAIL(sqrt(w) - 3) above.
ERFINV = (1.5014094114303589, 0.24664027988910675, -0.004177386872470379, -0.0012527419021353126,
          0.00021834444487467408, -4.963347691955278e-06, -3.4627048535183168e-06, 4.6617066118415096e-07,
          2.3232642476500587e-08, -8.791055883250465e-09)  # fmt: skip
TAIL = (2.832977056503296, 1.0016741752624512, 0.0094356220215559, -0.0076253074221313, 0.005761802662163973,
        -0.003660129150375724, 0.0013002172345295548, 8.610080112703145e-05, -0.0001654220832278952)  # fmt: skip


def erfinv(y: Value) -> Value:
    """The inverse of erf (the variables are those of Giles, "Approximating the erfinv function", 2010)."""
    size = absolute(y)
    w = -math_cpu.log_((size.const(1.0) - size) * (size + 1.0))
    near = polynomial(w - 2.5, ERFINV)
    far = polynomial(w.call("llvm.sqrt") - 3.0, TAIL)
    result = y * w.is_("<", 5.0).where(near, far)
    return size.is_("==", 1.0).where(copysign(y.const(inf), y), result)


def hypot(x: Value, y: Value) -> Value:
    """sqrt(x^2 + y^2), squared in float64; infinite where one side is."""
    a, b = (v.to(F64, "fpext") for v in (x, y))
    result = fma(a, a, b * b).call("llvm.sqrt").to(x.type, "fptrunc")
    return (absolute(x).is_("==", inf) | absolute(y).is_("==", inf)).where(inf, result)


FLOAT32 = {"tan": tan, "asin": asin, "acos": acos, "atan": atan, "sinh": sinh, "cosh": cosh, "asinh": asinh,
           "acosh": acosh, "atanh": atanh, "erfc": erfc}  # fmt: skip


# --- what the C library has not, in float64 ---------------------------------------------------------------------------
def erfinv64(y: Value) -> Value:
    """Winitzki's estimate, then three steps of Halley's; near 1 of the complement, which does not cancel."""
    size = absolute(y)
    low = (-(size * size)).library("log1p")
    t = low * 0.5 + 2.0 / (pi * 0.147)
    x = ((-low) / 0.147 / ((t * t - low / 0.147).call("llvm.sqrt") + t)).call("llvm.sqrt")
    for _ in range(3):
        off = size.is_("<", 0.5).where(x.library("erf") - size, (size.const(1.0) - size) - x.library("erfc"))
        step = off * (x * x).library("exp") * (sqrt(pi) / 2)
        x = x - step / (x * step + 1.0)
    x = size.is_("==", 1.0).where(inf, x)
    return copysign(x, y)
