"""Where each node was made: the user's file and line, for errors, dumps and profiles."""

import sys
from pathlib import Path
from weakref import WeakKeyDictionary

from flame.ir.node import Node

INSIDE = str(Path(__file__).resolve().parent.parent) + "/"  # frames below this directory are FLAME's own
origins: "WeakKeyDictionary[Node, str]" = WeakKeyDictionary()
gradient_of: "WeakKeyDictionary[Node, str]" = WeakKeyDictionary()  # while anomalies are looked for: of which operator


def user_line() -> str:
    """The nearest `file:line` on the stack that is not FLAME's own."""
    frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame.f_back is not None and frame.f_code.co_filename.startswith(INSIDE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def note(node: Node) -> None:
    """Remember who made a node, if nobody did before."""
    if node not in origins:
        origins[node] = user_line()
