"""Plans that compute values of checkpoints again instead of keeping them until gradients read them.

The plan is that of the same graph without checkpoints. What changes is when its steps run: a step that makes values
inside a region is repeated before their first late reader, that is one that follows from the gradients of the region's
results. It is the same kernel on the same values with the same arguments, so the bits are the same.
"""

import itertools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from flame.ir.graph import readers, toposort
from flame.ir.loop import Fold, statements
from flame.ir.node import Node, fresh, fresh_leaf
from flame.ir.op import Kind
from flame.ir.plan import Launch, Plan, Recipe, Slot, Step, map_slots, read, touched, written
from flame.ir.region import NOTHING, Again, Home, Past, Regions, marks
from flame.passes.part import part

SMALL = 16  # a value so many times smaller than what it is made of is kept

Makers = dict[int, Step]  # of the slots that may be made again
Values = tuple[Node, ...]


def recompute(plan: Plan, values: Values, roots: Values, again: Again) -> tuple[Plan, Values, Recipe | None]:
    """No value of a region waits for a late reader; a recipe tells how to make the forgotten roots later."""
    if again == NOTHING:
        return plan, values, None
    order = toposort(roots)
    homes, bits = _homes(order, again.regions), _late(order, again.regions)
    found = [homes.get(n, ()) for n in values]
    late = [_any(bits.get(values[s], 0) for s in written(step)) for step in plan.steps]
    stay = dict.fromkeys(s for i, s in enumerate(plan.outputs) if i not in again.forgotten)
    makers = _makers(plan, found, late, stay)
    plan, recipe = _forget(plan, makers, found, stay) if again.forgotten else (plan, None)
    run = _Run(plan, values, found, makers)
    for past in again.pasts:
        run.add(past)
    return *run.planned(late), recipe


def _any(bits: Iterable[int]) -> int:
    found = 0
    for each in bits:
        found |= each
    return found


def _homes(order: list[Node], regions: Regions) -> dict[Node, Home]:
    """Where each node of an optimized graph lies: what anything outside has become too is outside.

    What passes put between lies where what it is turned to does, or its first reader.
    """
    found: dict[Node, Home] = {}
    for n, home in zip(regions.nodes, regions.homes, strict=True):
        found[n] = home if found.get(n, home) else ()
    read_by, rank = readers(order), {n: i for i, n in enumerate(order)}
    for n in reversed(order):
        if n not in found and read_by[n]:
            found[n] = found.get(min(read_by[n], key=lambda r: (r.op.kind is not Kind.MOVEMENT, rank[r])), ())
    return found


def _late(order: list[Node], regions: Regions) -> dict[Node, int]:
    """For which regions each node is late, as bits: it follows from a gradient of the region's results."""
    own: dict[Node, int] = {}
    inside = set(order)
    for place, region in regions.arrived:
        n = regions.nodes[place]
        while n not in inside and n.op.kind is Kind.MOVEMENT:
            n = n.src[0]
        if n.src:
            own[n] = own.get(n, 0) | 1 << region
    return marks(order, own)


def _makers(plan: Plan, homes: Sequence[Home], late: Sequence[int], stay: Collection[int]) -> Makers:
    """The steps to repeat, by what they make.

    A step may read what another region makes, or fuse the end of one with the beginning of the next. Then either what
    it makes is kept, or what it reads, whichever is less.
    """
    makers: Makers = {}
    for step, bits in zip(plan.steps, late, strict=True):
        made = [s for s in written(step) if homes[s] and _phase(homes[s], bits) is None and s not in stay]
        around = {homes[s][0] for s in made}
        foreign = [s for s in read(step) if s in makers and around != {homes[s][0]}]
        size = _bytes(plan, made)
        if size * SMALL <= _bytes(plan, read(step)) or (foreign and size <= _bytes(plan, foreign)):
            continue
        for s in foreign:
            makers.pop(s, None)
        makers |= dict.fromkeys(made, step)
    return makers


def _bytes(plan: Plan, slots: Sequence[int]) -> int:
    return sum(plan.slots[s].nbytes for s in slots)


def _phase(home: Home, bits: int) -> Home | None:
    """The innermost region of a home for which something is late, as a path; None where it is late for none."""
    for depth in range(len(home), 0, -1):
        if bits >> home[depth - 1] & 1:
            return home[:depth]
    return None


def _forget(plan: Plan, makers: Makers, homes: Sequence[Home], outputs: Iterable[int]) -> tuple[Plan, Recipe]:
    """The plan with fewer outputs, but for those that making the others again begins with.

    A region of which more would have to stay for that keeps its values instead.
    """
    stay, steps = dict.fromkeys(outputs), Makers()
    regions: dict[Home, list[int]] = {}
    for s in dict.fromkeys(plan.outputs):
        if s not in stay:
            regions.setdefault(homes[s][:1], []).append(s)
    for some in regions.values():
        again, begin = _remade(plan, makers, homes, some, {*plan.leaves, *stay, *steps})
        less = _bytes(plan, begin) < _bytes(plan, some)
        stay |= dict.fromkeys(begin if less else some)
        steps |= again if less else {}
    needs = tuple((s, _begin(s, steps)) for s in dict.fromkeys(plan.outputs) if s in steps)
    recipe = Recipe(fresh(), plan.slots, tuple(homes), tuple(steps.items()), plan.outputs, needs)
    return replace(plan, outputs=tuple(stay)), recipe


def _remade(
    plan: Plan, makers: Makers, homes: Sequence[Home], wanted: Iterable[int], known: set[int]
) -> tuple[Makers, list[int]]:
    """The steps that make slots again, and what must stay for them beside what is known."""
    first = {s: step for step in reversed(plan.steps) for s in written(step)}
    steps, stay, pending = Makers(), list[int](), list(wanted)
    while pending:
        s = pending.pop()
        if s in known:
            continue
        known.add(s)
        step = first[s]
        if s in makers or (not homes[s] and _light(step) and known.issuperset(read(step))):
            steps[s] = step
            pending.extend(read(step))
        else:
            stay.append(s)
    return steps, stay


def _light(step: Step) -> bool:
    """A kernel without a fold: it costs what its memory costs."""
    return isinstance(step, Launch) and not any(isinstance(s, Fold) for s in statements(step.kernel.body))


def _begin(slot: int, steps: Makers) -> tuple[int, ...]:
    """The slots that stay, and from which the steps make one that does not."""
    found: dict[int, None] = {slot: None}
    pending = [slot]
    for s in pending:
        new = [t for t in read(steps[s]) if t not in found] if s in steps else []
        found |= dict.fromkeys(new)
        pending += new
    return tuple(s for s in found if s not in steps)


class _Run:
    """The steps of a plan, and between them those that run again."""

    def __init__(self, plan: Plan, values: Values, homes: Sequence[Home], makers: Makers):
        self.plan, self.makers = plan, dict(makers)
        self.slots, self.values, self.homes = list(plan.slots), list(values), list(homes)
        self.leaves = {values[s]: s for s in plan.leaves}
        self.forgotten: set[int] = set()  # leaves that a recipe makes
        self.copies: dict[tuple[int, Home], int] = {}  # of a slot, for late readers in a region
        self.steps: list[Step] = []

    def add(self, past: Past) -> None:
        """Leaves are made by a recipe from now on; its regions are those of this graph where these leaves say so."""
        recipe = past.recipe
        new = {slot: self._leaf(n, recipe.slots[slot]) for slot, n in (*past.given, *past.made)}
        number: dict[int, int] = {}
        for slot, _ in past.made:
            self.forgotten.add(new[slot])
            number |= zip(recipe.homes[slot], self.homes[new[slot]], strict=False)
        free = itertools.count(1 + max((r for home in self.homes for r in home), default=-1))
        for slot, step in recipe.makers:
            for s in (slot, *touched(step)):
                if s not in new:
                    new[s] = self._slot(recipe.slots[s], fresh_leaf(recipe.slots[s].shape, recipe.slots[s].dtype))
            self.homes[new[slot]] = tuple(number.setdefault(r, next(free)) for r in recipe.homes[slot])
        self.makers |= {new[slot]: map_slots(step, new) for slot, step in recipe.makers}

    def _leaf(self, n: Node, slot: Slot) -> int:
        if n not in self.leaves:
            self.leaves[n] = self._slot(slot, n)
        return self.leaves[n]

    def _slot(self, slot: Slot, value: Node) -> int:
        self.slots.append(slot)
        self.values.append(value)
        self.homes.append(())
        return len(self.slots) - 1

    def planned(self, late: Sequence[int]) -> tuple[Plan, Values]:
        """The plan, with what its late readers need computed again right before the first of them."""
        for step, bits in zip(self.plan.steps, late, strict=True):
            again = {s: self._copy(s, phase) for s in read(step) if (phase := self._when(s, bits)) is not None}
            self.steps.append(map_slots(step, again))
        outputs = tuple(self._copy(s, self.homes[s]) if s in self.forgotten else s for s in self.plan.outputs)
        leaves = tuple(s for s in self.leaves.values() if s not in self.forgotten)
        made = replace(self.plan, slots=tuple(self.slots), leaves=leaves, steps=_needed(self.steps, outputs))
        return replace(made, outputs=outputs), tuple(self.values)

    def _when(self, slot: int, bits: int) -> Home | None:
        """The region for whose gradients a slot is made again when it is read; None where it is read as it is."""
        if slot not in self.makers:
            return None
        return self.homes[slot] if slot in self.forgotten else _phase(self.homes[slot], bits)

    def _copy(self, slot: int, phase: Home) -> int:
        """The slot made again, with all that this needs. Iterative: regions are deep."""
        stack = [(slot, phase)]
        while stack:
            key = stack[-1]
            step = self.makers[key[0]]
            needs = {s: (s, self._within(s, key[1])) for s in read(step) if s in self.makers}
            missing = [k for k in needs.values() if k not in self.copies]
            if key not in self.copies and missing:
                stack.extend(reversed(missing))
                continue
            stack.pop()
            if key not in self.copies:
                self._repeat(step, key[1], {s: self.copies[k] for s, k in needs.items()})
        return self.copies[slot, phase]

    def _within(self, slot: int, phase: Home) -> Home:
        """What lies in a region around is made once for all of it; what lies deeper is made for this region only."""
        home = self.homes[slot]
        return home if home and phase[: len(home)] == home else phase

    def _repeat(self, step: Step, phase: Home, new: dict[int, int]) -> None:
        for s in written(step):
            new[s] = self.copies[s, phase] = self._slot(self.slots[s], self.values[s])
        made = map_slots(step, new)
        self.steps.append(replace(made, again=True) if isinstance(made, Launch) else made)


def _needed(steps: list[Step], outputs: Sequence[int]) -> tuple[Step, ...]:
    """Without the steps and results that only readers needed who now read what was made again."""
    wanted, kept = set(outputs), list[Step]()
    for step in reversed(steps):
        if wanted.intersection(written(step)):
            kept.append(part(step, wanted) if isinstance(step, Launch) else step)
            wanted.update(read(kept[-1]))
    return tuple(reversed(kept))
