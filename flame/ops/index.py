"""Reading where an index says: gather, index_select and their like."""

from flame.bounds import check, integers
from flame.errors import IndexingError, ShapeError
from flame.ir import node as nd
from flame.ir.node import apply
from flame.ops.elementwise import where
from flame.ops.getitem import wrapped
from flame.ops.method import axis, method
from flame.ops.shape import cut, expand, reshape
from flame.tensor import Tensor, new, same_device

__all__ = ["embedding", "gather", "index_select", "take", "take_along_dim"]


@method
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """Along `dim`, the elements that `index` names; other dimensions of the index are at most the input's.

    `sparse_grad` has no effect: gradients are dense. Raises IndexingError for positions outside [0, size).
    """
    return _gathered("gather", input, dim, index)


def _gathered(name: str, input: Tensor, dim: int, index: Tensor, wraps: bool = False) -> Tensor:
    """Where it `wraps`, negative positions count from the end."""
    a = axis(name, dim, input.ndim)
    integers(name, index)
    device = same_device(name, input, index)
    if max(index.ndim, 1) != max(input.ndim, 1):
        raise ShapeError(f"{name}: index of shape {index.shape} needs as many dimensions as the input, {input.shape}")
    out, at = (reshape(t, t.shape or (1,)) for t in (input, index))
    for i, (m, n) in enumerate(zip(at.shape, out.shape, strict=True)):
        if i != a and m != n:
            if m > n and index.numel():
                raise ShapeError(f"{name}: index of shape {index.shape} is larger than {input.shape} in dim {i}")
            out = cut(out, i, 0, min(m, n))
    if not index.numel():
        return _nothing(input, index.shape)
    if not out.shape[a]:
        raise IndexingError(f"{name}: an index of shape {index.shape} has nothing to read in dim {a} of {input.shape}")
    place = wrapped(at, out.shape[a]) if wraps else at
    found = new(apply("gather", out.node, place.node, axis=a), device, input)
    check(name, index, out.shape[a], (place.node, out.shape[a]), wraps)
    return reshape(found, index.shape)


def _nothing(input: Tensor, shape: nd.Shape) -> Tensor:
    """No element of the input, in a shape."""
    return reshape(cut(reshape(input, input.numel()), 0, 0, 0), shape)


@method
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices of one dimension that a 1-d integer tensor names."""
    return _slices("index_select", input, dim, index)


def _slices(name: str, input: Tensor, dim: int, index: Tensor) -> Tensor:
    a = axis(name, dim, input.ndim)
    if index.ndim > 1:
        raise ShapeError(f"{name}: index must be 1-d, got {index.shape}")
    if not input.ndim:
        return reshape(_gathered(name, input, 0, reshape(index, 1)), ())
    rows = reshape(index, tuple(index.numel() if i == a else 1 for i in range(input.ndim)))
    return _gathered(
        name, input, a, expand(rows, tuple(index.numel() if i == a else n for i, n in enumerate(input.shape)))
    )


@method
def take(input: Tensor, index: Tensor) -> Tensor:
    """The elements of the flattened tensor at positions of any shape; negative ones count from the end."""
    integers("take", index)
    same_device("take", input, index)
    if not input.numel() and index.numel():
        raise IndexingError(f"take: a tensor of shape {input.shape} has no element to read")
    flat = reshape(wrapped(index, input.numel()), index.numel())
    source = reshape(input, input.numel())
    if not index.numel():
        return _nothing(input, index.shape)
    found = new(apply("gather", source.node, flat.node, axis=0), input.device, input)
    check("take", index, input.numel(), (flat.node, input.numel()), wraps=True)
    return reshape(found, index.shape)


@method
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """Along `dim`, the elements that `indices` name; other dimensions broadcast. Without `dim`, of both flattened.

    Negative positions count from the end. Raises IndexingError outside [-size, size).
    """
    if dim is None:
        return _gathered("take_along_dim", reshape(input, input.numel()), 0, reshape(indices, indices.numel()), True)
    a = axis("take_along_dim", dim, input.ndim)
    if indices.ndim != input.ndim:
        raise ShapeError(f"take_along_dim: indices of shape {indices.shape} need the rank of the input, {input.shape}")
    rest = nd.broadcast_shapes(
        (*input.shape[:a], 1, *input.shape[a + 1 :]), (*indices.shape[:a], 1, *indices.shape[a + 1 :])
    )
    both = [expand(t, (*rest[:a], t.shape[a], *rest[a + 1 :])) for t in (input, indices)]
    return _gathered("take_along_dim", both[0], a, both[1], wraps=True)


def embedding(weight: Tensor, indices: Tensor, padding_idx: int = -1) -> Tensor:
    """Rows of `weight` (entries, width) by an integer tensor of any shape: (*) → (*, width).

    The row `padding_idx` gets no gradient, where there is one. Raises IndexingError for numbers outside [0, entries).
    """
    if weight.ndim != 2:
        raise ShapeError(f"embedding: weight must be (entries, width), got {weight.shape}")
    integers("embedding", indices)
    rows = reshape(
        _slices("embedding", weight, 0, reshape(indices, indices.numel())), (*indices.shape, weight.shape[1])
    )
    if padding_idx < 0:
        return rows
    pad = reshape(indices, (*indices.shape, 1)).eq(padding_idx)
    return where(pad, rows.detach(), rows)
