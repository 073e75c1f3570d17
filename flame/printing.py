"""Arrays as text, laid out as PyTorch prints tensors: of a large one the edges of each dimension are enough.

A dimension is cut to its edges where the whole has more elements than `threshold` and the dimension more than twice
`edgeitems`: only these elements are ever read.
"""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from typing import Any

import numpy as np

from flame.errors import ConfigError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Options:
    """How tensors are printed."""

    precision: int = 4  # digits behind the point
    threshold: float = 1000  # elements beyond which only the edges are printed
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None  # scientific notation: always, never, or where the numbers ask for it


PROFILES = {
    "default": Options(),
    "short": Options(precision=2, edgeitems=2),
    "full": Options(threshold=math.inf),
}
_options = Options()


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """How tensors are printed from now on; what is None stays, but for `sci_mode`, where None chooses by the numbers.

    `profile` is "default", "short" or "full"; raises ConfigError for another word.
    """
    global _options
    if profile is not None and profile not in PROFILES:
        raise ConfigError(f"set_printoptions: profile is {profile!r}; use one of {', '.join(map(repr, PROFILES))}")
    base = _options if profile is None else PROFILES[profile]
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    _options = replace(base, **{k: v for k, v in given.items() if v is not None}, sci_mode=sci_mode)


def get_printoptions() -> dict[str, Any]:
    """How tensors are printed now, as the arguments of `set_printoptions`."""
    return asdict(_options)


@contextlib.contextmanager
def printoptions(**options: Any) -> Iterator[None]:
    """Inside, tensors are printed otherwise: the arguments of `set_printoptions`."""
    global _options
    before = _options
    set_printoptions(**options)
    try:
        yield
    finally:
        _options = before


def kept(shape: Shape) -> tuple[int | None, ...]:
    """For each dimension how many elements at either end are printed; None where all are."""
    if prod(shape) <= _options.threshold:
        return (None,) * len(shape)
    edge = _options.edgeitems
    return tuple(edge if n > 2 * edge else None for n in shape)


def edges(array: np.ndarray) -> np.ndarray:
    """The elements of an array that are printed: each dimension cut to its ends."""
    for axis, ends in enumerate(kept(array.shape)):
        if ends is not None:
            n = array.shape[axis]
            array = np.take(array, [*range(ends), *range(n - ends, n)], axis)
    return array


def pieces(shape: Shape, dtype: np.dtype, read: Callable[[int, int], np.ndarray]) -> np.ndarray:
    """What `edges` gives, of elements that `read(start, count)` fetches from their row-major order."""
    cut = kept(shape)
    if not any(ends is not None for ends in cut):
        return read(0, prod(shape)).reshape(shape)
    last = max(axis for axis, ends in enumerate(cut) if ends is not None)
    ends, tail = cut[last] or 0, prod(shape[last + 1 :])
    outer = [[*range(e), *range(n - e, n)] if e is not None else list(range(n)) for n, e in zip(shape[:last], cut)]
    found = [np.empty(0, dtype)]
    for place in itertools.product(*outer):
        row = 0
        for i, n in zip(place, shape, strict=False):
            row = row * n + i
        start, stop = row * shape[last] * tail, (row + 1) * shape[last] * tail
        found += [read(start, ends * tail), read(stop - ends * tail, ends * tail)]
    return np.concatenate(found).reshape(*map(len, outer), 2 * ends, *shape[last + 1 :])


def describe(shown: np.ndarray, shape: Shape, notes: Sequence[str], prefix: str = "tensor(") -> str:
    """The text of a tensor of that shape, given the elements that are printed and what is said behind them."""
    indent = len(prefix)
    if not prod(shape):
        body = "[]"
    else:
        body = _body(shown, kept(shape), indent, _Format(shown))
    out = prefix + body
    last = len(out) - out.rfind("\n") + 1
    for note in notes:
        if last + len(note) + 2 > _options.linewidth:
            out += ",\n" + " " * indent + note
            last = indent + len(note)
        else:
            out += ", " + note
            last += len(note) + 2
    return out + ")"


def summarized(shape: Shape) -> bool:
    """True where no element at all is printed, so that the shape must be said."""
    return prod(shape) > 0 and not _options.edgeitems


class _Format:
    """One way to write all numbers of an array: as wide as the widest, with or without an exponent."""

    def __init__(self, shown: np.ndarray):
        self.floating = shown.dtype.kind not in "biu"
        self.scientific, self.whole = False, True
        if not self.floating:
            self.width = max((len(str(v)) for v in shown.ravel().tolist()), default=1)
            return
        wide = shown.astype(np.float64).ravel()
        numbers = wide[np.isfinite(wide) & (wide != 0)]
        self.width = 1
        if not numbers.size:
            return
        self.whole = bool((numbers == np.ceil(numbers)).all())
        self.scientific = self._large_or_small(np.abs(numbers))
        self.width = max(len(self._number(v)) for v in numbers.tolist())

    @staticmethod
    def _large_or_small(sizes: np.ndarray) -> bool:
        if _options.sci_mode is not None:
            return _options.sci_mode
        least, most = float(sizes.min()), float(sizes.max())
        return most / least > 1000.0 or most > 1.0e8 or least < 1.0e-4

    def _number(self, value: float) -> str:
        if self.scientific:
            return f"{value:.{_options.precision}e}"
        if self.whole:
            return f"{value:.0f}" + "." * math.isfinite(value)
        return f"{value:.{_options.precision}f}"

    def __call__(self, value: Any) -> str:
        return (self._number(value) if self.floating else str(value)).rjust(self.width)


def _body(shown: np.ndarray, cut: tuple[int | None, ...], indent: int, form: _Format) -> str:
    """Nested brackets; `indent` is the column where they open."""
    if not shown.ndim:
        return form(shown.item())
    if shown.ndim == 1:
        return _row([form(v) for v in shown.tolist()], cut[0], indent, form.width)
    rows = [_body(part, cut[1:], indent + 1, form) for part in shown]
    if cut[0] is not None:
        rows.insert(cut[0], "...")
    return "[" + ("," + "\n" * (shown.ndim - 1) + " " * (indent + 1)).join(rows) + "]"


def _row(words: list[str], cut: int | None, indent: int, width: int) -> str:
    """One dimension, broken into lines."""
    if cut is not None:
        words.insert(cut, " ..." if cut else "...")
    count = max(1, (_options.linewidth - indent) // (width + 2))
    lines = [", ".join(words[i : i + count]) for i in range(0, len(words), count)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"
