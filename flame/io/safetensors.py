"""The safetensors format: eight bytes of length, a JSON header, and one block of bytes that tensors fill exactly.

https://github.com/huggingface/safetensors#format. Every rule of the format is checked before a tensor is touched.
"""

import json
import math
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from flame.errors import CheckpointError
from flame.io.stored import KINDS, Stored, fitting_shape
from flame.tensor import Tensor

PREFIX = 8
MOST_HEADER = 100_000_000  # the reference's own limit
METADATA = "__metadata__"
NAMES = {
    "BOOL": "bool",
    "U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64",
    "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64",
    "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "C64": "complex64",
}  # fmt: skip
FORMAL = {name: formal for formal, name in NAMES.items()}


def looks_like(memory: np.ndarray) -> bool:
    """True where a file may be safetensors: its header opens as JSON."""
    return len(memory) > PREFIX and memory[PREFIX] == ord("{")


def parse(memory: np.ndarray, name: str) -> tuple[dict[str, Stored], dict[str, str]]:
    """The tensors of a file in the order of its bytes, and its metadata; raises CheckpointError for a damaged one."""
    if len(memory) < PREFIX:
        raise CheckpointError(f"{name} has {len(memory)} bytes, too few for safetensors")
    length = int.from_bytes(memory[:PREFIX].tobytes(), "little")
    if length > min(MOST_HEADER, len(memory) - PREFIX):
        raise CheckpointError(f"{name} declares a header of {length} bytes in a file of {len(memory)}: it is damaged")
    header = _header(memory[PREFIX : PREFIX + length].tobytes(), name)
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise CheckpointError(f"{name}: {METADATA} must map names to strings")
    block = memory[PREFIX + length :]
    places = sorted((_place(f"{name}: {key!r}", entry, len(block)), key) for key, entry in header.items())
    reached = 0
    for (begin, end, _, _), key in places:
        if begin != reached:
            fault = "overlaps the tensor before it" if begin < reached else f"leaves {begin - reached} bytes unused"
            raise CheckpointError(f"{name}: {key!r} {fault}: the file is damaged")
        reached = end
    if reached != len(block):
        raise CheckpointError(f"{name}: its tensors end at byte {reached}, its data at {len(block)}: it is damaged")
    return {key: Stored(block[begin:end], KINDS[kind], shape) for (begin, end, kind, shape), key in places}, metadata


def _header(text: bytes, name: str) -> dict[str, Any]:
    """The JSON object of a header; raises CheckpointError for anything else, and for a key given twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise CheckpointError(f"{name}: its header names a key twice: it is damaged")
        return found

    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=once)
    except (ValueError, RecursionError) as problem:
        if isinstance(problem, CheckpointError):
            raise
        raise CheckpointError(f"{name}: its header is no JSON ({problem}): it is damaged") from None
    if not isinstance(header, dict):
        raise CheckpointError(f"{name}: its header is no JSON object: it is damaged")
    return header


def _place(what: str, entry: Any, room: int) -> tuple[int, int, str, tuple[int, ...]]:
    """(begin, end, element type, shape) of one entry of a header, checked."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"{what} needs dtype, shape and data_offsets, and nothing else")
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in NAMES:
        raise CheckpointError(f"{what} has a dtype that FLAME cannot read: {str(entry['dtype'])[:40]}")
    kind, offsets = NAMES[entry["dtype"]], entry["data_offsets"]
    shape = fitting_shape(what, entry["shape"], KINDS[kind].itemsize)
    if not isinstance(offsets, list) or len(offsets) != 2 or any(type(n) is not int for n in offsets):
        raise CheckpointError(f"{what} has data_offsets that are no two numbers")
    begin, end = offsets
    if not 0 <= begin <= end <= room:
        raise CheckpointError(f"{what} lies at bytes {begin} to {end} of {room}: the file is damaged or cut short")
    needed = math.prod(shape) * KINDS[kind].itemsize
    if end - begin != needed:
        raise CheckpointError(f"{what} of shape {shape} and dtype {kind} needs {needed} bytes, it has {end - begin}")
    return begin, end, kind, shape


def write(file: IO[bytes], tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None) -> None:
    """Write tensors, wide elements first so that all are aligned; one at a time is in memory a second time."""
    order = sorted(tensors, key=lambda key: (-tensors[key].dtype.size, key))
    header: dict[str, Any] = {METADATA: dict(metadata)} if metadata else {}
    reached = 0
    for key in order:
        value = tensors[key]
        end = reached + value.numel() * value.dtype.size
        entry = {"dtype": FORMAL[value.dtype.name], "shape": list(value.shape), "data_offsets": [reached, end]}
        header[key], reached = entry, end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % PREFIX)
    if len(text) > MOST_HEADER:
        raise CheckpointError(f"a header of {len(text)} bytes is longer than the format allows; save in shards")
    file.write(len(text).to_bytes(PREFIX, "little") + text)
    file.writelines(raw(tensors[key]) for key in order)


def raw(value: Tensor) -> Any:
    """The bytes of a tensor, row-major."""
    return value.numpy().reshape(-1).view(np.uint8).data


def check_names(tensors: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError for what safetensors cannot hold."""
    for key, value in tensors.items():
        if not isinstance(key, str) or key == METADATA:
            raise CheckpointError(f"save_file: a tensor cannot be called {key!r}; names are strings")
        if not isinstance(value, Tensor):
            raise CheckpointError(f"save_file: {key!r} is a {type(value).__name__}; safetensors holds tensors only")
