"""The functions that printed CPU kernels call; the names of prelude_cuda, for one element at a time: LLVM vectorises.

Each is a Numba intrinsic that writes its LLVM instructions in place, so a kernel is one LLVM function without calls.
Loads and stores belong to one access group: cpu_compile promises LLVM that the rounds of a loop are independent of one
another. (Within a round their order stays, so an output may take the memory of an input of the same element.)
"""

import functools
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import boolean, float32, float64, int8, int16, int32, int64, types, uint8  # kernels name them
from numba.core.errors import TypingError
from numba.extending import intrinsic

from flame.runtime import circular_cpu, float8, math_cpu, tile_cpu
from flame.runtime.math_cpu import ACCESS_GROUP, F32, F64, I1, I32, I64, KEEP, Value

I8, I16, HALF = ir.IntType(8), ir.IntType(16), ir.HalfType()
MEMORY = {"bool": I8, "int8": I8, "uint8": I8, "int16": I16, "int32": I32, "int64": I64, "float16": I16,
          "bfloat16": I16, "float32": F32, "float64": F64, "float8_e4m3fn": I8, "float8_e5m2": I8}  # fmt: skip
REGISTER = {"bool": boolean, "int8": int8, "uint8": uint8, "int16": int16, "int32": int32, "int64": int64,
            "float16": float32, "bfloat16": float32, "float32": float32, "float64": float64,
            "float8_e4m3fn": float32, "float8_e5m2": float32}  # fmt: skip
LLVM = {"bool": I1, "int8": I8, "uint8": I8, "int16": I16, "int32": I32, "int64": I64, "float16": F32, "bfloat16": F32,
        "float32": F32, "float64": F64, "float8_e4m3fn": F32, "float8_e5m2": F32}  # fmt: skip

Emit = Callable[..., ir.Value]


def _intrinsic(name: str, result, arguments: tuple, emit: Emit):
    """A function of fixed types; `emit(builder, *values)` writes it and returns its value."""

    def rule(context, *given):
        def code(ctx, builder, signature, values):
            out = emit(builder, *values)
            return ctx.get_dummy_value() if out is None else out

        return result(*arguments), code

    return _with_arity(rule, name, len(arguments))


def _with_arity(rule, name: str, arity: int):
    """Numba reads the number of arguments from the typing function's signature."""
    names = [f"x{i}" for i in range(arity)]
    scope = {"rule": rule}
    exec(f"def {name}({', '.join(['context', *names])}): return rule({', '.join(['context', *names])})", scope)
    return intrinsic(scope[name])


def _generic(name: str, arity: int, emit: Callable[..., Value], *, accept=types.Number, result=None, same: int = 0):
    """A function of any type of `accept`: the operands from number `same` on meet in one type, also the result's."""

    def rule(context, *given):
        given = [types.unliteral(t) for t in given]
        kind = functools.reduce(lambda a, b: context.unify_types(a, b) if a else None, given[same:])
        if not isinstance(kind, (accept, types.Boolean)) or (accept is types.Float and kind is boolean):
            raise TypingError(f"{name}({', '.join(map(str, given))}) is not defined")

        def code(ctx, builder, signature, values):
            return emit(kind, *(Value(builder, v) for v in values)).value

        return (result or kind)(*given[:same], *[kind] * (arity - same)), code

    return _with_arity(rule, name, arity)


# Memory.


def _address(b: ir.IRBuilder, base, index, dtype: str):
    size = MEMORY[dtype].width // 8 if isinstance(MEMORY[dtype], ir.IntType) else 8 if dtype == "float64" else 4
    return b.gep(b.inttoptr(base, MEMORY[dtype].as_pointer()), [index]), size


def _in_group(b: ir.IRBuilder, access):
    access.set_metadata("llvm.access.group", b.module.add_metadata([ACCESS_GROUP]))
    return access


def _load(b: ir.IRBuilder, base, index, dtype: str):
    pointer, size = _address(b, base, index, dtype)
    x = _in_group(b, b.load(pointer, align=size))
    if dtype == "bool":
        return b.icmp_unsigned("!=", x, ir.Constant(I8, 0))
    if dtype == "bfloat16":
        return b.bitcast(b.shl(b.zext(x, I32), ir.Constant(I32, 16)), F32)
    if dtype in float8.FORMATS:
        return float8.decode(b, x, dtype, _of_float16)
    return _of_float16(b, x) if dtype == "float16" else x


def _of_float16(b: ir.IRBuilder, bits):
    return b.fpext(b.bitcast(bits, HALF), F32)


def _bfloat16_bits(x: Value) -> Value:
    """Rounded to nearest even, in the low half; a nan stays one though its payload may be rounded away."""
    bits = x.to(I32, "bitcast")
    rounded = (bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16
    number = Value(x.builder, x.builder.fcmp_ordered("ord", x.value, x.value))
    return number.where(rounded, (bits >> 16) | 0x40)


def _store(b: ir.IRBuilder, base, index, x, dtype: str):
    pointer, size = _address(b, base, index, dtype)
    if dtype == "bool":
        x = b.zext(x, I8)
    elif dtype == "bfloat16":
        x = b.trunc(_bfloat16_bits(Value(b, x)).value, I16)
    elif dtype == "float16":
        x = b.bitcast(b.fptrunc(x, HALF), I16)
    elif dtype in float8.FORMATS:
        x = float8.encode(b, x, dtype)
    _in_group(b, b.store(x, pointer, align=size))


def _guarded_load(b: ir.IRBuilder, base, index, ok, dtype: str):
    """A branch, which LLVM vectorises as a masked load: no address is touched where `ok` is false."""
    before = b.block
    with b.if_then(ok):
        loaded, inside = _load(b, base, index, dtype), b.block
    out = b.phi(loaded.type)
    out.add_incoming(loaded, inside)
    out.add_incoming(ir.Constant(loaded.type, 0), before)
    return out


def _guarded_store(b: ir.IRBuilder, base, index, x, ok, dtype: str):
    with b.if_then(ok):
        _store(b, base, index, x, dtype)


def _access(head: str, dtype: str, guarded: bool):
    """load1_*, store1_* and their *_if forms."""
    guard = (boolean,) if guarded else ()
    if head == "load1":
        emit: Callable[..., Any] = _guarded_load if guarded else _load
        return _intrinsic(head, REGISTER[dtype], (int64, int64, *guard), lambda b, *v: emit(b, *v, dtype))
    emit: Callable[..., Any] = _guarded_store if guarded else _store
    kinds = (int64, int64, REGISTER[dtype], *guard)
    return _intrinsic(head, types.void, kinds, lambda b, *v: emit(b, *v, dtype))


def _tile(head: str, tile: str, dtype: str, places: int):
    """put_tile0_float32_4096(index, value) and get_tile0_float32_4096(index)."""
    if head == "put":
        emit: Callable[..., Any] = lambda b, index, x: tile_cpu.put(b, index, x, tile, places)  # noqa: E731
        return _intrinsic(head, types.void, (int64, REGISTER[dtype]), emit)
    emit = lambda b, index: tile_cpu.get(b, index, tile, places, LLVM[dtype])  # noqa: E731
    return _intrinsic(head, REGISTER[dtype], (int64,), emit)


# Combining.


def _signed(kind) -> bool:
    return not isinstance(kind, types.Integer) or bool(kind.signed)  # pyright: ignore[reportAttributeAccessIssue]


def _extreme(relation: str):
    """maximum or minimum; nan wins over numbers."""

    def emit(kind, x: Value, y: Value) -> Value:
        b = x.builder
        if kind is boolean:
            return x | y if relation == ">" else x & y
        if x.is_integer:
            compare = b.icmp_signed if _signed(kind) else b.icmp_unsigned
            return Value(b, b.select(compare(relation, y.value, x.value), y.value, x.value))
        return x.call("llvm.maximum" if relation == ">" else "llvm.minimum", y)

    return emit


def _fold(combine: str, dtype: str):
    """acc combined with v, in any order: LLVM may reassociate, so loops of folds vectorise."""
    extremes = {"maximum": _extreme(">"), "minimum": _extreme("<")}

    def emit(b, acc, v):
        x, y = Value(b, acc), Value(b, v)
        if combine in extremes:
            return extremes[combine](REGISTER[dtype], x, y).value
        if combine in ("logical_or", "logical_and") or dtype == "bool":
            return (x | y if combine in ("logical_or", "add") else x & y).value
        if x.is_integer:
            return (x + y if combine == "add" else x * y).value
        return getattr(b, "fadd" if combine == "add" else "fmul")(acc, v, flags=("reassoc", "nsz", "contract"))

    return _intrinsic("fold", REGISTER[dtype], (REGISTER[dtype],) * 2, emit)


select = _generic("select", 3, lambda kind, c, a, b: c.where(a, b), same=1)
maximum = _generic("maximum", 2, _extreme(">"))
minimum = _generic("minimum", 2, _extreme("<"))
logical_not = _intrinsic("logical_not", boolean, (boolean,), lambda b, x: b.not_(x))


# Mathematics.


def _unary(name: str, emit64: Callable[[Value], Value], emit32: Callable[[Value], Value] | None = None):
    def emit(kind, x: Value) -> Value:
        return (emit32 or emit64)(x) if kind is float32 else emit64(x)

    return _generic(name, 1, emit, accept=types.Float)


FLOAT32 = math_cpu.FLOAT32 | circular_cpu.FLOAT32


def _of_library(name: str):
    return _unary(name, lambda x: x.library(name), FLOAT32.get(name))


def _of_llvm(name: str, intrinsic_name: str):
    return _unary(name, lambda x: x.call(intrinsic_name))


exp, exp2, expm1, log, log2, log1p, tanh, erf, sin, cos = map(
    _of_library, ("exp", "exp2", "expm1", "log", "log2", "log1p", "tanh", "erf", "sin", "cos")
)
tan, asin, acos, atan, sinh, cosh, asinh, acosh, atanh, erfc, log10, lgamma = map(
    _of_library,
    ("tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "erfc", "log10", "lgamma"),
)
erfinv = _unary("erfinv", circular_cpu.erfinv64, circular_cpu.erfinv)
sigmoid = _unary("sigmoid", math_cpu.sigmoid64, math_cpu.sigmoid)
sqrt = _of_llvm("sqrt", "llvm.sqrt")
rsqrt = _unary("rsqrt", lambda x: x.const(1.0) / x.call("llvm.sqrt"))
floor, ceil = _of_llvm("floor", "llvm.floor"), _of_llvm("ceil", "llvm.ceil")
round, trunc = _of_llvm("round", "llvm.roundeven"), _of_llvm("trunc", "llvm.trunc")
isnan = _generic("isnan", 1, lambda kind, x: Value(x.builder, x.builder.fcmp_unordered("uno", x.value, x.value)),
                 accept=types.Float, result=boolean)  # fmt: skip


def _binary(name: str, emit64: Callable[[Value, Value], Value], emit32: Callable[[Value, Value], Value] | None = None):
    def emit(kind, x: Value, y: Value) -> Value:
        return (emit32 or emit64)(x, y) if kind is float32 else emit64(x, y)

    return _generic(name, 2, emit, accept=types.Float)


power = _binary("power", lambda x, y: x.library("pow", y))
atan2 = _binary("atan2", lambda y, x: y.library("atan2", x), circular_cpu.atan2)
hypot = _binary("hypot", lambda x, y: x.library("hypot", y), circular_cpu.hypot)
copysign = _binary("copysign", math_cpu.copysign)
nextafter = _binary("nextafter", lambda x, y: x.library("nextafter", y))


def _absolute(kind, x: Value) -> Value:
    if not x.is_integer:
        return math_cpu.absolute(x)
    return x.is_("<", 0).where(x.const(0) - x, x) if _signed(kind) and kind is not boolean else x


def _sign(kind, x: Value) -> Value:
    """0 of nan."""
    if not x.is_integer:
        return x.is_(">", 0.0).where(x.const(1.0), x.is_("<", 0.0).where(x.const(-1.0), 0.0))
    if not _signed(kind) or kind is boolean:
        return Value(x.builder, x.builder.icmp_unsigned("!=", x.value, x.const(0).value)).where(x.const(1), 0)
    return x.is_(">", 0).where(x.const(1), x.arithmetic_shift(x.type.width - 1))


def _signbit(kind, x: Value) -> Value:
    return x.to(I32 if kind is float32 else I64, "bitcast").is_("<", 0)


absolute = _generic("absolute", 1, _absolute)
sign = _generic("sign", 1, _sign)
signbit = _generic("signbit", 1, _signbit, accept=types.Float, result=boolean)


# Division: Python's and numpy's meaning; an integer divided by zero gives 0.


def _quotient(kind, x: Value, y: Value) -> tuple[Value, Value, Value]:
    """(quotient towards zero, remainder, is y not 0); x / 0 and the least integer / -1 would trap."""
    b = x.builder
    nonzero = Value(b, b.icmp_unsigned("!=", y.value, y.const(0).value))
    if not _signed(kind):
        safe = nonzero.where(y, 1)
        return Value(b, b.udiv(x.value, safe.value)), Value(b, b.urem(x.value, safe.value)), nonzero
    overflow = x.is_("==", -(1 << (x.type.width - 1))) & y.is_("==", -1)
    safe = overflow.where(y.const(1), nonzero.where(y, 1))
    return Value(b, b.sdiv(x.value, safe.value)), Value(b, b.srem(x.value, safe.value)), nonzero


def _crosses(kind, remainder: Value, y: Value) -> Value:
    """Does the remainder have the other sign than the divisor?"""
    if not _signed(kind):
        return Value(y.builder, ir.Constant(I1, 0))
    return remainder.is_("!=", 0) & (remainder ^ y).is_("<", 0)


def _float_remainder(x: Value, y: Value) -> tuple[Value, Value]:
    """(fmod, does its sign differ from y's); LLVM calls the C library."""
    b = x.builder
    rest = Value(b, b.frem(x.value, y.value, flags=KEEP))
    return rest, rest.is_("!=", 0.0) & (rest.is_("<", 0.0) ^ y.is_("<", 0.0))


def _floordiv(kind, x: Value, y: Value) -> Value:
    if x.is_integer:
        quotient, remainder, nonzero = _quotient(kind, x, y)
        return nonzero.where(_crosses(kind, remainder, y).where(quotient - 1, quotient), 0)
    rest, crosses = _float_remainder(x, y)
    exact = (x - rest) / y
    exact = crosses.where(exact - 1.0, exact)
    whole = exact.call("llvm.floor")
    whole = (exact - whole).is_(">", 0.5).where(whole + 1.0, whole)
    whole = exact.is_("==", 0.0).where(math_cpu.copysign(exact.const(0.0), x / y), whole)
    return y.is_("==", 0.0).where(x / y, whole)


def _modulo(kind, x: Value, y: Value) -> Value:
    if x.is_integer:
        _, remainder, nonzero = _quotient(kind, x, y)
        return nonzero.where(_crosses(kind, remainder, y).where(remainder + y, remainder), 0)
    rest, crosses = _float_remainder(x, y)
    rest = crosses.where(rest + y, rest)
    return rest.is_("==", 0.0).where(math_cpu.copysign(rest, y), rest)


def _trunc_divide(kind, x: Value, y: Value) -> Value:
    quotient, _, nonzero = _quotient(kind, x, y)
    return nonzero.where(quotient, 0)


def _fmod(kind, x: Value, y: Value) -> Value:
    if not x.is_integer:
        return Value(x.builder, x.builder.frem(x.value, y.value, flags=KEEP))
    _, remainder, nonzero = _quotient(kind, x, y)
    return nonzero.where(remainder, 0)


def _gcd(kind, x: Value, y: Value) -> Value:
    """Euclid's algorithm on sizes: the one loop of this prelude, which LLVM does not vectorise."""
    b = x.builder
    before, test, turn, after = b.block, *(b.append_basic_block(f"gcd.{part}") for part in ("test", "turn", "after"))
    first = [_absolute(kind, v).value for v in (x, y)]
    b.branch(test)
    b.position_at_end(test)
    large, small = b.phi(x.type), b.phi(x.type)
    b.cbranch(b.icmp_unsigned("!=", small, x.const(0).value), turn, after)
    b.position_at_end(turn)
    rest = b.urem(large, small)  # the size of the least integer is right as an unsigned one
    b.branch(test)
    for phi, start, following in ((large, first[0], small), (small, first[1], rest)):
        phi.add_incoming(start, before)
        phi.add_incoming(following, turn)
    b.position_at_end(after)
    return Value(b, large)


def _shift(name: str):
    """A shift by a count; one out of range leaves 0, or the sign where a signed number moves down."""

    def emit(kind, x: Value, count: Value) -> Value:
        b = x.builder
        inside = Value(b, b.icmp_unsigned("<", count.value, count.const(x.type.width).value))
        if name == "shift_right" and _signed(kind):
            return Value(b, b.ashr(x.value, inside.where(count, x.type.width - 1).value))
        safe = inside.where(count, 0)
        return inside.where(x << safe if name == "shift_left" else x >> safe, 0)

    return _generic(name, 2, emit, accept=types.Integer)


fmod = _generic("fmod", 2, _fmod)
gcd = _generic("gcd", 2, _gcd, accept=types.Integer)
shift_left, shift_right = _shift("shift_left"), _shift("shift_right")
floordiv = _generic("floordiv", 2, _floordiv)
modulo = _generic("modulo", 2, _modulo)
trunc_divide = _generic("trunc_divide", 2, _trunc_divide, accept=types.Integer)


def _unsigned(name: str):
    """udiv32, umod32, udiv64, umod64 of non-negative int64; the narrow ones divide in 32 bits."""
    narrow, divide = name.endswith("32"), name[1:4]

    def emit(b, x, y):
        operands = [b.trunc(v, I32) for v in (x, y)] if narrow else [x, y]
        out = (b.udiv if divide == "div" else b.urem)(*operands)
        return b.zext(out, I64) if narrow else out

    return _intrinsic(name, int64, (int64, int64), emit)


udiv32, umod32, udiv64, umod64 = map(_unsigned, ("udiv32", "umod32", "udiv64", "umod64"))


# Conversions.


def _convert(kind, x: Value, dtype: str) -> Value:
    """From a register of Numba type `kind`; float to integer truncates, saturates, and makes 0 of nan, as CUDA does."""
    b, to = x.builder, LLVM[dtype]
    if dtype == "bool":
        zero = x.const(0)
        compare = b.icmp_signed if x.is_integer else b.fcmp_unordered
        return Value(b, compare("!=", x.value, zero.value))
    if isinstance(to, ir.IntType):
        if not x.is_integer:
            name = "llvm.fptoui" if dtype == "uint8" else "llvm.fptosi"
            name += f".sat.i{to.width}.{'f32' if x.type == F32 else 'f64'}"
            function = b.module.globals.get(name) or ir.Function(b.module, ir.FunctionType(to, [x.type]), name)
            return Value(b, b.call(function, [x.value]))
        if to.width <= x.type.width:
            return x if to == x.type else x.to(to, "trunc")
        return x.to(to, "sext" if _signed(kind) and kind is not boolean else "zext")
    if x.is_integer:
        x = x.to(to, "sitofp" if _signed(kind) and kind is not boolean else "uitofp")
    elif x.type != to:
        x = x.to(to, "fpext" if to == F64 else "fptrunc")
    if dtype == "bfloat16":
        return (_bfloat16_bits(x) << 16).to(F32, "bitcast")
    if dtype in float8.FORMATS:
        return Value(b, float8.decode(b, float8.encode(b, x.value, dtype), dtype, _of_float16))
    return Value(b, b.fpext(b.fptrunc(x.value, HALF), F32)) if dtype == "float16" else x


def _conversion(dtype: str):
    return _generic(f"to_{dtype}", 1, lambda kind, x: _convert(kind, x, dtype), result=REGISTER[dtype])


# Random numbers, constants, and the names that mean something on CUDA only.


def _philox(b: ir.IRBuilder, key, counter):
    """Philox4x32-10 over 64-bit registers, which have room for a product of two words."""
    low = 0xFFFFFFFF
    block, k = Value(b, counter) >> 2, Value(b, key)
    words = [block & low, block >> 32, block.const(0), block.const(0)]
    keys = [k & low, k >> 32]
    for _ in range(10):
        first, second = (words[0] & low) * 0xD2511F53, (words[2] & low) * 0xCD9E8D57
        words = [(second >> 32) ^ words[1] ^ keys[0], second & low, (first >> 32) ^ words[3] ^ keys[1], first & low]
        keys = [(keys[0] + 0x9E3779B9) & low, (keys[1] + 0xBB67AE85) & low]
    number = Value(b, counter) & 3
    last = number.is_("==", 2).where(words[2], words[3])
    return number.is_("==", 0).where(words[0], number.is_("==", 1).where(words[1], last)).value


philox = _intrinsic("philox", int64, (int64, int64), _philox)
inf = _intrinsic("inf", float64, (), lambda b: ir.Constant(F64, float("inf")))
nan = _intrinsic("nan", float64, (), lambda b: ir.Constant(F64, float("nan")))
thread = _intrinsic("thread", int64, (), lambda b: ir.Constant(I64, 0))
block = _intrinsic("block", int64, (), lambda b: ir.Constant(I64, 0))
barrier = _intrinsic("barrier", types.void, (), lambda b: None)


@functools.cache
def _family(name: str):
    """load1_float32, store1_bool_if, fold_logical_or_bool, gather_add_float32_1, to_int8, ..."""
    head, *rest = name.split("_")
    guarded = rest[-1:] == ["if"]
    if head in ("load1", "store1") and "_".join(rest[: len(rest) - guarded]) in MEMORY:
        return _access(head, "_".join(rest[: len(rest) - guarded]), guarded)
    if head in ("put", "get") and rest[1] in LLVM:
        return _tile(head, rest[0], rest[1], int(rest[2]))
    if head == "fold" and rest[-1] in LLVM:
        return _fold("_".join(rest[:-1]), rest[-1])
    if head == "gather" and len(rest) > 2 and rest[-2] in LLVM:  # one lane: its own value is the whole
        return _intrinsic("gather", REGISTER[rest[-2]], (REGISTER[rest[-2]],), lambda b, v: v)
    if head == "to" and "_".join(rest) in LLVM:
        return _conversion("_".join(rest))
    raise AttributeError(f"the CPU prelude has no {name}")


def __getattr__(name: str):
    if name.startswith("_"):
        raise AttributeError(name)
    return _family(name)
