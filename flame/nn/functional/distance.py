"""Distances between rows."""

from flame.ops import distance
from flame.tensor import Tensor

__all__ = ["pdist"]


def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The p-norm of the difference of every two rows, in order of their numbers: (n, d) → (n (n - 1) / 2), floating.

    Where two rows are equal the gradient is 0. Raises ShapeError for what is no matrix.

    >>> pdist(flame.tensor([[0.0], [1.0], [3.0]])).numpy().tolist()
    [1.0, 3.0, 2.0]
    """
    return distance.pdist(input, p)
