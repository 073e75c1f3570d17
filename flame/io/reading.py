"""Files of either kind, told apart by their first bytes."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flame.errors import CheckpointError
from flame.io import safetensors, torchload
from flame.io.plain import Maker, convert, stored_in
from flame.io.stored import Source, Stored, read
from flame.io.weights import FilePath, fill, open_weights, planned
from flame.nn.module import Module
from flame.nn.state import EXTRA
from flame.ops.create import Where
from flame.tensor import Tensor


def parse(memory: np.ndarray, name: str) -> Any:
    """What a file holds, with `Stored` tensors; raises CheckpointError where it is none that FLAME reads."""
    if torchload.is_torch(memory):
        return torchload.parse(memory, name)
    if safetensors.looks_like(memory):
        return safetensors.parse(memory, name)[0]
    raise CheckpointError(f"{name} is neither safetensors nor a .pt file of PyTorch 0.4 or later, or it is damaged")


def load(f: Source, map_location: Where = None, *, weights_only: bool = True) -> Any:
    """What a `.pt` or a safetensors file holds, by its content: tensors in lists, tuples and dictionaries.

    Tensors are put on `map_location`, by default where new tensors go. Code in a pickle is never executed: raises
    CheckpointError for a file that names anything but tensors and plain containers, and for a damaged one.
    """
    if not weights_only:
        raise CheckpointError("load: weights_only=False would execute code from the file, which FLAME never does")
    memory, name = read(f)
    found = parse(memory, name)
    return convert(found, Maker(stored_in(found, name), map_location), name)


def load_model(model: Module, filename: FilePath, strict: bool = True) -> tuple[list[str], list[str]]:
    """Read a file's tensors straight into a module's parameters and buffers; returns (missing, unexpected) keys.

    The file is safetensors, an index of shards, a folder of either, or a `.pt` file of a state_dict. Values are cast to
    the module's dtypes and put where its tensors are. All or nothing as `Module.load_state_dict`, whose hooks and
    `_load_from_state_dict` act here too; beyond the module no more than 64 MiB, one tensor and what hooks look at are
    in memory.
    """
    path = Path(filename)
    if path.is_dir() or path.suffix == ".json":
        return fill(planned(model, open_weights(path)[0], strict))
    memory, name = read(path)
    return fill(planned(model, state_of(parse(memory, name), name), strict, reader(name)))


def state_of(found: Any, name: str) -> Mapping[str, Any]:
    """What was found, which must be the state of a module: tensors by name, and extra state."""
    if not isinstance(found, dict) or not all(_stands(key, value) for key, value in found.items()):
        raise CheckpointError(f"{name} holds no state_dict, which maps names to tensors; load() shows what it holds")
    return found


def _stands(key: Any, value: Any) -> bool:
    return type(key) is str and (type(value) is Stored or key.rpartition(".")[2] == EXTRA)


def reader(name: str, device: Where = "cpu") -> Callable[[Any], Any]:
    """Makes of what a file holds what a module's hooks may see: tensors, in containers for extra state."""
    return lambda value: convert(value, Maker(stored_in(value, name), device), name) if _unread(value) else value


def _unread(value: Any) -> bool:
    """True unless a hook has put a tensor there."""
    return not isinstance(value, Tensor)
