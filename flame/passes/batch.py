"""One example's graph for all examples of a batch: every value that differs between them gets an axis in front.

What a batch means to an operator is the `batch` rule of its entry, or follows from its kind.
"""

from collections.abc import Callable, Mapping

from flame.errors import GradError
from flame.ir.graph import toposort
from flame.ir.node import Node, apply, expand
from flame.ir.op import Kind
from flame.ir.origins import origins

Follow = Callable[[Node, Node, Mapping[Node, Node]], None]


def batched(
    roots: tuple[Node, ...], known: Mapping[Node, Node], n: int, follow: Follow | None = None
) -> tuple[Node, ...]:
    """Each root with an axis of `n` examples in front; `known` gives the nodes of one example that have theirs.

    What is the same for every example is computed once, and repeated at the end. `follow` is told of each node, what it
    became, and what all have become so far.
    """
    lifted: dict[Node, Node] = dict(known)
    for node in toposort(roots, known):
        if node in lifted or not any(s in lifted for s in node.src):
            continue
        src = [lifted[s] if s in lifted else expand(s, (n, *s.shape)) for s in node.src]
        made = lifted[node] = lift(node, n, src)
        if node in origins:
            origins.setdefault(made, origins[node])
        if follow is not None:
            follow(node, made, lifted)
    return tuple(lifted[r] if r in lifted else expand(r, (n, *r.shape)) for r in roots)


def lift(node: Node, n: int, src: list[Node]) -> Node:
    """One operator over `n` examples, its sources with an axis in front."""
    if node.op.batch is not None:
        return node.op.batch(n, node, *src)
    attrs = dict(node.attrs)
    match node.op.kind:
        case Kind.ELEMENTWISE:
            return apply(node.op, *src, **attrs)
        case Kind.REDUCE | Kind.GATHER | Kind.SCAN | Kind.SEGMENT:
            return apply(node.op, *src, **{**attrs, **shifted(attrs)})
        case _:
            raise GradError(f"vmap: {node.op.name} has no rule for a batch of examples; map over it with a loop")


def shifted(attrs: Mapping[str, object]) -> dict[str, object]:
    """Attributes that name an axis, for operands with one more in front."""
    out: dict[str, object] = {}
    for name, value in attrs.items():
        if name == "axis" and isinstance(value, int):
            out[name] = value + 1
        elif name == "axes" and isinstance(value, tuple):
            out[name] = tuple(int(a) + 1 for a in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return out
