"""How printed CUDA kernels read and write memory: 16-byte accesses where the kernel asks for them, real predicates.

A guarded access is predicated in PTX, so a lane whose guard is false touches no memory, whatever its index.
A wide access of B bytes needs an address that is a multiple of min(B, 16). One at an edge may reach past the memory's
last element: `load.._edge` reads what lies there, which no result uses, in the same B bytes, which the pool never
divides; `store.._edge` leaves it alone. Every store clobbers memory, so that LLVM
moves no load across it: a donated buffer is read before it is written.
"""

from llvmlite import ir
from numba import types

from flame.runtime import float8
from flame.runtime.cuda_emit import (
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    REGISTER,
    SIZE,
    VALUE,
    VOID,
    asm,
    capability,
    constant,
    from_words,
    round_bfloat16,
    round_float16,
    widen_bfloat16,
    widen_float16,
    words_of,
)

MEMORY = {"bool": I8, "int8": I8, "uint8": I8, "int16": I16, "float16": I16, "bfloat16": I16}
MEMORY |= {"float8_e4m3fn": I8, "float8_e5m2": I8}
MEMORY |= {"int32": I32, "float32": I32, "int64": I64, "float64": I64}


def load(width: int, dtype: str, guarded: bool):
    """Result type, argument types and emitter of `load{width}_{dtype}[_if](p, i[, ok])`."""
    arguments = (types.int64, types.int64) + ((types.boolean,) if guarded else ())
    value = VALUE[dtype]

    def one(b, values, context, signature):
        at, ok = _address(b, values[0], values[1], dtype), values[2:]
        bits = _read_guarded(b, at, dtype, ok[0]) if ok else _read(b, at, dtype)
        return _to_register(b, bits, dtype)

    def wide(b, values, context, signature):
        at, ok = _address(b, values[0], values[1], dtype), values[2:]
        elements = [e for words in _read_words(b, at, width * SIZE[dtype], ok) for e in _unpack(b, words, dtype, width)]
        return context.make_tuple(b, signature.return_type, elements)

    if width == 1:
        return value, arguments, one
    return types.UniTuple(value, width), arguments, wide


def store(width: int, dtype: str, guarded: bool):
    """Result type, argument types and emitter of `store{width}_{dtype}[_if](p, i, v0, ..[, ok])`."""
    arguments = (types.int64, types.int64) + (VALUE[dtype],) * width + ((types.boolean,) if guarded else ())

    def emit(b, values, context, signature):
        at, elements, ok = _address(b, values[0], values[1], dtype), values[2 : 2 + width], values[2 + width :]
        size = width * SIZE[dtype]
        if size < 4 or width == 1:
            _write(b, at, _pack_small(b, elements, dtype), size, ok)
        else:
            words = _pack(b, elements, dtype)
            for first in range(0, len(words), 4):
                _write_words(b, at, first, words[first : first + 4], ok)
        return context.get_dummy_value()

    return types.void, arguments, emit


def store_edge(width: int, dtype: str):
    """Result type, argument types and emitter of `store{width}_{dtype}_edge(p, i, v0, .., count)`: `count` of them."""
    arguments = (types.int64, types.int64) + (VALUE[dtype],) * width + (types.int64,)
    whole, one = store(width, dtype, False)[2], store(1, dtype, True)[2]

    def emit(b, values, context, signature):
        p, i, *elements, count = values
        with b.if_else(b.icmp_signed(">=", count, constant(I64, width))) as (all_of_them, some):
            with all_of_them:
                whole(b, values[:-1], context, signature)
            with some:
                for k, element in enumerate(elements):
                    ok = b.icmp_signed(">", count, constant(I64, k))
                    one(b, [p, b.add(i, constant(I64, k)), element, ok], context, signature)
        return context.get_dummy_value()

    return types.void, arguments, emit


# --- ahead --------------------------------------------------------------------------------------
def fetch(width: int, dtype: str, threads: int):
    """Result type, argument types and emitter of `fetch{width}_{dtype}_{threads}(at, p, i, ok)`.

    It begins to copy elements to the lane's place at `at` of the block's shared memory, zeros where not `ok`.
    """
    size = width * SIZE[dtype]
    unit, keep = min(size, 16), "cg" if size >= 16 else "ca"

    def emit(b, values, context, signature):
        at, p, i, ok = values
        source, count = _address(b, p, i, dtype), b.select(ok, constant(I32, unit), constant(I32, 0))
        for place, first in _places(b, at, size, threads):
            text = f"cp.async.{keep}.shared.global [$0], [$1+{first}], {unit}, $2;"
            asm(b, VOID, text, "r,l,r,~{memory}", [place, source, count])
        return context.get_dummy_value()

    return types.void, (types.int64, types.int64, types.int64, types.boolean), emit


def take(width: int, dtype: str, threads: int):
    """Result type, argument types and emitter of `take{width}_{dtype}_{threads}(at)`: what the lane fetched there."""
    size, value = width * SIZE[dtype], VALUE[dtype]
    count = min(size, 16) // 4

    def emit(b, values, context, signature):
        words = []
        for place, _ in _places(b, values[0], size, threads):
            regs = ", ".join(f"${k}" for k in range(count))
            kind = {4: ".v4.b32", 2: ".v2.b32", 1: ".b32"}[count]
            text = f"ld.shared{kind} {'{' + regs + '}' if count > 1 else regs}, [${count}];"
            shape = ir.LiteralStructType([I32] * count) if count > 1 else I32
            out = asm(b, shape, text, ",".join(["=r"] * count + ["r", "~{memory}"]), [place])
            words += [b.extract_value(out, k) for k in range(count)] if count > 1 else [out]
        elements = _unpack(b, words, dtype, width)
        return elements[0] if width == 1 else context.make_tuple(b, signature.return_type, elements)

    return value if width == 1 else types.UniTuple(value, width), (types.int64,), emit


def fetched(b) -> None:
    """What the lane fetched since the last such call is one batch."""
    asm(b, VOID, "cp.async.commit_group;", "~{memory}")


def awaited(left: int):
    """Wait until at most `left` of the lane's batches are under way."""
    return lambda b: asm(b, VOID, f"cp.async.wait_group {left};", "~{memory}")


def _places(b, at, size, threads):
    """Where in shared memory a lane's bytes lie, and which of its bytes lie there: neighbours stand side by side."""
    unit = min(size, 16)
    ring = b.module.globals.get("ring")
    if ring is None:
        ring = ir.GlobalVariable(b.module, ir.ArrayType(I8, 0), "ring", addrspace=3)
        ring.linkage, ring.align = "external", 16
    base = b.ptrtoint(b.gep(ring, [constant(I32, 0), constant(I32, 0)]), I32)
    tid = asm(b, I32, "mov.u32 $0, %tid.x;", "=r", pure=True)
    first = b.add(b.add(base, b.trunc(at, I32)), b.mul(tid, constant(I32, unit)))
    for k in range(0, size, unit):
        yield b.add(first, constant(I32, k * threads)), k


def _address(b, base, index, dtype):
    return b.add(base, b.mul(index, constant(I64, SIZE[dtype])))


def _flag(b, ok):
    return [b.zext(ok[0], I32)] if ok else []


# --- reading ------------------------------------------------------------------------------------
def _read(b, at, dtype):
    return b.load(b.inttoptr(at, MEMORY[dtype].as_pointer(1)), align=SIZE[dtype])


def _read_guarded(b, at, dtype, ok):
    bits = 8 * SIZE[dtype]
    held, mark = (I64, "l") if bits == 64 else (I32, "r")
    text = f"{{ .reg .pred q; setp.ne.b32 q, $2, 0; mov.b{max(bits, 32)} $0, 0; @q ld.global.u{bits} $0, [$1]; }}"
    got = asm(b, held, text, f"=&{mark},l,r", [at, b.zext(ok, I32)])
    return got if bits >= 32 else b.trunc(got, MEMORY[dtype])


def _to_register(b, bits, dtype):
    """A value in its register type from its bits in memory."""
    if dtype == "bool":
        return b.icmp_unsigned("!=", bits, constant(I8, 0))
    if dtype == "bfloat16":
        return widen_bfloat16(b, bits)
    if dtype == "float16":
        return widen_float16(b, bits)
    if dtype in float8.FORMATS:
        return float8.decode(b, bits, dtype, widen_float16)
    return b.bitcast(bits, REGISTER[dtype]) if dtype.startswith("float") else bits


def _read_words(b, at, size, ok):
    """The words of `size` bytes at an address, a list for each access; two bytes arrive as one word."""
    for first in range(0, size, 16):
        count = max(min(16, size - first) // 4, 1)
        kind = {4: ".v4.b32", 2: ".v2.b32", 1: ".b32" if size >= 4 else ".u16"}[count]
        regs = ", ".join(f"${k}" for k in range(count))
        where = f"[${count}+{first}]" if first else f"[${count}]"
        text = f"ld.global{kind} {'{' + regs + '}' if count > 1 else regs}, {where};"
        if ok:
            zero = " ".join(f"mov.b32 ${k}, 0;" for k in range(count))
            text = f"{{ .reg .pred q; setp.ne.b32 q, ${count + 1}, 0; {zero} @q {text} }}"
        shape = ir.LiteralStructType([I32] * count) if count > 1 else I32
        marks = ",".join(["=&r"] * count + ["l"] + ["r"] * len(ok))
        out = asm(b, shape, text, marks, [at, *_flag(b, ok)])
        yield [b.extract_value(out, k) for k in range(count)] if count > 1 else [out]


def _unpack(b, words, dtype, width):
    """The elements that words hold, in register type."""
    size = SIZE[dtype]
    if size == 8:
        pairs = zip(words[::2], words[1::2], strict=True)
        return [from_words(b, low, high, REGISTER[dtype]) for low, high in pairs]
    if size == 4:
        return [b.bitcast(word, F32) if dtype == "float32" else word for word in words]
    if dtype == "bfloat16":
        high = constant(I32, 0xFFFF0000)
        return [b.bitcast(x, F32) for w in words for x in (b.shl(w, constant(I32, 16)), b.and_(w, high))]
    each = min(4 // size, width)
    bits = [b.trunc(b.lshr(w, constant(I32, 8 * size * k)), MEMORY[dtype]) for w in words for k in range(each)]
    return [_to_register(b, x, dtype) for x in bits]


# --- writing ------------------------------------------------------------------------------------
def _to_memory(b, x, dtype):
    """The bits in memory of a value."""
    if dtype == "bool":
        return b.zext(x, I8)
    if dtype == "bfloat16":
        return round_bfloat16(b, x)
    if dtype == "float16":
        return round_float16(b, x)
    if dtype in float8.FORMATS:
        return float8.encode(b, x, dtype)
    return b.bitcast(x, MEMORY[dtype]) if x.type in (F32, F64) else x


def _pack_small(b, elements, dtype):
    """One element, or two bytes, as a word (64-bit elements as themselves)."""
    bits = [_to_memory(b, e, dtype) for e in elements]
    if SIZE[dtype] >= 4:
        return bits[0]
    word = b.zext(bits[0], I32)
    return word if len(bits) == 1 else b.or_(word, b.shl(b.zext(bits[1], I32), constant(I32, 8)))


def _pack(b, elements, dtype):
    """Elements as words; two halves become one word in a single instruction where the hardware has it."""
    size = SIZE[dtype]
    if size == 8:
        return [word for e in elements for word in words_of(b, e)]
    if size == 4:
        return [_to_memory(b, e, dtype) for e in elements]
    if dtype in ("bfloat16", "float16") and capability() >= (8, 0):
        kind = "bf16x2" if dtype == "bfloat16" else "f16x2"
        pairs = zip(elements[::2], elements[1::2], strict=True)
        return [asm(b, I32, f"cvt.rn.{kind}.f32 $0, $2, $1;", "=r,f,f", list(p), pure=True) for p in pairs]
    bits, each, words = [b.zext(_to_memory(b, e, dtype), I32) for e in elements], 4 // size, []
    for first in range(0, len(bits), each):
        word = bits[first]
        for k in range(1, each):
            word = b.or_(word, b.shl(bits[first + k], constant(I32, 8 * size * k)))
        words.append(word)
    return words


def _write(b, at, bits, size, ok):
    """Store 1, 2, 4 or 8 bytes."""
    mark = "l" if size == 8 else "r"
    text = f"st.global.b{8 * size} [$0], $1;"
    if ok:
        text = f"{{ .reg .pred q; setp.ne.b32 q, $2, 0; @q {text} }}"
    asm(b, VOID, text, ",".join(["l", mark] + ["r"] * len(ok) + ["~{memory}"]), [at, bits, *_flag(b, ok)])


def _write_words(b, at, first, words, ok):
    """Store one, two or four words, the first of them `first` words past the address."""
    regs = ", ".join(f"${k + 1}" for k in range(len(words)))
    kind = {4: ".v4", 2: ".v2", 1: ""}[len(words)]
    where = f"[$0+{4 * first}]" if first else "[$0]"
    text = f"st.global{kind}.b32 {where}, {'{' + regs + '}' if len(words) > 1 else regs};"
    if ok:
        text = f"{{ .reg .pred q; setp.ne.b32 q, ${len(words) + 1}, 0; @q {text} }}"
    marks = ",".join(["l"] + ["r"] * (len(words) + len(ok)) + ["~{memory}"])
    asm(b, VOID, text, marks, [at, *words, *_flag(b, ok)])
