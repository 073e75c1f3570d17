"""The arithmetic of printed CUDA kernels as LLVM and PTX: combines, scalar functions, conversions, random words.

float32 uses a hardware approximation where it is good to about an ulp (ex2, sqrt, rsqrt, rcp) and libdevice elsewhere.
Denormal float32 results may flush to zero: kernels are compiled with ftz. An exponential is ex2(x * log2(e)), whose
relative error grows with |x|: 4e-7 near 0, 1e-6 at 20, 4e-6 at 87.
"""

from llvmlite import ir
from numba import types

from flame.runtime import float8
from flame.runtime.cuda_emit import (
    F32,
    F64,
    I1,
    I32,
    I64,
    VALUE,
    asm,
    capability,
    constant,
    library,
    round_bfloat16,
    round_float16,
    widen_bfloat16,
    widen_float16,
)

LOG2E = 1.4426950408889634
FLOATS = (F32, F64)


def is_signed(dtype: str) -> bool:
    """Whether a register dtype orders its bits as a signed number."""
    return dtype not in ("bool", "uint8")


# --- combines -----------------------------------------------------------------------------------
def neutral(operation: str, dtype: str, kind):
    """The constant that leaves any value unchanged, in LLVM type `kind` (which may be wider than the dtype)."""
    if operation in ("add", "logical_or") or (dtype == "bool" and operation == "maximum"):
        return constant(kind, 0)
    if operation in ("mul", "logical_and") or dtype == "bool":
        return constant(kind, 1)
    if kind in FLOATS:
        return constant(kind, float("-inf") if operation == "maximum" else float("inf"))
    bits = int(dtype.removeprefix("u").removeprefix("int"))
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if is_signed(dtype) else (0, 2**bits - 1)
    return constant(kind, least if operation == "maximum" else most)


def combine(b, operation: str, dtype: str, x, y, wide=None):
    """Two values as one; integers may be held in a wider LLVM type, extended by their sign."""
    if dtype == "bool":
        return b.or_(x, y) if operation in ("add", "maximum", "logical_or") else b.and_(x, y)
    if operation.startswith("logical"):
        truths = [truth(b, v) for v in (x, y)]
        both = b.or_(*truths) if operation == "logical_or" else b.and_(*truths)
        return b.uitofp(both, x.type) if x.type in FLOATS else b.zext(both, x.type)
    if operation in ("maximum", "minimum"):
        return extreme(b, operation, x, y, is_signed(dtype))
    if x.type in FLOATS:
        return b.fadd(x, y) if operation == "add" else b.fmul(x, y)
    return b.add(x, y) if operation == "add" else b.mul(x, y)


def extreme(b, operation, x, y, signed):
    """The larger or smaller of two numbers; nan where either is."""
    order = ">" if operation == "maximum" else "<"
    if x.type == I1:
        return b.or_(x, y) if operation == "maximum" else b.and_(x, y)
    if x.type not in FLOATS:
        compare = b.icmp_signed if signed else b.icmp_unsigned
        return b.select(compare(order, x, y), x, y)
    if x.type == F32 and capability() >= (8, 0):
        return asm(b, F32, f"{operation[:3]}.NaN.f32 $0, $1, $2;", "=f,f,f", [x, y], pure=True)
    chosen = b.select(b.fcmp_ordered(order, y, x), y, x)
    return b.select(b.fcmp_unordered("uno", y, y), y, chosen)


def truth(b, x):
    """Whether a value is not zero; nan is true."""
    if x.type == I1:
        return x
    return (
        b.fcmp_unordered("!=", x, constant(x.type, 0))
        if x.type in FLOATS
        else b.icmp_unsigned("!=", x, constant(x.type, 0))
    )


# --- functions of one float -----------------------------------------------------------------------
def ptx(text, before=1.0):
    """float32 through one instruction, its operand scaled first."""

    def emit(b, x):
        x = x if before == 1.0 else b.fmul(x, constant(F32, before))
        return asm(b, F32, f"{text} $0, $1;", "=f,f", [x], pure=True)

    return emit


def device(name):
    """A function of libdevice."""
    return lambda b, x: library(b, name, x)


def sigmoid32(b, x):
    """1 / (1 + 2^(-x log2 e)) with two hardware approximations; 0 at -inf, 1 at inf."""
    e = ptx("ex2.approx.ftz.f32", -LOG2E)(b, x)
    return ptx("rcp.approx.ftz.f32")(b, b.fadd(e, constant(F32, 1.0)))


def sigmoid64(b, x):
    """1 / (1 + exp(-x))."""
    one = constant(F64, 1.0)
    return b.fdiv(one, b.fadd(one, library(b, "__nv_exp", b.fsub(constant(F64, -0.0), x))))


UNARY = {  # name: float32, float64
    "exp": (ptx("ex2.approx.ftz.f32", LOG2E), device("__nv_exp")),
    "exp2": (ptx("ex2.approx.ftz.f32"), device("__nv_exp2")),
    "sqrt": (ptx("sqrt.approx.ftz.f32"), device("__nv_sqrt")),
    "rsqrt": (ptx("rsqrt.approx.ftz.f32"), device("__nv_rsqrt")),
    "sigmoid": (sigmoid32, sigmoid64),
}
UNARY |= {  # lg2.approx loses everything near 1, sin.approx far from 0, tanh.approx has 11 bits: libdevice
    name: (device(f"__nv_{name}f"), device(f"__nv_{name}"))
    for name in (
        "log", "log2", "log10", "log1p", "expm1", "tanh", "erf", "erfc", "erfinv", "lgamma", "sin", "cos", "tan",
        "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "floor", "ceil", "trunc",
    )
}  # fmt: skip
UNARY["round"] = (device("__nv_rintf"), device("__nv_rint"))


def unary(name: str):
    """The typing rule of a function of one float: (argument types) -> (result, argument types, emitter)."""
    single, double = UNARY[name]

    def rule(x):
        kind = types.float64 if x == types.float64 else types.float32
        chosen = double if kind == types.float64 else single
        return kind, (kind,), lambda b, values, context, signature: chosen(b, values[0])

    return rule


# --- functions of several values ------------------------------------------------------------------
def same(*given):
    """The one register type of operands: the widest float, else the widest integer."""
    given = [types.unliteral(t) for t in given]
    floats = [t for t in given if isinstance(t, types.Float)]
    return max(floats or given, key=lambda t: getattr(t, "bitwidth", 1))


def by_operands(emit, result=None):
    """A rule for functions whose operands have one type: `emit(b, type, *values)`."""

    def rule(*given):
        kind = same(*given)
        out = result or kind
        return out, (kind,) * len(given), lambda b, values, context, signature: emit(b, kind, *values)

    return rule


def select_rule(condition, x, y):
    """`select(c, a, b)`: no branch."""
    kind = same(x, y)
    return kind, (types.boolean, kind, kind), lambda b, values, context, signature: b.select(*values)


def absolute(b, kind, x):
    """The magnitude; the least integer stays itself."""
    if x.type in FLOATS:
        return library(b, "__nv_fabsf" if x.type == F32 else "__nv_fabs", x)
    if x.type == I1 or not kind.signed:
        return x
    zero = constant(x.type, 0)
    return b.select(b.icmp_signed("<", x, zero), b.sub(zero, x), x)


def of_library(name: str):
    """A function of two floats of libdevice."""
    return lambda b, kind, x, y: library(b, f"__nv_{name}f" if x.type == F32 else f"__nv_{name}", x, y)


def sign(b, kind, x):
    """1, 0 or -1; 0 of nan."""
    zero, one = constant(x.type, 0), constant(x.type, 1)
    if x.type in FLOATS:
        down = b.select(b.fcmp_ordered("<", x, zero), constant(x.type, -1), zero)
        return b.select(b.fcmp_ordered(">", x, zero), one, down)
    if x.type == I1 or not kind.signed:
        return b.select(b.icmp_unsigned("!=", x, zero), one, zero)
    return b.select(b.icmp_signed(">", x, zero), one, b.ashr(x, constant(x.type, x.type.width - 1)))


def signbit(b, kind, x):
    """Whether the sign of a float is minus, that of a zero or nan too."""
    bits = b.bitcast(x, I32 if x.type == F32 else I64)
    return b.icmp_signed("<", bits, constant(bits.type, 0))


def isnan(b, kind, x):
    """Whether a float is nan; no integer is."""
    return b.fcmp_unordered("uno", x, x) if x.type in FLOATS else constant(I1, 0)


def _divide(b, kind, x, y):
    """Truncated quotient and remainder of integers, 0 and 0 by zero; the least number by -1 wraps."""
    zero, one = constant(x.type, 0), constant(x.type, 1)
    none = b.icmp_unsigned("==", y, zero)
    if x.type == I1 or not kind.signed:
        safe = b.select(none, one, y)
        quotient, remainder = b.udiv(x, safe), b.urem(x, safe)
    else:
        minus = b.icmp_signed("==", y, constant(x.type, -1))
        safe = b.select(b.or_(none, minus), one, y)
        quotient = b.sdiv(x, safe)
        remainder = b.sub(x, b.mul(quotient, safe))
        quotient = b.select(minus, b.sub(zero, x), quotient)
    return b.select(none, zero, quotient), b.select(none, zero, remainder)


def trunc_divide(b, kind, x, y):
    """The integer quotient rounded towards zero; 0 by zero."""
    return _divide(b, kind, x, y)[0]


def fmod(b, kind, x, y):
    """The remainder of division towards zero, with the sign of x; integers by zero give 0."""
    return of_library("fmod")(b, kind, x, y) if x.type in FLOATS else _divide(b, kind, x, y)[1]


def gcd(b, kind, x, y):
    """Euclid's algorithm on sizes: the one loop of this prelude."""
    before, test, turn, after = b.block, *(b.append_basic_block(f"gcd.{part}") for part in ("test", "turn", "after"))
    zero = constant(x.type, 0)
    start = [absolute(b, kind, v) for v in (x, y)]
    b.branch(test)
    b.position_at_end(test)
    large, small = b.phi(x.type), b.phi(x.type)
    b.cbranch(b.icmp_unsigned("!=", small, zero), turn, after)
    b.position_at_end(turn)
    rest = b.urem(large, small)  # the size of the least integer is right as an unsigned one
    b.branch(test)
    for phi, first, next_one in ((large, start[0], small), (small, start[1], rest)):
        phi.add_incoming(first, before)
        phi.add_incoming(next_one, turn)
    b.position_at_end(after)
    return large


def _in_width(b, x, count):
    """Whether a shift by `count` keeps bits, and the count made safe."""
    inside = b.icmp_unsigned("<", count, constant(x.type, x.type.width))
    return inside, b.select(inside, count, constant(x.type, 0))


def shift_left(b, kind, x, count):
    """x * 2**count; 0 for a count out of range."""
    inside, safe = _in_width(b, x, count)
    return b.select(inside, b.shl(x, safe), constant(x.type, 0))


def shift_right(b, kind, x, count):
    """x / 2**count rounded down; for a count out of range only the sign is left."""
    inside, safe = _in_width(b, x, count)
    if not kind.signed:
        return b.select(inside, b.lshr(x, safe), constant(x.type, 0))
    return b.ashr(x, b.select(inside, safe, constant(x.type, x.type.width - 1)))


def _floor_divide(b, kind, x, y):
    """Python's quotient and remainder of integers."""
    quotient, remainder = _divide(b, kind, x, y)
    if x.type == I1 or not kind.signed:
        return quotient, remainder
    zero = constant(x.type, 0)
    wrong = b.and_(b.icmp_signed("!=", remainder, zero), b.icmp_signed("<", b.xor(remainder, y), zero))
    below = b.select(wrong, constant(x.type, 1), zero)
    return b.sub(quotient, below), b.add(remainder, b.select(wrong, y, zero))


def _float_divide(b, x, y):
    """numpy's quotient and remainder of floats."""
    suffix = "f" if x.type == F32 else ""
    kind, zero = x.type, constant(x.type, 0.0)
    plain = b.fdiv(x, y)
    left = library(b, f"__nv_fmod{suffix}", x, y)
    some = b.fcmp_unordered("!=", left, zero)
    wrong = b.and_(some, b.xor(b.fcmp_ordered("<", y, zero), b.fcmp_ordered("<", left, zero)))
    exact = b.fdiv(b.fsub(x, left), y)
    exact = b.select(wrong, b.fsub(exact, constant(kind, 1.0)), exact)
    whole = library(b, f"__nv_floor{suffix}", exact)
    short = b.fcmp_ordered(">", b.fsub(exact, whole), constant(kind, 0.5))
    whole = b.select(short, b.fadd(whole, constant(kind, 1.0)), whole)
    nothing = library(b, f"__nv_copysign{suffix}", zero, plain)
    whole = b.select(b.fcmp_unordered("!=", exact, zero), whole, nothing)
    quotient = b.select(b.fcmp_ordered("==", y, zero), plain, whole)
    remainder = b.select(wrong, b.fadd(left, y), left)
    return quotient, b.select(some, remainder, library(b, f"__nv_copysign{suffix}", zero, y))


def floordiv(b, kind, x, y):
    """numpy's floor_divide; integers by zero give 0."""
    return (_float_divide(b, x, y) if x.type in FLOATS else _floor_divide(b, kind, x, y))[0]


def modulo(b, kind, x, y):
    """numpy's mod, with the sign of the divisor; integers by zero give 0."""
    return (_float_divide(b, x, y) if x.type in FLOATS else _floor_divide(b, kind, x, y))[1]


def unsigned(kind: str, bits: int):
    """Result, argument types and emitter of `udiv32`, `umod32`, `udiv64`, `umod64` on non-negative int64."""

    def emit(b, values, context, signature):
        x, y = (b.trunc(v, I32) if bits == 32 else v for v in values)
        z = b.udiv(x, y) if kind == "udiv" else b.urem(x, y)
        return b.zext(z, I64) if bits == 32 else z

    return types.int64, (types.int64, types.int64), emit


# --- conversions ----------------------------------------------------------------------------------
def cast(dtype: str):
    """The rule of `to_{dtype}`; narrow floats give the float32 nearest in that format."""
    to = VALUE[dtype]

    def rule(given):
        given = types.unliteral(given)

        def emit(b, values, context, signature):
            x = values[0]
            if dtype == "bool":
                return truth(b, x)
            if x.type in FLOATS and isinstance(to, types.Integer):
                return _float_to_integer(b, x, to)
            x = context.cast(b, x, given, to)
            if dtype == "bfloat16":
                return widen_bfloat16(b, round_bfloat16(b, x))
            if dtype in float8.FORMATS:
                return float8.decode(b, float8.encode(b, x, dtype), dtype, widen_float16)
            return widen_float16(b, round_float16(b, x)) if dtype == "float16" else x

        return to, (given,), emit

    return rule


def _float_to_integer(b, x, to):
    """Truncate; narrow integers wrap, as numpy's do."""
    kind = ir.IntType(to.bitwidth)
    return b.trunc(b.fptosi(x, I32), kind) if to.bitwidth < 32 else b.fptosi(x, kind)


def philox(b, values, context, signature):
    """Word `counter & 3` of Philox4x32-10 at counter words (counter >> 2, 0), as a number below 2**32."""
    key, counter = values
    place, which = b.lshr(counter, constant(I64, 2)), b.trunc(b.and_(counter, constant(I64, 3)), I32)
    words = [b.trunc(place, I32), b.trunc(b.lshr(place, constant(I64, 32)), I32), constant(I32, 0), constant(I32, 0)]
    low, high = b.trunc(key, I32), b.trunc(b.lshr(key, constant(I64, 32)), I32)
    for turn in range(10):
        if turn:
            low, high = b.add(low, constant(I32, 0x9E3779B9)), b.add(high, constant(I32, 0xBB67AE85))
        first = b.mul(b.zext(words[0], I64), constant(I64, 0xD2511F53))
        third = b.mul(b.zext(words[2], I64), constant(I64, 0xCD9E8D57))
        tops = [b.trunc(b.lshr(p, constant(I64, 32)), I32) for p in (third, first)]
        words = [
            b.xor(b.xor(tops[0], words[1]), low),
            b.trunc(third, I32),
            b.xor(b.xor(tops[1], words[3]), high),
            b.trunc(first, I32),
        ]
    out = words[3]
    for k in (2, 1, 0):
        out = b.select(b.icmp_unsigned("==", which, constant(I32, k)), words[k], out)
    return b.zext(out, I64)


RULES = {name: unary(name) for name in UNARY}
RULES |= {
    "select": select_rule,
    "absolute": by_operands(absolute),
    "isnan": by_operands(isnan, types.boolean),
    "sign": by_operands(sign),
    "signbit": by_operands(signbit, types.boolean),
    "power": by_operands(of_library("pow")),
    "fmod": by_operands(fmod),
    "gcd": by_operands(gcd),
    "shift_left": by_operands(shift_left),
    "shift_right": by_operands(shift_right),
    "floordiv": by_operands(floordiv),
    "modulo": by_operands(modulo),
    "trunc_divide": by_operands(trunc_divide),
    "maximum": by_operands(lambda b, kind, x, y: extreme(b, "maximum", x, y, getattr(kind, "signed", False))),
    "minimum": by_operands(lambda b, kind, x, y: extreme(b, "minimum", x, y, getattr(kind, "signed", False))),
}
RULES |= {name: by_operands(of_library(name)) for name in ("atan2", "hypot", "copysign", "nextafter")}
