"""Rates that fall when a metric stands still."""

import math
from collections.abc import Sequence
from typing import Any

from flame.errors import FlameError
from flame.optim.base import Optimizer
from flame.optim.lr_scheduler.base import LRScheduler


class ReduceLROnPlateau(LRScheduler):
    """Times `factor` when a metric has not improved for more than `patience` steps; `step(metrics)`."""

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        if factor >= 1 or mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise FlameError(
                f"ReduceLROnPlateau: factor {factor} must be below 1, mode {mode!r} 'min' or 'max', "
                f"threshold_mode {threshold_mode!r} 'rel' or 'abs'"
            )
        self.optimizer, self.mode, self.factor, self.patience = optimizer, mode, factor, patience
        self.threshold, self.threshold_mode, self.cooldown, self.eps = threshold, threshold_mode, cooldown, eps
        given = [min_lr] * len(optimizer.param_groups) if isinstance(min_lr, (int, float)) else min_lr
        self.min_lrs = [float(rate) for rate in given]
        self.last_epoch, self._last_lr = 0, self.rates()
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = 0

    def step(self, metrics: Any = None) -> None:
        """Look at a metric: a number, or a tensor of one element."""
        if metrics is None:
            raise FlameError("ReduceLROnPlateau.step: needs the metric to watch, step(metrics)")
        now = float(metrics)
        self.last_epoch += 1
        better = self.is_better(now, self.best)
        self.best = now if better else self.best
        self.num_bad_epochs = 0 if better else self.num_bad_epochs + 1
        if self.cooldown_counter > 0:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown_counter - 1, 0
        if self.num_bad_epochs > self.patience:
            wanted = [max(r * self.factor, low) for r, low in zip(self.rates(), self.min_lrs, strict=True)]
            self._set([new if old - new > self.eps else old for old, new in zip(self.rates(), wanted, strict=True)])
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = self.rates()

    def is_better(self, a: float, best: float) -> bool:
        """True where `a` improves on `best` by more than the threshold."""
        sign = -1 if self.mode == "min" else 1
        if self.threshold_mode == "abs":
            return sign * a > sign * best + self.threshold
        return sign * a > sign * best * (1 + sign * self.threshold)
