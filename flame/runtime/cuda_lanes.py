"""How the lanes of a CUDA block meet: warp shuffles, then shared memory where a row is wider than a warp.

`gather_{combine}_{dtype}_{lanes}`: neighbouring threads are the lanes of a row, thread t has row t // lanes.
`gather_{combine}_{dtype}_{lanes}x{rows}`: neighbouring threads are rows, lane l of row j is thread l * rows + j; where
lanes * rows passes a warp, the block has exactly that many threads (without `x{rows}` it may have several rows).
`gather_{combine}_{dtype}_{lanes}c{blocks}`: the lanes of all blocks of a cluster; `arrive` begins such a kernel, `wait`
ends it, and each gather waits for the `arrive` before it and leaves one behind.
Every lane gets the result, the same bits in each. A gather in a loop reuses its shared memory, so the printer ends each
round with a barrier.

`put_{tile}_{dtype}_{places}` and `get_{..}` write and read a tile that the block shares; a barrier stands between them.
Scans move values between neighbours: `before_float32_4` (shift), `last_float32_8` (edge), `lasts_float32_4` (edges).
"""

import functools

from llvmlite import ir
from numba import types

from flame.runtime.cuda_emit import (
    F32,
    F64,
    I1,
    I8,
    I32,
    I64,
    REGISTER,
    VALUE,
    VOID,
    asm,
    constant,
    from_words,
    words_of,
)
from flame.runtime.cuda_math import combine, is_signed, neutral


def gather(operation: str, dtype: str, lanes: int, rows: int = 1):
    """Result type, argument types and emitter of a gather."""
    power = lanes & (lanes - 1) == 0
    if not ((power and lanes <= 32) or (lanes % 32 == 0 and lanes <= 1024)):
        raise AttributeError(f"a row has 1, 2, 4, .. 32 lanes or a multiple of 32 up to 1024, not {lanes}")
    if lanes * rows > 1024:
        raise AttributeError(f"{lanes} lanes of {rows} rows are more than the 1024 threads of a block")

    def emit(b, values, context, signature):
        truth = operation.startswith("logical")
        x = _enter(b, values[0], dtype, truth)
        both = functools.partial(combine, b, operation, "bool" if truth else dtype, wide=x.type)
        if rows & (rows - 1) == 0 and rows <= 32:
            spread = lanes * rows
            if spread <= 32:
                out = _butterfly(b, x, both, spread, rows)
            elif rows == 1:
                (out,) = _across_warps(b, [x], both, lanes // 32, neutral(operation, dtype, x.type))
            else:
                out = _across_rows(b, x, both, spread // 32, rows)
        else:
            out = _in_shared(b, x, both, lanes, rows)
        return _leave(b, out, dtype, truth)

    return VALUE[dtype], (VALUE[dtype],), emit


def put(tile: str, dtype: str, places: int, guarded: bool):
    """Result type, argument types and emitter of `put_{tile}_{dtype}_{places}[_if](i, value[, ok])`."""
    arguments = (types.int64, VALUE[dtype]) + ((types.boolean,) if guarded else ())

    def emit(b, values, context, signature):
        x = b.zext(values[1], I8) if values[1].type == I1 else values[1]
        where = values[0]
        if guarded:  # what does not exist is put where nothing is read: one place more than there are
            where = b.select(values[2], where, constant(I64, places))
        b.store(x, _tile(b, tile, x.type, places)(b.trunc(where, I32)))
        return context.get_dummy_value()

    return types.void, arguments, emit


def get(tile: str, dtype: str, places: int, guarded: bool):
    """Result type, argument types and emitter of `get_{tile}_{dtype}_{places}[_if](i[, ok])`."""
    arguments = (types.int64,) + ((types.boolean,) if guarded else ())
    kind = REGISTER[dtype]

    def emit(b, values, context, signature):
        where = b.select(values[1], values[0], constant(I64, places)) if guarded else values[0]
        held = I8 if kind == I1 else kind
        x = b.load(_tile(b, tile, held, places)(b.trunc(where, I32)))
        return b.icmp_unsigned("!=", x, constant(I8, 0)) if kind == I1 else x

    return VALUE[dtype], arguments, emit


def _tile(b, name, kind, places):
    """The shared memory of a tile, the same at every call site of a kernel, and a place to throw things."""
    room = ir.ArrayType(kind, places + 1)
    shared = b.module.globals.get(name)
    if shared is None:
        shared = ir.GlobalVariable(b.module, room, name, addrspace=3)
        shared.linkage, shared.initializer, shared.align = "internal", constant(room, ir.Undefined), 16
    return lambda index: b.gep(shared, [constant(I32, 0), index])


def shift(where: str, distance: int, dtype: str):
    """Emits `before_{dtype}_{distance}(x)` or `behind_..`: the value of the lane of the warp so far from each.

    A lane that has none gets some value of its own warp.
    """
    mode, end = ("up", 0) if where == "before" else ("down", 31)
    if not 0 < distance < 32:
        raise AttributeError(f"a lane has neighbours at distances 1 to 31, not {distance}")
    return _moved(dtype, lambda b, x: _shuffled(b, x, mode, constant(I32, distance), end))


def edge(where: str, dtype: str, lanes: int):
    """Emits `first_{dtype}_{lanes}(x)` or `last_..`: the value of that lane of each row within a warp."""
    if lanes not in (2, 4, 8, 16, 32):
        raise AttributeError(f"a row within a warp has 2, 4, .. 32 lanes, not {lanes}")
    return _moved(dtype, lambda b, x: _from_edge(b, x, where, lanes))


def _from_edge(b, x, where, lanes):
    lane = b.and_(_thread(b), constant(I32, 31))
    at = b.or_(lane, constant(I32, lanes - 1)) if where == "last" else b.and_(lane, constant(I32, ~(lanes - 1)))
    return _shuffled(b, x, "idx", at, 31)


def edges(where: str, dtype: str, warps: int):
    """Emits `firsts_{dtype}_{warps}(x)` or `lasts_..`: the value of that lane of each warp of the block, as a tuple."""

    def emit(b, values, context, signature):
        x = _from_edge(b, _enter(b, values[0], dtype, False), where.removesuffix("s"), 32)
        place = _shared(b, x.type, warps)
        b.store(x, place(b.lshr(_thread(b), constant(I32, 5))))
        barrier(b)
        found = [_leave(b, b.load(place(constant(I32, w))), dtype, False) for w in range(warps)]
        return context.make_tuple(b, signature.return_type, found)

    return types.UniTuple(VALUE[dtype], warps), (VALUE[dtype],), emit


def _moved(dtype, move):
    """Result type, argument types and emitter of a move between the lanes of a warp."""

    def emit(b, values, context, signature):
        return _leave(b, move(b, _enter(b, values[0], dtype, False)), dtype, False)

    return VALUE[dtype], (VALUE[dtype],), emit


def gathers(operation: str, dtype: str, lanes: int, count: int):
    """Result type, argument types and emitter of `gather{count}_{combine}_{dtype}_{lanes}`: the lanes meet once."""
    _, (kind,), one = gather(operation, dtype, lanes)

    def emit(b, values, context, signature):
        if lanes <= 32:
            return context.make_tuple(b, signature.return_type, [one(b, [v], context, signature) for v in values])
        truth = operation.startswith("logical")
        held = [_enter(b, v, dtype, truth) for v in values]
        both = functools.partial(combine, b, operation, "bool" if truth else dtype, wide=held[0].type)
        found = _across_warps(b, held, both, lanes // 32, neutral(operation, dtype, held[0].type))
        return context.make_tuple(b, signature.return_type, [_leave(b, x, dtype, truth) for x in found])

    return types.UniTuple(kind, count), (kind,) * count, emit


def gather_cluster(operation: str, dtype: str, lanes: int, blocks: int):
    """Result type, argument types and emitter of a gather over the lanes of all blocks of a cluster."""
    if lanes % 32 or not 32 <= lanes <= 1024 or blocks not in (2, 4, 8, 16):
        raise AttributeError(f"a cluster has 2, 4, 8 or 16 blocks of whole warps, not {blocks} of {lanes} threads")

    def emit(b, values, context, signature):
        truth = operation.startswith("logical")
        x = _enter(b, values[0], dtype, truth)
        both = functools.partial(combine, b, operation, "bool" if truth else dtype, wide=x.type)
        out = _across_blocks(b, x, both, lanes // 32, blocks, neutral(operation, dtype, x.type))
        return _leave(b, out, dtype, truth)

    return VALUE[dtype], (VALUE[dtype],), emit


def _shuffled(b, x, mode, lane, end):
    """A value from the lane that is `lane` away, or is `lane`."""
    if x.type in (F64, I64):
        low, high = (_shuffled(b, word, mode, lane, end) for word in words_of(b, x))
        return from_words(b, low, high, x.type)
    mark = "f" if x.type == F32 else "r"
    text = f"shfl.sync.{mode}.b32 $0, $1, $2, {end}, 0xffffffff;"
    return asm(b, x.type, text, f"={mark},{mark},r", [x, lane], convergent=True)


def unite(operation: str, dtype: str, groups: int, lanes: int):
    """Result type, argument types and emitter of `unite_{combine}_{dtype}_{groups}x{lanes}`: equal lanes of all groups.

    Lane l of group j is thread j * lanes + l. All such calls of a kernel share one piece of memory.
    """
    if groups * lanes > 1024:
        raise AttributeError(f"{groups} groups of {lanes} lanes are more than the 1024 threads of a block")

    def emit(b, values, context, signature):
        truth = operation.startswith("logical")
        x = _enter(b, values[0], dtype, truth)
        both = functools.partial(combine, b, operation, "bool" if truth else dtype, wide=x.type)
        tid, name = _thread(b), f"united_{x.type}"
        shared = b.module.globals.get(name) or _array(b, x.type, groups * lanes, name)
        place = lambda index: b.gep(shared, [constant(I32, 0), index])  # noqa: E731
        barrier(b)  # all have read what the call before this one left
        step = lanes
        if lanes < 32 and lanes & (lanes - 1) == 0 and groups * lanes % 32 == 0:
            x, step = _butterfly(b, x, both, 32, lanes), 32  # the groups of a warp first
        b.store(x, place(tid))
        barrier(b)
        mine = b.urem(tid, constant(I32, step))
        found = [b.load(place(b.add(mine, constant(I32, k)))) for k in range(0, groups * lanes, step)]
        return _leave(b, functools.reduce(both, found), dtype, truth)

    return VALUE[dtype], (VALUE[dtype],), emit


def thread_register(name: str):
    """The value of a special register as int64."""
    return lambda b: b.zext(asm(b, I32, f"mov.u32 $0, %{name};", "=r", pure=True), I64)


def barrier(b) -> None:
    """Wait for all threads of the block."""
    asm(b, VOID, "bar.sync 0;", "~{memory}", convergent=True)


def arrive(b) -> None:
    """Tell the blocks of the cluster that this lane is here, and what it wrote to their memory."""
    asm(b, VOID, "barrier.cluster.arrive.release.aligned;", "~{memory}", convergent=True)


def wait(b) -> None:
    """Wait until all lanes of the cluster have arrived."""
    asm(b, VOID, "barrier.cluster.wait.acquire.aligned;", "~{memory}", convergent=True)


def _enter(b, x, dtype, truth):
    """The value as 32 or 64 bits, as a shuffle wants it; a truth is 0 or 1."""
    if truth and dtype != "bool":
        zero = constant(x.type, 0)
        x = b.fcmp_unordered("!=", x, zero) if x.type in (F32, F64) else b.icmp_unsigned("!=", x, zero)
    if x.type.__class__ is ir.IntType and x.type.width < 32:
        return b.sext(x, I32) if is_signed(dtype) and not truth else b.zext(x, I32)
    return x


def _leave(b, x, dtype, truth):
    """The value in its register type again."""
    kind = REGISTER[dtype]
    if kind == I1:
        return b.icmp_unsigned("!=", x, constant(I32, 0))
    if truth and kind in (F32, F64, I64):
        return b.zext(x, kind) if kind == I64 else b.uitofp(x, kind)
    return b.trunc(x, kind) if x.type == I32 and kind != I32 else x


def _shuffle(b, x, distance):
    """The value of the lane whose number differs in one bit."""
    if x.type in (F64, I64):
        low, high = (_shuffle(b, word, distance) for word in words_of(b, x))
        return from_words(b, low, high, x.type)
    mark = "f" if x.type == F32 else "r"
    text = f"shfl.sync.bfly.b32 $0, $1, {distance}, 31, 0xffffffff;"
    return asm(b, x.type, text, f"={mark},{mark}", [x], convergent=True)


def _butterfly(b, x, both, width, least=1):
    while (width := width // 2) >= least:
        x = both(x, _shuffle(b, x, width))
    return x


def _shared(b, kind, count):
    """Shared memory for one gather; each call site has its own, so that two gathers need no barrier between them."""
    shared = _array(b, kind, count, b.module.get_unique_name("gathered"))
    return lambda index: b.gep(shared, [constant(I32, 0), index])


def _array(b, kind, count, name):
    places = ir.ArrayType(kind, count)
    shared = ir.GlobalVariable(b.module, places, name, addrspace=3)
    shared.linkage, shared.initializer, shared.align = "internal", constant(places, ir.Undefined), 16
    return shared


def _thread(b):
    return asm(b, I32, "mov.u32 $0, %tid.x;", "=r", pure=True)


def _across_warps(b, values, both, warps, identity):
    """Rows of several whole warps: each warp leaves one of each value, then every warp of the row reads them all."""
    place, tid = _shared(b, values[0].type, 32 * len(values)), _thread(b)
    warp = b.lshr(tid, constant(I32, 5))
    for k, x in enumerate(values):
        b.store(_butterfly(b, x, both, 32), place(b.add(warp, constant(I32, 32 * k))))
    barrier(b)
    first = b.mul(b.udiv(warp, constant(I32, warps)), constant(I32, warps))
    width = 1 << (warps - 1).bit_length()  # each group of `width` lanes reads all partial results
    lane = b.and_(tid, constant(I32, width - 1))
    inside = b.icmp_unsigned("<", lane, constant(I32, warps))
    at = b.select(inside, b.add(first, lane), first)
    found = [b.load(place(b.add(at, constant(I32, 32 * k)))) for k in range(len(values))]
    whole = width == warps
    return [_butterfly(b, x if whole else b.select(inside, x, identity), both, width) for x in found]


def _across_blocks(b, x, both, warps, blocks, identity):
    """Each warp leaves its value in the memory of every block of the cluster, then reads all of them in its own."""
    x, count, tid = _butterfly(b, x, both, 32), warps * blocks, _thread(b)
    place = _shared(b, x.type, count)
    lane, warp = b.and_(tid, constant(I32, 31)), b.lshr(tid, constant(I32, 5))
    rank = asm(b, I32, "mov.u32 $0, %cluster_ctarank;", "=r", pure=True)
    mine = b.ptrtoint(place(b.add(b.mul(rank, constant(I32, warps)), warp)), I32)
    wait(b)
    _leave_behind(b, mine, lane, b.icmp_unsigned("<", lane, constant(I32, blocks)), x)
    arrive(b)
    wait(b)
    width = min(32, 1 << (count - 1).bit_length())
    lane, found = b.and_(tid, constant(I32, width - 1)), []
    for first in range(0, count, width):
        at = b.add(lane, constant(I32, first))
        inside = b.icmp_unsigned("<", at, constant(I32, count))
        value = b.load(place(b.select(inside, at, constant(I32, 0))))
        found.append(value if first + width <= count else b.select(inside, value, identity))
    arrive(b)
    return _butterfly(b, functools.reduce(both, found), both, width)


def _leave_behind(b, address, block, ok, x):
    """Write a value to an address in the shared memory of another block of the cluster."""
    wide = x.type in (F64, I64)
    bits = b.bitcast(x, I64 if wide else I32)
    text = (
        "{ .reg .pred q; .reg .b32 at; setp.ne.b32 q, $3, 0; mapa.shared::cluster.u32 at, $0, $1; "
        f"@q st.shared::cluster.b{64 if wide else 32} [at], $2; }}"
    )
    asm(b, VOID, text, f"r,r,{'l' if wide else 'r'},r,~{{memory}}", [address, block, bits, b.zext(ok, I32)])


def _across_rows(b, x, both, warps, rows):
    """Neighbouring threads are rows: each warp leaves one value a row, every thread reads its row's."""
    x, place, tid = _butterfly(b, x, both, 32, rows), _shared(b, x.type, warps * rows), _thread(b)
    mine = b.and_(tid, constant(I32, rows - 1))
    b.store(x, place(b.add(b.mul(b.lshr(tid, constant(I32, 5)), constant(I32, rows)), mine)))
    barrier(b)
    return functools.reduce(both, [b.load(place(b.add(mine, constant(I32, w * rows)))) for w in range(warps)])


def _in_shared(b, x, both, lanes, rows):
    """Any number of rows: every thread leaves its value, then reads its row's."""
    place, tid = _shared(b, x.type, lanes * rows), _thread(b)
    mine = b.urem(tid, constant(I32, rows))
    b.store(x, place(tid))
    barrier(b)
    return functools.reduce(both, [b.load(place(b.add(mine, constant(I32, k * rows)))) for k in range(lanes)])
