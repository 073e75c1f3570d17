"""Elementwise functions: those of the operator table, and what is made of a few of them."""

import re
from collections.abc import Callable
from typing import Any

from flame.errors import DTypeError
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir import rules
from flame.ir.dtype import DType
from flame.ir.node import Node, apply
from flame.ir.op import OPS, Kind, Op
from flame.ops.method import meet, method, operands
from flame.tensor import Tensor, new

ON_BOOL = {"add": "logical_or", "mul": "logical_and"}  # what PyTorch computes with truth values
TABLE: dict[str, Callable[..., Tensor]] = {}  # the functions made from the operator table


def apply_op(op: Op, *given: Any) -> Tensor:
    """An elementwise operator of the table on tensors and numbers: promoted, broadcast, computed when read."""
    nodes, device, dtype, tensors = operands(op.name, *given)
    if op.dtype is rules.floating and not dtype.is_float:
        dtype = dt.float32
    if op.dtype is rules.logical:
        nodes = [truth(n) for n in nodes]
        dtype = dt.boolean
    elif dtype is dt.boolean and op.name in ON_BOOL:
        op = OPS[ON_BOOL[op.name]]
    return new(apply(op, *meet(nodes, dtype)), device, *tensors)


def truth(n: Node) -> Node:
    return n if n.dtype is dt.boolean else apply("ne", n, nd.like(n, 0))


def arity(op: Op) -> int:
    assert op.scalar is not None
    return 1 + max(int(i) for i in re.findall(r"\{(\d)\}", op.scalar))


def _function(op: Op) -> Callable[..., Tensor]:
    """The public function of an operator of one or two operands."""
    if arity(op) == 1:

        def function(input: Tensor) -> Tensor:
            return apply_op(op, input)
    else:

        def function(input: Any, other: Any) -> Tensor:
            return apply_op(op, input, other)

    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = f"{op.doc} Elementwise, of broadcast shape, differentiable where the function is."
    return function


for _op in OPS.values():
    if _op.kind is Kind.ELEMENTWISE and _op.public:
        TABLE[_op.name] = method(_function(_op))


# --- made of others ---------------------------------------------------------------------------------------------------
def where(condition: Tensor, input: Any, other: Any) -> Tensor:
    """`input` where the condition is true, else `other`; all three broadcast. A condition that is no bool raises."""
    if condition.dtype is not dt.boolean:
        raise DTypeError(f"where: the condition must be bool, got {condition.dtype}; compare first, e.g. x > 0")
    if not isinstance(input, Tensor) and not isinstance(other, Tensor):
        kind = dt.result_type([], [input, other])
        input = new(nd.const(input, kind), condition.device)
    nodes, device, dtype, tensors = operands("where", input, other)
    a, b = (nd.cast(n, dtype) for n in nodes)
    return new(apply("where", *meet([condition.node, a, b], None)), device, condition, *tensors)


@method
def masked_fill(input: Tensor, mask: Tensor, value: float) -> Tensor:
    """`value` where the mask is true, else the input."""
    filled = where(mask, value, input)
    return filled if filled.dtype is input.dtype else to_dtype(filled, input.dtype)


@method
def square(input: Tensor) -> Tensor:
    """x * x."""
    return input * input


@method
def reciprocal(input: Tensor) -> Tensor:
    """1 / x."""
    return 1.0 / input


@method
def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Values below `min` become min, those above `max` max; the gradient passes where nothing was changed."""
    out = input
    if min is not None:
        out = where(out < min, min, out)
    if max is not None:
        out = where(out > max, max, out)
    if min is None and max is None:
        raise DTypeError("clamp: needs min, max or both")
    return out if out.dtype is input.dtype or out.dtype.is_float else to_dtype(out, input.dtype)


@method
def sign(input: Tensor) -> Tensor:
    """1, 0 or -1."""
    return to_dtype(input > 0, input.dtype) - to_dtype(input < 0, input.dtype)


@method
def isfinite(input: Tensor) -> Tensor:
    """True where the value is neither infinite nor nan."""
    return (input - input).eq(0)


@method
def isinf(input: Tensor) -> Tensor:
    """True where the value is infinite."""
    return input.abs().eq(float("inf"))


def to_dtype(input: Tensor, dtype: DType) -> Tensor:
    """The same values in another dtype."""
    if input.dtype is dtype:
        return input
    return new(nd.cast(input.node, dtype), input.device, input)


def _cast(name: str, dtype: DType) -> None:
    def cast(self: Tensor) -> Tensor:
        return to_dtype(self, dtype)

    cast.__name__, cast.__doc__ = name, f"The same values as {dtype}."
    method(cast)


for _name, _dtype in (
    ("float", dt.float32), ("double", dt.float64), ("half", dt.float16), ("bfloat16", dt.bfloat16), ("bool", dt.boolean),
    ("long", dt.int64), ("int", dt.int32), ("short", dt.int16), ("char", dt.int8), ("byte", dt.uint8),
):  # fmt: skip
    _cast(_name, _dtype)


# --- Python's operators -----------------------------------------------------------------------------------------------
def _operator(name: str, op: str, reverse: str = "") -> None:
    entry = OPS[op]

    def forward(self: Tensor, other: Any) -> Tensor:
        return apply_op(entry, self, other)

    def backward(self: Tensor, other: Any) -> Tensor:
        return apply_op(entry, other, self)

    setattr(Tensor, name, forward)
    if reverse:
        setattr(Tensor, reverse, backward)


for _name, _entry, _reverse in (
    ("__add__", "add", "__radd__"), ("__sub__", "sub", "__rsub__"), ("__mul__", "mul", "__rmul__"),
    ("__truediv__", "div", "__rtruediv__"), ("__floordiv__", "floor_divide", "__rfloordiv__"),
    ("__mod__", "remainder", "__rmod__"), ("__pow__", "pow", "__rpow__"), ("__eq__", "eq", ""), ("__ne__", "ne", ""),
    ("__lt__", "lt", ""), ("__le__", "le", ""), ("__gt__", "gt", ""), ("__ge__", "ge", ""),
    ("__and__", "logical_and", "__rand__"), ("__or__", "logical_or", "__ror__"), ("__xor__", "logical_xor", "__rxor__"),
):  # fmt: skip
    _operator(_name, _entry, _reverse)


def _square_or_power(self: Tensor, other: Any) -> Tensor:
    """x ** 2 is x * x: a product instead of a logarithm and an exponential."""
    return self * self if isinstance(other, (int, float)) and other == 2 else apply_op(OPS["pow"], self, other)


Tensor.__pow__ = _square_or_power  # type: ignore[attr-defined]
Tensor.__neg__ = lambda self: apply_op(OPS["neg"], self)  # type: ignore[attr-defined]
Tensor.__abs__ = lambda self: apply_op(OPS["abs"], self)  # type: ignore[attr-defined]
Tensor.__invert__ = lambda self: apply_op(OPS["logical_not"], self)  # type: ignore[attr-defined]
