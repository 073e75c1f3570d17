"""Walking a graph: order, users, substitution, fingerprint. Nothing here knows an operator's name but the leaf's."""

from collections.abc import Callable, Collection, Container, Hashable, Iterable

from flame.ir.node import Node, apply
from flame.ir.origins import origins


def toposort(roots: Iterable[Node], stop: Container[Node] = ()) -> list[Node]:
    """Every node once, sources before users; sources of nodes in `stop` are not entered. Iterative: graphs are deep."""
    order: dict[Node, None] = {}
    entered: set[Node] = set()
    stack = list(roots)
    stack.reverse()
    while stack:
        node = stack[-1]
        if node in order:
            stack.pop()
        elif node in entered or not node.src or node in stop:
            order[node] = None
            stack.pop()
        else:
            entered.add(node)
            stack.extend([s for s in reversed(node.src) if s not in order])
    return list(order)


def rebuild(node: Node, src: tuple[Node, ...]) -> Node:
    if src == node.src:
        return node
    made = apply(node.op, *src, **dict(node.attrs))
    if node in origins:
        origins.setdefault(made, origins[node])
    return made


def transform(roots: tuple[Node, ...], step: Callable[[Node], Node]) -> tuple[Node, ...]:
    """Rebuild the graph bottom-up, passing each rebuilt node through `step`."""
    new: dict[Node, Node] = {}
    for node in toposort(roots):
        new[node] = step(rebuild(node, tuple([new[s] for s in node.src])))
    return tuple(new[r] for r in roots)


def substitute(roots: tuple[Node, ...], known: dict[Node, Node]) -> tuple[Node, ...]:
    """`roots` with every known node replaced, the outermost first."""
    new: dict[Node, Node] = {}
    for node in toposort(roots, known):
        new[node] = known[node] if node in known else rebuild(node, tuple([new[s] for s in node.src]))
    return tuple(new[r] for r in roots)


def readers(order: list[Node]) -> dict[Node, list[Node]]:
    """Who reads each node, for a complete order."""
    found: dict[Node, list[Node]] = {n: [] for n in order}
    for n in order:
        for s in dict.fromkeys(n.src):
            found[s].append(n)
    return found


def fingerprint(order: list[Node], roots: Iterable[Node], leaves: Collection[Node]) -> Hashable:
    """A key equal for graphs that differ only in which buffers their leaves are; `leaves` are taken as given.

    A node's `uid` tells it from others of the same graph, which its place in the order does as well.
    """
    number: dict[Node, int] = {}
    parts: list[object] = []
    for node in order:
        if node in leaves:
            parts.append((node.shape, node.dtype))
        else:
            attrs = node.attrs if not node.attrs or node.attrs[0][0] != "uid" else None
            parts.append((node.op, attrs, *[number[s] for s in node.src]))
        number[node] = len(parts)
    return tuple(parts), tuple([number[r] for r in roots])
