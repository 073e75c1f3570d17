"""What programs ask of a tensor's memory. Layouts are FLAME's own business: to its user every tensor is row-major."""

from math import prod
from typing import Any

from flame.errors import DTypeError
from flame.ops.method import method
from flame.ops.shape import owned_axis
from flame.tensor import Tensor

__all__ = ["is_same_size"]


@method
def size(self: Tensor, dim: int | None = None) -> Any:
    """The shape, or the length of one dimension."""
    return self.shape if dim is None else self.shape[owned_axis("size", dim, self)]


@method
def stride(self: Tensor, dim: int | None = None) -> Any:
    """How many elements lie between neighbours of each dimension, or of one: those of row-major memory."""
    steps = tuple(prod(max(n, 1) for n in self.shape[a + 1 :]) for a in range(self.ndim))
    return steps if dim is None else steps[owned_axis("stride", dim, self)]


@method
def storage_offset(self: Tensor) -> int:
    """Where in its memory the tensor begins: at 0, since tensors share none."""
    return 0


@method
def is_contiguous(self: Tensor) -> bool:
    """True: what reads a view reads it in place, and what is computed is row-major."""
    return True


@method
def nelement(self: Tensor) -> int:
    """As `numel`."""
    return self.numel()


@method
def ndimension(self: Tensor) -> int:
    """As `dim`."""
    return self.ndim


@method
def element_size(self: Tensor) -> int:
    """The bytes of one element."""
    return self.dtype.size


@method
def is_same_size(input: Tensor, other: Tensor) -> bool:
    """True if both have the same shape."""
    if not isinstance(other, Tensor):
        raise DTypeError(f"is_same_size: needs two tensors, got {type(other).__name__}")
    return input.shape == other.shape


def _bytes(self: Tensor) -> int:
    """The bytes of all elements."""
    return self.numel() * self.dtype.size


Tensor.itemsize = property(element_size)  # type: ignore[attr-defined]
Tensor.nbytes = property(_bytes)  # type: ignore[attr-defined]
