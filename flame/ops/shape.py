"""Shapes and views: nothing here copies; what reads the result reads the source."""

from collections.abc import Sequence
from math import prod
from typing import Any

from flame.errors import DTypeError, ShapeError
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir.node import apply
from flame.ops.elementwise import to_dtype, where
from flame.ops.method import axis, method, sizes
from flame.tensor import Tensor, new, same_device

__all__ = [
    "broadcast_to",
    "cat",
    "chunk",
    "flatten",
    "flip",
    "movedim",
    "narrow",
    "pad",
    "permute",
    "repeat",
    "reshape",
    "split",
    "squeeze",
    "stack",
    "transpose",
    "tril",
    "triu",
    "unbind",
    "unflatten",
    "unsqueeze",
]


def _view(input: Tensor, name: str, **attrs: Any) -> Tensor:
    return new(apply(name, input.node, **attrs), input.device, input)


@method
def reshape(input: Tensor, *shape: Any) -> Tensor:
    """The same elements in row-major order under another shape; one size may be -1."""
    to = sizes(shape)
    if -1 in to:
        known = prod(n for n in to if n != -1)
        if to.count(-1) > 1 or known == 0 or input.numel() % known:
            raise ShapeError(f"reshape: cannot fit {input.shape} ({input.numel()} elements) into {to}")
        to = tuple(input.numel() // known if n == -1 else n for n in to)
    return new(nd.reshape(input.node, to), input.device, input)


@method
def view(input: Tensor, *shape: Any) -> Tensor:
    """As `reshape`."""
    return reshape(input, *shape)


@method
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions from start_dim to end_dim as one."""
    if not input.ndim:
        return reshape(input, 1)
    a, b = axis("flatten", start_dim, input.ndim), axis("flatten", end_dim, input.ndim)
    if a > b:
        raise ShapeError(f"flatten: start_dim {start_dim} lies behind end_dim {end_dim}")
    s = input.shape
    return reshape(input, (*s[:a], prod(s[a : b + 1]), *s[b + 1 :]))


@method
def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """One dimension as several; one of the sizes may be -1."""
    a, s = axis("unflatten", dim, input.ndim), input.shape
    rest = prod(n for n in sizes if n != -1)
    fill = s[a] // rest if rest else 0
    return reshape(input, (*s[:a], *(fill if n == -1 else n for n in sizes), *s[a + 1 :]))


@method
def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Without dimensions of size 1: all of them, or those named."""
    if dim is None:
        gone = range(input.ndim)
    else:
        gone = [axis("squeeze", d, input.ndim) for d in (dim if isinstance(dim, (tuple, list)) else (dim,))]
    return reshape(input, tuple(n for a, n in enumerate(input.shape) if n != 1 or a not in gone))


@method
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With a new dimension of size 1 at `dim`."""
    a = axis("unsqueeze", dim, input.ndim + 1)
    return reshape(input, (*input.shape[:a], 1, *input.shape[a:]))


@method
def permute(input: Tensor, *dims: Any) -> Tensor:
    """Dimensions in another order."""
    order = tuple(axis("permute", d, input.ndim) for d in sizes(dims))
    return _view(input, "permute", order=order)


@method
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions swapped."""
    order = list(range(input.ndim))
    if order:
        a, b = axis("transpose", dim0, input.ndim), axis("transpose", dim1, input.ndim)
        order[a], order[b] = order[b], order[a]
    return _view(input, "permute", order=tuple(order))


@method
def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; raises ShapeError beyond two dimensions."""
    if input.ndim > 2:
        raise ShapeError(f"t: needs at most two dimensions, got {input.shape}; use .mT or transpose(a, b)")
    return transpose(input, 0, 1) if input.ndim == 2 else input


@method
def movedim(input: Tensor, source: int, destination: int) -> Tensor:
    """One dimension moved to another place."""
    order = list(range(input.ndim))
    moved = order.pop(axis("movedim", source, input.ndim))
    order.insert(axis("movedim", destination, input.ndim), moved)
    return _view(input, "permute", order=tuple(order))


def _transposed(self: Tensor) -> Tensor:
    """All dimensions in reverse order."""
    return _view(self, "permute", order=tuple(reversed(range(self.ndim))))


def _matrix_transposed(self: Tensor) -> Tensor:
    """The last two dimensions swapped."""
    return transpose(self, -1, -2)


Tensor.T = property(_transposed)  # type: ignore[attr-defined]
Tensor.mT = property(_matrix_transposed)  # type: ignore[attr-defined]


@method
def expand(input: Tensor, *shape: Any) -> Tensor:
    """Dimensions of size 1 repeated to `shape`, without a copy; -1 keeps a size; new dimensions come first."""
    to = sizes(shape)
    lead = len(to) - input.ndim
    full = tuple(input.shape[a - lead] if n == -1 and a >= lead else n for a, n in enumerate(to))
    return new(nd.expand(input.node, full), input.device, input)


@method
def broadcast_to(input: Tensor, shape: Any) -> Tensor:
    """As `expand`."""
    return expand(input, shape)


@method
def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """Expanded to the shape of another tensor."""
    return expand(input, other.shape)


@method
def flip(input: Tensor, *dims: Any) -> Tensor:
    """Dimensions read backwards."""
    return _view(input, "flip", axes=tuple(sorted({axis("flip", d, input.ndim) for d in sizes(dims)})))


@method
def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """`length` positions of one dimension from `start`."""
    a = axis("narrow", dim, input.ndim)
    n = input.shape[a]
    start = start + n if start < 0 else start
    if not (0 <= start and 0 <= length and start + length <= n):
        raise ShapeError(f"narrow: {length} positions from {start} do not lie in dim {dim} of {input.shape}")
    return cut(input, a, start, start + length)


def cut(input: Tensor, at: int, start: int, stop: int, step: int = 1) -> Tensor:
    """Positions start to stop of one dimension."""
    s = input.shape
    return _view(
        input,
        "slice",
        start=tuple(start if a == at else 0 for a in range(len(s))),
        stop=tuple(stop if a == at else n for a, n in enumerate(s)),
        step=tuple(step if a == at else 1 for a in range(len(s))),
    )


@method
def split(input: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of one dimension: of a size, or of the sizes given."""
    a = axis("split", dim, input.ndim)
    n, given = input.shape[a], split_size_or_sections
    if isinstance(given, int):
        parts = [min(given, n - i) for i in range(0, n, max(1, given))]
    else:
        parts = list(given)
    if sum(parts) != n or min(parts, default=0) < 0:
        raise ShapeError(f"split: sections {parts} do not add up to {n}, the size of dim {dim} of {input.shape}")
    edges = [sum(parts[:i]) for i in range(len(parts))]
    return tuple(cut(input, a, e, e + p) for e, p in zip(edges, parts, strict=True))


@method
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """About `chunks` equal pieces of one dimension."""
    n = input.shape[axis("chunk", dim, input.ndim)]
    if chunks < 1:
        raise ShapeError(f"chunk: {chunks} pieces were asked for; there is at least one")
    return split(input, max(1, -(-n // chunks)), dim)


@method
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices of one dimension, without it."""
    a = axis("unbind", dim, input.ndim)
    return tuple(squeeze(cut(input, a, i, i + 1), a) for i in range(input.shape[a]))


def __iter__(self: Tensor) -> Any:  # noqa: N807  installed on Tensor
    if not self.ndim:
        raise ShapeError("iteration over a 0-d tensor; use .item()")
    return iter(unbind(self, 0))


method(__iter__)


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float = 0.0) -> Tensor:
    """`value` around the elements; `pad` holds (before, after) for each dimension, the last first; negatives crop."""
    if mode != "constant":
        raise DTypeError(f"pad: mode {mode!r} is not there yet; 'constant' is")
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise ShapeError(f"pad: {tuple(pad)} must hold two counts for each of at most {input.ndim} dimensions")
    low, high = [0] * input.ndim, [0] * input.ndim
    for i in range(len(pad) // 2):
        low[-1 - i], high[-1 - i] = pad[2 * i], pad[2 * i + 1]
    out = input
    for a, (lo, hi) in enumerate(zip(low, high, strict=True)):
        if lo < 0 or hi < 0:
            out = cut(out, a, max(0, -lo), out.shape[a] - max(0, -hi))
    return padded(out, [max(0, n) for n in low], [max(0, n) for n in high], value)


def padded(input: Tensor, low: Sequence[int], high: Sequence[int], value: float = 0) -> Tensor:
    """`value` before and after each dimension, the first first."""
    fill = input.dtype.numpy.type(value).item()
    return _view(input, "pad", low=tuple(low), high=tuple(high), step=(1,) * input.ndim, fill=fill)


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors one behind the other along one dimension; all other sizes agree; dtypes are promoted."""
    given = list(tensors)
    if not given:
        raise ShapeError("cat: needs at least one tensor")
    device = same_device("cat", *given)
    dtype = given[0].dtype
    for t in given:
        dtype = dt.promote(dtype, t.dtype)
    a = axis("cat", dim, given[0].ndim)
    for t in given:
        if t.ndim != given[0].ndim or any(
            m != n for i, (m, n) in enumerate(zip(t.shape, given[0].shape, strict=True)) if i != a
        ):
            raise ShapeError(
                f"cat: {t.shape} does not fit {given[0].shape}: all sizes but that of dim {dim} must agree"
            )
    given = [to_dtype(t, dtype) for t in given if t.shape[a]] or [to_dtype(given[0], dtype)]
    total = sum(t.shape[a] for t in given)
    place = apply("iota", n=total)
    here = new(nd.reshape(place, tuple(total if i == a else 1 for i in range(given[0].ndim))), device)
    out, end = None, total
    for t in reversed(given):
        start = end - t.shape[a]
        low = [start if i == a else 0 for i in range(t.ndim)]
        high = [total - end if i == a else 0 for i in range(t.ndim)]
        piece = padded(t, low, high)
        out, end = piece if out is None else where(here < start + t.shape[a], piece, out), start
    assert out is not None
    return out


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape along a new dimension."""
    given = list(tensors)
    for t in given:
        if t.shape != given[0].shape:
            raise ShapeError(f"stack: shapes {given[0].shape} and {t.shape} must agree")
    return cat([unsqueeze(t, dim) for t in given], dim)


@method
def repeat(input: Tensor, *counts: Any) -> Tensor:
    """The whole tensor repeated along each dimension."""
    times = sizes(counts)
    lead = len(times) - input.ndim
    if lead < 0:
        raise ShapeError(f"repeat: needs a count for each of {input.ndim} dimensions, got {times}")
    shape = (1,) * lead + input.shape
    inner = tuple(x for n in shape for x in (1, n))
    outer = tuple(x for c, n in zip(times, shape, strict=True) for x in (c, n))
    return reshape(expand(reshape(input, inner), outer), tuple(c * n for c, n in zip(times, shape, strict=True)))


@method
def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The lower triangle of the last two dimensions; zeros above it."""
    return _triangle(input, diagonal, True)


@method
def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The upper triangle of the last two dimensions; zeros below it."""
    return _triangle(input, diagonal, False)


def _triangle(input: Tensor, diagonal: int, lower: bool) -> Tensor:
    if input.ndim < 2:
        raise ShapeError(f"tril and triu need two dimensions, got {input.shape}")
    m, n = input.shape[-2:]
    row = new(nd.reshape(apply("iota", n=m), (m, 1)), input.device)
    column = new(nd.reshape(apply("iota", n=n), (1, n)), input.device)
    keep = column <= row + diagonal if lower else column >= row + diagonal
    return to_dtype(where(keep, input, 0), input.dtype)
