"""Elementwise functions: those of the operator table, and what is made of a few of them."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from flame.errors import DTypeError
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir import rules
from flame.ir.dtype import DType
from flame.ir.node import Node, apply
from flame.ir.op import OPS, Kind, Op
from flame.ops.method import NUMBERS, constant, meet, method, operands
from flame.tensor import Tensor, new

__all__ = ["clamp", "isfinite", "isinf", "masked_fill", "reciprocal", "sign", "square", "where"]

ON_BOOL = {"add": "logical_or", "mul": "logical_and"}  # what PyTorch computes with truth values
TABLE: dict[str, Callable[..., Tensor]] = {}  # the functions made from the operator table


def apply_op(op: Op, *given: Any) -> Tensor:
    """An elementwise operator of the table on tensors and numbers: promoted, broadcast, computed when read."""
    nodes, device, dtype, tensors = operands(op.name, *given)
    if op.dtype is rules.logical:
        nodes, dtype = [truth(n) for n in nodes], dt.boolean
    elif op.dtype is rules.floating and not dtype.is_float:
        dtype = dt.float32
    elif dtype is dt.boolean and op.name in ON_BOOL:
        op = OPS[ON_BOOL[op.name]]
    return new(apply(op, *meet(nodes, dtype)), device, *tensors)


def truth(n: Node) -> Node:
    return n if n.dtype is dt.boolean else apply("ne", n, nd.like(n, 0))


def arity(op: Op) -> int:
    assert op.scalar is not None
    return 1 + max(int(i) for i in re.findall(r"\{(\d)\}", op.scalar))


def _ready(input: Tensor, other: Any) -> Node | None:
    """The operand that meets `input` without promotion or broadcast: the usual case, and the fast one."""
    n = input.node
    if n.dtype.category != dt.FLOAT:
        return None
    if isinstance(other, Tensor):
        m = other.node
        return m if m.dtype is n.dtype and m.shape == n.shape and other.device is input.device else None
    return nd.expand(constant(other, n.dtype), n.shape) if other.__class__ is float else None


def _function(op: Op) -> Callable[..., Tensor]:
    """The public function of an operator of one or two operands."""
    logical = op.dtype is rules.logical

    def one(input: Tensor) -> Tensor:
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


def _on_integers(name: str, instead: Callable[..., Tensor]) -> None:
    """A function of the table that means something else where all operands are integers."""
    floating = TABLE[name]

    def function(input: Any, *other: Any) -> Tensor:
        return instead(input, *other) if _integers(input, *other) else floating(input, *other)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = floating.__doc__
    TABLE[name] = method(function)


def _integers(*given: Any) -> bool:
    return not any(g.dtype.is_float if isinstance(g, Tensor) else isinstance(g, (float, np.floating)) for g in given)


for _op in OPS.values():
    if _op.kind is Kind.ELEMENTWISE and _op.public:
        TABLE[_op.name] = method(_function(_op))


def _same(input: Tensor) -> Tensor:
    if input.dtype is dt.boolean:
        raise DTypeError("cannot round bool; cast it first, e.g. .int()")
    return new(input.node, input.device)


def _integer_power(input: Any, exponent: Any) -> Tensor:
    """Repeated squaring, exact modulo the width of the dtype; for exponents from 0 to 63 (0 for negative ones)."""
    nodes, device, dtype, _ = operands("pow", input, exponent)
    if dtype is dt.boolean:
        raise DTypeError("pow: needs numbers, got bool operands; cast one of them first, e.g. .int()")
    base, power = (to_dtype(new(n, device), dtype) for n in nodes)
    if not isinstance(exponent, Tensor):
        if exponent < 0:
            raise DTypeError(
                f"pow: integers have no power {exponent}; cast to float first, e.g. x.float() ** {exponent}"
            )
        return _power(base, int(exponent))
    out = (power >= 0).to(dtype)
    for bit in range(6):
        out = where((power // 2**bit % 2).ne(0), out * _power(base, 2**bit), out)
    return out


def _power(base: Tensor, exponent: int) -> Tensor:
    out: Tensor | None = None
    while exponent:
        if exponent % 2:
            out = base if out is None else out * base
        base, exponent = base * base, exponent // 2
    return new(nd.like(base.node, 1), base.device) if out is None else new(out.node, out.device)


for _name in ("floor", "ceil", "round", "trunc"):
    _on_integers(_name, _same)
_on_integers("pow", _integer_power)


# --- made of others ---------------------------------------------------------------------------------------------------
def where(condition: Tensor, input: Any, other: Any) -> Tensor:
    """`input` where the condition is true, else `other`; all three broadcast. A condition that is no bool raises."""
    if not isinstance(condition, Tensor):
        raise DTypeError(f"where: the condition must be a bool Tensor, got {condition!r}; choose in Python instead")
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
    return input**2


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
    if input.dtype is dt.boolean:
        return new(input.node, input.device)
    return to_dtype(input > 0, input.dtype) - to_dtype(input < 0, input.dtype)


@method
def isfinite(input: Tensor) -> Tensor:
    """True where the value is neither infinite nor nan."""
    return (input - input).eq(0) if input.dtype.is_float else new(nd.like(truth(input.node), True), input.device)


@method
def isinf(input: Tensor) -> Tensor:
    """True where the value is infinite."""
    return (
        input.abs().eq(float("inf")) if input.dtype.is_float else new(nd.like(truth(input.node), False), input.device)
    )


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


# --- Python's operators -----------------------------------------------------------------------------------------------
def _reversed(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda self, other: function(other, self)


def _comparing(function: Callable[..., Tensor]) -> Callable[..., Any]:
    """Beside what is no number (None, say), Python's own answer stands: identity."""

    def compare(self: Tensor, other: Any) -> Any:
        return function(self, other) if isinstance(other, (Tensor, np.ndarray, *NUMBERS)) else NotImplemented

    return compare


def _bitwise(sign: str, name: str) -> Callable[..., Tensor]:
    logical = TABLE[name]

    def function(self: Tensor, other: Any) -> Tensor:
        for x in (self, other):
            if not isinstance(x, (bool, np.bool_)) and getattr(x, "dtype", None) not in (dt.boolean, np.bool_):
                raise DTypeError(
                    f"{sign}: needs bool operands, got {getattr(x, 'dtype', x)}; compare first, or use {name}()"
                )
        return logical(self, other)

    return function


def _power_operator(self: Tensor, other: Any) -> Tensor:
    """A product or a square root is cheaper than a logarithm and an exponential, and exact."""
    if isinstance(other, (int, float)) and self.dtype.is_float:
        if other == 2:
            return self * self
        if other == 0.5:
            return TABLE["sqrt"](self)
    return TABLE["pow"](self, other)


def _invert(self: Tensor) -> Tensor:
    return TABLE["logical_not"](self) if self.dtype is dt.boolean else -self - 1


_ARITHMETIC = {
    "add": TABLE["add"], "sub": TABLE["sub"], "mul": TABLE["mul"], "truediv": TABLE["div"], "pow": _power_operator,
    "floordiv": TABLE["floor_divide"], "mod": TABLE["remainder"], "and": _bitwise("&", "logical_and"),
    "or": _bitwise("|", "logical_or"), "xor": _bitwise("^", "logical_xor"),
}  # fmt: skip
for _name, _run in _ARITHMETIC.items():
    setattr(Tensor, f"__{_name}__", _run)
    setattr(Tensor, f"__r{_name}__", _reversed(TABLE["pow"] if _name == "pow" else _run))
for _name in ("lt", "le", "gt", "ge"):
    setattr(Tensor, f"__{_name}__", TABLE[_name])
for _name in ("eq", "ne"):
    setattr(Tensor, f"__{_name}__", _comparing(TABLE[_name]))
for _name, _run in {"neg": TABLE["neg"], "abs": TABLE["abs"], "invert": _invert}.items():
    setattr(Tensor, f"__{_name}__", _run)
