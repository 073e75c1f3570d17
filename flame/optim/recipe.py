"""What a step makes of one parameter, found once for all that are alike.

A model has hundreds of parameters of few shapes. What becomes of one is traced on stand-ins: leaves in the place of its
value, its gradient and its state. Where a whole step of equal traces was compiled before, no graph is built for any
parameter: its plan is found by the traces' numbers and by what they read.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flame.ir.graph import fingerprint, substitute, toposort
from flame.ir.node import Node
from flame.tensor import Tensor, revise

_known: dict[Hashable, int] = {}  # traces: equal ones have one number


@dataclass(frozen=True, slots=True)
class Recipe:
    """New values of a parameter and its state as a function of the old ones, of its gradient, and of numbers."""

    number: int
    leaves: tuple[Node, ...]  # the stand-ins
    numbers: tuple[Node, ...]
    outputs: tuple[Node, ...]
    targets: tuple[int, ...]  # which of the tensors takes each output

    def of(self, given: Sequence[Node]) -> tuple[Node, ...]:
        """The outputs for nodes in the stand-ins' places."""
        return substitute(self.outputs, dict(zip(self.leaves, given, strict=True)))


def recipe(
    given: Sequence[Tensor], pairs: Sequence[tuple[Tensor, Tensor]], numbers: Mapping[Any, Tensor]
) -> Recipe | None:
    """What `pairs` (old, new) make of the stand-ins; None where they read or draw more than these and the numbers."""
    place = {id(t): i for i, t in enumerate(given)}
    leaves, outputs = tuple(t.node for t in given), tuple(new.node for _, new in pairs)
    order = toposort((*outputs, *leaves))
    others = tuple(n for n in order if n.op.name == "leaf" and n not in leaves)
    if not {t.node for t in numbers.values()}.issuperset(others):
        return None
    key = len(leaves), fingerprint(order, (*outputs, *leaves, *others), {*leaves, *others})
    number = _known.setdefault(key, len(_known))
    return Recipe(number, leaves, others, outputs, tuple(place[id(old)] for old, _ in pairs))


def perform(steps: Sequence[tuple[Recipe, Sequence[Tensor]]]) -> None:
    """Give tensors what their recipes make of them, all in one plan."""
    nodes = [[t.node for t in given] for _, given in steps]
    reads = [n for (made, _), given in zip(steps, nodes, strict=True) for n in (*given, *made.numbers)]

    def build() -> list[Node]:
        return [n for (made, _), given in zip(steps, nodes, strict=True) for n in made.of(given)]

    targets = [given[i] for made, given in steps for i in made.targets]
    revise(targets, reads, tuple([made.number for made, _ in steps]), build)
