"""Reductions over one dimension, several, or all."""

from typing import Any, NamedTuple

from flame.errors import DTypeError, ShapeError
from flame.ir import dtype as dt
from flame.ir.dtype import DType
from flame.ir.node import apply, reshape
from flame.ops.elementwise import to_dtype, where
from flame.ops.method import axes, axis, tensor_method
from flame.ops.nested import in_parts
from flame.tensor import Tensor, new

__all__ = [
    "all",
    "amax",
    "amin",
    "aminmax",
    "any",
    "argmax",
    "argmin",
    "count_nonzero",
    "logsumexp",
    "max",
    "mean",
    "min",
    "nanmean",
    "nansum",
    "prod",
    "std",
    "std_mean",
    "sum",
    "var",
    "var_mean",
]


class Selected(NamedTuple):
    """Values along a dimension, and where they lie."""

    values: Tensor
    indices: Tensor


class Bounds(NamedTuple):
    """The smallest and the largest values."""

    min: Tensor
    max: Tensor


def fold(op: str, name: str, input: Tensor, dim: Any, keepdim: bool) -> Tensor:
    """A reduction of the table over dimensions; errors name the function `name`."""
    over = axes(name, dim, input.ndim)
    if op in ("max", "min"):
        _some(name, input, over)
    node = apply(op, input.node, axes=over) if over else input.node
    if keepdim:
        node = reshape(node, tuple(1 if a in over else n for a, n in enumerate(input.shape)))
    return new(node, input.device, input)


def _some(name: str, input: Tensor, over: tuple[int, ...]) -> None:
    if 0 in (input.shape[a] for a in over):
        raise ShapeError(
            f"{name}: a tensor of shape {input.shape} has no element along dim {over}; there is no extreme of none"
        )


def floats(name: str, input: Tensor) -> Tensor:
    """The input, if it is floating; raises DTypeError otherwise."""
    if not input.dtype.is_float:
        raise DTypeError(f"{name}: needs a floating tensor, got {input.dtype}; cast it first, e.g. .float()")
    return input


def widened(input: Tensor) -> Tensor:
    """Half precisions as float32: their sums and squares leave their range."""
    return to_dtype(input, dt.float32) if input.dtype.is_float and input.dtype.size == 2 else input


def total_of(input: Tensor, dtype: DType | None) -> Tensor:
    """What a sum or product runs over: integers and truth values as int64 unless another dtype is asked for."""
    if dtype is None:
        return input if input.dtype.is_float else to_dtype(input, dt.int64)
    return to_dtype(input, dtype)


@tensor_method
def sum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The sum over dimensions; integers and truth values are summed as int64, half precisions in float32."""
    if dtype is dt.boolean:
        return _truth("sum", input.bool(), dim, keepdim, False)
    return fold("sum", "sum", total_of(input, dtype), dim, keepdim)


@tensor_method
def nansum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The sum over dimensions of what is not nan."""
    wide = total_of(input, dtype)
    return fold("sum", "nansum", without_nan(wide), dim, keepdim)


def without_nan(input: Tensor) -> Tensor:
    """0 in the place of nan, where no gradient flows."""
    return where(input.isnan(), 0, input) if input.dtype.is_float else input


@tensor_method
def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The product along one dimension, or of all; its gradients are exact where factors are 0."""
    if dtype is dt.boolean:
        return _truth("prod", input.bool(), dim, keepdim, True)
    return fold("prod", "prod", total_of(input, dtype), dim, keepdim)


@tensor_method
def mean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The mean over dimensions of a floating tensor; that of a half precision is formed in float32."""
    wide = floats("mean", input if dtype is None else to_dtype(input, dtype))
    total = fold("sum", "mean", widened(wide), dim, keepdim)
    return to_dtype(total * (1.0 / _count("mean", wide, dim)), wide.dtype)


@tensor_method
def nanmean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The mean over dimensions of what is not nan; nan where nothing is left."""
    wide = floats("nanmean", input if dtype is None else to_dtype(input, dtype))
    kept = to_dtype(wide.isnan().logical_not(), widened(wide).dtype)
    total = fold("sum", "nanmean", widened(without_nan(wide)), dim, keepdim)
    return to_dtype(total / fold("sum", "nanmean", kept, dim, keepdim), wide.dtype)


def _count(name: str, input: Tensor, dim: Any) -> float:
    n = 1
    for a in axes(name, dim, input.ndim):
        n *= input.shape[a]
    return float(n) if n else float("nan")


def _spread(name: str, input: Tensor, dim: Any, unbiased: Any, keepdim: bool, correction: Any) -> tuple[Tensor, Tensor]:
    """(variance, mean) in float32 or wider; `dim` may be what PyTorch's older form has first: `unbiased`."""
    floats(name, input)
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    if not isinstance(correction, (int, float)):
        raise DTypeError(f"{name}: correction is a number, got {correction!r}")
    over = axes(name, dim, input.ndim)
    total, middle = _squares(name, widened(input), over)
    kept = tuple(1 if a in over else n for a, n in enumerate(input.shape))
    shape = kept if keepdim else tuple(n for a, n in enumerate(input.shape) if a not in over)
    free = _count(name, input, dim) - correction
    total = total.reshape(shape)
    return total / free if free > 0 else total / 0.0, middle.reshape(shape)


def _squares(name: str, wide: Tensor, over: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """(sum of squares around the mean, mean) over axes, in two passes; a long fold part by part (Chan et al., 1983)."""
    dim = list(over)
    if parts := in_parts(wide, over):
        inner, outer = list(parts.inner), list(parts.outer)
        each = _count(name, parts.tensor, inner)
        means = fold("sum", name, parts.tensor, inner, True) * (1.0 / each)
        centred = parts.tensor - means
        total = fold("sum", name, centred * centred, inner, True)
        middle = fold("sum", name, means, outer, True) * (1.0 / _count(name, means, outer))
        apart = means - middle
        return fold("sum", name, total + each * (apart * apart), outer, True), middle
    middle = fold("sum", name, wide, dim, True) * (1.0 / _count(name, wide, dim))
    centred = wide - middle
    return fold("sum", name, centred * centred, dim, True), middle


def root(spread: Tensor) -> Tensor:
    """The square root, whose gradient is 0 at 0."""
    still = spread.eq(0)
    return where(still, spread.detach(), where(still, 1.0, spread).sqrt())


@tensor_method
def var(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """The variance over dimensions, in two passes: the sum of squares divided by n - `correction`, which is 1.

    `unbiased=False` is the older way to say correction=0. Nan where nothing is left to divide by.
    """
    return to_dtype(_spread("var", input, dim, unbiased, keepdim, correction)[0], input.dtype)


@tensor_method
def std(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """The square root of the variance; its gradient is 0 where all elements are equal."""
    return to_dtype(root(_spread("std", input, dim, unbiased, keepdim, correction)[0]), input.dtype)


@tensor_method
def var_mean(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    """(variance, mean) over dimensions, as `var` and `mean`."""
    spread, middle = _spread("var_mean", input, dim, unbiased, keepdim, correction)
    return to_dtype(spread, input.dtype), to_dtype(middle, input.dtype)


@tensor_method
def std_mean(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    """(standard deviation, mean) over dimensions, as `std` and `mean`."""
    spread, middle = _spread("std_mean", input, dim, unbiased, keepdim, correction)
    return to_dtype(root(spread), input.dtype), to_dtype(middle, input.dtype)


@tensor_method
def amax(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The largest value over dimensions; equal ones share the gradient."""
    return fold("max", "amax", input, dim, keepdim)


@tensor_method
def amin(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The smallest value over dimensions; equal ones share the gradient."""
    return fold("min", "amin", input, dim, keepdim)


@tensor_method
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> Bounds:
    """(smallest, largest) value along one dimension, or of all; equal ones share the gradient."""
    return Bounds(*(fold(op, "aminmax", input, dim, keepdim) for op in ("min", "max")))


def _arg(op: str, name: str, input: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    """The first position of the extreme; nan is more extreme than any number."""
    flat = widened(input.detach() if dim is not None else input.detach().reshape(-1))
    at = axis(name, 0 if dim is None else dim, flat.ndim)
    if flat.ndim == 0:
        flat = flat.reshape(1)
    n = flat.shape[at]
    _some(name, flat, (at,))
    numbers = new(reshape(apply("iota", n=n), tuple(n if a == at else 1 for a in range(flat.ndim))), flat.device)
    place = to_dtype(numbers, dt.int32 if n < 1 << 31 else dt.int64)
    if parts := in_parts(flat, (at,)):
        (inner,), (outer,) = parts.inner, parts.outer
        place = place.reshape(tuple(s if a in (inner, outer) else 1 for a, s in enumerate(parts.tensor.shape)))
        best, first = _first(op, name, parts.tensor, place, inner, n - 1)
        found = _first(op, name, best, first, outer, n - 1)[1].reshape(
            tuple(1 if a == at else s for a, s in enumerate(flat.shape))
        )
    else:
        found = _first(op, name, flat, place, at, n - 1)[1]
    found = to_dtype(found, dt.int64)
    if not (keepdim and dim is not None):
        found = found.reshape(tuple(s for a, s in enumerate(flat.shape) if a != at))
    if input.ndim == 0:
        return found.reshape(())
    return found.reshape((1,) * input.ndim) if keepdim and dim is None else found


def _first(op: str, name: str, values: Tensor, place: Tensor, at: int, last: int) -> tuple[Tensor, Tensor]:
    """The extreme along an axis, and the first of the places, at most `last`, where it stands; the axis is kept."""
    best = fold(op, name, values, at, True)
    hit = values.eq(best) | values.isnan() if values.dtype.is_float else values.eq(best)
    return best, fold("min", name, where(hit, place, last), at, True)


@tensor_method
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the largest value lies, the first of equal ones, as int64; over the flattened tensor without `dim`."""
    return _arg("max", "argmax", input, dim, keepdim)


@tensor_method
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the smallest value lies, the first of equal ones, as int64; over the flattened tensor without `dim`."""
    return _arg("min", "argmin", input, dim, keepdim)


def _extreme(name: str, input: Tensor, dim: Any, keepdim: bool) -> Any:
    if isinstance(dim, Tensor):
        return getattr(input, f"{name}imum")(dim)
    if dim is None:
        return fold(name, name, input, None, False)
    indices = _arg(name, name, input, dim, True)
    found = input.gather(dim, indices) if input.ndim else input
    out = Selected(found, indices.reshape(found.shape))
    return out if keepdim or not input.ndim else Selected(*(t.squeeze(dim) for t in out))


@tensor_method
def max(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The largest value; with `dim`, (values, indices) along it; with a tensor, the elementwise maximum."""
    return _extreme("max", input, dim, keepdim)


@tensor_method
def min(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The smallest value; with `dim`, (values, indices) along it; with a tensor, the elementwise minimum."""
    return _extreme("min", input, dim, keepdim)


def _truth(name: str, input: Tensor, dim: Any, keepdim: bool, of_none: bool) -> Tensor:
    """A fold of truth values; that of uint8 is uint8, as PyTorch's. `of_none` is the answer for no element."""
    given = input.bool()
    over = axes(name, dim, input.ndim)
    if 0 in (input.shape[a] for a in over):
        found = fold("sum", name, given.long(), dim, keepdim).eq(0)
        found = found if of_none else found.logical_not()
    else:
        found = fold("min" if of_none else "max", name, given, dim, keepdim)
    return to_dtype(found, dt.uint8) if input.dtype is dt.uint8 else found


@tensor_method
def any(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """True where any element is true; False of none."""
    return _truth("any", input, dim, keepdim, False)


@tensor_method
def all(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """True where all elements are true; True of none."""
    return _truth("all", input, dim, keepdim, True)


@tensor_method
def count_nonzero(input: Tensor, dim: Any = None) -> Tensor:
    """How many elements over dimensions are not 0, as int64; nan is not 0."""
    return fold("sum", "count_nonzero", to_dtype(input.ne(0), dt.int64), dim, False)


def _finite(top: Tensor) -> Tensor:
    """What exponents are taken relative to: 0 where the largest is infinite or nan."""
    return where(top.isfinite(), top, 0.0)


@tensor_method
def logsumexp(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """log(sum(exp(x))) over dimensions without overflow; -inf of none; integers as float32."""
    wide = input if input.dtype.is_float else input.float()
    over = axes("logsumexp", dim, wide.ndim)
    if 0 in (wide.shape[a] for a in over):
        return fold("sum", "logsumexp", wide.exp(), dim, keepdim).log()
    if parts := in_parts(wide, over):
        inner, outer = list(parts.inner), list(parts.outer)
        tops = fold("max", "logsumexp", parts.tensor.detach(), inner, True)
        near = _finite(tops)
        sums = fold("sum", "logsumexp", (parts.tensor - near).exp(), inner, True)
        top = _finite(fold("max", "logsumexp", tops, outer, True))
        sums = sums * where(tops.isfinite(), (near - top).exp(), 1.0)
        out = (fold("sum", "logsumexp", sums, outer, True).log() + top).reshape(
            tuple(1 if a in over else n for a, n in enumerate(wide.shape))
        )
    else:
        top = _finite(fold("max", "logsumexp", wide.detach(), dim, True))
        out = fold("sum", "logsumexp", (wide - top).exp(), dim, True).log() + top
    return out if keepdim else out.reshape(tuple(n for a, n in enumerate(wide.shape) if a not in over))
