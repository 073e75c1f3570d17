"""Scans: what each element and all before it along a dimension fold to; differences and integrals of samples."""

from flame.errors import ShapeError
from flame.ir import dtype as dt
from flame.ir.dtype import DType
from flame.ir.node import apply
from flame.ir.ops.scan import extreme_places
from flame.ops.elementwise import to_dtype
from flame.ops.join import cat
from flame.ops.method import axis, tensor_method
from flame.ops.reduce import Selected, floats, sum, total_of, widened
from flame.ops.shape import cut
from flame.tensor import Tensor, new, same_device

__all__ = [
    "cummax",
    "cummin",
    "cumprod",
    "cumsum",
    "cumulative_trapezoid",
    "diff",
    "logcumsumexp",
    "trapezoid",
    "trapz",
]


def _scan(op: str, name: str, input: Tensor, dim: int) -> Tensor:
    at = axis(name, dim, input.ndim)
    if not input.ndim:
        return _scan(op, name, input.reshape(1), 0).reshape(())
    return new(apply(op, input.node, axis=at, reverse=False), input.device, input)


@tensor_method
def cumsum(input: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
    """The sum of each element and all before it; integers and truth values are summed as int64."""
    return _scan("cumsum", "cumsum", total_of(input, dtype), dim)


@tensor_method
def cumprod(input: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
    """The product of each element and all before it; its gradients are exact where factors are 0."""
    return _scan("cumprod", "cumprod", total_of(input, dtype), dim)


@tensor_method
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """log(sum(exp(x))) of each element and all before it, without overflow."""
    wide = widened(floats("logcumsumexp", input))
    return to_dtype(_scan("logcumsumexp", "logcumsumexp", wide, dim), input.dtype)


def _extreme(name: str, input: Tensor, dim: int) -> Selected:
    values = _scan(name, name, input, dim)
    if not input.ndim:
        return Selected(values, values.detach().ne(values.detach()).long())
    return Selected(values, new(extreme_places(values.node, input.node), input.device))


@tensor_method
def cummax(input: Tensor, dim: int) -> Selected:
    """(values, indices) of the largest so far: the last of equal ones; nan is larger than any number."""
    return _extreme("cummax", input, dim)


@tensor_method
def cummin(input: Tensor, dim: int) -> Selected:
    """(values, indices) of the smallest so far: the last of equal ones; nan is smaller than any number."""
    return _extreme("cummin", input, dim)


@tensor_method
def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """The n-th difference of neighbours along a dimension, which gets n shorter; of truth values, whether they differ.

    `prepend` and `append` are joined to the input first. Raises ShapeError for n < 0 and for a 0-d input.
    """
    if not isinstance(n, int) or n < 0 or not input.ndim:
        raise ShapeError(f"diff: needs an integer n >= 0 and at least one dimension, got n={n} and shape {input.shape}")
    at = axis("diff", dim, input.ndim)
    parts = [t for t in (prepend, input, append) if t is not None]
    out = cat(parts, at) if len(parts) > 1 else input
    for _ in range(min(n, out.shape[at])):
        size = out.shape[at]
        later, earlier = cut(out, at, 1, size), cut(out, at, 0, size - 1)
        out = later.logical_xor(earlier) if out.dtype is dt.boolean else later - earlier
    return out


def _areas(name: str, y: Tensor, x: Tensor | None, dx: float | None, dim: int) -> Tensor:
    """The area under each pair of neighbours, by the trapezoidal rule."""
    at = axis(name, dim, y.ndim)
    if x is not None and dx is not None:
        raise ShapeError(f"{name}: takes x or dx, not both")
    if not y.ndim:
        raise ShapeError(f"{name}: needs at least one dimension, got a tensor of shape ()")
    n = y.shape[at]
    pairs = cut(y, at, 1, n) + cut(y, at, 0, n - 1) if n else y
    if x is None:
        return pairs * ((1.0 if dx is None else dx) / 2.0)
    same_device(name, y, x)
    steps = diff(x, dim=at - y.ndim if x.ndim == y.ndim else -1)
    if x.ndim == 1:
        steps = steps.reshape(-1, *(1,) * (y.ndim - at - 1))
    return pairs * steps / 2.0


def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float | None = None, dim: int = -1) -> Tensor:
    """The integral along a dimension by the trapezoidal rule, over samples at `x`, or at a distance `dx` (1)."""
    return sum(_areas("trapezoid", y, x, dx, dim), dim)


trapz = trapezoid


def cumulative_trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float | None = None, dim: int = -1) -> Tensor:
    """The integral up to each sample but the first, by the trapezoidal rule."""
    return cumsum(_areas("cumulative_trapezoid", y, x, dx, dim), dim)
