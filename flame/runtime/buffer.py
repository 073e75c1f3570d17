"""A piece of a pool's memory, given back when Python forgets it."""

import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, ref

from flame.errors import FreedError

if TYPE_CHECKING:
    from flame.runtime.pool import Pool


_lending = threading.Lock()


class Lease:
    """What somebody outside FLAME holds while he sees a buffer's memory: until then it is neither freed nor written."""

    __slots__ = ("__weakref__", "buffer")

    def __init__(self, buffer: "Buffer"):
        self.buffer = buffer


class Buffer:
    """`nbytes` bytes at `address`; `line` is the user's file:line that asked for them.

    Forgetting a buffer only notes its block in the pool's list of returned blocks, which takes no lock: Python may
    collect garbage while the same thread is inside the pool.
    """

    __slots__ = ("__weakref__", "_address", "_lease", "_owned", "exposed", "line", "nbytes", "pool")

    def __init__(self, address: int, nbytes: int, pool: "Pool", line: str | None = None, block: int | None = None):
        self._address = address
        self.nbytes = nbytes
        self.pool = pool
        self.line = line
        self.exposed = False  # its bare address was told: nobody can say when it was read for the last time
        self._lease: ReferenceType[Lease] | None = None
        self._owned: list[Any] = [
            (address, nbytes if block is None else block, line)
        ]  # popping is atomic: given back once

    @property
    def address(self) -> int:
        """Where the memory lies; raises FreedError once it was freed."""
        if not self._owned:
            raise FreedError(f"{self!r} was used after it was freed; keep the tensor that owns it")
        return self._address

    @property
    def freed(self) -> bool:
        return not self._owned

    def lend(self) -> Lease:
        """Let somebody outside see the memory for as long as he keeps what this returns."""
        with _lending:
            found = self._lease() if self._lease is not None else None
            if found is None:
                found = Lease(self)
                self._lease = ref(found)
            return found

    @property
    def lent(self) -> bool:
        """True while somebody outside sees the memory: no result may be written over it."""
        return self.exposed or (self._lease is not None and self._lease() is not None)

    def free(self) -> None:
        """Give the memory back now; again is harmless."""
        try:
            block = self._owned.pop()
        except IndexError:
            return
        self.pool.returned.append(block)

    def __del__(self, _ending: Callable[[], bool] = sys.is_finalizing):
        if not _ending() and getattr(self, "_owned", None):  # an __init__ that was interrupted owns nothing
            self.free()

    def __repr__(self) -> str:
        state = "freed" if self.freed else f"at {self._address:#x}"
        where = self.line or "an unknown line"
        return f"<Buffer of {self.nbytes} bytes {state}, pool {self.pool.name}, made at {where}>"


class Borrowed(Buffer):
    """Memory of somebody else, whom it keeps alive: only read, and never the pool's.

    `before` is called before the owner may go: queued work may still read.
    """

    __slots__ = ("_before",)

    def __init__(
        self,
        address: int,
        nbytes: int,
        pool: "Pool",
        owner: Any,
        line: str | None = None,
        before: Callable[[], None] | None = None,
    ):
        super().__init__(address, nbytes, pool, line)
        self.exposed = True
        self._before = before
        self._owned = [owner]

    def free(self) -> None:
        """Let the owner go; again is harmless."""
        try:
            owner = self._owned.pop()
        except IndexError:
            return
        if self._before is not None:
            self._before()
        del owner
