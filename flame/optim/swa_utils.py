"""Averages of weights over training, under torch.optim.swa_utils' names."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from flame.errors import FlameError
from flame.nn.module import Module
from flame.nn.norm import _BatchNorm
from flame.ops.create import Where, tensor
from flame.optim.base import Optimizer
from flame.optim.lr_scheduler.base import LRScheduler, each
from flame.recording import no_grad
from flame.tensor import Tensor, assign, realize

Average = Callable[[Tensor, Tensor, int], Tensor]  # (average, new value, how many it holds) -> the new average
ManyAverages = Callable[[Sequence[Tensor], Sequence[Tensor], int], None]  # the same for lists, in place


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """avg ← decay · avg + (1 − decay) · p. Raises FlameError unless 0 ≤ decay ≤ 1."""
    if not 0 <= decay <= 1:
        raise FlameError(f"get_ema_avg_fn: decay is {decay}, but must lie between 0 and 1")
    return lambda average, value, count: average + (1 - decay) * (value - average)


def get_swa_avg_fn() -> Average:
    """The equal average of all values so far (Izmailov et al., arXiv:1803.05407)."""
    return lambda average, value, count: average + (value - average) / (count + 1)


def get_ema_multi_avg_fn(decay: float = 0.999) -> ManyAverages:
    """`get_ema_avg_fn` for all parameters of a model, in one plan."""
    return _in_one_plan(get_ema_avg_fn(decay))


def get_swa_multi_avg_fn() -> ManyAverages:
    """`get_swa_avg_fn` for all parameters of a model, in one plan."""
    return _in_one_plan(get_swa_avg_fn())


def _in_one_plan(average: Average) -> ManyAverages:
    def update(averages: Sequence[Tensor], values: Sequence[Tensor], count: int) -> None:
        assign([(old, average(old.detach(), value, count)) for old, value in zip(averages, values, strict=True)])

    return update


class AveragedModel(Module):
    """A copy of a module whose parameters are averages of the module's; `update_parameters` is one plan.

    The average is `avg_fn(average, value, count)`, or what `multi_avg_fn(averages, values, count)` makes of all the
    averages in place; `get_swa_avg_fn()` unless given. Buffers are copied, or averaged too with `use_buffers`.

    >>> net = flame.nn.Linear(2, 1)
    >>> average = AveragedModel(net, avg_fn=get_ema_avg_fn(0.9))
    >>> average.update_parameters(net)
    >>> average(flame.ones(1, 2)).shape
    (1, 1)
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: Module,
        device: Where = None,
        avg_fn: Average | None = None,
        multi_avg_fn: ManyAverages | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise FlameError("AveragedModel: avg_fn and multi_avg_fn are two ways to average; give one")
        self.module = copy.deepcopy(model)
        if device is not None:
            self.module.to(device)
        self.avg_fn, self.multi_avg_fn = avg_fn or get_swa_avg_fn(), multi_avg_fn
        self.use_buffers = use_buffers
        self.register_buffer("n_averaged", tensor(0, device=device))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the averaged module computes."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Take the current values of a module into the averages; the first ones are copied."""
        with no_grad():
            count = self.n_averaged.item()
            pairs = [*zip(self.module.parameters(), model.parameters(), strict=True)]
            copied = [*zip(self.module.buffers(), model.buffers(), strict=True)]
            if self.use_buffers:
                pairs, copied = pairs + [p for p in copied if p[0].is_floating_point()], []
            given = [(old, value.detach().to(old.device)) for old, value in [*pairs, *copied]]
            averaged, plain = given[: len(pairs)], given[len(pairs) :]
            if count and self.multi_avg_fn is not None:
                self.multi_avg_fn([old for old, _ in averaged], [value for _, value in averaged], count)
                averaged = []
            elif count:
                averaged = [(old, self.avg_fn(old.detach(), value, count)) for old, value in averaged]
            assign([*averaged, *plain, (self.n_averaged, self.n_averaged + 1)])


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Where = None) -> None:
    """Set the running statistics of batch norms to the means over all batches of a loader, as an average needs.

    A batch is the model's input, or a tuple or list that begins with it.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return
    training, momenta = model.training, [norm.momentum for norm in norms]
    model.train()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # equal shares
    for batch in loader:
        x = batch[0] if isinstance(batch, (list, tuple)) else batch
        model(x if device is None else x.to(device))
        realize(*(value for norm in norms for value in norm.buffers()))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(training)


class SWALR(LRScheduler):
    """Goes from the rate to `swa_lr` within `anneal_epochs` steps, along a cosine or a line, and stays there."""

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | Sequence[float],
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        if anneal_strategy not in ("cos", "linear"):
            raise FlameError(f"SWALR: anneal_strategy is {anneal_strategy!r}; choose 'cos' or 'linear'")
        if type(anneal_epochs) is not int or anneal_epochs < 0:
            raise FlameError(f"SWALR: anneal_epochs is {anneal_epochs}, but must be a whole number, 0 or more")
        for group, rate in zip(optimizer.param_groups, each(optimizer, swa_lr, "SWALR"), strict=True):
            group["swa_lr"] = rate
        self.anneal_epochs, self._anneal_strategy = anneal_epochs, anneal_strategy
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """From the rate of the step before, whoever set it."""
        step = max(1, self.last_epoch) if self.anneal_epochs == 0 else self.last_epoch
        before, now = self._share(step - 1), self._share(step)
        rates: list[float] = []
        for group in self.optimizer.param_groups:
            goal = group["swa_lr"]
            start = goal if before == 1 else (group["lr"] - before * goal) / (1 - before)
            rates.append(goal * now + start * (1 - now))
        return rates

    def _share(self, step: int) -> float:
        """How much of the way is gone after so many steps."""
        t = max(0.0, min(1.0, step / max(1, self.anneal_epochs)))
        return t if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * t)) / 2


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
