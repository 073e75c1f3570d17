"""Anomaly detection under PyTorch's names: a nan is an error at the line that made it."""

from types import TracebackType
from typing import Self

from flame.config import config


def is_anomaly_enabled() -> bool:
    """True where a nan is an error."""
    return config.anomaly


class detect_anomaly:  # noqa: N801  PyTorch's name
    """Inside, a nan in what is computed raises AnomalyError, naming the operation and the line that made it.

    `backward()` computes its gradients at once, so that theirs are found too. Results are checked, and a graph is
    computed again by NumPy only where one holds a nan; still, use it to look for a fault, not to train.

    >>> x = flame.tensor([4.0, -1.0])
    >>> with flame.autograd.detect_anomaly():
    ...     x.sqrt().sum().item()  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    flame.errors.AnomalyError: anomaly: sqrt gives nan at (1,) of sqrt:float32[2], from sqrt(-1); made at ...
    """

    def __init__(self, check_nan: bool = True) -> None:
        self.scope = config(anomaly=check_nan)

    def __enter__(self) -> Self:
        self.scope.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.scope.__exit__(kind, problem, trace)


class set_detect_anomaly:  # noqa: N801  PyTorch's name
    """Look for nans from now on, or no more; as a context manager, until it is left."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self.before = config.anomaly
        config.anomaly = mode and check_nan

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        config.anomaly = self.before
