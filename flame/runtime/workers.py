"""Kernels of one plan compile side by side: in the cache first, then in this process and in worker processes.

Workers are Python processes that run `main` below, spoken to over pipes. They are not `multiprocessing`, which would
run a user's script again that has no `if __name__ == "__main__":`. They live until this process ends: then their stdin
closes and they leave.
"""

import atexit
import contextlib
import contextvars
import hashlib
import importlib
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from flame.config import config
from flame.errors import CompileError
from flame.runtime import cache, cpu_compile

FEW = 2  # so many kernels are compiled here
SHARE = {"cpu": 8, "cuda": 24}  # kernels that are worth one more worker: one takes a second to start, and 150 MB
PATIENCE = 0.02  # seconds between looks at the queue while a worker starts
HERE = ThreadPoolExecutor(1, "flame-compile")
LENGTH = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Job:
    """One kernel to compile; equal jobs are compiled once."""

    target: str  # "cpu" or "cuda"
    source: str
    name: str
    signature: tuple[str, ...]
    options: tuple = ()


def key(job: Job) -> str:
    """The cache key: all that the result depends on, but for FLAME and its compilers."""
    if job.target == "cpu":
        return cpu_compile.key_cpu(job.source, job.name, job.signature)
    parts = repr((job.target, job.name, job.signature, job.options)) + job.source
    return hashlib.sha256(parts.encode()).hexdigest()


def compile_here(job: Job) -> bytes:
    """Compile in this process, without the cache; in a thread, where no Ctrl-C leaves Numba half imported."""
    return HERE.submit(contextvars.copy_context().run, _compile, job).result()


def _compile(job: Job) -> bytes:
    if job.target == "cpu":
        return cpu_compile.compile_cpu(job.source, job.name, job.signature)
    from flame.runtime import cuda_compile  # imports numba-cuda, which a machine without a GPU may lack

    return cuda_compile.compile_cuda(job.source, job.name, job.signature, job.options)


def compile_all(jobs: Sequence[Job], progress: Callable[[int, int], None] | None = None) -> list[bytes]:
    """Machine code for each job, in order; `progress(done, all)` is called as kernels become ready."""
    ready: dict[Job, bytes] = {}
    missing: list[Job] = []
    different = dict.fromkeys(jobs)
    for job in different:
        found = cache.get(job.target, key(job))
        if found is None:
            missing.append(job)
        else:
            ready[job] = found

    def done(job: Job, code: bytes) -> None:
        cache.put(job.target, key(job), code)
        ready[job] = code
        if progress:
            progress(len(ready), len(different))

    if len(missing) > FEW and config.compile_workers > 1:
        _side_by_side(missing, done)
    else:
        for job in missing:
            done(job, compile_here(job))
    return [ready[job] for job in jobs]


def _side_by_side(jobs: list[Job], done: Callable[[Job, bytes], None]) -> None:
    """Workers and this process take jobs from one queue; what a worker could not finish is compiled here."""
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    results: queue.SimpleQueue[tuple[Job | None, bytes | None]] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    workers = POOL.take(min(config.compile_workers - 1, -(-len(jobs) // SHARE.get(jobs[0].target, FEW))))
    directory = config.cache_dir  # a thread would not see the value of a `with config(...)` around this one
    threads = [threading.Thread(target=_feed, args=(w, directory, waiting, results), daemon=True) for w in workers]
    try:
        for thread in threads:
            thread.start()
        _work_here(waiting, done)
        _collect(results, len(threads), done)
    except BaseException:  # Ctrl-C, or a kernel that does not compile: half-read answers must not reach the next plan
        for worker in workers:
            worker.stop()
        raise
    finally:
        POOL.give_back(workers)


def _work_here(waiting: queue.SimpleQueue, done: Callable[[Job, bytes], None]) -> None:
    while (job := _next(waiting)) is not None:
        done(job, compile_here(job))


def _collect(results: queue.SimpleQueue, running: int, done: Callable[[Job, bytes], None]) -> None:
    """The workers' answers; a job that comes back without code is compiled here, which also gives its error."""
    while running:
        job, code = results.get()
        if job is None:
            running -= 1
        else:
            done(job, compile_here(job) if code is None else code)


def _next(waiting: queue.SimpleQueue) -> Job | None:
    try:
        return waiting.get_nowait()
    except queue.Empty:
        return None


def _feed(worker: "Worker", directory: Path, waiting: queue.SimpleQueue, results: queue.SimpleQueue) -> None:
    """A thread for each worker: asks it for one job after another until none is left or it dies."""
    try:
        while not worker.ready.wait(PATIENCE) and not waiting.empty():
            pass  # it is still importing Numba, and must not hold a job that this process could do meanwhile
        while worker.ready.is_set() and worker.alive and (job := _next(waiting)) is not None:
            results.put((job, worker.ask(job, directory)))
    finally:
        results.put((None, None))


class Worker:
    """A process that compiles."""

    def __init__(self):
        root = str(Path(__file__).resolve().parents[2])
        paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", "from flame.runtime.workers import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths},
            start_new_session=True,  # Ctrl-C is for the user's process; it stops the workers itself
        )
        self.ready = threading.Event()
        threading.Thread(target=self._greet, daemon=True).start()

    def _greet(self) -> None:
        """Wait for the worker's first word; a worker that dies before it is ready too, to be found dead."""
        with contextlib.suppress(OSError, EOFError, ValueError):
            _receive(self.process.stdout)
        self.ready.set()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def ask(self, job: Job, directory: Path) -> bytes | None:
        """The job's machine code, or None where the worker died or could not compile it."""
        try:
            _send(self.process.stdin, (str(directory), job.target, job.source, job.name, job.signature, job.options))
            return _receive(self.process.stdout)
        except (OSError, EOFError, ValueError, pickle.UnpicklingError):
            self.stop()
            return None

    def stop(self) -> None:
        """End the process and close its pipes; again is harmless."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):  # what was not yet flushed to a dead process
                if pipe is not None:
                    pipe.close()


class _Pool:
    """The workers that wait for the next plan."""

    def __init__(self):
        self.idle: list[Worker] = []
        self.lock = threading.Lock()
        self.process = os.getpid()

    def take(self, count: int) -> list[Worker]:
        """`count` workers, started where too few are idle; fewer where the system refuses."""
        with self.lock:
            if self.process != os.getpid():  # forked: those workers speak with the parent
                self.idle, self.process = [], os.getpid()
            for dead in [w for w in self.idle if not w.alive]:
                dead.stop()
                self.idle.remove(dead)
            taken, self.idle = self.idle[:count], self.idle[count:]
        with contextlib.suppress(OSError):
            while len(taken) < count:
                taken.append(Worker())
        return taken

    def give_back(self, workers: list[Worker]) -> None:
        with self.lock:
            self.idle += [w for w in workers if w.alive]

    def close(self) -> None:
        if self.process == os.getpid():
            for worker in self.idle:
                worker.stop()
            self.idle = []


POOL = _Pool()
atexit.register(POOL.close)


# The worker's side.


def _send(pipe, message) -> None:
    data = pickle.dumps(message)
    pipe.write(LENGTH.pack(len(data)) + data)
    pipe.flush()


def _receive(pipe):
    header = pipe.read(LENGTH.size)
    if len(header) < LENGTH.size:
        raise EOFError
    (length,) = LENGTH.unpack(header)
    data = pipe.read(length)
    if len(data) < length:
        raise EOFError
    return pickle.loads(data)


def serve(requests, answers) -> None:
    """Compile what arrives until the pipe closes; a kernel that fails is answered with None."""
    _send(answers, "ready")
    while True:
        try:
            directory, *job = _receive(requests)
        except EOFError:
            return
        try:
            with config(cache_dir=directory):
                code = compile_here(Job(*job))
        except CompileError:
            code = None
        _send(answers, code)


def main() -> None:
    """The worker process: stdout carries answers, so whatever else prints goes to stderr."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    importlib.import_module("flame.runtime.prelude_cpu")  # before the first job: it takes a second
    with contextlib.suppress(OSError):  # the process that asked is gone
        serve(sys.stdin.buffer, answers)
