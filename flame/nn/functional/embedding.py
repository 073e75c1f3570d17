"""Rows by number, alone and in bags."""

from collections.abc import Callable

from flame.bounds import at_hand, integers
from flame.errors import IndexingError, ShapeError, StateError
from flame.ops.create import arange, zeros
from flame.ops.elementwise import where
from flame.ops.index import embedding as rows_of
from flame.ops.search import one_hot, searchsorted
from flame.tensor import Tensor

__all__ = ["embedding", "embedding_bag", "one_hot"]


def _plain(name: str, max_norm: float | None, scale_grad_by_freq: bool) -> None:
    if max_norm is not None or scale_grad_by_freq:
        raise StateError(
            f"{name}: max_norm and scale_grad_by_freq would change the weight or its gradient behind your back; "
            "renormalise the weight under flame.no_grad(), or scale its gradient, instead"
        )


def _padding(name: str, weight: Tensor, padding_idx: int | None) -> int:
    """The row that is left out, or -1."""
    if weight.ndim != 2:
        raise ShapeError(f"{name}: weight has shape {tuple(weight.shape)}, but must be (rows, width)")
    if padding_idx is None:
        return -1
    if not -weight.shape[0] <= padding_idx < weight.shape[0]:
        raise IndexingError(f"{name}: padding_idx {padding_idx} is out of range for {weight.shape[0]} rows")
    return padding_idx % weight.shape[0]


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of `weight` by number. Integers (*), (rows, width) → (*, width).

    The row `padding_idx` gets no gradient; `sparse` has no effect. Raises DTypeError for indices that are no integers,
    ShapeError for a weight that is no matrix, IndexingError for an index outside [0, rows), and StateError for
    `max_norm` and `scale_grad_by_freq`, which FLAME has not: renormalise the weight under no_grad instead.

    >>> embedding(flame.tensor([1, 0]), flame.tensor([[1.0, 2.0], [3.0, 4.0]])).numpy().tolist()
    [[3.0, 4.0], [1.0, 2.0]]
    """
    _plain("embedding", max_norm, scale_grad_by_freq)
    return rows_of(weight, input, _padding("embedding", weight, padding_idx))


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """The sum, mean or max of the rows of each bag; that of an empty bag is 0.

    Integers (bags, n), or (n) with `offsets` where each bag begins; (rows, width) → (bags, width). The row
    `padding_idx` belongs to no bag. `per_sample_weights`, of the input's shape, scale the rows of a sum. Errors as in
    `embedding`.

    >>> embedding_bag(flame.tensor([0, 1, 1]), flame.tensor([[1.0], [3.0]]), flame.tensor([0, 1])).numpy().tolist()
    [[1.0], [3.0]]
    """
    _plain("embedding_bag", max_norm, scale_grad_by_freq)
    padding = _padding("embedding_bag", weight, padding_idx)
    integers("embedding_bag", input)
    if mode not in ("sum", "mean", "max"):
        raise StateError(f"embedding_bag: mode must be 'sum', 'mean' or 'max', not {mode!r}")
    total, largest = _bags(input, weight, offsets, include_last_offset)
    rows, kept = rows_of(weight, input), input.unsqueeze(-1).ne(padding)
    if per_sample_weights is not None:
        if mode != "sum" or per_sample_weights.shape != input.shape:
            raise ShapeError(
                f"embedding_bag: per_sample_weights of shape {tuple(per_sample_weights.shape)} with mode {mode!r}; "
                f"they scale the rows of a sum, and have the input's shape, {tuple(input.shape)}"
            )
        rows = rows * per_sample_weights.unsqueeze(-1)
    if mode == "sum":
        return total(where(kept, rows, 0.0))
    count = total(kept.to(weight.dtype).expand(rows.shape))
    if mode == "mean":
        return total(where(kept, rows, 0.0)) / where(count > 0, count, 1.0)
    return where(count > 0, largest(where(kept, rows, float("-inf"))), 0.0)


Fold = Callable[[Tensor], Tensor]


def _bags(input: Tensor, weight: Tensor, offsets: Tensor | None, last: bool) -> tuple[Fold, Fold]:
    """How the rows of each bag are summed, and how the largest is found."""
    if input.ndim == 2 and offsets is None:
        if not input.shape[1]:
            return lambda rows: rows.sum(1), lambda rows: rows.sum(1)
        return lambda rows: rows.sum(1), lambda rows: rows.amax(1)
    if input.ndim != 1 or offsets is None or offsets.ndim != 1:
        given = None if offsets is None else tuple(offsets.shape)
        raise ShapeError(
            f"embedding_bag: the input has shape {tuple(input.shape)} and offsets {given}; give (bags, n) without "
            "offsets, or (n) with 1-d offsets"
        )
    integers("embedding_bag", offsets)
    starts = offsets[:-1] if last else offsets
    if at_hand(offsets) and offsets.numel() and offsets[0].item() != 0:
        raise IndexingError(f"embedding_bag: offsets[0] must be 0, the start of the first bag, not {offsets[0].item()}")
    nothing = zeros(starts.numel(), weight.shape[1], dtype=weight.dtype, device=weight.device)
    bags = searchsorted(starts, arange(input.numel(), device=input.device), right=True) - 1
    return (
        lambda rows: nothing.index_add(0, bags, rows),
        lambda rows: nothing.index_reduce(0, bags, rows, "amax", include_self=False),
    )
