"""Orders before libraries: before and after."""

import numpy as np

from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir.graph import toposort
from flame.ir.node import Node, apply
from flame.ir.ops.sort import ordered
from flame.passes.orders import orders
from tests.support import oracle

X = nd.leaf(0, (4, 9), dt.float32)
ORDER = ordered(X, 1)
VALUES = apply("gather", X, ORDER, axis=1)


def cut(n: Node, start: tuple[int, int], stop: tuple[int, int]) -> Node:
    return apply("slice", n, start=start, stop=stop, step=(1, 1))


def names(roots: tuple[Node, ...]) -> list[str]:
    return [n.op.name for n in toposort(orders(roots)) if n.src]


def test_values_alone_are_sorted_alone():
    assert names((VALUES,)) == ["sorted"]
    assert names((VALUES, ORDER)) == ["argsort", "gather"]
    assert "sorted" not in names((VALUES, ORDER * 2))
    assert names((apply("gather", X * 2.0, ORDER, axis=1),))[-2:] == ["argsort", "gather"]


def test_what_few_ranks_are_read_is_asked_for():
    for n, op in ((ORDER, "argsort"), (VALUES, "sorted")):
        root = cut(cut(n, (0, 2), (4, 8)), (0, 1), (4, 3))
        (made,) = orders((root,))
        assert made.op.name == op and made["ranks"] == (3, 5)
        given = {X: np.random.default_rng(0).standard_normal(X.shape).astype(np.float32)}
        np.testing.assert_array_equal(oracle((made,), given)[0], oracle((root,), given)[0])
        assert names((cut(n, (1, 0), (4, 9)),))[-1] == "slice"
