"""Shapes and views: nothing here copies; what reads the result reads the source."""

from collections.abc import Iterable, Sequence
from math import prod
from operator import index
from typing import Any

from flame.errors import DTypeError, IndexingError, ShapeError
from flame.ir import node as nd
from flame.ir.dtype import DType
from flame.ir.node import apply
from flame.ir.ops.movement import sum_to
from flame.ops.method import axis, constant, method, sizes, spread
from flame.tensor import Tensor, new

__all__ = [
    "adjoint",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "broadcast_shapes",
    "broadcast_tensors",
    "broadcast_to",
    "flatten",
    "flip",
    "fliplr",
    "flipud",
    "moveaxis",
    "movedim",
    "narrow",
    "numel",
    "permute",
    "ravel",
    "reshape",
    "select",
    "squeeze",
    "swapaxes",
    "swapdims",
    "t",
    "transpose",
    "unflatten",
    "unsqueeze",
]


def _view(input: Tensor, name: str, **attrs: Any) -> Tensor:
    return new(apply(name, input.node, **attrs), input.device, input)


# --- the same elements under another shape ----------------------------------------------------------------------------
@method
@spread("shape")
def reshape(input: Tensor, *shape: Any) -> Tensor:
    """The same elements in row-major order under another shape; one size may be -1."""
    return new(nd.reshape(input.node, _filled("reshape", input, sizes(shape))), input.device, input)


def _filled(name: str, input: Tensor, to: tuple[int, ...]) -> tuple[int, ...]:
    """The shape with the size that was given as -1."""
    unknown = to.count(-1)
    known = prod(n for n in to if n != -1)
    fits = known == input.numel() if not unknown else known > 0 and input.numel() % known == 0
    if unknown > 1 or not fits or min(to, default=0) < -1:
        count = "" if unknown else f" ({known} elements)"
        raise ShapeError(
            f"{name}: cannot fit {input.shape} ({input.numel()} elements) into {to}{count}; the counts must agree, "
            "and one size may be -1"
        )
    return tuple(input.numel() // known if n == -1 else n for n in to)


@method
def view(input: Tensor, *shape: Any) -> Tensor:
    """As `reshape`. Bits are not read as another dtype: `view(dtype)` raises DTypeError unless it is the tensor's."""
    if len(shape) == 1 and isinstance(shape[0], DType):
        if shape[0] is not input.dtype:
            raise DTypeError(
                f"view: {input.dtype} is not read as {shape[0]} bit by bit; .to({shape[0]!r}) converts values"
            )
        return new(input.node, input.device, input)
    return new(nd.reshape(input.node, _filled("view", input, sizes(shape))), input.device, input)


@method
def view_as(input: Tensor, other: Tensor) -> Tensor:
    """The same elements in the shape of another tensor."""
    return view(input, other.shape)


@method
def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """The same elements in the shape of another tensor."""
    return reshape(input, other.shape)


@method
def ravel(input: Tensor) -> Tensor:
    """All elements in one dimension."""
    return reshape(input, -1) if input.numel() else reshape(input, 0)


@method
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions from start_dim to end_dim as one."""
    a, b = axis("flatten", start_dim, input.ndim), axis("flatten", end_dim, input.ndim)
    if not input.ndim:
        return reshape(input, 1)
    if a > b:
        raise ShapeError(f"flatten: start_dim {start_dim} lies behind end_dim {end_dim}")
    s = input.shape
    return reshape(input, (*s[:a], prod(s[a : b + 1]), *s[b + 1 :]))


@method
def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """One dimension as several; one of the sizes may be -1."""
    a, s, given = axis("unflatten", dim, input.ndim), input.shape, tuple(index(n) for n in sizes)
    rest = prod(n for n in given if n != -1)
    fill = s[a] // rest if rest else 0
    parts = tuple(fill if n == -1 else n for n in given)
    if not given or not s or given.count(-1) > 1 or prod(parts) != s[a] or (not rest and -1 in given):
        raise ShapeError(f"unflatten: sizes {given} do not multiply to the size of dim {dim} of {s}")
    return reshape(input, (*s[:a], *parts, *s[a + 1 :]))


@method
def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Without dimensions of size 1: all of them, or those named."""
    if dim is None:
        gone = list(range(input.ndim))
    else:
        gone = [axis("squeeze", d, input.ndim) for d in (dim if isinstance(dim, (tuple, list)) else (dim,))]
        if len(set(gone)) < len(gone):
            raise IndexingError(f"squeeze: dim {dim} names a dimension twice")
    return reshape(input, tuple(n for a, n in enumerate(input.shape) if n != 1 or a not in gone))


@method
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With a new dimension of size 1 at `dim`."""
    a = axis("unsqueeze", dim, input.ndim + 1)
    return reshape(input, (*input.shape[:a], 1, *input.shape[a:]))


# --- dimensions in another order --------------------------------------------------------------------------------------
@method
@spread("dims")
def permute(input: Tensor, *dims: Any) -> Tensor:
    """Dimensions in another order."""
    return _view(input, "permute", order=tuple(axis("permute", d, input.ndim) for d in sizes(dims)))


def _swapped(name: str, input: Tensor, dim0: int, dim1: int) -> Tensor:
    a, b = axis(name, dim0, input.ndim), axis(name, dim1, input.ndim)
    order = list(range(input.ndim))
    if order:
        order[a], order[b] = order[b], order[a]
    return _view(input, "permute", order=tuple(order))


@method
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions swapped."""
    return _swapped("transpose", input, dim0, dim1)


@method
def swapaxes(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """As `transpose`, under NumPy's name."""
    return _swapped("swapaxes", input, axis0, axis1)


@method
def swapdims(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """As `transpose`."""
    return _swapped("swapdims", input, dim0, dim1)


@method
def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; raises ShapeError beyond two dimensions."""
    if input.ndim > 2:
        raise ShapeError(f"t: needs at most two dimensions, got {input.shape}; use .mT or transpose(a, b)")
    return transpose(input, 0, 1) if input.ndim == 2 else input


@method
def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Dimensions moved to other places; the others keep their order."""
    return _moved("movedim", input, source, destination)


@method
def moveaxis(input: Tensor, source: Any, destination: Any) -> Tensor:
    """As `movedim`, under NumPy's name."""
    return _moved("moveaxis", input, source, destination)


def _moved(name: str, input: Tensor, source: Any, destination: Any) -> Tensor:
    pair = [(x,) if not isinstance(x, (tuple, list)) else x for x in (source, destination)]
    old, fresh = ([axis(name, d, input.ndim) for d in dims] for dims in pair)
    if len(old) != len(fresh) or len(set(old)) < len(old) or len(set(fresh)) < len(fresh):
        raise ShapeError(f"{name}: dims {source} and destinations {destination} must be as many, each named once")
    if not input.ndim:
        return new(input.node, input.device, input)
    rest = iter(a for a in range(input.ndim) if a not in old)
    places = dict(zip(fresh, old, strict=True))
    order = tuple(places[a] if a in places else next(rest) for a in range(input.ndim))
    return _view(input, "permute", order=order)


@method
def adjoint(input: Tensor) -> Tensor:
    """The last two dimensions swapped: real matrices are their own conjugates."""
    return _matrix_transposed(input)


def _transposed(self: Tensor) -> Tensor:
    """All dimensions in reverse order."""
    return _view(self, "permute", order=tuple(reversed(range(self.ndim))))


def _matrix_transposed(self: Tensor) -> Tensor:
    """The last two dimensions swapped; raises ShapeError below two dimensions."""
    if self.ndim < 2:
        raise ShapeError(f"mT and adjoint need at least two dimensions, got {self.shape}")
    return transpose(self, -1, -2)


def _hermitian(self: Tensor) -> Tensor:
    """The transpose of a matrix, which is real; raises ShapeError for a tensor of another rank, but for 0-d."""
    if self.ndim not in (0, 2):
        raise ShapeError(f"H: needs a matrix, got {self.shape}; use .mH for batches of matrices")
    return t(self)


Tensor.T = property(_transposed)  # type: ignore[attr-defined]
Tensor.mT = property(_matrix_transposed)  # type: ignore[attr-defined]
Tensor.mH = property(_matrix_transposed)  # type: ignore[attr-defined]
Tensor.H = property(_hermitian)  # type: ignore[attr-defined]


# --- repeated without a copy ------------------------------------------------------------------------------------------
@method
@spread("size")
def expand(input: Tensor, *size: Any) -> Tensor:
    """Dimensions of size 1 repeated to `size`, without a copy; -1 keeps a size; new dimensions come first."""
    to = sizes(size)
    lead = len(to) - input.ndim
    full = tuple(input.shape[a - lead] if n == -1 and a >= lead else n for a, n in enumerate(to))
    if min(full, default=0) < 0:
        raise ShapeError(
            f"expand: cannot expand {input.shape} to {to}; -1 keeps a size, but only of a dimension there is"
        )
    return new(nd.expand(input.node, full), input.device, input)


@method
@spread("size")
def broadcast_to(input: Tensor, *size: Any) -> Tensor:
    """As `expand`."""
    return expand(input, *size)


@method
def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """Expanded to the shape of another tensor."""
    return expand(input, other.shape)


def broadcast_shapes(*shapes: Any) -> tuple[int, ...]:
    """The shape in which tensors of these shapes meet; raises ShapeError where they do not."""
    return _met("broadcast_shapes", shapes)


def _met(name: str, shapes: Iterable[Any]) -> tuple[int, ...]:
    found: tuple[int, ...] = ()
    for s in shapes:
        try:
            found = nd.broadcast_shapes(found, sizes((s,)))
        except ShapeError as problem:
            raise ShapeError(f"{name}: {problem}") from None
    return found


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Each tensor expanded to the shape in which all meet."""
    given = several(tensors)
    shape = _met("broadcast_tensors", (t.shape for t in given))
    return tuple(expand(t, shape) for t in given)


def several(tensors: tuple[Any, ...]) -> tuple[Tensor, ...]:
    """Tensors given one by one or as one sequence."""
    return tuple(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors


def _at_least(rank: int, widen: Any) -> Any:
    def function(*tensors: Any) -> Any:
        if len(tensors) == 1 and isinstance(tensors[0], Tensor):
            return widen(tensors[0])
        return tuple(widen(t) for t in several(tensors))

    function.__name__ = function.__qualname__ = f"atleast_{rank}d"
    function.__doc__ = f"A tensor, or each of several, with at least {rank} dimension{'s' * (rank > 1)}."
    return function


def _deep(t: Tensor) -> Tensor:
    """As NumPy's: (n) becomes (1, n, 1), (m, n) becomes (m, n, 1)."""
    return reshape(t, ((1,) * (2 - t.ndim) + t.shape + (1,)) if t.ndim < 2 else (*t.shape, 1)) if t.ndim < 3 else t


atleast_1d = _at_least(1, lambda t: t if t.ndim else reshape(t, 1))
atleast_2d = _at_least(2, lambda t: t if t.ndim > 1 else reshape(t, (1, t.numel())))
atleast_3d = _at_least(3, _deep)


@method
@spread("size")
def sum_to_size(input: Tensor, *size: Any) -> Tensor:
    """Sums over the dimensions that an expansion of `size` to this shape would repeat: the gradient of `expand`."""
    to = sizes(size)
    try:
        fits = nd.broadcast_shapes(to, input.shape) == input.shape
    except ShapeError:
        fits = False
    if not fits:
        raise ShapeError(f"sum_to_size: {to} does not expand to {input.shape}")
    return new(sum_to(input.node, to), input.device, input)


# --- a part -----------------------------------------------------------------------------------------------------------
@method
@spread("dims")
def flip(input: Tensor, *dims: Any) -> Tensor:
    """Dimensions read backwards."""
    given = [axis("flip", d, input.ndim) for d in sizes(dims)]
    if len(set(given)) < len(given):
        raise IndexingError(f"flip: dims {sizes(dims)} name a dimension twice")
    return _view(input, "flip", axes=tuple(sorted(given))) if input.ndim else new(input.node, input.device, input)


@method
def fliplr(input: Tensor) -> Tensor:
    """The second dimension read backwards; raises ShapeError below two dimensions."""
    if input.ndim < 2:
        raise ShapeError(f"fliplr: needs at least two dimensions, got {input.shape}; use flip(0)")
    return flip(input, 1)


@method
def flipud(input: Tensor) -> Tensor:
    """The first dimension read backwards; raises ShapeError for a 0-d tensor."""
    if input.ndim < 1:
        raise ShapeError("flipud: needs at least one dimension, got a 0-d tensor")
    return flip(input, 0)


def owned_axis(name: str, dim: int, input: Tensor) -> int:
    """As `axis`, where a 0-d tensor has none."""
    if not input.ndim:
        raise IndexingError(f"{name}: a 0-d tensor has no dim {dim}; unsqueeze it first")
    return axis(name, dim, input.ndim)


@method
def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """`length` positions of one dimension from `start`."""
    a = owned_axis("narrow", dim, input)
    n, start = input.shape[a], index(start)
    start = start + n if start < 0 else start
    if not (0 <= start and 0 <= length and start + length <= n):
        raise ShapeError(f"narrow: {length} positions from {start} do not lie in dim {dim} of {input.shape}")
    return cut(input, a, start, start + length)


@method
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """One position of one dimension, without that dimension."""
    a = owned_axis("select", dim, input)
    n = input.shape[a]
    if not -n <= index < n:
        raise IndexingError(f"select: index {index} is out of range for dim {dim} of {input.shape}")
    return squeeze(cut(input, a, index % n, index % n + 1), a)


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


def padded(input: Tensor, low: Sequence[int], high: Sequence[int], value: float = 0) -> Tensor:
    """`value` before and after each dimension, the first first."""
    fill = constant(value, input.dtype)["value"]
    return _view(input, "pad", low=tuple(low), high=tuple(high), step=(1,) * input.ndim, fill=fill)


def numel(input: Tensor) -> int:
    """How many elements a tensor has."""
    return input.numel()
