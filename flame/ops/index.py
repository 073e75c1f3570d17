"""Indexing: slices are views; an integer tensor says where to read."""

from typing import Any

import numpy as np

from flame.errors import DTypeError, IndexingError, ShapeError
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir.node import apply
from flame.ops.elementwise import to_dtype
from flame.ops.method import axis, method
from flame.ops.shape import cut, expand, flip, reshape, squeeze, unsqueeze
from flame.tensor import Tensor, from_array, new, same_device

__all__ = ["embedding", "gather", "index_select", "one_hot"]


def __getitem__(self: Tensor, key: Any) -> Tensor:  # noqa: N807  installed on Tensor
    """Integers, slices with steps, None, Ellipsis, and integer tensors or lists (one, or several that broadcast)."""
    keys = list(key) if isinstance(key, tuple) else [key]
    keys = [from_array(np.asarray(k), self.device) if isinstance(k, (list, np.ndarray)) else k for k in keys]
    used = sum(1 for k in keys if k is not None and k is not Ellipsis)
    if used > self.ndim:
        raise IndexingError(f"{used} indices for a tensor of {self.ndim} dimensions, shape {self.shape}")
    if not any(k is Ellipsis for k in keys):
        keys.append(Ellipsis)
    at = next(i for i, k in enumerate(keys) if k is Ellipsis)
    keys[at : at + 1] = [slice(None)] * (self.ndim - used)
    out, dim = self, 0
    picked: list[tuple[int, Tensor]] = []
    for k in keys:
        out, dim = _one(out, dim, k, picked)
    return _pick(out, picked) if picked else out


def _one(out: Tensor, dim: int, k: Any, picked: list[tuple[int, Tensor]]) -> tuple[Tensor, int]:
    """Apply one key at `dim`; returns the tensor and the dimension of the next key."""
    if k is None:
        return unsqueeze(out, dim), dim + 1
    if isinstance(k, slice):
        return _slice(out, dim, k), dim + 1
    if isinstance(k, Tensor) and (k.ndim or k.dtype is dt.boolean):
        if k.dtype is dt.boolean or k.dtype.is_float:
            raise DTypeError(
                f"indexing with a {k.dtype} tensor is not there yet; use flame.where, or integer positions"
            )
        picked.append((dim, k))
        return out, dim + 1
    if isinstance(k, bool) or not hasattr(k, "__index__"):
        raise IndexingError(f"cannot index with {k!r}; use integers, slices, None, ... or integer tensors")
    i, n = k.__index__(), out.shape[dim]
    if not -n <= i < n:
        raise IndexingError(f"index {i} is out of range for dimension {dim} of size {n}")
    return squeeze(cut(out, dim, i % n, i % n + 1), dim), dim


def _slice(out: Tensor, dim: int, k: slice) -> Tensor:
    n = out.shape[dim]
    start, stop, step = k.indices(n)
    if step < 0:
        count = max(0, -(-(start - stop) // -step))
        if not count:
            return cut(out, dim, 0, 0)
        first = n - 1 - start
        return cut(flip(out, dim), dim, first, first + (count - 1) * -step + 1, -step)
    if (start, stop, step) == (0, n, 1):
        return out
    return cut(out, dim, start, max(start, stop), step)


def _pick(input: Tensor, picked: list[tuple[int, Tensor]]) -> Tensor:
    """Integer tensors at some dimensions: they broadcast to one shape, which takes the place of the first of them."""
    dims = [d for d, _ in picked]
    if dims != list(range(dims[0], dims[0] + len(dims))):
        raise IndexingError(
            "integer tensors at separated dimensions are not there yet; permute them side by side first"
        )
    shape: tuple[int, ...] = ()
    for _, k in picked:
        shape = nd.broadcast_shapes(shape, k.shape)
    flat: Tensor | None = None
    for d, k in picked:
        n = input.shape[d]
        k = k.long()
        k = expand(k + (k < 0).long() * n, shape)
        flat = k if flat is None else flat * n + k
    assert flat is not None
    s, a, b = input.shape, dims[0], dims[-1] + 1
    joined = reshape(input, (*s[:a], -1, *s[b:]))
    found = index_select(joined, a, reshape(flat, -1))
    return reshape(found, (*s[:a], *shape, *s[b:]))


method(__getitem__)


@method
def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Along `dim`, the elements that `index` names; other dimensions of the index are at most the input's."""
    a = axis("gather", dim, input.ndim)
    if index.ndim != input.ndim:
        raise ShapeError(f"gather: index of shape {index.shape} needs as many dimensions as the input, {input.shape}")
    out = input
    for i, (m, n) in enumerate(zip(index.shape, input.shape, strict=True)):
        if i != a and m != n:
            if m > n:
                raise ShapeError(f"gather: index of shape {index.shape} is larger than {input.shape} in dim {i}")
            out = cut(out, i, 0, m)
    return new(apply("gather", out.node, index.node, axis=a), same_device("gather", input, index), input)


@method
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices of one dimension that a 1-d integer tensor names."""
    a = axis("index_select", dim, input.ndim)
    if index.ndim > 1:
        raise ShapeError(f"index_select: index must be 1-d, got {index.shape}")
    rows = reshape(index, tuple(index.numel() if i == a else 1 for i in range(input.ndim)))
    shape = tuple(index.numel() if i == a else n for i, n in enumerate(input.shape))
    return gather(input, a, expand(rows, shape))


def embedding(input: Tensor, weight: Tensor) -> Tensor:
    """Rows of `weight` (entries, width) by an integer tensor of any shape: (…) to (…, width)."""
    if weight.ndim != 2:
        raise ShapeError(f"embedding: weight must be (entries, width), got {weight.shape}")
    return reshape(index_select(weight, 0, reshape(input, -1)), (*input.shape, weight.shape[1]))


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """int64 1 at the position each integer names, else 0: (…) to (…, num_classes); without a count it is computed."""
    if tensor.dtype.category != dt.INT:
        raise DTypeError(f"one_hot: needs an integer tensor, got {tensor.dtype}")
    count = int(tensor.amax().item()) + 1 if num_classes < 0 else num_classes
    place = new(apply("iota", n=count), tensor.device)
    return to_dtype(unsqueeze(tensor, -1).long().eq(place), dt.int64)
