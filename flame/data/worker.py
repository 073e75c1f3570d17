"""A worker process: it receives numbers of samples and sends batches, until its pipe closes."""

import pickle
import random
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

from flame.data.fetch import END, Fetch
from flame.data.transfer import receive, send
from flame.ops.random import manual_seed

READY, BATCH, SKIPPED, OVER, FAILED = "ready", "batch", "skipped", "over", "failed"


@dataclass(frozen=True)
class WorkerInfo:
    """Which worker this process is, of how many; `seed` is the epoch's, `dataset` its own copy."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


class Job(NamedTuple):
    """Make batch `number` of an epoch from these samples, or the next one of an iteration; send it only if `wanted`."""

    epoch: int
    seed: int
    number: int
    indices: Any
    wanted: bool


class Answer(NamedTuple):
    """What became of a job."""

    epoch: int
    kind: str
    value: Any = None


_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """In a worker process of a loader, which one it is; None elsewhere."""
    return _info


def run(connection: Connection, id: int, count: int, held: Sequence[Connection]) -> None:
    """The life of a worker. Ctrl-C is the main process's business: it closes the pipe.

    The other ends that a forked process holds are closed, or it would never hear that the main process is gone.
    """
    for inherited in held:
        inherited.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        fetch, init = receive(connection)
        worker = Worker(id, count, fetch, init)
        while True:
            send(connection, worker.answer(receive(connection)))
    except (EOFError, OSError):
        return  # the main process has closed the pipe, or is gone


class Worker:
    """What a worker remembers: its dataset, and how far it is in an iteration over it."""

    def __init__(self, id: int, count: int, fetch: Fetch, init: Callable[[int], Any] | None) -> None:
        self.id, self.count, self.fetch, self.init = id, count, fetch, init
        self.epoch = -1
        self.samples: Iterator[Any] = iter(())

    def answer(self, job: Job) -> Answer:
        """Do a job; whatever goes wrong in it is the answer."""
        try:
            if job.epoch != self.epoch:
                self.begin(job)
            made = self.fetch.following(self.samples) if self.fetch.iterable else self.numbered(job)
        except Exception as problem:  # noqa: BLE001  it is raised in the main process
            return Answer(job.epoch, FAILED, (portable(problem), traceback.format_exc()))
        if made is END:
            return Answer(job.epoch, OVER)
        return Answer(job.epoch, BATCH, made) if job.wanted else Answer(job.epoch, SKIPPED)

    def numbered(self, job: Job) -> Any:
        """A batch by the numbers of its samples, which nobody needs where it is skipped."""
        if not job.wanted:
            return None
        seed_all(job.seed, job.number)  # of the batch, not of the worker: how many there are changes nothing
        return self.fetch.numbered(job.indices.tolist() if isinstance(job.indices, np.ndarray) else job.indices)

    def begin(self, job: Job) -> None:
        """A new epoch."""
        global _info
        first, self.epoch = self.epoch < 0, job.epoch
        _info = WorkerInfo(self.id, self.count, job.seed, self.fetch.dataset)
        seed_all(job.seed, self.id)
        if first and self.init is not None:
            self.init(self.id)
        if self.fetch.iterable:
            self.samples = iter(self.fetch.dataset)


def seed_all(seed: int, number: int) -> None:
    """Seed Python, NumPy and FLAME."""
    low, high = np.random.SeedSequence([seed, number]).generate_state(2).tolist()
    random.seed(low)
    np.random.seed(low)  # noqa: NPY002  what datasets draw from, whether they should or not
    manual_seed(high)


def portable(problem: Exception) -> Exception | None:
    """The exception, if it survives the way to another process."""
    try:
        return pickle.loads(pickle.dumps(problem))
    except Exception:  # noqa: BLE001
        return None
