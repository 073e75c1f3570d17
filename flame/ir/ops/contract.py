# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# The entries of a table are lambdas, which cannot say their types.
"""Contractions, which a library may do, and the calls that passes make of them."""

from typing import Any

import numpy as np

from flame.ir import dtype as dt
from flame.ir import rules
from flame.ir.node import Node, apply, cast, expand, reshape
from flame.ir.op import Kind, define


def transpose(a: Node) -> Node:
    """The last two axes swapped."""
    n = len(a.shape)
    return apply("permute", a, order=(*range(n - 2), n - 1, n - 2))


def matmul_by_sum(node: Node) -> Node:
    a, b = node.src
    *lead, m, k = a.shape
    n = b.shape[-1]
    wide = dt.float32 if node.dtype.size == 2 else node.dtype
    left = expand(reshape(cast(a, wide), (*lead, m, 1, k)), (*lead, m, n, k))
    right = expand(reshape(cast(transpose(b), wide), (*lead, 1, n, k)), (*lead, m, n, k))
    return cast(apply("sum", left * right, axes=(len(lead) + 2,)), node.dtype)


def matmul_numpy(a: Any, b: Any) -> Any:
    if a.dtype.itemsize == 2 and a.dtype.kind not in "iu":
        return np.matmul(a.astype(np.float32), b.astype(np.float32)).astype(a.dtype)
    return np.matmul(a, b)


def matmul_batch(n: int, y: Node, a: Node, b: Node) -> Node:
    """One matrix on the right that serves every example serves all their rows in a single product."""
    if len(y.shape) > 2 or b.op.name != "expand" or b.src[0].shape != b.shape[1:]:
        return apply("matmul", a, b)
    rows = reshape(a, (n * a.shape[1], a.shape[2]))
    return reshape(apply("matmul", rows, b.src[0]), (n, *y.shape))


define(
    "matmul",
    Kind.CONTRACT,
    shape=rules.matmul,
    dtype=rules.numeric,
    numpy=matmul_numpy,
    grad=lambda g, y, a, b: (apply("matmul", g, transpose(b)), apply("matmul", transpose(a), g)),
    decompose=matmul_by_sum,
    batch=matmul_batch,
    public=False,
    doc="Matrix product over the last two axes; half precisions are summed in float32.",
)


def results(call: Node) -> tuple[Node, ...]:
    """Every result of the call that this node is one result of; a call of one result says nothing of parts."""
    attrs = dict(call.attrs)
    if "part" not in attrs:
        return (call,)
    kinds = attrs["spec"].results
    return tuple(
        apply("call", *call.src, **attrs | {"of": of, "as_": as_, "part": i}) for i, (of, as_) in enumerate(kinds)
    )


def call_numpy(*arrays: Any, routine: str, spec: Any, of: Any, as_: Any, part: int | None = None) -> Any:
    found = spec.numpy(*arrays)
    return found if part is None else found[part]


define(
    "call",
    Kind.CALL,
    shape=rules.given,
    dtype=rules.declared,
    numpy=call_numpy,
    public=False,
    doc="A library does this: `routine` names it, `spec` is what it must know, `part` which of several results.",
)
