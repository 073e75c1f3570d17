"""Norms of vectors and what divides by them; where a norm is 0 its gradient is 0, as in PyTorch."""

import math
from typing import Any

from flame.errors import DTypeError, ShapeError
from flame.ir.dtype import DType
from flame.ops.elementwise import to_dtype, where
from flame.ops.method import tensor_method
from flame.ops.reduce import floats, fold, root, widened
from flame.tensor import Tensor

__all__ = ["dist", "norm"]


def length(name: str, x: Tensor, p: float, dim: Any, keepdim: bool) -> Tensor:
    """(Σ |x|^p)^(1/p) over dimensions of a floating tensor, at its own precision; its gradient is 0 where it is 0."""
    if math.isinf(p):
        return fold("min" if p < 0 else "max", name, x.abs(), dim, keepdim)
    if p == 0:
        return fold("sum", name, where(x.ne(0), 1.0, x * 0.0), dim, keepdim)  # a gradient of 0, as PyTorch's
    if p == 1:
        return fold("sum", name, x.abs(), dim, keepdim)
    if p == 2:
        return root(fold("sum", name, x * x, dim, keepdim))
    some = x.ne(0)
    raised = where(some, where(some, x.abs(), 1.0) ** p, 0.0 if p > 0 else math.inf)
    total = fold("sum", name, raised, dim, keepdim)
    still = total.eq(0 if p > 0 else math.inf)
    return where(still, 0.0, where(still, 1.0, total) ** (1 / p))


@tensor_method
def norm(input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: DType | None = None) -> Tensor:
    """The p-norm of all elements, or over dimensions; "fro" and None are p=2. That of matrices is flame.linalg's."""
    if p is None or p == "fro":
        p = 2.0
    if not isinstance(p, (int, float)):
        raise DTypeError(f"norm: p={p!r} is not there; give a number, or see flame.linalg.matrix_norm")
    wide = floats("norm", input if dtype is None else to_dtype(input, dtype))
    return to_dtype(length("norm", widened(wide), float(p), dim, keepdim), wide.dtype)


@tensor_method
def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The p-norm of the difference of two tensors that broadcast."""
    if not isinstance(other, Tensor):
        raise ShapeError(f"dist: needs two tensors, got {type(other).__name__}")
    return norm(input - other, p)
