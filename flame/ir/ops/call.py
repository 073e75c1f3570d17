# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# The entries of a table are lambdas, which cannot say their types.
"""Where a user's own code enters a graph: results of his calls, values recomputed late, examples of a batch."""

from flame.ir import rules
from flame.ir.node import Node, apply
from flame.ir.op import Kind, define
from flame.ir.ops.elementwise import elementwise


def result_batch(n: int, y: Node, a: Node) -> Node:
    """A checkpoint of examples is no checkpoint; a user's call has no gradient for a batch, and says so when asked."""
    call = None if y.held is None else y.held.call
    return a if call is not None and not call.opaque else apply(y.op, a, **dict(y.attrs))


elementwise(
    "result",
    "{0}",
    lambda a, uid: a,
    None,
    dtype=rules.held,
    transparent=True,
    public=False,
    examples=({"uid": 0},),
    batch=result_batch,
    doc="A result of a call that says its own gradient (`Node.held`): differentiation does not look inside.",
)
define(
    "after",
    Kind.MOVEMENT,
    shape=lambda a, *others, uid: a,
    dtype=lambda a, *others, uid: a,
    numpy=lambda a, *others, uid: a,
    index=lambda at, shape, uid: (at, None),
    grad=lambda g, y, a, *others: (g, *(None for _ in others)),
    batch=lambda n, y, a, *others: a,
    alias=True,
    examples=({"uid": 0},),
    public=False,
    doc="The same value, not before the others are known: what is made of it is computed again, and late.",
)
define(
    "example",
    Kind.LEAF,
    shape=rules.given,
    dtype=rules.declared,
    doc="One example of a batch while `vmap` traces a function: it has no value of its own.",
)
