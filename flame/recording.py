"""Whether results require gradients when their operands do: `no_grad`, `enable_grad` and their like.

Each is a context manager and a decorator, with or without parentheses; a decorated generator is in the mode while it
runs, and its caller is not.
"""

import functools
import inspect
import threading
from collections.abc import Callable, Generator
from typing import Any, Self


class _State(threading.local):
    """Each thread has its own mode: an evaluation beside a training must not stop its gradients."""

    recording = True


state = _State()


def is_grad_enabled() -> bool:
    """True where results require gradients when their operands do: outside `no_grad`."""
    return state.recording


class Mode:
    """Something that holds inside a `with` block, or inside a decorated function; subclasses enter and leave it."""

    def __enter__(self) -> Self:
        raise NotImplementedError

    def __exit__(self, *_: object) -> None:
        raise NotImplementedError

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.isgeneratorfunction(function):
            return self._generator(function)

        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return inside

    def _generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            made = function(*args, **kwargs)
            step, given = made.send, None
            while True:
                try:
                    with self:
                        found = step(given)
                except StopIteration as end:
                    return end.value
                try:
                    step, given = made.send, (yield found)
                except GeneratorExit:
                    made.close()
                    raise
                except BaseException as problem:  # noqa: BLE001  what the caller throws is the generator's to handle
                    step, given = made.throw, problem

        return inside


class Recording(Mode):
    """Inside, results require gradients (or not): what the named modes are made of."""

    def __init__(self, mode: bool):
        self.mode = mode
        self.before: list[bool] = []

    def __enter__(self) -> Self:
        self.before.append(state.recording)
        state.recording = self.mode
        return self

    def __exit__(self, *_: object) -> None:
        state.recording = self.before.pop()


class _Named(Recording):
    """A mode with a fixed value: `@no_grad` and `@no_grad()` mean the same."""

    value = False

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        made = super().__new__(cls)
        if function is None:
            return made
        made.__init__()
        return made(function)

    def __init__(self) -> None:
        super().__init__(self.value)


class no_grad(_Named):  # noqa: N801  PyTorch's name
    """Inside, results require no gradients: a context manager and a decorator."""


class enable_grad(_Named):  # noqa: N801
    """Inside, results require gradients again where their operands do."""

    value = True


class set_grad_enabled(Recording):  # noqa: N801
    """Let results require gradients, or not: from the call on, or inside a `with` block, or in a decorated function."""

    def __init__(self, mode: bool):
        super().__init__(bool(mode))
        self.outside = state.recording
        state.recording = self.mode

    def __enter__(self) -> Self:
        state.recording = self.mode
        self.before.append(self.outside)
        return self

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        state.recording = self.outside  # a decorator changes nothing outside the function
        return Recording(self.mode)(function)


class inference_mode(Recording):  # noqa: N801
    """`no_grad` under PyTorch's name for it: tensors are values in FLAME, so nothing more can be saved."""

    def __new__(cls, mode: Any = True) -> Any:
        made = super().__new__(cls)
        if callable(mode):
            made.__init__()
            return made(mode)
        return made

    def __init__(self, mode: bool = True):
        super().__init__(not mode)

    def __enter__(self) -> Self:
        super().__enter__()
        state.recording = self.mode and self.before[-1]
        return self
