"""In-place methods, and where a tensor lies: each rebinds its handle, and no other handle sees it."""

import functools
from collections.abc import Callable
from typing import Any

from flame.errors import DTypeError
from flame.ir.dtype import DType
from flame.ir.node import apply, fresh
from flame.ops import compare, diagonal, math, product, scan  # noqa: F401  what they install is changed in place here
from flame.ops.elementwise import to_dtype
from flame.ops.method import method
from flame.runtime import devices
from flame.runtime.device import Device
from flame.tensor import Tensor, from_array, new

__all__ = ["clone", "device"]


def in_place(name: str) -> None:
    """Install the in-place form of a method."""
    function: Callable[..., Tensor] = getattr(Tensor, name)

    @functools.wraps(function)
    def change(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self._become(function(self, *args, **kwargs), f"{name}_()", name in RESHAPING)

    change.__name__ = change.__qualname__ = f"{name}_"
    change.__doc__ = f"`{name}` in place: this handle takes the result; tensors made from it before keep their values."
    method(change)


ELEMENTWISE = (
    "abs", "absolute", "acos", "acosh", "add", "addcdiv", "addcmul", "arccos", "arccosh", "arcsin", "arcsinh",
    "arctan", "arctan2", "arctanh", "asin", "asinh", "atan", "atan2", "atanh", "bitwise_and", "bitwise_left_shift",
    "bitwise_not", "bitwise_or", "bitwise_right_shift", "bitwise_xor", "ceil", "clamp", "clamp_max", "clamp_min",
    "clip", "copysign", "cos", "cosh", "deg2rad", "digamma", "div", "divide", "eq", "erf", "erfc", "erfinv", "exp",
    "exp2", "expm1", "fix", "float_power", "floor", "floor_divide", "fmod", "frac", "gcd", "ge", "greater",
    "greater_equal", "gt", "heaviside", "hypot", "lcm", "ldexp", "le", "lerp", "less", "less_equal", "lgamma",
    "log", "log10", "log1p", "log2", "logical_and", "logical_not", "logical_or", "logical_xor", "logit", "lt",
    "masked_fill", "mul", "multiply", "nan_to_num", "ne", "neg", "negative", "nextafter", "not_equal", "pow",
    "rad2deg", "reciprocal", "relu", "remainder", "round", "rsqrt", "sgn", "sigmoid", "sign", "sin", "sinc", "sinh",
    "sqrt", "square", "sub", "subtract", "tan", "tanh", "true_divide", "trunc", "xlogy",
)  # fmt: skip
SIGNS = {
    "add": "iadd", "sub": "isub", "mul": "imul", "div": "itruediv", "floor_divide": "ifloordiv", "remainder": "imod",
    "pow": "ipow", "bitwise_and": "iand", "bitwise_or": "ior", "bitwise_xor": "ixor", "bitwise_left_shift": "ilshift",
    "bitwise_right_shift": "irshift",
}  # fmt: skip
RESHAPING = ("squeeze", "swapaxes", "swapdims", "t", "transpose", "unsqueeze")
MATRICES = ("addbmm", "addmm", "addmv", "addr", "baddbmm", "tril", "triu")
for _name in (*ELEMENTWISE, *RESHAPING, *MATRICES, "cumprod", "cumsum"):
    in_place(_name)
for _name, _sign in SIGNS.items():
    setattr(Tensor, f"__{_sign}__", getattr(Tensor, f"{_name}_"))


@method
def copy_(self: Tensor, source: Tensor) -> Tensor:
    """Take the values of `source`, broadcast and cast to this tensor."""
    wide = source.to(self.device) if source.device is not self.device else source
    return self._become(to_dtype(wide, self.dtype).expand(*self.shape), "copy_()")


@method
def clone(input: Tensor) -> Tensor:
    """The same value under another handle; gradients flow through."""
    node = apply("mark", input.node, uid=fresh()) if input.requires_grad else input.node
    return new(node, input.device, input)  # a node of its own: it may have hooks of its own


@method
def contiguous(input: Tensor) -> Tensor:
    """The tensor itself: layouts are FLAME's own business."""
    return input


def device(name: "str | Device") -> Device:
    """The device "cpu", "cuda" or "cuda:N"; raises DeviceError, with the way out, where there is none."""
    return name if isinstance(name, Device) else devices.get(name)


@method
def to(
    self: Tensor, *args: Any, dtype: DType | None = None, device: Any = None, non_blocking: bool = False,
    copy: bool = False, memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """The tensor in another dtype, on another device, or both: `x.to("cuda")`, `x.to(flame.bfloat16)`, `x.to(other)`.

    Moving to another device computes the tensor and starts a graph of its own: no gradient flows back over it.
    `non_blocking` and `memory_format` say nothing here; with `copy` the result is another handle in any case.
    """
    flags: list[bool] = []
    for a in args:
        if isinstance(a, DType):
            dtype = a
        elif isinstance(a, Tensor):
            dtype, device = a.dtype, a.device
        elif isinstance(a, (str, Device)):
            device = a
        elif isinstance(a, bool):
            flags.append(a)  # non_blocking, then copy
        elif a is not None:
            raise DTypeError(f"to: {a!r} is neither a dtype, a device nor a tensor")
    out = self if dtype is None else to_dtype(self, dtype)
    where = out.device if device is None else devices.get(device) if isinstance(device, str) else device
    if where is not out.device:
        return from_array(out.numpy(), where, self.requires_grad and self.is_leaf)
    return clone(out) if out is self and (copy or flags[1:] == [True]) else out


@method
def type(self: Tensor, dtype: DType | None = None, non_blocking: bool = False) -> Any:
    """The same values in another dtype; without one, the name of the tensor's own, such as "flame.float32"."""
    if dtype is None:
        return repr(self.dtype)
    if not isinstance(dtype, DType):
        raise DTypeError(f"type: {dtype!r} is no dtype of FLAME; choose one such as flame.float32")
    return to_dtype(self, dtype)


@method
def cpu(self: Tensor) -> Tensor:
    """The tensor in the CPU's memory."""
    return self.to("cpu")


@method
def cuda(self: Tensor) -> Tensor:
    """The tensor on the first GPU; raises DeviceError where there is none."""
    return self.to("cuda")


@method
def type_as(self: Tensor, other: Tensor) -> Tensor:
    """The same values in the dtype of another tensor."""
    return to_dtype(self, other.dtype)
