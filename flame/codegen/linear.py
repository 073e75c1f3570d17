"""Sums over a row taken apart: what is the same for the whole row leaves the fold.

The fold of a * u[r] + b * w[r], where a and b come from earlier folds, would wait for them; the folds of u and w need
not, and meet with others. Each product is rounded in either form, so that the sum of the products is as exact as the
product of the sums. A term without such a factor keeps the fold together, and so does what stands in brackets: a
difference of values may be exact, or as small as the mean of what has none.
"""

from collections.abc import Callable

from flame.ir.graph import toposort
from flame.ir.node import Node

Terms = dict[Node, Node]  # what varies along the row -> its factor, the same for all of it


def terms(value: Node, row: Node, level: Callable[[Node], int]) -> Terms | None:
    """A value as a sum of products of a row's own elements and what folds gave, if no element waits as long."""
    found: Terms = {}
    for n, minus in _added(value):
        factor: Node | None = None
        while n.op.name in ("mul", "neg"):
            if n.op.name == "neg":
                n, minus = n.src[0], not minus
                continue
            free = next((k for k in (1, 0) if row not in toposort([n.src[k]])), None)
            if free is None:
                break
            factor, n = n.src[free] if factor is None else factor * n.src[free], n.src[1 - free]
        if factor is None or not level(factor) or level(n) >= level(value):
            return None
        factor = -factor if minus else factor
        found[n] = found[n] + factor if n in found else factor
    return found


def _added(value: Node) -> list[tuple[Node, bool]]:
    """The terms of a sum, and whether each is taken away."""
    out: list[tuple[Node, bool]] = []
    pending = [(value, False)]
    while pending:
        n, minus = pending.pop()
        if n.op.name == "neg":
            pending.append((n.src[0], not minus))
        elif n.op.name in ("add", "sub"):
            pending += [(n.src[1], minus ^ (n.op.name == "sub")), (n.src[0], minus)]
        else:
            out.append((n, minus))
    return out
