"""Ctrl-C between two deeds, never in the middle of one."""

import _signal  # the functions of `signal` without their enums, which cost more than a small kernel
import threading
from types import FrameType
from typing import Any


class Uninterrupted:
    """`with Uninterrupted():` a Ctrl-C inside takes effect at its end: what was begun is then done.

    Python delivers signals to the main thread alone; in others there is nothing to do.
    """

    def __enter__(self) -> None:
        self.before: Any = None
        self.caught: tuple[int, FrameType | None] | None = None
        if threading.get_ident() == threading.main_thread().ident:
            before = _signal.getsignal(_signal.SIGINT)
            if callable(before):
                _signal.signal(_signal.SIGINT, self._later)
                self.before = before

    def _later(self, number: int, frame: FrameType | None) -> None:
        self.caught = number, frame

    def __exit__(self, *_: object) -> None:
        if self.before is not None:
            _signal.signal(_signal.SIGINT, self.before)
            if self.caught is not None:
                self.before(*self.caught)
