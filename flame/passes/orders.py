"""Orders before libraries: nobody finds places of which only the elements are read, nor ranks that nobody reads."""

from flame.ir.graph import readers, toposort
from flame.ir.node import Node, apply
from flame.ir.op import OPS, Kind

ORDER, ORDERED = OPS["argsort"], OPS["sorted"]


def orders(roots: tuple[Node, ...], followed: tuple[Node, ...] = ()) -> tuple[Node, ...]:
    """No order is made of which only the elements in it, or only some ranks, are read.

    What the `followed` nodes have become comes behind the roots; they are no readers.
    """
    order = toposort(roots)
    read_by, wanted, new = readers(order), set(roots), dict[Node, Node]()

    def passing(n: Node) -> bool:
        return n not in wanted and len(read_by[n]) == 1

    for n in order:
        src = tuple([new[s] for s in n.src])
        if n.op.kind is Kind.GATHER and _alone(n) and passing(n.src[1]):
            new[n] = apply(ORDERED, src[0], axis=n["axis"], descending=n.src[1]["descending"], ranks=n.src[1]["ranks"])
        elif n.op.name == "slice" and src[0].op in (ORDER, ORDERED) and passing(n.src[0]) and _some_ranks(n, src[0]):
            new[n] = _narrowed(n, src[0])
        else:
            new[n] = n if src == n.src else apply(n.op, *src, **dict(n.attrs))
    return tuple([new[r] for r in roots] + [new.get(n, n) for n in followed])


def _alone(n: Node) -> bool:
    """True if a gather puts the elements of an operand in the order of that operand."""
    a, places = n.src
    return places.op is ORDER and places.src[0] is a and places["axis"] == n["axis"]


def _some_ranks(n: Node, y: Node) -> bool:
    """True if a slice takes neighbouring ranks of each line, and all lines."""
    whole = (size == m for a, (size, m) in enumerate(zip(n.shape, y.shape, strict=True)) if a != y["axis"])
    return all(whole) and all(step == 1 for step in n["step"])


def _narrowed(n: Node, y: Node) -> Node:
    first = int(y["ranks"][0])
    start, stop = (first + int(n[end][y["axis"]]) for end in ("start", "stop"))
    return apply(y.op, *y.src, **{**dict(y.attrs), "ranks": (start, stop)})
