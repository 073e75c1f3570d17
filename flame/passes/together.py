"""Many tensors, one launch: kernels with one text become members of a batch.

An optimizer's update of 300 parameters, the partial norms of their gradients, the casts of a model's weights: each is
one text over tensors of many sizes. Which launches may meet is a question of order alone, asked with sets of steps as
bits.
"""

from collections.abc import Sequence
from dataclasses import replace
from heapq import heapify, heappop, heappush
from itertools import accumulate

from flame.ir.plan import Batch, Launch, Plan, Step, touched, written

SHARE = 1 << 10  # the part of a plan's inputs by which waiting may raise the memory it needs: partial sums
SMALL = 1 << 20  # bytes of a launch that waits for its batch even where large ones would hold too much memory


def together(plan: Plan, fuse: bool = True) -> Plan:
    """No two launches of one text stand apart that could be one, unless waiting for each other would cost memory."""
    names: dict[str, list[int]] = {}
    for i, step in enumerate(plan.steps):
        alone = isinstance(step, Launch) and (step.again or step.kernel.layout.cluster > 1)
        if isinstance(step, Launch) and not alone:  # made when it is needed, not before; its blocks have others to meet
            names.setdefault(step.kernel.name, []).append(i)
    several = [found for found in names.values() if len(found) > 1]
    if not (fuse and several):
        return plan
    order = _Order(plan.steps)
    limit = _need(plan, plan.steps) + sum(plan.slots[s].nbytes for s in plan.leaves) // SHARE
    for found in several:
        for wanted in (found, [i for i in found if _bytes(plan, plan.steps[i]) <= SMALL]):
            if (made := order.joined(wanted)) is not order and _need(plan, made.steps()) <= limit:
                order = made
                break
    return replace(plan, steps=tuple(order.steps()))


class _Order:
    """The steps of a plan, which of them are one launch, and what comes before each (as bits)."""

    def __init__(self, given: Sequence[Step]):
        self.given = given
        writer = {s: i for i, step in enumerate(given) for s in written(step)}
        self.reads = [{writer[s] for s in touched(step) if s in writer} - {i} for i, step in enumerate(given)]
        self.before: list[int] = []
        for found in self.reads:
            bits = 0
            for j in found:
                bits |= self.before[j] | 1 << j
            self.before.append(bits)
        self.batches: list[list[int]] = []

    def joined(self, wanted: Sequence[int]) -> "_Order":
        """The same steps, with those that are wanted in as few batches as their order allows."""
        made, rest = self._copy(), list(wanted)
        while rest:
            members, bits, above, apart = [rest[0]], 1 << rest[0], made.before[rest[0]], list[int]()
            for i in rest[1:]:
                if made.before[i] & bits or above >> i & 1:
                    apart.append(i)
                else:
                    members.append(i)
                    bits, above = bits | 1 << i, above | made.before[i]
            if len(members) > 1:
                made.batches.append(members)
                made._close(bits, above)
            rest = apart
        return made if len(made.batches) > len(self.batches) else self

    def _copy(self) -> "_Order":
        made = _Order.__new__(_Order)
        made.given, made.reads = self.given, self.reads
        made.before, made.batches = list(self.before), list(self.batches)
        return made

    def _close(self, bits: int, above: int) -> None:
        """All members come after what any member waits for; so does what comes after any of them."""
        for j, old in enumerate(self.before):
            if bits >> j & 1:
                self.before[j] = above
            elif old & bits:
                self.before[j] = old | above | bits

    def steps(self) -> list[Step]:
        """In the order that was given where that is possible: a batch stands where its last member stood."""
        home = list(range(len(self.given)))
        for members in self.batches:
            for i in members:
                home[i] = members[-1]
        needs: dict[int, set[int]] = {h: set() for h in home}
        for i, found in enumerate(self.reads):
            needs[home[i]].update(home[j] for j in found)
        users: dict[int, list[int]] = {h: [] for h in needs}
        for h, found in needs.items():
            for j in found:
                users[j].append(h)
        left = {h: len(found) for h, found in needs.items()}
        ready = [h for h, count in left.items() if not count]
        heapify(ready)
        batches = {members[-1]: members for members in self.batches}
        out: list[Step] = []
        while ready:
            h = heappop(ready)
            out.append(self._batch(batches[h]) if h in batches else self.given[h])
            for user in users[h]:
                left[user] -= 1
                if not left[user]:
                    heappush(ready, user)
        assert len(out) == len(needs)
        return out

    def _batch(self, members: Sequence[int]) -> Batch:
        found = tuple(s for i in members if isinstance(s := self.given[i], Launch))
        kernel = found[0].kernel
        return Batch(replace(kernel, name=f"{kernel.name}_many", many=True), found)


def _bytes(plan: Plan, step: Step) -> int:
    return sum(plan.slots[s].nbytes for s in touched(step))


def _need(plan: Plan, steps: Sequence[Step]) -> int:
    """The most bytes of values between steps that live at once."""
    own = {*plan.leaves, *plan.outputs}
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for i, step in enumerate(steps):
        for s in touched(step):
            first.setdefault(s, i)
            last[s] = i
    change = [0] * (len(steps) + 1)
    for s, i in first.items():
        if s not in own:
            change[i] += plan.slots[s].nbytes
            change[last[s] + 1] -= plan.slots[s].nbytes
    return max(accumulate(change))
