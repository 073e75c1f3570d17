"""Functions whose gradient is a user's own: `Function` as in PyTorch, and `custom_gradient` for a plain function.

The results of a call are nodes that hold the call (flame/ir/held.py): differentiation asks it, and does not look
inside. A call holds nodes, no tensors, so that nothing is kept in memory which the gradients do not read.
"""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast
from weakref import ReferenceType, ref

from flame.autograd.backward import wrapped
from flame.errors import GradError
from flame.ir import node as nd
from flame.ir.held import Call, Held, Partial
from flame.ir.node import Node, apply, fresh, hold, like
from flame.ir.ops.movement import sum_to
from flame.ir.origins import note
from flame.recording import is_grad_enabled, no_grad
from flame.runtime.device import Device
from flame.tensor import Tensor

_kinds = itertools.count(1)


class Saved(NamedTuple):
    """A tensor for the backward pass: its node, or which result of the call it is."""

    node: Node | None
    device: Device
    requires_grad: bool
    result: int = -1


class FunctionCtx:
    """What `forward` leaves for `backward`; any attribute may be set on it beside what is named here."""

    def __init__(self) -> None:
        self.needs_input_grad: tuple[bool, ...] = ()
        self.materialize_grads = True
        self._to_save: tuple[Any, ...] = ()
        self._constant: tuple[Tensor, ...] = ()
        self._dirty: tuple[Tensor, ...] = ()
        self._saved: tuple[Saved | None, ...] = ()
        self._results: Callable[[int], Node] = _no_result

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors (or None) for `saved_tensors`; inputs and results keep their part in second derivatives."""
        for t in tensors:
            if t is not None and not isinstance(t, Tensor):
                raise GradError(f"save_for_backward() takes tensors, got {type(t).__name__}; set an attribute of ctx")
        self._to_save = tensors

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """What `save_for_backward` was given."""
        return tuple(None if s is None else self._restored(s) for s in self._saved)

    def _restored(self, s: Saved) -> Tensor:
        node = self._results(s.result) if s.node is None else s.node
        flows = s.requires_grad and is_grad_enabled()
        return Tensor(node if flows else apply("detach", node), s.device, flows, is_leaf=not flows)

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """These results require no gradients."""
        self._constant = tensors

    def mark_dirty(self, *tensors: Tensor) -> None:
        """These inputs were changed in place; where they are results, the caller's own tensors become them."""
        self._dirty = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """With False, `backward` gets None for results without a gradient, instead of zeros."""
        self.materialize_grads = value


def _no_result(number: int) -> Node:
    raise GradError("saved_tensors is there in backward(), not before")


class Function:
    """A differentiable function of tensors, as torch.autograd.Function: subclass it, and call `Yours.apply(...)`.

    `forward(ctx, *args)` computes with tensors and records nothing; `backward(ctx, *grads)` returns one gradient for
    each argument, or None. With `setup_context(ctx, inputs, output)`, `forward` takes the arguments alone. Second
    derivatives are those of `backward`, whose tensors may be differentiated in turn.

    >>> class Cube(flame.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x * x * x
    ...     @staticmethod
    ...     def backward(ctx, grad):
    ...         (x,) = ctx.saved_tensors
    ...         return 3 * x * x * grad
    >>> x = flame.tensor(2.0, requires_grad=True)
    >>> Cube.apply(x).backward()
    >>> x.grad.item()
    12.0
    """

    _kind = 0

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._kind = next(_kinds)

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """The results, tensors among them; every Function defines its own."""
        raise NotImplementedError("a Function defines forward(ctx, *args), or forward(*args) and setup_context()")

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Any) -> None:
        """Save for `backward` what it needs, after a `forward` without ctx."""
        raise NotImplementedError

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """The gradient of each argument; every Function whose gradient is asked for defines its own."""
        raise NotImplementedError("this Function has no backward(ctx, *grads), and a gradient was asked for")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Call the function."""
        ctx = FunctionCtx()
        tensors = [a for a in args if isinstance(a, Tensor)]
        flows = tuple(isinstance(a, Tensor) and a.requires_grad and is_grad_enabled() for a in args)
        ctx.needs_input_grad = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        before = [a.node if isinstance(a, Tensor) else None for a in args]  # forward may change arguments in place
        with no_grad():
            if cls.setup_context is not Function.setup_context:
                out = cls.forward(*args)
                cls.setup_context(ctx, args, out)
            else:
                out = cls.forward(ctx, *args)
        results = list(out) if isinstance(out, (tuple, list)) else [out]
        if any(flows):
            inputs = [n for n, f in zip(before, flows, strict=True) if f and n is not None]
            results = _recorded(cls, ctx, args, before, flows, inputs, results, tensors[0].device)
        return type(out)(results) if isinstance(out, (tuple, list)) else results[0]


def _recorded(
    cls: type[Function],
    ctx: FunctionCtx,
    args: Sequence[Any],
    before: Sequence[Node | None],
    flows: tuple[bool, ...],
    inputs: Sequence[Node],
    results: Sequence[Any],
    device: Device,
) -> list[Any]:
    """The results as nodes that hold the call."""
    constant = {id(t) for t in ctx._constant}
    live = [isinstance(t, Tensor) and t.dtype.is_float and id(t) not in constant for t in results]
    shapes = [t.node if f else None for t, f in zip(results, live, strict=True)]
    call = FunctionCall(cls, ctx, tuple(inputs), flows, shapes, device)
    ctx._saved = tuple(_save(t, args, before, results, live) for t in ctx._to_save)
    ctx._to_save = ()
    dirty = {id(t) for t in ctx._dirty}
    out: list[Any] = []
    for i, (t, f) in enumerate(zip(results, live, strict=True)):
        if not f:
            out.append(t)
            continue
        node = call.result(i)
        note(node)
        if id(t) in dirty:
            t._requires, t.is_leaf = True, False
            t._point(node)
            out.append(t)
        else:
            out.append(Tensor(node, t.device, True, is_leaf=False))
    ctx._constant = ctx._dirty = ()
    return out


def _save(
    t: Tensor | None, args: Sequence[Any], before: Sequence[Node | None], results: Sequence[Any], live: Sequence[bool]
) -> Saved | None:
    if t is None:
        return None
    for i, y in enumerate(results):
        if y is t and live[i] and not any(a is t for a in args):
            return Saved(None, t.device, True, i)
    for a, n in zip(args, before, strict=True):
        if a is t and n is t.node:
            return Saved(t.node, t.device, t.requires_grad)
    return Saved(t.node, t.device, False)


class FunctionCall(Call):
    """One call of a Function."""

    def __init__(
        self,
        cls: type[Function],
        ctx: FunctionCtx,
        inputs: tuple[Node, ...],
        flows: tuple[bool, ...],
        values: Sequence[Node | None],
        device: Device,
    ):
        self.cls, self.ctx, self.inputs, self.flows, self.device = cls, ctx, inputs, flows, device
        self.values = list(values)  # what each result is, without its gradient; None where none flows
        self.kind = cls._kind
        self.nodes: dict[int, ReferenceType[Node]] = {}
        ctx._results = functools.partial(_result_of, ref(self))

    def __str__(self) -> str:
        return self.cls.__name__

    def result(self, i: int) -> Node:
        """The node of a result: the one there is, while it lives."""
        found = self.nodes[i]() if i in self.nodes else None
        value = self.values[i]
        assert value is not None
        if found is None:
            found = hold(apply("result", value, uid=fresh()), Held(self, i))
            self.nodes[i] = ref(found)
        return found

    def reads(self) -> tuple[Node, ...]:
        held = (s.node if s.node is not None else self.values[s.result] for s in self.ctx._saved if s is not None)
        return tuple(n for n in held if n is not None)

    def sketch(self, given: Mapping[int, Node]) -> Partial:
        order = (*given.values(), *self.reads())
        return tuple(apply("after", like(n, 0), *order, uid=fresh()) for n in self.inputs)

    def gradients(self, given: Mapping[int, Node]) -> Partial:
        name = f"{self.cls.__name__}.backward"
        grads = [self._given(given.get(i), value) for i, value in enumerate(self.values)]
        found = self.cls.backward(self.ctx, *grads)
        parts = list(found) if isinstance(found, (tuple, list)) else [found]
        if len(parts) > len(self.flows) and not any(p is not None for p in parts[len(self.flows) :]):
            del parts[len(self.flows) :]
        if len(parts) != len(self.flows):
            raise GradError(f"{name} gave {len(parts)} gradients for {len(self.flows)} arguments; None stands for none")
        wanted = [p for p, f in zip(parts, self.flows, strict=True) if f]
        return tuple(self._fitted(name, p, n) for p, n in zip(wanted, self.inputs, strict=True))

    def _given(self, g: Node | None, value: Node | None) -> Tensor | None:
        if g is not None:
            return wrapped(g, self.device)
        if value is None or not self.ctx.materialize_grads:
            return None
        return Tensor(like(value, 0), self.device)

    def _fitted(self, name: str, part: Any, node: Node) -> Node | None:
        """A gradient in the shape and dtype of what it belongs to."""
        if part is None:
            return None
        if not isinstance(part, Tensor):
            raise GradError(f"{name} returned {type(part).__name__} where a Tensor or None must stand")
        g, shape = part.node, node.shape
        if g.shape != shape:
            fits = len(g.shape) >= len(shape) and all(
                n in (1, m) for n, m in zip(reversed(shape), reversed(g.shape), strict=False)
            )
            if not fits:
                raise GradError(f"{name} returned a gradient of shape {g.shape} for an argument of shape {shape}")
            g = sum_to(g, shape)
        return nd.cast(g, node.dtype)


def _result_of(call: "ReferenceType[FunctionCall]", number: int) -> Node:
    found = call()
    assert found is not None
    return found.result(number)


# --- decorators -------------------------------------------------------------------------------------------------------
def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """For a `backward` that computes outside of FLAME's graph: its results are constants, and to ask for second
    derivatives raises GradError.
    """

    @functools.wraps(backward)
    def once(ctx: FunctionCtx, *grads: Tensor | None) -> Any:
        with no_grad():
            found = backward(ctx, *grads)
        if not is_grad_enabled():
            return found
        parts = found if isinstance(found, (tuple, list)) else (found,)
        given = [g for g in (*grads, *ctx.saved_tensors) if g is not None and g.requires_grad]
        refused = tuple(p if not isinstance(p, Tensor) or not given else _Refusal.apply(p, *given) for p in parts)
        return refused if isinstance(found, (tuple, list)) else refused[0]

    return once


class _Refusal(Function):
    """What a once differentiable backward returns."""

    @staticmethod
    def forward(ctx: FunctionCtx, part: Tensor, *given: Tensor) -> Tensor:
        return part

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Any) -> Any:
        raise GradError("a backward() marked once_differentiable cannot be differentiated again; write it in tensors")


def custom_gradient(backward: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that gives a function of tensors a gradient of its own: `backward(grad, result, *arguments)`.

    It returns one gradient for each argument, or None; a function of one argument may return it alone. `grad` and
    `result` are tuples where the function returns several tensors. Second derivatives are those of `backward`.

    >>> @flame.autograd.custom_gradient(lambda g, y, x: g.clamp(-1.0, 1.0))
    ... def clipped(x):
    ...     return x
    >>> x = flame.tensor([1.0, 2.0], requires_grad=True)
    >>> (clipped(x) * flame.tensor([0.5, 100.0])).sum().backward()
    >>> x.grad.tolist()
    [0.5, 1.0]
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        def run_forward(ctx: Any, *args: Any) -> Any:
            out = function(*args)
            results = out if isinstance(out, (tuple, list)) else (out,)
            tensors = [a for a in args if isinstance(a, Tensor)]
            ctx.args = [None if isinstance(a, Tensor) else a for a in args]
            ctx.which = [isinstance(a, Tensor) for a in args]
            ctx.several, ctx.count = isinstance(out, (tuple, list)), len(tensors)
            ctx.save_for_backward(*tensors, *results)
            return out

        def run_backward(ctx: Any, *grads: Any) -> Any:
            saved = ctx.saved_tensors
            tensors, results = iter(saved[: ctx.count]), saved[ctx.count :]
            args = [next(tensors) if which else a for a, which in zip(ctx.args, ctx.which, strict=True)]
            return backward(grads if ctx.several else grads[0], results if ctx.several else results[0], *args)

        name = getattr(function, "__name__", "function")
        rules = {"forward": staticmethod(run_forward), "backward": staticmethod(run_backward)}
        made = cast("type[Function]", type(name, (Function,), rules))
        return functools.wraps(function)(lambda *args: made.apply(*args))

    return decorate
