"""Results of many pieces: an element asks which piece it lies in, not every piece whether it lies there.

A concatenation is a chain of choices, each between one piece and the rest. Its elements would ask all of memory's
pieces for themselves. Where an axis is cut into many segments by comparisons with constants, each segment gets a branch
of its own: a loop of at most one round, in which every comparison is decided.
"""

from dataclasses import replace
from itertools import pairwise

from flame.ir.graph import rebuild, toposort
from flame.ir.loop import Kernel, Loop, Role, Statement, Store, free_stores, scalars
from flame.ir.node import Node, apply, const, var, where
from flame.ir.plan import Plan, map_kernels
from flame.ir.target import Target
from flame.passes.simplify import Scalars, terms
from flame.passes.tile import Axis, axis_of

MANY = 5  # segments from which a branch is cheaper than asking everywhere
MANY_UNALIGNED = 24  # where a branch's elements are read and written one by one
ALIGNED = 4  # elements of the narrowest access worth a branch
WARP = 32  # elements side by side of the shortest segment
FEW = 8  # branches that one branch leads to


def pieces(plan: Plan, target: Target, simple: Scalars) -> Plan:
    """No element asks for more than a few pieces of which it can be in one only."""
    if target.max_lanes == 1:
        return plan
    return map_kernels(plan, lambda k: branched(k, simple))


def branched(kernel: Kernel, simple: Scalars) -> Kernel:
    """The kernel with a branch for each segment of the axis that is cut most often."""
    outer, stores = kernel.outer, free_stores(kernel)
    if not stores:
        return kernel
    cuts: dict[Axis, dict[Node, int]] = {}
    for n in toposort(v for s in stores for v in scalars(s)):
        if found := _cut(n, outer):
            cuts.setdefault(found[0], {})[n] = found[1]
    at, places = max(cuts.items(), key=lambda c: len(set(c[1].values())), default=(Axis(1, 1), dict[Node, int]()))
    ends = [0, *sorted(set(places.values())), at.extent]
    many = MANY if all(end * at.stride % ALIGNED == 0 for end in ends) else MANY_UNALIGNED
    if len(ends) <= many or min(b - a for a, b in pairwise(ends)) * at.stride < WARP:
        return kernel  # lanes of a warp that lie in many pieces would take every branch
    made = _Branches(at, places, outer, stores, simple).of(list(pairwise(ends)))
    return replace(kernel, body=(replace(outer, body=made),))


def _cut(n: Node, outer: Loop) -> tuple[Axis, int] | None:
    """The axis and the place at which a comparison with a constant divides it."""
    if n.op.name not in ("lt", "ge") or n.src[1].op.name != "const" or n.src[0].dtype.category >= 2:
        return None
    parts = terms(n.src[0])
    start = sum(factor for m, factor in parts if m.op.name == "const")
    rest = [(m, factor) for m, factor in parts if m.op.name != "const"]
    if len(rest) != 1 or rest[0][1] != 1 or (found := axis_of(rest[0][0], outer)) is None:
        return None
    place = n.src[1]["value"] - start
    return (found, place) if 0 < place < found.extent else None


class _Branches:
    """The state of giving each segment of an axis its branch."""

    def __init__(self, at: Axis, cuts: dict[Node, int], outer: Loop, stores: list[Store], simple: Scalars):
        self.at, self.cuts, self.stores, self.simple = at, cuts, stores, simple
        self.place = outer.var // at.stride % at.extent

    def of(self, segments: list[tuple[int, int]]) -> tuple[Statement, ...]:
        """A branch for each segment; where they are many, branches that lead to a few of them."""
        if len(segments) == 1:
            ((begin, end),) = segments
            stored = (replace(s, value=self.simple(_Segment(self.cuts, begin).value(s.value))) for s in self.stores)
            return (self.branch(begin, end, tuple(stored)),)
        size = 1
        while size * FEW < len(segments):
            size *= FEW
        made: list[Statement] = []
        for i in range(0, len(segments), size):
            group = segments[i : i + size]
            inner = self.of(group)
            made += inner if len(group) == 1 else [self.branch(group[0][0], group[-1][1], inner)]
        return tuple(made)

    def branch(self, begin: int, end: int, body: tuple[Statement, ...]) -> Loop:
        """What is done where the axis stands between two places: one round or none."""
        tests = ([self.place >= begin] if begin else []) + ([self.place < end] if end < self.at.extent else [])
        inside = tests[0] & tests[1] if len(tests) == 2 else tests[0]
        rounds = self.simple(where(inside, const(1), const(0)))
        return Loop(var(f"b{begin}_{end}", extent=1), 1, Role.SERIAL, body, (const(0), rounds))


class _Segment:
    """What an element's value is where the outcome of every cut of its axis is known."""

    def __init__(self, cuts: dict[Node, int], begin: int):
        self.cuts, self.begin = cuts, begin
        self.known: dict[Node, Node] = {}

    def truth(self, n: Node) -> bool | None:
        """The outcome of a condition, if cuts decide it."""
        if n in self.cuts:
            return (self.begin < self.cuts[n]) == (n.op.name == "lt")
        match n.op.name:
            case "const":
                return bool(n["value"])
            case "logical_and":
                both = [self.truth(s) for s in n.src]
                return False if False in both else None if None in both else True
            case _:
                return None

    def chosen(self, n: Node) -> Node:
        """Past all choices that are made."""
        while n.op.name == "where" and (outcome := self.truth(n.src[0])) is not None:
            n = n.src[1] if outcome else n.src[2]
        return n

    def value(self, root: Node) -> Node:
        """The expression without the branches not taken, which are not even looked at."""
        stack = [self.chosen(root)]
        while stack:
            n = stack[-1]
            src = [self.chosen(s) for s in n.src]
            missing = [s for s in src if s not in self.known]
            if missing:
                stack.extend(missing)
                continue
            stack.pop()
            self.known[n] = self.made(n, tuple([self.known[s] for s in src]))
        return self.known[self.chosen(root)]

    def made(self, n: Node, src: tuple[Node, ...]) -> Node:
        if n.op.name == "load" and src:
            open_ = (s for s, old in zip(src[1:], n.src[1:], strict=True) if self.truth(old) is not True)
            return apply("load", src[0], *open_, param=n["param"], as_=n.dtype)
        return rebuild(n, src)
