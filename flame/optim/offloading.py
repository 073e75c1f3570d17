"""An optimizer's state in the host's memory between steps, on the device only part by part (ZeRO-Offload's idea,
Ren et al., arXiv:2101.06840, with the update on the device).
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TypeVar

from flame.config import read_bytes
from flame.errors import FlameError
from flame.optim.base import Due, Optimizer, State
from flame.tensor import Tensor, from_host, is_away, realize, send_away, to_host

Kind = TypeVar("Kind", bound=Optimizer)
Wait = Callable[[], None]


def offload(optimizer: Kind, chunk: int | str = "64MiB") -> Kind:
    """Keep the state of an optimizer in the host's memory, in place; returns the optimizer.

    A step updates parameters in parts that have `chunk` bytes of state (one larger parameter is a part of its own).
    While one part is updated the next comes and the one before goes back, through pinned memory, so the device holds
    the state of three parts at most. Gradients are computed before, in a plan of their own. On the CPU the state lies
    in memory that `config.memory_limit` does not count, and numbers are the same.

    A step that fails in the middle leaves each part either updated or as it was. `state_dict` has CPU tensors.

    >>> weight = flame.ones(3, requires_grad=True)
    >>> optimizer = flame.optim.offload(flame.optim.SGD([weight], lr=0.5, momentum=0.9))
    >>> weight.sum().backward()
    >>> optimizer.step()
    >>> weight.tolist()
    [0.5, 0.5, 0.5]
    """
    try:
        size = read_bytes(chunk)
    except ValueError as problem:
        raise FlameError(f"offload: chunk is {chunk!r}: {problem}") from None
    if not size:
        raise FlameError(f"offload: chunk is {chunk!r}; give 1 byte or more")
    optimizer.offload = Offload(optimizer, size)
    return optimizer


class Offload:
    """Moves the state of one optimizer: `update` does what a step does, part by part."""

    def __init__(self, optimizer: Optimizer, chunk: int) -> None:
        self.optimizer, self.chunk = optimizer, chunk
        for param in list(optimizer.state):
            _all(self._leave(param))

    def update(self, due: Due) -> None:
        """New parameters and state for all that are due."""
        realize(*[param.grad for _, param in due if param.grad is not None])
        parts = [*self._parts(due), []]
        coming, leaving = self._come(parts[0]), list[list[Wait]]()
        try:
            for part, following in pairwise(parts):
                if len(leaving) > 1:
                    _all(leaving.pop(0))  # its memory is there for the part that comes
                here, coming = coming, self._come(following)
                self._update(part, *here)
                leaving.append([wait for _, param in part for wait in self._leave(param)])
        finally:
            for waits in leaving:
                _all(waits)

    def _parts(self, due: Due) -> Iterator[Due]:
        """Parameters in their order, as many at a time as have a chunk of state."""
        part, total = Due(), 0
        for group, param in due:
            size = sum(self.optimizer.state_sizes(group, param))
            if part and total + size > self.chunk:
                yield part
                part, total = Due(), 0
            part.append((group, param))
            total += size
        if part:
            yield part

    def _come(self, part: Due) -> tuple[dict[Tensor, State], list[Wait]]:
        """The state of a part, on its way to the device."""
        arrivals: list[Wait] = []
        states: dict[Tensor, State] = {}
        for _, param in part:
            states[param] = dict(self.optimizer.state[param])
            for name, value in states[param].items():
                if isinstance(value, Tensor):
                    states[param][name], arrive = from_host(value, param.device)
                    arrivals.append(arrive)
        return states, arrivals

    def _update(self, part: Due, states: dict[Tensor, State], arrivals: list[Wait]) -> None:
        """What a step does with a part whose state has come; its state is as before where that fails."""
        before = {param: self.optimizer.state[param] for param in states}
        _all(arrivals)
        self.optimizer.state.update(states)
        away = [param for _, param in part if is_away(param)]
        try:
            self.optimizer._update(part)
        except BaseException:
            self.optimizer.state.update(before)
            raise
        for param in away:  # of a module that streams its parameters: they come for the update only
            send_away(param)

    def _leave(self, param: Tensor) -> list[Wait]:
        """Send the state of a parameter to the host; wait for it by the calls that come back."""
        waits: list[Wait] = []
        state = self.optimizer.state[param]
        for name, value in state.items():
            if isinstance(value, Tensor):
                state[name], wait = to_host(value)
                waits.append(wait)
        return waits


def _all(calls: list[Wait]) -> None:
    for call in calls:
        call()
