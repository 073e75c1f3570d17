# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# The entries of a table are lambdas, which cannot say their types.
"""Leaves: what a graph or a kernel begins with."""

import numpy as np

from flame.ir import rules
from flame.ir.node import const
from flame.ir.op import Kind, define

define("leaf", Kind.LEAF, shape=rules.given, dtype=rules.declared, doc="A buffer from outside the graph.")
define("var", Kind.LEAF, shape=rules.scalar, dtype=rules.declared, doc="A loop variable or accumulator of a kernel.")
define("load", Kind.LEAF, shape=rules.scalar, dtype=rules.declared, doc="One element of a kernel parameter.")
define(
    "const",
    Kind.LEAF,
    shape=rules.scalar,
    dtype=rules.declared,
    numpy=lambda value, text, as_: np.asarray(value, as_.numpy),
    element=lambda at, value, text, as_: const(value, as_),
    doc="One number.",
)
define(
    "iota",
    Kind.LEAF,
    shape=lambda n: (n,),
    dtype=rules.integers,
    numpy=lambda n: np.arange(n),
    element=lambda at, n: at[0],
    examples=({"n": 5},),
    doc="0, 1, 2, ... n - 1.",
)
