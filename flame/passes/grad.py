"""Reverse-mode differentiation, graph to graph. Every rule it uses is in the operator table, or held by a node."""

from collections.abc import Collection, Mapping, Sequence
from typing import Union

from flame.config import config
from flame.errors import GradError
from flame.ir.held import Call
from flame.ir.node import Node, like
from flame.ir.op import by_decomposition
from flame.ir.origins import gradient_of, origins

Item = Union[Node, Call]  # what is differentiated: a node by its operator's rule, a call by its own


def gradients(root: Node, seed: Node, wanted: Sequence[Node]) -> tuple[Node | None, ...]:
    """d root / d w times `seed` for each w, as nodes of the same graph; None for a w that root does not depend on."""
    return pullback({root: seed}, wanted)


def pullback(
    seeds: Mapping[Node, Node], wanted: Sequence[Node], stop: Collection[Node] = (), sketch: bool = False
) -> tuple[Node | None, ...]:
    """The sum of d root / d w times its seed, for each w, as nodes of the same graph; None where no root depends on w.

    Nothing flows through nodes in `stop`. A `sketch` calls no code of the user: it reads what the gradients will read.
    """
    order = sources_first(seeds, stop)
    leads: set[Item] = set(wanted)  # what lies on a path from some w to a root
    for item in order:
        if item not in leads and item not in stop and any(s in leads for s in sources(item)):
            leads.add(item)
    grads, asked = dict(seeds), set(wanted)
    arrived: dict[Call, dict[int, Node]] = {}
    for item in reversed(order):
        if isinstance(item, Call):
            parts = _of_call(item, arrived.pop(item, None), sketch) if item in leads else ()
        else:
            parts = _of_node(item, grads, leads, stop, arrived, sketch)
            if item not in asked:
                grads.pop(item, None)  # complete and passed on: nothing may hold it, for it may have a value
        if config.anomaly:
            _note(item, parts)
        for s, part in zip(sources(item), parts):
            if part is not None and s in leads:
                assert isinstance(s, Node)
                grads[s] = grads[s] + part if s in grads else part
    return tuple(grads.get(w) for w in wanted)


def _note(item: Item, parts: Sequence[Node | None]) -> None:
    """Gradients remember the line of what they are the gradient of."""
    for part in parts:
        if isinstance(item, Node) and part is not None and part not in origins and item in origins:
            origins[part], gradient_of[part] = origins[item], item.op.name


def _of_node(
    node: Node,
    grads: dict[Node, Node],
    leads: Collection[Item],
    stop: Collection[Node],
    arrived: dict[Call, dict[int, Node]],
    sketch: bool,
) -> Sequence[Node | None]:
    """What flows from a node whose gradient is complete to each of its sources."""
    g = grads.get(node)
    if g is None or node not in leads:
        return ()
    if node.held is not None and not sketch:
        for hook in (*node.held.hooks.values(), *node.held.last.values()):
            g = hook(g) or g
        grads[node] = g
    if node in stop or not any(s in leads for s in sources(node)):
        return ()
    if node.held is not None and node.held.call is not None:
        arrived.setdefault(node.held.call, {})[node.held.number] = g
        return ()
    if node.op.grad is None:
        if sketch:
            return ()
        raise GradError(f"{node.op.name} has no gradient rule; detach() its operands if none should flow")
    if node.op.grad is by_decomposition:
        assert node.op.decompose is not None
        return pullback({node.op.decompose(node): g}, node.src, frozenset(node.src), sketch=True)  # no hook is there
    return node.op.grad(g, node, *node.src)


def _of_call(call: Call, given: dict[int, Node] | None, sketch: bool) -> Sequence[Node | None]:
    if not given:
        return ()
    return call.sketch(given) if sketch else call.gradients(given)


def sources(item: Item) -> Sequence[Item]:
    """Where gradients flow from here: through a call to its inputs, through other nodes to their sources."""
    if isinstance(item, Call):
        return item.inputs
    if item.held is not None and item.held.call is not None:
        return (item.held.call,)
    return item.src


def sources_first(roots: Collection[Node], stop: Collection[Node] = ()) -> list[Item]:
    """Everything that gradients of the roots may meet, sources before users. Iterative: graphs are deep."""
    order: dict[Item, None] = {}
    entered: set[Item] = set()
    stack: list[Item] = list(roots)
    stack.reverse()
    while stack:
        item = stack[-1]
        if item in order:
            stack.pop()
        elif item in entered or item in stop:
            order[item] = None
            stack.pop()
        else:
            entered.add(item)
            stack.extend([s for s in reversed(sources(item)) if s not in order])
    return list(order)


def ones(root: Node) -> Node:
    """The seed of an ordinary backward pass: d root / d root."""
    return like(root, 1)
