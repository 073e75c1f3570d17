"""Modules whose arguments, and parameters if wanted, wait in the host's memory between forward and backward.

Such a module is computed when it is called, and its gradients when they are asked for: a plan of the whole step would
need everything on the device at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import ReferenceType, ref

from flame.autograd.checkpoint import Whole, whole
from flame.autograd.tree import leaves
from flame.errors import OutOfMemoryError
from flame.ir.held import Partial
from flame.ir.node import Node
from flame.memory.checkpointing import Policy, matching
from flame.nn.hooks import Hooks
from flame.nn.module import Module
from flame.recording import is_grad_enabled
from flame.runtime.device import Device
from flame.tensor import Tensor, realize, send_away
from flame.values import ask_for, ask_no_more, get, on_host, put, send_to_host


def offload_modules(model: Module, policy: Policy | None = None, *, parameters: bool = False) -> list[str]:
    """Keep what blocks of a model need for gradients in the host's memory, in place; returns their names.

    Each chosen module (as `apply_checkpointing` chooses) becomes a checkpoint whose arguments wait on the host, through
    pinned memory: forward copies them out beside later work, backward brings them back one module at a time. With
    `parameters`, those of the module wait there too, and come for its forward, its backward and, one part at a time
    under `optim.offload`, for their update. `flame.utils.checkpoint.remove_checkpointing` ends it.

    >>> net = flame.nn.Sequential(*[flame.nn.Sequential(flame.nn.Linear(2, 2)) for _ in range(2)])
    >>> flame.memory.offload_modules(net)
    ['0', '1']
    >>> net(flame.ones(1, 2)).sum().backward()
    """
    chosen = matching("offload_modules", model, policy)
    for _, module in chosen:
        module._hooks = module._hooks or Hooks()
        module._hooks.around = partial(_streamed, parameters=parameters)
        if parameters:
            realize(*module.parameters())
            _away(module)
    return [name for name, _ in chosen]


def _away(module: Module) -> None:
    for param in module.parameters():
        send_away(param)


def _streamed(forward: Any, args: Sequence[Any], kwargs: Mapping[str, Any], parameters: bool) -> Any:
    """A call of a module, computed at once; what its gradients will read waits on the host."""
    realize(*_tensors((args, kwargs)))
    if is_grad_enabled():
        output = _as_one(forward, args, kwargs)
    else:
        output = forward(*args, **kwargs)
        realize(*_tensors(output))
    if parameters:
        _away(forward.__self__)
    return output


def _as_one(forward: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """A checkpoint whose gradients are computed as soon as they are asked for."""
    output, call = whole(forward, args, kwargs, Streamed)
    made = _tensors(output)
    realize(*made)
    if call is not None:
        call.leave(made[0].device)
    return output


def _tensors(value: Any) -> list[Tensor]:
    return [t for t in leaves(value) if isinstance(t, Tensor)]


_latest: dict[Device, "ReferenceType[Streamed]"] = {}  # the region that went to the host last


class Streamed(Whole):
    """A region whose gradients are computed where they are asked for, from arguments that come back for that.

    What the region before this one needs comes back while this one's gradients are computed: it is likely the next.
    """

    device: Device
    before: "ReferenceType[Streamed] | None"

    def leave(self, device: Device) -> None:
        """The arguments wait on the host from now on."""
        self.device, self.before = device, _latest.get(device)
        _latest[device] = ref(self)
        for n in self.given:
            send_to_host(n, device)

    def gradients(self, given: Mapping[int, Node]) -> Partial:
        waiting = {n: replace(there, coming=None) for n in self.inputs if (there := on_host(n))}
        for n in waiting:
            get(n)  # its copy is queued before that of what comes next
        following = self._ask()
        parts = super().gradients(given)
        made = [None if n is None else Tensor(n, self.device) for n in parts]
        try:
            realize(*[t for t in made if t is not None])
        except OutOfMemoryError:
            if not following:
                raise
            for n in following:
                ask_no_more(n)
            realize(*[t for t in made if t is not None])
        for n, there in waiting.items():
            put(n, there)  # a value never changes: what is on the host is still it
        return (
            parts if is_grad_enabled() else tuple(None if t is None else t.node for t in made)
        )  # leaves hold no graph

    def _ask(self) -> list[Node]:
        """What the region before needs begins to come back, as far as there is memory for it."""
        region = None if self.before is None else self.before()
        asked: list[Node] = []
        for n in () if region is None else region.inputs:
            if on_host(n):
                try:
                    ask_for(n)
                except OutOfMemoryError:
                    break
                asked.append(n)
        return asked
