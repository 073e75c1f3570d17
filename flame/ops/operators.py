"""Python's operators on tensors: the functions of the same meaning, with a number or an array on either side."""

from collections.abc import Callable
from typing import Any

import numpy as np

from flame.ops import math  # noqa: F401  its functions are in the table
from flame.ops.elementwise import TABLE
from flame.ops.method import NUMBERS
from flame.tensor import Tensor

__all__: list[str] = []


def _reversed(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, other: function(other, self)


def _comparing(function: Callable[..., Tensor]) -> Callable[..., Any]:
    """Beside what is no number (None, say), Python's own answer stands: identity."""

    def compare(self: Tensor, other: Any) -> Any:
        return function(self, other) if isinstance(other, (Tensor, np.ndarray, *NUMBERS)) else NotImplemented

    return compare


def _divmod(self: Any, other: Any) -> tuple[Tensor, Tensor]:
    """(self // other, self % other)."""
    return TABLE["floor_divide"](self, other), TABLE["remainder"](self, other)


_BINARY: dict[str, Callable[..., Any]] = {
    "add": TABLE["add"], "sub": TABLE["sub"], "mul": TABLE["mul"], "truediv": TABLE["div"], "pow": TABLE["pow"],
    "floordiv": TABLE["floor_divide"], "mod": TABLE["remainder"], "divmod": _divmod, "and": TABLE["bitwise_and"],
    "or": TABLE["bitwise_or"], "xor": TABLE["bitwise_xor"], "lshift": TABLE["bitwise_left_shift"],
    "rshift": TABLE["bitwise_right_shift"],
}  # fmt: skip
for _name, _run in _BINARY.items():
    setattr(Tensor, f"__{_name}__", _run)
    setattr(Tensor, f"__r{_name}__", _reversed(_run))
for _name in ("lt", "le", "gt", "ge"):
    setattr(Tensor, f"__{_name}__", TABLE[_name])
for _name in ("eq", "ne"):
    setattr(Tensor, f"__{_name}__", _comparing(TABLE[_name]))
for _name, _function in (("neg", "neg"), ("pos", "positive"), ("abs", "abs"), ("invert", "bitwise_not")):
    setattr(Tensor, f"__{_name}__", TABLE[_function])
