"""Other ways in which a kernel could lie on the machine: what `config.tune` times, the schedule's own choice first.

All give the same numbers but for the order of a fold. A pure function of the kernel and the target, like the schedule.
"""

from collections.abc import Iterator
from dataclasses import replace

from flame.codegen.schedule import MOST_BLOCKS, REGISTERS, WARP, layout
from flame.ir.ahead import turns
from flame.ir.loop import Kernel, Layout, Loop, Role, Scan, Stage, accesses, statements
from flame.ir.target import Target

THREADS = (128, 256, 512, 1024)  # of a block
ITEMS = (1, 2, 4)  # vectors that a lane holds at once where it need not hold a row
SHARED = 8192  # elements of a row that is worth several blocks


def candidates(k: Kernel, target: Target) -> tuple[Layout, ...]:
    """The default layout of a kernel, then the others worth timing."""
    first = layout(k, target)
    most = MOST_BLOCKS if target.cc >= (9, 0) and k.outer.extent > 1 else 1
    found = [first, *(at for at in _others(k, first, most) if _fits(k, at))]
    return tuple(dict.fromkeys(found))


def _others(k: Kernel, first: Layout, most: int) -> Iterator[Layout]:
    """Layouts beside the default one; none where its numbers carry meaning (a tile, a scan, a single lane).

    A row may be that of `most` blocks.
    """
    row = _row(k)
    if row is None or first.lanes == 1 or any(isinstance(s, Scan | Stage) for s in statements(k.body)):
        return
    if row.role is Role.SPREAD:
        yield from _spread(k, first)
    elif first.across:
        yield from _columns(row, first)
    elif turns(k) is not None:  # it carries folds along: only how far it asks ahead is free
        yield from (replace(first, ahead=rows) for rows in range(first.ahead))
    else:
        yield from _kept(row, first, most)
        yield from _read_again(row, first)


def _row(k: Kernel) -> Loop | None:
    return next((s for s in statements(k.body) if isinstance(s, Loop) and s.role in (Role.ROW, Role.SPREAD)), None)


def _spread(k: Kernel, first: Layout) -> Iterator[Layout]:
    """More or fewer lanes and vectors; one vector where an element's loop has an end that is asked once a lane."""
    bounded = any(isinstance(s, Loop) and s.bounds is not None for s in statements(k.body))
    for lanes in (first.lanes, 128, 512):
        for items in ITEMS[:1] if bounded else ITEMS:
            yield replace(first, lanes=lanes, items=items)


def _columns(row: Loop, first: Layout) -> Iterator[Layout]:
    """More or fewer lanes for a column, each with as many of its elements as remain."""
    for threads in (256, 512, 1024):
        lanes = threads // first.rows
        items = -(-row.extent // lanes)
        if lanes & (lanes - 1) == 0:
            yield replace(first, lanes=lanes, items=min(items, first.items * 2), kept=items <= first.items * 2)


def _kept(row: Loop, first: Layout, most: int) -> Iterator[Layout]:
    """A row in registers: of a warp or part of one with others beside it, of a block, of a cluster of blocks."""
    chunks = row.extent // first.vector
    for lanes in (8, 16, WARP):
        for threads in (64, 128, 256):
            yield Layout(lanes, threads // lanes, False, -(-chunks // lanes), first.vector, True)
    for lanes in (64, *THREADS):
        yield Layout(lanes, 1, False, -(-chunks // lanes), first.vector, True)
    blocks = 2
    while blocks <= most and row.extent >= SHARED:
        for lanes in THREADS[1:]:
            yield Layout(lanes, 1, False, -(-chunks // (lanes * blocks)), first.vector, True, blocks)
        blocks *= 2


def _read_again(row: Loop, first: Layout) -> Iterator[Layout]:
    """A row that is read once more for each fold, in rounds of all lanes."""
    for lanes in THREADS[1:]:
        for items in ITEMS:
            if lanes * items * first.vector <= row.extent:
                yield Layout(lanes, 1, False, items, first.vector, False)


def _fits(k: Kernel, at: Layout) -> bool:
    """True for a layout that a block can have, whose lanes all have work and registers for it."""
    row = _row(k)
    assert row is not None
    loads = max(1, sum(not written for _, _, written in accesses(k)))
    if at.lanes * at.rows > 1024 or at.items * at.vector * (loads if at.kept else 1) > REGISTERS:
        return False
    if not at.kept or at.ahead or row.role is Role.SPREAD:
        return True
    together = at.lanes * at.cluster * at.vector
    return together * ((at.items - 1) or 0.5) < row.extent <= at.span
