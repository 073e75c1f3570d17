"""Tensor: a handle on a node of the lazy graph. Building is free; reading a value computes it."""

import warnings
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self, Union

import numpy as np

from flame import recording, values
from flame.config import config
from flame.errors import DeviceError, DTypeError, GradError, ShapeError
from flame.handles import Handles, Owners
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir import ops as _ops  # noqa: F401  fills the operator table
from flame.ir import spans
from flame.ir.dtype import DType
from flame.ir.graph import toposort
from flame.ir.held import Call
from flame.ir.node import Node, apply
from flame.ir.origins import note, origins, user_line
from flame.passes.grad import ones, pullback
from flame.passes.retain import frontier
from flame.reading import Readable
from flame.runtime import devices
from flame.runtime.buffer import Buffer
from flame.runtime.device import Device
from flame.runtime.interrupts import Uninterrupted

Number = Union[bool, int, float]


_live: "Handles[Tensor]" = Handles()  # handles whose value is pending: what may be read later
_holding: "Handles[Tensor]" = Handles()  # handles on leaves: whose memory must not be donated behind their back
_trainable: "Owners[Tensor]" = Owners()  # the nodes that gradients are asked for
_unwatched = WATCH = 256  # tensors made between looks at how many nodes are pending
_warned = False


if TYPE_CHECKING:
    from flame.methods import Methods  # what flame.ops installs, for editors and type checkers
else:
    Methods = object


class Tensor(Readable, Methods):
    """An n-dimensional array whose value is computed when it is read.

    A Tensor is a value: methods return new ones, and in-place methods rebind this handle without changing any other.
    Make one with `flame.tensor(data)`, `flame.zeros(...)` and their like.
    """

    __slots__ = ("__weakref__", "_grad", "_requires", "_spent", "_watchers", "device", "is_leaf", "node")

    node: Node
    device: Device
    is_leaf: bool

    def __init__(self, node: Node, device: Device, requires_grad: bool = False, is_leaf: bool = True):
        self.node, self.device = node, device
        self._requires, self.is_leaf = requires_grad, is_leaf
        self._grad: Tensor | None = None
        self._watchers: Any = None  # hooks on the gradient of a leaf
        self._spent = ""  # where backward() went through the graph
        if node in values.COMPUTED:
            _holding.add(self)
        else:
            _live.add(self)
            _watch()
        if requires_grad and is_leaf:
            _trainable[node] = self

    @property
    def grad(self) -> "Tensor | None":
        """The gradient that `backward()` left here: an ordinary tensor to read, replace or edit."""
        return self._grad

    @grad.setter
    def grad(self, value: "Tensor | None") -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise GradError(f"grad must be a Tensor or None, got {type(value).__name__}")
            if value.shape != self.shape or value.device is not self.device:
                raise GradError(
                    f"grad of shape {value.shape} on {value.device.name} does not fit a tensor of shape {self.shape} "
                    f"on {self.device.name}"
                )
        self._grad = value

    @property
    def requires_grad(self) -> bool:
        """True where `backward()` reaches this tensor; setting it is `requires_grad_()`."""
        return self._requires

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Ask for gradients (or not) of this leaf; raises GradError for a computed tensor or a non-floating one."""
        if not self.is_leaf:
            if requires_grad:
                return self
            raise GradError("requires_grad_(False) on a computed tensor; detach() it, which gives a leaf")
        if requires_grad and not self.dtype.is_float:
            raise GradError(f"only floating tensors can require gradients, this one is {self.dtype}")
        if requires_grad and not self._requires:  # a node of its own: what was made of it before is no function of it
            self._requires = True
            computed = self.node in values.COMPUTED
            self._point(_leaf_of(self.node) if computed else apply("mark", apply("detach", self.node), uid=nd.fresh()))
        self._requires = requires_grad
        return self

    # --- reading ------------------------------------------------------------------------------------------------------
    def realize(self) -> Self:
        """Compute the value now, if it is pending; returns this tensor."""
        realize(self)
        return self

    # --- gradients; flame/autograd installs the rest ------------------------------------------------------------------
    def _spend(self, line: str) -> None:
        """The graph below is no longer held by this handle, once its value is known."""
        if self.is_leaf:
            return
        self._spent = line
        if self.node in values.COMPUTED:
            self._settle()

    def detach(self) -> "Tensor":
        """The same value, through which no gradient flows."""
        return Tensor(apply("detach", self.node) if self.requires_grad else self.node, self.device)

    # --- this handle means something else -----------------------------------------------------------------------------
    def _become(self, other: "Tensor", name: str, anyhow: bool = False) -> Self:
        """An in-place method: this handle takes another's value, in its shape unless `anyhow`; no other changes."""
        if self._requires and self.is_leaf and recording.state.recording:
            raise GradError(
                f"{name} on a leaf that requires gradients; do it under flame.no_grad(), or on a detach()ed copy"
            )
        if other.shape != self.shape and not anyhow:
            raise ShapeError(f"{name} gives shape {other.shape}, which does not fit in place into {self.shape}")
        if other.dtype.category > self.dtype.category:
            raise DTypeError(f"{name} gives {other.dtype}, which {self.dtype} cannot hold; cast the tensor before")
        node = nd.cast(other.node, self.dtype)
        if self._requires and self.is_leaf:
            node = apply("mark", apply("detach", node), uid=nd.fresh())  # a leaf of its own, though still pending
        elif other._requires:
            self._requires, self.is_leaf = True, False
        self._point(node)
        return self

    def _point(self, node: Node) -> None:
        """Let the handle mean another node; gradients of the old one are still its own."""
        self.node = node
        if self._requires and self.is_leaf:
            _trainable[node] = self
        known = node in values.COMPUTED
        (_live.discard if known else _live.add)(self)
        (_holding.add if known else _holding.discard)(self)

    def _settle(self) -> None:
        """After its value is known: a handle whose graph nobody will differentiate lets go of it."""
        _live.discard(self)
        _holding.add(self)
        free = self.is_leaf or not self._requires or self._spent
        if free and self.node.op.name != "leaf":
            self._point(_leaf_of(self.node))


# --- making handles ---------------------------------------------------------------------------------------------------
def new(node: Node, device: Device, *operands: Tensor) -> Tensor:
    """The handle of a computed node; it requires gradients where an operand does, unless gradients are off."""
    note(node)
    needs = False
    for t in operands:
        if t._requires:
            needs = True
            break
    if needs and not (recording.state.recording and node.dtype.is_float):
        node, needs = apply("detach", node), False
    return Tensor(node, device, needs, not needs)


def from_array(array: Any, device: Device | None = None, requires_grad: bool = False) -> Tensor:
    """A leaf tensor with a copy of a NumPy array."""
    where = device or devices.default()
    return _uploaded(array, where, where.upload, requires_grad)[0]


def send_array(array: Any, device: Device) -> tuple[Tensor, Callable[[], None]]:
    """As `from_array`, but the copy runs beside queued work; call what comes with the tensor before it is used."""
    made, arrive = _uploaded(array, device, device.upload_ahead)
    return made, arrive or (lambda: None)


def _uploaded(
    array: Any, where: Device, upload: Callable[[Any, Buffer], Any], grad: bool = False
) -> tuple[Tensor, Any]:
    """A leaf with a copy of an array, and what the upload returned."""
    kind = dt.of_numpy(array.dtype)
    contiguous = np.ascontiguousarray(array).reshape(array.shape)
    buffer = where.pool.buffer(contiguous.nbytes, user_line())
    answer = upload(contiguous, buffer) if contiguous.nbytes else None
    made = from_memory(buffer, contiguous.shape, kind, where, grad)
    if kind.size >= 4 and not where.prompt and (known := spans.of_array(contiguous)):
        spans.remember(made.node, known)  # it may say where to read: nobody need wait for the GPU to know how far
    return made, answer


def from_memory(
    buffer: Buffer, shape: tuple[int, ...], dtype: DType, device: Device, requires_grad: bool = False
) -> Tensor:
    """A leaf tensor whose value lies in a buffer, row-major."""
    node = nd.fresh_leaf(tuple(shape), dtype)
    values.put(node, buffer)
    note(node)
    return Tensor(node, device, requires_grad)


def memory(tensor: Tensor) -> Buffer:
    """The buffer with a tensor's value, computed if need be."""
    found = values.get(tensor.realize().node)
    return found if isinstance(found, Buffer) else memory(from_array(tensor.numpy(), tensor.device))


def to_host(tensor: Tensor) -> tuple[Tensor, Callable[[], None]]:
    """A tensor's value in the host's memory, copied beside work that is queued later; wait by the call before reading.

    The memory is pinned where the device has a use for that, and not under config.memory_limit.
    """
    buffer, wait = tensor.device.store(memory(tensor))
    return from_memory(buffer, tensor.shape, tensor.dtype, devices.get("cpu")), wait


def from_host(tensor: Tensor, device: Device) -> tuple[Tensor, Callable[[], None]]:
    """A CPU tensor's value on a device, copied while other work runs; call what comes with it before it is used."""
    buffer, arrive = device.fetch(memory(tensor), user_line())
    return from_memory(buffer, tensor.shape, tensor.dtype, device), arrive


def stand_in(tensor: Tensor) -> Tensor:
    """A tensor that is like another and never has a value: what is made of it is traced, not computed."""
    made = Tensor(nd.fresh_leaf(tensor.shape, tensor.dtype), tensor.device)
    _live.discard(made)
    return made


def send_away(tensor: Tensor) -> None:
    """Let a computed value wait in the host's memory until it is read, by a plan or by anybody."""
    values.send_to_host(tensor.node, tensor.device)


def is_away(tensor: Tensor) -> bool:
    """Whether the value waits in the host's memory."""
    return values.on_host(tensor.node) is not None


def scalar(value: Number, dtype: DType = dt.float32, device: Device | None = None) -> Tensor:
    """A 0-d tensor that kernels receive by value: a number that changes each step compiles nothing anew."""
    node = nd.fresh_leaf((), dtype, host=True)
    values.put(node, dtype.numpy.type(value).item())
    return Tensor(node, device or devices.default())


def _leaf_of(node: Node) -> Node:
    """A fresh leaf with the value of a computed node."""
    value = values.get(node)
    assert value is not None
    made = nd.fresh_leaf(node.shape, node.dtype, not isinstance(value, Buffer))
    values.put(made, value)
    if node in origins:
        origins[made] = origins[node]
    return made


def _watch() -> None:
    """A graph that grows without end gets one warning, which names the line that builds it."""
    global _unwatched, _warned
    _unwatched -= 1
    if _unwatched:
        return
    _unwatched = WATCH
    if not _warned and 0 < config.pending_limit < nd.alive():
        _warned = True
        warnings.warn(
            f"{nd.alive()} graph nodes are pending, the last made at {user_line()}; realize() what accumulates over "
            "steps (metrics summed without .item(), say), or raise FLAME_PENDING_LIMIT",
            stacklevel=4,
        )


# --- computing --------------------------------------------------------------------------------------------------------
def realize(*tensors: Tensor) -> None:
    """Compute several tensors in one plan."""
    pending = [t for t in tensors if t.node not in values.COMPUTED]
    by_device: dict[Device, list[Tensor]] = {}
    for t in pending:
        by_device.setdefault(t.device, []).append(t)
    for device, some in by_device.items():
        compute = values.prepare([t.node for t in some], device, user_line(), readers=readers_of(some))
        with Uninterrupted():
            compute()
    for t in tensors:
        values.get(t.node)
        t._settle()


def readers_of(roots: Sequence[Tensor]) -> values.Readers:
    """What will be read of a graph later: live handles, what hangs on them, and the gradients still to be asked for."""

    def found(places: dict[Node, int]) -> tuple[Collection[Node], object, Callable[[], Collection[Node]]]:
        mine = {t.node for t in roots}
        live = [t.node for t in _live if t.node not in mine]
        direct: set[Node] = set()
        if live:
            direct = {n for n in live if n in places}
            outside = toposort([n for n in live if n not in places], values.Either(places))
            direct |= frontier(outside, places)
        later = [t for t in roots if t._requires and not t._spent and not t.is_leaf and t.node in places]
        if not later:
            return direct, None, tuple
        wanted = tuple(owned(places))
        calls = tuple((i, call.kind, _where(call, places)) for n, i in places.items() if (call := _call(n)))
        key = (tuple(places[t.node] for t in later), tuple(places[n] for n in wanted), calls)

        def differentiate() -> Collection[Node]:
            out: set[Node] = set()
            for t in later:
                grads = pullback({t.node: ones(t.node)}, wanted, sketch=True)
                out |= frontier(toposort([g for g in grads if g is not None], values.Either(places)), places)
            return out

        return direct, key, differentiate

    return found


def _call(node: Node) -> Call | None:
    return None if node.held is None else node.held.call


def _where(call: Call, places: dict[Node, int]) -> tuple[int | None, ...]:
    """Which nodes the gradients of a user's call will read: a key that keeps none of his objects alive."""
    return tuple(places.get(n) for n in (*call.inputs, *call.reads()))


def assign(pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Give each first handle the value of the second, all in one plan; old memory is taken over where nobody needs it.

    Pending tensors that read an old value, the loss among them, are computed in the same plan.
    """
    if not pairs:
        return
    targets = [t for t, _ in pairs]
    given = [new.node for _, new in pairs]
    waiting, donate = _around(targets, set(given))
    roots = [*given, *(t.node for t in waiting)]
    compute = values.prepare(roots, targets[0].device, user_line(), donate)
    with Uninterrupted():
        compute()
        for t in waiting:
            t._settle()
        for (target, source), node in zip(pairs, given, strict=True):
            target._point(_leaf_of(node))
            source._settle()


def revise(
    targets: Sequence[Tensor], reads: Sequence[Node], key: Hashable, build: Callable[[], Sequence[Node]]
) -> None:
    """As `assign`: each handle takes the value of what `build` makes of the nodes that it reads.

    It makes the same of equal graphs where the keys are equal: then nothing is built that was compiled before.
    """
    sequel = values.Sequel(tuple(reads), key, build)
    waiting, donate = _around(targets)
    roots = [t.node for t in waiting]
    compute = values.prepare(roots, targets[0].device, user_line(), donate, sequel=sequel)
    with Uninterrupted():
        made = compute()
        for t in waiting:
            t._settle()
        for target, value in zip(targets, made, strict=True):
            node = nd.fresh_leaf(target.node.shape, target.node.dtype, not isinstance(value, Buffer))
            values.put(node, value)
            target._point(node)


def _around(targets: Sequence[Tensor], fresh: Collection[Node] = ()) -> tuple[list[Tensor], list[Node]]:
    """Pending handles that read an old value of the targets, and old values that nobody else has."""
    device, old = targets[0].device, {t.node for t in targets}
    mine = {id(t) for t in targets}  # what they still had to compute is never read: starting values of a loaded module
    pending = [t for t in _live if t.node not in fresh and t.device is device and id(t) not in mine]
    readers = _readers_of(old, [t.node for t in pending])
    elsewhere = {t.node for t in _holding if id(t) not in mine}
    donate = [n for n in old if n in values.COMPUTED and n not in elsewhere]
    return [t for t in pending if t.node in readers], donate


def _readers_of(leaves: Collection[Node], roots: Sequence[Node]) -> set[Node]:
    """Every pending node below the roots that is one of the leaves or reads one, in one walk."""
    found: set[Node] = set()
    for n in toposort(roots, values.COMPUTED):
        if n in leaves or any(s in found for s in n.src) or any(s in leaves for s in values.behind(n)):
            found.add(n)
    return found


# --- gradients --------------------------------------------------------------------------------------------------------
def pending() -> set[Node]:
    """The values that handles wait for, outside of what is built from now on."""
    return {t.node for t in _live}


def owned(nodes: Iterable[Node]) -> dict[Node, Tensor]:
    """The nodes among these whose gradient a handle waits for."""
    return {n: t for n in nodes if (t := _trainable.get(n)) is not None and t.requires_grad}


def same_device(name: str, *tensors: Tensor) -> Device:
    """The one device of all operands; raises DeviceError where they differ."""
    device = tensors[0].device
    for t in tensors:
        if t.device is not device:
            raise DeviceError(
                f"{name}: operands live on {device.name} and {t.device.name}; move one, e.g. with .to({device.name!r})"
            )
    return device
