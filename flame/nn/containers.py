"""Sequential, ModuleList, ModuleDict, ParameterList, ParameterDict."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, Self, overload

from flame.errors import IndexingError
from flame.nn.module import Module, indented, layout
from flame.nn.parameter import Parameter
from flame.tensor import Tensor


class Numbered(Module):
    """Modules under the names "0", "1", …: what Sequential and ModuleList share."""

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self._of(list(self)[index])
        return self._modules[self._name(index)]

    def __setitem__(self, index: int, module: Module) -> None:
        self.register_module(self._name(index), module)

    def __delitem__(self, index: int | slice) -> None:
        kept = list(self)
        del kept[index]
        self._modules.clear()
        self.extend(kept)

    def append(self, module: Module) -> Self:
        """Add one module at the end."""
        self.register_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end."""
        for module in modules:
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Self:
        """Add one module before the one at `index`."""
        kept = list(self)
        kept.insert(index, module)
        self._modules.clear()
        return self.extend(kept)

    def _of(self, modules: list[Module]) -> Self:
        """Another container of the same kind."""
        return type(self)().extend(modules)

    def _name(self, index: int) -> str:
        if not -len(self) <= index < len(self):
            raise IndexingError(f"{type(self).__name__}: index {index} is out of range for {len(self)} modules")
        return list(self._modules)[index]


class Sequential(Numbered):
    """Modules called one after the other. Takes modules, or an OrderedDict of named ones.

    >>> net = flame.nn.Sequential(flame.nn.Linear(2, 3), flame.nn.ReLU())
    >>> net(flame.ones(4, 2)).shape
    (4, 3)
    """

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], OrderedDict):
            for name, module in modules[0].items():
                self.register_module(name, module)
        else:
            self.extend(modules)

    def forward(self, input: Any) -> Any:
        """The last module's output."""
        for module in self:
            input = module(input)
        return input


class ModuleList(Numbered):
    """A list of modules whose parameters count as this module's own.

    >>> len(flame.nn.ModuleList([flame.nn.ReLU() for _ in range(3)]))
    3
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def __repr__(self) -> str:
        lines: list[str] = []
        for text, run in groupby(enumerate(self), key=lambda item: repr(item[1])):
            places = [place for place, _ in run]
            several = f"({places[0]}-{places[-1]}): {len(places)} x " if len(places) > 1 else f"({places[0]}): "
            lines.append(several + indented(text))
        return layout(type(self).__name__, self.extra_repr(), lines)


class ModuleDict(Module):
    """Modules by name, whose parameters count as this module's own.

    >>> list(flame.nn.ModuleDict({"a": flame.nn.ReLU(), "b": flame.nn.Tanh()}))
    ['a', 'b']
    """

    def __init__(self, modules: "Mapping[str, Module] | Iterable[tuple[str, Module]]" = ()) -> None:
        super().__init__()
        self.update(modules)

    def update(self, modules: "Mapping[str, Module] | Iterable[tuple[str, Module]]") -> None:
        """Add modules under their names."""
        for name, module in dict(modules).items():
            self.register_module(name, module)

    def __getitem__(self, name: str) -> Any:
        return self._modules[name]

    def __setitem__(self, name: str, module: Module) -> None:
        self.register_module(name, module)

    def __delitem__(self, name: str) -> None:
        del self._modules[name]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, name: str) -> bool:
        return name in self._modules

    def pop(self, name: str) -> Module:
        """Take a module out."""
        return self._modules.pop(name)

    def clear(self) -> None:
        """Take all modules out."""
        self._modules.clear()

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._modules.keys()

    def values(self) -> Iterable[Module]:
        """The modules."""
        return self._modules.values()

    def items(self) -> Iterable[tuple[str, Module]]:
        """Names and modules."""
        return self._modules.items()


class ParameterDict(Module):
    """Parameters by name; tensors given become parameters."""

    def __init__(self, parameters: "Mapping[str, Any] | Iterable[tuple[str, Any]]" = ()) -> None:
        super().__init__()
        self.update(parameters)

    def update(self, parameters: "Mapping[str, Any] | Iterable[tuple[str, Any]]") -> None:
        """Add parameters under their names."""
        for name, value in dict(parameters).items():
            self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        self.register_parameter(str(name), value if isinstance(value, Parameter) else Parameter(value))

    def __getitem__(self, name: str) -> Any:
        return self._parameters[str(name)]

    def __delitem__(self, name: str) -> None:
        del self._parameters[str(name)]

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)

    def __contains__(self, name: str) -> bool:
        return name in self._parameters

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._parameters.keys()

    def values(self) -> Iterable[Any]:
        """The parameters."""
        return self._parameters.values()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Names and parameters."""
        return self._parameters.items()

    def extra_repr(self) -> str:
        return "\n".join(f"({name}): {_described(value)}" for name, value in self.items())


class ParameterList(ParameterDict):
    """Parameters under the names "0", "1", …"""

    def __init__(self, values: Iterable[Any] = ()) -> None:
        super().__init__()
        self.extend(values)

    def append(self, value: Any) -> Self:
        """Add one at the end."""
        self[str(len(self))] = value
        return self

    def extend(self, values: Iterable[Any]) -> Self:
        """Add several at the end."""
        for value in values:
            self.append(value)
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter(self._parameters.values())

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self)[index])
        if not -len(self) <= int(index) < len(self):
            raise IndexingError(f"ParameterList: index {index} is out of range for {len(self)} parameters")
        return self._parameters[str(int(index) % len(self))]

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(str(int(index) % len(self) if int(index) < 0 else int(index)), value)


def _described(value: Tensor) -> str:
    sizes = "x".join(map(str, value.shape))
    return f"Parameter containing: [{value.dtype} of size {sizes}]"
