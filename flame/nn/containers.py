"""Sequential and ModuleList."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Self, overload

from flame.errors import IndexingError
from flame.nn.module import Module, indented, layout


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
