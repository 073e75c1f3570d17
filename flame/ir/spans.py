"""Between which numbers the elements of an integer tensor lie, as far as it is known without computing it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from flame.ir import dtype as dt
from flame.ir.node import Node
from flame.ir.op import Kind

SAME = ("reshape", "permute", "flip", "expand")  # movements that lose no element


@dataclass(frozen=True, slots=True)
class Span:
    """No element is below `low` or above `high`; where `exact`, some element is `low` and some is `high`."""

    low: int
    high: int
    exact: bool = False

    def within(self, low: int, high: int) -> bool:
        return low <= self.low and self.high <= high


Read = Callable[[Node], tuple[bool, Span | None]]  # whether a node has a value, and what is known of that
_known: "WeakKeyDictionary[Node, Span]" = WeakKeyDictionary()


def remember(node: Node, span: Span) -> None:
    """What somebody found out about the elements of a node."""
    _known[node] = span


def of_array(array: Any) -> Span | None:
    """The span of integers on the host."""
    return Span(int(array.min()), int(array.max()), True) if array.size and array.dtype.kind in "iu" else None


def span(root: Node, read: Read) -> Span | None:
    """What is known of the elements of a node; only integers that it is made of are looked at."""
    found: dict[Node, Span | None] = {}
    stack = [root]
    while stack:
        n = stack[-1]
        if n not in found and n not in _known:
            computed, data = read(n)
            missing = [] if computed else [s for s in _sources(n) if s not in found and s not in _known]
            if missing:
                stack += missing
                continue
            made = data if computed else _span(n, [found.get(s) or _known.get(s) for s in _sources(n)])
            found[n] = made
            if made is not None:
                _known[n] = made
        stack.pop()
    return found.get(root) or _known.get(root)


def _sources(n: Node) -> tuple[Node, ...]:
    """The sources of which the elements of n are made; none where nothing is known of them."""
    if n.dtype.category != dt.INT or not n.src:
        return ()
    if n.op.name in ("where", "argsort"):
        return n.src[1:]
    match n.op.kind:
        case Kind.MOVEMENT | Kind.GATHER:
            return n.src[:1]
        case Kind.REDUCE:
            return n.src if n.op.combine in ("maximum", "minimum", "add") else ()
        case Kind.ELEMENTWISE:
            return n.src if n.op.transparent or n.op.name in _RULES or n.op.name == "cast" else ()
        case _:
            return ()


def _span(n: Node, parts: list[Span | None]) -> Span | None:
    """The span of a node, given those of its sources."""
    if n.dtype.category != dt.INT or not prod(n.shape):
        return None
    match n.op.name:
        case "const":
            return Span(n["value"], n["value"], True)
        case "iota":
            return Span(0, n["n"] - 1, True)
        case "argsort":
            axis: int = n["axis"]
            return Span(0, n.src[0].shape[axis] - 1, n.shape[axis] == n.src[0].shape[axis])
        case "philox":
            return Span(0, (1 << 32) - 1)
        case "cast" if n.src[0].dtype is dt.boolean:
            return Span(0, 1)
        case "remainder" if (c := _constant(n.src[1])) is not None and c > 0:
            return Span(0, c - 1)
        case _:
            pass
    if n.op.name in ("minimum", "maximum"):  # one known end is enough
        info = np.iinfo(n.dtype.numpy)
        parts = [p or Span(int(info.min), int(info.max)) for p in parts]
    if not parts or None in parts:
        return None
    return _fitting(n, _made(n, [p for p in parts if p is not None]))


def _made(n: Node, parts: list[Span]) -> Span | None:
    first, last = parts[0], parts[-1]
    if n.op.name in _RULES:
        one = [i for i, s in enumerate(n.src) if _constant(s) is None]  # with constants, the ends stay ends
        exact = len(one) == 1 and parts[one[0]].exact
        corners = _RULES[n.op.name](first, last)
        return None if corners is None else Span(min(corners), max(corners), exact and n.op.name != "where")
    if n.op.kind is Kind.REDUCE and n.op.combine == "add":
        count = prod(n.src[0].shape) // max(prod(n.shape), 1)
        return Span(first.low * count, first.high * count)
    if n.op.name in SAME or n.op.kind is Kind.ELEMENTWISE:
        return first
    fill = next((int(v) for k, v in n.attrs if k == "fill"), first.low)
    return Span(min(first.low, fill), max(first.high, fill))


def _fitting(n: Node, found: Span | None) -> Span | None:
    """None where the dtype may not hold it: it would wrap around."""
    if found is None:
        return None
    info = np.iinfo(n.dtype.numpy)
    return replace(found) if found.within(int(info.min), int(info.max)) else None


def _constant(n: Node) -> int | None:
    while n.op.name in SAME:
        n = n.src[0]
    return n["value"] if n.op.name == "const" else None


_RULES: dict[str, Callable[[Span, Span], tuple[int, ...] | None]] = {
    "where": lambda a, b: (a.low, b.low, a.high, b.high),
    "add": lambda a, b: (a.low + b.low, a.high + b.high),
    "sub": lambda a, b: (a.low - b.high, a.high - b.low),
    "neg": lambda a, b: (-a.high, -a.low),
    "mul": lambda a, b: (a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high),
    "floor_divide": lambda a, b: (a.low // b.low, a.high // b.low) if b.low == b.high > 0 else None,
    "minimum": lambda a, b: (min(a.low, b.low), min(a.high, b.high)),
    "maximum": lambda a, b: (max(a.low, b.low), max(a.high, b.high)),
}
