"""A piece of a pool's memory, given back when Python forgets it."""

from typing import TYPE_CHECKING

from flame.errors import FreedError

if TYPE_CHECKING:
    from flame.runtime.pool import Pool


class Buffer:
    """`nbytes` bytes at `address`; `line` is the user's file:line that asked for them.

    Forgetting a buffer only notes its block in the pool's list of returned blocks, which takes no lock: Python may
    collect garbage while the same thread is inside the pool.
    """

    __slots__ = ("__weakref__", "_address", "_owned", "line", "nbytes", "pool")

    def __init__(self, address: int, nbytes: int, pool: "Pool", line: str | None = None, block: int | None = None):
        self._address = address
        self.nbytes = nbytes
        self.pool = pool
        self.line = line
        self._owned = [(address, nbytes if block is None else block, line)]  # popping is atomic: given back once

    @property
    def address(self) -> int:
        """Where the memory lies; raises FreedError once it was freed."""
        if not self._owned:
            raise FreedError(f"{self!r} was used after it was freed; keep the tensor that owns it")
        return self._address

    @property
    def freed(self) -> bool:
        return not self._owned

    def free(self) -> None:
        """Give the memory back now; again is harmless."""
        try:
            block = self._owned.pop()
        except IndexError:
            return
        self.pool.returned.append(block)

    def __del__(self):
        if getattr(self, "_owned", None):  # an __init__ that was interrupted owns nothing
            self.free()

    def __repr__(self) -> str:
        state = "freed" if self.freed else f"at {self._address:#x}"
        where = self.line or "an unknown line"
        return f"<Buffer of {self.nbytes} bytes {state}, pool {self.pool.name}, made at {where}>"
