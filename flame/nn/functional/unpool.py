"""The largest of windows put back where they were found."""

from math import prod
from typing import Any

from flame.autograd.function import Function, FunctionCtx
from flame.bounds import check
from flame.errors import DTypeError, ShapeError
from flame.nn.functional.pool import check_rank
from flame.ops.create import zeros
from flame.ops.window import each
from flame.tensor import Tensor

__all__ = ["max_unpool1d", "max_unpool2d", "max_unpool3d"]

Size = Any  # one integer for all axes, or a sequence of one for each


def max_unpool1d(
    input: Tensor, indices: Tensor, kernel_size: Size, stride: Size = None, padding: Size = 0, output_size: Any = None
) -> Tensor:
    """What `max_pool1d` found, at the places it found it; zeros elsewhere. (N, C, L) or (C, L), twice → (N, C, L').

    L' = (L − 1) · stride − 2 · padding + kernel_size, or `output_size`, less than a stride from that. Of values for
    one place the last stays, and each gets the gradient. Raises ShapeError for sizes that do not fit, DTypeError for
    indices that are not int64, IndexingError for those outside.

    >>> max_unpool1d(flame.tensor([[3.0, 2.0]]), flame.tensor([[1, 2]]), 2).numpy().tolist()
    [[0.0, 3.0, 2.0, 0.0]]
    """
    return _unpool("max_unpool1d", 1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Tensor, indices: Tensor, kernel_size: Size, stride: Size = None, padding: Size = 0, output_size: Any = None
) -> Tensor:
    """What `max_pool2d` found, at the places it found it. (N, C, H, W) or (C, H, W), twice → (N, C, H', W').

    Indices are positions in the flattened (H', W'); each axis as in `max_unpool1d`.

    >>> max_unpool2d(flame.ones(1, 1, 1), flame.tensor([[[3]]]), 2).numpy().tolist()
    [[[0.0, 0.0], [0.0, 1.0]]]
    """
    return _unpool("max_unpool2d", 2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Tensor, indices: Tensor, kernel_size: Size, stride: Size = None, padding: Size = 0, output_size: Any = None
) -> Tensor:
    """What `max_pool3d` found, at the places it found it. (N, C, D, H, W) or (C, D, H, W), twice → (N, C, D', H', W').

    Indices are positions in the flattened (D', H', W'); each axis as in `max_unpool1d`.

    >>> max_unpool3d(flame.ones(1, 1, 1, 1), flame.tensor([[[[3]]]]), 2).shape
    (1, 2, 2, 2)
    """
    return _unpool("max_unpool3d", 3, input, indices, kernel_size, stride, padding, output_size)


# --- below ------------------------------------------------------------------------------------------------------------
class _Unpooled(Function):
    """Values at flat places of the last axis; the gradient is read at the same places."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, indices: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(indices)
        return zeros(*x.shape[:-1], size, dtype=x.dtype, device=x.device).scatter(-1, indices, x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0].gather(-1, ctx.saved_tensors[0]), None, None


def _unpool(
    name: str,
    rank: int,
    input: Tensor,
    indices: Tensor,
    kernel_size: Size,
    stride: Size,
    padding: Size,
    output_size: Any,
) -> Tensor:
    check_rank(name, rank, input)
    if indices.dtype.name != "int64":
        raise DTypeError(f"{name}: the indices are {indices.dtype}, but must be int64; cast them with .long()")
    if tuple(indices.shape) != tuple(input.shape):
        raise ShapeError(f"{name}: indices of shape {tuple(indices.shape)} must have the input's, {tuple(input.shape)}")
    kernel, pad = each(name, "kernel_size", kernel_size, rank), each(name, "padding", padding, rank, 0)
    by = kernel if stride is None else each(name, "stride", stride, rank)
    out = _output_size(name, rank, input, kernel, by, pad, output_size)
    flat = (*input.shape[:-rank], prod(input.shape[-rank:]))
    places = indices.reshape(*flat)
    check(name, places, prod(out), (places.node, prod(out)))
    found = _Unpooled.apply(input.reshape(*flat), places, prod(out))
    return found.reshape(*input.shape[:-rank], *out)


def _output_size(
    name: str, rank: int, input: Tensor, kernel: Any, stride: Any, padding: Any, given: Any
) -> tuple[int, ...]:
    usual = tuple(
        (n - 1) * s + k - 2 * p for n, k, s, p in zip(input.shape[-rank:], kernel, stride, padding, strict=True)
    )
    if given is None:
        out = usual
    else:
        wanted = tuple(given)
        out = each(name, "output_size", wanted[2:] if len(wanted) == rank + 2 else wanted, rank, 0)
        if any(abs(m - n) >= s for m, n, s in zip(out, usual, stride, strict=True)):
            raise ShapeError(f"{name}: output_size {out} must be less than stride {stride} from {usual}")
    if min(out) < 1:
        raise ShapeError(f"{name}: shape {tuple(input.shape)} would become {out}; use less padding")
    return out
