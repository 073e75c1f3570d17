# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# networkx declares no types of its own graphs.
"""What to keep when a graph is computed before all that reads it is known.

The cheapest set of values from which every later reader can be computed without a contraction, a fold or a gather
anew: a minimum cut by bytes, as in rematerialisation for training (Chen et al. 2016; the min-cut form is that of
AOTAutograd).
"""

from collections.abc import Collection, Mapping
from math import prod
from typing import Any

import networkx as nx

from flame.ir.node import Node
from flame.ir.op import Kind
from flame.ir.region import Home

REPEATABLE = (Kind.ELEMENTWISE, Kind.MOVEMENT, Kind.LEAF)  # cheap enough to compute again where it is read
LARGE = 4000  # nodes from which on every value that is not repeatable is kept, without looking for a cheaper cut
START, END = "start", "end"


def retain(
    order: list[Node], given: Collection[Node], roots: Collection[Node], futures: Collection[Node]
) -> list[Node]:
    """The nodes of `order` to store beside `roots`; `given` ones are in memory, `futures` will be read later."""
    wanted = _upstream(order, given, futures)
    costly = [n for n in order if n in wanted and n not in given and n.op.kind not in REPEATABLE]
    if not costly:
        return []
    if len(wanted) > LARGE:
        return [n for n in costly if n not in roots]
    touched = _downstream(order, costly, wanted)
    place = {n: i for i, n in enumerate(order)}  # networks refer to themselves: of nodes they would hold the memory
    net = _network([n for n in order if n in touched], roots, place)
    net.add_edges_from((START, (place[n], "in")) for n in costly)
    net.add_edges_from(((place[n], "out"), END) for n in futures if n in touched)
    if END not in net:
        return []
    _, (above, _) = nx.minimum_cut(net, START, END, flow_func=nx.algorithms.flow.boykov_kolmogorov)
    cut = {i for i in place.values() if (i, "in") in above and (i, "out") not in above}
    return [n for n in order if n in touched and n not in roots and place[n] in cut]


def _network(order: list[Node], roots: Collection[Node], place: dict[Node, int]) -> "nx.DiGraph[Any]":
    """Each value as an edge as wide as its bytes: cutting it is storing it. Roots are stored anyway."""
    net = nx.DiGraph()
    for n in order:
        i, size = place[n], 0 if n in roots else max(1, prod(n.shape) * n.dtype.size)
        net.add_edge((i, "in"), (i, "out"), capacity=size)
        net.add_edges_from(((place[s], "out"), (i, "in")) for s in n.src if s in place and (place[s], "out") in net)
    return net


def _upstream(order: list[Node], given: Collection[Node], futures: Collection[Node]) -> set[Node]:
    """What the futures are computed from, down to what is in memory."""
    found = set(futures)
    for n in reversed(order):
        if n in found and n not in given:
            found.update(n.src)
    return found


def _downstream(order: list[Node], costly: list[Node], wanted: set[Node]) -> set[Node]:
    """The wanted values that depend on a costly one."""
    found = set(costly)
    for n in order:
        if n in wanted and any(s in found for s in n.src):
            found.add(n)
    return found


def forgettable(
    order: list[Node],
    given: Collection[Node],
    roots: Collection[Node],
    futures: Collection[Node],
    kept: Collection[Node],
    homes: Mapping[Node, Home],
) -> list[Node]:
    """The kept values that only late readers of their own region will ask for, directly or not."""
    stop = {*given, *roots, *kept}
    asks = {n: {homes[n][:1]} for n in futures}  # for which outermost regions each value will be read or made again
    for n in reversed(order):
        if n in asks and n not in stop:
            for s in n.src:
                asks[s] = asks.get(s, set()) | asks[n]
    return [n for n in kept if homes[n] and asks.get(n, set()) <= {homes[n][:1]}]


def frontier(outside: list[Node], inside: Collection[Node]) -> set[Node]:
    """The nodes inside that nodes outside read."""
    return {s for n in outside if n not in inside for s in n.src if s in inside}
