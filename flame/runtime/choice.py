"""Which of several ways to do one thing is fastest here: timed once for each thing, device and version, and remembered.

A *way* is a library's algorithm or a printed kernel, ready to run on addresses. Whoever offers ways names them so that
the same name means the same machine code under the same versions; FLAME's own version is part of the disk cache's key.
Ways are timed on memory of their own, never on a user's.
"""

import functools
import json
import statistics
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flame.config import config
from flame.errors import ConfigError, DeviceError, OutOfMemoryError
from flame.runtime import cache, cuda
from flame.runtime.pool import Pool

SAMPLES, EACH = 3, 0.3  # times of a way, and about how many milliseconds each is long
FILL = 0x3C  # bytes of scratch operands: a small number in every floating dtype, for the speed of zeros is no speed


class DeclinedError(DeviceError):
    """A library has no way to do what `spec` says: what needs it is planned again, without it."""

    def __init__(self, spec: Any, why: str):
        super().__init__(why)
        self.spec = spec


@dataclass(frozen=True)
class Way:
    """One way: `run(*addresses)` queues it, with `workspace` bytes of scratch memory behind the last address."""

    name: str
    run: Callable[..., None]
    workspace: int = 0


@dataclass(frozen=True)
class Choice:
    """What was found for one thing: the best way's name, and the milliseconds of each that was timed."""

    best: str
    times: dict[str, float] = field(default_factory=dict)
    why: str = "measured"

    def text(self) -> str:
        """The ways, the fastest first, the chosen one with a star."""
        rows = sorted(self.times.items(), key=lambda row: row[1])
        shown = [f"  {'*' if name == self.best else ' '} {name:60} # {ms:.4f} ms" for name, ms in rows]
        return "\n".join(shown or [f"  * {self.best:60} # {self.why}"])


@dataclass(frozen=True)
class Place:
    """Where ways run: the stream of one device, and the pool that scratch memory comes from."""

    device: str  # its name, of which the best way depends
    ordinal: int
    stream: cuda.Stream
    pool: Pool


_lock = threading.Lock()
_known: dict[tuple[str, str, Any], Choice] = {}  # (device, routine, spec)


def known(spec: Any) -> dict[tuple[str, str], Choice]:
    """What this process chose, or remembered, by device and routine."""
    return {(device, routine): choice for (device, routine, of), choice in _known.items() if of == spec}


def remembered(place: Place, routine: str, spec: Any, version: str) -> Choice | None:
    """The choice that is pinned, or that this or an earlier process made."""
    key = place.device, routine, spec
    pinned = pins().get(f"{routine} {spec}")
    if pinned is not None:
        return note(key, Choice(pinned, why=f"pinned by {config.choices}"))
    if key in _known:
        return _known[key]
    data = cache.get("choice", _key(place, routine, spec, version))
    return None if data is None else note(key, Choice(**json.loads(data)))


def choose(
    place: Place,
    routine: str,
    spec: Any,
    version: str,
    ways: Iterable[Way],
    sizes: Sequence[int],
    fills: Sequence[int] = (),
) -> Way:
    """The fastest way on operands of these sizes in bytes; remembered from now on. `fills` are the operands' bytes.

    With `config.choices` "first" nothing is timed: the first way is taken, which the library ranks highest.
    """
    ways, key = list(ways), (place.device, routine, spec)
    if not ways:
        raise DeclinedError(spec, f"{routine}: no library has an algorithm for {spec}")
    if config.choices == "first":
        note(key, Choice(ways[0].name, why="the library's first"))
        return ways[0]
    try:
        times = timed(place, ways, sizes, fills)
    except OutOfMemoryError:  # no memory to try it: not remembered beyond this process
        note(key, Choice(ways[0].name, why="the library's first: no memory to time others"))
        return ways[0]
    if not times:
        raise DeclinedError(spec, f"{routine}: none of {[w.name for w in ways]} runs for {spec}")
    best = min(times, key=lambda name: times[name])
    choice = note(key, Choice(best, times))
    text = json.dumps({"best": choice.best, "times": choice.times, "why": choice.why})
    cache.put("choice", _key(place, routine, spec, version), text.encode())
    return next(w for w in ways if w.name == best)


def note(key: tuple[str, str, Any], choice: Choice) -> Choice:
    """Remember a choice in this process, under (device, routine, spec)."""
    with _lock:
        _known[key] = choice
    return choice


def _key(place: Place, routine: str, spec: Any, version: str) -> str:
    return f"{cuda.device(place.ordinal).name} {version} {routine} {spec}"


def timed(place: Place, ways: Sequence[Way], sizes: Sequence[int], fills: Sequence[int] = ()) -> dict[str, float]:
    """The milliseconds that each way takes, on scratch operands of these sizes; ways that fail have none."""
    buffers = [place.pool.buffer(max(n, 1), "timing ways") for n in sizes]
    for b, fill in zip(buffers, fills or [FILL] * len(buffers), strict=True):
        cuda.fill(b.address, fill, b.nbytes, place.stream)
    workspace = place.pool.buffer(max([1, *(w.workspace for w in ways)]), "timing ways")
    addresses = [*(b.address for b in buffers), workspace.address]
    found: dict[str, float] = {}
    for way in ways:
        try:
            found[way.name] = round(_milliseconds(functools.partial(way.run, *addresses), place), 5)
        except DeviceError:  # the library takes its word back: another way serves
            continue
    return found


def _milliseconds(run: Callable[[], None], place: Place) -> float:
    run()
    place.stream.synchronize()
    once = _between(run, 1, place)
    count = max(1, min(50, int(EACH / max(once, 1e-3))))
    return statistics.median(_between(run, count, place) for _ in range(SAMPLES))


def _between(run: Callable[[], None], count: int, place: Place) -> float:
    start = place.stream.record(timed=True)
    for _ in range(count):
        run()
    end = place.stream.record(timed=True)
    end.synchronize()
    return end.since(start) / count


def pins() -> dict[str, str]:
    """The ways that the file `config.choices` holds to, by routine and spec."""
    where = config.choices
    return {} if where in ("measure", "first") else _read(where)


@functools.cache
def _read(where: str) -> dict[str, str]:
    try:
        return parsed(Path(where).read_text())
    except OSError as problem:
        raise ConfigError(
            f"FLAME_CHOICES is {where!r}, which cannot be read ({problem.strerror}); use measure, first, or a file "
            "that `flame dump --stage choices` wrote"
        ) from None


def parsed(text: str) -> dict[str, str]:
    """The starred way below each line of a table of choices.

    >>> parsed("matmul Spec(m=1)\\n    slow # 2 ms\\n  * fast # 1 ms")
    {'matmul Spec(m=1)': 'fast'}
    """
    found, what = {}, ""
    for line in text.splitlines():
        if line.startswith("  * ") and what:
            found[what] = line[4:].partition("#")[0].strip()
        elif line and not line.startswith((" ", "#")):
            what = line.strip()
    return found
