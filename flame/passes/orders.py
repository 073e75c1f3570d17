"""Orders before libraries: where only the elements at the places of an order are read, nobody makes the places."""

from flame.ir.graph import readers, toposort
from flame.ir.node import Node, apply
from flame.ir.op import OPS, Kind

ORDER, ORDERED = OPS["argsort"], OPS["sorted"]


def orders(roots: tuple[Node, ...]) -> tuple[Node, ...]:
    """No order is made of which only the elements in it are read: they are sorted alone."""
    order = toposort(roots)
    read_by, wanted, new = readers(order), set(roots), dict[Node, Node]()
    for n in order:
        src = tuple([new[s] for s in n.src])
        if n.op.kind is Kind.GATHER and _alone(n) and n.src[1] not in wanted and len(read_by[n.src[1]]) == 1:
            y = n.src[1]
            new[n] = apply(ORDERED, src[0], axis=n["axis"], descending=y["descending"], ranks=y["ranks"])
        else:
            new[n] = n if src == n.src else apply(n.op, *src, **dict(n.attrs))
    return tuple(new[r] for r in roots)


def _alone(n: Node) -> bool:
    """True if a gather puts the elements of an operand in the order of that operand."""
    a, places = n.src
    return places.op is ORDER and places.src[0] is a and places["axis"] == n["axis"]
