"""Compute in the order in which memory lies: what a library wrote with its channels last is read and stored so.

The axes of what a library wrote are turned to those that the graph means, and of every value that is made of it again.
Here the turning sinks towards the readers: through elementwise operators, whose results are stored in their own order,
and through folds, which walk in that of their source. Where a library reads the value again two turnings meet and are
gone; so a whole network of convolutions is computed with its channels last, and only at the edges something is turned.
"""

from flame.ir.graph import rebuild, toposort
from flame.ir.node import Node, Shape, apply, const, var
from flame.ir.op import Kind
from flame.passes.operand import strided
from flame.passes.simplify import Scalars, simplify

Laid = tuple[Node, Shape]  # a value as it lies, and the axes of the value meant that its axes are, in order


def layouts(roots: tuple[Node, ...], simple: Scalars) -> tuple[Node, ...]:
    """Nothing is computed across a library's result that could be computed along it."""
    order = toposort(roots)
    if all(n.op.kind is not Kind.CALL for n in order):
        return roots
    sink = _Sink(simple)
    new: dict[Node, Node] = {}
    for node in order:
        new[node] = sink.turned(rebuild(node, tuple([new[s] for s in node.src])))
    made = tuple(new[r] for r in roots)
    return simplify(made) if sink.laid else roots


class _Sink:
    """What lies in another order than that of its axes."""

    def __init__(self, simple: Scalars):
        self.simple = simple
        self.laid: dict[Node, Laid] = {}

    def turned(self, n: Node) -> Node:
        """The node, or the same value made along memory and turned."""
        match n.op.kind:
            case Kind.MOVEMENT:
                self._move(n)
                return n
            case Kind.ELEMENTWISE:
                return self._elementwise(n)
            case Kind.REDUCE:
                return self._fold(n)
            case _:
                return n

    def _move(self, n: Node) -> None:
        """Note how what is moved lies: the axes whose elements are far apart first."""
        steps = self._steps(n)
        if steps is None or any(not step and size != 1 for step, size in zip(steps, n.shape, strict=True)):
            return  # not one place in memory for each element
        order = tuple(sorted(range(len(steps)), key=lambda a: -steps[a]))
        if order != tuple(range(len(order))):
            self.laid[n] = apply("permute", n, order=order), order

    def _steps(self, n: Node, first: Shape = ()) -> Shape | None:
        """How far apart in memory the elements of each axis are, where movements alone lie over something laid.

        Of the axes `first`, only the first element is looked at.
        """
        free = [size != 1 and a not in first for a, size in enumerate(n.shape)]
        axes = tuple(var(f"i{a}", extent=n.shape[a]) if own else const(0) for a, own in enumerate(free))
        base, at = n, axes
        while base.op.kind is Kind.MOVEMENT and base not in self.laid:
            assert base.op.index is not None
            place, _ = base.op.index(at, base.src[0].shape, **dict(base.attrs))  # padding aside
            base, at = base.src[0], tuple(map(self.simple, place))
        if base.op.kind is not Kind.CALL and base not in self.laid:
            return None
        _, order = self.laid.get(base, (base, tuple(range(len(base.shape)))))
        view = strided(tuple(at[a] for a in order), axes, tuple(base.shape[a] for a in order), self.simple)
        return None if view is None else view.strides

    def _elementwise(self, n: Node) -> Node:
        order = next((self.laid[s][1] for s in n.src if s in self.laid), None)
        if order is None:
            return n
        made = apply(n.op, *(self._along(s, order) for s in n.src), **dict(n.attrs))
        return self._back(made, order)

    def _along(self, n: Node, order: Shape) -> Node:
        """A value with its axes in that order."""
        made, own = self.laid.get(n, (n, ()))
        return made if own == order else apply("permute", n, order=order)

    def _back(self, made: Node, order: Shape) -> Node:
        """What was made along memory, in the order that is meant."""
        if order == tuple(range(len(order))):
            return made
        found = apply("permute", made, order=tuple(order.index(a) for a in range(len(order))))
        self.laid[found] = made, order
        return found

    def _fold(self, n: Node) -> Node:
        """Folded along memory."""
        folded: tuple[int, ...] = n["axes"]
        found = self.laid.get(n.src[0]) or self._taps(n.src[0], folded)
        if found is None:
            return n
        made, order = found
        attrs = {**dict(n.attrs), "axes": tuple(i for i, a in enumerate(order) if a in folded)}
        kept = sorted(set(order) - set(folded))
        return self._back(apply(n.op, made, **attrs), tuple(kept.index(a) for a in order if a in kept))

    def _taps(self, n: Node, folded: Shape) -> Laid | None:
        """Windows along memory, whose taps are one axis: it stays on its side of the others."""
        steps = self._steps(n, folded) if n.op.kind is Kind.MOVEMENT else None
        if steps is None:
            return None
        side = -1 if 0 in folded else 1
        order = tuple(sorted(range(len(steps)), key=lambda a: (side * (a in folded), -steps[a])))
        return (apply("permute", n, order=order), order) if order != tuple(range(len(order))) else None
