"""Connectionist temporal classification: the cost of a sequence whose alignment nobody knows.

Shape suffixes: T time steps, N examples, C classes, S targets, L = 2 S + 1 targets with blanks around each.
"""

import math
from typing import Any

import numpy as np

from flame.autograd.function import Function, once_differentiable
from flame.errors import DTypeError, FlameError, IndexingError, ShapeError
from flame.ir import dtype as dt
from flame.nn.functional.loss.common import check_floating, check_reduction, reduce
from flame.ops.create import tensor
from flame.tensor import Tensor

__all__ = ["ctc_loss"]

NEVER = -math.inf


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """−log of the probability of all alignments of the targets (Graves et al., ICML 2006).

    log_probs (T, N, C) or (T, C), floating, after log_softmax; targets (N, S), or all one behind the other (ΣS),
    integers; lengths (N) or (), tensors or sequences, which are read → () or, for "none", (N) or (). "mean" divides
    each cost by its number of targets, and then averages. Targets that do not fit into their time cost infinity, or
    nothing, with no gradient, with `zero_infinity`. It is computed on
    the host at the call, in float64, together with its gradient; there is no second one, as in PyTorch.
    Raises ShapeError, DTypeError, IndexingError (a class that is not there) or FlameError (lengths, blank, reduction).

    >>> log_probs = flame.zeros(2, 1, 2).log_softmax(-1)
    >>> round(ctc_loss(log_probs, flame.tensor([[1]]), [2], [1], reduction="sum").item(), 4)
    0.2877
    """
    check_reduction("ctc_loss", reduction)
    times, sizes = _checked(log_probs, targets, input_lengths, target_lengths, blank)
    single = log_probs.ndim == 2
    steps = log_probs.unsqueeze(1) if single else log_probs
    cost, slope = _cost(steps.numpy().astype(np.float64), _labels(targets, sizes, blank, steps.shape[-1]), times, sizes)
    if zero_infinity:
        slope[:, np.isinf(cost)] = 0
        cost[np.isinf(cost)] = 0
    if reduction == "mean":
        each = np.maximum(sizes, 1)
        cost, slope = cost / each, slope / each[:, None]
    given = (tensor(x, dtype=steps.dtype, device=steps.device) for x in (cost, slope))
    loss = _Given.apply(steps, *given)
    return reduce(loss.reshape(()) if single else loss, reduction, "ctc_loss")


def _cost(
    log_probs: np.ndarray, labels: np.ndarray, times: np.ndarray, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What each example costs (N), and its derivative by every log-probability (T, N, C)."""
    count, batch, _ = log_probs.shape
    seen = np.take_along_axis(log_probs, np.broadcast_to(labels, (count, *labels.shape)), 2)
    cost, share = _aligned(seen, labels, times, sizes)
    slope = np.zeros(log_probs.shape)
    for place in range(labels.shape[1]):
        slope[:, np.arange(batch), labels[:, place]] -= share[:, :, place]
    slope[:, np.isinf(cost)] = np.nan  # as PyTorch's: no change of a probability makes it possible
    return cost, slope


class _Given(Function):
    """A cost whose gradient is known beside it."""

    @staticmethod
    def forward(ctx: Any, log_probs: Tensor, cost: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope, log_probs)
        return cost.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        slope, _ = ctx.saved_tensors
        return g.unsqueeze(-1) * slope, None, None


def _aligned(seen: np.ndarray, labels: np.ndarray, times: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, ...]:
    """−log of the probability of all paths (N), and of every place of a path its share (T, N, L).

    `seen` (T, N, L) are the log-probabilities of the labels. Forward variables (section 4.1) sum the ways to a place,
    backward ones those from it on.
    """
    count, batch, length = seen.shape
    skips = np.zeros((batch, length), bool)  # the blank between two different labels may be missing
    skips[:, 3::2] = labels[:, 3::2] != labels[:, 1:-2:2]
    ahead, back = np.full(seen.shape, NEVER), np.full(seen.shape, NEVER)
    every, last = np.arange(batch), np.maximum(times - 1, 0)
    ahead[0, :, :2] = seen[0, :, :2]
    for t in range(1, count):
        ahead[t] = _reached(ahead[t - 1], skips) + seen[t]
    for t in reversed(range(count)):
        if t + 1 < count:
            back[t] = _reached(back[t + 1, :, ::-1], _turned(skips))[:, ::-1] + seen[t]
        ends = every[last == t]
        for place in (2 * sizes[ends], np.maximum(2 * sizes[ends] - 1, 0)):
            back[t, ends, place] = seen[t, ends, place]
    tail = ahead[last, every, 2 * sizes]
    before = np.where(sizes > 0, ahead[last, every, np.maximum(2 * sizes - 1, 0)], NEVER)
    total = np.where(times > 0, np.logaddexp(tail, before), np.where(sizes == 0, 0.0, NEVER))
    possible = (ahead > NEVER) & (back > NEVER) & (times > 0)[:, None] & (total > NEVER)[:, None]
    exponent = (
        np.where(possible, ahead + back, NEVER) - np.where(possible, seen, 0) - np.where(possible, total[:, None], 0)
    )
    return -total, np.exp(exponent)


def _reached(state: np.ndarray, skips: np.ndarray) -> np.ndarray:
    """From each place, from the one before, and over a blank."""
    padded = np.pad(state, ((0, 0), (2, 0)), constant_values=NEVER)
    return np.logaddexp(np.logaddexp(state, padded[:, 1:-1]), np.where(skips, padded[:, :-2], NEVER))


def _turned(skips: np.ndarray) -> np.ndarray:
    """Who may skip on the way back: the place from which a skip led."""
    return np.pad(skips[:, 2:], ((0, 0), (0, 2)))[:, ::-1] if skips.shape[1] > 2 else np.zeros_like(skips)


def _labels(targets: Tensor, sizes: np.ndarray, blank: int, classes: int) -> np.ndarray:
    """(N, L): blanks between the targets and behind them; raises IndexingError for classes that are not there."""
    numbers, most = targets.numpy().reshape(-1).astype(np.int64), int(sizes.max(initial=0))
    starts = np.cumsum(sizes) - sizes if targets.ndim == 1 else np.arange(len(sizes)) * targets.shape[-1]
    inside = np.arange(most) < sizes[:, None]
    out = np.full((len(sizes), 2 * most + 1), blank)
    named = numbers[(starts[:, None] + np.arange(most))[inside]]
    wrong = named[(named < 0) | (named >= classes)]
    if wrong.size:
        raise IndexingError(f"ctc_loss: target {wrong[0]} is out of range; choose from [0, {classes - 1}]")
    out[:, 1::2][inside] = named
    return out


def _checked(
    log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any, blank: int
) -> tuple[np.ndarray, np.ndarray]:
    """The lengths as arrays (N), after all checks."""
    check_floating("ctc_loss", log_probs=log_probs)
    if log_probs.ndim not in (2, 3) or not log_probs.shape[0]:
        raise ShapeError(f"ctc_loss: log_probs has shape {log_probs.shape}; give (T, N, C) or (T, C) with T > 0")
    if targets.dtype.category != dt.INT:
        raise DTypeError(f"ctc_loss: targets are class numbers, not {targets.dtype}; cast them, e.g. .long()")
    batch, classes = (1 if log_probs.ndim == 2 else log_probs.shape[1]), log_probs.shape[-1]
    if not 0 <= blank < classes:
        raise IndexingError(f"ctc_loss: blank is {blank}, but there are classes 0 to {classes - 1}")
    if targets.ndim not in (1, 2) or (targets.ndim == 2 and targets.shape[0] != batch):
        raise ShapeError(f"ctc_loss: targets have shape {targets.shape}; give (N, S) with N = {batch}, or (ΣS)")
    times, sizes = (_lengths(name, x, batch) for name, x in
                    (("input_lengths", input_lengths), ("target_lengths", target_lengths)))  # fmt: skip
    room = targets.shape[-1]
    most = sizes.sum() if targets.ndim == 1 else sizes.max(initial=0)
    if times.max(initial=0) > log_probs.shape[0] or most > room or min(times.min(initial=0), sizes.min(initial=0)) < 0:
        raise FlameError(
            f"ctc_loss: input_lengths {times.tolist()} and target_lengths {sizes.tolist()} do not fit "
            f"{log_probs.shape[0]} steps and targets of shape {targets.shape}"
        )
    return times, sizes


def _lengths(name: str, given: Any, batch: int) -> np.ndarray:
    found = given.numpy() if isinstance(given, Tensor) else np.asarray(given)
    if found.dtype.kind not in "iu":
        raise DTypeError(f"ctc_loss: {name} are integers, not {found.dtype}")
    if found.size != batch:
        raise ShapeError(f"ctc_loss: {name} has {found.size} numbers for a batch of {batch}")
    return found.reshape(batch).astype(np.int64)
