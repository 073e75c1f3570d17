"""How the benchmarks measure: queued work on a GPU, wall time on a CPU; medians; operands that take turns.

On a GPU the queue is held shut by a kernel that only waits until the host has queued every call: what is measured
between two events is the work, not Python. Each call takes the next set of operands and leaves its results until its
turn comes again, so that the second-level cache does not serve what a training step would read from memory.
"""

import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

CACHE = 60 << 20  # bytes of the second-level cache of an H100 or H200, and some
MOST_SETS = 8
ROUNDS = 3
QUEUE = 900  # launches that fit in a GPU's queue: the next would wait for the GPU
WAIT = 1.7e9  # cycles that the waiting kernel counts in a second, at least


def machine(gpu: bool) -> str:
    """The line above a table: when, where, with what."""
    name = torch.cuda.get_device_name() if gpu else platform.processor() or platform.machine()
    return f"{time.strftime('%Y-%m-%d')} {name}, Python {platform.python_version()}, torch {torch.__version__}"


def sets(nbytes: int, gpu: bool) -> int:
    """How many sets of operands and results of so many bytes take turns: on a GPU, more than its cache holds."""
    return min(MOST_SETS, max(1, -(-2 * CACHE // max(nbytes, 1)))) if gpu else 1


def turns(call: Callable[[int], Any], count: int) -> Callable[[], None]:
    """A call of the next set each time; its results live until the set's next turn."""
    made: list[Any] = [None] * count
    turn = 0

    def run() -> None:
        nonlocal turn
        made[turn] = None
        made[turn] = call(turn)
        turn = (turn + 1) % count

    return run


def milliseconds(run: Callable[[], Any], stream: Any = None, steps: int = 1) -> float:
    """The median time of a call: of its work on `stream`, or its wall time where `stream` is None.

    `steps` launches at least belong to each call.
    """
    return _wall(run) if stream is None else _queued(run, stream, steps)


def wall(run: Callable[[], Any], wait: Callable[[], Any], repeat: int = 5) -> float:
    """The median milliseconds of a call and of waiting for it, host work included."""
    run()
    wait()
    return statistics.median(_once(run, wait) for _ in range(repeat))


def _once(run: Callable[[], Any], wait: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    wait()
    return (time.perf_counter() - start) * 1e3


def _wall(run: Callable[[], Any], least: float = 0.15, most: int = 30) -> float:
    wait = lambda: None  # noqa: E731
    run()
    first = _once(run, wait)
    repeat = max(3, min(most, int(least * 1e3 / max(first, 1e-3))))
    return statistics.median(_once(run, wait) for _ in range(repeat))


def _queued(run: Callable[[], Any], stream: Any, steps: int) -> float:
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(3):
            run()
        host = (time.perf_counter() - start) / 3
        torch.cuda.synchronize()
        whole = (time.perf_counter() - start) / 3
        count = max(2, min(30, int(0.01 / whole), QUEUE // max(steps, 1), int(0.01 / host)))
        return statistics.median(_batch(run, count, host) for _ in range(ROUNDS))


def _batch(run: Callable[[], Any], count: int, host: float) -> float:
    """Milliseconds of each of `count` calls that were queued before the first began."""
    torch.cuda._sleep(int((50e-6 + 1.5 * count * host) * WAIT))
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(count):
        run()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / count
