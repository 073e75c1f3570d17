"""What programs ask of a tensor's memory. Layouts are FLAME's own business: to its user every tensor is row-major."""

from collections.abc import Sequence
from math import prod
from typing import Any

from flame.errors import DTypeError, ShapeError
from flame.ir import node as nd
from flame.ir.node import apply
from flame.ops.method import method, sizes
from flame.ops.shape import owned_axis
from flame.tensor import Tensor, new

__all__ = ["as_strided", "is_same_size"]


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


@method
def as_strided(input: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int = 0) -> Tensor:
    """The elements at storage_offset + Σ index · stride of the tensor's row-major elements; they may overlap.

    Raises ShapeError where one would lie outside. PyTorch counts in the memory of whatever the tensor is a view of.
    """
    shape, steps = sizes((tuple(size),)), sizes((tuple(stride),))
    if len(shape) != len(steps) or min((*shape, *steps, storage_offset)) < 0:
        raise ShapeError(f"as_strided: needs a stride of at least 0 for each size, got {steps} for {shape}")
    last = storage_offset + sum((n - 1) * s for n, s in zip(shape, steps, strict=True))
    if prod(shape) and last >= input.numel():
        raise ShapeError(f"as_strided: element {last} lies outside the {input.numel()} elements of {input.shape}")
    at = nd.expand(nd.const(storage_offset), shape)
    for a, (n, s) in enumerate(zip(shape, steps, strict=True)):
        along = nd.reshape(apply("iota", n=n), tuple(n if i == a else 1 for i in range(len(shape))))
        at = at + nd.expand(along, shape) * s
    flat = nd.reshape(input.node, (input.numel(),))
    found = apply("gather", flat, nd.reshape(at, (prod(shape),)), axis=0)
    return new(nd.reshape(found, shape), input.device, input)


def _bytes(self: Tensor) -> int:
    """The bytes of all elements."""
    return self.numel() * self.dtype.size


Tensor.itemsize = property(element_size)  # type: ignore[attr-defined]
Tensor.nbytes = property(_bytes)  # type: ignore[attr-defined]
