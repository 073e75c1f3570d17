"""What a user's own code adds to differentiation: hooks on values, and calls whose gradient a function of his computes.

A node holds it (`Node.held`), so that it lives as long as the graph does and a cycle through a user's closure is
garbage like any other. Nothing but `passes/grad.py` reads it: values, plans and fingerprints do not know of it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

from flame.ir.node import Node, hold

Hook = Callable[[Node], Node | None]
Partial = tuple["Node | None", ...]


class Call(ABC):
    """Several values computed together from `inputs`: differentiation enters here, not into their graphs.

    `kind` numbers what is called, for keys that must not keep a user's objects alive.
    """

    inputs: tuple[Node, ...]
    kind: int

    @abstractmethod
    def gradients(self, given: Mapping[int, Node]) -> Partial:
        """The gradient of each input, from those of the results, by their numbers."""

    @abstractmethod
    def sketch(self, given: Mapping[int, Node]) -> Partial:
        """Nodes that read what the true gradients will read; the user's code is not called."""

    @abstractmethod
    def reads(self) -> tuple[Node, ...]:
        """What the gradients read beside the inputs and what arrives."""


class Held:
    """What one node holds: hooks on its gradient, those that see the last of it, and the call whose result it is."""

    __slots__ = ("call", "hooks", "last", "number")

    def __init__(self, call: Call | None = None, number: int = 0):
        self.hooks: dict[int, Hook] = {}
        self.last: dict[int, Hook] = {}
        self.call, self.number = call, number


def held(node: Node) -> Held:
    """What the node holds, from now on at least something."""
    if node.held is None:
        hold(node, Held())
    assert node.held is not None
    return node.held
