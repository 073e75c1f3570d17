"""Gradient checkpoints by module: those that a policy names, or as few as keep a training step within a budget.

Sublinear memory by recomputation: Chen et al., arXiv:1604.06174.
"""

import contextlib
import gc
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from math import prod
from typing import Any

from flame.autograd.backward import grad
from flame.autograd.checkpoint import region
from flame.autograd.tree import leaves
from flame.config import read_bytes
from flame.errors import FlameError, OutOfMemoryError
from flame.ir.node import Node
from flame.ir.plan import Plan
from flame.nn.containers import ModuleList, Sequential
from flame.nn.hooks import Hooks
from flame.nn.module import Module
from flame.ops.random import fork_rng
from flame.optim.base import Optimizer
from flame.runtime.pool import readable, size_class
from flame.tensor import Tensor, readers_of, realize
from flame.values import planned

__all__ = ["apply_checkpointing", "checkpoint_module", "remove_checkpointing"]

Policy = Callable[[str, Module], bool] | type[Module] | Iterable[type[Module]]
Named = list[tuple[str, Module]]
Loss = Callable[[Any], Tensor]


def checkpoint_module(module: Module, context_fn: Callable[[], Any] | None = None) -> Module:
    """Let every call of a module be a `checkpoint`, in place; returns the module. Its state_dict stays as it is.

    `context_fn` is the checkpoint's.

    >>> layer = flame.utils.checkpoint.checkpoint_module(flame.nn.Linear(2, 2))
    >>> layer(flame.ones(1, 2)).sum().backward()
    >>> layer.weight.grad.tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    module._hooks = module._hooks or Hooks()
    module._hooks.around = region if context_fn is None else partial(region, keep=context_fn())
    return module


def remove_checkpointing(model: Module) -> None:
    """Undo `checkpoint_module` and `apply_checkpointing` on a model and all inside it."""
    for module in model.modules():
        if module._hooks is not None:
            module._hooks.around = None


def apply_checkpointing(
    model: Module,
    policy: Policy | None = None,
    *,
    budget: int | str | None = None,
    sample: Any = None,
    loss: Loss | None = None,
    optimizer: Optimizer | None = None,
    context_fn: Callable[[], Any] | None = None,
) -> list[str]:
    """Checkpoint modules of a model, in place; returns their names. `context_fn` is the checkpoint's, of each.

    `policy` says which: a function of (name, module), a class, or several; without one they are the blocks of the
    model, that is the members of ModuleLists and Sequentials that have modules of their own.

    With `budget`, a number of bytes or a text such as "2GiB", they are only the first so many of these, as few as let
    forward and backward of `sample` peak at no more: what is in use now, the model itself too, all gradients, and what
    the step needs between, whether the loss is read before `backward()` or not. That is told by the plans of a step,
    so nothing runs. `sample` is the model's argument, a tuple of them, or a dict of keyword arguments; `loss` makes one
    number of the model's output, by default the sum of what depends on parameters. With `optimizer` its update
    belongs to the step, and its state is made now. Raises OutOfMemoryError, and changes no
    module, where not even all checkpoints are enough.
    """
    chosen = matching("apply_checkpointing", model, policy)
    if budget is not None:
        if sample is None:
            raise FlameError("apply_checkpointing: a budget needs sample=, inputs of the size that training will have")
        if optimizer is not None:
            optimizer.prepare()
        peaks = partial(_peaks, model, sample, loss, optimizer)
        chosen = _fewest(model, chosen, _bytes(budget), peaks, context_fn)
    for _, module in chosen:
        checkpoint_module(module, context_fn)
    return [name for name, _ in chosen]


def _bytes(budget: int | str) -> int:
    try:
        found = read_bytes(budget)
    except ValueError as problem:
        raise FlameError(f"apply_checkpointing: budget is {budget!r}: {problem}") from None
    assert found is not None
    return found


def matching(name: str, model: Module, policy: Policy | None) -> Named:
    """The modules that a policy chooses; raises FlameError, under the name of who asks, where there are none."""
    every = list(model.named_modules())
    if policy is None:
        chosen = _blocks("", model, False)
    elif callable(policy) and not isinstance(policy, type):
        chosen = [(path, module) for path, module in every if policy(path, module)]
    else:
        classes = (policy,) if isinstance(policy, type) else tuple(policy)
        chosen = [(path, module) for path, module in every if isinstance(module, classes)]
    if not chosen:
        why = "the policy matches none" if policy is not None else "the model has no blocks; say which by policy="
        raise FlameError(f"{name}: no module was chosen: {why}")
    return chosen


def _blocks(name: str, module: Module, member: bool) -> Named:
    """Members of lists that are made of modules, in order; one that is itself made of several blocks is none."""
    inside: Named = []
    for child, value in module.named_children():
        inside += _blocks(f"{name}.{child}" if name else child, value, isinstance(module, (ModuleList, Sequential)))
    whole = member and len(inside) < 2 and any(True for _ in module.children())
    return [(name, module)] if whole else inside


def _fewest(model: Module, blocks: Named, budget: int, peaks: Callable[[], Iterator[int]], context_fn: Any) -> Named:
    """The first so many blocks with which the peak is within the budget.

    The first ones: their backward is last, so what computing them again needs finds the memory of the others free.
    """
    found: dict[int, int] = {}

    def excess(count: int) -> int:
        """By how much the first peak that is too high misses the budget; at most 0 where all are within it."""
        with _trial(model, blocks[:count], context_fn):
            for peak in peaks():
                found[count] = max(peak, found.get(count, 0))
                if peak > budget:
                    break
        return found[count] - budget

    low, high = 0, len(blocks)
    over = excess(low)
    if over <= 0:
        return []
    under = excess(high)
    if under > 0:
        raise OutOfMemoryError(
            f"apply_checkpointing: a step peaks at {readable(found[low])}, and at {readable(found[high])} with all "
            f"{high} modules checkpointed; the budget is {readable(budget)}. Way out: a smaller batch, a policy "
            "that names larger parts of the model, or a larger budget"
        )
    while high - low > 1:  # low does not fit, high does; equal blocks save equally, so a line through both is near
        guess = low + math.ceil((high - low) * over / (over - under)) if over - under else high
        middle = min(max(guess - (guess == high), low + 1), high - 1)
        now = excess(middle)
        if now > 0:
            low, over = middle, now
        else:
            high, under = middle, now
    return blocks[:high]


@contextlib.contextmanager
def _trial(model: Module, blocks: Named, context_fn: Any) -> Iterator[None]:
    """These blocks are checkpointed inside, and no others."""
    before = [(module, module._hooks and module._hooks.around) for module in model.modules()]
    remove_checkpointing(model)
    try:
        for _, module in blocks:
            checkpoint_module(module, context_fn)
        yield
    finally:
        for module, around in before:
            if module._hooks is not None:
                module._hooks.around = around


def _peaks(model: Module, sample: Any, loss: Loss | None, optimizer: Optimizer | None) -> Iterator[int]:
    """Most bytes in use during a step: in one plan, and with the loss read before. The model is left as it was."""
    params = [p for p in model.parameters() if p.requires_grad]
    if not params:
        raise FlameError("apply_checkpointing: no parameter of the model requires gradients; there is nothing to save")
    realize(*model.parameters(), *model.buffers())
    gc.collect()  # what was compiled before leaves cycles of graphs, which hold memory that no step needs
    with fork_rng(), _buffers_kept(model):
        value = _called(model, sample)
        value = _total(value) if loss is None else loss(value)
        device, root = value.device, value.node
        in_use = device.pool.stats().in_use
        ends, donate = _ends(value, params, optimizer)
        yield in_use + _taken(planned([root, *ends], device, donate=donate)[0])
        forward, left = planned([root], device, readers=readers_of([value]))
        held = sum(size_class(prod(n.shape) * n.dtype.size) for n, again in left.items() if again is None)
        backward, _ = planned(ends, device, left, donate=donate)
        yield in_use + max(_taken(forward), held + _taken(backward))


def _ends(value: Tensor, params: Sequence[Tensor], optimizer: Optimizer | None) -> tuple[list[Node], list[Node]]:
    """What a step computes last, and which values it may overwrite: gradients, and what an optimizer makes of them.

    One that keeps its state on the host computes gradients first, and fetches a little of its state when the rest of
    the step's memory is free again.
    """
    found = grad(value, params, retain_graph=True, allow_unused=True)
    grads = [g.node for g in found if g is not None]
    if optimizer is None or optimizer.offload:
        return grads, []
    before = [p.grad for p in params]
    try:
        for p, g in zip(params, found):
            p.grad = g
        pairs = optimizer.pairs()
    finally:
        for p, g in zip(params, before):
            p.grad = g
    return [*(new.node for _, new in pairs), *grads], [old.node for old, _ in pairs]


def _taken(plan: Plan) -> int:
    """What a plan asks the pool for while it runs."""
    made = set(plan.outputs) - set(plan.leaves) - {out for out, _ in plan.donated}
    return sum(size_class(plan.slots[s].nbytes) for s in made) + (size_class(plan.arena) if plan.arena else 0)


def _called(model: Module, sample: Any) -> Any:
    if isinstance(sample, Mapping):
        return model(**sample)
    return model(*sample) if isinstance(sample, Sequence) else model(sample)


def _total(output: Any) -> Tensor:
    """The sum of everything in an output that depends on what is trained."""
    parts = [t.sum() for t in leaves(output) if isinstance(t, Tensor) and t.requires_grad]
    if not parts:
        raise FlameError("apply_checkpointing: nothing in the model's output requires gradients; give loss=")
    return sum(parts[1:], parts[0])


@contextlib.contextmanager
def _buffers_kept(model: Module) -> Iterator[None]:
    """What a forward pass makes of buffers (running statistics) is undone."""
    before = [(m, name, t, t.node) for m in model.modules() for name, t in m._buffers.items() if t is not None]
    try:
        yield
    finally:
        for module, name, tensor, node in before:
            tensor._point(node)
            module._buffers[name] = tensor
