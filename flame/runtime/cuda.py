"""The CUDA driver: device, memory, streams, events, modules, launches and graphs, through cuda.bindings.

Nothing is imported or initialised before it is asked for. FLAME uses each device's primary context, the one of PyTorch
and the CUDA runtime, so that addresses may be shared. A thread calls `use()` once before it works with a device.
Addresses and sizes are plain ints; streams and events are objects that own their handle.
"""

import contextlib
import ctypes
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

from flame.errors import CompileError, DeviceError, OutOfMemoryError

_thread = threading.local()


@dataclass(frozen=True)
class Device:
    """What a GPU is: `memory` in bytes, `shared` the most shared memory of one block."""

    ordinal: int
    name: str
    cc: tuple[int, int]
    multiprocessors: int
    memory: int
    shared: int


# --- the driver -----------------------------------------------------------------------------------
@functools.cache
def _driver():
    """The driver's bindings, initialised; raises what is missing."""
    from cuda.bindings import driver

    status, *_ = driver.cuInit(0)
    if int(status):
        raise RuntimeError(f"cuInit says {status.name}")
    status, count = driver.cuDeviceGetCount()
    if int(status) or not count:
        raise RuntimeError("the driver sees no GPU")
    return driver


@functools.cache
def why_not() -> str:
    """Why no CUDA device can be used here; empty where one can."""
    try:
        _driver()
    except ImportError as problem:
        return f"cuda.bindings does not import ({problem}); pip install 'cuda-bindings>=13'"
    except Exception as problem:  # noqa: BLE001  whatever the driver says, it is the answer
        first = (str(problem).splitlines() or [type(problem).__name__])[0]
        return f"the CUDA driver does not work: {first}; check that nvidia-smi lists a GPU"
    return ""


def available() -> bool:
    """Whether a CUDA device can be used."""
    return not why_not()


def driver():
    """The driver's bindings, or a DeviceError that says what is missing."""
    if why_not():
        raise DeviceError(f"no CUDA device: {why_not()}; or set FLAME_DEVICE=cpu")
    return _driver()


def check(answer, doing: str = "a CUDA call"):
    """The values of a driver call, or a DeviceError that names it."""
    if int(answer[0]):
        _fail(answer[0], doing)
    return answer[1] if len(answer) == 2 else answer[1:]


ADVICE = {
    "CUDA_ERROR_ILLEGAL_ADDRESS": "a kernel left its memory and the context is lost; run with FLAME_VALIDATE=1",
    "CUDA_ERROR_MISALIGNED_ADDRESS": "a wide access met an unaligned address, the context is lost; report this kernel",
    "CUDA_ERROR_INVALID_CONTEXT": "this thread has no device yet; call flame.runtime.cuda.use() in it first",
    "CUDA_ERROR_NO_BINARY_FOR_GPU": "the machine code is for another GPU; clear the cache with `flame cache --clear`",
    "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES": "the kernel needs more registers than a block has; report this kernel",
    "CUDA_ERROR_INVALID_VALUE": "an argument of the call is out of its range; report this",
    "CUDA_ERROR_NOT_INITIALIZED": "a forked child cannot use CUDA; start processes with multiprocessing's 'spawn'",
}


def _fail(status, doing: str):
    name = status.name
    if name == "CUDA_ERROR_OUT_OF_MEMORY":
        raise OutOfMemoryError(f"{doing}: the GPU has no memory left ({name})")
    _, text = _driver().cuGetErrorString(status)
    said = text.decode() if isinstance(text, bytes) else str(text)
    raise DeviceError(f"{doing} failed: {name} ({said}); {ADVICE.get(name, 'see the CUDA driver API for this error')}")


# --- devices --------------------------------------------------------------------------------------
@functools.cache
def count() -> int:
    """How many CUDA devices there are; 0 where none can be used."""
    return check(driver().cuDeviceGetCount()) if available() else 0


@functools.cache
def device(ordinal: int = 0) -> Device:
    """The properties of a device."""
    d = driver()
    if not 0 <= ordinal < count():
        raise DeviceError(f"there is no cuda:{ordinal}; this machine has cuda:0 to cuda:{count() - 1}")
    handle = check(d.cuDeviceGet(ordinal))
    kinds = d.CUdevice_attribute

    def attribute(name: str) -> int:
        key = getattr(kinds, f"CU_DEVICE_ATTRIBUTE_{name}")
        return int(check(d.cuDeviceGetAttribute(key, handle), f"reading {name} of cuda:{ordinal}"))

    name = check(d.cuDeviceGetName(256, handle)).split(b"\0")[0].decode()
    cc = attribute("COMPUTE_CAPABILITY_MAJOR"), attribute("COMPUTE_CAPABILITY_MINOR")
    memory = int(check(d.cuDeviceTotalMem(handle)))
    shared = attribute("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN")
    return Device(ordinal, name, cc, attribute("MULTIPROCESSOR_COUNT"), memory, shared)


@functools.cache
def _context(ordinal: int):
    """The device's primary context, held until the process ends."""
    device(ordinal)
    handle = check(driver().cuDeviceGet(ordinal))
    return check(driver().cuDevicePrimaryCtxRetain(handle), f"making a context on cuda:{ordinal}")


def use(ordinal: int = 0) -> None:
    """Make a device current in this thread. Cheap when it already is, as far as FLAME knows."""
    if getattr(_thread, "ordinal", None) != ordinal:
        check(driver().cuCtxSetCurrent(_context(ordinal)), f"using cuda:{ordinal}")
        _thread.ordinal = ordinal


def current() -> int:
    """The device that this thread uses; cuda:0 where it has not said."""
    return getattr(_thread, "ordinal", 0)


def synchronize() -> None:
    """Wait for everything on the current device; errors of kernels launched before are raised here."""
    check(driver().cuCtxSynchronize(), "waiting for the GPU")


def memory_info() -> tuple[int, int]:
    """Free and total bytes of the current device, other processes counted."""
    free, total = check(driver().cuMemGetInfo(), "asking for free memory")
    return int(free), int(total)


# --- memory ---------------------------------------------------------------------------------------
def allocate(nbytes: int) -> int:
    """The address of new device memory, 256-byte aligned; OutOfMemoryError (a MemoryError) when there is none."""
    return int(check(driver().cuMemAlloc(nbytes), f"allocating {nbytes} bytes"))


def free(address: int) -> None:
    """Give memory back to the driver; waits for the GPU."""
    check(driver().cuMemFree(address), "freeing memory")


def allocate_host(nbytes: int) -> int:
    """The address of pinned host memory, from which copies run beside kernels."""
    return int(check(driver().cuMemAllocHost(nbytes), f"pinning {nbytes} bytes"))


def free_host(address: int) -> None:
    """Give pinned host memory back."""
    check(driver().cuMemFreeHost(address), "freeing pinned memory")


def copy_in(address: int, source: int, nbytes: int, stream: "Stream | None" = None) -> None:
    """Host to device, in the stream's order. The host memory must stay alive until the stream is synchronized."""
    check(driver().cuMemcpyHtoDAsync(address, source, nbytes, _handle(stream)), "copying to the GPU")


def copy_out(target: int, address: int, nbytes: int, stream: "Stream | None" = None) -> None:
    """Device to host, in the stream's order; synchronize the stream before reading."""
    check(driver().cuMemcpyDtoHAsync(target, address, nbytes, _handle(stream)), "copying from the GPU")


def copy(target: int, source: int, nbytes: int, stream: "Stream | None" = None) -> None:
    """Device to device, in the stream's order."""
    check(driver().cuMemcpyDtoDAsync(target, source, nbytes, _handle(stream)), "copying on the GPU")


def fill(address: int, byte: int, nbytes: int, stream: "Stream | None" = None) -> None:
    """Every byte the same, in the stream's order."""
    check(driver().cuMemsetD8Async(address, byte, nbytes, _handle(stream)), "filling memory")


# --- streams and events -----------------------------------------------------------------------------
class Stream:
    """A queue of work on the current device; `Stream(0)` is the default stream."""

    def __init__(self, handle: int | None = None):
        d = driver()
        self.owned = handle is None
        flags = d.CUstream_flags.CU_STREAM_NON_BLOCKING
        self.handle = check(d.cuStreamCreate(flags), "making a stream") if handle is None else d.CUstream(handle)

    def __int__(self) -> int:
        return int(self.handle)

    def synchronize(self) -> None:
        """Wait for all work queued so far; errors of its kernels are raised here."""
        check(driver().cuStreamSynchronize(self.handle), "waiting for a stream")

    def wait(self, event: "Event") -> None:
        """Later work of this stream starts after the event."""
        check(driver().cuStreamWaitEvent(self.handle, event.handle, 0), "waiting for an event")

    def record(self, timed: bool = False) -> "Event":
        """An event that happens when all work queued so far is done."""
        event = Event(timed)
        check(driver().cuEventRecord(event.handle, self.handle), "recording an event")
        return event

    def __del__(self):
        if self.owned and getattr(self, "handle", None) is not None:
            with contextlib.suppress(Exception):  # the driver may be gone at exit
                _driver().cuStreamDestroy(self.handle)


class Event:
    """A point in a stream."""

    def __init__(self, timed: bool = False):
        kinds = driver().CUevent_flags
        flags = kinds.CU_EVENT_DEFAULT if timed else kinds.CU_EVENT_DISABLE_TIMING
        self.handle = check(driver().cuEventCreate(flags), "making an event")

    def done(self) -> bool:
        """Whether it has happened."""
        status = driver().cuEventQuery(self.handle)[0]
        if status.name not in ("CUDA_SUCCESS", "CUDA_ERROR_NOT_READY"):
            _fail(status, "asking an event")
        return status.name == "CUDA_SUCCESS"

    def synchronize(self) -> None:
        """Wait until it happens."""
        check(driver().cuEventSynchronize(self.handle), "waiting for an event")

    def since(self, start: "Event") -> float:
        """Milliseconds from another timed event to this one."""
        return float(check(driver().cuEventElapsedTime(start.handle, self.handle), "reading a time"))

    def __del__(self):
        if getattr(self, "handle", None) is not None:
            with contextlib.suppress(Exception):
                _driver().cuEventDestroy(self.handle)


def _handle(stream: Stream | None):
    return 0 if stream is None else stream.handle


# --- kernels --------------------------------------------------------------------------------------
class Function:
    """A loaded kernel; it keeps its module alive."""

    def __init__(self, module, handle, name: str):
        self.module, self.handle, self.name = module, handle, name

    def attribute(self, name: str) -> int:
        """One of the driver's numbers of a function: NUM_REGS, LOCAL_SIZE_BYTES, SHARED_SIZE_BYTES, .."""
        key = getattr(driver().CUfunction_attribute, f"CU_FUNC_ATTRIBUTE_{name}")
        return int(check(driver().cuFuncGetAttribute(key, self.handle), f"reading {name} of {self.name}"))


def load(cubin: bytes, name: str) -> Function:
    """The kernel `name` of a cubin, on the current device."""
    module = check(driver().cuModuleLoadData(cubin), f"loading kernel {name}")
    return Function(module, check(driver().cuModuleGetFunction(module, name.encode()), f"finding kernel {name}"), name)


Grid = int | tuple[int, ...]


def pack(function: Function, blocks: Grid, threads: Grid, pointers: Sequence[int], shared: int = 0) -> Callable:
    """A function `launch(stream)` of a kernel, its parameters packed once; blocks and threads along one axis, or three.

    Parameter k has the bytes at address `pointers[k]`, read at each launch: fill them before it. The memory behind
    `pointers` must outlive the launch function. `stream` is a Stream's handle (`stream.handle`), or 0; `shared` are
    bytes of shared memory beside what the kernel declares.
    """
    grid = (blocks, 1, 1) if isinstance(blocks, int) else blocks
    block = (threads, 1, 1) if isinstance(threads, int) else threads
    if 0 in grid:
        return lambda stream=0: None
    if not (0 < min(grid) and max(grid) < 2**31 and 0 < min(block) and prod(block) <= 1024):
        raise DeviceError(
            f"{function.name}: {blocks} blocks of {threads} threads; 1 to 2147483647 of 1 to 1024 may run"
        )
    if shared:
        key = driver().CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        check(driver().cuFuncSetAttribute(function.handle, key, shared), f"giving {function.name} {shared} bytes")
    packed = (ctypes.c_void_p * max(len(pointers), 1))(*pointers)
    at, call, handle = ctypes.addressof(packed), driver().cuLaunchKernel, function.handle

    def launch(stream=0, _keep=packed):
        status = call(handle, *grid, *block, shared, stream, at, 0)[0]
        if status:
            _fail(status, f"launching {function.name} on {blocks} blocks of {threads} threads")

    return launch


def link(ptx: str, architecture: str) -> bytes:
    """A cubin by the driver's own assembler, for the current device's machine."""
    use(current())
    d, options = driver(), driver().CUjit_option
    log = bytearray(8192)
    keys = [options.CU_JIT_ERROR_LOG_BUFFER, options.CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES, options.CU_JIT_TARGET]
    digits = architecture.removeprefix("sm_")
    target = getattr(d.CUjit_target, f"CU_TARGET_COMPUTE_{digits.upper()}")
    state = check(d.cuLinkCreate(len(keys), keys, [log, len(log), target]), "starting the driver's linker")
    try:
        data = ptx.encode() + b"\0"
        kind = d.CUjitInputType.CU_JIT_INPUT_PTX
        status, *_ = d.cuLinkAddData(state, kind, data, len(data), b"kernel.ptx", 0, [], [])
        if int(status):
            said = log.split(b"\0")[0].decode(errors="replace")
            raise CompileError(f"the driver's linker rejects PTX for {architecture}: {status.name}\n  {said}")
        address, size = check(d.cuLinkComplete(state), "linking a kernel")
        return ctypes.string_at(int(address), int(size))
    finally:
        d.cuLinkDestroy(state)


# --- graphs ---------------------------------------------------------------------------------------
class Graph:
    """Work recorded from a stream, replayed as one launch."""

    def __init__(self, handle):
        self.handle = handle

    def launch(self, stream: Stream) -> None:
        """Queue all of it again; it reads and writes the addresses that were recorded."""
        check(driver().cuGraphLaunch(self.handle, stream.handle), "launching a graph")

    def __del__(self):
        if getattr(self, "handle", None) is not None:
            with contextlib.suppress(Exception):
                _driver().cuGraphExecDestroy(self.handle)


@contextlib.contextmanager
def record(stream: Stream) -> Iterator[list[Graph]]:
    """Record the stream's work instead of running it; the list that the block gets holds the graph afterwards."""
    d, found = driver(), []
    mode = d.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
    check(d.cuStreamBeginCapture(stream.handle, mode), "recording a graph")
    try:
        yield found
    except BaseException:
        status, graph = d.cuStreamEndCapture(stream.handle)
        if not int(status) and graph is not None:
            d.cuGraphDestroy(graph)
        raise
    graph = check(d.cuStreamEndCapture(stream.handle), "ending a recording")
    try:
        found.append(Graph(check(d.cuGraphInstantiate(graph, 0), "making a graph")))
    finally:
        d.cuGraphDestroy(graph)
