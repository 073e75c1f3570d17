"""In-place methods, and where a tensor lies: each rebinds its handle, and no other handle sees it."""

from collections.abc import Callable
from typing import Any

from flame.errors import DTypeError
from flame.ir.dtype import DType
from flame.ir.node import apply, fresh
from flame.ops import diagonal as _diagonal  # noqa: F401  installs tril and triu
from flame.ops.elementwise import to_dtype
from flame.ops.method import method
from flame.runtime import devices
from flame.runtime.device import Device
from flame.tensor import Tensor, from_array, new

__all__ = ["clone", "device"]


def _in_place(name: str) -> None:
    function: Callable[..., Tensor] = getattr(Tensor, name)

    def change(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self._become(function(self, *args, **kwargs), f"{name}_()")

    change.__name__ = f"{name}_"
    change.__doc__ = f"`{name}` in place: this handle takes the result; tensors made from it before keep their values."
    method(change)


for _name in ("add", "sub", "mul", "div", "clamp", "masked_fill", "neg", "exp", "sqrt", "relu", "tril", "triu"):
    _in_place(_name)
for _name, _sign in (("add", "iadd"), ("sub", "isub"), ("mul", "imul"), ("div", "itruediv")):
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
def to(self: Tensor, *args: Any, dtype: DType | None = None, device: Any = None) -> Tensor:
    """The tensor in another dtype, on another device, or both: `x.to("cuda")`, `x.to(flame.bfloat16)`, `x.to(other)`.

    Moving to another device computes the tensor and starts a graph of its own: no gradient flows back over it.
    """
    for a in args:
        if isinstance(a, DType):
            dtype = a
        elif isinstance(a, Tensor):
            dtype, device = a.dtype, a.device
        elif isinstance(a, (str, Device)):
            device = a
        else:
            raise DTypeError(f"to: {a!r} is neither a dtype, a device nor a tensor")
    out = self if dtype is None else to_dtype(self, dtype)
    where = out.device if device is None else devices.get(device) if isinstance(device, str) else device
    return out if where is out.device else from_array(out.numpy(), where, self.requires_grad and self.is_leaf)


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
