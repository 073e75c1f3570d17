"""Devices: memory, copies, loaded kernels and library routines of one machine, behind one interface."""

import ctypes
import struct
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from flame.ir.dtype import DType
from flame.ir.plan import Call, Code, Launch, Slot
from flame.ir.target import Target
from flame.runtime.buffer import Buffer
from flame.runtime.pool import Pool
from flame.runtime.workers import Job, compile_all

Addresses = Any  # numbers by slot: a ctypes array
Action = Callable[[Addresses], None]  # one step of a plan, reading its addresses by slot
FORMATS = {
    "bool": "<?",
    "uint8": "<B",
    "int8": "<b",
    "int16": "<h",
    "int32": "<i",
    "int64": "<q",
    "float32": "<f",
    "float64": "<d",
}


@dataclass(frozen=True)
class Shared:
    """The addresses of a run where kernels for many tensors read them: at `address`, once `update` was called."""

    address: int
    update: Callable[[], None]


class Device(ABC):
    """One machine. Work is queued in order; `synchronize` waits for it."""

    name: str
    target: Target
    pool: Pool
    prompt = False  # True where work is done when its call returns

    def __init__(self) -> None:
        self._kernels: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()
        self.compile_seconds = 0.0  # spent waiting for kernels: compiled, or read from the disk cache

    def decline(self, spec: Any) -> None:
        """Plan without what a library said that it cannot do."""
        self.target = replace(self.target, declined=self.target.declined | {spec})

    @property
    def type(self) -> str:
        """ "cpu" or "cuda"."""
        return self.target.name

    @property
    def index(self) -> int | None:
        """Which of the GPUs; None for the CPU."""
        return None

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"flame.device({self.name!r})"

    def kernels(self, codes: Sequence[Code], progress: Callable[[int, int], None] | None = None) -> list[Any]:
        """The loaded kernel of each code; those that are missing compile side by side."""
        start = time.perf_counter()
        missing = {(c.name, c.source): c for c in codes if (c.name, c.source) not in self._kernels}
        jobs = [self.job(c) for c in missing.values()]
        for (key, c), binary in zip(missing.items(), compile_all(jobs, progress), strict=True):
            with self._lock:
                self._kernels[key] = self.load(binary, c)
        self.compile_seconds += time.perf_counter() - start
        return [self._kernels[c.name, c.source] for c in codes]

    def fastest(self, questions: Sequence[tuple[Sequence[tuple[str, Code]], Sequence[Slot]]]) -> list[int]:
        """Which of several forms of each kernel runs fastest on operands like these; the first, where nobody timed."""
        return [0] * len(questions)

    @abstractmethod
    def job(self, code: Code) -> Job:
        """What a compiler must be told."""

    @abstractmethod
    def load(self, binary: bytes, code: Code) -> Any:
        """Machine code as something to launch."""

    def addresses(self, slots: int) -> Addresses:
        """Room for one number a slot: an address, or the value itself in the first of eight bytes."""
        return (ctypes.c_int64 * max(slots, 1))()

    def set_value(self, addresses: Addresses, slot: int, value: float, dtype: DType) -> None:
        """Enter a number that kernels receive by value."""
        raw = struct.pack(FORMATS[dtype.register.name], value).ljust(8, b"\0")
        addresses[slot] = int.from_bytes(raw, "little", signed=True)

    @abstractmethod
    def share(self, addresses: Addresses) -> Shared:
        """Let kernels for many tensors read the addresses of each run."""

    @abstractmethod
    def batch(self, kernel: Any, code: Code, members: Sequence[Launch], shared: Shared) -> Action:
        """One launch for many tensors."""

    @abstractmethod
    def launch(self, kernel: Any, code: Code, slots: tuple[int, ...], addresses: Addresses) -> Action:
        """A launch, packed as far as it can be before the addresses are known."""

    @abstractmethod
    def call(self, step: Call) -> Action:
        """A library's routine, planned."""

    @abstractmethod
    def upload(self, array: np.ndarray, buffer: Buffer) -> None:
        """Copy a contiguous host array into a buffer."""

    def upload_ahead(self, array: np.ndarray, buffer: Buffer) -> Callable[[], None]:
        """Copy a contiguous host array while other work runs, where the device can.

        The array may be gone when this returns. The call it returns lets work that is queued later wait for the copy.
        """
        self.upload(array, buffer)
        return lambda: None

    @property
    @abstractmethod
    def host(self) -> Pool:
        """Host memory for what this device shall not hold all the time; config.memory_limit is not its limit."""

    @abstractmethod
    def store(self, buffer: Buffer) -> tuple[Buffer, Callable[[], None]]:
        """Host memory that a buffer is copied to, after the work queued so far and beside later work.

        The buffer may be forgotten at once. Call what comes with the memory before anybody reads it.
        """

    @abstractmethod
    def fetch(self, host: Buffer, line: str | None = None) -> tuple[Buffer, Callable[[], None]]:
        """A buffer that host memory is copied to while other work runs.

        The memory may be forgotten at once, but not written. The call that comes with the buffer lets work that is
        queued later wait for the copy.
        """

    @abstractmethod
    def duplicate(self, address: int, buffer: Buffer) -> None:
        """Copy memory at an address of this device into a buffer, in the order of its work."""

    def array(self, buffer: Buffer, shape: tuple[int, ...], dtype: DType) -> np.ndarray:
        """The buffer as a host array, which nobody may write to."""
        out = np.empty(shape, dtype.numpy)
        if out.nbytes:
            self.download(buffer, out)
        out.flags.writeable = False
        return out

    def download(self, buffer: Buffer, array: np.ndarray) -> None:
        """Copy a buffer into a contiguous host array, and wait for it."""
        self.download_from(buffer.address, array)

    @abstractmethod
    def download_from(self, address: int, array: np.ndarray) -> None:
        """Copy memory at an address into a contiguous host array, and wait for it."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait for all queued work; errors of kernels are raised here."""
