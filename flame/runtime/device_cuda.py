"""A GPU: kernels as cubins launched by the driver, matrix products by cuBLASLt, one stream in order."""

import ctypes
import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from flame.errors import DeviceError
from flame.ir.plan import Call, Code, Launch
from flame.ir.target import CUDA
from flame.runtime import (
    cuda,
    cuda_routine,
    lib_cublaslt,
    lib_cudnn,
    lib_cudnn_attention,
    lib_cudnn_convolution,
    lib_host,
    lib_select,
    lib_sort,
    products,
    tune,
    user_cuda,
)
from flame.runtime.buffer import Buffer
from flame.runtime.choice import Place
from flame.runtime.device import Action, Addresses, Device, Shared
from flame.runtime.pool import Pool
from flame.runtime.workers import Job

CUDNN: dict[str, Callable[..., Any]] = {
    "convolution": lib_cudnn_convolution.bind,
    "attention": lib_cudnn_attention.bind,
    "attention_grad": lib_cudnn_attention.bind_grad,
}


WRITTEN = {"argsort": lib_sort.plan, "sorted": lib_sort.plan, "places": lib_select.plan}  # routines in CUDA C++


def libraries() -> frozenset[str]:
    """The routines that the libraries here have."""
    found = {*WRITTEN} | ({"matmul"} if lib_cublaslt.available() else set())
    return frozenset(found | ({*CUDNN, "attention_stats"} if lib_cudnn.available() else set()))


class CUDADevice(Device):
    """One NVIDIA GPU."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number, self.name = number, f"cuda:{number}"
        self.properties = cuda.device(number)
        cuda.use(number)
        self.target = replace(CUDA, cc=self.properties.cc, libraries=libraries())
        self.pool = Pool(self._allocate, self._release, self.name, self._fill)
        self.stream = cuda.Stream()
        self.place = Place(self.name, number, self.stream, self.pool)
        self._under_way: list[tuple[Buffer, Buffer, cuda.Event]] = []  # (from, to, done): memory of copies that run

    @property
    def index(self) -> int:
        return self.number

    def _allocate(self, nbytes: int) -> int:
        cuda.use(self.number)
        return cuda.allocate(nbytes)

    def _release(self, address: int) -> None:
        self.synchronize()  # queued work may still read it
        cuda.free(address)

    def _fill(self, address: int, nbytes: int) -> None:
        cuda.fill(address, 0xFF, nbytes, self.stream)

    def fastest(self, questions: Sequence[tune.Question]) -> list[int]:
        cuda.use(self.number)
        return tune.fastest(self, questions)

    def job(self, code: Code) -> Job:
        return Job("cuda", code.source, code.name, code.signature, code.options(self.target.cc))

    def load(self, binary: bytes, code: Code) -> Any:
        cuda.use(self.number)
        return cuda.load(binary, code.name)

    def launch(self, kernel: Any, code: Code, slots: tuple[int, ...], addresses: Addresses) -> Action:
        extent = ctypes.c_int64(code.extent)
        base = ctypes.addressof(addresses)
        pointers = [ctypes.addressof(extent), *(base + 8 * s for s in slots)]
        packed = cuda.pack(kernel, code.blocks, code.threads, pointers, code.shared)
        stream = self.stream.handle

        def run(at: Addresses, _keep: Any = (extent, addresses)) -> None:
            packed(stream)

        return run

    def share(self, addresses: Addresses) -> Shared:
        memory = self.pool.buffer(ctypes.sizeof(addresses), "the addresses of a plan")
        there = [b""]

        def update() -> None:
            now = bytes(addresses)
            if now == there[0]:  # a training step finds its memory where it was
                return
            cuda.use(self.number)
            staged = self.host.buffer(len(now))
            ctypes.memmove(staged.address, now, len(now))
            cuda.copy_in(memory.address, staged.address, len(now), self.stream)
            self._follow(staged, memory, self.stream)
            there[0] = now

        return Shared(memory.address, update)

    def batch(self, kernel: Any, code: Code, members: Sequence[Launch], shared: Shared) -> Action:
        blocks = [-(-m.kernel.outer.extent // code.share) for m in members]
        places = [np.stack([np.full(n, i), np.arange(n)], axis=1) for i, n in enumerate(blocks)]
        sizes = [(m.kernel.outer.extent, *m.slots) for m in members]
        tables = [np.concatenate(places).astype(np.int64), np.array(sizes, np.int64)]
        memory = [self.pool.buffer(table.nbytes, "the members of a batch") for table in tables]
        for table, buffer in zip(tables, memory, strict=True):
            self.upload(table, buffer)
        given = (ctypes.c_int64 * 4)(0, *(buffer.address for buffer in memory), shared.address)
        base = ctypes.addressof(given)
        packed = cuda.pack(kernel, sum(blocks), code.threads, [base + 8 * i for i in range(4)], code.shared)
        stream = self.stream.handle

        def run(at: Addresses, _keep: Any = (given, memory)) -> None:
            packed(stream)

        return run

    def call(self, step: Call) -> Action:
        if step.routine == "kernel":
            return user_cuda.bind(step, self.target.cc, self.stream.handle)
        if step.routine == "host":
            perform = lib_host.from_afar(step.spec, self.download_from, self._upload_to)
            return lambda at: perform(at[step.out], *(at[s] for s in step.inputs))
        if step.routine in WRITTEN:
            found = WRITTEN[step.routine](step.spec)
            return cuda_routine.bind(found, step.inputs, step.out, self.target.cc, self.pool, self.stream)
        if step.routine in CUDNN:
            perform, operands = CUDNN[step.routine](step.spec, self.place), (*step.inputs, step.out, *step.more)
            return lambda at: perform(*(at[s] for s in operands))
        if step.routine not in ("matmul", "finished"):
            raise DeviceError(f"CUDA has no routine {step.routine!r}")
        return products.bind(step, self)

    def upload(self, array: np.ndarray, buffer: Buffer) -> None:
        self._upload_to(buffer.address, array)

    def _upload_to(self, address: int, array: np.ndarray) -> None:
        cuda.use(self.number)
        cuda.copy_in(address, array.ctypes.data, array.nbytes, self.stream)
        self.stream.synchronize()  # the array may be gone before the copy has read it

    def upload_ahead(self, array: np.ndarray, buffer: Buffer) -> Callable[[], None]:
        cuda.use(self.number)
        staged = self.host.buffer(array.nbytes)
        ctypes.memmove(staged.address, array.ctypes.data, array.nbytes)
        return self._inwards(staged, buffer)

    def _inwards(self, host: Buffer, buffer: Buffer) -> Callable[[], None]:
        self._arrivals.wait(self.stream.record())  # queued work may still use what the buffer's memory held before
        cuda.copy_in(buffer.address, host.address, host.nbytes, self._arrivals)
        done = self._follow(host, buffer, self._arrivals)
        return lambda: self.stream.wait(done)

    def fetch(self, host: Buffer, line: str | None = None) -> tuple[Buffer, Callable[[], None]]:
        cuda.use(self.number)
        self._forget_done()
        made = self.pool.buffer(host.nbytes, line)
        return made, self._inwards(host, made)

    def store(self, buffer: Buffer) -> tuple[Buffer, Callable[[], None]]:
        cuda.use(self.number)
        made = self.host.buffer(buffer.nbytes, buffer.line)
        self._departures.wait(self.stream.record())  # queued work may still write the buffer
        cuda.copy_out(made.address, buffer.address, buffer.nbytes, self._departures)
        done = self._follow(buffer, made, self._departures)

        def wait() -> None:
            done.synchronize()
            self._forget_done()

        return made, wait

    def _follow(self, source: Buffer, target: Buffer, stream: cuda.Stream) -> cuda.Event:
        """The event of a copy that was queued; until it happens, neither end of the copy is anybody else's."""
        done = stream.record()
        self._forget_done()
        self._under_way.append((source, target, done))
        return done

    def _forget_done(self) -> None:
        self._under_way = [copy for copy in self._under_way if not copy[2].done()]

    @functools.cached_property
    def host(self) -> Pool:
        return Pool(cuda.allocate_host, cuda.free_host, f"pinned for {self.name}", limited=False)

    @functools.cached_property
    def _arrivals(self) -> cuda.Stream:
        return cuda.Stream()

    @functools.cached_property
    def _departures(self) -> cuda.Stream:
        return cuda.Stream()

    def duplicate(self, address: int, buffer: Buffer) -> None:
        cuda.use(self.number)
        cuda.copy(buffer.address, address, buffer.nbytes, self.stream)

    def download_from(self, address: int, array: np.ndarray) -> None:
        cuda.use(self.number)
        cuda.copy_out(array.ctypes.data, address, array.nbytes, self.stream)
        self.stream.synchronize()

    def synchronize(self) -> None:
        self.stream.synchronize()
