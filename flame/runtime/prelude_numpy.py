"""The CUDA prelude over numpy: a printed CUDA kernel runs without a GPU, every scalar an array over (blocks, lanes).

    run(source, "kernel_1", blocks=4, threads=256, n=1000, args=[x, out, np.float32(2.0)])

An address argument is a contiguous numpy array (ml_dtypes.bfloat16 for bfloat16), read and written in place; any other
argument is a value. The run is an oracle of memory safety too: an access out of bounds or misaligned, two lanes that
write different values to one element, and a lane that reads what another wrote (or writes what another read) raise
ValidationError. Arithmetic keeps the dtypes of the kernel, so float32 stays float32.
"""

import functools
import re
import threading
from types import SimpleNamespace

import numpy as np

from flame.errors import ValidationError
from flame.ir import special
from flame.ir.dtype import converted
from flame.runtime.numpy_memory import Buffer, Lanes, Table, load, store, store_edge

CHUNK = 1 << 20  # lanes that run at once: more blocks than fit run in turns
CLUSTER = 16  # blocks of the largest cluster, which run at once

_run = threading.local()


def run(source: str, name: str, blocks: int, threads: int, n: int, args) -> None:
    """Run the kernel `name` of a printed CUDA source on `blocks` of `threads` lanes each."""
    tables: dict = {}
    given = [Buffer.of(a, f"argument {k} of {name}", tables) if _is_memory(a) else a for k, a in enumerate(args)]
    _go(source, name, [(0, blocks)], threads, [np.int64(n), *given])


def run_many(source: str, name: str, blocks: list[int], threads: int, sizes: list[tuple[int, ...]], memory) -> None:
    """Run a kernel for many tensors: `blocks` of each, its row (n, slots) of `sizes`, and memory by slot."""
    buffers: dict = {}
    table = Table({s: Buffer.of(a, f"slot {s} of {name}", buffers) if _is_memory(a) else a for s, a in memory.items()})
    where = np.array([(i, k) for i, n in enumerate(blocks) for k in range(n)], np.int64)
    given = [Buffer.of(np.ravel(a), what, buffers) for a, what in ((where, "where"), (np.array(sizes), "sizes"))]
    starts = np.cumsum([0, *blocks])[:-1].tolist()
    _go(source, name, list(zip(starts, blocks, strict=True)), threads, [np.int64(0), *given, table])


def _go(source: str, name: str, turns: list[tuple[int, int]], threads: int, given: list) -> None:
    """Runs of blocks, (first, count), one after the other."""
    text = source.replace("flame.runtime.prelude_cuda", __name__)
    scope: dict = {"__name__": f"flame_numpy_{name}", "range": steps}
    exec(compile(text, f"<{name} under numpy>", "exec"), scope)
    step = max(CLUSTER, CHUNK // threads // CLUSTER * CLUSTER)
    outer = getattr(_run, "lanes", None)
    try:
        for start, count in turns:
            for first in range(start, start + count, step):
                _run.lanes, _run.tiles = Lanes(first, min(step, start + count - first), threads), {}
                with np.errstate(all="ignore"):
                    scope[name](*given)
    finally:
        _run.lanes = outer


def _is_memory(argument) -> bool:
    return isinstance(argument, np.ndarray) and argument.ndim > 0


def lanes() -> Lanes:
    """The blocks and threads that run now."""
    found = getattr(_run, "lanes", None)
    if found is None:
        found = Lanes(0, 1, 1)  # outside a kernel: plain arithmetic, which the tests use
    return found


def thread():
    """The lane's number in its block, shape (1, threads)."""
    return np.arange(lanes().threads, dtype=np.int64)[None, :]


def block():
    """The block's number, shape (blocks, 1)."""
    return np.arange(lanes().first, lanes().first + lanes().blocks, dtype=np.int64)[:, None]


def some(condition) -> bool:
    """Whether any lane has rows left: all go together, those that are through are masked."""
    return bool(np.any(condition))


def steps(*limits):
    """`range`, where each lane may have a beginning and an end of its own: as long as any lane goes on."""
    if all(np.ndim(limit) == 0 for limit in limits):
        return range(*limits)
    begin, end = np.broadcast_arrays(*limits)
    return (begin + k for k in range(int(np.max(end - begin, initial=0))))


def barrier():
    """All lanes take each statement together, so there is nothing to wait for."""


arrive = wait = barrier


def fetched():
    """What was fetched since the last such call is one batch."""
    lanes().ring.close()


def awaited(left: int):
    """At most `left` batches are under way."""
    lanes().ring.wait(left)


# --- conversions ----------------------------------------------------------------------------------
NUMPY = {"bool": np.bool_, "float16": np.float32, "bfloat16": np.float32}
NUMPY |= {"float8_e4m3fn": np.float32, "float8_e5m2": np.float32}
NUMPY |= {d: getattr(np, d) for d in ("int8", "uint8", "int16", "int32", "int64", "float32", "float64")}


def cast(dtype: str, x):
    """A value in the register type of a dtype; floats truncate to integers, narrow integers wrap."""
    x, to = np.asarray(x), np.dtype(NUMPY[dtype])
    if dtype == "bool":
        return (x != 0)[()]
    with np.errstate(all="ignore"):
        if dtype in ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"):
            x = converted(x.astype(np.float32), memory_type(dtype))
        if x.dtype.kind == "f" and to.kind in "iu" and to.itemsize < 4:
            x = x.astype(np.int32)
        return x.astype(to)[()]


def memory_type(dtype: str) -> np.dtype:
    """The numpy dtype of elements in memory."""
    if dtype == "bfloat16" or dtype.startswith("float8"):
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, dtype))
    return np.dtype(np.float16 if dtype == "float16" else NUMPY[dtype])


float32, float64 = functools.partial(cast, "float32"), functools.partial(cast, "float64")
int8, int16, int32, int64 = (functools.partial(cast, d) for d in ("int8", "int16", "int32", "int64"))
uint8, boolean = functools.partial(cast, "uint8"), functools.partial(cast, "bool")


def inf():
    """Infinity as float64."""
    return np.float64(np.inf)


def nan():
    """Not a number as float64."""
    return np.float64(np.nan)


# --- functions ------------------------------------------------------------------------------------
def quiet(function):
    """Without numpy's warnings: 1/0 and friends have their values, as on a GPU."""

    @functools.wraps(function)
    def silent(*values):
        with np.errstate(all="ignore"):
            return function(*values)

    return silent


exp, exp2, log, log2, log1p, expm1 = map(quiet, (np.exp, np.exp2, np.log, np.log2, np.log1p, np.expm1))
sqrt, tanh, sin, cos, tan, log10 = map(quiet, (np.sqrt, np.tanh, np.sin, np.cos, np.tan, np.log10))
asin, acos, atan, sinh, cosh = map(quiet, (np.arcsin, np.arccos, np.arctan, np.sinh, np.cosh))
asinh, acosh, atanh = map(quiet, (np.arcsinh, np.arccosh, np.arctanh))
atan2, hypot, fmod, copysign, nextafter = map(quiet, (np.arctan2, np.hypot, np.fmod, np.copysign, np.nextafter))
floor, ceil, round, trunc = map(quiet, (np.floor, np.ceil, np.rint, np.trunc))
absolute, maximum, minimum, power, isnan = map(quiet, (np.absolute, np.maximum, np.minimum, np.power, np.isnan))
logical_not, select, signbit = np.logical_not, np.where, np.signbit


@quiet
def rsqrt(x):
    """1 / sqrt(x)."""
    return np.asarray(x).dtype.type(1) / np.sqrt(x)


@quiet
def sigmoid(x):
    """1 / (1 + exp(-x))."""
    one = np.asarray(x).dtype.type(1)
    return one / (one + np.exp(-x))


def _of_special(name: str):
    """A function that numpy lacks, of scalars too."""
    function = getattr(special, name)

    @quiet
    @functools.wraps(function)
    def apply(*values):
        return function(*np.broadcast_arrays(*values))[()]

    return apply


erf, erfc, erfinv, lgamma, sign, trunc_divide, shift_left, shift_right, gcd = map(
    _of_special, ("erf", "erfc", "erfinv", "lgamma", "sign", "trunc_divide", "shift_left", "shift_right", "gcd")
)


@quiet
def floordiv(x, y):
    """numpy's floor_divide; integers by zero give 0."""
    return np.floor_divide(x, y)


@quiet
def modulo(x, y):
    """numpy's mod; integers by zero give 0."""
    return np.mod(x, y)


def _unsigned(function, bits):
    """As the hardware divides: of a masked lane's negative position it makes a number that no access uses."""

    def divide(x, y):
        if np.any(np.asarray(y) <= 0):
            raise ValidationError(f"an unsigned division by {np.min(y)}")
        low = np.uint64(2**bits - 1)
        x, y = (np.asarray(v, np.int64).view(np.uint64) & low for v in (x, y))
        return function(x, y).astype(np.int64)[()]

    return divide


udiv32, umod32 = _unsigned(np.floor_divide, 32), _unsigned(np.mod, 32)
udiv64, umod64 = _unsigned(np.floor_divide, 64), _unsigned(np.mod, 64)


def philox(key, counter):
    """Word `counter & 3` of Philox4x32-10 at counter words (counter >> 2, 0), as int64 below 2**32."""
    key, counter = (np.asarray(v).astype(np.int64).view(np.uint64) for v in (key, counter))
    word, place = np.uint64(0xFFFFFFFF), counter >> np.uint64(2)
    c = [place & word, place >> np.uint64(32), place & np.uint64(0), place & np.uint64(0)]
    low, high = key & word, key >> np.uint64(32)
    for _ in range(10):
        first, third = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(third >> np.uint64(32)) ^ c[1] ^ low, third & word, (first >> np.uint64(32)) ^ c[3] ^ high, first & word]
        low, high = (low + np.uint64(0x9E3779B9)) & word, (high + np.uint64(0xBB67AE85)) & word
    which = (counter & np.uint64(3)).astype(np.int64)
    return np.choose(which, [w.astype(np.int64) for w in np.broadcast_arrays(*c)])[()]


# --- lanes ----------------------------------------------------------------------------------------
COMBINE = {"add": np.add, "mul": np.multiply, "maximum": np.maximum, "minimum": np.minimum}
COMBINE |= {"logical_or": np.logical_or, "logical_and": np.logical_and}


def fold(combine: str, dtype: str, x, y):
    """Two values as one, in the register type."""
    with np.errstate(all="ignore"):
        return COMBINE[combine](x, y).astype(NUMPY[dtype])


def gather(combine: str, dtype: str, width: int, rows: int, blocks: int, v):
    """All lanes of a row combined, for each lane; threads map to lanes and rows as in cuda_lanes.py."""
    now, kind = lanes(), NUMPY[dtype]
    if np.asarray(v).dtype != np.dtype(kind):
        raise ValidationError(f"gather_{combine}_{dtype} is given {np.asarray(v).dtype}")
    exact = blocks > 1 or (rows > 1 and width * rows > 32)
    if now.threads % (width * rows) or now.blocks % blocks or (exact and now.threads != width * rows):
        raise ValidationError(f"{now.threads} threads are no whole number of {width} lanes x {rows} rows that may meet")
    whole = np.broadcast_to(v, (now.blocks, now.threads)).reshape(now.blocks // blocks, -1, width * blocks, rows)
    keeps_kind = {} if combine.startswith("logical") else {"dtype": kind}
    with np.errstate(all="ignore"):
        found = COMBINE[combine].reduce(whole, axis=2, keepdims=True, **keeps_kind).astype(kind)
    return np.broadcast_to(found, whole.shape).reshape(now.blocks, now.threads)


def put(tile: str, dtype: str, places: int, i, value, ok=True):
    """Stage one element a lane in a tile of its block; two lanes never stage different values in one place."""
    now, kind = lanes(), np.dtype(NUMPY[dtype])
    if np.asarray(value).dtype != kind:
        raise ValidationError(f"put_{tile}_{dtype} is given {np.asarray(value).dtype}")
    held, there = _run.tiles.setdefault(
        tile, (np.zeros((now.blocks, places), kind), np.zeros((now.blocks, places), bool))
    )
    block, place, ok = _places(tile, places, i, ok)
    new = np.broadcast_to(value, ok.shape)[ok]
    held[block, place], there[block, place] = new, True
    if (held[block, place] != new)[new == new].any():
        raise ValidationError(f"put_{tile}_{dtype}: two lanes stage different values in one place: a race")


def get(tile: str, dtype: str, places: int, i, ok=True):
    """What any lane of the block has staged at a place; 0 where a lane is masked."""
    held, there = _run.tiles[tile]
    block, place, ok = _places(tile, places, i, ok)
    if not there[block, place].all():
        raise ValidationError(f"get_{tile}_{dtype} reads a place where nothing is staged")
    out = np.zeros(ok.shape, NUMPY[dtype])
    out[ok] = held[block, place]
    return out


def _places(tile: str, places: int, i, ok):
    """(block, place) of each lane that is not masked, and the mask."""
    now = lanes()
    i, ok = (np.broadcast_to(v, (now.blocks, now.threads)) for v in (i, ok))
    if (ok & ((i < 0) | (i >= places))).any():
        raise ValidationError(f"{tile} of {places} places is reached at {i[ok].min()} to {i[ok].max()}")
    return np.broadcast_to(np.arange(now.blocks)[:, None], ok.shape)[ok], i[ok], ok


def shift(where: str, dtype: str, distance: int, v):
    """The value of the lane so far before or behind each lane; a lane of no row is told another's."""
    return np.roll(_spread(dtype, v), distance if where == "before" else -distance, axis=1)


def edge(where: str, dtype: str, width: int, v):
    """The value of the first or last lane of each row of `width` lanes; of each warp, as a tuple."""
    several = where.endswith("s")
    rows = _spread(dtype, v).reshape(lanes().blocks, -1, 32 if several else width)
    if several and rows.shape[1] != width:
        raise ValidationError(f"{where}_{dtype}_{width} in a block of {rows.shape[1]} warps")
    found = rows[:, :, -1 if where.startswith("last") else 0]
    return tuple(found[:, w : w + 1] for w in range(width)) if several else np.repeat(found, width, axis=1)


def _spread(dtype: str, v):
    """A value of each lane, in the register type."""
    if np.asarray(v).dtype != np.dtype(NUMPY[dtype]):
        raise ValidationError(f"lanes exchange {np.asarray(v).dtype} as {dtype}")
    return np.broadcast_to(v, (lanes().blocks, lanes().threads))


# --- families by name -------------------------------------------------------------------------------
def access(name: str, kind: str, width: str, dtype: str, how: str | None):
    """`load{W}_{dtype}[_if|_edge]` and `store..`: guarded by their last operand, but for the plain ones."""
    edge = how == "_edge"
    spec = SimpleNamespace(name=name, width=int(width), dtype=memory_type(dtype), register=NUMPY[dtype], edge=edge)
    act = load if kind == "load" else store_edge if edge else store
    if how:
        return lambda p, i, *rest: act(spec, lanes(), p, i, rest[-1], *rest[:-1])
    return lambda p, i, *rest: act(spec, lanes(), p, i, True, *rest)


def ahead(name: str, kind: str, width: str, dtype: str, threads: str):
    """`fetch{W}_{dtype}_{threads}(at, p, i, ok)`, and `take..(at)`, which reads what this lane fetched there."""
    read = access(name, "load", width, dtype, "_if")
    nbytes = int(width) * memory_type(dtype).itemsize * int(threads)

    def fetch(at, p, i, ok):
        lanes().ring.fetch(int(at), read(p, i, ok), nbytes)

    return fetch if kind == "fetch" else lambda at: lanes().ring.take(int(at))


def _gather(name: str, kind: str, dtype: str, width: str, rows: str | None, blocks: str | None):
    return functools.partial(gather, kind, dtype, int(width), int(rows or 1), int(blocks or 1))


def _gathers(name: str, count: str, kind: str, dtype: str, width: str):
    return lambda *values: tuple(gather(kind, dtype, int(width), 1, 1, v) for v in values)


def _unite(name: str, kind: str, dtype: str, groups: str, lanes: str):
    return functools.partial(gather, kind, dtype, int(groups), int(lanes), 1)


def _tile(name: str, kind: str, tile: str, dtype: str, places: str, guarded: str | None):
    return functools.partial(put if kind == "put" else get, tile, dtype, int(places))


def _moved(move):
    return lambda name, where, dtype, count: functools.partial(move, where, dtype, int(count))


D = "|".join(NUMPY)
C = "|".join(COMBINE)
FAMILIES = (
    (re.compile(rf"(load|store)(1|2|4|8|16)_({D})(_if|_edge)?"), access),
    (re.compile(rf"(fetch|take)(1|2|4|8|16)_({D})_([1-9]\d*)"), ahead),
    (re.compile(r"awaited_(\d+)"), lambda name, left: functools.partial(awaited, int(left))),
    (re.compile(rf"gather_({C})_({D})_([1-9]\d*)(?:x([1-9]\d*)|c([1-9]\d*))?"), _gather),
    (re.compile(rf"gather([1-9]\d*)_({C})_({D})_([1-9]\d*)"), _gathers),
    (re.compile(rf"unite_({C})_({D})_([1-9]\d*)x([1-9]\d*)"), _unite),
    (re.compile(rf"(put|get)_(tile\d+)_({D})_([1-9]\d*)(_if)?"), _tile),
    (re.compile(rf"(before|behind)_({D})_([1-9]\d*)"), _moved(shift)),
    (re.compile(rf"(firsts?|lasts?)_({D})_([1-9]\d*)"), _moved(edge)),
    (re.compile(rf"fold_({C})_({D})"), lambda name, *kinds: functools.partial(fold, *kinds)),
    (re.compile(rf"to_({D})"), lambda name, dtype: functools.partial(cast, dtype)),
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
