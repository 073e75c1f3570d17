"""Reverse-mode differentiation, graph to graph. Every rule it uses is in the operator table."""

from flame.errors import GradError
from flame.ir.graph import toposort
from flame.ir.node import Node, like


def gradients(root: Node, seed: Node, wanted: tuple[Node, ...]) -> tuple[Node | None, ...]:
    """d root / d w times `seed` for each w, as nodes of the same graph; None for a w that root does not depend on."""
    order = toposort([root], stop=set(wanted))
    leads = set(wanted)  # the nodes on a path from some w to the root
    for node in order:
        if node not in leads and any(s in leads for s in node.src):
            leads.add(node)
    grads: dict[Node, Node] = {root: seed}
    targets = set(wanted)
    for node in reversed(order):
        g = grads.get(node)
        if g is None or node not in leads or not node.src or node in targets:
            continue
        if node.op.grad is None:
            raise GradError(f"{node.op.name} has no gradient rule; detach() its operands if none should flow")
        for s, part in zip(node.src, node.op.grad(g, node, *node.src), strict=True):
            if part is not None and s in leads:
                grads[s] = grads[s] + part if s in grads else part
    return tuple(grads.get(w) for w in wanted)


def ones(root: Node) -> Node:
    """The seed of an ordinary backward pass: d root / d root."""
    return like(root, 1)
