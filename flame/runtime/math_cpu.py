"""The float32 mathematics of CPU kernels as branch-free LLVM code, so that loops over it vectorise.

Every polynomial was fitted for FLAME by weighted least squares (Lawson's iteration) over its reduced range; the tests
compare each function with numpy's float64 over all exponents.
"""

from dataclasses import dataclass
from math import inf, log, nan, pi

from llvmlite import ir

F32, F64, I1, I32, I64 = ir.FloatType(), ir.DoubleType(), ir.IntType(1), ir.IntType(32), ir.IntType(64)
ACCESS_GROUP = "flame.access"  # cpu_compile turns this metadata into a distinct node: see prelude_cpu
TILE_GROUP = "flame.tile"  # and this one: see tile_cpu
KEEP = ("contract",)  # Numba adds its fast-math flags only where none are set


@dataclass(frozen=True, slots=True)
class Value:
    """An LLVM value that Python's operators act upon; the other operand may be a Python number."""

    builder: ir.IRBuilder
    value: ir.Value

    @property
    def type(self):
        return self.value.type

    @property
    def is_integer(self) -> bool:
        return isinstance(self.value.type, ir.IntType)

    def const(self, number) -> "Value":
        return Value(self.builder, constant(self.type, number))

    def _apply(self, integer: str, floating: str, other) -> "Value":
        right = other.value if isinstance(other, Value) else constant(self.type, other)
        if self.is_integer:
            return Value(self.builder, getattr(self.builder, integer)(self.value, right))
        return Value(self.builder, getattr(self.builder, floating)(self.value, right, flags=KEEP))

    def __add__(self, other):
        return self._apply("add", "fadd", other)

    def __sub__(self, other):
        return self._apply("sub", "fsub", other)

    def __mul__(self, other):
        return self._apply("mul", "fmul", other)

    def __truediv__(self, other):
        return self._apply("sdiv", "fdiv", other)

    def __neg__(self):
        return Value(self.builder, self.builder.fneg(self.value, flags=KEEP))

    def __and__(self, other):
        return self._apply("and_", "", other)

    def __or__(self, other):
        return self._apply("or_", "", other)

    def __xor__(self, other):
        return self._apply("xor", "", other)

    def __lshift__(self, other):
        return self._apply("shl", "", other)

    def __rshift__(self, other):
        """Of an integer as unsigned; `arithmetic_shift` keeps the sign."""
        return self._apply("lshr", "", other)

    def arithmetic_shift(self, count: int):
        return self._apply("ashr", "", count)

    def is_(self, relation: str, other) -> "Value":
        """A comparison; of floats it is false where an operand is nan."""
        right = other.value if isinstance(other, Value) else constant(self.type, other)
        compare = self.builder.icmp_signed if self.is_integer else self.builder.fcmp_ordered
        return Value(self.builder, compare(relation, self.value, right))

    def where(self, yes, no) -> "Value":
        """`yes` where this condition holds, else `no`; one of them is a Value."""
        kind = (yes if isinstance(yes, Value) else no).type
        chosen = [x.value if isinstance(x, Value) else constant(kind, x) for x in (yes, no)]
        return Value(self.builder, self.builder.select(self.value, *chosen))

    def to(self, kind, how: str) -> "Value":
        """Converted by the LLVM instruction `how`: bitcast, fpext, trunc, ..."""
        return Value(self.builder, getattr(self.builder, how)(self.value, kind))

    def call(self, name: str, *others: "Value") -> "Value":
        """An LLVM intrinsic of operands and result of one type."""
        kinds = [self.type] * (1 + len(others))
        function = self.builder.module.declare_intrinsic(name, (self.type,), ir.FunctionType(self.type, kinds))
        return Value(self.builder, self.builder.call(function, [self.value, *(o.value for o in others)]))

    def library(self, name: str, *others: "Value") -> "Value":
        """A function of the C library, `name` for doubles, with an f behind it for floats."""
        name += "f" if self.type == F32 else ""
        module = self.builder.module
        function = module.globals.get(name)
        if function is None:
            function = ir.Function(module, ir.FunctionType(self.type, [self.type] * (1 + len(others))), name)
        return Value(self.builder, self.builder.call(function, [self.value, *(o.value for o in others)]))


def constant(kind, number) -> ir.Constant:
    """A number as an LLVM constant; llvmlite prints a float's exact bits."""
    if isinstance(kind, ir.IntType):
        bits = 1 << kind.width
        number = int(number) % bits
    return ir.Constant(kind, number)


def fma(x: Value, y, z) -> Value:
    """x * y + z, fused where the machine can."""
    y, z = (o if isinstance(o, Value) else x.const(o) for o in (y, z))
    return x.call("llvm.fmuladd", y, z)


def polynomial(x: Value, coefficients) -> Value:
    """By Horner's rule, the coefficient of the lowest power first."""
    *rest, last = coefficients
    result = x.const(last)
    for c in reversed(rest):
        result = fma(result, x, c)
    return result


def absolute(x: Value) -> Value:
    """|x|."""
    return x.call("llvm.fabs")


def copysign(x: Value, sign: Value) -> Value:
    """The magnitude of x with the sign of another."""
    return x.call("llvm.copysign", sign)


def clamp(x: Value, low: float, high: float) -> Value:
    """Between two numbers; nan stays nan."""
    x = x.is_("<", low).where(low, x)
    return x.is_(">", high).where(high, x)


# exp(r) = 1 + r + r^2 EXP(r) for |r| <= ln(2)/2.
EXP = (0.5, 0.1666666716337204, 0.041666265577077866, 0.008333263918757439, 0.001394636812619865,
       0.00019918783800676465)  # fmt: skip
LOG2E = 1.0 / log(2.0)
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4
ROUND32, ROUND32_BITS = 12582912.0, 0x4B400000  # adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits


def _exp_reduced(y: Value, log2e: float, high: float, low: float) -> tuple[Value, Value]:
    """(n, exp(r) - 1) where y = n ln(2) + r (or y = n + r / ln(2) for base two)."""
    shifted = fma(y, log2e, ROUND32)
    n = shifted - ROUND32
    r = fma(n, -high, y)
    r = r * log(2.0) if low == 0.0 else fma(n, -low, r)
    return shifted.to(I32, "bitcast") - ROUND32_BITS, fma(r * r, polynomial(r, EXP), r)


def _power_of_two(n: Value) -> Value:
    return ((n + 127) << 23).to(F32, "bitcast")


def _scale(x: Value, n: Value) -> Value:
    """x * 2^n in two steps: 2^n itself may be no float32 where the product is."""
    half = n.arithmetic_shift(1)
    return x * _power_of_two(half) * _power_of_two(n - half)


def exp(x: Value) -> Value:
    """e^x; where it is 0, as for a masked score, no product on the way is subnormal: each would take 100 cycles."""
    gone = x.is_("<", -104.0)
    n, tail = _exp_reduced(clamp(gone.where(0.0, x), -104.0, 88.8), LOG2E, LN2_HIGH, LN2_LOW)
    return gone.where(0.0, _scale(tail + 1.0, n))


def half_exp(x: Value) -> Value:
    """e^x / 2, which is finite a little longer; for x >= 0."""
    n, tail = _exp_reduced(clamp(x, 0.0, 89.5), LOG2E, LN2_HIGH, LN2_LOW)
    return _scale(tail + 1.0, n - 1)


def exp2(x: Value) -> Value:
    """2^x."""
    n, tail = _exp_reduced(clamp(x, -151.0, 128.5), 1.0, 1.0, 0.0)
    return _scale(tail + 1.0, n)


def expm1(x: Value) -> Value:
    """Exact in relative terms near zero: 2^n (exp(r) - 1) + (2^n - 1)."""
    n, tail = _exp_reduced(clamp(x, -30.0, 88.8), LOG2E, LN2_HIGH, LN2_LOW)
    half = _power_of_two(n - 1)  # 2^128 is no float32
    half = fma(tail, half, half - 0.5)
    return copysign(half + half, x)


def tanh(x: Value) -> Value:
    """From expm1, which keeps small arguments exact."""
    e = expm1(clamp(x + x, -30.0, 30.0))
    return copysign(e / (e + 2.0), x)


def sigmoid(x: Value) -> Value:
    """1 / (1 + e^-x), from the side that cannot overflow."""
    e = exp(-absolute(x))
    return x.is_("<", 0.0).where(e, 1.0) / (e + 1.0)


# log(1 + f) = f - f^2/2 + f^3 LOG(f) for sqrt(1/2) <= 1 + f < sqrt(2).
LOG = (0.3333331048488617, -0.24999986588954926, 0.20002226531505585, -0.16669249534606934, 0.14218655228614807,
       -0.12384369969367981, 0.11873016506433487, -0.11789695918560028, 0.06915146857500076)  # fmt: skip
ROOT_HALF_BITS = 0x3F3504F3


def _log_reduced(x: Value) -> tuple[Value, Value, Value]:
    """(e, f, log(1 + f) - f) where x = 2^e (1 + f)."""
    tiny = x.is_("<", 2.0**-126)
    i = tiny.where(x * 2.0**23, x).to(I32, "bitcast") - ROOT_HALF_BITS
    e = i.arithmetic_shift(23).to(F32, "sitofp") - tiny.where(x.const(23.0), 0.0)
    f = ((i & 0x7FFFFF) + ROOT_HALF_BITS).to(F32, "bitcast") - 1.0
    square = f * f
    return e, f, fma(square * f, polynomial(f, LOG), square * -0.5)


def _log_special(x: Value, result: Value) -> Value:
    result = x.is_("<", inf).where(result, x)  # infinity, and nan
    result = x.is_("==", 0.0).where(-inf, result)
    return x.is_("<", 0.0).where(nan, result)


def log_(x: Value) -> Value:
    """The natural logarithm."""
    e, f, tail = _log_reduced(x)
    return _log_special(x, fma(e, LN2_HIGH, f + fma(e, LN2_LOW, tail)))


def log2(x: Value) -> Value:
    """The logarithm to base two, exact at powers of two."""
    e, f, tail = _log_reduced(x)
    small = fma(tail, LOG2E - 1.0, f * (LOG2E - 1.0))
    return _log_special(x, small + tail + f + e)


LG2_HIGH, LG2_LOW = 0.30078125, 0.00024874566370919  # log10(2): its product with an exponent is exact


def log10(x: Value) -> Value:
    """The logarithm to base ten."""
    e, f, tail = _log_reduced(x)
    low = fma(tail, 1.0 / log(10.0), e * LG2_LOW)
    return _log_special(x, fma(e, LG2_HIGH, fma(f, 1.0 / log(10.0), low)))


def log1p(x: Value) -> Value:
    """log(1 + x) and what 1 + x lost in rounding."""
    u = x + 1.0
    lost = (x - (u - 1.0)) / u
    whole = log_(u)
    inside = u.is_(">", 0.0) & u.is_("<", inf)
    return copysign(inside.where(whole + lost, whole), x)


# erf(x) = x + x ERF(x^2) for |x| < 0.9375; 1 - exp(-t - t ERFC(t)) above.
ERF = (0.12837916612625122, -0.37612631916999817, 0.1128367930650711, -0.02685849741101265, 0.005198829807341099,
       -0.0008118075202219188, 8.2674618170131e-05)  # fmt: skip
ERFC = (0.12845379114151, 0.6361561417579651, 0.10402955859899521, -0.021071642637252808, 0.0016568433493375778,
        0.0005835014744661748, -0.00023783172946423292, 3.752669726964086e-05, -2.360254256927874e-06)  # fmt: skip


def erf(x: Value) -> Value:
    """The error function."""
    square = x * x
    near = fma(x, polynomial(square, ERF), x)
    t = clamp(absolute(x), 0.0, 4.0)
    far = x.const(1.0) - exp(-fma(t, polynomial(t, ERFC), t))
    return copysign(absolute(x).is_("<", 0.9375).where(near, far), x)


# sin(r) = r + r^3 SIN(r^2), cos(r) = 1 - r^2/2 + r^4 COS(r^2) for |r| <= pi/4.
SIN = (-0.1666666716337204, 0.008333329111337662, -0.00019839327433146536, 2.71823728326126e-06)
COS = (0.0416666679084301, -0.0013888883404433727, 2.479951217537746e-05, -2.7209540576222935e-07)
HALF_PI_HIGH, HALF_PI_LOW = pi / 2, 6.123233995736766e-17
ROUND64 = 1.5 * 2.0**52
HUGE = 2.0**40


def _pi(bits: int) -> int:
    """floor(pi * 2^bits), by Machin's formula."""

    def arctan_inverse(n):
        one = 1 << (bits + 16)
        total, term, k = 0, one // n, 1
        while term:
            total += term // k if k % 4 == 1 else -(term // k)
            term //= n * n
            k += 2
        return total

    return 4 * (4 * arctan_inverse(5) - arctan_inverse(239)) >> 16


TURNS = [(1 << (64 + k + 320)) // (2 * _pi(320)) % (1 << 64) for k in range(105)]  # 2^k radians, in 2^-64 of a turn


def _reduce_huge(x: Value) -> Value:
    """x radians less whole turns, for |x| >= 2^24: x is an integer times 2^k, and the turns of 2^k are tabled."""
    kind = ir.ArrayType(I64, len(TURNS))
    table = x.builder.module.globals.get("flame.turns")
    if table is None:
        table = ir.GlobalVariable(x.builder.module, kind, "flame.turns")
        table.linkage, table.global_constant = "internal", True
        table.initializer = ir.Constant(kind, [ir.Constant(I64, t) for t in TURNS])
    bits = absolute(x).to(I32, "bitcast")
    k = (bits >> 23) - 150
    k = k.is_("<", 0).where(0, k)
    k = k.is_(">", len(TURNS) - 1).where(len(TURNS) - 1, k)
    at = x.builder.gep(table, [ir.Constant(I64, 0), k.to(I64, "zext").value], inbounds=True)
    entry = x.builder.load(at)
    entry.set_metadata("llvm.access.group", x.builder.module.add_metadata([ACCESS_GROUP]))
    mantissa = ((bits & 0x7FFFFF) | 0x800000).to(I64, "zext")
    turns = (mantissa * Value(x.builder, entry)).to(F64, "sitofp") * 2.0**-64
    return x.is_("<", 0.0).where(-turns, turns) * (2.0 * pi)


def sine_and_cosine(x: Value) -> tuple[Value, Value, Value]:
    """(sin(r), cos(r), n) where x = n pi/2 + r, |r| <= pi/4; the argument is reduced in float64."""
    wide = (absolute(x).is_("<", HUGE)).where(x.to(F64, "fpext"), _reduce_huge(x))
    shifted = fma(wide, 2.0 / pi, ROUND64)
    n = shifted - ROUND64
    r = (-n).call("llvm.fma", n.const(HALF_PI_HIGH), wide)
    r = (-n).call("llvm.fma", n.const(HALF_PI_LOW), r).to(F32, "fptrunc")
    square = r * r
    odd = fma(square * r, polynomial(square, SIN), r)
    even = fma(square * square, polynomial(square, COS), fma(square, -0.5, 1.0))
    return odd, even, shifted.to(I64, "bitcast").to(I32, "trunc")


def _sine(x: Value, quarters: int) -> Value:
    """sin(x + quarters * pi/2)."""
    odd, even, quarter = sine_and_cosine(x)
    quarter = quarter + quarters
    result = (quarter & 1).is_("==", 0).where(odd, even)
    result = (result.to(I32, "bitcast") ^ ((quarter & 2) << 30)).to(F32, "bitcast")
    return absolute(x).is_("<", inf).where(result, nan)


def sin(x: Value) -> Value:
    """Of any float32, however large."""
    return x.is_("==", 0.0).where(x, _sine(x, 0))  # fma(0, ., -0.0) is +0.0


def cos(x: Value) -> Value:
    """Of any float32, however large."""
    return _sine(x, 1)


FLOAT32 = {"exp": exp, "exp2": exp2, "expm1": expm1, "log": log_, "log2": log2, "log10": log10, "log1p": log1p,
           "tanh": tanh, "sigmoid": sigmoid, "erf": erf, "sin": sin, "cos": cos}  # fmt: skip


def sigmoid64(x: Value) -> Value:
    """The same in float64, by the C library."""
    e = (-absolute(x)).library("exp")
    return x.is_("<", 0.0).where(e, 1.0) / (e + 1.0)
