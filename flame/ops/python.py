"""What Python's own statements ask of a tensor: `in`, and PyTorch's `.data`."""

from typing import Any, Self

from flame.errors import DTypeError, GradError
from flame.ops.method import NUMBERS, method
from flame.tensor import Tensor

__all__: list[str] = []


@method
def __contains__(self: Tensor, element: Any) -> bool:  # noqa: N807  installed on Tensor
    """True where an element equals a number, or those of a tensor that broadcasts; raises DTypeError for others."""
    if not isinstance(element, (Tensor, *NUMBERS)):
        raise DTypeError(f"in: a tensor holds numbers, not {type(element).__name__}; compare with == and use .any()")
    return bool((self == element).any())


class Alias(Tensor):
    """What `x.data` gives: x's value without its gradients; in-place methods change x as well."""

    __slots__ = ("owner",)

    def __init__(self, owner: Tensor):
        super().__init__(owner.detach().node, owner.device)
        self.owner = owner

    def _become(self, other: Tensor, name: str, anyhow: bool = False) -> Self:
        super()._become(other, name, anyhow)
        _take(self.owner, self)
        return self


def _data(self: Tensor) -> Tensor:
    """The value without gradients. Assigning to it, or changing it in place, changes this leaf and no graph."""
    return Alias(self)


def _take(self: Tensor, value: Tensor) -> None:
    """Give a leaf another value, of any shape, dtype and device, while its gradient stays."""
    if not isinstance(value, Tensor):
        raise DTypeError(f"data: a tensor's data is a Tensor, not {type(value).__name__}")
    if not self.is_leaf:
        raise GradError("data: this tensor was computed and requires gradients; only a leaf takes another value")
    if self.requires_grad and not value.dtype.is_float:
        raise DTypeError(f"data: a tensor that requires gradients is floating; cast the {value.dtype} values")
    wanted = self.requires_grad
    self.requires_grad_(False)
    self.device = value.device
    self._point(value.detach().node)
    self.requires_grad_(wanted)


setattr(Tensor, "data", property(_data, _take))  # noqa: B010
