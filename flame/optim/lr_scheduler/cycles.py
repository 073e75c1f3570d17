"""Rate and momentum that move against each other: CyclicLR and OneCycleLR."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from flame.errors import FlameError
from flame.optim.base import Group, Optimizer
from flame.optim.lr_scheduler.base import LRScheduler, each

SCALES: dict[str, tuple[str, Callable[[float, float], float]]] = {  # of the amplitude: by what, how
    "triangular": ("cycle", lambda x, gamma: 1.0),
    "triangular2": ("cycle", lambda x, gamma: 1 / 2.0 ** (x - 1)),
    "exp_range": ("iterations", lambda x, gamma: gamma**x),
}


def momentum(group: Group) -> float:
    """SGD's momentum, or Adam's first beta."""
    return group["betas"][0] if "betas" in group else group["momentum"]


def set_momentum(group: Group, value: float) -> None:
    """Change what `momentum` reads."""
    if "betas" in group:
        group["betas"] = (value, *group["betas"][1:])
    else:
        group["momentum"] = value


def check_momentum(name: str, optimizer: Optimizer) -> None:
    """Raise FlameError where there is no momentum to cycle."""
    if not all("betas" in g or "momentum" in g for g in optimizer.param_groups):
        raise FlameError(f"{name}: the optimizer has neither momentum nor betas; pass cycle_momentum=False")


class CyclicLR(LRScheduler):
    """The rate goes up and down between `base_lr` and `max_lr` (Smith, arXiv:1506.01186), momentum against it."""

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | Sequence[float],
        max_lr: float | Sequence[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float = 0.8,
        max_momentum: float = 0.9,
        last_epoch: int = -1,
    ) -> None:
        if scale_fn is None and mode not in SCALES:
            raise FlameError(f"CyclicLR: mode is {mode!r}; choose from {', '.join(SCALES)}, or pass scale_fn")
        lows = each(optimizer, base_lr, "CyclicLR: base_lr")
        if last_epoch == -1:
            for group, rate in zip(optimizer.param_groups, lows, strict=True):
                group["lr"] = group["initial_lr"] = rate
        self.max_lrs, self.mode, self.gamma = each(optimizer, max_lr, "CyclicLR: max_lr"), mode, gamma
        down = step_size_up if step_size_down is None else step_size_down
        self.total_size = float(step_size_up + down)
        self.step_ratio = step_size_up / self.total_size
        self.scale_mode = scale_mode if scale_fn is not None else SCALES[mode][0]
        self.scale_fn = scale_fn
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            check_momentum("CyclicLR", optimizer)
            self.base_momentums = each(optimizer, base_momentum, "CyclicLR: base_momentum")
            self.max_momentums = each(optimizer, max_momentum, "CyclicLR: max_momentum")
        super().__init__(optimizer, last_epoch)
        self.base_lrs = lows

    def get_lr(self) -> list[float]:
        """See the class; sets the momentum on the way."""
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1 + self.last_epoch / self.total_size - cycle
        height = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        place = cycle if self.scale_mode == "cycle" else self.last_epoch
        height *= self.scale_fn(place) if self.scale_fn is not None else SCALES[self.mode][1](place, self.gamma)
        if self.cycle_momentum:
            ranges = zip(self.optimizer.param_groups, self.base_momentums, self.max_momentums, strict=True)
            for group, low, high in ranges:
                set_momentum(group, high - (high - low) * height)
        return [low + (high - low) * height for low, high in zip(self.base_lrs, self.max_lrs, strict=True)]


class OneCycleLR(LRScheduler):
    """One rise to `max_lr` and one fall far below where it began (Smith and Topin, arXiv:1708.07120).

    `total_steps`, or `epochs` times `steps_per_epoch`; a step beyond them raises FlameError.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        if total_steps is None and (epochs is None or steps_per_epoch is None):
            raise FlameError("OneCycleLR: give total_steps, or epochs and steps_per_epoch")
        if not 0 <= pct_start <= 1 or anneal_strategy not in ("cos", "linear"):
            raise FlameError(
                f"OneCycleLR: pct_start {pct_start} must lie in [0, 1], anneal_strategy {anneal_strategy!r} be 'cos' "
                "or 'linear'"
            )
        self.total_steps = total_steps if total_steps is not None else (epochs or 0) * (steps_per_epoch or 0)
        self.anneal_strategy, self.cycle_momentum = anneal_strategy, cycle_momentum
        self._phases = self._planned(pct_start, three_phase)
        if last_epoch == -1:
            for group, rate in zip(optimizer.param_groups, each(optimizer, max_lr, "OneCycleLR: max_lr"), strict=True):
                group["initial_lr"] = rate / div_factor
                group["max_lr"] = rate
                group["min_lr"] = group["initial_lr"] / final_div_factor
        if cycle_momentum:
            check_momentum("OneCycleLR", optimizer)
            lows = each(optimizer, base_momentum, "OneCycleLR: base_momentum")
            highs = each(optimizer, max_momentum, "OneCycleLR: max_momentum")
            if last_epoch == -1:
                for group, low, high in zip(optimizer.param_groups, lows, highs, strict=True):
                    set_momentum(group, high)
                    group["base_momentum"], group["max_momentum"] = low, high
        super().__init__(optimizer, last_epoch)

    def _planned(self, pct_start: float, three_phase: bool) -> list[tuple[float, str, str, str, str]]:
        """(last step, rate from, rate to, momentum from, momentum to) of each phase."""
        up = float(pct_start * self.total_steps) - 1
        rise = (up, "initial_lr", "max_lr", "max_momentum", "base_momentum")
        if not three_phase:
            return [rise, (self.total_steps - 1, "max_lr", "min_lr", "base_momentum", "max_momentum")]
        fall = (float(2 * pct_start * self.total_steps) - 2, "max_lr", "initial_lr", "base_momentum", "max_momentum")
        return [rise, fall, (self.total_steps - 1, "initial_lr", "min_lr", "max_momentum", "max_momentum")]

    def _between(self, a: float, b: float, part: float) -> float:
        if self.anneal_strategy == "linear":
            return (b - a) * part + a
        return b + (a - b) / 2 * (1 + math.cos(math.pi * part))

    def get_lr(self) -> list[float]:
        """See the class; sets the momentum on the way."""
        step = self.last_epoch
        if step > self.total_steps:
            raise FlameError(f"OneCycleLR: step {step} is beyond total_steps={self.total_steps}")
        begin = 0.0
        for number, (end, *names) in enumerate(self._phases):
            if step <= end or number == len(self._phases) - 1:
                part = (step - begin) / (end - begin) if end > begin else 1.0
                return [self._moved(group, names, part) for group in self.optimizer.param_groups]
            begin = end
        raise AssertionError("there is a last phase")

    def _moved(self, group: dict[str, Any], names: list[str], part: float) -> float:
        if self.cycle_momentum:
            set_momentum(group, self._between(group[names[2]], group[names[3]], part))
        return self._between(group[names[0]], group[names[1]], part)
