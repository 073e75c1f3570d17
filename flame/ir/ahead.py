"""Rows asked for before their turn: which loads of a serial loop wait in shared memory, and where.

A block that takes one row after another asks for those ahead while it computes: each lane copies what it will need
itself to a place of its own, so no lane waits for another. The places of one row are a stage; stages take turns.
"""

from dataclasses import dataclass

from flame.ir.graph import toposort
from flame.ir.index import contiguous
from flame.ir.loop import Kernel, Loop, Role, scalars
from flame.ir.node import Node

WORD, WIDEST = 4, 16  # bytes that one asynchronous copy may bring: 4, 8 or 16


@dataclass(frozen=True, slots=True)
class Ring:
    """`places` are the offsets of what the loads bring, for each item, in a stage of `stage` bytes; `count` stages."""

    places: dict[tuple[Node, int], int]
    stage: int
    count: int

    @property
    def nbytes(self) -> int:
        return self.stage * self.count


def turns(kernel: Kernel) -> Loop | None:
    """The loop in which a block takes rows one after the other, carrying folds over them."""
    found = (s for s in kernel.outer.body if isinstance(s, Loop) and s.role is Role.SERIAL)
    return next((s for s in found if any(isinstance(x, Loop) and x.role is Role.ROW for x in s.body)), None)


def ring(kernel: Kernel) -> Ring:
    """Where the rows ahead wait."""
    loop, at, stage = turns(kernel), kernel.layout, 0
    places: dict[tuple[Node, int], int] = {}
    if loop is not None and at.ahead:
        types = {p.name: p.dtype for p in kernel.params}
        for n in streams(kernel, loop):
            for i in range(at.items):
                places[n, i] = stage
                stage += types[n["param"]].size * at.vector * at.lanes * at.rows
    return Ring(places, stage, at.ahead + 1 if places else 0)


def streams(kernel: Kernel, loop: Loop) -> list[Node]:
    """The loads that bring another row in each turn, whose places are known ahead and can be copied."""
    rows = [s for s in loop.body if isinstance(s, Loop) and s.role is Role.ROW]
    types, v = {p.name: p.dtype for p in kernel.params}, kernel.layout.vector
    found: list[Node] = []
    for n in toposort(v for row in rows for s in row.body for v in scalars(s)):
        if n.op.name != "load" or not n.src:
            continue
        path = toposort(n.src)
        known = all(m.op.name != "load" and (m.op.name != "var" or m["extent"] is not None) for m in path)
        moves = known and loop.var in path and rows[0].var in path
        whole = v == 1 or (contiguous(n.src[0], rows[0].var, v) and rows[0].var not in toposort(n.src[1:]))
        if moves and whole and types[n["param"]].size * v >= WORD:
            found.append(n)
    return found
