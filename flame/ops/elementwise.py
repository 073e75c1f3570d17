"""Elementwise functions of the operator table, conversions between dtypes, and the choice between two values."""

import functools
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from flame.errors import DTypeError, ShapeError
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir import rules
from flame.ir.dtype import DType
from flame.ir.node import Node, Shape, apply
from flame.ir.op import OPS, Kind, Op
from flame.ops.method import Function, constant, element, meet, method, operands
from flame.tensor import Tensor, new, same_device

__all__ = ["masked_fill", "where"]

ON_BOOL = {  # what PyTorch computes with truth values
    "add": "logical_or",
    "mul": "logical_and",
    "bitwise_and": "logical_and",
    "bitwise_or": "logical_or",
    "bitwise_xor": "logical_xor",
    "bitwise_not": "logical_not",
}
BY_NUMBERS = frozenset({"add", "sub", "mul", "div"})  # a number beside a half precision is not rounded to it
FLOATING = (rules.floating, rules.float_truth)  # rules of operators that take integers as the default dtype
TABLE: dict[str, Callable[..., Tensor]] = {}  # the functions made from the operator table


def apply_op(op: Op, *given: Any) -> Tensor:
    """An elementwise operator of the table on tensors and numbers: promoted, broadcast, computed when read."""
    nodes, device, dtype, tensors = operands(op.name, *given)
    if op.dtype is rules.logical:
        nodes, dtype = [truth(n) for n in nodes], dt.boolean
    elif op.dtype in FLOATING and not dtype.is_float:
        dtype = dt.default()
    elif dtype is dt.boolean and op.name in ON_BOOL:
        op = OPS[ON_BOOL[op.name]]
    elif op.name in BY_NUMBERS and any(rounds(g, dtype) for g in given):
        wide = [constant(g, dt.float32) if not isinstance(g, Tensor) else n for g, n in zip(given, nodes, strict=True)]
        return new(nd.cast(apply(op, *meet(wide, dt.float32, op.name)), dtype), device, *tensors)
    return new(apply(op, *meet(nodes, dtype, op.name)), device, *tensors)


def rounds(number: Any, dtype: DType) -> bool:
    """True for a number that a half precision does not have: PyTorch computes with what the user wrote."""
    return dtype.is_float and dtype.size == 2 and not isinstance(number, Tensor) and _inexact(float(number), dtype)


@functools.lru_cache(1024)
def _inexact(number: float, dtype: DType) -> bool:
    with np.errstate(over="ignore"):
        return math.isfinite(number) and float(dtype.numpy.type(number)) != number


def truth(n: Node) -> Node:
    return n if n.dtype is dt.boolean else apply("ne", n, nd.like(n, 0))


def arity(op: Op) -> int:
    assert op.scalar is not None
    return 1 + max(int(i) for i in re.findall(r"\{(\d)\}", op.scalar))


def _ready(input: Tensor, other: Any) -> Node | None:
    """The operand that meets `input` in its dtype and its shape: the usual case, and the fast one."""
    n = input.node
    if n.dtype.category != dt.FLOAT:
        return None
    if isinstance(other, Tensor):
        m = other.node
        if m.dtype is not n.dtype or other.device is not input.device:
            return None
        return m if m.shape == n.shape else nd.expand(m, n.shape) if _repeats(m.shape, n.shape) else None
    usual = other.__class__ is float and not rounds(other, n.dtype)
    return nd.expand(constant(other, n.dtype), n.shape) if usual else None


def _repeats(small: Shape, large: Shape) -> bool:
    """True where a shape becomes the other by repeating axes of size 1."""
    return len(small) == len(large) and all(a in (b, 1) for a, b in zip(small, large, strict=True))


def _function(op: Op) -> Callable[..., Tensor]:
    """The public function of an operator of one or two operands."""
    logical = op.dtype is rules.logical

    def one(input: Tensor) -> Tensor:
        if not isinstance(input, Tensor):
            raise DTypeError(
                f"{op.name}: needs a Tensor, got {input!r} of type {type(input).__name__}; use flame.tensor()"
            )
        if logical or input.node.dtype.category != dt.FLOAT:
            return apply_op(op, input)
        return new(apply(op, input.node), input.device, input)

    def two(input: Any, other: Any) -> Tensor:
        met = _ready(input, other) if isinstance(input, Tensor) and not logical else None
        if met is None:
            return apply_op(op, input, other)
        if isinstance(other, Tensor):
            return new(apply(op, input.node, met), input.device, input, other)
        return new(apply(op, input.node, met), input.device, input)

    function = one if arity(op) == 1 else two
    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = f"{op.doc} Elementwise, of broadcast shape, differentiable where the function is."
    return function


def in_table(function: Function) -> Function:
    """The public form of an operator of the table, with PyTorch's further arguments or its names for others."""
    TABLE[function.__name__] = method(function)
    return function


def _on_integers(name: str, instead: Callable[..., Tensor]) -> None:
    """A function of the table that means something else where all operands are integers."""
    floating = TABLE[name]

    def function(input: Any, *other: Any) -> Tensor:
        return instead(input, *other) if integers(input, *other) else floating(input, *other)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = floating.__doc__
    TABLE[name] = method(function)


def integers(*given: Any) -> bool:
    """True where no operand is a floating tensor or number."""
    return not any(g.dtype.is_float if isinstance(g, Tensor) else isinstance(g, (float, np.floating)) for g in given)


for _op in OPS.values():
    if _op.kind is Kind.ELEMENTWISE and _op.public:
        TABLE[_op.name] = method(_function(_op))


def _same(input: Tensor) -> Tensor:
    if input.dtype is dt.boolean:
        raise DTypeError("cannot round bool; cast it first, e.g. .int()")
    return new(input.node, input.device)


for _name in ("floor", "ceil", "round", "trunc"):
    _on_integers(_name, _same)


# --- the choice between two values ------------------------------------------------------------------------------------
_NONE: Any = object()


def where(condition: Tensor, input: Any = _NONE, other: Any = _NONE) -> Any:
    """`input` where the condition is true, else `other`; all three broadcast, and the two may be numbers.

    With the condition alone, the indices of its true elements, one tensor for each dimension. A condition that is no
    bool raises DTypeError.
    """
    if not isinstance(condition, Tensor):
        raise DTypeError(f"where: the condition must be a bool Tensor, got {condition!r}; choose in Python instead")
    if input is _NONE and other is _NONE:
        return condition.nonzero(as_tuple=True)
    if condition.dtype is not dt.boolean:
        raise DTypeError(f"where: the condition must be bool, got {condition.dtype}; compare first, e.g. x > 0")
    if not isinstance(input, Tensor) and not isinstance(other, Tensor):
        kind = dt.result_type([], [input, other])
        input = new(nd.const(input, kind), condition.device)
    nodes, _, dtype, tensors = operands("where", input, other)
    device = same_device("where", condition, *tensors)
    a, b = (nd.cast(n, dtype) for n in nodes)
    return new(apply("where", *meet([condition.node, a, b], None, "where")), device, condition, *tensors)


def _where_method(self: Tensor, condition: Tensor, other: Any) -> Tensor:
    """This tensor where the condition is true, else `other`."""
    return where(condition, self, other)


_where_method.__name__ = "where"
method(_where_method)


@method
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`value`, a number or a 0-d tensor, where the mask is true, else the input; the result has the input's dtype."""
    if not isinstance(mask, Tensor) or mask.dtype is not dt.boolean:
        raise DTypeError(
            f"masked_fill: the mask must be a bool Tensor, got {getattr(mask, 'dtype', mask)}; compare first"
        )
    if isinstance(value, Tensor):
        if value.ndim:
            raise ShapeError(
                f"masked_fill: the value must be a number or a 0-d tensor, got shape {value.shape}; use where()"
            )
        return where(mask, to_dtype(value, input.dtype), input)
    return where(mask, element("masked_fill", value, input.dtype), input)


# --- conversions ------------------------------------------------------------------------------------------------------
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
    ("float", dt.float32), ("double", dt.float64), ("half", dt.float16), ("bfloat16", dt.bfloat16),
    ("bool", dt.boolean), ("long", dt.int64), ("int", dt.int32), ("short", dt.int16), ("char", dt.int8),
    ("byte", dt.uint8),
):  # fmt: skip
    _cast(_name, _dtype)
