"""Parametrizations: a parameter that is a function of other parameters, as in torch.nn.utils.parametrize.

The module's class becomes a class of its own whose attribute computes the function. Equal nodes are one node, so
reading the attribute twice in a graph computes it once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flame.errors import FlameError
from flame.nn.containers import ModuleDict, ModuleList
from flame.nn.module import Module
from flame.nn.parameter import Parameter
from flame.nn.state import take_values
from flame.recording import no_grad
from flame.tensor import Tensor

__all__ = [
    "ParametrizationList",
    "cached",
    "is_parametrized",
    "register_parametrization",
    "remove_parametrizations",
    "type_before_parametrizations",
]


class ParametrizationList(ModuleList):
    """The functions of one tensor, applied one after the other, and what they begin with: `original`, or several."""

    def __init__(self, modules: list[Module], original: Tensor) -> None:
        super().__init__(modules)
        values: Any = original
        for module in reversed(modules):
            if hasattr(module, "right_inverse"):
                with no_grad():
                    values = module.right_inverse(values)
        self.several = isinstance(values, (tuple, list))
        self.count = len(values) if self.several else 1
        for name, value in zip(self.names(), values if self.several else [values], strict=True):
            if not isinstance(original, Parameter):
                self.register_buffer(name, value)
            elif self.several:
                self.register_parameter(name, Parameter(value, original.requires_grad))
            else:  # the same object, so that an optimizer goes on training it
                take_values([(original, value)], replace=True)
                self.register_parameter(name, original)

    def names(self) -> list[str]:
        """What the originals are called."""
        return [f"original{i}" for i in range(self.count)] if self.several else ["original"]

    def originals(self) -> list[Any]:
        """What the first function is given."""
        return [getattr(self, name) for name in self.names()]

    def forward(self) -> Tensor:
        """The tensor that the module sees."""
        first, *rest = self
        value = first(*self.originals())
        for module in rest:
            value = module(value)
        return value

    def right_inverse(self, value: Tensor) -> None:
        """Set the originals so that the tensor becomes `value`; raises FlameError where a function has no inverse."""
        found: Any = value
        with no_grad():
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise FlameError(f"{type(module).__name__} has no right_inverse(): the tensor cannot be assigned")
                found = module.right_inverse(found)
            for own, new in zip(self.originals(), found if self.several else [found], strict=True):
                own.copy_(new)


@contextmanager
def cached() -> Iterator[None]:
    """PyTorch's block in which parametrized tensors are computed once: here equal nodes are one node anyhow."""
    yield


def type_before_parametrizations(module: Module) -> type[Module]:
    """The class that a module had before its tensors were parametrized."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether a module has parametrizations, or one of that tensor."""
    table = module._modules.get("parametrizations")
    return isinstance(table, ModuleDict) and (tensor_name is None or tensor_name in table)


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Let a parameter or buffer be `parametrization(original)` from now on; originals are what is trained and saved.

    A module with `right_inverse(value)` may begin with several originals, which it returns as a tuple. Registered
    again, a function is applied after those before it. Without `unsafe` the shape must stay. Raises FlameError where
    the module has no such tensor or the shape changes.
    """
    if is_parametrized(module, tensor_name):
        module.parametrizations[tensor_name].append(parametrization)
        return module
    original = module._parameters.get(tensor_name, module._buffers.get(tensor_name))
    if original is None:
        raise FlameError(
            f"register_parametrization: {type(module).__name__} has no parameter or buffer {tensor_name!r}"
        )
    made = ParametrizationList([parametrization], original)
    with no_grad():
        shape = made().shape
    if shape != original.shape and not unsafe:
        raise FlameError(
            f"register_parametrization: {type(parametrization).__name__} makes {tuple(shape)} of a {tensor_name} of "
            f"shape {tuple(original.shape)}; unsafe=True allows it"
        )
    if not is_parametrized(module):
        _reclass(module)
        module.parametrizations = ModuleDict()
    delattr(module, tensor_name)
    module.parametrizations[tensor_name] = made
    return module


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Let the tensor be an ordinary one again: with its present value, or else as the original is.

    Raises FlameError where it has no parametrization, or several originals and leave_parametrized=False.
    """
    if not is_parametrized(module, tensor_name):
        raise FlameError(f"remove_parametrizations: {type(module).__name__} has no parametrization of {tensor_name!r}")
    made = module.parametrizations[tensor_name]
    originals = made.originals()
    if made.several and not leave_parametrized:
        raise FlameError(f"remove_parametrizations: {tensor_name} is made of {len(originals)} tensors, and none is it")
    with no_grad():
        value = made().detach()
    kept: Any = originals[0]
    if made.several:
        kept = Parameter(value, kept.requires_grad) if isinstance(kept, Parameter) else value
    elif leave_parametrized:
        kept.data = value
    del module.parametrizations[tensor_name]
    if not len(module.parametrizations):
        del module.parametrizations
        module.__class__ = type(module).__bases__[0]
    (module.register_parameter if isinstance(kept, Parameter) else module.register_buffer)(tensor_name, kept)
    return module


def _reclass(module: Module) -> None:
    """Give a module a class of its own, in which parametrized tensors are computed when they are read."""
    kind: Any = type(module)

    def get(self: Any, name: str) -> Any:
        table = self.__dict__["_modules"].get("parametrizations")
        return table[name]() if table is not None and name in table else kind.__getattr__(self, name)

    def put(self: Any, name: str, value: Any) -> None:
        if is_parametrized(self, name):
            self.parametrizations[name].right_inverse(value)
        else:
            kind.__setattr__(self, name, value)

    module.__class__ = type(f"Parametrized{kind.__name__}", (kind,), {"__getattr__": get, "__setattr__": put})
