"""Registries of handles that forget them when Python does."""

from collections.abc import Iterator
from typing import Any, Generic, TypeVar
from weakref import ReferenceType, WeakKeyDictionary, ref

from flame.ir.node import Node

Handle = TypeVar("Handle")


class _Entry(ref):
    """A weak reference that knows its key, so that one callback serves all."""

    __slots__ = ("key",)
    key: int


class Handles(Generic[Handle]):
    """A set of handles by identity: `==` of tensors compares their elements."""

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}
        entries = self._entries

        def forget(entry: _Entry) -> None:
            if entries.get(entry.key) is entry:
                del entries[entry.key]

        self._forget = forget

    def add(self, handle: Handle) -> None:
        key = id(handle)
        if key not in self._entries:
            entry = self._entries[key] = _Entry(handle, self._forget)
            entry.key = key

    def discard(self, handle: Handle) -> None:
        self._entries.pop(id(handle), None)

    def __iter__(self) -> Iterator[Handle]:
        return iter([h for entry in list(self._entries.values()) if (h := entry()) is not None])

    def __len__(self) -> int:
        return len(self._entries)


class Owners(Generic[Handle]):
    """Whose gradient that of a node is: a handle that was given another value still owns graphs made of the old one."""

    def __init__(self) -> None:
        self._owners: WeakKeyDictionary[Node, ReferenceType[Any]] = WeakKeyDictionary()

    def __setitem__(self, node: Node, handle: Handle) -> None:
        self._owners[node] = ref(handle)

    def get(self, node: Node) -> Handle | None:
        """The handle, where there is one and it lives."""
        found = self._owners.get(node)
        return None if found is None else found()
