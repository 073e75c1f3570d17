"""What is in memory: the value of every computed node that can still be reached; and how pending ones come to be.

Nothing is computed twice: a node with a value is a leaf of every later graph, and what later readers will need of a
graph is kept when it is first computed.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Container, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from types import MappingProxyType
from typing import TypeVar
from weakref import ref

import numpy as np

from flame import compiler, stages
from flame.anomaly import check, located
from flame.config import config
from flame.errors import FlameError, FreedError, LinAlgError
from flame.ir.graph import fingerprint, substitute, toposort
from flame.ir.node import Node, leaf
from flame.ir.op import Kind
from flame.ir.origins import origins, user_line
from flame.ir.plan import Plan, Recipe
from flame.ir.region import Again, Past, regions_of
from flame.ir.target import Target
from flame.passes.retain import forgettable, retain
from flame.past import Donated, Forgotten, Hosted, inputs_of, origin_of, pasts_of
from flame.positions import Site, Watch, judge, unchecked
from flame.runtime.buffer import Buffer
from flame.runtime.choice import DeclinedError
from flame.runtime.device import Device
from flame.runtime.execute import Executable, Value
from flame.validate import check_plan, observer

MOST_PROGRAMS = 512  # compiled graphs that are remembered; the one unused longest goes first


@dataclass(frozen=True, slots=True)
class Ready:
    """A compiled graph on its device, and which inputs its leaves are."""

    program: compiler.Program | None  # where somebody looks: its nodes may be a user's, whose memory it would hold
    executable: Executable
    inputs: tuple[int, ...]
    donors: tuple[int, ...]  # inputs whose memory an output takes
    recipe: Recipe | None


Answer = TypeVar("Answer")
Entry = Value | Donated | Hosted | Forgotten
_values: dict[int, tuple["_Owner", Entry]] = {}
_holders: dict[int, int] = {}  # id of a Buffer -> how many nodes have it: memory of several is never donated
_ready: "OrderedDict[object, Ready]" = OrderedDict()
_kept: "OrderedDict[object, tuple[tuple[int, ...], tuple[int, ...]]]" = OrderedDict()
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
    if isinstance(found[1], Forgotten):
        prepare((node,), found[1].origin.device, user_line())()
        return get(node)
    return _back(node, found[1]) if isinstance(found[1], Hosted) else found[1]


def _back(node: Node, value: Hosted) -> Buffer:
    """A value comes back from the host; later work waits for it."""
    buffer, arrive = value.coming or _fetched(value)
    arrive()
    put(node, buffer)
    return buffer


def _fetched(value: Hosted) -> tuple[Buffer, Callable[[], None]]:
    value.wait()
    return value.device.fetch(value.memory, value.memory.line)


def ask_for(node: Node) -> None:
    """Let a value that waits on the host begin to come back, beside the work that is queued from now on."""
    waiting = on_host(node)
    if waiting is not None and waiting.coming is None:
        put(node, replace(waiting, coming=_fetched(waiting)))


def ask_no_more(node: Node) -> None:
    """Give up the memory of a value that was asked for and is not read yet."""
    waiting = on_host(node)
    if waiting is not None:
        put(node, replace(waiting, coming=None))


def send_to_host(node: Node, device: Device) -> None:
    """Let a value wait in the host's memory until it is read; what has none, or is seen from outside, stays."""
    found = _values.get(id(node))
    if found is not None and isinstance(found[1], Buffer) and found[1].nbytes and not found[1].lent:
        put(node, Hosted(*device.store(found[1]), device))


def on_host(node: Node) -> Hosted | None:
    """The value of a node, if it waits in the host's memory."""
    found = _values.get(id(node))
    return found[1] if found is not None and isinstance(found[1], Hosted) else None


def forgotten(node: Node) -> Forgotten | None:
    """How the value of a node is made again, if it was not kept."""
    found = _values.get(id(node))
    return found[1] if found is not None and isinstance(found[1], Forgotten) else None


def behind(node: Node) -> Collection[Node]:
    """What the value of a node will be made of again."""
    found = forgotten(node)
    return found.origin.nodes(found.slot).values() if found else ()


def count() -> int:
    """How many nodes have a value."""
    return len(_values)


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
    wanted = tuple(dict.fromkeys(n for n in roots if n not in COMPUTED or forgotten(n)))
    for n in wanted:
        if prod(n.shape) == 0:
            put(n, device.pool.buffer(0, line))
    wanted = tuple(n for n in wanted if prod(n.shape))
    reads = sequel.reads if sequel else ()
    if not (wanted or reads):
        return list
    order = toposort((*wanted, *reads), COMPUTED)
    _known_or_computable(order)
    due = unchecked(order, COMPUTED)
    if due:
        probes = (p for some in due.values() for w in some for p in w.probes if p not in COMPUTED)
        wanted = tuple(dict.fromkeys((*wanted, *probes)))
        order = toposort((*wanted, *reads), COMPUTED)
        donate = () if device.prompt else donate  # an error must leave everything as it was
    given = {n for n in order if n in COMPUTED}
    pasts = pasts_of([n for n in order if n in given], forgotten)
    inputs, late = inputs_of(order, given, pasts), {n for p in pasts for _, n in p.made}
    values = [None if n in late else _checked(n) for n in inputs]
    again = Again(regions_of(order, given - late), pasts=pasts)
    in_memory = tuple([v is None or isinstance(v, Buffer) for v in values])
    key = (fingerprint(order, (*wanted, *reads), given), in_memory, sequel and sequel.key, again.key(inputs))
    kept, dropped = _retained(key, order, given, wanted, readers, again) if readers else ((), ())
    targets = (*wanted, *kept)
    again = replace(again, forgotten=frozenset(i for i, n in enumerate(targets) if n in dropped))
    places = {n: i for i, n in enumerate(order)}
    wished = set() if config.anomaly else set(donate)  # what made a nan is computed again
    donors = frozenset(i for i, (n, v) in enumerate(zip(inputs, values, strict=True)) if n in wished and _free(v))
    full = (key, tuple(places[n] for n in kept), donors, device.name, _knobs())
    ready = _ready.get(full)
    if ready is None:
        ready = _prepare((*targets, *(sequel.build() if sequel else ())), inputs, values, donors, device, again)
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


def _free(value: Value | None) -> bool:
    """True for memory that only one node has and nobody outside sees."""
    return isinstance(value, Buffer) and _holders.get(id(value)) == 1 and not value.lent


def _checked(n: Node) -> Value:
    value = get(n)
    assert value is not None
    if isinstance(value, Buffer):
        value.address  # noqa: B018  raises where it was freed
    return value


def _retained(
    key: object, order: list[Node], given: set[Node], roots: tuple[Node, ...], readers: Readers, again: Again
) -> tuple[list[Node], list[Node]]:
    """What to store beside the roots, and which of that may be made again instead.

    The answer for equal graphs with equal readers is remembered.
    """
    places = {n: i for i, n in enumerate(order)}
    direct, later, differentiate = readers(places)
    if not direct and later is None:
        return [], []
    full = (key, tuple(sorted(places[n] for n in direct)), later)
    found = _kept.get(full)
    if found is None:
        futures = {*direct, *(n for n in differentiate() if n in places)}
        kept, dropped = _chosen(order, given, set(roots), futures, again)
        found = tuple(places[n] for n in kept), tuple(places[n] for n in dropped)
    _remember(_kept, full, found)
    return [order[i] for i in found[0]], [order[i] for i in found[1]]


def _chosen(
    order: list[Node], given: set[Node], roots: set[Node], futures: set[Node], again: Again
) -> tuple[list[Node], list[Node]]:
    """As `_retained`. A plan that makes values again keeps all that later ones read."""
    kept = retain(order, given, roots, futures)
    homes = dict(zip(again.regions.nodes, again.regions.homes, strict=True))
    if again.pasts or not homes:
        return kept, []
    return kept, forgettable(order, given, roots, futures, kept, homes)


def _remember(table: "OrderedDict[object, Answer]", key: object, answer: Answer) -> None:
    """The answer used last stays longest."""
    table[key] = answer
    table.move_to_end(key)
    while len(table) > MOST_PROGRAMS:
        table.popitem(last=False)


def _prepare(
    targets: tuple[Node, ...],
    inputs: list[Node],
    values: list[Value | None],
    donors: frozenset[int],
    device: Device,
    again: Again,
) -> Ready:
    """Compile a graph whose leaves are numbered, so that it outlives the nodes it came from."""
    host = {n for n, v in zip(inputs, values, strict=True) if v is not None and not isinstance(v, Buffer)}
    graph, numbered, again = _numbered(targets, inputs, host, again)
    for old, new in zip(targets, graph, strict=True):
        if old in origins:
            origins.setdefault(new, origins[old])
    donatable = frozenset(numbered[inputs[i]] for i in donors)
    program, executable = _loaded(graph, device, donatable, again)
    at = {s: -1 - program.values[s]["uid"] for s in program.plan.leaves}
    watched = config.validate or config.show
    donated = tuple(at[leaf] for _, leaf in program.plan.donated)
    return Ready(program if watched else None, executable, tuple(at.values()), donated, program.recipe)


def _numbered(
    targets: tuple[Node, ...], inputs: Sequence[Node], host: Container[Node], again: Again
) -> tuple[tuple[Node, ...], dict[Node, Node], Again]:
    """A graph over numbered leaves, those leaves, and what it computes again.

    The numbers are negative: a user's own leaf must not be kept alive by a remembered program.
    """
    leaves = {n: leaf(-1 - i, n.shape, n.dtype, n in host) for i, n in enumerate(inputs)}
    found = substitute((*targets, *again.regions.nodes), leaves)

    def over(pairs: Sequence[tuple[int, Node]]) -> tuple[tuple[int, Node], ...]:
        return tuple((slot, leaves[n]) for slot, n in pairs)

    pasts = tuple(Past(p.recipe, over(p.given), over(p.made)) for p in again.pasts)
    return found[: len(targets)], leaves, replace(again.moved(found[len(targets) :]), pasts=pasts)


def _loaded(
    graph: tuple[Node, ...], device: Device, donatable: frozenset[Node], again: Again
) -> tuple[compiler.Program, Executable]:
    """The program and its executable; planned again without what a library turns out to decline."""
    while True:
        program = compiler.compile_graph(graph, aimed(device), donatable, device.fastest, again)
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
    given: Mapping[Node, Forgotten | None] = MappingProxyType({}),
    readers: Readers | None = None,
    donate: Collection[Node] = (),
) -> tuple[Plan, dict[Node, Forgotten | None]]:
    """The plan that `prepare` would make if `given` nodes had values too, or would be made again, and what it leaves.

    Nothing is compiled, nothing runs.
    """
    wanted = tuple(dict.fromkeys(n for n in roots if n not in COMPUTED and prod(n.shape)))
    order = toposort(wanted, Either(given))
    known = {n for n in order if n in Either(given)}
    pasts = pasts_of([n for n in order if n in known], lambda n: given.get(n) or forgotten(n))
    inputs, late = inputs_of(order, known, pasts), {n for p in pasts for _, n in p.made}
    again = Again(regions_of(order, known - late), pasts=pasts)
    kept: list[Node] = []
    dropped: list[Node] = []
    if readers:
        direct, _, differentiate = readers({n: i for i, n in enumerate(order)})
        futures = {*direct, *(n for n in differentiate() if n in set(order))}
        kept, dropped = _chosen(order, known, set(wanted), futures, again)
    targets = (*wanted, *kept)
    again = replace(again, forgotten=frozenset(i for i, n in enumerate(targets) if n in dropped))
    host = {n for n in inputs if n in COMPUTED and n not in late and not on_host(n) and not isinstance(get(n), Buffer)}
    graph, leaves, again = _numbered(targets, inputs, host, again)
    donors = frozenset(leaves[n] for n in donate if n in leaves)
    plan, values, recipe = compiler.plan(graph, aimed(device), donors, again)
    if recipe is None:
        return plan, dict.fromkeys(targets)
    at = {s: inputs[-1 - values[s]["uid"]] for s in plan.leaves}
    origin = origin_of(recipe, at, plan.outputs, device)
    again = {s: Forgotten(origin, s) for s, _ in recipe.needs}
    made = {n: again.get(s) for n, s in zip(targets, recipe.roots, strict=True)}
    return plan, made | dict.fromkeys(n for s, n in origin.given.items() if s in plan.outputs)


def _run(
    ready: Ready,
    targets: tuple[Node, ...],
    inputs: list[Node],
    values: list[Value | None],
    line: str,
    due: dict[Site, list[Watch]],
) -> list[Value]:
    observe = None
    if ready.program is not None:
        stages.announce(ready.program, line)
        observe = observer(ready.program) if config.validate else None
    given = [value for i in ready.inputs if (value := values[i]) is not None]
    try:
        outputs = ready.executable.run(given, line, observe)
    except LinAlgError as problem:  # the plan does not know whose graph it is
        raise located(problem, targets, set(inputs)) from None
    found = _entries(ready, inputs, outputs) if ready.recipe else outputs
    if due:
        known = {n: v for n, v in zip(targets, found, strict=False) if not isinstance(v, Forgotten)}
        judge(due, known, get, ready.executable.device)
    for i in ready.donors:
        put(inputs[i], Donated(line))
    for node, value in zip(targets, found, strict=False):
        put(node, value)
    return outputs[len(targets) :]


def _entries(ready: Ready, inputs: Sequence[Node], outputs: Sequence[Value]) -> list[Value | Forgotten]:
    """What stands for each root of a plan that does not keep them all."""
    plan, recipe = ready.executable.plan, ready.recipe
    assert recipe is not None
    made: dict[int, Value | Forgotten] = dict(zip(plan.outputs, outputs, strict=True))
    leaves = {s: inputs[i] for s, i in zip(plan.leaves, ready.inputs, strict=True)}
    origin = origin_of(recipe, leaves, made, ready.executable.device)
    for s, node in origin.given.items():
        if s in made:
            put(node, made[s])
    made |= {s: Forgotten(origin, s) for s, _ in recipe.needs}
    return [made[s] for s in recipe.roots]
