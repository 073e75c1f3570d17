"""Modules that are a function of nn.functional with its options kept: most activations, losses, pools and reshapings.

A subclass names the function and its options in PyTorch's order with their defaults; signature, attributes, forward and
repr follow.
"""

import inspect
from typing import Any, ClassVar

from flame.nn import functional as F
from flame.nn.module import Module
from flame.tensor import Tensor

REQUIRED = inspect.Parameter.empty  # stands for the default of an option that has none


class Plain(Module):
    """`forward(*inputs)` is `functional.NAME(*inputs, **options)`."""

    function: ClassVar[str] = ""
    options: ClassVar[dict[str, Any]] = {}
    fixed: ClassVar[dict[str, Any]] = {}  # arguments of the function that are no options of the module
    shown: ClassVar[tuple[str, ...] | None] = None  # options in the repr; None: all but a false `inplace`
    buffers_of: ClassVar[tuple[str, ...]] = ()  # options that are tensors and belong to the state
    trains: ClassVar[bool] = False  # the function asks whether the module is training

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        params = [inspect.Parameter(name, kind, default=default) for name, default in cls.options.items()]
        cls.__signature__ = inspect.Signature(params)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        try:
            given = type(self).__signature__.bind(*args, **kwargs)
        except TypeError as problem:
            raise TypeError(f"{type(self).__name__}{type(self).__signature__}: {problem}") from None
        given.apply_defaults()
        for name, value in given.arguments.items():
            if name in self.buffers_of:
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)
        self.check()

    def check(self) -> None:
        """Raise for options that no input fits."""

    def forward(self, *inputs: Tensor) -> Any:
        """What the function of nn.functional says."""
        given = {**self.fixed, **{name: getattr(self, name) for name in self.options}}
        if self.trains:
            given["training"] = self.training
        return getattr(F, self.function)(*inputs, **given)

    def extra_repr(self) -> str:
        names = self.options if self.shown is None else self.shown
        parts = ((name, getattr(self, name)) for name in names)
        return ", ".join(f"{n}={v!r}" for n, v in parts if n != "inplace" or v or self.shown is not None)
