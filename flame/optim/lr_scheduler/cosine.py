"""Rates along a cosine."""

import math

from flame.errors import FlameError
from flame.optim.base import Optimizer
from flame.optim.lr_scheduler.base import LRScheduler


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the initial rate to `eta_min` in `T_max` epochs (Loshchilov and Hutter, arXiv:1608.03983)."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """See the class."""
        t, low = self.last_epoch, self.eta_min
        if t == 0:
            return self.rates()
        if (t - 1 - self.T_max) % (2 * self.T_max) == 0:  # at the bottom the quotient below is 0 / 0
            rise = (1 - math.cos(math.pi / self.T_max)) / 2
            return [rate + (base - low) * rise for base, rate in zip(self.base_lrs, self.rates(), strict=True)]
        by = (1 + math.cos(math.pi * t / self.T_max)) / (1 + math.cos(math.pi * (t - 1) / self.T_max))
        return [by * (rate - low) + low for rate in self.rates()]


class CosineAnnealingWarmRestarts(LRScheduler):
    """Cosine annealing that begins anew after T_0, T_0 · T_mult, T_0 · T_mult² … epochs (arXiv:1608.03983)."""

    def __init__(self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1):
        if T_0 <= 0 or T_mult < 1:
            raise FlameError(f"CosineAnnealingWarmRestarts: T_0 is {T_0} and T_mult {T_mult}; both are integers from 1")
        self.T_0, self.T_i, self.T_mult, self.eta_min = T_0, T_0, T_mult, eta_min
        self.T_cur = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """See the class."""
        part = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * part for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """One epoch later, or at an epoch, which may be a fraction."""
        if epoch is None:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur, self.T_i = self.T_cur - self.T_i, self.T_i * self.T_mult
        elif epoch < 0:
            raise FlameError(f"CosineAnnealingWarmRestarts.step: epoch is {epoch}, but must not be negative")
        else:
            self.T_i, self.T_cur = self.T_0, epoch
            while self.T_cur >= self.T_i:
                self.T_cur, self.T_i = self.T_cur - self.T_i, self.T_i * self.T_mult
        self.last_epoch = math.floor(epoch)
        self._set(self.get_lr())


class WarmupCosineLR(LRScheduler):
    """A linear rise over `warmup_steps`, then half a cosine to `min_ratio` of the initial rate at `total_steps`.

    PyTorch has no such class; it is what `SequentialLR` of LinearLR and CosineAnnealingLR is used for.
    """

    def __init__(
        self, optimizer: Optimizer, warmup_steps: int, total_steps: int, min_ratio: float = 0.0, last_epoch: int = -1
    ) -> None:
        if not 0 <= warmup_steps < total_steps:
            raise FlameError(f"WarmupCosineLR: {warmup_steps} steps of warm-up must be fewer than all {total_steps}")
        self.warmup_steps, self.total_steps, self.min_ratio = warmup_steps, total_steps, min_ratio
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """See the class."""
        t, rise = self.last_epoch, self.warmup_steps
        if t < rise:
            by = (t + 1) / (rise + 1)
        else:
            done = min(1.0, (t - rise) / (self.total_steps - rise))
            by = self.min_ratio + (1 - self.min_ratio) * (1 + math.cos(math.pi * done)) / 2
        return [base * by for base in self.base_lrs]
