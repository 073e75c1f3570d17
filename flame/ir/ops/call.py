# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# The entries of a table are lambdas, which cannot say their types.
"""Where a user's own code enters a graph: results of his calls, what must come after something, examples of a batch."""

from flame.ir import rules
from flame.ir.op import Kind, define
from flame.ir.ops.elementwise import elementwise

elementwise(
    "result",
    "{0}",
    lambda a, uid: a,
    None,
    dtype=rules.held,
    transparent=True,
    public=False,
    examples=({"uid": 0},),
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
    doc="The same value, not before the others are known.",
)
define(
    "example",
    Kind.LEAF,
    shape=rules.given,
    dtype=rules.declared,
    doc="One example of a batch while `vmap` traces a function: it has no value of its own.",
)
