"""The CPU: kernels as native functions over parts of their grid, shared among threads where that pays."""

import ctypes
import functools
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from flame.config import config
from flame.errors import DeviceError
from flame.ir.dtype import DType
from flame.ir.plan import Call, Code, Launch
from flame.ir.target import CPU
from flame.runtime import lib_host, lib_numpy, user_cpu
from flame.runtime.buffer import Buffer
from flame.runtime.cpu_compile import load_cpu
from flame.runtime.device import FORMATS, Action, Addresses, Device, Shared
from flame.runtime.pool import Pool, allocate_host, host_pool, poison_host, release_host
from flame.runtime.workers import Job

ROUTINES: dict[str, Any] = lib_numpy.ROUTINES | lib_host.ROUTINES | user_cpu.ROUTINES
SHARED_FROM = 1 << 16  # elements that are worth waking another thread for


class CPUDevice(Device):
    """This machine's processor."""

    prompt = True

    def __init__(self) -> None:
        super().__init__()
        self.name, self.target, self.pool = "cpu", CPU, host_pool()
        self._threads: ThreadPoolExecutor | None = None

    def job(self, code: Code) -> Job:
        return Job("cpu", code.source, code.name, code.signature)

    def load(self, binary: bytes, code: Code) -> Any:
        return load_cpu(binary, code.name, code.signature)

    def launch(self, kernel: Any, code: Code, slots: tuple[int, ...], addresses: Addresses) -> Action:
        n, arguments = code.extent, _arguments(code.signature, slots)
        if code.work < SHARED_FROM or n < 2 or config.threads < 2:
            return lambda at: kernel(0, n, n, *arguments(at))
        parts = min(config.threads, n)
        edges = [n * i // parts for i in range(parts + 1)]

        def run(at: Addresses) -> None:
            args = arguments(at)
            self.together([partial(kernel, begin, end, n, *args) for begin, end in pairwise(edges)])

        return run

    def share(self, addresses: Addresses) -> Shared:
        return Shared(ctypes.addressof(addresses), lambda: None)

    def batch(self, kernel: Any, code: Code, members: Sequence[Launch], shared: Shared) -> Action:
        total = sum(m.kernel.outer.extent for m in members)
        parts = config.threads if total * code.work // code.extent >= SHARED_FROM else 1
        tables = [np.array(rows, np.int64) for rows in _divided(members, max(1, min(parts, total)))]
        calls = [partial(kernel, 0, len(t), 0, t.ctypes.data, shared.address) for t in tables]

        def run(at: Addresses, _keep: Any = tables) -> None:
            self.together(calls)

        return run

    def together(self, calls: Sequence[Callable[[], Any]]) -> None:
        """Run calls side by side. This thread takes the first, and then what no other has begun: on a busy machine
        a thread may wait for a core for longer than the work takes.
        """
        others = [(self.threads.submit(call), call) for call in calls[1:]]
        try:
            calls[0]()
            for future, call in reversed(others):
                if future.cancel():
                    call()
        finally:
            _wait([future for future, _ in others])

    @property
    def threads(self) -> ThreadPoolExecutor:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(max(1, config.threads - 1), "flame")
        return self._threads

    def call(self, step: Call) -> Action:
        if step.routine not in ROUTINES:
            raise DeviceError(f"the CPU has no routine {step.routine!r}; its table is {sorted(ROUTINES)}")
        runs = ROUTINES[step.routine](step.spec, config.threads)
        slots = (step.out, *step.inputs)

        def run(at: Addresses) -> None:
            args = [at[s] for s in slots]
            with lib_numpy.one_thread():
                self.together([partial(each, *args) for each in runs])

        return run

    def upload(self, array: np.ndarray, buffer: Buffer) -> None:
        ctypes.memmove(buffer.address, array.ctypes.data, array.nbytes)

    @functools.cached_property
    def host(self) -> Pool:
        return Pool(allocate_host, release_host, "host memory behind the cpu", poison_host, limited=False)

    def store(self, buffer: Buffer) -> tuple[Buffer, Callable[[], None]]:
        return self._copied(buffer, self.host, buffer.line)

    def fetch(self, host: Buffer, line: str | None = None) -> tuple[Buffer, Callable[[], None]]:
        return self._copied(host, self.pool, line)

    def _copied(self, buffer: Buffer, pool: Pool, line: str | None) -> tuple[Buffer, Callable[[], None]]:
        made = pool.buffer(buffer.nbytes, line)
        self.duplicate(buffer.address, made)
        return made, lambda: None

    def duplicate(self, address: int, buffer: Buffer) -> None:
        ctypes.memmove(buffer.address, address, buffer.nbytes)

    def array(self, buffer: Buffer, shape: tuple[int, ...], dtype: DType) -> np.ndarray:
        """The buffer's own memory: the array keeps it alive, and while it lives nothing is written there."""
        if not buffer.nbytes:
            return super().array(buffer, shape, dtype)
        return np.asarray(_Window(buffer)).view(dtype.numpy).reshape(shape)

    def download_from(self, address: int, array: np.ndarray) -> None:
        ctypes.memmove(array.ctypes.data, address, array.nbytes)

    def synchronize(self) -> None:
        pass


def _arguments(signature: Sequence[str], slots: Sequence[int]) -> Callable[[Addresses], list[Any]]:
    """What a kernel receives, from the addresses of a run."""
    values = {i: struct.Struct(FORMATS[kind]) for i, kind in enumerate(signature) if kind not in ("address", "int64")}
    if not values:
        return lambda at: [at[s] for s in slots]

    def arguments(at: Addresses) -> list[Any]:
        found = [at[s] for s in slots]
        for i, form in values.items():
            (found[i],) = form.unpack_from(at, 8 * slots[i])
        return found

    return arguments


def _divided(members: Sequence[Launch], parts: int) -> list[list[tuple[int, ...]]]:
    """Rows (begin, end, slots) of members for each of equal parts of all their items."""
    total = sum(m.kernel.outer.extent for m in members)
    edges = [total * i // parts for i in range(parts + 1)]
    found: list[list[tuple[int, ...]]] = [[] for _ in range(parts)]
    start = 0
    for m in members:
        n = m.kernel.outer.extent
        for part, (low, high) in zip(found, pairwise(edges), strict=True):
            begin, end = max(low - start, 0), min(high - start, n)
            if begin < end:
                part.append((begin, end, *m.slots))
        start += n
    return found


class _Window:
    """The bytes of a buffer for NumPy, read-only."""

    def __init__(self, buffer: Buffer):
        self.lease = buffer.lend()
        self.__array_interface__ = {
            "version": 3,
            "shape": (buffer.nbytes,),
            "typestr": "|u1",
            "data": (buffer.address, True),
        }


def _wait(others: "list[Future[Any]]") -> None:
    """Until every part is done or cancelled: its memory must not be freed before, whatever interrupts us."""
    interrupted: BaseException | None = None
    for f in others:
        while not f.done():
            try:
                f.result()
            except BaseException as problem:  # noqa: BLE001  a Ctrl-C here must not leave a thread writing into freed memory
                interrupted = problem
        if not f.cancelled():
            interrupted = interrupted or f.exception()
    if interrupted is not None:
        raise interrupted
