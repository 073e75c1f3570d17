"""The functions that printed CUDA kernels call: each a few LLVM instructions or one line of PTX; all compile offline.

Families are made on demand by name: `load8_bfloat16_if`, `store4_float32`, `gather_add_float32_256x2`, `to_bfloat16`.
bfloat16 and float16 live in memory only: a load widens to float32, a store rounds to nearest even. What each emits is
in cuda_memory.py, cuda_lanes.py, cuda_math.py, cuda_tensor.py; this file alone turns emitters into Numba's intrinsics.
Compute capability 8.0 and later is the target; 7.5 compiles too, with bit arithmetic for what it lacks.
"""

import functools
import re

from numba import boolean, float32, float64, int8, int16, int32, int64, types, uint8  # noqa: F401
from numba.cuda import jit
from numba.cuda.extending import intrinsic

from flame.runtime import cuda_lanes, cuda_math, cuda_memory, cuda_tensor
from flame.runtime.cuda_emit import F64, FAST, SIZE, VALUE, constant

device = jit(device=True, forceinline=True, fastmath=FAST)  # a printed function that a printed kernel calls

EMITTERS: dict = {}  # name -> rule of every intrinsic made so far, for lower
COMBINES = "add|mul|maximum|minimum|logical_or|logical_and"


def define(name: str, count: int, rule):
    """An intrinsic of `count` operands; `rule(*types)` gives its result, its operand types and its emitter."""

    def typing(*given):
        result, arguments, emit = rule(*given)
        return result(*arguments), lambda context, b, signature, values: emit(b, values, context, signature)

    params = "".join(f", a{k}" for k in range(count))
    scope = {"typing": typing}
    exec(f"def {name}(context{params}):\n    return typing({params.removeprefix(', ')})", scope)
    scope[name].__doc__ = f"{name}({params.removeprefix(', ')}) of the CUDA prelude."
    EMITTERS[name] = rule
    return intrinsic(scope[name])


def fixed(name: str, made):
    """An intrinsic of one signature, from (result type, argument types, emitter)."""
    return define(name, len(made[1]), lambda *given: made)


def plain(name: str, result, emit):
    """An intrinsic without operands; `emit(b)` gives its value, or nothing."""
    if result is types.void:
        return fixed(name, (result, (), lambda b, values, context, sig: emit(b) or context.get_dummy_value()))
    return fixed(name, (result, (), lambda b, values, context, sig: emit(b)))


def unary(name: str):
    """An intrinsic of one operand, by its rule."""
    return define(name, 1, cuda_math.RULES[name])


def binary(name: str):
    """An intrinsic of two operands, by its rule."""
    return define(name, 2, cuda_math.RULES[name])


exp, exp2, log, log2 = unary("exp"), unary("exp2"), unary("log"), unary("log2")
log1p, expm1, sqrt, rsqrt = unary("log1p"), unary("expm1"), unary("sqrt"), unary("rsqrt")
tanh, sigmoid, erf, sin, cos = unary("tanh"), unary("sigmoid"), unary("erf"), unary("sin"), unary("cos")
tan, asin, acos, atan = unary("tan"), unary("asin"), unary("acos"), unary("atan")
sinh, cosh, asinh, acosh = unary("sinh"), unary("cosh"), unary("asinh"), unary("acosh")
atanh, log10, erfc, erfinv, lgamma = map(unary, ("atanh", "log10", "erfc", "erfinv", "lgamma"))
floor, ceil, trunc, round = unary("floor"), unary("ceil"), unary("trunc"), unary("round")
absolute, isnan, sign, signbit = unary("absolute"), unary("isnan"), unary("sign"), unary("signbit")
atan2, hypot, copysign, nextafter = binary("atan2"), binary("hypot"), binary("copysign"), binary("nextafter")
fmod, gcd, shift_left, shift_right = binary("fmod"), binary("gcd"), binary("shift_left"), binary("shift_right")
maximum, minimum, power = binary("maximum"), binary("minimum"), binary("power")
floordiv, modulo, trunc_divide = binary("floordiv"), binary("modulo"), binary("trunc_divide")
select = define("select", 3, cuda_math.RULES["select"])
logical_not = fixed("logical_not", (types.boolean, (types.boolean,), lambda b, values, context, sig: b.not_(values[0])))
philox = fixed("philox", (types.int64, (types.int64, types.int64), cuda_math.philox))
udiv32, umod32 = (fixed(n, cuda_math.unsigned(n[:4], 32)) for n in ("udiv32", "umod32"))
udiv64, umod64 = (fixed(n, cuda_math.unsigned(n[:4], 64)) for n in ("udiv64", "umod64"))
inf = plain("inf", types.float64, lambda b: constant(F64, float("inf")))
nan = plain("nan", types.float64, lambda b: constant(F64, float("nan")))
thread = plain("thread", types.int64, cuda_lanes.thread_register("tid.x"))
block = plain("block", types.int64, cuda_lanes.thread_register("ctaid.x"))
some = fixed("some", (types.boolean, (types.boolean,), lambda b, values, context, sig: values[0]))
barrier = plain("barrier", types.void, cuda_lanes.barrier)
cluster_rank = plain("cluster_rank", types.int64, cuda_tensor.cluster_rank)
tile_memory = plain("tile_memory", types.int64, cuda_tensor.tile_memory)
fetched = plain("fetched", types.void, cuda_memory.fetched)
arrive, wait = plain("arrive", types.void, cuda_lanes.arrive), plain("wait", types.void, cuda_lanes.wait)


def _access(name, kind, width, dtype, how):
    if kind == "store" and how == "_edge":
        return fixed(name, cuda_memory.store_edge(int(width), dtype))
    make = cuda_memory.load if kind == "load" else cuda_memory.store
    return fixed(name, make(int(width), dtype, bool(how)))


def _gather(name, combine, dtype, lanes, rows, blocks):
    if blocks:
        return fixed(name, cuda_lanes.gather_cluster(combine, dtype, int(lanes), int(blocks)))
    return fixed(name, cuda_lanes.gather(combine, dtype, int(lanes), int(rows or 1)))


def _gathers(name, count, combine, dtype, lanes):
    return fixed(name, cuda_lanes.gathers(combine, dtype, int(lanes), int(count)))


def _tile(name, kind, tile, dtype, places, guarded):
    make = cuda_lanes.put if kind == "put" else cuda_lanes.get
    return fixed(name, make(tile, dtype, int(places), bool(guarded)))


def _shift(name, where, dtype, distance):
    return fixed(name, cuda_lanes.shift(where, int(distance), dtype))


def _edge(name, where, dtype, lanes):
    make = cuda_lanes.edges if where.endswith("s") else cuda_lanes.edge
    return fixed(name, make(where, dtype, int(lanes)))


def _ahead(name, kind, width, dtype, threads):
    make = cuda_memory.fetch if kind == "fetch" else cuda_memory.take
    return fixed(name, make(int(width), dtype, int(threads)))


def _awaited(name, left):
    return plain(name, types.void, cuda_memory.awaited(int(left)))


def _unite(name, combine, dtype, groups, lanes):
    return fixed(name, cuda_lanes.unite(combine, dtype, int(groups), int(lanes)))


def _fold(name, combine, dtype):
    kind = VALUE[dtype]
    made = kind, (kind, kind), lambda b, values, context, sig: cuda_math.combine(b, combine, dtype, *values)
    return fixed(name, made)


def _cast(name, dtype):
    return define(name, 1, cuda_math.cast(dtype))


def _wgmma(name, dtype, columns, left, right):
    return fixed(name, cuda_tensor.wgmma(dtype, int(columns), left, right))


def _tensor(name, *found):
    rules = {**cuda_tensor.TOLD, **cuda_tensor.MAPPED}
    make = cuda_tensor.told if name in cuda_tensor.TOLD else cuda_tensor.mapped
    return fixed(name, make(*rules[name]))


DTYPES = "|".join(VALUE)
REGISTERS = "|".join(name for name in VALUE if SIZE[name] >= 4 or not name.startswith(("float", "bfloat")))
FAMILIES = (
    (re.compile(rf"(load|store)(1|2|4|8|16)_({DTYPES})(_if|_edge)?"), _access),
    (re.compile(rf"gather_({COMBINES})_({REGISTERS})_([1-9]\d*)(?:x([1-9]\d*)|c([1-9]\d*))?"), _gather),
    (re.compile(rf"(fetch|take)(1|2|4|8|16)_({DTYPES})_([1-9]\d*)"), _ahead),
    (re.compile(r"awaited_(\d+)"), _awaited),
    (re.compile(rf"unite_({COMBINES})_({REGISTERS})_([1-9]\d*)x([1-9]\d*)"), _unite),
    (re.compile(rf"(before|behind)_({REGISTERS})_([1-9]\d*)"), _shift),
    (re.compile(rf"(firsts?|lasts?)_({REGISTERS})_([1-9]\d*)"), _edge),
    (re.compile(rf"fold_({COMBINES})_({REGISTERS})"), _fold),
    (re.compile(rf"gather([1-9]\d*)_({COMBINES})_({REGISTERS})_([1-9]\d*)"), _gathers),
    (re.compile(rf"(put|get)_(tile\d+)_({REGISTERS})_([1-9]\d*)(_if)?"), _tile),
    (re.compile(rf"to_({DTYPES})"), _cast),
    (re.compile(r"wgmma_(bfloat16|float16)_(\d+)_([mk])([nk])"), _wgmma),
    (re.compile(r"wgmma_wait(\d+)_(\d+)"), lambda n, p, c: fixed(n, cuda_tensor.wgmma_wait(int(c), int(p)))),
    (re.compile(r"accumulators_(\d+)"), lambda n, c: fixed(n, cuda_tensor.accumulators(int(c)))),
    (re.compile(r"stmatrix_(bfloat16|float16)"), lambda n, d: fixed(n, cuda_tensor.stmatrix(d))),
    (re.compile(r"store_wait(\d)"), lambda n, p: fixed(n, cuda_tensor.store_wait(int(p)))),
    (re.compile("|".join([*cuda_tensor.TOLD, *cuda_tensor.MAPPED])), _tensor),
)


@functools.cache
def family(name: str):
    """The member of a family that a name asks for."""
    for pattern, make in FAMILIES:
        if found := pattern.fullmatch(name):
            return make(name, *found.groups())
    raise AttributeError(f"{__name__} has no {name}")


def __getattr__(name: str):
    if name.startswith("__"):
        raise AttributeError(name)
    return family(name)
