"""A caching allocator: freed blocks wait in lists by size for the next request, since asking a driver is slow."""

import ctypes
import functools
import gc
import threading
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from flame.config import config
from flame.errors import OutOfMemoryError
from flame.runtime.buffer import Buffer

LEAST = 512
STEPS = 4  # sizes between a power of two and the next
LARGE = 32 * 2**20  # from here on sizes are multiples of PAGE, and a cached block may be up to an eighth too large
PAGE = 2 * 2**20
SHOWN = 5  # holders in an error message


@dataclass(frozen=True, slots=True)
class PoolStats:
    """A pool at one moment; bytes, but for the counts. `lines` maps a user's line to the bytes it holds, most first.

    `counts` maps a line to its buffers; peaks are those since `reset_peak`.
    """

    name: str
    in_use: int
    reserved: int
    peak: int
    allocations: int
    hits: int
    buffers: int
    peak_reserved: int
    peak_buffers: int
    retries: int
    lines: Mapping[str, int]
    counts: Mapping[str, int]

    @property
    def cached(self) -> int:
        """Reserved from the driver and used by nobody."""
        return self.reserved - self.in_use


def size_class(nbytes: int) -> int:
    """The size of the block that serves a request."""
    if nbytes <= LEAST:
        return LEAST
    step = PAGE if nbytes >= LARGE else max(LEAST // STEPS, (1 << ((nbytes - 1).bit_length() - 1)) // STEPS)
    return -(-nbytes // step) * step


def readable(nbytes: int) -> str:
    """1536 -> '1.5 KiB'."""
    amount, unit = float(nbytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"


class Pool:
    """Memory of one device.

    `allocate(nbytes)` asks the driver and returns an address (0, or MemoryError, where it has none left);
    `release(address)` gives a block back to it; `fill(address, nbytes)` writes 0xFF, which is NaN in every float
    format, where config.poison asks for it. Where `limited`, config.memory_limit is the most it takes.
    """

    def __init__(
        self,
        allocate: Callable[[int], int],
        release: Callable[[int], None],
        name: str,
        fill: Callable[[int, int], None] | None = None,
        limited: bool = True,
    ):
        self.name, self.limited = name, limited
        self.returned: deque[tuple[int, int, str | None]] = deque()  # buffers that died; filled without the lock
        self._allocate, self._release, self._fill = allocate, release, fill
        self._free: dict[int, list[int]] = {}  # size of block -> addresses
        self._large: list[int] = []  # sizes of free large blocks, sorted, each once
        self._lines: dict[str | None, list[int]] = {}  # line -> [bytes, buffers]
        self._in_use = self._reserved = self._peak = self._allocations = self._hits = self._buffers = 0
        self._peak_reserved = self._peak_buffers = self._retries = 0
        self._lock = threading.RLock()

    def buffer(self, nbytes: int, line: str | None = None) -> Buffer:
        """Memory for `nbytes` bytes; raises OutOfMemoryError after the cache was released in vain."""
        if nbytes < 0:
            raise ValueError(f"a buffer of {nbytes} bytes was asked for")
        with self._lock:
            self._collect()
            self._allocations += 1
            address, block = self._take(size_class(nbytes)) or self._grow(nbytes, line)
            self._count(line, block, 1)
            made = Buffer(address, nbytes, self, line, block)
        self._poison(address, block)
        return made

    def _take(self, size: int) -> tuple[int, int] | None:
        """A cached block of that size, or a large one that is a little larger."""
        block = size
        if size >= LARGE and size not in self._free:
            at = bisect_left(self._large, size)
            if at == len(self._large) or self._large[at] > size + size // 8:
                return None
            block = self._large[at]
        addresses = self._free.get(block)
        if not addresses:
            return None
        address = addresses.pop()
        if not addresses:
            self._forget(block)
        self._hits += 1
        return address, block

    def _forget(self, block: int) -> None:
        """No free block of that size is left."""
        del self._free[block]
        if block >= LARGE:
            del self._large[bisect_left(self._large, block)]

    def _grow(self, nbytes: int, line: str | None) -> tuple[int, int]:
        """A new block from the driver; where there is none, once more without the cache and the garbage."""
        size = size_class(nbytes)
        address = self._ask(size)
        if not address:
            self._retries += 1
            gc.collect()
            self._collect()
            found = self._take(size)  # the garbage may have held the very block
            if found:
                return found
            self._release_cached()
            address = self._ask(size)
        if not address:
            raise OutOfMemoryError(self._message(nbytes, line))
        self._reserved += size
        self._peak_reserved = max(self._peak_reserved, self._reserved)
        return address, size

    @property
    def _limit(self) -> int | None:
        return config.memory_limit if self.limited else None

    def _ask(self, size: int) -> int:
        limit = self._limit
        if limit is not None and self._reserved + size > limit:
            return 0
        try:
            return self._allocate(size)
        except MemoryError:
            return 0

    def _collect(self) -> None:
        """Blocks of buffers that died are free."""
        while self.returned:
            address, block, line = self.returned.popleft()
            self._count(line, -block, -1)
            self._poison(address, block)
            addresses = self._free.setdefault(block, [])
            if not addresses and block >= LARGE:
                insort(self._large, block)
            addresses.append(address)

    def _count(self, line: str | None, nbytes: int, buffers: int) -> None:
        self._in_use += nbytes
        self._buffers += buffers
        self._peak, self._peak_buffers = max(self._peak, self._in_use), max(self._peak_buffers, self._buffers)
        held = self._lines.setdefault(line, [0, 0])
        held[0] += nbytes
        held[1] += buffers
        if not held[1]:
            del self._lines[line]

    def _poison(self, address: int, nbytes: int) -> None:
        if self._fill and config.poison:
            self._fill(address, nbytes)

    def _release_cached(self) -> int:
        freed = 0
        for block in list(self._free):
            addresses = self._free[block]
            while addresses:
                address = addresses.pop()
                self._reserved -= block
                freed += block
                self._release(address)
            self._forget(block)
        return freed

    def trim(self) -> int:
        """Give every cached block back to the driver; returns the bytes."""
        with self._lock:
            self._collect()
            return self._release_cached()

    def reset_peak(self) -> None:
        """The peaks start again from what is in use now."""
        with self._lock:
            self._collect()
            self._peak, self._peak_reserved, self._peak_buffers = self._in_use, self._reserved, self._buffers

    def stats(self) -> PoolStats:
        """The pool now."""
        with self._lock:
            self._collect()
            holders = [(line or "unknown", *held) for line, held in self._holders()]
            now = self._in_use, self._reserved, self._peak, self._allocations, self._hits, self._buffers
            peaks = self._peak_reserved, self._peak_buffers, self._retries
            lines = {line: nbytes for line, nbytes, _ in holders}
            return PoolStats(self.name, *now, *peaks, lines, {line: count for line, _, count in holders})

    def _holders(self) -> Iterable[tuple[str | None, list[int]]]:
        return sorted(self._lines.items(), key=lambda item: -item[1][0])

    def _message(self, nbytes: int, line: str | None) -> str:
        """What was asked for, what there is, who holds it, and the way out."""
        limit = self._limit
        at = f" at {line}" if line else ""
        bound = f"FLAME_MEMORY_LIMIT {readable(limit)}" if limit is not None else "no limit but the device's own"
        parts = [
            f"{self.name} has no memory for {readable(nbytes)}{at}: {readable(self._in_use)} in use, "
            f"{readable(self._reserved - self._in_use)} cached after releasing the cache, "
            f"peak {readable(self._peak)}, {bound}."
        ]
        holders = list(self._holders())
        if holders:
            parts.append("Most is held by tensors made at:")
            parts += [f"  {readable(held):>10} in {count} buffers  {where or 'an unknown line'}"
                      for where, (held, count) in holders[:SHOWN]]  # fmt: skip
        parts.append(
            "Way out: a smaller batch, `del` of tensors no longer needed (losses kept in a list keep their memory), "
            "flame.utils.checkpoint.apply_checkpointing, flame.optim.offload, or a larger limit: "
            "config.memory_limit or FLAME_MEMORY_LIMIT."
        )
        return "\n".join(parts)

    def __repr__(self) -> str:
        return f"<Pool {self.name}: {readable(self._in_use)} in use of {readable(self._reserved)} reserved>"


# The host's memory.


@functools.cache
def _c_library() -> ctypes.CDLL:
    library = ctypes.CDLL(None)
    library.posix_memalign.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t, ctypes.c_size_t]
    library.free.argtypes, library.free.restype = [ctypes.c_void_p], None
    if hasattr(library, "madvise"):
        library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return library


HUGE_PAGES = 14  # MADV_HUGEPAGE


def allocate_host(nbytes: int) -> int:
    """Memory aligned for any vector, and from 2 MiB on for huge pages (fewer faults); 0 where there is none."""
    library, pointer = _c_library(), ctypes.c_void_p()
    if library.posix_memalign(ctypes.byref(pointer), PAGE if nbytes >= PAGE else 64, nbytes):
        return 0
    if nbytes >= PAGE and hasattr(library, "madvise"):
        library.madvise(pointer, nbytes, HUGE_PAGES)  # a wish: refusing it costs only time
    return pointer.value or 0


def release_host(address: int) -> None:
    """Give memory of `allocate_host` back."""
    _c_library().free(address)


def poison_host(address: int, nbytes: int) -> None:
    ctypes.memset(address, 0xFF, nbytes)


@functools.cache
def host_pool() -> Pool:
    """The pool of the CPU's memory."""
    return Pool(allocate_host, release_host, "cpu", poison_host)
