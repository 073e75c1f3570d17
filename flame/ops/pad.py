"""Borders around tensors: a value, mirrored, repeated or going round."""

from collections.abc import Callable, Sequence

from flame.errors import DTypeError, ShapeError
from flame.ops.join import cat
from flame.ops.shape import cut, expand, flip, padded
from flame.tensor import Tensor

__all__ = ["constant_pad_nd", "pad"]

Border = Callable[[Tensor, int, int, int], tuple[Tensor, Tensor]]  # (input, dim, before, after) -> both borders


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """A border of `pad` = (before, after) for each dimension, the last dimension first; negative counts crop.

    Modes: "constant" (`value`, or 0), "reflect" (mirrored at the edge, which is not repeated), "replicate" (the edge
    repeated) and "circular" (going round). Raises ShapeError where a border is longer than what it is made of.
    """
    counts, rank = tuple(int(n) for n in pad), input.ndim
    if len(counts) % 2 or len(counts) > 2 * rank:
        raise ShapeError(f"pad: {counts} must hold two counts for each of at most {rank} dimensions")
    if mode != "constant" and mode not in BORDERS:
        raise DTypeError(f"pad: mode {mode!r} is none of constant, reflect, replicate and circular")
    if mode != "constant" and value:
        raise DTypeError(f"pad: mode {mode!r} takes no value, got {value}")
    low, high = [0] * rank, [0] * rank
    for i in range(len(counts) // 2):
        low[-1 - i], high[-1 - i] = counts[2 * i], counts[2 * i + 1]
    out = _cropped(input, low, high)
    low, high = [max(0, n) for n in low], [max(0, n) for n in high]
    if mode == "constant":
        return padded(out, low, high, value or 0)
    for a, (lo, hi) in enumerate(zip(low, high, strict=True)):
        if lo or hi:
            _check(out, a, mode, max(lo, hi))
            before, after = BORDERS[mode](out, a, lo, hi)
            out = cat([before, out, after], a)
    return out


def constant_pad_nd(input: Tensor, pad: Sequence[int], value: float = 0) -> Tensor:
    """As `pad` in mode "constant"."""
    return _pad(input, pad, "constant", value)


_pad = pad


def _cropped(input: Tensor, low: Sequence[int], high: Sequence[int]) -> Tensor:
    """What negative counts leave."""
    out = input
    for a, (lo, hi) in enumerate(zip(low, high, strict=True)):
        n = input.shape[a]
        if lo + hi + n < 0 or max(-lo, -hi) > n:
            raise ShapeError(f"pad: {lo} and {hi} positions around dim {a} of {input.shape} leave less than nothing")
        if lo < 0 or hi < 0:
            out = cut(out, a, max(0, -lo), max(max(0, -lo), n - max(0, -hi)))
    return out


def _check(input: Tensor, a: int, mode: str, longest: int) -> None:
    n = input.shape[a]
    most = {"reflect": n - 1, "circular": n}.get(mode, longest if n else 0)
    if longest > most:
        raise ShapeError(f"pad: a {mode} border around dim {a} of {input.shape} has at most {max(most, 0)} positions, "
                         f"not {longest}")  # fmt: skip


def _reflect(x: Tensor, a: int, lo: int, hi: int) -> tuple[Tensor, Tensor]:
    n = x.shape[a]
    return flip(cut(x, a, 1, 1 + lo), a), flip(cut(x, a, n - 1 - hi, n - 1), a)


def _replicate(x: Tensor, a: int, lo: int, hi: int) -> tuple[Tensor, Tensor]:
    n = x.shape[a]
    first, last = cut(x, a, 0, 1), cut(x, a, n - 1, n)
    shapes = ((*x.shape[:a], count, *x.shape[a + 1 :]) for count in (lo, hi))
    return expand(first, next(shapes)), expand(last, next(shapes))


def _circular(x: Tensor, a: int, lo: int, hi: int) -> tuple[Tensor, Tensor]:
    n = x.shape[a]
    return cut(x, a, n - lo, n), cut(x, a, 0, hi)


BORDERS: dict[str, Border] = {"reflect": _reflect, "replicate": _replicate, "circular": _circular}
