"""What is in memory: the value of every computed node that can still be reached; and how pending ones come to be.

Nothing is computed twice: a node with a value is a leaf of every later graph, and what later readers will need of a
graph is kept when it is first computed.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Container, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import TypeVar
from weakref import ReferenceType, ref

import numpy as np

from flame import compiler, stages
from flame.anomaly import check, located
from flame.config import config
from flame.errors import FlameError, FreedError, IndexingError, LinAlgError
from flame.ir import spans
from flame.ir.graph import fingerprint, substitute, toposort
from flame.ir.node import Node, apply, leaf
from flame.ir.op import Kind
from flame.ir.origins import origins
from flame.ir.plan import Plan
from flame.ir.target import Target
from flame.passes.retain import retain
from flame.runtime.buffer import Buffer
from flame.runtime.choice import DeclinedError
from flame.runtime.device import Device
from flame.runtime.execute import Executable, Value
from flame.validate import check_plan, observer

MOST_PROGRAMS = 512  # compiled graphs that are remembered; the one unused longest goes first


@dataclass(frozen=True, slots=True)
class Donated:
    """Stands where a value was until its memory was given to another."""

    line: str


@dataclass(frozen=True, slots=True)
class Hosted:
    """Stands where a value is that waits in the host's memory; it comes back when it is read."""

    memory: Buffer
    wait: Callable[[], None]  # until it is there
    device: Device


@dataclass(frozen=True, slots=True)
class Ready:
    """A compiled graph on its device, and which inputs its leaves are."""

    program: compiler.Program | None  # where somebody looks: its nodes may be a user's, whose memory it would hold
    executable: Executable
    inputs: tuple[int, ...]
    donors: tuple[int, ...]  # inputs whose memory an output takes


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


Answer = TypeVar("Answer")
Site = tuple[int, int]  # id of an index, and the size of the axis that it is for
Entry = Value | Donated | Hosted
_values: dict[int, tuple["_Owner", Entry]] = {}
_holders: dict[int, int] = {}  # id of a Buffer -> how many nodes have it: memory of several is never donated
_ready: "OrderedDict[object, Ready]" = OrderedDict()
_kept: "OrderedDict[object, tuple[int, ...]]" = OrderedDict()
_watched: dict[Site, tuple["ReferenceType[Node]", list[Watch]]] = {}  # positions that nobody has checked yet
_late: dict[Device, list[tuple[Watch, Node, list[Value]]]] = {}  # watches of which a GPU has not reported yet
MOST_LATE = 256  # of those: then somebody must wait for the GPU
Readers = Callable[[dict[Node, int]], tuple[Collection[Node], object, Callable[[], Collection[Node]]]]


class _Owner(ref[Node]):
    """A weak reference that knows which value goes with its node."""

    __slots__ = ("key",)
    key: int


class _Computed:
    """The nodes that have a value, as a container."""

    def __contains__(self, node: object) -> bool:
        return id(node) in _values


COMPUTED = _Computed()


class Either:
    """The nodes with a value, and some others."""

    def __init__(self, others: Container[object]):
        self.others = others

    def __contains__(self, node: object) -> bool:
        return node in self.others or node in COMPUTED


def put(node: Node, value: Entry) -> None:
    """Give a node its value; it is forgotten with the node."""
    key = id(node)
    if key in _values:
        _forget(key)
    owner = _Owner(node, _gone)
    owner.key = key
    _values[key] = (owner, value)
    if isinstance(value, Buffer):
        _holders[id(value)] = _holders.get(id(value), 0) + 1


def _gone(owner: _Owner) -> None:
    _forget(owner.key)


def _forget(key: int) -> None:
    """A node is gone, or has another value now."""
    found = _values.pop(key, None)
    if found is None or not isinstance(found[1], Buffer):
        return
    buffer = id(found[1])
    _holders[buffer] -= 1
    if not _holders[buffer]:
        del _holders[buffer]


def get(node: Node) -> Value | None:
    """The value of a node, or None; raises FreedError where its memory was donated."""
    found = _values.get(id(node))
    if found is None:
        return None
    if isinstance(found[1], Donated):
        raise FreedError(
            f"the value of {node!r} (made at {origins.get(node, 'an unknown line')}) is gone: its memory was donated "
            f"at {found[1].line}; compute what you need from it before that step, or clone() it"
        )
    return _back(node, found[1]) if isinstance(found[1], Hosted) else found[1]


def _back(node: Node, value: Hosted) -> Buffer:
    """A value comes back from the host; later work waits for it."""
    value.wait()
    buffer, arrive = value.device.fetch(value.memory, value.memory.line)
    arrive()
    put(node, buffer)
    return buffer


def send_to_host(node: Node, device: Device) -> None:
    """Let a value wait in the host's memory until it is read; what has none, or is seen from outside, stays."""
    found = _values.get(id(node))
    if found is not None and isinstance(found[1], Buffer) and found[1].nbytes and not found[1].lent:
        put(node, Hosted(*device.store(found[1]), device))


def on_host(node: Node) -> Hosted | None:
    """The value of a node, if it waits in the host's memory."""
    found = _values.get(id(node))
    return found[1] if found is not None and isinstance(found[1], Hosted) else None


def count() -> int:
    """How many nodes have a value."""
    return len(_values)


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


def _due(order: list[Node]) -> dict[Site, list[Watch]]:
    """The watches of a graph whose positions are still unknown."""
    found: dict[Site, list[Watch]] = {}
    for n in order:
        site = _site(n)
        if site in _watched and n not in COMPUTED:
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


@dataclass(frozen=True, slots=True)
class Sequel:
    """What is computed of a graph's values in the same plan, and need not be built where it was compiled before."""

    reads: tuple[Node, ...]
    key: Hashable  # equal where `build` makes the same of what it reads
    build: Callable[[], Sequence[Node]]


def prepare(
    roots: Sequence[Node],
    device: Device,
    line: str,
    donate: Collection[Node] = (),
    readers: Readers | None = None,
    sequel: Sequel | None = None,
) -> Callable[[], list[Value]]:
    """What gives every root a value, in one plan, when it is called: until then nothing has changed.

    `readers` tells what else will be read of the graph later. The call returns the values of the sequel.
    """
    wanted = tuple(dict.fromkeys(n for n in roots if n not in COMPUTED))
    for n in wanted:
        if prod(n.shape) == 0:
            put(n, device.pool.buffer(0, line))
    wanted = tuple(n for n in wanted if prod(n.shape))
    reads = sequel.reads if sequel else ()
    if not (wanted or reads):
        return list
    order = toposort((*wanted, *reads), COMPUTED)
    _known_or_computable(order)
    due = _due(order) if _watched else {}
    if due:
        probes = (p for some in due.values() for w in some for p in w.probes if p not in COMPUTED)
        wanted = tuple(dict.fromkeys((*wanted, *probes)))
        order = toposort((*wanted, *reads), COMPUTED)
        donate = () if device.prompt else donate  # an error must leave everything as it was
    inputs = [n for n in order if n in COMPUTED]
    values = [_checked(n) for n in inputs]
    given = set(inputs)
    in_memory = tuple([isinstance(v, Buffer) for v in values])
    key = (fingerprint(order, (*wanted, *reads), given), in_memory, sequel and sequel.key)
    kept = _retained(key, order, given, wanted, readers) if readers else ()
    targets = (*wanted, *kept)
    places = {n: i for i, n in enumerate(order)}
    wished = set() if config.anomaly else set(donate)  # what made a nan is computed again
    donors = frozenset(i for i, (n, v) in enumerate(zip(inputs, values, strict=True)) if n in wished and _free(v))
    full = (key, tuple(places[n] for n in kept), donors, device.name, _knobs())
    ready = _ready.get(full)
    if ready is None:
        ready = _prepare((*targets, *(sequel.build() if sequel else ())), inputs, values, donors, device)
        _remember(_ready, full, ready)
    else:
        _ready.move_to_end(full)
    compute = partial(_run, ready, targets, inputs, values, line, due)
    return partial(_without_nan, compute, targets, inputs, device) if config.anomaly else compute


def _without_nan(
    compute: Callable[[], list[Value]], targets: Sequence[Node], inputs: Sequence[Node], device: Device
) -> list[Value]:
    found = compute()
    check(targets, inputs, partial(_read, device))
    return found


def _read(device: Device, n: Node) -> np.ndarray:
    """A value on the host."""
    value = get(n)
    if not isinstance(value, Buffer):
        return np.asarray(value, n.dtype.numpy)
    out = np.empty(n.shape, n.dtype.numpy)
    device.download(value, out)
    return out


def _known_or_computable(order: Sequence[Node]) -> None:
    """Raise FlameError where a value would have to be made of nothing."""
    for n in order:
        if n.op.kind is Kind.LEAF and n.op.element is None and n not in COMPUTED:
            raise FlameError(
                f"this value depends on {n!r}, one example inside vmap, which has no value while its function is "
                "traced: compute with where() instead of reading it, and return it instead of keeping it"
            )


def _free(value: Value) -> bool:
    """True for memory that only one node has and nobody outside sees."""
    return isinstance(value, Buffer) and _holders.get(id(value)) == 1 and not value.lent


def _checked(n: Node) -> Value:
    value = get(n)
    assert value is not None
    if isinstance(value, Buffer):
        value.address  # noqa: B018  raises where it was freed
    return value


def _retained(
    key: object, order: list[Node], given: set[Node], roots: tuple[Node, ...], readers: Readers
) -> list[Node]:
    """What to store beside the roots; the answer for equal graphs with equal readers is remembered."""
    places = {n: i for i, n in enumerate(order)}
    direct, later, differentiate = readers(places)
    if not direct and later is None:
        return []
    full = (key, tuple(sorted(places[n] for n in direct)), later)
    found = _kept.get(full)
    if found is None:
        futures = {*direct, *(n for n in differentiate() if n in places)}
        chosen = retain(order, given, set(roots), futures)
        found = tuple(places[n] for n in chosen)
    _remember(_kept, full, found)
    return [order[i] for i in found]


def _remember(table: "OrderedDict[object, Answer]", key: object, answer: Answer) -> None:
    """The answer used last stays longest."""
    table[key] = answer
    table.move_to_end(key)
    while len(table) > MOST_PROGRAMS:
        table.popitem(last=False)


def _prepare(
    targets: tuple[Node, ...], inputs: list[Node], values: list[Value], donors: frozenset[int], device: Device
) -> Ready:
    """Compile a graph whose leaves are numbered, so that it outlives the nodes it came from.

    The numbers are negative: a user's own leaf must not be kept alive by a remembered program.
    """
    numbered = {n: leaf(-1 - i, n.shape, n.dtype, not isinstance(values[i], Buffer)) for i, n in enumerate(inputs)}
    graph = substitute(targets, numbered)
    for old, new in zip(targets, graph, strict=True):
        if old in origins:
            origins.setdefault(new, origins[old])
    donatable = frozenset(numbered[inputs[i]] for i in donors)
    program, executable = _loaded(graph, device, donatable)
    order = [-1 - n["uid"] for n in compiler.leaves(program.optimized)]
    at = dict(zip(program.plan.leaves, order, strict=True))
    watched = config.validate or config.show
    return Ready(
        program if watched else None, executable, tuple(order), tuple(at[leaf] for _, leaf in program.plan.donated)
    )


def _loaded(graph: tuple[Node, ...], device: Device, donatable: frozenset[Node]) -> tuple[compiler.Program, Executable]:
    """The program and its executable; planned again without what a library turns out to decline."""
    while True:
        program = compiler.compile_graph(graph, aimed(device), donatable, device.fastest)
        if config.validate:
            check_plan(program.plan)
        try:
            return program, Executable(program.plan, program.codes, device)
        except DeclinedError as no:
            if no.spec in device.target.declined:
                raise
            device.decline(no.spec)


def _knobs() -> tuple[object, ...]:
    """What a program depends on beside its graph."""
    watched = config.validate or bool(config.show)
    return config.fuse, config.reuse, config.tf32, config.deterministic, config.choices, config.tune, watched


def aimed(device: Device) -> Target:
    """The device's target as the knobs want it."""
    return replace(device.target, tf32=config.tf32, deterministic=config.deterministic)


def planned(
    roots: Sequence[Node],
    device: Device,
    given: Collection[Node] = (),
    readers: Readers | None = None,
    donate: Collection[Node] = (),
) -> tuple[Plan, list[Node]]:
    """The plan that `prepare` would make if `given` nodes had values too, and what it would keep for readers.

    Nothing is compiled, nothing runs.
    """
    wanted = tuple(dict.fromkeys(n for n in roots if n not in COMPUTED and prod(n.shape)))
    order = toposort(wanted, Either(given))
    inputs = [n for n in order if n in Either(given)]
    kept: list[Node] = []
    if readers:
        direct, _, differentiate = readers({n: i for i, n in enumerate(order)})
        kept = retain(order, set(inputs), set(wanted), {*direct, *(n for n in differentiate() if n in set(order))})
    number = {n for n in inputs if n in COMPUTED and not on_host(n) and not isinstance(get(n), Buffer)}
    numbered = {n: leaf(-1 - i, n.shape, n.dtype, n in number) for i, n in enumerate(inputs)}
    donors = frozenset(numbered[n] for n in donate if n in numbered)
    return compiler.plan(substitute((*wanted, *kept), numbered), aimed(device), donors), kept


def _run(
    ready: Ready,
    targets: tuple[Node, ...],
    inputs: list[Node],
    values: list[Value],
    line: str,
    due: dict[Site, list[Watch]],
) -> list[Value]:
    observe = None
    if ready.program is not None:
        stages.announce(ready.program, line)
        observe = observer(ready.program) if config.validate else None
    try:
        outputs = ready.executable.run([values[i] for i in ready.inputs], line, observe)
    except LinAlgError as problem:  # the plan does not know whose graph it is
        raise located(problem, targets, set(inputs)) from None
    if due:
        _judge(due, dict(zip(targets, outputs, strict=False)), ready.executable.device)
    for i in ready.donors:
        put(inputs[i], Donated(line))
    for node, value in zip(targets, outputs, strict=False):
        put(node, value)
    return outputs[len(targets) :]


def _judge(due: dict[Site, list[Watch]], made: dict[Node, Value], device: Device) -> None:
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
