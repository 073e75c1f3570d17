"""Positions that are known only when they are computed: each is looked at once, without waiting for a GPU."""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, replace
from weakref import ReferenceType, ref

import numpy as np

from flame.errors import IndexingError
from flame.ir import spans
from flame.ir.node import Node, apply
from flame.ir.op import Kind
from flame.runtime.buffer import Buffer
from flame.runtime.device import Device
from flame.runtime.execute import Value

Site = tuple[int, int]  # id of an index, and the size of the axis that it is for
Get = Callable[[Node], Value | None]  # what is in memory
MOST_LATE = 256  # watches of which a GPU has not reported yet: then somebody must wait for it


@dataclass(frozen=True, slots=True)
class Watch:
    """Positions that `name`, at the user's `line`, reads or writes: each must lie in [low, high].

    Who reads there holds them; a watch does not: a graph that nobody wants any more is forgotten.
    """

    index: "ReferenceType[Node]"
    low: int
    high: int
    name: str
    line: str

    @property
    def probes(self) -> tuple[Node, Node]:
        """The smallest and the largest of them."""
        index = self.positions
        axes = tuple(range(len(index.shape)))
        least, most = (apply(op, index, axes=axes) if axes else index for op in ("min", "max"))
        return least, most

    @property
    def positions(self) -> Node:
        index = self.index()
        assert index is not None
        return index

    def error(self, found: spans.Span) -> IndexingError:
        wrong = found.low if found.low < self.low else found.high
        return IndexingError(
            f"{self.name}: index {wrong} is out of range; choose from [{self.low}, {self.high}] ({self.line})"
        )


_watched: dict[Site, tuple["ReferenceType[Node]", list[Watch]]] = {}  # positions that nobody has checked yet
_late: dict[Device, list[tuple[Watch, Node, list[Value]]]] = {}  # watches of which a GPU has not reported yet


def watch(index: Node, size: int, what: Watch) -> None:
    """Check positions, once, when something is computed that reads or writes an axis of that size by that index."""
    site = id(index), size
    if site not in _watched:
        _watched[site] = ref(index, lambda _, watched=_watched: watched.pop(site, None)), []
    _watched[site][1].append(what)


def follow(old: Node, new: Node, lifted: Mapping[Node, Node]) -> None:
    """The positions that one example reads at are watched for the whole batch, whose nodes are the `lifted` ones."""
    site, place = _site(old), _site(new)
    if site is None or place is None or site not in _watched:
        return
    index = next(s for s in new.src if id(s) == place[0])
    for each in _watched[site][1]:
        watch(index, place[1], replace(each, index=ref(lifted.get(each.positions, each.positions))))


def unchecked(order: list[Node], known: Container[Node]) -> dict[Site, list[Watch]]:
    """The watches of a graph whose positions are not `known`."""
    found: dict[Site, list[Watch]] = {}
    if not _watched:
        return found
    for n in order:
        site = _site(n)
        if site in _watched and n not in known:
            found[site] = _watched[site][1]
    return found


def _site(n: Node) -> Site | None:
    """By which index a node reads or writes along an axis."""
    if n.op.kind is Kind.GATHER:
        return id(n.src[1]), n.src[0].shape[n["axis"]]
    scatters = n.op.kind is Kind.CONTRACT and n.op.combine is not None
    return (id(n.src[0]), n["size"]) if scatters else None


def settle(device: Device) -> None:
    """Raise IndexingError if work that a device has done met a position out of range; waits for the device."""
    for watch, index, ends in _late.pop(device, []):
        _report(watch, index, ends, device)


def _report(what: Watch, index: Node, ends: list[Value], device: Device) -> None:
    """Raise IndexingError where the positions, of which the smallest and the largest are given, leave their range."""
    low, high = (_number(value, index, device) for value in ends)
    found = spans.Span(low, high, exact=True)
    if not found.within(what.low, what.high):
        raise what.error(found)
    spans.remember(index, found)


def _number(value: Value, n: Node, device: Device) -> int:
    if not isinstance(value, Buffer):
        return int(value)
    out = np.empty((), n.dtype.numpy)
    device.download(value, out)
    return int(out)


def judge(due: dict[Site, list[Watch]], made: Mapping[Node, Value], get: Get, device: Device) -> None:
    """Look at the watched positions: now, if that waits for nobody."""
    late = _late.setdefault(device, [])
    for what in dict.fromkeys(w for some in due.values() for w in some):
        late.append(
            (what, what.positions, [value for p in what.probes if (value := made.get(p) or get(p)) is not None])
        )
    if device.prompt or len(late) > MOST_LATE:
        settle(device)
    for site in due:
        _watched.pop(site, None)
