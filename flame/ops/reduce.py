"""Reductions over one dimension, several, or all."""

from typing import Any, NamedTuple

from flame.errors import DTypeError, ShapeError
from flame.ir import dtype as dt
from flame.ir.dtype import DType
from flame.ir.node import apply, reshape
from flame.ops.elementwise import to_dtype, where
from flame.ops.method import axes, axis, method
from flame.tensor import Tensor, new

__all__ = ["all", "amax", "amin", "any", "argmax", "argmin", "logsumexp", "max", "mean", "min", "std", "sum", "var"]


class Extreme(NamedTuple):
    """The extreme values along a dimension, and where they lie."""

    values: Tensor
    indices: Tensor


def _reduce(name: str, input: Tensor, dim: Any, keepdim: bool) -> Tensor:
    over = axes(name, dim, input.ndim)
    node = apply(name, input.node, axes=over) if over else input.node
    if keepdim:
        node = reshape(node, tuple(1 if a in over else n for a, n in enumerate(input.shape)))
    return new(node, input.device, input)


@method
def sum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The sum over dimensions; integers and truth values are summed as int64, half precisions in float32."""
    if dtype is None and not input.dtype.is_float:
        dtype = dt.int64
    return _reduce("sum", input if dtype is None else to_dtype(input, dtype), dim, keepdim)


@method
def mean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The mean over dimensions of a floating tensor; that of a half precision is formed in float32."""
    wide = input if dtype is None else to_dtype(input, dtype)
    if not wide.dtype.is_float:
        raise DTypeError(
            f"mean: needs a floating tensor, got {wide.dtype}; cast it first, e.g. .float(), or pass dtype="
        )
    return to_dtype(_reduce("sum", _summable(wide), dim, keepdim) * (1.0 / _count(wide, dim)), wide.dtype)


def _summable(input: Tensor) -> Tensor:
    """Sums of half precisions leave their range: float32 holds them."""
    return to_dtype(input, dt.float32) if input.dtype.is_float and input.dtype.size == 2 else input


def _count(input: Tensor, dim: Any) -> float:
    n = 1
    for a in axes("mean", dim, input.ndim):
        n *= input.shape[a]
    return float(n) if n else float("nan")


@method
def var(input: Tensor, dim: Any = None, *, correction: float = 1, keepdim: bool = False) -> Tensor:
    """The variance over dimensions, in two passes; `correction` is Bessel's, 0 for the population's."""
    wide = _summable(input)
    centred = wide - mean(wide, dim, True)
    n = _count(input, dim) - correction
    total = _reduce("sum", centred * centred, dim, keepdim)
    return to_dtype(total * (1.0 / n if n > 0 else float("nan")), input.dtype)


@method
def std(input: Tensor, dim: Any = None, *, correction: float = 1, keepdim: bool = False) -> Tensor:
    """The square root of the variance."""
    return var(input, dim, correction=correction, keepdim=keepdim).sqrt()


@method
def amax(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The largest value over dimensions; equal ones share the gradient."""
    return _reduce("max", input, dim, keepdim)


@method
def amin(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The smallest value over dimensions; equal ones share the gradient."""
    return _reduce("min", input, dim, keepdim)


def _arg(name: str, input: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    """The first position of the extreme; nan is more extreme than any number."""
    flat = input.detach() if dim is not None else input.detach().reshape(-1)
    if flat.dtype in (dt.float16, dt.bfloat16):
        flat = flat.float()  # what is computed for the comparison is not rounded to memory's width
    at = axis(f"arg{name}", 0 if dim is None else dim, flat.ndim)
    if flat.ndim == 0:
        flat = flat.reshape(1)
    n = flat.shape[at]
    if not n:
        raise ShapeError(f"arg{name}: a tensor of shape {input.shape} has no element along dim {dim}")
    best = _reduce(name, flat, at, True)
    place = reshape(apply("iota", n=n), tuple(n if a == at else 1 for a in range(flat.ndim)))
    hit = flat.eq(best) | flat.isnan() if flat.dtype.is_float else flat.eq(best)
    found = amin(where(hit, new(place, flat.device), n - 1), at, keepdim and dim is not None)
    return found.reshape(()) if input.ndim == 0 else found


@method
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the largest value lies, the first of equal ones, as int64; over the flattened tensor without `dim`."""
    return _arg("max", input, dim, keepdim)


@method
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the smallest value lies, the first of equal ones, as int64; over the flattened tensor without `dim`."""
    return _arg("min", input, dim, keepdim)


def _extreme(name: str, input: Tensor, dim: Any, keepdim: bool) -> Any:
    if isinstance(dim, Tensor):
        return getattr(input, f"{name}imum")(dim)
    if dim is None:
        return _reduce(name, input, None, False)
    indices = _arg(name, input, dim, True)
    found = input.gather(dim, indices) if input.ndim else input
    out = Extreme(found, indices.reshape(found.shape))
    return out if keepdim or not input.ndim else Extreme(*(t.squeeze(dim) for t in out))


@method
def max(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The largest value; with `dim`, (values, indices) along it; with a tensor, the elementwise maximum."""
    return _extreme("max", input, dim, keepdim)


@method
def min(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The smallest value; with `dim`, (values, indices) along it; with a tensor, the elementwise minimum."""
    return _extreme("min", input, dim, keepdim)


@method
def any(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """True where any element is true; False of none."""
    if input.numel():
        return _reduce("max", input.bool(), dim, keepdim)
    return _reduce("sum", input.bool().long(), dim, keepdim).ne(0)


@method
def all(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """True where all elements are true; True of none."""
    return any(input.bool().logical_not(), dim, keepdim).logical_not()


@method
def logsumexp(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """log(sum(exp(x))) without overflow."""
    top = amax(input.detach(), dim, True)
    top = where(top.isfinite(), top, 0.0)
    out = sum((input - top).exp(), dim, True).log() + top
    if keepdim:
        return out
    over = axes("logsumexp", dim, input.ndim)
    return out.reshape(tuple(n for a, n in enumerate(input.shape) if a not in over))
