"""The same computation once more, of other values: what checkpoints differentiate instead of keeping."""

from collections.abc import Callable, Mapping, Sequence

from flame.ir.held import Call, Held
from flame.ir.node import Node, apply, fresh, hold


def remade(
    roots: Sequence[Node], known: Mapping[Node, Node], finish: Callable[[Node, Node], Node] = lambda old, new: new
) -> tuple[Node, ...]:
    """`roots` with every known node replaced; hooks and calls on the way are those of the new nodes too.

    `finish(old, new)` is what stands for a node that was made anew.
    """
    new = dict(known)
    calls: dict[Call, Call] = {}
    for node in _order(roots, known):
        if node not in new:
            new[node] = finish(node, _made(node, new, calls))
    return tuple(new[r] for r in roots)


def _made(node: Node, new: Mapping[Node, Node], calls: dict[Call, Call]) -> Node:
    if all(new[s] is s for s in _reads(node)):
        return node
    attrs = dict(node.attrs)
    held = node.held
    if held is None:
        return apply(node.op, *(new[s] for s in node.src), **attrs)
    call = held.call
    if call is not None:
        if call not in calls:
            calls[call] = call.moved(new.__getitem__)
        call, attrs["uid"] = calls[call], fresh()
    made = apply(node.op, *(new[s] for s in node.src), **attrs)
    copy = Held(call, held.number)
    copy.hooks, copy.last = dict(held.hooks), dict(held.last)
    return hold(made, copy)


def _reads(node: Node) -> tuple[Node, ...]:
    """What a node is made of, and what its call reads."""
    call = None if node.held is None else node.held.call
    return node.src if call is None else (*node.src, *call.inputs, *call.reads(), *call.inside())


def _order(roots: Sequence[Node], stop: Mapping[Node, Node]) -> list[Node]:
    """Every node once, what it reads before it. Iterative: graphs are deep."""
    order: dict[Node, None] = {}
    entered: set[Node] = set()
    stack = list(reversed(roots))
    while stack:
        node = stack[-1]
        if node in order:
            stack.pop()
        elif node in entered or node in stop:
            order[node] = None
            stack.pop()
        else:
            entered.add(node)
            stack.extend([s for s in reversed(_reads(node)) if s not in order])
    return list(order)
