"""Functions that a module calls around its forward: register them, remove them, run them."""

import itertools
from collections.abc import Callable
from typing import Any

Hook = Callable[..., Any]
_numbers = itertools.count()


class RemovableHandle:
    """What registering a hook returns: `remove()` takes the hook out again. Also a context manager that does."""

    def __init__(self, table: dict[int, Any], hook: Any, prepend: bool = False) -> None:
        self.id, self._table = next(_numbers), table
        table[self.id] = hook
        if prepend:
            for key in [k for k in table if k != self.id]:
                table[key] = table.pop(key)

    def remove(self) -> None:
        """Take the hook out; again is harmless."""
        self._table.pop(self.id, None)

    def __enter__(self) -> "RemovableHandle":
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class Hooks:
    """A module's hooks: (function, whether it wants keyword arguments)."""

    def __init__(self) -> None:
        self.before: dict[int, tuple[Hook, bool]] = {}
        self.after: dict[int, tuple[Hook, bool]] = {}

    def call(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """forward between its hooks; a hook that returns something replaces the arguments or the output."""
        for hook, with_kwargs in list(self.before.values()):
            found = hook(module, args, kwargs) if with_kwargs else hook(module, args)
            if found is not None and with_kwargs:
                args, kwargs = found
            elif found is not None:
                args = found if isinstance(found, tuple) else (found,)
        output = module.forward(*args, **kwargs)
        for hook, with_kwargs in list(self.after.values()):
            found = hook(module, args, kwargs, output) if with_kwargs else hook(module, args, output)
            output = output if found is None else found
        return output
