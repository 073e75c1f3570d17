"""Regions: values of a graph that are computed again where gradients read them, instead of being kept until then.

A checkpoint changes no graph and no kernel. It says beside the graph which values lie inside, and
`passes/recompute.py` lets the steps that make them run a second time.
"""

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary, WeakSet

from flame.ir.node import Node
from flame.ir.plan import Recipe

Home = tuple[int, ...]  # the numbers of the regions in which a value lies, the outermost first; () where in none


class Region:
    """What one checkpoint computes; `arrived` are the gradients of its results: what follows from them is late."""

    __slots__ = ("__weakref__", "arrived", "outer")

    def __init__(self, outer: "Region | None" = None):
        self.outer = outer
        self.arrived: WeakSet[Node] = WeakSet()

    def note(self, gradient: Node) -> None:
        """The gradient of a result is known: a hook."""
        self.arrived.add(gradient)

    def holds(self, other: "Region | None") -> bool:
        """True if the other lies in this one."""
        while other is not None and other is not self:
            other = other.outer
        return other is self


regions: "WeakKeyDictionary[Node, Region | None]" = WeakKeyDictionary()  # the innermost; None: the value stays


@dataclass(frozen=True, slots=True)
class Regions:
    """The regions of one graph: where each of its nodes lies, and which are gradients of a region's results."""

    nodes: tuple[Node, ...] = ()
    homes: tuple[Home, ...] = ()  # of each node
    arrived: tuple[tuple[int, int], ...] = ()  # (place among the nodes, region)


@dataclass(frozen=True, slots=True)
class Past:
    """Leaves of a graph that a recipe makes; `given` and `made` are (slot of the recipe, leaf)."""

    recipe: Recipe
    given: tuple[tuple[int, Node], ...]
    made: tuple[tuple[int, Node], ...]


@dataclass(frozen=True, slots=True)
class Again:
    """All that the plan of a graph does not keep."""

    regions: Regions = Regions()
    forgotten: frozenset[int] = frozenset()  # roots that need not stay: the plan says how to make them again
    pasts: tuple[Past, ...] = ()

    def key(self, leaves: Sequence[Node]) -> Hashable:
        """Equal where equal graphs over these leaves have equal regions and recipes."""
        at = {n: i for i, n in enumerate(leaves)} if self.pasts else {}
        pasts = ((p.recipe.uid, *((s, at[n]) for s, n in (*p.given, *p.made)), len(p.made)) for p in self.pasts)
        return self.regions.homes, self.regions.arrived, tuple(pasts)

    def moved(self, nodes: tuple[Node, ...]) -> "Again":
        """The same for what the nodes have become."""
        return replace(self, regions=replace(self.regions, nodes=nodes))


NOTHING = Again()


def regions_of(order: Sequence[Node], given: Collection[Node]) -> Regions:
    """The regions of a graph, numbered as they are met; `given` nodes are in memory.

    What gradients make of values inside before any gradient has arrived (the mask of a relu) lies inside too.
    """
    if not regions:
        return Regions()
    found = {n: regions[n] for n in order if n in regions and n not in given}
    numbers: dict[Region, int] = {}
    paths: dict[Region | None, Home] = {None: ()}
    for region in found.values():
        if region not in paths:
            paths[region] = _path(region, numbers)
    if not numbers:
        return Regions()
    places = {n: i for i, n in enumerate(order)}
    arrived = sorted((places[g], i) for region, i in numbers.items() for g in region.arrived if g in places)
    late = marks(order, {order[place]: 1 << region for place, region in arrived})
    data = marks(order, {n: 1 for n in order if n in given or n.op.name == "leaf"})  # others share constants only
    homes: dict[Node, Home] = {}
    for n in order:
        if n in found or n in given:
            homes[n] = paths[found.get(n)]
        else:
            inside = (homes[s] for s in n.src if data.get(s) and homes.get(s))
            homes[n] = next((home for home in inside if not late[n] >> home[-1] & 1), ())
    return Regions(tuple(order), tuple(homes.values()), tuple(arrived))


def marks(order: Sequence[Node], own: Mapping[Node, int]) -> dict[Node, int]:
    """Bits of each node and of all that it is made of."""
    found: dict[Node, int] = {}
    for n in order:
        bits = own.get(n, 0)
        for s in n.src:
            bits |= found.get(s, 0)
        found[n] = bits
    return found


def _path(region: Region | None, numbers: dict[Region, int]) -> Home:
    path: list[int] = []
    while region is not None:
        path.append(numbers.setdefault(region, len(numbers)))
        region = region.outer
    return tuple(reversed(path))
