"""What windows over several axes put back is one sum over the taps of all: nothing between the axes is written."""

from math import prod
from typing import Any

from flame.ir.graph import transform
from flame.ir.node import Node, apply

TAPS = 32  # that one fold visits: more are folded axis by axis


def taps(roots: tuple[Node, ...]) -> tuple[Node, ...]:
    """No sum of few overlapping windows passes through memory between its axes."""
    return transform(roots, _together)


def _together(n: Node) -> Node:
    """sum(unskew(sum(x))) as sum(unskew(x)): where no window has a tap, both put nothing."""
    if n.op.name != "sum" or (back := n.src[0]).op.name != "unskew" or (inner := back.src[0]).op.name != "sum":
        return n
    (x,) = inner.src
    first, second = tuple[int, ...](inner["axes"]), tuple[int, ...](n["axes"])
    kept = [a for a in range(len(x.shape)) if a not in first]
    axes = sorted((*first, *(kept[a] for a in second)))
    if back["fill"] != 0 or prod(x.shape[a] for a in axes) > TAPS:
        return n
    attrs: dict[str, Any] = {**dict(back.attrs), "axis": kept[back["axis"]], "taps": kept[back["taps"]]}
    return apply("sum", apply("unskew", x, **attrs), axes=tuple(axes))
