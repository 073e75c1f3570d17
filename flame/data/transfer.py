"""Objects sent between processes: a pickle through a pipe, its arrays through shared memory.

The memory has no name (memfd): only its descriptor travels, so when the last process that holds it ends, however it
ends, the memory is gone.
"""

import mmap
import os
import pickle
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any, Self

ALIGNMENT = 64
SMALL = 1 << 14  # arrays that together are smaller travel with the pickle


class Parcel:
    """An object packed once, to be sent to one process or to several, which then share the memory of its arrays."""

    def __init__(self, value: Any) -> None:
        buffers: list[pickle.PickleBuffer] = []
        self.text = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        views = [buffer.raw() for buffer in buffers]
        self.places: list[tuple[int, int]] = []
        self.total, self._handle = 0, -1
        for view in views:
            self.places.append((self.total, view.nbytes))
            self.total += -(-view.nbytes // ALIGNMENT) * ALIGNMENT
        if self.total <= SMALL:
            self.small = [bytes(view) for view in views]
            return
        self._handle = os.memfd_create("flame.data", os.MFD_CLOEXEC)
        try:
            os.ftruncate(self._handle, self.total)
            with mmap.mmap(self._handle, self.total) as memory:
                for (begin, nbytes), view in zip(self.places, views):
                    memory[begin : begin + nbytes] = view
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the memory; those who received it keep it."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def send(self, connection: Connection) -> None:
        """Send it; the other side calls `receive`."""
        if self._handle < 0:
            connection.send((self.text, self.small, 0))
            return
        connection.send((self.text, self.places, self.total))
        reduction.send_handle(connection, self._handle, None)  # Linux needs no process id


def send(connection: Connection, value: Any) -> None:
    """Pack an object and send it."""
    with Parcel(value) as parcel:
        parcel.send(connection)


def receive(connection: Connection) -> Any:
    """The next object; its arrays lie in the shared memory as long as they live, until somebody writes to them."""
    text, parts, total = connection.recv()
    if not total:
        return pickle.loads(text, buffers=[bytearray(part) for part in parts])
    handle = reduction.recv_handle(connection)
    try:
        memory = memoryview(mmap.mmap(handle, total, access=mmap.ACCESS_COPY))
    finally:
        os.close(handle)
    return pickle.loads(text, buffers=[memory[begin : begin + nbytes] for begin, nbytes in parts])
