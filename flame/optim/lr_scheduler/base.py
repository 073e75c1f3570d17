"""What all schedulers share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flame.errors import FlameError
from flame.optim.base import Optimizer

Factor = Callable[[int], float]


class LRScheduler:
    """Base class: `step()` after `optimizer.step()`; subclasses define `get_lr`."""

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise FlameError(
                f"{type(self).__name__}: needs an optimizer of flame.optim, got {type(optimizer).__name__}"
            )
        self.optimizer = optimizer
        for number, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise FlameError(
                    f"{type(self).__name__}: last_epoch={last_epoch} resumes, but group {number} has no 'initial_lr'; "
                    "load the optimizer's state first"
                )
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self.step()

    def get_lr(self) -> list[float]:
        """The rate of each group at `last_epoch`."""
        raise NotImplementedError

    def get_last_lr(self) -> list[float]:
        """The rates that the last step set."""
        return self._last_lr

    def step(self, epoch: int | None = None) -> None:
        """One epoch (or whatever is counted) later; or at an epoch, as if every one before had been stepped through."""
        if epoch is None:
            self.last_epoch += 1
            self._set(self.get_lr())
            return
        self._set(self.base_lrs)
        for self.last_epoch in range(epoch + 1):
            self._set(self.get_lr())

    def _set(self, rates: Sequence[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def rates(self) -> list[float]:
        """The current rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """All but the optimizer and functions, which cannot be saved."""
        return {key: value for key, value in vars(self).items() if key != "optimizer" and not _functions(value)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue where a saved scheduler was."""
        vars(self).update(state_dict)


def _functions(value: Any) -> bool:
    return callable(value) or (isinstance(value, list) and any(map(callable, value)))


def each(optimizer: Optimizer, given: Any, name: str) -> list[Any]:
    """One value for each group."""
    groups = len(optimizer.param_groups)
    found = list(given) if isinstance(given, (list, tuple)) else [given] * groups
    if len(found) != groups:
        raise FlameError(f"{name}: {len(found)} values for {groups} parameter groups; give one, or one for each")
    return found
