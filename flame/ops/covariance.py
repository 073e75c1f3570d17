"""How rows of observations vary together."""

from flame.errors import DTypeError, ShapeError
from flame.ir import dtype as dt
from flame.ops.diagonal import diagonal
from flame.ops.elementwise import to_dtype
from flame.ops.method import method
from flame.ops.shape import reshape, transpose, unsqueeze
from flame.tensor import Tensor

__all__ = ["corrcoef", "cov"]


@method
def cov(
    input: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None
) -> Tensor:
    """The covariance of the rows of a matrix, whose columns are observations: (v, n) to (v, v); a vector's is 0-d.

    `fweights` says how often each observation was made, as integers, `aweights` how much it counts. Sums are divided by
    their number less `correction`, but by 0 at least. Raises ShapeError or DTypeError for what is no such matrix.
    """
    if input.ndim > 2 or input.dtype is dt.boolean:
        problem = ShapeError if input.ndim > 2 else DTypeError
        raise problem(f"cov: needs numbers in at most two dimensions, got {input.dtype} of shape {input.shape}")
    rows = reshape(input, (1, input.numel())) if input.ndim < 2 else input
    rows = rows if rows.dtype.is_float else to_dtype(rows, dt.default())
    n = rows.shape[1]
    for name, weights, floating in (("fweights", fweights, False), ("aweights", aweights, True)):
        if weights is not None and (weights.shape != (n,) or weights.dtype.is_float is not floating):
            raise ShapeError(f"cov: {name} must be {n} {'floats' if floating else 'integers'}, got {weights.dtype} "
                             f"of shape {weights.shape}")  # fmt: skip
    given = [to_dtype(w, rows.dtype) for w in (fweights, aweights) if w is not None]
    if not given:
        centred = rows - rows.mean(1, True) if n else rows
        out = (centred @ transpose(centred, 0, 1)) / float(max(0, n - correction))
    else:
        weights = given[0] * given[1] if len(given) > 1 else given[0]
        total = weights.sum()
        centred = rows - unsqueeze((rows @ weights) / total, 1)
        lost = (weights * given[-1]).sum() / total if aweights is not None else 1.0
        out = ((centred * weights) @ transpose(centred, 0, 1)) / (total - lost * correction).clamp(min=0)
    return reshape(out, ()) if input.ndim < 2 else out


@method
def corrcoef(input: Tensor) -> Tensor:
    """The correlations of the rows of a matrix, whose columns are observations: (v, n) to (v, v), in [-1, 1]."""
    if input.ndim > 2:
        raise ShapeError(f"corrcoef: needs at most two dimensions, got {input.shape}")
    both = cov(input)
    if not both.ndim:
        return both / both
    spread = diagonal(both).sqrt()
    return (both / unsqueeze(spread, 1) / unsqueeze(spread, 0)).clamp(-1, 1)
