"""PyTorch's way to gradients: `backward()` on tensors and what surrounds it, installed as methods of Tensor."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self, TypeVar
from weakref import ReferenceType, ref

from flame.autograd.vmap import vmap
from flame.config import config
from flame.errors import DeviceError, GradError
from flame.ir import node as nd
from flame.ir.held import Hook, held
from flame.ir.node import Node, apply, like
from flame.ir.origins import note, origins, user_line
from flame.passes.grad import ones, pullback, sources_first
from flame.recording import Recording, is_grad_enabled
from flame.runtime.device import Device
from flame.tensor import Tensor, owned, realize

_numbers = itertools.count()
_names: dict[str, str] = {}
Function = TypeVar("Function", bound=Callable[..., Any])
Tensors = Tensor | Sequence[Tensor]


def method(function: Function) -> Function:
    """Install a function of a tensor as a method of Tensor, under the same name."""
    setattr(Tensor, function.__name__, function)
    return function


# --- gradients of graphs ----------------------------------------------------------------------------------------------
def backward(
    tensors: Tensors,
    grad_tensors: "Tensor | Sequence[Tensor | None] | None" = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensors | None = None,
) -> None:
    """Add the gradients of the sum of `tensors` to the `.grad` of every leaf that requires them, or of `inputs`.

    Nothing is computed yet: gradients are ordinary lazy tensors, with a graph of their own where `create_graph`. A
    tensor of several elements needs its gradient in `grad_tensors`. Raises GradError where nothing requires gradients,
    or on a second pass without `retain_graph=True`.
    """
    roots = _several(tensors)
    seeds = _seeds("backward", roots, _gradients(grad_tensors, len(roots)))
    owners = _owners(seeds) if inputs is None else [(t.node, t) for t in _several(inputs)]
    if inputs is not None and not owners:
        raise GradError("backward: inputs= is empty; name the tensors whose .grad is wanted, or leave it out")
    with Recording(create_graph):
        found = pullback(seeds, [n for n, _ in owners])
        for (_, owner), g in zip(owners, found, strict=True):
            if g is not None:
                _accumulate(owner, g)
    _finish(roots, create_graph if retain_graph is None else retain_graph)
    if config.anomaly:
        realize(*[owner.grad for _, owner in owners if owner.grad is not None])


def grad(
    outputs: Tensors,
    inputs: Tensors,
    grad_outputs: "Tensor | Sequence[Tensor | None] | None" = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of the sum of `outputs` with respect to each of `inputs`; no `.grad` is touched.

    With `is_grads_batched`, the first dimension of `grad_outputs` and of the results counts vectors. Raises GradError
    for an input that no output depends on, unless `allow_unused` (then None) or `materialize_grads` (then zeros).
    """
    roots, wanted = _several(outputs), _several(inputs)
    if materialize_grads and allow_unused is False:
        raise GradError("grad: materialize_grads=True means allow_unused=True; do not pass allow_unused=False")
    for i, t in enumerate(wanted):
        if not t.requires_grad:
            raise GradError(f"grad: input {i} does not require gradients; call requires_grad_() before computing")
    given = _gradients(grad_outputs, len(roots))
    if is_grads_batched:
        return _batched(roots, wanted, given, retain_graph, create_graph, allow_unused, materialize_grads)
    seeds = _seeds("grad", roots, given)
    with Recording(create_graph):
        found = pullback(seeds, [t.node for t in wanted])
        found = tuple(g if g is None or not t.is_leaf else _hooked(t, g) for t, g in zip(wanted, found, strict=True))
    if None in found and not (allow_unused or materialize_grads):
        raise GradError(
            f"grad: no output depends on input {found.index(None)}; pass allow_unused=True for None in its place, or "
            "materialize_grads=True for zeros"
        )
    _finish(roots, create_graph if retain_graph is None else retain_graph)
    made = [like(t.node, 0) if g is None and materialize_grads else g for t, g in zip(wanted, found, strict=True)]
    parts = tuple(None if g is None else _made(t, g, create_graph) for t, g in zip(wanted, made, strict=True))
    if config.anomaly:
        realize(*[p for p in parts if p is not None])
    return parts


def _batched(
    roots: Sequence[Tensor],
    wanted: Sequence[Tensor],
    given: Sequence[Tensor | None],
    retain_graph: bool | None,
    create_graph: bool,
    allow_unused: bool | None,
    materialize_grads: bool,
) -> tuple[Tensor | None, ...]:
    """`grad` for each vector of a batch, in one graph."""
    if not given or any(g is None for g in given):
        raise GradError("grad: is_grads_batched=True needs grad_outputs=, whose first dimension counts vectors")
    used: list[bool] = []

    def one(*vectors: Tensor) -> tuple[Tensor, ...]:
        found = grad(roots, wanted, vectors, True, create_graph, allow_unused, False, materialize_grads)
        used[:] = [g is not None for g in found]
        return tuple(g for g in found if g is not None)

    rest = iter(vmap(one)(*given))
    _finish(roots, create_graph if retain_graph is None else retain_graph)
    return tuple(next(rest) if u else None for u in used)


def _owners(seeds: dict[Node, Node]) -> list[tuple[Node, Tensor]]:
    """The leaves below, and the nodes that stand for them in this graph."""
    return list(owned(n for n in sources_first(seeds) if isinstance(n, Node)).items())


def _several(tensors: Any) -> list[Tensor]:
    found = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    for t in found:
        if not isinstance(t, Tensor):
            raise GradError(f"gradients are those of tensors, got {type(t).__name__}")
    return found


def _gradients(given: Any, count: int) -> list[Tensor | None]:
    if given is None:
        return [None] * count
    found: list[Tensor | None] = [given] if isinstance(given, Tensor) else list(given)
    if len(found) != count:
        raise GradError(f"{count} tensors need {count} gradients, {len(found)} were given; None stands for ones")
    return found


def _seeds(name: str, roots: Sequence[Tensor], given: Sequence[Tensor | None]) -> dict[Node, Node]:
    """Where differentiation begins: the gradient of each root."""
    seeds: dict[Node, Node] = {}
    for root, gradient in zip(roots, given, strict=True):
        _check(name, root)
        seed = _seed(name, root, gradient)
        seeds[root.node] = seeds[root.node] + seed if root.node in seeds else seed
    return seeds


def _check(name: str, root: Tensor) -> None:
    if not root.requires_grad:
        raise GradError(f"{name}() on a tensor that requires no gradient: no leaf below it has requires_grad=True")
    if root._spent:
        raise GradError(
            f"{name}() a second time: the first freed the graph, at {root._spent}; pass retain_graph=True there"
        )


def _seed(name: str, root: Tensor, gradient: Tensor | None) -> Node:
    if gradient is None:
        if root.numel() != 1:
            raise GradError(
                f"{name}() needs one number, got shape {root.shape}; reduce it first, e.g. .sum() or .mean(), or "
                "pass gradient= of that shape"
            )
        return ones(root.node)
    if not isinstance(gradient, Tensor):
        raise GradError(f"{name}: gradient= must be a Tensor or None, got {type(gradient).__name__}")
    if gradient.shape != root.shape:
        raise GradError(f"gradient= has shape {gradient.shape}, the tensor {root.shape}; they must agree")
    if gradient.device is not root.device:
        raise DeviceError(f"{name}: gradient= is on {gradient.device.name}, the tensor on {root.device.name}")
    return nd.cast(gradient.node, root.dtype)


def _finish(roots: Sequence[Tensor], keep: bool) -> None:
    if not keep:
        line = user_line()
        for root in roots:
            root._spend(line)


def _made(owner: Tensor, g: Node, create_graph: bool) -> Tensor:
    """A gradient as a tensor; it is a constant unless it has a graph of its own."""
    note(g)
    if config.anomaly and owner.node in origins:
        origins.setdefault(g, origins[owner.node])
    return Tensor(g if create_graph else apply("detach", g), owner.device, create_graph, is_leaf=not create_graph)


def _accumulate(owner: Tensor, g: Node) -> None:
    """Add to `.grad`, between the hooks of a leaf."""
    if _retains(owner):
        return  # it is there already
    made = _made(owner, _hooked(owner, g) if owner.is_leaf else g, is_grad_enabled())
    owner._grad = made if owner._grad is None else owner._grad + made
    if isinstance(owner._watchers, Watchers):
        for hook in list(owner._watchers.after.values()):
            hook(owner)


def _method(
    self: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensors | None = None,
) -> None:
    """Add d self / d leaf to the `.grad` of every leaf that requires it; nothing is computed yet.

    A tensor of several elements needs `gradient`, of its shape. The gradients are ordinary lazy tensors, with a
    graph of their own where `create_graph` is True. Raises GradError where nothing requires gradients, or on a
    second pass without `retain_graph=True`.
    """
    backward(self, gradient, retain_graph, create_graph, inputs)


_method.__name__ = "backward"
method(_method)


# --- hooks ------------------------------------------------------------------------------------------------------------
class Watchers:
    """Hooks on a leaf: before its gradient is added to `.grad`, and after."""

    def __init__(self) -> None:
        self.before: dict[int, Callable[[Tensor], Tensor | None]] = {}
        self.after: dict[int, Callable[[Tensor], None]] = {}


class RemovableHandle:
    """What registering a hook returns: `remove()` ends the hook; as a context manager, leaving does."""

    def __init__(self, hooks: dict[int, Any], hook: Any):
        self.hooks, self.id = hooks, next(_numbers)
        hooks[self.id] = hook

    def remove(self) -> None:
        """No gradient that is asked for from now on meets the hook; again is harmless."""
        self.hooks.pop(self.id, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


@method
def register_hook(self: Tensor, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
    """Call `hook(gradient)` when a gradient of this tensor is asked for; what it returns, unless None, takes its place.

    The hook of a leaf stays with the tensor; that of a computed one with its value, whoever computes the same again.
    Raises GradError where no gradient is required.
    """
    if not self.requires_grad:
        raise GradError("register_hook() on a tensor that requires no gradient: nobody will ever ask for one")
    if not callable(hook):
        raise GradError(f"register_hook() takes a function of the gradient, got {type(hook).__name__}")
    if self.is_leaf:
        return RemovableHandle(_watchers(self).before, hook)
    return RemovableHandle(held(self.node).hooks, _on_nodes(hook, self))


@method
def register_post_accumulate_grad_hook(self: Tensor, hook: Callable[[Tensor], None]) -> RemovableHandle:
    """Call `hook(tensor)` after `backward()` has added to the `.grad` of this leaf; raises GradError for others."""
    if not self.requires_grad or not self.is_leaf:
        raise GradError("register_post_accumulate_grad_hook() is for leaves that need gradients; use register_hook()")
    return RemovableHandle(_watchers(self).after, hook)


def _watchers(t: Tensor) -> Watchers:
    if t._watchers is None:
        t._watchers = Watchers()
    return t._watchers


def _retains(t: Tensor) -> bool:
    return not t.is_leaf and callable(t._watchers)


def _hooked(owner: Tensor, g: Node) -> Node:
    """The gradient of a leaf after its hooks."""
    if owner._watchers is not None:
        for hook in list(owner._watchers.before.values()):
            g = _on_nodes(hook, owner)(g) or g
    return g


def _on_nodes(hook: Callable[[Tensor], Tensor | None], owner: Tensor) -> Hook:
    """A hook on tensors as one on nodes, without holding the tensor it belongs to."""
    device, shape, dtype = owner.device, owner.shape, owner.dtype

    def run(g: Node) -> Node | None:
        out = hook(wrapped(g, device))
        if out is None:
            return None
        if not isinstance(out, Tensor) or out.shape != shape or out.device is not device:
            what = f"shape {out.shape} on {out.device.name}" if isinstance(out, Tensor) else type(out).__name__
            raise GradError(f"a hook returned {what} for a gradient of shape {shape} on {device.name}; they must agree")
        return nd.cast(out.node, dtype)

    return run


def wrapped(g: Node, device: Device) -> Tensor:
    """A gradient on its way as a tensor: with a graph where `create_graph` asks for one."""
    note(g)
    if is_grad_enabled():
        return Tensor(g, device, True, is_leaf=False)
    return Tensor(apply("detach", g), device)


@method
def retain_grad(self: Tensor) -> None:
    """Let `backward()` leave a `.grad` here too, though this tensor is computed; a leaf has one anyway."""
    if not self.requires_grad:
        raise GradError("retain_grad() on a tensor that requires no gradient")
    if self.is_leaf or _retains(self):
        return
    handle: ReferenceType[Tensor] = ref(self)

    def keep(g: Node) -> None:
        if (owner := handle()) is not None:
            made = _made(owner, g, is_grad_enabled())
            owner._grad = made if owner._grad is None else owner._grad + made

    self._watchers = keep
    held(self.node).last[next(_numbers)] = keep


# --- what a tensor tells of its graph ---------------------------------------------------------------------------------
class GradFn(NamedTuple):
    """The step of differentiation behind a computed tensor, as far as one may ask for it."""

    node: Node

    def name(self) -> str:
        """PyTorch's way to name it: MulBackward0."""
        call = None if self.node.held is None else self.node.held.call
        return f"{call}Backward" if call is not None else _camel(self.node.op.name)

    @property
    def next_functions(self) -> "tuple[tuple[GradFn, int], ...]":
        """The steps that follow, one for each operand."""
        call = None if self.node.held is None else self.node.held.call
        return tuple((GradFn(s), 0) for s in (self.node.src if call is None else call.inputs))

    def __repr__(self) -> str:
        return f"<{self.name()}>"


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_")) + "Backward0"


def _property(function: Callable[[Tensor], Any]) -> None:
    setattr(Tensor, function.__name__, property(function))


@_property
def grad_fn(self: Tensor) -> GradFn | None:
    """What computed this tensor, for differentiation; None for a leaf."""
    return None if self.is_leaf else GradFn(self.node)


@_property
def retains_grad(self: Tensor) -> bool:
    """True for a computed tensor after `retain_grad()`."""
    return _retains(self)


@method
def detach_(self: Tensor) -> Tensor:
    """Let this tensor be a leaf that requires no gradient: `detach()` in place."""
    node = apply("detach", self.node) if self.requires_grad else self.node
    self._requires, self.is_leaf = False, True
    self._point(node)
    return self
