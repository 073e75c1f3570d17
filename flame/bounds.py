"""Positions outside a tensor are errors: at the call where their values are known, else when they are computed."""

from weakref import ref

import numpy as np

from flame import positions, values
from flame.errors import DTypeError
from flame.ir import dtype as dt
from flame.ir import spans
from flame.ir.node import Node
from flame.ir.origins import user_line
from flame.runtime.buffer import Buffer
from flame.runtime.device import Device
from flame.tensor import Tensor


def integers(name: str, index: Tensor) -> None:
    """Raise DTypeError for positions that are no int32 or int64."""
    if index.dtype not in (dt.int64, dt.int32):
        hint = "a mask, convert it with .bool()" if index.dtype is dt.uint8 else "positions, cast it with .long()"
        raise DTypeError(f"{name}: the index must be int64 or int32, got {index.dtype}; if it is {hint}")


def check(name: str, index: Tensor, size: int, site: tuple[Node, int], wraps: bool = False) -> None:
    """Raise IndexingError for positions outside [0, size), or [-size, size) where negative ones count from the end.

    Where the values are not known yet, the error is raised when something is computed that reads or writes at `site`:
    the index and the size of the axis as the operator sees them.
    """
    if not index.numel():
        return
    low, high = -size if wraps else 0, size - 1
    found = known(index)
    if found is not None and found.within(low, high):
        return
    watch = positions.Watch(ref(index.node), low, high, name, user_line())
    if found is not None and found.exact:
        raise watch.error(found)
    positions.watch(*site, watch)


def at_hand(t: Tensor) -> bool:
    """True if the value lies in the CPU's memory: looking at it waits for nothing."""
    return t.device.prompt and t.node in values.COMPUTED


def known(index: Tensor) -> spans.Span | None:
    """What is known of the elements of an integer tensor without computing it."""
    return spans.span(index.node, lambda n: _stored(n, index.device))


def _stored(n: Node, device: Device) -> tuple[bool, spans.Span | None]:
    """Whether a node has a value, and its span: the CPU's memory is read, a GPU's would be waited for."""
    if n not in values.COMPUTED:
        return False, None
    value = values.get(n)
    if not isinstance(value, Buffer):
        return True, spans.of_array(np.asarray(value, n.dtype.numpy))
    if not device.prompt or n.dtype.category != dt.INT:
        return True, None
    return True, spans.of_array(device.array(value, n.shape, n.dtype))
