"""Long folds that look at each element twice, part by part: the second look finds the part still at hand.

A variance needs the mean first, a position the extreme, a logarithm of a sum of exponentials the largest. Over an axis
that no block of lanes can hold, each look would read all of memory. Over parts of it, a part is read once; what the
parts come to is little.
"""

from math import prod
from typing import NamedTuple

from flame.ops.shape import reshape
from flame.tensor import Tensor

TRAILING = (1 << 11, 1 << 14)  # elements of a part along the last axes
COLUMNS = (64, 256)  # rows of a part over columns: several blocks of them share a multiprocessor
LONG = 1 << 16  # elements along the last axes that are looked at twice without leaving the registers of a block
TALL = 1 << 10  # rows over columns
BESIDE = 64  # elements of a trailing run that make it a part


class Parts(NamedTuple):
    """A tensor whose folded axes lie apart: those of a part, and those that count the parts."""

    tensor: Tensor
    inner: tuple[int, ...]
    outer: tuple[int, ...]


def in_parts(input: Tensor, over: tuple[int, ...]) -> Parts | None:
    """The parts of a long fold over some axes, or None where it is short or has no equal parts."""
    shape = input.shape
    if not over or 0 in shape:
        return None
    first, last = over[0], over[-1]
    behind = prod(shape[last + 1 :])
    if over == tuple(range(first, last + 1)):
        n = prod(shape[first : last + 1])
        part = _part(n, TRAILING, 16) if behind == 1 and n > LONG else 0
        part = _part(n, COLUMNS, 1) if behind > 1 and n >= TALL else part
        if not part:
            return None
        wide = reshape(input, (*shape[:first], n // part, part, *shape[last + 1 :]))
        return Parts(wide, (first + 1,), (first,))
    inner = tuple(a for a in over if set(range(a, input.ndim)) <= set(over))
    size = prod(shape[a] for a in inner)
    outer = tuple(a for a in over if a not in inner)
    return (
        Parts(input, inner, outer) if inner and BESIDE <= size <= LONG and prod(shape[a] for a in outer) > 1 else None
    )


def _part(n: int, bounds: tuple[int, int], unit: int) -> int:
    """The largest part of n elements within bounds that leaves no rest; 0 if there is none."""
    low, high = bounds
    return next((size for size in range(high, low - 1, -unit) if n % size == 0), 0)
