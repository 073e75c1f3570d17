"""Weights in safetensors files, with the names of safetensors.torch: whole, in parts, in shards, or into a module."""

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from flame.errors import CheckpointError
from flame.io import safetensors
from flame.io.atomic import replacing
from flame.io.stored import Stored, load_array, read
from flame.ir.dtype import DType
from flame.nn.module import Module
from flame.nn.state import Given, Loading, Pairs, as_constant
from flame.ops.create import Where
from flame.tensor import Tensor, assign, realize

FilePath = str | os.PathLike[str]
INDEX = ".index.json"
MOST_INDEX = 1 << 28  # bytes of an index file
AT_ONCE = 1 << 26  # bytes of new values that wait beside a module's old ones
UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


# --- reading ----------------------------------------------------------------------------------------------------------
def open_weights(path: FilePath) -> tuple[dict[str, Stored], dict[str, str]]:
    """The tensors of a safetensors file, of a sharded set by its index file, or of the one set in a folder.

    Nothing is read but the headers. Raises CheckpointError where a file is damaged or the index and its files disagree.
    """
    found = _in_folder(Path(path)) if Path(path).is_dir() else Path(path)
    if found.name.endswith(INDEX):
        return _sharded(found)
    return safetensors.parse(*read(found))


def _in_folder(folder: Path) -> Path:
    """The index file of a folder, or else its only safetensors file."""
    for ending in (f"*.safetensors{INDEX}", "*.safetensors"):
        found = sorted(folder.glob(ending))
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(path.name for path in found[:5])
            raise CheckpointError(f"{folder} holds {len(found)} such files ({names}): name the one to load")
    raise CheckpointError(f"{folder} holds no safetensors file")


def _sharded(index: Path) -> tuple[dict[str, Stored], dict[str, str]]:
    """The tensors of all files that an index names, which lie beside it."""
    if index.stat().st_size > MOST_INDEX:
        raise CheckpointError(f"{index.name} is too large for an index file")
    try:
        places = json.loads(index.read_bytes())["weight_map"]
        shards = {str(name): None for name in places.values()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise CheckpointError(f"{index.name} is no index of safetensors files: {problem!r}") from None
    tensors: dict[str, Stored] = {}
    metadata: dict[str, str] = {}
    for name in shards:
        if Path(name).name != name or name in ("", ".", ".."):
            raise CheckpointError(f"{index.name} names the file {name!r}; shards lie beside their index")
        if not (index.parent / name).is_file():
            raise CheckpointError(f"{index.name} names the file {name!r}, which is not there")
        some, said = safetensors.parse(*read(index.parent / name))
        tensors |= {key: value for key, value in some.items() if places.get(key) == name}
        metadata |= said
    missing = [key for key in places if key not in tensors]
    if missing:
        raise CheckpointError(f"{index.name} names {missing[0]!r} in {places[missing[0]]}, which does not hold it")
    return {key: tensors[key] for key in places}, metadata


class safe_open:  # noqa: N801  the name in safetensors
    """A safetensors file (or index, or folder) whose tensors are read one by one, or in slices.

    >>> with flame.io.safe_open("model.safetensors") as file:  # doctest: +SKIP
    ...     rows = file.get_slice("embedding.weight")[:100]
    """

    def __init__(self, filename: FilePath, framework: str = "flame", device: Where = None) -> None:
        if framework not in ("flame", "pt"):  # "pt" is what a program says that comes from PyTorch
            raise CheckpointError(f"safe_open: framework is {framework!r}, but this one makes tensors of FLAME")
        self._device = device
        self._tensors, self._metadata = open_weights(filename)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tensors = {}

    def keys(self) -> list[str]:
        """The names of all tensors."""
        return list(self._tensors)

    def metadata(self) -> dict[str, str]:
        """What the writer noted about the file."""
        return dict(self._metadata)

    def get_tensor(self, name: str, dtype: DType | None = None) -> Tensor:
        """One tensor, converted where a `dtype` is given."""
        return self._find(name).tensor(dtype, self._device)

    def get_slice(self, name: str) -> "Slice":
        """One tensor of which only the part that an index names is read."""
        return Slice(self._find(name), self._device)

    def _find(self, name: str) -> Stored:
        if name not in self._tensors:
            raise CheckpointError(f"there is no tensor {name!r}; the file is closed, or holds {self.keys()[:5]} …")
        return self._tensors[name]


class Slice:
    """A tensor in a file; indexing with integers, slices and Ellipsis reads that part."""

    def __init__(self, stored: Stored, device: Where) -> None:
        self._stored, self._device = stored, device

    def get_shape(self) -> list[int]:
        """The shape of the whole tensor."""
        return list(self._stored.shape)

    def get_dtype(self) -> str:
        """The element type, spelt as safetensors does: "F32"."""
        return safetensors.FORMAL[str(self._stored.kind)]

    def __getitem__(self, index: Any) -> Tensor:
        return load_array(np.asarray(self._stored.array()[index]), None, self._device)


def load_file(
    filename: FilePath, device: Where = None, *, keys: Iterable[str] | None = None, dtype: DType | None = None
) -> dict[str, Tensor]:
    """All tensors of a safetensors file, an index or a folder, or those named by `keys`.

    With `dtype` floating tensors are converted while they are read; others keep theirs. One tensor at a time is in
    memory a second time, and only if it is converted. Raises CheckpointError for a damaged file.
    """
    found, _ = open_weights(filename)
    wanted = list(found) if keys is None else list(keys)
    absent = [key for key in wanted if key not in found]
    if absent:
        raise CheckpointError(f"load_file: {Path(filename).name} has no {absent[0]!r}; it holds {list(found)[:5]} …")
    return {key: found[key].tensor(dtype if is_floating(found[key].kind) else None, device) for key in wanted}


def is_floating(kind: np.dtype) -> bool:
    """True for floating element types, those of ml_dtypes among them."""
    return kind.kind == "f" or kind.name.startswith(("bfloat", "float"))


# --- writing ----------------------------------------------------------------------------------------------------------
def save_file(
    tensors: Mapping[str, Tensor],
    filename: FilePath,
    metadata: Mapping[str, str] | None = None,
    *,
    max_shard_size: int | str | None = None,
) -> None:
    """Write tensors to a safetensors file, which is whole or not there.

    With `max_shard_size`, bytes or text such as "5GB", several files are written where one would be larger, called
    model-00001-of-00003.safetensors and so on, and beside them model.safetensors.index.json, which names them.
    """
    safetensors.check_names(tensors)
    realize(*tensors.values())
    path = Path(filename)
    shards = [dict(tensors)] if max_shard_size is None else _parts(tensors, _size(max_shard_size))
    if len(shards) == 1:
        with replacing(path) as file:
            safetensors.write(file, tensors, metadata)
        return
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = f"{path.stem}-{number:05}-of-{len(shards):05}{path.suffix}"
        with replacing(path.with_name(name)) as file:
            safetensors.write(file, shard, metadata)
        places |= dict.fromkeys(shard, name)
    total = sum(value.numel() * value.dtype.size for value in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": places}
    with replacing(path.with_name(path.name + INDEX)) as file:
        file.write(json.dumps(index, indent=2).encode())


def _parts(tensors: Mapping[str, Tensor], most: int) -> list[dict[str, Tensor]]:
    """The tensors in order, in as few parts of at most so many bytes as that allows; a larger one stands alone."""
    parts: list[dict[str, Tensor]] = [{}]
    size = 0
    for key, value in tensors.items():
        nbytes = value.numel() * value.dtype.size
        if parts[-1] and size + nbytes > most:
            parts.append({})
            size = 0
        parts[-1][key] = value
        size += nbytes
    return parts


def _size(given: int | str) -> int:
    """Bytes from a number or from text such as "5GB"."""
    found = re.fullmatch(r"(\d+)\s*([A-Z]*)", str(given).upper())
    if found is None or found[2] not in UNITS or not int(found[1]):
        raise CheckpointError(f'save_file: max_shard_size is {given!r}; give bytes, or text such as "5GB"')
    return int(found[1]) * UNITS[found[2]]


# --- modules ----------------------------------------------------------------------------------------------------------
def save_model(model: Module, filename: FilePath, metadata: Mapping[str, str] | None = None) -> None:
    """Write a module's state to a safetensors file; a tensor that has several names is written once.

    The names left out stand in the metadata, each with the name that was kept, as safetensors.torch has it.
    """
    names: dict[int, str] = {}
    dropped = dict(metadata or {})
    state: dict[str, Tensor] = {}
    for key, value in model.state_dict(keep_vars=True).items():
        first = names.setdefault(id(value), key)
        if first == key:
            state[key] = value.detach()
        else:
            dropped[key] = first
    save_file(state, filename, dropped)


class InFile(Given):
    """A state that lies in a file: what hooks look at is read for them, all else when a module takes it."""

    def __init__(self, values: Mapping[str, Any], read: Callable[[Any], Any]) -> None:
        super().__init__(values)
        self._read = read

    def __getitem__(self, key: str) -> Any:
        return self._read(dict.__getitem__(self, key))

    def get(self, key: str, default: Any = None) -> Any:
        """A value, read."""
        return self[key] if key in self else default  # noqa: SIM401  dict.get would not read

    def pop(self, key: str, *default: Any) -> Any:
        """Take a value out, read."""
        return self._read(super().pop(key, *default)) if key in self else super().pop(key, *default)

    def items(self) -> Any:
        """Names and values, each read when its turn comes."""
        return ((key, self[key]) for key in list(self))

    def values(self) -> Any:
        """The values, each read when its turn comes."""
        return (self[key] for key in list(self))


def plain(value: Any) -> Any:
    """A tensor of a file as one in memory, on the host; anything else is itself."""
    return value.tensor(None, "cpu") if isinstance(value, Stored) else value


def planned(model: Module, given: Mapping[str, Any], strict: bool, read: Callable[[Any], Any] = plain) -> Loading:
    """What filling a module from a file will do; raises StateError where the file does not fit."""
    return Loading(model, InFile(given, read), strict, once=True)


def fill(loading: Loading) -> tuple[list[str], list[str]]:
    """Give a module the values of tensors in a file, one after the other; the keys (missing, unexpected)."""
    report = loading.take(_one_by_one)
    return report.missing_keys, report.unexpected_keys


def _one_by_one(pairs: Pairs) -> None:
    waiting: list[tuple[Tensor, Tensor]] = []
    size = 0
    for own, value in pairs:
        found = value.tensor(own.dtype, own.device) if isinstance(value, Stored) else as_constant(value)
        waiting.append((own, found.to(own.device, own.dtype)))
        size += found.numel() * own.dtype.size
        if size >= AT_ONCE:
            assign(waiting)
            waiting, size = [], 0
    assign(waiting)
