"""Several schedulers for one optimizer."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from flame.errors import FlameError
from flame.optim.base import Optimizer
from flame.optim.lr_scheduler.base import LRScheduler


class SequentialLR(LRScheduler):
    """One scheduler after the other; each milestone begins the next."""

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int], last_epoch: int = -1
    ) -> None:
        if len(milestones) != len(schedulers) - 1:
            raise FlameError(f"SequentialLR: {len(schedulers)} schedulers need {len(schedulers) - 1} milestones")
        if any(s.optimizer is not optimizer for s in schedulers):
            raise FlameError("SequentialLR: every scheduler must act on the optimizer that is given")
        self.optimizer, self._schedulers, self._milestones = optimizer, list(schedulers), list(milestones)
        self.last_epoch = last_epoch + 1
        for group in optimizer.param_groups:  # all schedulers took their first step when they were made
            group["lr"] = group["initial_lr"]
        for s in schedulers:
            s.last_epoch -= 1
        self._schedulers[0].step()
        self._last_lr = self._schedulers[0].get_last_lr()

    def step(self) -> None:
        """One epoch of the scheduler whose turn it is."""
        self.last_epoch += 1
        at = bisect_right(self._milestones, self.last_epoch)
        turn = self._schedulers[at]
        if at and self._milestones[at - 1] == self.last_epoch:
            turn.last_epoch = -1
            for group in self.optimizer.param_groups:
                group["lr"] = group["initial_lr"]
        turn.step()
        self._last_lr = turn.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """With those of the schedulers."""
        found = {key: value for key, value in vars(self).items() if key not in ("optimizer", "_schedulers")}
        return {**found, "_schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """With those of the schedulers."""
        vars(self).update({key: value for key, value in state_dict.items() if key != "_schedulers"})
        for s, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            s.load_state_dict(state)


class ChainedScheduler(SequentialLR):
    """Several schedulers step together, each acting on the rate that the one before left."""

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        if not schedulers:
            raise FlameError("ChainedScheduler: needs at least one scheduler")
        self.optimizer, self._schedulers = optimizer or schedulers[0].optimizer, list(schedulers)
        if any(s.optimizer is not self.optimizer for s in schedulers):
            raise FlameError("ChainedScheduler: every scheduler must act on one optimizer")
        self._last_lr = self.rates()

    def step(self) -> None:
        """One epoch of each."""
        for s in self._schedulers:
            s.step()
        self._last_lr = self.rates()
