"""What the CUDA prelude's emitters share: types, dtype tables, inline PTX, and the target they are compiled for."""

import contextlib
import threading

from llvmlite import ir
from numba import types

I1, I8, I16, I32, I64 = (ir.IntType(n) for n in (1, 8, 16, 32, 64))
F16, F32, F64, VOID = ir.HalfType(), ir.FloatType(), ir.DoubleType(), ir.VoidType()
PAIR = ir.VectorType(I32, 2)  # a 64-bit value as two words: the form that shuffles and wide accesses move

SIZE = {"bool": 1, "int8": 1, "uint8": 1, "int16": 2, "float16": 2, "bfloat16": 2}
SIZE |= {"float8_e4m3fn": 1, "float8_e5m2": 1}
SIZE |= {"int32": 4, "float32": 4, "int64": 8, "float64": 8}
VALUE = {"bool": types.boolean, "float16": types.float32, "bfloat16": types.float32}  # the register type of each dtype
VALUE |= {"float8_e4m3fn": types.float32, "float8_e5m2": types.float32}
VALUE |= {name: getattr(types, name) for name in ("int8", "uint8", "int16", "int32", "int64", "float32", "float64")}
REGISTER = {
    "bool": I1,
    "int8": I8,
    "uint8": I8,
    "int16": I16,
    "int32": I32,
    "int64": I64,
    "float32": F32,
    "float64": F64,
}

FAST = {"contract", "nsz", "arcp", "afn"}  # never nnan or ninf: -inf is the identity of maximum
_target = threading.local()


@contextlib.contextmanager
def targeting(cc: tuple[int, ...]):
    """Inside, emitters write for compute capability `cc`; `max.NaN` and packed bfloat16 conversion need 8.0."""
    before, _target.cc = getattr(_target, "cc", None), tuple(cc)
    try:
        yield
    finally:
        _target.cc = before


def capability() -> tuple[int, ...]:
    """The compute capability that this thread compiles for."""
    return getattr(_target, "cc", None) or (8, 0)


def targeted() -> bool:
    """Whether this thread compiles for a machine that need not be here."""
    return getattr(_target, "cc", None) is not None


def asm(b, result, text, constraints, values=(), *, pure=False, convergent=False):
    """One piece of inline PTX. `pure` lets LLVM share, move or drop it; `convergent` keeps all lanes together."""
    kind = ir.FunctionType(result, [v.type for v in values])
    attrs = ("convergent",) if convergent else ()
    return b.call(ir.InlineAsm(kind, text, constraints, side_effect=not pure), values, attrs=attrs)


def constant(kind, value):
    """A constant of an LLVM type."""
    return ir.Constant(kind, value)


def library(b, name, *values):
    """A call of a libdevice function whose operands and result have one type."""
    kind = ir.FunctionType(values[0].type, [v.type for v in values])
    found = b.module.globals.get(name)
    return b.call(found or ir.Function(b.module, kind, name), values)


def words_of(b, value):
    """The low and high word of a 64-bit value."""
    pair = b.bitcast(value, PAIR)
    return [b.extract_element(pair, constant(I32, k)) for k in (0, 1)]


def from_words(b, low, high, kind):
    """The 64-bit value made of two words."""
    pair = constant(PAIR, ir.Undefined)
    for k, word in enumerate((low, high)):
        pair = b.insert_element(pair, word, constant(I32, k))
    return b.bitcast(pair, kind)


def round_bfloat16(b, x):
    """The 16 bits of a float32 rounded to the nearest bfloat16, ties to even; any nan stays one."""
    if capability() >= (8, 0):
        return asm(b, I16, "cvt.rn.bf16.f32 $0, $1;", "=h,f", [x], pure=True)
    bits = b.bitcast(x, I32)
    odd = b.and_(b.lshr(bits, constant(I32, 16)), constant(I32, 1))
    near = b.lshr(b.add(bits, b.add(odd, constant(I32, 0x7FFF))), constant(I32, 16))
    near = b.select(b.fcmp_unordered("uno", x, x), constant(I32, 0x7FFF), near)
    return b.trunc(near, I16)


def widen_bfloat16(b, bits):
    """The float32 of 16 bits."""
    return b.bitcast(b.shl(b.zext(bits, I32), constant(I32, 16)), F32)


def round_float16(b, x):
    """The 16 bits of a float32 rounded to the nearest float16, ties to even."""
    return asm(b, I16, "cvt.rn.f16.f32 $0, $1;", "=h,f", [x], pure=True)


def widen_float16(b, bits):
    """The float32 of 16 bits."""
    return asm(b, F32, "cvt.f32.f16 $0, $1;", "=f,h", [bits], pure=True)
