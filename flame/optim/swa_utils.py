"""Averages of weights over training, under torch.optim.swa_utils' names."""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from flame.errors import FlameError
from flame.nn.module import Module
from flame.recording import no_grad
from flame.tensor import Tensor, assign

Average = Callable[[Tensor, Tensor, int], Tensor]  # (average, new value, how many it holds) -> the new average


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """avg ← decay · avg + (1 − decay) · p. Raises FlameError unless 0 ≤ decay ≤ 1."""
    if not 0 <= decay <= 1:
        raise FlameError(f"get_ema_avg_fn: decay is {decay}, but must lie between 0 and 1")
    return lambda average, value, count: average + (1 - decay) * (value - average)


def get_swa_avg_fn() -> Average:
    """The equal average of all values so far (Izmailov et al., arXiv:1803.05407)."""
    return lambda average, value, count: average + (value - average) / (count + 1)


class AveragedModel(Module):
    """A copy of a module whose parameters are averages of the module's; `update_parameters` is one plan.

    `avg_fn` is `get_swa_avg_fn()` unless given. Buffers are copied, or averaged too with `use_buffers`.

    >>> net = flame.nn.Linear(2, 1)
    >>> average = AveragedModel(net, avg_fn=get_ema_avg_fn(0.9))
    >>> average.update_parameters(net)
    >>> average(flame.ones(1, 2)).shape
    (1, 1)
    """

    def __init__(self, model: Module, avg_fn: Average | None = None, use_buffers: bool = False) -> None:
        super().__init__()
        self.module = copy.deepcopy(model)
        self.avg_fn = avg_fn or get_swa_avg_fn()
        self.use_buffers = use_buffers
        self.n_averaged = 0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the averaged module computes."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Take the current values of a module into the averages; the first ones are copied."""
        with no_grad():
            pairs = [*zip(self.module.parameters(), model.parameters(), strict=True)]
            copied = [*zip(self.module.buffers(), model.buffers(), strict=True)]
            if self.use_buffers:
                pairs, copied = pairs + [p for p in copied if p[0].is_floating_point()], []
            new = [(old, self._mixed(old, value)) for old, value in pairs]
            assign(new + [(old, value.detach()) for old, value in copied])
        self.n_averaged += 1

    def _mixed(self, average: Tensor, value: Tensor) -> Tensor:
        given = value.detach().to(average.device)
        return self.avg_fn(average.detach(), given, self.n_averaged) if self.n_averaged else given


class EMA:
    """An exponential moving average of parameters: `update()` after each step, `average()` to evaluate with it.

    >>> net = flame.nn.Linear(2, 1)
    >>> ema = EMA(net.parameters(), decay=0.9)
    >>> ema.update()
    >>> with ema.average():
    ...     y = net(flame.ones(1, 2))
    """

    def __init__(self, parameters: Iterable[Tensor], decay: float = 0.9999) -> None:
        self.mix, self.decay = get_ema_avg_fn(decay), decay
        self.parameters = list(parameters)
        self.shadow = [p.detach().clone() for p in self.parameters]

    def update(self) -> None:
        """Move the averages towards the parameters, all in one plan."""
        with no_grad():
            assign([(s, self.mix(s, p.detach(), 1)) for s, p in zip(self.shadow, self.parameters, strict=True)])

    @contextmanager
    def average(self) -> Iterator[None]:
        """Inside, the parameters have the averages' values; afterwards their own again."""
        own = [p.detach().clone() for p in self.parameters]
        with no_grad():
            assign([*zip(self.parameters, self.shadow, strict=True)])
        try:
            yield
        finally:
            with no_grad():
                assign([*zip(self.parameters, own, strict=True)])

    def state_dict(self) -> dict[str, Any]:
        """The averages, to be saved."""
        return {"decay": self.decay, "shadow": [s.detach() for s in self.shadow]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take saved averages; raises FlameError where their number or a shape differs."""
        given = state_dict["shadow"]
        if [tuple(s.shape) for s in given] != [tuple(s.shape) for s in self.shadow]:
            raise FlameError("EMA.load_state_dict: the saved averages have other shapes than the parameters")
        self.decay, self.mix = state_dict["decay"], get_ema_avg_fn(state_dict["decay"])
        self.shadow = [s.to(own.device).to(own.dtype) for s, own in zip(given, self.shadow, strict=True)]
