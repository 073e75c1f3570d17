"""Scans before fusion: what is the same along an axis is walked once."""

from flame.ir.graph import transform
from flame.ir.node import Node, apply, expand
from flame.ir.op import Kind

Axes = frozenset[int]


def scans(roots: tuple[Node, ...]) -> tuple[Node, ...]:
    """No scan walks equal elements side by side: one lane walks for all that would find the same."""
    same: dict[Node, Axes] = {}

    def step(n: Node) -> Node:
        made = _narrow(n, _common([same[s] for s in n.src])) if n.op.kind is Kind.SCAN else n
        for m in (n, made, *made.src):
            if m not in same:
                same[m] = _level(m, same)
        return made

    return transform(roots, step)


def _narrow(n: Node, level: Axes) -> Node:
    axes = [a for a in level if a != n["axis"] and n.shape[a] > 1]
    if not axes:
        return n
    start, step = (0,) * len(n.shape), (1,) * len(n.shape)
    stop = tuple(1 if a in axes else size for a, size in enumerate(n.shape))
    lines = (apply("slice", s, start=start, stop=stop, step=step) for s in n.src)
    return expand(apply(n.op, *lines, **dict(n.attrs)), n.shape)


def _level(n: Node, same: dict[Node, Axes]) -> Axes:
    """Axes along which a value is known not to change."""
    parts = [same.get(s, Axes()) for s in n.src]
    match n.op.name:
        case "expand":
            lead, shape = len(n.shape) - len(n.src[0].shape), n.src[0].shape
            grown = {a for a in range(len(n.shape)) if a < lead or shape[a - lead] == 1}
            return Axes(grown | {a + lead for a in parts[0]})
        case "permute":
            return Axes(i for i, a in enumerate(n["order"]) if a in parts[0])
        case _ if n.op.kind in (Kind.ELEMENTWISE, Kind.SCAN) and parts:
            walked: set[int] = {n["axis"]} if n.op.kind is Kind.SCAN else set()
            return _common(parts) - walked
        case _:
            return Axes()


def _common(parts: list[Axes]) -> Axes:
    return Axes(a for a in parts[0] if all(a in p for p in parts))
