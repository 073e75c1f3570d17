"""Choose how a kernel lies on the machine. Only numbers are decided here."""

from dataclasses import replace
from typing import Any

from flame.ir.ahead import ring, turns
from flame.ir.graph import toposort
from flame.ir.index import contiguous, side_by_side, walk
from flame.ir.loop import Init, Keep, Kernel, Layout, Loop, Role, Scan, Stage, accesses, scalars, statements
from flame.ir.node import Node
from flame.ir.plan import Plan, map_kernels
from flame.ir.target import Target

WARP = 32
MOST_APART = 9  # narrow loads of an element from which lanes hold neighbours, not each its own few
ROW_IN_LANE = 40  # elements per lane up to which one warp takes a whole row: no lane waits for another warp
COLUMNS = (32, 8)  # of a block that folds columns: a line of memory, or at least what one transaction brings
REGISTERS = 96  # values of one row that a lane may hold
FILE = 1 << 16  # registers of a multiprocessor
OVERHEAD = 32  # registers for addresses, accumulators and what is computed at the moment
LEAST = 12  # registers without which no lane can do anything
BUSY = 1024  # threads of a multiprocessor that hide the way to memory; they leave 64 registers to each
LINE = (16, 8, 4, 2)  # elements that one lane folds side by side
RAGGED = 1 << 12  # free elements from which on a last vector that is cut off is worth its text
EACH = 8  # elements of a lane that carries folds over rows
BESIDE = 512  # lanes of a block that carries folds over rows, if one row does not take more
SHARED = {(8, 0): 160 << 10, (9, 0): 216 << 10, (10, 0): 216 << 10}  # bytes that a block may ask for, by capability
LEAST_SHARED = 96 << 10  # bytes that a block may ask for on any other GPU that copies ahead
AHEAD = 2  # rows that wait in shared memory before their turn
PIECE = 1 << 15  # values of a row that one block holds, where others can hold the rest
MOST_BLOCKS = 8  # blocks of a cluster that every GPU with clusters can run
MOST_ITEMS = 16  # elements of a column that a lane holds
IN_ROUNDS = 8  # of one that is longer: so few registers that four blocks of 512 lanes share a multiprocessor


def lay_out(plan: Plan, target: Target) -> Plan:
    """Every kernel knows its layout."""
    return map_kernels(plan, lambda k: replace(k, layout=layout(k, target)))


def layout(k: Kernel, target: Target) -> Layout:
    """The default layout of a kernel on a target."""
    if target.max_lanes == 1:
        return _one_lane(k)
    row = next((s for s in statements(k.body) if isinstance(s, Loop) and s.role in (Role.ROW, Role.SPREAD)), None)
    if row is None:
        return Layout(lanes=WARP)
    if any(isinstance(s, Stage) for s in row.body):
        return _tile(k, target)
    v = vector(k, row)
    if row.role is Role.SPREAD:
        if v > 1 and _apart(k, row, v) >= MOST_APART:
            return Layout(lanes=target.max_lanes, items=min(v, 4))
        return Layout(lanes=target.max_lanes, vector=v, ragged=row.extent % v > 0)
    loads = [(p, at) for p, at, written in accesses(k) if not written]
    walked = any(isinstance(s, Scan) for s in row.body)
    if v == 1 and not walked and (beside := _beside(k, row, loads)):
        return _columns(row.extent, beside)
    streams = sum(_streams(at, row) for _, at in loads)
    if turns(k) is not None:
        return _carrying(k, row.extent // v, v, target)
    most = MOST_BLOCKS if target.cc >= (9, 0) and k.outer.extent > 1 and not walked else 1
    return _row(row.extent // v, v, len(loads), max(1, streams), most)


def _apart(k: Kernel, row: Loop, v: int) -> int:
    """Loads of an element that no wide access brings, though its neighbours' are near: each lane's stride over them."""
    found = 0
    if any(isinstance(s, Loop) and s.bounds is not None for s in statements(row.body)):
        return 0  # where an element's loop ends is asked once for all that a lane holds
    for s in row.body:
        inside = [x for x in statements((s,)) if isinstance(x, Loop)]
        rounds = inside[0].extent if inside else 1
        for n in toposort(x for each in statements((s,)) for x in scalars(each)):
            if n.op.name == "load" and n.src and walk(n.src[0], row.var, v)[0] not in (0, 1):
                found += rounds
    return found


def _beside(k: Kernel, row: Loop, loads: list[tuple[str, Any]]) -> int:
    """How many items of the grid a block takes because their elements lie side by side; 0 if they do not."""
    own = [at for _, at in loads if row.var in toposort([at])]
    fits = (c for c in COLUMNS if k.outer.extent >= c and any(side_by_side(at, k.outer.var, c) for at in own))
    return next(fits, 0)


def _columns(rows: int, beside: int) -> Layout:
    """Neighbouring threads hold neighbouring columns, of few enough rows in registers; or go down them in rounds."""
    threads = 1024 if 512 * MOST_ITEMS < rows * beside <= 1024 * MOST_ITEMS else 512
    lanes = min(threads // beside, 1 << (rows - 1).bit_length())
    items = -(-rows // lanes)
    if items <= MOST_ITEMS:
        return Layout(lanes, beside, True, items, 1, True)
    items = MOST_ITEMS if rows % (lanes * MOST_ITEMS) == 0 else IN_ROUNDS  # no rest, no guards: registers for more
    return Layout(lanes, beside, True, items, 1, False)


def _tile(k: Kernel, target: Target) -> Layout:
    """The lanes visit the tile twice, in two orders: as wide as both allow."""
    loops = [s for s in k.outer.body if isinstance(s, Loop)]
    v = min(vector(k, s, _touched(k, s)) for s in loops)
    extent = max(s.extent for s in loops)
    lanes = min(target.max_lanes, _warps(-(-extent // v)))
    return Layout(lanes, items=-(-extent // (lanes * v)), vector=v)


def _touched(k: Kernel, s: Loop) -> list[tuple[str, Any, bool]]:
    """What one loop of a kernel touches in memory."""
    return accesses(replace(k, body=(s,)))


def _one_lane(k: Kernel) -> Layout:
    """Elements that fold their own column stand side by side: each round reads a whole line of memory.

    Where neighbours walk lines of their own, a few go together, for none waits for its own sum then; more would fetch
    so many lines that those a power of two apart drive each other out (cumsum of 256 x 1024: 0.17 ms, with 16 0.84).
    """
    for s in statements(k.body):
        if isinstance(s, Loop) and s.role is Role.ROW and any(isinstance(x, Loop) for x in s.body):
            beside = any(walk(at, s.var, LINE[-1])[0] == 1 for _, at, _ in accesses(k))
            tries = LINE if beside else LINE[2:]
            return Layout(vector=next((v for v in tries if s.extent % v == 0 and _together(k, s, v)), 1))
    return Layout()


def _together(k: Kernel, row: Loop, v: int) -> bool:
    """True if neighbouring elements walk between the same bounds: then one loop serves them."""
    bounds = [b for s in statements(k.body) if isinstance(s, Loop) for b in scalars(s)]
    return all(walk(b, row.var, v)[0] == 0 for b in bounds)


def _streams(at: Any, row: Loop) -> bool:
    """True if an access brings another row for each grid item."""
    path = toposort([at])
    return row.var in path and any(n.op.name == "var" and n is not row.var for n in path)


def _row(chunks: int, v: int, loads: int, streams: int, most: int) -> Layout:
    """The fewest lanes that keep a row in registers: of a warp, of a block, of a cluster of up to `most` blocks.

    Where it is read anew, or weights are, a cluster keeps nothing: what is read again is near, in the L2 cache, since
    few rows are under way.
    """
    if chunks <= WARP * (ROW_IN_LANE // v):
        lanes = min(WARP, 1 << (chunks - 1).bit_length())
        return Layout(lanes, 128 // lanes, False, -(-chunks // lanes), v, True)
    blocks = 1
    while not _block(chunks, v, loads, streams).kept and blocks < most and chunks * v * streams > PIECE * blocks:
        blocks *= 2
    at = replace(_block(-(-chunks // blocks), v, loads, streams), cluster=blocks)
    return at if at.kept and (blocks == 1 or loads == streams) else Layout(512, items=2, vector=v, cluster=blocks)


def _block(chunks: int, v: int, loads: int, streams: int) -> Layout:
    """The lanes of a block that takes a row, or a part of it, and whether their registers hold it."""
    items = max(1, min(4 // streams, chunks // 128))
    lanes = _warps(-(-chunks // items))
    if lanes > 1024:
        items, lanes = -(-chunks // 1024), 1024
    room = FILE // lanes
    kept = items * v * loads <= min(REGISTERS, 2 * (room - OVERHEAD)) and items * v * streams <= room - LEAST
    return Layout(lanes, 1, False, items, v, kept)


def _carrying(k: Kernel, chunks: int, v: int, target: Target) -> Layout:
    """Few elements a lane, since each has accumulators of its own; several rows of a part fill a block."""
    items = max(1, EACH // v)
    lanes = -(-chunks // items)
    lanes = 1 << (lanes - 1).bit_length() if lanes <= WARP else _warps(lanes)
    lanes = min(lanes, 1024 if target.cc >= (9, 0) else 512)
    beside = (
        BESIDE if target.cc >= (9, 0) else BESIDE // 2
    )  # where two turns may be interleaved, for twice the registers
    at = Layout(lanes, max(1, beside // lanes), False, -(-chunks // lanes), v, True, ahead=1)
    stage = ring(replace(k, layout=at)).stage
    room = SHARED.get(target.cc, LEAST_SHARED) if target.cc >= (8, 0) else 0
    return replace(at, ahead=max(0, min(AHEAD, room // max(1, stage) - 1)))


def _warps(threads: int) -> int:
    return -(-threads // WARP) * WARP


def vector(k: Kernel, row: Loop, touched: list[tuple[str, Any, bool]] | None = None) -> int:
    """How many neighbours one access can bring: as many as 16 bytes hold, if some access has them side by side."""
    types = {p.name: p.dtype for p in k.params}
    touched = accesses(k) if touched is None else touched
    wide = max(16 // types[p].size for p, _, _ in touched)
    ragged = row.role is Role.SPREAD and row.extent >= RAGGED
    for v in (8, 4, 2):
        fits = v <= wide and (row.extent % v == 0 or ragged)
        if (
            fits
            and _together(k, row, v)
            and any(contiguous(at, row.var, v) and types[p].size * v >= 8 for p, at, _ in touched)
        ):
            return v
    return 1


def geometry(k: Kernel) -> tuple[int, int]:
    """(blocks, threads in a block)."""
    return -(-k.outer.extent // share(k)) * k.layout.cluster, k.layout.lanes * k.layout.rows


def share(k: Kernel) -> int:
    """Items or elements of the outer loop that one block, or one cluster of blocks, takes."""
    if k.outer.role is Role.SPREAD:
        return k.layout.span
    return k.layout.rows if turns(k) is None else 1


def resident(k: Kernel) -> int:
    """Blocks that share a multiprocessor: rows kept in registers wait for memory, so enough lanes must wait at once.

    Without the bound nvJitLink hoists the loads of weights: 126 registers and 0.20 ms instead of 0.14 for a layer_norm
    of 16384 x 8192 bf16 on an H200.
    """
    threads = k.layout.lanes * k.layout.rows
    if not k.layout.kept:
        return 1
    if turns(k) is not None:
        return max(1, BUSY // threads)
    needed = OVERHEAD + _held(k) * k.layout.items * k.layout.vector
    return max(1, min(BUSY, FILE // needed) // threads)


def _held(k: Kernel) -> int:
    """The most values that each element holds from one loop over the row to the next."""
    outer = next((s for s in k.outer.body if isinstance(s, Loop) and s.role is Role.SERIAL), k.outer)
    loops = [s for s in outer.body if isinstance(s, Loop) and s.role is Role.ROW]
    made = [{s.var for s in loop.body if isinstance(s, Keep)} for loop in loops]
    read = [set(toposort(v for s in loop.body for v in scalars(s))) for loop in loops]
    carried = sum(isinstance(s, Init) for loop in k.outer.body if isinstance(loop, Loop) for s in loop.body)
    held = 0
    for i in range(1, len(loops)):
        earlier, later = set[Node]().union(*made[:i]), set[Node]().union(*read[i:])
        held = max(held, len(earlier & later))
    return held + (carried if outer is not k.outer else 0)
