"""The meaning of a graph: run it with numpy, one operator at a time. Slow, obvious, the oracle."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from flame.ir.graph import toposort
from flame.ir.node import Node


def interpret(roots: tuple[Node, ...], leaves: Mapping[Node, Any]) -> tuple[Any, ...]:
    """The value of each root, given those of the leaves; any other node may be given too."""
    value: dict[Node, Any] = dict(leaves)
    with np.errstate(all="ignore"):
        for node in toposort(roots, leaves):
            if node not in value:
                value[node] = perform(node, [value[s] for s in node.src])
    return tuple(value[r] for r in roots)


def perform(node: Node, sources: list[Any]) -> Any:
    """One node with numpy; its shape and dtype are checked."""
    assert node.op.numpy is not None, f"{node.op.name} has no meaning in numpy"
    found = np.asarray(node.op.numpy(*sources, **dict(node.attrs)))
    assert found.shape == node.shape, (node, found.shape)
    return found.astype(node.dtype.numpy, copy=False)
