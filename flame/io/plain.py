"""What a file holds, as plain containers with `Stored` tensors, made into containers with tensors of FLAME."""

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from flame.errors import CheckpointError
from flame.io.stored import Stored, as_parameter, known, load_array
from flame.ir.dtype import DType
from flame.ops.create import Where, arange
from flame.tensor import Tensor

DEEPEST = 200  # containers inside one another
PLAIN = (type(None), bool, int, float, str, bytes, DType)


def convert(value: Any, make: Callable[[Stored], Any], name: str) -> Any:
    """The same containers with `make` of each stored tensor; what is shared stays shared.

    Raises CheckpointError for an object that holds itself, is nested too deep, or is no plain one.
    """
    done: dict[int, Any] = {}

    def visit(value: Any, above: tuple[int, ...]) -> Any:
        if type(value) in PLAIN:
            return value
        key = id(value)
        if key in above or len(above) > DEEPEST:
            fault = "holds itself" if key in above else f"is nested deeper than {DEEPEST}"
            raise CheckpointError(f"{name}: a {type(value).__name__} in it {fault}")
        if key not in done:
            done[key] = rebuild(value, (*above, key))
        return done[key]

    def rebuild(value: Any, above: tuple[int, ...]) -> Any:
        if type(value) is Stored:
            return make(value)
        if type(value) in (list, tuple, set):
            return type(value)([visit(one, above) for one in value])
        if type(value) in (dict, OrderedDict):
            made = type(value)((one, visit(other, above)) for one, other in value.items())
            if "_metadata" in getattr(value, "__dict__", ()):
                made._metadata = visit(value._metadata, above)
            return made
        what = getattr(value, "name", f"a {type(value).__name__}")
        raise CheckpointError(f"{name}: it holds {what}, which is no tensor, number, text or plain container")

    return visit(value, ())


def stored_in(value: Any, name: str) -> Iterator[Stored]:
    """Every tensor that a file holds; raises CheckpointError as `convert` does."""
    found: list[Stored] = []
    convert(value, found.append, name)
    return iter(found)


class Maker:
    """Makes tensors of stored ones in which no byte of a file takes memory twice.

    PyTorch's tensors may overlap in one storage, FLAME's are values. Where the tensors of a storage together are no
    larger than it, each is a copy of its part. Otherwise the storage is copied once, and they are lazy views of the
    copy; repeated rows and columns (stride 0) are lazy in any case.
    """

    def __init__(self, views: Iterator[Stored], device: Where = None) -> None:
        self._device = device
        self._made: dict[Any, Tensor] = {}
        self._bases: dict[Any, Tensor] = {}
        needs: defaultdict[int, dict[Any, int]] = defaultdict(dict)
        self._keep: list[np.ndarray] = []  # so that an id stays one storage's
        for view in views:
            needs[id(view.memory)][_key(view)] = _squeezed(view).nbytes
            self._keep.append(view.memory)
        sizes = {id(memory): len(memory) for memory in self._keep}
        self._whole = {memory for memory, parts in needs.items() if sum(parts.values()) > sizes[memory]}

    def __call__(self, view: Stored) -> Tensor:
        """The tensor; equal views share memory."""
        key = _key(view)
        if key not in self._made:
            known(view.kind)
            self._made[key] = self._lazy(view) if id(view.memory) in self._whole else self._copy(view)
        value = self._made[key]
        if view.parameter:
            return as_parameter(value, view.requires_grad)
        return Tensor(value.node, value.device, view.requires_grad)

    def _copy(self, view: Stored) -> Tensor:
        part = _squeezed(view)
        value = part.tensor(None, self._device)
        return value if part.shape == view.shape else value.expand(*view.shape)

    def _lazy(self, view: Stored) -> Tensor:
        """The elements by their numbers in the storage."""
        part = _squeezed(view)
        key = id(part.memory), part.kind
        if key not in self._bases:
            whole = Stored(part.memory, part.kind, (len(part.memory) // part.kind.itemsize,))
            self._bases[key] = load_array(whole.array(), None, self._device)
        base = self._bases[key]
        place = arange(1, device=base.device) + part.offset
        for size, stride in zip(part.shape, part.strides or ()):
            place = place.reshape(*place.shape, 1) + arange(size, device=base.device) * stride
        return base[place.reshape(part.shape)].expand(*view.shape)


def _key(view: Stored) -> Any:
    return id(view.memory), view.kind, view.offset, view.shape, view.strides


def _squeezed(view: Stored) -> Stored:
    """The view with one element where a stride of 0 repeats it."""
    strides = view.strides or ()
    shape = tuple(1 if not stride and size > 1 else size for size, stride in zip(view.shape, strides))
    return Stored(view.memory, view.kind, shape if strides else view.shape, view.strides, view.offset)
