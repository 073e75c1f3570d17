"""The workers of a loader: processes or threads that make batches ahead, and give them in order."""

import contextlib
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as finished
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np

from flame.data import transfer
from flame.data.fetch import Fetch
from flame.data.worker import BATCH, FAILED, OVER, Answer, Job, run
from flame.errors import DataError, WorkerError

MANY = 1000  # numbers of samples in one job
PATIENCE = 5.0  # seconds that a worker has to end before it is killed


class Processes:
    """Worker processes. Each takes its jobs in order, and the jobs go round: batch 0 to worker 0, 1 to 1, …"""

    def __init__(
        self, fetch: Fetch, count: int, init: Callable[[int], Any] | None, context: BaseContext, timeout: float
    ) -> None:
        try:
            parcel = transfer.Parcel((fetch, init))  # before any process starts, and once for all
        except Exception as problem:
            raise DataError(
                f"DataLoader: worker processes receive the dataset and functions by pickle, which fails: {problem}; "
                "define them at the top of a module, or use threads=True"
            ) from problem
        self.timeout, self.epoch = timeout, 0
        self.processes: list[Any] = []
        self.pipes: list[Any] = []  # of multiprocessing.connection.Connection
        try:
            with parcel:
                self._start(count, context)
                for id, pipe in enumerate(self.pipes):
                    self._talk(id, "starting", lambda pipe=pipe: parcel.send(pipe))
        except BaseException:
            self.close()
            raise

    def _start(self, count: int, context: BaseContext) -> None:
        """Start the processes, each with a pipe of its own."""
        for id in range(count):
            ours, theirs = context.Pipe()
            held = [*self.pipes, ours] if context.get_start_method() == "fork" else []
            process = context.Process(  # pyright: ignore[reportAttributeAccessIssue]
                target=run, args=(theirs, id, count, held), daemon=True, name=f"flame.data worker {id}"
            )
            self.pipes.append(ours)
            process.start()
            theirs.close()
            self.processes.append(process)

    def batches(self, jobs: Iterable[Any], seed: int, skip: int, ahead: int) -> Iterator[Any]:
        """The batches of an epoch but for the first `skip`; `jobs` are the samples of each, without end if iterated."""
        self.epoch += 1
        working = deque(range(len(self.processes)))  # in the order of their turns
        waiting: deque[tuple[int, int]] = deque()  # (worker, number of the batch), in order
        numbered = enumerate(jobs)
        clean = False
        try:
            while True:
                while working and len(waiting) < ahead * len(working) and (job := next(numbered, None)) is not None:
                    number, indices = job
                    worker = working[0]
                    working.rotate(-1)
                    self._send(worker, Job(self.epoch, seed, number, indices, number >= skip))
                    waiting.append((worker, number))
                if not waiting:
                    break
                worker, number = waiting.popleft()
                answer = self._receive(worker, number)
                if answer.kind == OVER and worker in working:
                    working.remove(worker)
                elif answer.kind == FAILED:
                    problem, trace = answer.value
                    raise_there(problem, trace, f"worker {worker}, batch {number}")
                elif answer.kind == BATCH:
                    yield answer.value
            clean = True
        except (GeneratorExit, Exception):
            clean = True  # the pipes stand between two messages: what is still under way is told by its epoch
            raise
        finally:
            if not clean:
                self.close()

    def _send(self, worker: int, job: Job) -> None:
        if type(job.indices) is list and len(job.indices) > MANY and all(type(one) is int for one in job.indices):
            job = job._replace(indices=np.asarray(job.indices, np.int64))  # through shared memory: no pipe fills up
        self._talk(worker, f"before batch {job.number}", lambda: transfer.send(self.pipes[worker], job))

    def _receive(self, worker: int, number: int) -> Answer:
        """The answer to this epoch's next job; those of an epoch that was left early are dropped."""
        doing = f"while it made batch {number}"
        while True:
            if not wait([self.pipes[worker]], self.timeout or None):
                self.close()
                raise WorkerError(f"DataLoader: worker {worker} gave no batch {number} within {self.timeout} seconds")
            answer: Answer = self._talk(worker, doing, lambda: transfer.receive(self.pipes[worker]))
            if answer.epoch == self.epoch:
                return answer

    def _talk(self, worker: int, doing: str, talk: Callable[[], Any]) -> Any:
        """Send or receive; raises WorkerError where the other side is gone."""
        try:
            return talk()
        except (EOFError, OSError):
            process = self.processes[worker]
            process.join(PATIENCE)
            code, pid = process.exitcode, process.pid
            self.close()
            how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"
            raise WorkerError(
                f"DataLoader: worker {worker} (pid {pid}) {how} {doing}; its standard error may say more. "
                "Signal 9 is often a lack of memory, an end at the start a script without if __name__ == '__main__'"
            ) from None

    @property
    def closed(self) -> bool:
        return not self.processes

    def close(self) -> None:
        """End all workers; those that do not leave in time are killed."""
        for pipe in self.pipes:
            pipe.close()
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.join(PATIENCE)
            if process.is_alive():
                process.kill()
                process.join()
            with contextlib.suppress(ValueError):
                process.close()
        self.pipes, self.processes = [], []


class Threads:
    """Worker threads: nothing is copied or pickled, but Python's lock is shared."""

    def __init__(self, fetch: Fetch, count: int, init: Callable[[int], Any] | None, timeout: float) -> None:
        if fetch.iterable:
            raise DataError("DataLoader: an IterableDataset cannot be shared by threads; use worker processes, or none")
        self.fetch, self.count, self.timeout = fetch, count, timeout
        ids = iter(range(count))
        start = None if init is None else lambda: init(next(ids))
        self.pool: ThreadPoolExecutor | None = ThreadPoolExecutor(count, "flame.data", start)

    def batches(self, jobs: Iterable[Any], seed: int, skip: int, ahead: int) -> Iterator[Any]:
        """The batches of an epoch but for the first `skip`."""
        waiting: deque[tuple[int, Future[Any]]] = deque()
        numbered = enumerate(jobs)
        pool = self.pool
        assert pool is not None
        try:
            while True:
                while len(waiting) < ahead * self.count and (job := next(numbered, None)) is not None:
                    if job[0] >= skip:
                        waiting.append((job[0], pool.submit(self.fetch.numbered, job[1])))
                if not waiting:
                    return
                number, future = waiting.popleft()
                if not finished([future], self.timeout or None).done:
                    raise WorkerError(f"DataLoader: no batch {number} within {self.timeout} seconds")
                yield future.result()
        finally:
            for _, future in waiting:
                future.cancel()

    @property
    def closed(self) -> bool:
        return self.pool is None

    def close(self) -> None:
        """Let the threads end after what they are doing."""
        if self.pool is not None:
            self.pool.shutdown(wait=False, cancel_futures=True)
            self.pool = None


def raise_there(problem: Exception | None, trace: str, where: str) -> None:
    """Raise a worker's exception here, with its own traceback as a note."""
    if problem is None:
        raise WorkerError(f"DataLoader: in {where}:\n{trace}")
    problem.add_note(f"in {where}:\n{trace}")
    raise problem


def context_of(given: Any) -> BaseContext:
    """How processes start: unless told otherwise as forks of a server that has imported FLAME and done nothing else.

    A fork of this process would be faster still, but threads and GPUs do not survive it.
    """
    if isinstance(given, BaseContext):
        return given
    if given is None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["__main__", "flame.data.worker"])
        return context
    try:
        return multiprocessing.get_context(given)
    except ValueError:
        ways = ", ".join(multiprocessing.get_all_start_methods())
        raise DataError(f"DataLoader: multiprocessing_context is {given!r}; choose of {ways}") from None
