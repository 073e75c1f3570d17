"""Which `vmap`s are running: what drawing random numbers must know of them."""

from collections.abc import Callable
from dataclasses import dataclass, field

from flame.errors import FlameError
from flame.ir.dtype import DType
from flame.ir.node import Node, apply, fresh, reshape

RANDOMNESS = ("error", "different", "same")


@dataclass(eq=False)
class Level:
    """One running `vmap`: how many examples, what they do with random numbers, and what stands for all of each."""

    size: int
    randomness: str
    known: dict[Node, Node] = field(default_factory=dict)  # a value of one example -> its values, an axis in front


levels: list[Level] = []


def example(shape: tuple[int, ...], dtype: DType) -> Node:
    """One example of a batch: a value that only stands for others."""
    return apply("example", uid=fresh(), of=shape, as_=dtype)


def drawn(count: int, draw: Callable[[int], Node], running: list[Level] | None = None) -> Node:
    """`count` random numbers for each example of every `vmap` that wants them different; `draw` makes a flat row."""
    running = levels if running is None else running
    if not running:
        return draw(count)
    *outer, level = running
    if level.randomness == "error":
        raise FlameError(
            "vmap: the function draws random numbers; say randomness='different' for others in each example, or 'same'"
        )
    if level.randomness == "same":
        return drawn(count, draw, outer)
    wide = drawn(level.size * count, draw, outer)
    one = example((count,), wide.dtype)
    level.known[one] = reshape(wide, (level.size, count))
    return one


def drawn_once() -> None:
    """Raise FlameError where a number that is drawn on the host, once for all examples, was to differ or not to be."""
    for level in levels:
        if level.randomness != "same":
            raise FlameError(
                "vmap: the function draws random numbers on the host, which are the same for every example; say "
                "randomness='same', or draw before"
            )
