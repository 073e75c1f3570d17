"""Functions that an optimizer calls around its step and its state, under PyTorch's names."""

import functools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flame.nn.hooks import Hook, RemovableHandle


@contextmanager
def outermost(optimizer: "Hooked", what: str) -> Iterator[Mapping[str, dict[int, Hook]]]:
    """The optimizer's hooks; none inside a call of the same kind, where one step calls another."""
    own = optimizer.__dict__
    busy = own.setdefault("_busy", set())
    if what in busy:
        yield {}
        return
    busy.add(what)
    try:
        yield own.get("_hooks") or {}
    finally:
        busy.discard(what)


def of(tables: Mapping[str, dict[int, Hook]], name: str) -> list[Hook]:
    """The hooks of one kind, in order."""
    return list(tables.get(name, {}).values())


def stepping(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step between its optimizer's hooks."""

    @functools.wraps(step)
    def run(self: "Hooked", *args: Any, **kwargs: Any) -> Any:
        given: tuple[Any, ...] = (self, *args)  # PyTorch's hooks see the optimizer among the arguments
        with outermost(self, "step") as tables:
            for hook in of(tables, "before"):
                given, kwargs = hook(self, given, kwargs) or (given, kwargs)
            answer = step(*given, **kwargs)
            for hook in of(tables, "after"):
                hook(self, given, kwargs)
        return answer

    return run


def saving(state_dict: Callable[..., Any]) -> Callable[..., Any]:
    """A `state_dict` between its optimizer's hooks."""

    @functools.wraps(state_dict)
    def run(self: "Hooked") -> dict[str, Any]:
        with outermost(self, "save") as tables:
            for hook in of(tables, "save_before"):
                hook(self)
            state = state_dict(self)
            for hook in of(tables, "save_after"):
                found = hook(self, state)
                state = state if found is None else found
        return state

    return run


def loading(load_state_dict: Callable[..., Any]) -> Callable[..., Any]:
    """A `load_state_dict` between its optimizer's hooks."""

    @functools.wraps(load_state_dict)
    def run(self: "Hooked", state_dict: Mapping[str, Any]) -> None:
        with outermost(self, "load") as tables:
            given: Mapping[str, Any] = dict(state_dict)
            for hook in of(tables, "load_before"):
                found = hook(self, given)
                given = given if found is None else found
            load_state_dict(self, given)
            for hook in of(tables, "load_after"):
                hook(self)

    return run


AROUND = {"step": stepping, "state_dict": saving, "load_state_dict": loading}


class Hooked:
    """What an optimizer offers for hooks."""

    _hooks: "defaultdict[str, dict[int, Hook]]"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, around in AROUND.items():
            if name in vars(cls):
                setattr(cls, name, around(vars(cls)[name]))

    def _register(self, table: str, hook: Hook, prepend: bool = False) -> RemovableHandle:
        self.__dict__.setdefault("_hooks", defaultdict(dict))
        return RemovableHandle(self._hooks[table], hook, prepend)

    def register_step_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` before each step; it may return other (args, kwargs).

        As in PyTorch, `args` begins with the optimizer.
        """
        return self._register("before", hook)

    def register_step_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` after each step."""
        return self._register("after", hook)

    def register_state_dict_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` before `state_dict` reads the state."""
        return self._register("save_before", hook, prepend)

    def register_state_dict_post_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` when `state_dict` is made; what it returns replaces it."""
        return self._register("save_after", hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` with a copy before a state is taken; what it returns replaces it."""
        return self._register("load_before", hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` when a state was taken."""
        return self._register("load_after", hook, prepend)
