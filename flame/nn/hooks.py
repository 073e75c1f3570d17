"""Functions that a module calls around its forward, its gradients and its state: register, remove, run them."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from flame.autograd.function import Function
from flame.ops.create import zeros_like
from flame.recording import is_grad_enabled
from flame.tensor import Tensor

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
    """A module's hooks; those around forward with whether they want keyword arguments."""

    def __init__(self) -> None:
        self.before: dict[int, tuple[Hook, bool]] = {}
        self.after: dict[int, tuple[Hook, bool]] = {}
        self.gradient_before: dict[int, Hook] = {}
        self.gradient: dict[int, Hook] = {}
        self.save_before: dict[int, Hook] = {}
        self.save_after: dict[int, Hook] = {}
        self.load_before: dict[int, Hook] = {}
        self.load_after: dict[int, Hook] = {}
        self.around: Hook | None = None  # calls forward itself: around(forward, args, kwargs)

    def call(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """forward between its hooks; a hook that returns something replaces the arguments or the output."""
        for hook, with_kwargs in list(self.before.values()):
            found = hook(module, args, kwargs) if with_kwargs else hook(module, args)
            if found is not None and with_kwargs:
                args, kwargs = found
            elif found is not None:
                args = _several(found)
        look = Gradients(self, module, args) if (self.gradient or self.gradient_before) and is_grad_enabled() else None
        args = args if look is None else look.inputs(args)
        around = self.around
        output = module.forward(*args, **kwargs) if around is None else around(module.forward, args, kwargs)
        for hook, with_kwargs in list(self.after.values()):
            found = hook(module, args, kwargs, output) if with_kwargs else hook(module, args, output)
            output = output if found is None else found
        return output if look is None else look.outputs(output)


class Hooked:
    """What a module offers for hooks; it has none before the first is registered."""

    _hooks: "Hooks | None"

    def _table(self, which: str) -> dict[int, Any]:
        self._hooks = self._hooks or Hooks()
        return getattr(self._hooks, which)

    def _hooked(self, which: str) -> list[Hook]:
        return [] if self._hooks is None else list(getattr(self._hooks, which).values())

    def register_forward_pre_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args)` before forward; what it returns replaces the arguments.

        With `with_kwargs` it is `hook(module, args, kwargs)`, which may return both.
        """
        return RemovableHandle(self._table("before"), (hook, with_kwargs), prepend)

    def register_forward_hook(self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False) -> RemovableHandle:
        """Call `hook(module, args, output)` after forward; what it returns replaces the output.

        With `with_kwargs` it is `hook(module, args, kwargs, output)`.
        """
        return RemovableHandle(self._table("after"), (hook, with_kwargs), prepend)

    def register_full_backward_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_output)` when gradients of the output are asked for; what it returns replaces them.

        `grad_output` is a tuple, as long as the output has tensors.
        """
        return RemovableHandle(self._table("gradient_before"), hook, prepend)

    def register_full_backward_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` when gradients of the inputs are there, or would be.

        `grad_input` has an entry for each positional argument: zeros where no gradient is needed, None where there can
        be none, or where no argument needs one. What the hook returns replaces it. Gradients are lazy, like all.
        """
        return RemovableHandle(self._table("gradient"), hook, prepend)

    def register_state_dict_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(module, prefix, keep_vars)` before `state_dict` reads this module."""
        return RemovableHandle(self._table("save_before"), hook)

    def register_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, {})` when `state_dict` has this module; it may edit the dict."""
        return RemovableHandle(self._table("save_after"), hook)

    def register_load_state_dict_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, {}, strict, missing, unexpected, errors)` before a state is loaded.

        It may edit the dict, which is a copy, and add to the three lists.
        """
        return RemovableHandle(self._table("load_before"), hook)

    def register_load_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(module, incompatible_keys)` when values were loaded; what it takes off the lists is no error."""
        return RemovableHandle(self._table("load_after"), hook)


class Gradients:
    """One call of a module with hooks on its gradients: how they leave, and how they came."""

    def __init__(self, hooks: Hooks, module: Any, args: Sequence[Any]) -> None:
        self.hooks, self.module = hooks, module
        self.live = [i for i, a in enumerate(args) if isinstance(a, Tensor) and a.requires_grad]
        floating = [isinstance(a, Tensor) and a.is_floating_point() for a in args]
        self.none = [zeros_like(a) if f and self.live else None for a, f in zip(args, floating, strict=True)]
        self.came: tuple[Any, ...] = ()

    def inputs(self, args: Sequence[Any]) -> tuple[Any, ...]:
        """The arguments; gradients of those that need them are seen together, when all are there."""
        seen = dict(zip(self.live, _Seen.apply(self.leave, *[args[i] for i in self.live]), strict=True))
        return tuple(seen.get(i, a) for i, a in enumerate(args))

    def outputs(self, output: Any) -> Any:
        """The output, a tensor or a tuple of which some are; their gradients are seen as they come."""
        if isinstance(output, Tensor):
            return _Seen.apply(self.come, output)[0]
        if not isinstance(output, (tuple, list)):
            return output
        which = [i for i, y in enumerate(output) if isinstance(y, Tensor)]
        seen = dict(zip(which, _Seen.apply(self.come, *[output[i] for i in which]), strict=True))
        made = [seen.get(i, y) for i, y in enumerate(output)]
        return type(output)(*made) if hasattr(output, "_fields") else type(output)(made)

    def come(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        """Gradients of the output: a hook may replace them. Where no input needs one, this is all there is to see."""
        for hook in list(self.hooks.gradient_before.values()):
            found = hook(self.module, grads)
            grads = grads if found is None else _several(found)
        self.came = grads
        if not self.live:
            for hook in list(self.hooks.gradient.values()):
                hook(self.module, tuple(self.none), grads)
        return grads

    def leave(self, grads: tuple[Any, ...]) -> list[Any]:
        """Gradients of the inputs, zeros where none are needed: a hook may replace them."""
        here = dict(zip(self.live, grads, strict=True))
        full = tuple(here.get(i, none) for i, none in enumerate(self.none))
        for hook in list(self.hooks.gradient.values()):
            found = hook(self.module, full, self.came)
            full = full if found is None else _several(found)
        return [full[i] for i in self.live]


class _Seen(Function):
    """The tensors themselves; a function sees all their gradients at once."""

    @staticmethod
    def forward(ctx: Any, see: Callable[[tuple[Any, ...]], Sequence[Any]], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.see = see
        return tensors

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return None, *ctx.see(grads)


def _several(found: Any) -> tuple[Any, ...]:
    return found if isinstance(found, tuple) else (found,)
