"""A step length that satisfies the strong Wolfe conditions (Nocedal and Wright, Numerical Optimization, 3.5)."""

import math
from collections.abc import Callable
from typing import NamedTuple

from flame.tensor import Tensor

ENOUGH = 1e-4  # of the decrease that the first slope promises
FLAT = 0.9  # of the first slope's steepness may be left
CLOSE = 0.1  # of a bracket: a point that near to its end makes too little progress


class Point(NamedTuple):
    """A step length, and the loss, its gradient and its slope there."""

    length: float
    loss: float
    gradient: Tensor
    slope: float


Look = Callable[[float], Point]


def strong_wolfe(look: Look, start: Point, length: float, largest: float, most: int, tolerance: float = 1e-9):
    """The best point found by at most `most` looks behind the first, and how many looks it took.

    `start` has length 0 and `largest` is the largest number of the direction. The search of torch.optim.LBFGS: first a
    bracket is grown, then narrowed, by cubics through both ends.
    """
    bracket, looks, done = _grown(look, start, look(length), most)
    stuck = False
    while not done and looks < most and len(bracket) > 1:
        low, high = sorted(range(2), key=lambda i: bracket[i].loss)
        ends = [point.length for point in bracket]
        if (max(ends) - min(ends)) * largest < tolerance:
            break
        length, stuck = _inside(cubic(bracket[0], bracket[1]), min(ends), max(ends), stuck)
        new, looks = look(length), looks + 1
        if too_high(new, start) or new.loss >= bracket[low].loss:
            bracket[high] = new
            continue
        done = level(new, start)
        if not done and new.slope * (bracket[high].length - bracket[low].length) >= 0:
            bracket[high] = bracket[low]
        bracket[low] = new
    return min(bracket, key=lambda point: point.loss), looks + 1


def _grown(look: Look, start: Point, new: Point, most: int) -> tuple[list[Point], int, bool]:
    """Two points around one that satisfies the conditions, or that one; looks taken, and whether it is found."""
    last, looks = start, 0
    while looks < most:
        if too_high(new, start) or (looks > 1 and new.loss >= last.loss):
            return [last, new], looks, False
        if level(new, start):
            return [new], looks, True
        if new.slope >= 0:
            return [last, new], looks, False
        bounds = new.length + 0.01 * (new.length - last.length), new.length * 10
        length = cubic(last, new, bounds)
        last, new, looks = new, look(length), looks + 1
    return [start, new], looks, False


def too_high(point: Point, start: Point) -> bool:
    """Armijo's condition fails."""
    return point.loss > start.loss + ENOUGH * point.length * start.slope


def level(point: Point, start: Point) -> bool:
    """The slope is flat enough."""
    return abs(point.slope) <= -FLAT * start.slope


def cubic(one: Point, other: Point, bounds: tuple[float, float] | None = None) -> float:
    """Where the cubic with both points' losses and slopes is least, between the bounds or the points."""
    first, second = sorted((one, other), key=lambda point: point.length)
    low, high = bounds or (first.length, second.length)
    rise = first.slope + second.slope - 3 * (first.loss - second.loss) / (first.length - second.length)
    square = rise * rise - first.slope * second.slope
    if not square >= 0:
        return (low + high) / 2
    root = math.sqrt(square)
    under = second.slope - first.slope + 2 * root
    share = (second.slope + root - rise) / under if under else math.nan
    place = second.length - (second.length - first.length) * share
    return min(max(place, low), high) if place == place else (low + high) / 2


def _inside(length: float, low: float, high: float, stuck: bool) -> tuple[float, bool]:
    """A length away from the ends of a bracket, if the last one was near them too; and whether this one is near."""
    margin = CLOSE * (high - low)
    if min(high - length, length - low) >= margin:
        return length, False
    if not stuck and low < length < high:
        return length, True
    return (high - margin if high - length < length - low else low + margin), False
