"""Where every value of a plan lives: donated buffers first, then one arena shared by values that never live at once."""

from collections.abc import Sequence
from dataclasses import replace

from flame.ir.graph import toposort
from flame.ir.loop import Fold, Gather, Statement, Store, scalars, statements
from flame.ir.node import Node
from flame.ir.plan import Launch, Plan, Slot, Step, launches, touched, written

ALIGN = 256  # bytes between values: what the widest access and the libraries ask for


def place(plan: Plan, donatable: frozenset[int] = frozenset(), reuse: bool = True) -> Plan:
    """Every slot has memory: a leaf's, an output's own, a donated leaf's, or a part of the arena.

    `donatable` are leaf slots whose old value nobody needs after the plan.
    """
    donated = _donate(plan, donatable)
    offsets, arena = _arena(plan, reuse)
    return replace(plan, donated=donated, offsets=offsets, arena=arena)


def _arena(plan: Plan, reuse: bool) -> tuple[tuple[tuple[int, int], ...], int]:
    """Largest first, each value takes the lowest place that is free while it lives."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for i, step in enumerate(plan.steps):
        for s in touched(step):
            first.setdefault(s, i)
            last[s] = i
    own = {*plan.leaves, *plan.outputs}
    placed: list[tuple[int, int, int]] = []  # slot, begin, end
    for s in sorted((s for s in first if s not in own), key=lambda s: (-plan.slots[s].nbytes, s)):
        size = -(-plan.slots[s].nbytes // ALIGN) * ALIGN
        lives = [(b, e) for t, b, e in placed if not reuse or (first[t] <= last[s] and first[s] <= last[t])]
        at = 0
        for begin, end in sorted(lives):
            if at + size <= begin:
                break
            at = max(at, end)
        placed.append((s, at, at + size))
    return tuple((s, at) for s, at, _ in sorted(placed)), max((end for *_, end in placed), default=0)


def _donate(plan: Plan, donatable: frozenset[int]) -> tuple[tuple[int, int], ...]:
    """Outputs that may be written over a leaf: of its size, and written when nobody reads it any more."""
    pairs: list[tuple[int, int]] = []
    uses = _Uses(plan.steps)
    free: dict[tuple[int, int], list[int]] = {}
    for leaf in sorted(set(donatable) - set(plan.outputs)):
        if not plan.slots[leaf].host:
            free.setdefault(_size(plan.slots[leaf]), []).append(leaf)
    writer = {s: i for i, step in enumerate(plan.steps) for s in written(step)}
    for out in dict.fromkeys(plan.outputs):
        alike = free.get(_size(plan.slots[out]), []) if out in writer else []
        found = next((leaf for leaf in alike if uses.free(leaf, writer[out], out)), None)
        if found is not None:
            pairs.append((out, found))
            alike.remove(found)
    return tuple(pairs)


def _size(slot: Slot) -> tuple[int, int]:
    """Where it is equal for two values, the elements of both lie at the same bytes."""
    return slot.nbytes, slot.dtype.size


class _Uses:
    """Which step uses each slot last, and which launches of a step use it."""

    def __init__(self, steps: Sequence[Step]):
        self.last: dict[int, int] = {}
        self.launches: dict[tuple[int, int], list[Launch]] = {}
        for i, step in enumerate(steps):
            self.last |= dict.fromkeys(touched(step), i)
            for launch in launches(step):
                for s in dict.fromkeys(launch.slots):
                    self.launches.setdefault((i, s), []).append(launch)

    def free(self, leaf: int, at: int, out: int) -> bool:
        """True if the leaf is needed no more when step `at` writes the output."""
        last = self.last.get(leaf, -1)
        return last < at or (last == at and self._in_place(at, out, leaf))

    def _in_place(self, step: int, out: int, leaf: int) -> bool:
        """True if the kernel reads the leaf only where it writes the output, and before. Members of a batch run in any
        order: no other may read it.
        """
        readers = self.launches.get((step, leaf), [])
        return len(readers) == 1 and out in readers[0].slots and _over(readers[0], out, leaf)


def _over(launch: Launch, out: int, leaf: int) -> bool:
    """True if a kernel may write an output over a leaf that it reads."""
    if launch.slots.count(leaf) != 1:
        return False
    names = {s: p.name for p, s in zip(launch.kernel.params, launch.slots, strict=True)}
    body = list(statements(launch.kernel.body))
    if any(isinstance(s, Fold | Gather) for s in body):
        return False
    stores = {s.param: (i, s.index) for i, s in enumerate(body) if isinstance(s, Store)}
    if names[out] not in stores:
        return False
    at, index = stores[names[out]]
    early, late = _loads(body[: at + 1], names[leaf]), _loads(body[at + 1 :], names[leaf])
    return {n.src[0] for n in early} <= {index} and late <= early


def _loads(body: Sequence[Statement], name: str) -> set[Node]:
    """The loads of a parameter in statements; in one body, each is done where it is met first."""
    found: set[Node] = set()
    for s in body:
        found.update(n for n in toposort(scalars(s)) if n.op.name == "load" and n["param"] == name and n.src)
    return found


def conflicts(plan: Plan) -> list[str]:
    """Pairs of slots that live at the same time in the same memory: an empty list, or the planner is wrong."""
    lives: dict[int, tuple[int, int]] = {}
    for i, step in enumerate(plan.steps):
        for s in touched(step):
            lives[s] = (lives.get(s, (i, i))[0], i)
    found: list[str] = []
    places = list(plan.offsets)
    for x, (s, at) in enumerate(places):
        for t, other in places[x + 1 :]:
            apart = lives[s][1] < lives[t][0] or lives[t][1] < lives[s][0]
            if not apart and at < other + plan.slots[t].nbytes and other < at + plan.slots[s].nbytes:
                found.append(f"slots {s} and {t} share bytes of the arena at steps {lives[s]} and {lives[t]}")
    uses = _Uses(plan.steps)
    for out, leaf in plan.donated:
        if leaf in lives and not uses.free(leaf, lives[out][0], out):
            found.append(
                f"slot {out} is written over slot {leaf} at step {lives[out][0]}, read until step {lives[leaf][1]}"
            )
    return found
