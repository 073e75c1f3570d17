"""Objects sent between processes: a pickle through a pipe, its arrays through shared memory.

The memory has no name (memfd): only its descriptor travels, so when the last process that holds it ends, however it
ends, the memory is gone.
"""

import mmap
import os
import pickle
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

ALIGNMENT = 64
SMALL = 1 << 14  # arrays that together are smaller travel with the pickle


def send(connection: Connection, value: Any) -> None:
    """Send an object; the other side calls `receive`."""
    buffers: list[pickle.PickleBuffer] = []
    text = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    places, total = [], 0
    for view in views:
        places.append((total, view.nbytes))
        total += -(-view.nbytes // ALIGNMENT) * ALIGNMENT
    if total <= SMALL:
        connection.send((text, [bytes(view) for view in views], 0))
        return
    handle = os.memfd_create("flame.data", os.MFD_CLOEXEC)
    try:
        os.ftruncate(handle, total)
        with mmap.mmap(handle, total) as memory:
            for (begin, nbytes), view in zip(places, views):
                memory[begin : begin + nbytes] = view
        connection.send((text, places, total))
        reduction.send_handle(connection, handle, None)  # Linux needs no process id
    finally:
        os.close(handle)


def receive(connection: Connection) -> Any:
    """The next object; its arrays lie in the shared memory, which lives as long as they."""
    text, parts, total = connection.recv()
    if not total:
        return pickle.loads(text, buffers=[bytearray(part) for part in parts])
    handle = reduction.recv_handle(connection)
    try:
        memory = memoryview(mmap.mmap(handle, total))
    finally:
        os.close(handle)
    return pickle.loads(text, buffers=[memory[begin : begin + nbytes] for begin, nbytes in parts])
