"""PyTorch's `.pt` files read without PyTorch: a zip of one pickle and the storages it names, or one stream of both.

The pickle is read as data (`unpickle`); the globals below are all that it may name, and each is a function of FLAME.
"""

import pickle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from flame.errors import CheckpointError
from flame.io.archive import MAGIC, Archive
from flame.io.stored import KINDS, Stored, fitting_shape
from flame.io.unpickle import KEYS, Call, Machine
from flame.ir import dtype as dt

LEGACY = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)  # what files of PyTorch before 1.6 start with
LEGACY_VERSION = 1001


@dataclass(frozen=True, slots=True)
class StorageKind:
    """A class of storages, by its elements' type."""

    name: str
    kind: np.dtype


@dataclass(frozen=True, slots=True)
class Storage:
    """The memory that tensors of a file share; None while it is not known yet where it lies."""

    kind: np.dtype
    nbytes: int
    memory: np.ndarray | None


def is_torch(memory: np.ndarray) -> bool:
    """True where the first bytes are those of a `.pt` file."""
    start = memory[: len(LEGACY)].tobytes()
    return start.startswith(MAGIC) or start == LEGACY


def parse(memory: np.ndarray, name: str) -> Any:
    """What a `.pt` file holds, in plain containers with `Stored` tensors; raises CheckpointError for anything else."""
    if memory[: len(MAGIC)].tobytes() == MAGIC:
        return _parse_zip(Archive(memory, name), name)
    return _parse_stream(memory, name)


# --- the zip ----------------------------------------------------------------------------------------------------------
def _parse_zip(archive: Archive, name: str) -> Any:
    if "constants.pkl" in archive:
        raise CheckpointError(f"{name} is a TorchScript program, not a file of tensors; save its state_dict instead")
    order = archive["byteorder"].tobytes() if "byteorder" in archive else b"little"
    if order != b"little":
        raise CheckpointError(f"{name} was written on a machine of the byte order {order[:20]!r}; FLAME reads 'little'")
    records: dict[str, np.ndarray] = {}

    def persistent(given: Any) -> Storage:
        kind, key, count = _storage_id(given)
        if key not in records:
            records[key] = archive[f"data/{key}"]
        nbytes = count * kind.itemsize
        if nbytes != len(records[key]):
            raise CheckpointError(f"{name}: the storage {key!r} of {nbytes} bytes has {len(records[key])} in the file")
        return Storage(kind, nbytes, records[key])

    return Machine(archive["data.pkl"].data, name, GLOBALS, persistent).run()


def _storage_id(given: Any) -> tuple[np.dtype, str, int]:
    """(element type, key, elements) from a persistent id; raises for any other kind of id."""
    if type(given) is not tuple or len(given) not in (5, 6) or given[0] != "storage":
        raise ValueError("a persistent id names no storage")
    _, kind, key, _, count, *view = given
    if not isinstance(kind, StorageKind) or type(key) is not str or type(count) is not int or count < 0:
        raise ValueError("a persistent id names no storage")
    if view not in ([], [None]):
        raise ValueError("storages that are views of others, as PyTorch 0.3 wrote them, are not read")
    return kind.kind, key, count


# --- the stream -------------------------------------------------------------------------------------------------------
def _parse_stream(memory: np.ndarray, name: str) -> Any:
    """Five pickles (magic, version, machine, object, keys), then each storage as its length and its bytes."""
    storages: dict[str, Storage] = {}

    def persistent(given: Any) -> Storage:
        kind, key, count = _storage_id(given)
        found = storages.setdefault(key, Storage(kind, count * kind.itemsize, None))
        if found.nbytes != count * kind.itemsize:
            raise ValueError(f"the storage {key!r} has two sizes")
        return replace(found, kind=kind)

    machine = Machine(memory.data, name, GLOBALS, persistent)
    version = machine.run(len(LEGACY))
    system = machine.run(machine.at)
    if version != LEGACY_VERSION or type(system) is not dict:
        raise CheckpointError(f"{name} is not of PyTorch's format {LEGACY_VERSION}, which FLAME reads")
    if system.get("little_endian") is not True:
        raise CheckpointError(f"{name} was written on a big-endian machine; FLAME reads little-endian files")
    start = machine.at
    machine.run(start)
    keys = machine.run(machine.at)
    at = machine.at
    if type(keys) is not list or any(type(key) is not str for key in keys) or sorted(keys) != sorted(storages):
        raise CheckpointError(f"{name}: the storages it lists are not those its tensors use")
    for key in keys:
        expected = storages[key].nbytes
        count = int.from_bytes(memory[at : at + 8].tobytes(), "little")
        begin, end = at + 8, at + 8 + expected
        if count * storages[key].kind.itemsize != expected or end > len(memory):
            raise CheckpointError(f"{name}: the storage {key!r} of {expected} bytes is damaged or cut short")
        storages[key] = replace(storages[key], memory=memory[begin:end])
        at = end
    return machine.run(start)  # once more, now that the memory is known


# --- what a pickle may name -------------------------------------------------------------------------------------------
def _tensor(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any = False, hooks: Any = (), metadata: Any = None
) -> Stored:
    """torch._utils._rebuild_tensor_v2 and the forms before it."""
    if not isinstance(storage, Storage):
        raise CheckpointError("a tensor has no storage")
    if hooks or metadata:
        raise CheckpointError("a tensor has hooks or a conjugate or negative view; clone it before saving")
    shape = fitting_shape("a tensor", size, storage.kind.itemsize)
    if type(stride) is not tuple or len(stride) != len(shape) or type(requires_grad) is not bool:
        raise CheckpointError("a tensor has no stride for each dimension")
    if any(type(n) is not int or n < 0 for n in (offset, *stride)):
        raise CheckpointError("a tensor has strides or an offset that are no numbers from 0 up")
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride))
    if 0 not in shape and last >= storage.nbytes // storage.kind.itemsize:
        raise CheckpointError(f"a tensor of shape {shape} and strides {stride} reaches beyond its storage")
    return Stored(storage.memory, storage.kind, shape, stride, offset, requires_grad)  # pyright: ignore[reportArgumentType]


def _typed_tensor(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any, kind: Any, metadata: Any = None
) -> Stored:
    """torch._utils._rebuild_tensor_v3: the storage is bytes, the element type stands beside it."""
    kind = kind.numpy if isinstance(kind, dt.DType) else kind
    if not isinstance(storage, Storage) or not isinstance(kind, np.dtype):
        raise CheckpointError("a tensor has no storage or no dtype")
    return _tensor(replace(storage, kind=kind), offset, size, stride, requires_grad, hooks, metadata)


def _parameter(value: Any, requires_grad: Any, hooks: Any, state: Any = None) -> Stored:
    """torch._utils._rebuild_parameter."""
    if not isinstance(value, Stored) or type(requires_grad) is not bool or hooks or state:
        raise CheckpointError("a parameter has hooks or attributes, or is no tensor")
    return replace(value, requires_grad=requires_grad, parameter=True)


def _ordered(items: Any = ()) -> "OrderedDict[Any, Any]":
    """collections.OrderedDict; Python 2 gives its items here."""
    pairs = [tuple(pair) for pair in items if type(pair) in (list, tuple) and len(pair) == 2 and type(pair[0]) in KEYS]
    if len(pairs) < len(items):
        raise CheckpointError("an OrderedDict is made of no pairs")
    return OrderedDict(pairs)


def _set(items: Any = ()) -> set[Any]:
    if type(items) is not list or any(type(one) not in KEYS for one in items):
        raise CheckpointError("a set holds other things than numbers and text")
    return set(items)


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """bytes, as protocol 2 writes them."""
    if type(text) is not str or encoding != "latin1":
        raise CheckpointError("bytes are written in an unknown way")
    return text.encode("latin1")


def _size(shape: Any = ()) -> tuple[int, ...]:
    return fitting_shape("a torch.Size", shape, 1)


def _device(*given: Any) -> str:
    return ":".join(str(part) for part in given if type(part) in (str, int))


STORAGES = {
    "Bool": "bool", "Byte": "uint8", "Char": "int8", "Short": "int16", "Int": "int32", "Long": "int64",
    "Half": "float16", "BFloat16": "bfloat16", "Float": "float32", "Double": "float64",
    "ComplexFloat": "complex64", "ComplexDouble": "complex128",
}  # fmt: skip
CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.Size": _size,
    "torch.device": _device,
    "_codecs.encode": _encode,
    "__builtin__.set": _set,
    "builtins.set": _set,
}
GLOBALS: dict[str, Any] = {
    **{name: Call(name, function) for name, function in CALLS.items()},
    **{f"torch.{name}": dt.BY_NAME.get(name, kind) for name, kind in KINDS.items()},
    **{f"torch.{name}Storage": StorageKind(f"torch.{name}Storage", KINDS[kind]) for name, kind in STORAGES.items()},
    "torch.storage.UntypedStorage": StorageKind("torch.storage.UntypedStorage", KINDS["uint8"]),
}
