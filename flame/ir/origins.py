"""Where each node was made: the user's file and line, for errors, dumps and profiles."""

import sys
from pathlib import Path
from typing import overload
from weakref import WeakKeyDictionary

from flame.ir.node import Node, trace

INSIDE = str(Path(__file__).resolve().parent.parent) + "/"  # frames below this directory are FLAME's own
gradient_of: "WeakKeyDictionary[Node, str]" = WeakKeyDictionary()  # while anomalies are looked for: of which operator


class Origins:
    """The lines of nodes, as a mapping; each node keeps its own."""

    def __contains__(self, node: Node) -> bool:
        return node.origin is not None

    def __getitem__(self, node: Node) -> str:
        if node.origin is None:
            raise KeyError(node)
        return node.origin

    def __setitem__(self, node: Node, line: str) -> None:
        trace(node, line)

    def setdefault(self, node: Node, line: str) -> None:
        """A node that has no line gets this one."""
        if node.origin is None:
            trace(node, line)

    @overload
    def get(self, node: Node) -> str | None: ...
    @overload
    def get(self, node: Node, default: str) -> str: ...
    def get(self, node: Node, default: str | None = None) -> str | None:
        """The line of a node, or the default."""
        return default if node.origin is None else node.origin


origins = Origins()


def user_line() -> str:
    """The nearest `file:line` on the stack that is not FLAME's own."""
    frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame.f_code.co_filename.startswith(INSIDE) and frame.f_back is not None:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def note(node: Node) -> None:
    """Remember who made a node, if nobody did before."""
    if node.origin is None:
        trace(node, user_line())
