"""The two float8 formats as LLVM instructions, for both targets: eight bits of memory, a float32 in registers.

e4m3fn has no infinity: what is beyond 448 becomes 448, as in PyTorch and in the hardware's conversions, and nan has
all seven bits set. e5m2 is the upper half of a float16, with its infinity. (Micikevicius et al., arXiv:2209.05433.)
Rounding is to the nearest, ties to even.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

I8, I16, I32, F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.FloatType()


@dataclass(frozen=True)
class Format:
    """Where its fields begin, as float32 has them."""

    digits: int  # of the mantissa
    bias: int
    beyond: int  # bits of a float32 from which all numbers
    largest: int  # have this code
    nan: int


FORMATS = {
    "float8_e4m3fn": Format(3, 7, 0x43E80000, 0x7E, 0x7F),
    "float8_e5m2": Format(2, 15, 0x47800000, 0x7C, 0x7F),
}


def _constant(value: int) -> ir.Constant:
    return ir.Constant(I32, value & 0xFFFFFFFF)


def encode(b: ir.IRBuilder, x: Any, dtype: str) -> Any:
    """The eight bits of a float32."""
    f = FORMATS[dtype]
    bits = b.bitcast(x, I32)
    size = b.and_(bits, _constant(0x7FFFFFFF))
    drop = 23 - f.digits
    odd = b.and_(b.lshr(size, _constant(drop)), _constant(1))
    rebased = b.add(size, _constant(((f.bias - 127) << 23) + (1 << (drop - 1)) - 1))
    normal = b.lshr(b.add(rebased, odd), _constant(drop))
    # A number whose last digit is the step between the format's denormal ones: the sum is rounded as they are.
    ruler = (127 + 23 - f.bias - f.digits + 1) << 23
    whole = b.fadd(b.bitcast(size, F32), b.bitcast(_constant(ruler), F32))
    denormal = b.sub(b.bitcast(whole, I32), _constant(ruler))
    small = b.icmp_unsigned("<", size, _constant((127 - f.bias + 1) << 23))
    code = b.select(small, denormal, normal)
    code = b.select(b.icmp_unsigned(">=", size, _constant(f.beyond)), _constant(f.largest), code)
    code = b.select(b.icmp_unsigned(">", size, _constant(0x7F800000)), _constant(f.nan), code)
    sign = b.and_(b.lshr(bits, _constant(24)), _constant(0x80))
    return b.trunc(b.or_(code, sign), I8)


def decode(b: ir.IRBuilder, code: Any, dtype: str, widen: Callable[[ir.IRBuilder, Any], Any]) -> Any:
    """The float32 of eight bits; `widen` makes one of a float16's sixteen, denormal ones too."""
    word = b.zext(code, I16)
    if dtype == "float8_e5m2":
        return widen(b, b.shl(word, ir.Constant(I16, 8)))
    size = b.and_(word, ir.Constant(I16, 0x7F))
    sign = b.shl(b.and_(word, ir.Constant(I16, 0x80)), ir.Constant(I16, 8))
    half = widen(b, b.or_(sign, b.shl(size, ir.Constant(I16, 7))))  # float16 has 8 binary orders less below 1
    value = b.fmul(half, ir.Constant(F32, 256.0))
    return b.select(b.icmp_unsigned("==", size, ir.Constant(I16, 0x7F)), ir.Constant(F32, float("nan")), value)
