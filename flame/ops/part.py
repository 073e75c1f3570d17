"""A tensor in several pieces: each is a view."""

from collections.abc import Sequence
from typing import Any

from flame.errors import ShapeError
from flame.ops.method import method
from flame.ops.shape import cut, owned_axis, squeeze
from flame.tensor import Tensor

__all__ = ["chunk", "dsplit", "hsplit", "split", "split_with_sizes", "tensor_split", "unbind", "vsplit"]


def _pieces(input: Tensor, at: int, parts: Sequence[int]) -> tuple[Tensor, ...]:
    edges = [sum(parts[:i]) for i in range(len(parts))]
    return tuple(cut(input, at, e, e + p) for e, p in zip(edges, parts, strict=True))


@method
def split(input: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of one dimension: of a size, or of the sizes given."""
    a = owned_axis("split", dim, input)
    n, given = input.shape[a], split_size_or_sections
    if not isinstance(given, int):
        return _sections("split", input, given, a)
    if given < 0 or (given == 0 and n):
        raise ShapeError(f"split: pieces of {given} do not fill dim {dim} of {input.shape}; give a size above 0")
    return _pieces(input, a, [min(given, n - i) for i in range(0, n, max(1, given))] or [0])


@method
def split_with_sizes(input: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of one dimension, of the sizes given."""
    return _sections("split_with_sizes", input, split_sizes, owned_axis("split_with_sizes", dim, input))


def _sections(name: str, input: Tensor, given: Sequence[int], a: int) -> tuple[Tensor, ...]:
    parts, n = list(given), input.shape[a]
    if sum(parts) != n or min(parts, default=0) < 0:
        raise ShapeError(f"{name}: sections {parts} do not add up to {n}, the size of dim {a} of {input.shape}")
    return _pieces(input, a, parts)


@method
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """About `chunks` equal pieces of one dimension; there may be fewer."""
    a = owned_axis("chunk", dim, input)
    n = input.shape[a]
    if chunks < 1:
        raise ShapeError(f"chunk: {chunks} pieces were asked for; there is at least one")
    return split(input, -(-n // chunks), dim) if n else _pieces(input, a, [0] * chunks)


@method
def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of one dimension: `sections` of about one size, or cut at the indices given, as slices are."""
    return _split("tensor_split", input, indices_or_sections, owned_axis("tensor_split", dim, input), uneven=True)


def _split(name: str, input: Tensor, given: Any, a: int, uneven: bool) -> tuple[Tensor, ...]:
    """NumPy's array_split: equal sections, or places to cut."""
    n, given = input.shape[a], given.tolist() if isinstance(given, Tensor) else given
    if not isinstance(given, int):
        ends = [*given, n]
        spans = [slice(lo, hi).indices(n)[:2] for lo, hi in zip([0, *given], ends, strict=True)]
        return tuple(cut(input, a, lo, max(lo, hi)) for lo, hi in spans)
    if given < 1 or (n % given and not uneven):
        raise ShapeError(f"{name}: dim {a} of {input.shape} does not divide into {given} equal pieces")
    return _pieces(input, a, [n // given + (i < n % given) for i in range(given)])


def _along(name: str, dim: int, rank: int) -> Any:
    def function(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
        if input.ndim < rank:
            raise ShapeError(f"{name}: needs at least {rank} dimension{'s' * (rank > 1)}, got {input.shape}")
        return _split(name, input, indices_or_sections, min(dim, input.ndim - 1), uneven=False)

    function.__name__ = function.__qualname__ = name
    where = f"dimension {dim}" + ", or the only one," * (rank <= dim)
    function.__doc__ = f"Equal pieces of {where} or cut at the indices given; raises where they do not fit."
    return method(function)


hsplit, vsplit, dsplit = _along("hsplit", 1, 1), _along("vsplit", 0, 2), _along("dsplit", 2, 3)


@method
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices of one dimension, without it."""
    a = owned_axis("unbind", dim, input)
    return tuple(squeeze(cut(input, a, i, i + 1), a) for i in range(input.shape[a]))


def __iter__(self: Tensor) -> Any:  # noqa: N807  installed on Tensor
    if not self.ndim:
        raise ShapeError("iteration over a 0-d tensor; use .item()")
    return iter(unbind(self, 0))


method(__iter__)
