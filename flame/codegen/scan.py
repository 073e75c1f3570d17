"""A scan along a row, by all of its lanes: straight-line code, in which only what lanes have folded moves between them.

Each lane folds the elements of an item, which lie side by side; the lanes of a warp fold what they have in log2(lanes)
shifts, warps through shared memory; what all that came before fold to is then put in front of each element's own.
Items follow one another, and so do the rounds of a row that is too long to be visited at once: the carry goes on.
"""

from collections.abc import Callable, Sequence

from flame.codegen.spell import Speller
from flame.ir.graph import substitute
from flame.ir.loop import Scan
from flame.ir.node import var

WARP = 32


def scan(s: Scan, speller: Speller, emit: Callable[..., None]) -> None:
    """Print a scan; afterwards each element's accumulator has its name."""
    _Printed(s, speller, emit).items()


class _Printed:
    """The state of printing one scan. Methods take and give names of what lanes have folded."""

    def __init__(self, s: Scan, speller: Speller, emit: Callable[..., None]):
        self.s, self.speller, self.emit, self.at = s, speller, emit, speller.at
        self.width, self.warps = min(self.at.lanes, WARP), -(-self.at.lanes // WARP)
        self.lane, self.warp = "lane", "0"

    def items(self) -> None:
        sp, acc, carry = self.speller, self.s.acc, self.s.carry["name"]
        if self.warps > 1:
            self.lane, self.warp = self.name(f"umod32(lane, {WARP})"), self.name(f"udiv32(lane, {WARP})")
        made: dict[tuple[int, int], str] = {}
        for i in self.ordered(self.at.items):
            own = self.own(i)
            before, whole = self.before(own[self.ordered(self.at.vector)[-1]], self.name(carry))
            self.emit(f"{carry} = {whole}")
            made |= {(i, v): self.both(before, x) for v, x in own.items()}
        sp.vary(acc)
        for (i, v), x in made.items():
            self.emit(f"{sp.own(acc, i, v)} = {x}")

    def ordered(self, count: int) -> Sequence[int]:
        """Numbers below `count` in the order of the walk."""
        return range(count)[:: -1 if self.s.reverse else 1]

    def own(self, i: int) -> dict[int, str]:
        """What the elements of an item up to each of them fold to; elements behind the row's end change nothing."""
        found: dict[int, str] = {}
        so_far = ""
        for v in self.ordered(self.at.vector):
            x = self.speller.text(self.s.value, i, v)
            if guard := self.speller.guards.get(i):
                x = f"select({guard}, {x}, {self.speller.text(self.s.neutral)})"
            x = self.name(x)
            so_far = found[v] = self.both(so_far, x) if so_far else x
        return found

    def before(self, x: str, carry: str) -> tuple[str, str]:
        """What all that comes before a lane's item folds to, and what the carry and the whole item do."""
        distance = 1
        while distance < self.width:
            x = self.chosen(self.follows(distance), self.both(self.shifted(x, distance), x), x)
            distance *= 2
        dtype, end = self.s.acc.dtype, "first" if self.s.reverse else "last"
        if self.warps > 1:
            base = whole = carry
            parts = self.name(f"{end}s_{dtype}_{self.warps}({x})")
            for w in self.ordered(self.warps):
                whole = self.both(whole, f"{parts}[{w}]")
                base = self.chosen(f"({self.warp} {'<' if self.s.reverse else '>'} {w})", whole, base)
        else:
            base, whole = carry, self.both(carry, f"{end}_{dtype}_{self.width}({x})" if self.width > 1 else x)
        return self.chosen(
            self.follows(1), self.both(base, self.shifted(x, 1)), base
        ) if self.width > 1 else base, whole

    def follows(self, distance: int) -> str:
        """Whether a lane has another that far before it."""
        return f"({self.lane} < {self.width - distance})" if self.s.reverse else f"({self.lane} >= {distance})"

    def shifted(self, x: str, distance: int) -> str:
        """What the lane so far before each has."""
        return f"{'behind' if self.s.reverse else 'before'}_{self.s.acc.dtype}_{distance}({x})"

    def both(self, left: str, right: str) -> str:
        given = {n: var(self.name(x), n.dtype) for n, x in ((self.s.left, left), (self.s.right, right))}
        return self.name(self.speller.text(substitute((self.s.both,), given)[0]))

    def chosen(self, condition: str, yes: str, no: str) -> str:
        return self.name(f"select({condition}, {yes}, {no})")

    def name(self, text: str) -> str:
        """A name that holds the value now: what it was made of may change."""
        if text.startswith("t") and text[1:].isdigit():
            return text
        name = self.speller.fresh()
        self.emit(f"{name} = {text}")
        return name
