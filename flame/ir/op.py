"""The form every operator fills in, and the kinds of operator.

Passes and printers look at an operator's *kind*, never at its name: that is why a new operator needs no edit outside
`ops.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flame.ir.node import Node

Rule = Callable[..., Any]
Grads = tuple["Node | None", ...]  # what a gradient rule returns: one for each source


class Kind(Enum):
    """What an operator does to elements: all that passes and printers ask."""

    LEAF = auto()  # has no source: a buffer, a constant, a loop variable, the position itself
    ELEMENTWISE = auto()  # out[i] = f(a[i], b[i], ...)
    MOVEMENT = auto()  # out[i] = a[index(i)]
    REDUCE = auto()  # out[i] = fold of a[i, r] over r
    SEGMENT = auto()  # out[i] = fold of a[r] over r from b[i] to e[i]: where folds begin and end are values
    SCAN = auto()  # out[i, k] = fold of a[i, r] over r <= k
    GATHER = auto()  # out[i] = a[index(i, b[i])]: where to read is itself a value
    CONTRACT = auto()  # a product, a scatter or a sort: a library may do it, else `decompose`
    HOST = auto()  # LAPACK in the host's memory: passes/library.py makes a call of it
    CALL = auto()  # a library call chosen by passes/library.py


@dataclass(frozen=True, slots=True, eq=False)
class Op:
    """Everything FLAME knows about one operator."""

    name: str
    kind: Kind
    shape: Rule  # (*src_shapes, **attrs) -> shape
    dtype: Rule  # (*src_dtypes, **attrs) -> DType
    doc: str = ""
    numpy: Rule | None = None  # (*arrays, **attrs) -> array: the meaning, used as oracle
    grad: Rule | None = None  # (g, y, *src) -> one Node or None for each src; or `by_decomposition`
    scalar: str | None = None  # ELEMENTWISE: one element as a Python expression
    index: Rule | None = None  # MOVEMENT: (at, shape, **attrs) -> (index in the source, condition or None); GATHER too
    element: Rule | None = None  # LEAF: (at, **attrs) -> the scalar Node at this position
    combine: str | None = (
        None  # REDUCE, SEGMENT, a scatter, SCAN if its step is one: the elementwise operator that folds
    )
    step: Rule | None = None  # SCAN: (what there is so far, *elements) -> what there is next, as scalar Nodes
    local: Rule | None = None  # SCAN: (*src, **attrs) -> what `step` takes of a part; without it, the part's own scan
    identity: Rule | None = None  # of `combine`: its neutral value; SCAN: what there is before the first element
    decompose: Rule | None = None  # CONTRACT: node -> the same value in simpler operators
    batch: Rule | None = None  # (n, node, *src with an axis of n in front) -> Node; None: as its kind says
    alias: bool = False  # MOVEMENT: the memory is the first source's; the others must be known before
    costly: bool = False  # ELEMENTWISE: computing it again takes longer than reading it from a core's own cache
    transparent: bool = False  # ELEMENTWISE: the value is its source's; only differentiation sees the operator
    public: bool = True  # ELEMENTWISE: a function of flame and a method of Tensor
    examples: tuple[dict[str, Any], ...] = field(default=())  # attributes under which the tests try it
    domain: tuple[float, float] = (-2, 2)  # of operands between which the tests differentiate it

    def __repr__(self) -> str:
        return self.name


OPS: dict[str, Op] = {}


def by_decomposition(g: "Node", y: "Node", *src: "Node") -> Grads:
    """The gradient rule of what is differentiated as the operators it is made of: `passes/grad.py` does it."""
    raise NotImplementedError(f"{y!r} is differentiated by passes/grad.py")


def define(name: str, kind: Kind, **rules: Any) -> Op:
    """Enter an operator into the table."""
    if name in OPS:
        raise ValueError(f"operator {name!r} is defined twice")
    OPS[name] = Op(name, kind, **rules)
    return OPS[name]
