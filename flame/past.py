"""What stands in the table of values where a value is not: it was given away, waits elsewhere, or is made again."""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass

from flame.ir.node import Node, fresh_leaf
from flame.ir.plan import Recipe
from flame.ir.region import Past
from flame.runtime.buffer import Buffer
from flame.runtime.device import Device


@dataclass(frozen=True, slots=True)
class Donated:
    """Stands where a value was until its memory was given to another."""

    line: str


@dataclass(frozen=True, slots=True)
class Hosted:
    """Stands where a value is that waits in the host's memory; it comes back when it is read or asked for."""

    memory: Buffer
    wait: Callable[[], None]  # until it is there
    device: Device
    coming: tuple[Buffer, Callable[[], None]] | None = None  # memory of the device, and how later work waits for it


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """What values that were not kept are made of: a recipe, and nodes with the values that it begins with.

    These are inputs of the plan that did not keep them, and leaves of their own for what it did keep: none is made of
    a forgotten value, which this would hold for ever.
    """

    recipe: Recipe
    given: Mapping[int, Node]  # by the recipe's slots
    device: Device

    def nodes(self, slot: int) -> dict[int, Node]:
        """By slot, what making a value begins with."""
        return {s: self.given[s] for s in dict(self.recipe.needs)[slot]}


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Stands where a value is that is computed again when it is read."""

    origin: Origin
    slot: int


def pasts_of(inputs: Sequence[Node], how: Callable[[Node], Forgotten | None]) -> tuple[Past, ...]:
    """The recipes of the inputs that were not kept, with what each begins with and makes."""
    made: dict[Origin, list[tuple[int, Node]]] = {}
    given: dict[Origin, dict[int, Node]] = {}
    for n in inputs:
        if found := how(n):
            made.setdefault(found.origin, []).append((found.slot, n))
            given.setdefault(found.origin, {}).update(found.origin.nodes(found.slot))
    return tuple(Past(o.recipe, tuple(given[o].items()), tuple(some)) for o, some in made.items())


def inputs_of(order: Sequence[Node], given: Container[Node], pasts: Sequence[Past]) -> list[Node]:
    """What a graph is computed from, and what the recipes begin with."""
    return list(dict.fromkeys((*(n for n in order if n in given), *(n for p in pasts for _, n in p.given))))


def origin_of(recipe: Recipe, leaves: Mapping[int, Node], outputs: Container[int], device: Device) -> Origin:
    """What forgotten values of a plan with these leaves and outputs are made of."""
    given: dict[int, Node] = {}
    for s in dict.fromkeys(s for _, some in recipe.needs for s in some):
        slot = recipe.slots[s]
        given[s] = fresh_leaf(slot.shape, slot.dtype) if s in outputs else leaves[s]
    return Origin(recipe, given, device)
