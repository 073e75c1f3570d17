"""Other ways in which a kernel could lie on the machine: what `config.tune` times, the schedule's own choice first.

All give the same numbers but for the order of a fold. A pure function of the kernel and the target, like the schedule.
"""

from collections.abc import Iterator
from dataclasses import replace

from flame.codegen.schedule import REGISTERS, WARP, layout
from flame.ir.loop import Kernel, Layout, Loop, Role, Scan, Stage, accesses, statements
from flame.ir.target import Target

THREADS = (128, 256, 512, 1024)  # of a block
ITEMS = (1, 2, 4)  # vectors that a lane holds at once where it need not hold a row


def candidates(k: Kernel, target: Target) -> tuple[Layout, ...]:
    """The default layout of a kernel, then the others worth timing."""
    first = layout(k, target)
    found = [first, *(at for at in _others(k, first) if _fits(k, first, at))]
    return tuple(dict.fromkeys(found))


def _others(k: Kernel, first: Layout) -> Iterator[Layout]:
    """Layouts beside the default one; none where its numbers carry meaning (a tile, a scan, a single lane)."""
    row = _row(k)
    if row is None or first.lanes == 1 or any(isinstance(s, Scan | Stage) for s in statements(k.body)):
        return
    if row.role is Role.SPREAD:
        yield from _spread(first)
    elif first.across:
        yield from _columns(row, first)
    else:
        yield from _kept(row, first)
        if not any(isinstance(s, Loop) and s.role is Role.SERIAL for s in k.outer.body):  # it carries registers along
            yield from _read_again(row, first)


def _row(k: Kernel) -> Loop | None:
    return next((s for s in statements(k.body) if isinstance(s, Loop) and s.role in (Role.ROW, Role.SPREAD)), None)


def _spread(first: Layout) -> Iterator[Layout]:
    for lanes in (first.lanes, 128, 512):
        for items in ITEMS:
            yield replace(first, lanes=lanes, items=items)


def _columns(row: Loop, first: Layout) -> Iterator[Layout]:
    """More or fewer lanes for a column, each with as many of its elements as remain."""
    for threads in (256, 512, 1024):
        lanes = threads // first.rows
        items = -(-row.extent // lanes)
        if lanes & (lanes - 1) == 0:
            yield replace(first, lanes=lanes, items=min(items, first.items * 2), kept=items <= first.items * 2)


def _kept(row: Loop, first: Layout) -> Iterator[Layout]:
    """A row in registers: of a warp or part of one with others beside it, or of a whole block."""
    chunks = row.extent // first.vector
    for lanes in (8, 16, WARP):
        for threads in (64, 128, 256):
            yield Layout(lanes, threads // lanes, False, -(-chunks // lanes), first.vector, True)
    for lanes in (64, *THREADS):
        yield Layout(lanes, 1, False, -(-chunks // lanes), first.vector, True)


def _read_again(row: Loop, first: Layout) -> Iterator[Layout]:
    """A row that is read once more for each fold, in rounds of all lanes."""
    for lanes in THREADS[1:]:
        for items in ITEMS:
            if lanes * items * first.vector <= row.extent:
                yield Layout(lanes, 1, False, items, first.vector, False)


def _fits(k: Kernel, first: Layout, at: Layout) -> bool:
    """True for a layout that a block can have, whose lanes all have work and registers for it."""
    row = _row(k)
    assert row is not None
    loads = max(1, sum(not written for _, _, written in accesses(k)))
    if at.lanes * at.rows > 1024 or at.items * at.vector * (loads if at.kept else 1) > REGISTERS:
        return False
    if not at.kept or row.role is Role.SPREAD:
        return True
    visited, least = at.lanes * at.items * at.vector, (at.items - 1) or 0.5
    return at.lanes * at.vector * least < row.extent <= visited
