"""Node: the one immutable value of the graph, interned so that equal means identical.

A Node is checked when it is made (its operator's shape and dtype rules run), so an ill-typed graph cannot exist. Two
nodes with the same operator, sources and attributes are the same object: common subexpressions need no pass and `is` is
equality. A Node knows no buffer, no device and no gradient.
"""

import itertools
import math
from typing import TYPE_CHECKING, Any, Union
from weakref import ref

import numpy as np

from flame.errors import FlameError
from flame.ir import dtype as dt
from flame.ir.dtype import DType
from flame.ir.op import OPS, Op
from flame.ir.rules import broadcast_shapes

if TYPE_CHECKING:
    from flame.ir.held import Held

Shape = tuple[int, ...]
Attrs = tuple[tuple[str, Any], ...]
Index = tuple["Node", ...]  # one scalar for each axis
Operand = Union["Node", float, int, bool]
_numbers = itertools.count()


class _Interned(ref["Node"]):
    """A weak reference that knows its key: half the price of a WeakValueDictionary's, and every node pays it."""

    __slots__ = ("key",)
    key: tuple[Any, ...]


_interned: dict[tuple[Any, ...], _Interned] = {}


class Node:
    """One value: `op` applied to `src` with `attrs`; `shape` and `dtype` follow from the operator's rules."""

    __slots__ = ("__weakref__", "attrs", "dtype", "held", "op", "origin", "shape", "src")
    op: Op
    src: tuple["Node", ...]
    attrs: Attrs
    shape: Shape
    dtype: DType
    held: "Held | None"  # hooks and calls, which only differentiation reads; no part of what the node is
    origin: str | None  # where it was made, see ir/origins.py; no part of it either

    def __init__(self, op: Op, src: tuple["Node", ...], attrs: Attrs, shape: Shape, dtype: DType) -> None:
        _set_op(self, op)
        _set_src(self, src)
        _set_attrs(self, attrs)
        _set_shape(self, shape)
        _set_dtype(self, dtype)
        _set_held(self, None)
        _set_origin(self, None)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Node is immutable; make another with apply() instead of setting {name!r}")

    def __getitem__(self, name: str) -> Any:
        """An attribute by name: `node["axes"]`."""
        for key, value in self.attrs:
            if key == name:
                return value
        raise KeyError(f"{self.op.name} has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"{self.op.name}:{self.dtype.name}{list(self.shape)}"

    # Arithmetic on nodes broadcasts and promotes, so that rules read like mathematics.
    def __add__(self, other: Operand) -> "Node":
        return binary("add", self, other)

    def __sub__(self, other: Operand) -> "Node":
        return binary("sub", self, other)

    def __mul__(self, other: Operand) -> "Node":
        return binary("mul", self, other)

    def __truediv__(self, other: Operand) -> "Node":
        return binary("div", self, other)

    def __floordiv__(self, other: Operand) -> "Node":
        return binary("floor_divide", self, other)

    def __mod__(self, other: Operand) -> "Node":
        return binary("remainder", self, other)

    def __gt__(self, other: Operand) -> "Node":
        return binary("gt", self, other)

    def __lt__(self, other: Operand) -> "Node":
        return binary("lt", self, other)

    def __ge__(self, other: Operand) -> "Node":
        return binary("ge", self, other)

    def __and__(self, other: "Node") -> "Node":
        return binary("logical_and", self, other)

    def __neg__(self) -> "Node":
        return apply("neg", self)


# The slots' own setters pass by __setattr__: a node is written once, here.
_set_op = Node.__dict__["op"].__set__
_set_src = Node.__dict__["src"].__set__
_set_attrs = Node.__dict__["attrs"].__set__
_set_shape = Node.__dict__["shape"].__set__
_set_dtype = Node.__dict__["dtype"].__set__
_set_held = Node.__dict__["held"].__set__
_set_origin = Node.__dict__["origin"].__set__


def apply(name: str | Op, /, *src: Node, **attrs: Any) -> Node:
    """The only way to make a Node: check it, then return the interned one."""
    op: Op = OPS[name] if name.__class__ is str else name  # pyright: ignore[reportArgumentType, reportAssignmentType]
    items = tuple(attrs.items()) if len(attrs) < 2 else tuple(sorted(attrs.items()))
    key = (op, items, *map(id, src))  # a node keeps its sources: while it lives, so do their numbers
    entry = _interned.get(key)
    if entry is not None:
        found = entry()
        if found is not None:
            return found
    try:
        shape = op.shape(*[s.shape for s in src], **attrs)
        dtype = op.dtype(*[s.dtype for s in src], **attrs)
    except FlameError as error:
        error.args = (f"{name}: {error}",)
        raise
    node = Node(op, src, items, shape, dtype)
    entry = _interned[key] = _Interned(node, _forget)
    entry.key = key
    return node


def _forget(entry: _Interned) -> None:
    """A node is gone."""
    if _interned.get(entry.key) is entry:
        del _interned[entry.key]


def hold(node: Node, held: "Held") -> Node:
    """The node itself, which keeps `held` alive from now on: the one thing that may be told to a node afterwards."""
    _set_held(node, held)
    return node


def trace(node: Node, origin: str) -> None:
    """Tell a node where it was made."""
    _set_origin(node, origin)


def memory(node: Node) -> Node:
    """The value in whose memory a node lies."""
    while node.op.alias:
        node = node.src[0]
    return node


def fresh() -> int:
    """A number that no other node carries."""
    return next(_numbers)


def alive() -> int:
    """How many nodes exist."""
    return len(_interned)


def const(value: object, dtype: DType | None = None) -> Node:
    """One number, of shape (). Its text is part of its identity: 0.0 is not -0.0, and nan is nan."""
    dtype = dtype or dt.of_scalar(value)
    if dtype.stored:
        value = dt.converted(np.asarray(value), dtype.numpy)
    number: Any = dtype.numpy.type(value).item()
    if number != number:
        number = math.nan
    return apply("const", value=number, text=repr(number), as_=dtype)


def leaf(uid: int, shape: Shape, dtype: DType, host: bool = False) -> Node:
    """A buffer from outside; a `host` leaf is one number that kernels receive by value."""
    return apply("leaf", uid=uid, of=shape, as_=dtype, host=host)


def fresh_leaf(shape: Shape, dtype: DType, host: bool = False) -> Node:
    """A leaf that is no other: nobody can ask for it again, so it need not be interned."""
    uid = next(_numbers)
    return Node(OPS["leaf"], (), (("as_", dtype), ("host", host), ("of", shape), ("uid", uid)), shape, dtype)


def var(name: str, dtype: DType = dt.int64, extent: int | None = None) -> Node:
    """A loop variable, an accumulator or a named value of a kernel; a loop variable is known to be below `extent`."""
    return apply("var", name=name, extent=extent, as_=dtype)


def like(node: Node, value: float) -> Node:
    """`value` in the shape and dtype of `node`."""
    return expand(const(value, node.dtype), node.shape)


def expand(node: Node, shape: Shape) -> Node:
    return node if node.shape == shape else apply("expand", node, to=shape)


def reshape(node: Node, shape: Shape) -> Node:
    return node if node.shape == shape else apply("reshape", node, to=shape)


def cast(node: Node, dtype: DType) -> Node:
    return node if node.dtype is dtype else apply("cast", node, to=dtype)


def binary(name: str, a: Node, b: Operand) -> Node:
    """An elementwise operator of two operands that broadcast; a number takes the dtype of `a` unless it is wider."""
    if not isinstance(b, Node):
        b = const(b, dt.result_type([(a.dtype, 1)], [b]))
    dtype = dt.promote(a.dtype, b.dtype)
    shape = a.shape if a.shape == b.shape else broadcast_shapes(a.shape, b.shape)
    return apply(name, cast(expand(a, shape), dtype), cast(expand(b, shape), dtype))


def where(condition: Node, a: Node, b: Node) -> Node:
    return apply("where", condition, a, b)
