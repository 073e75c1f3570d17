"""Writing `.pt` files that PyTorch reads: a pickle that names PyTorch's functions as text, and the tensors' bytes.

The layout is that of torch.save since 1.6: a zip of stored entries, each beginning at a multiple of 64 bytes.
"""

import os
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import numpy as np

from flame.errors import CheckpointError
from flame.io.archive import LOCAL
from flame.io.atomic import write_to
from flame.io.plain import DEEPEST
from flame.io.safetensors import raw
from flame.io.torchload import STORAGES
from flame.ir.dtype import DType
from flame.nn.parameter import Parameter
from flame.tensor import Tensor, realize

ALIGNMENT = 64
WRITTEN = (1980, 1, 1, 0, 0, 0)  # no clock: equal contents give equal files
CLASSES = {kind: name for name, kind in STORAGES.items()}


class Writer:
    """A pickle of protocol 2, and the tensors it names in order of their keys."""

    def __init__(self) -> None:
        self.out = bytearray(b"\x80\x02")
        self.tensors: list[Tensor] = []
        self._storages: dict[int, tuple[str, Tensor]] = {}  # id of a node -> its key; the tensor keeps the id its own
        self._memo: dict[Any, tuple[int, Any]] = {}
        self._above: list[int] = []

    def finish(self, value: Any) -> bytes:
        """The whole pickle of an object."""
        self.write(value)
        return bytes(self.out + b".")

    def write(self, value: Any) -> None:
        """Append what makes an object; raises CheckpointError for one that PyTorch's safe reader would refuse."""
        if isinstance(value, np.generic):
            value = value.item()
        form = next((form for kind, form in FORMS.items() if _is(value, kind)), None)
        if form is None:
            raise CheckpointError(
                f"save: a {type(value).__module__}.{type(value).__qualname__} cannot be saved; tensors, numbers, text, "
                "None, lists, tuples, sets and dictionaries can; of a module save the state_dict()"
            )
        if _is(value, (Tensor, list, tuple, dict, set)):
            self._once(value, form)
        else:
            form(self, value)

    def _once(self, value: Any, form: Any) -> None:
        """Write an object, or the number under which it was written before."""
        key = id(value)
        if key in self._memo:
            self.out += b"j" + struct.pack("<I", self._memo[key][0])
            return
        if key in self._above or len(self._above) > DEEPEST:
            fault = "holds itself" if key in self._above else f"is nested deeper than {DEEPEST}"
            raise CheckpointError(f"save: a {type(value).__name__} {fault}")
        self._above.append(key)
        form(self, value)
        self._above.pop()
        self.remember(key, value)

    def remember(self, key: Any, value: Any = None) -> None:
        number = len(self._memo)
        self._memo[key] = number, value
        self.out += b"r" + struct.pack("<I", number)

    def name(self, full: str) -> None:
        """A global of PyTorch or Python."""
        if full in self._memo:
            self.out += b"j" + struct.pack("<I", self._memo[full][0])
            return
        module, _, last = full.rpartition(".")
        self.out += f"c{module}\n{last}\n".encode()
        self.remember(full)

    def call(self, full: str, *given: Any) -> None:
        """A call with these arguments."""
        self.name(full)
        self.out += b"("
        for one in given:
            one(self) if callable(one) else self.write(one)
        self.out += b"tR"

    # --- forms -----------------------------------------------------------------------------------------------------
    def none(self, value: None) -> None:
        self.out += b"N"

    def truth(self, value: bool) -> None:
        self.out += b"\x88" if value else b"\x89"

    def integer(self, value: int) -> None:
        value = int(value)
        if -(1 << 31) <= value < 1 << 31:
            self.out += b"J" + struct.pack("<i", value)
            return
        length = value.bit_length() // 8 + 1
        if length > 255:
            raise CheckpointError(f"save: an integer of {value.bit_length()} bits is too long")
        self.out += b"\x8a" + bytes([length]) + value.to_bytes(length, "little", signed=True)

    def real(self, value: float) -> None:
        self.out += b"G" + struct.pack(">d", value)

    def text(self, value: str) -> None:
        spelled = value.encode("utf-8", "surrogatepass")
        self.out += b"X" + struct.pack("<I", len(spelled)) + spelled

    def octets(self, value: bytes) -> None:
        self.call("_codecs.encode", value.decode("latin1"), "latin1")

    def dtype(self, value: DType) -> None:
        self.name(f"torch.{value.name}")

    def sequence(self, value: list[Any]) -> None:
        self.out += b"]("
        for one in value:
            self.write(one)
        self.out += b"e"

    def fixed(self, value: tuple[Any, ...]) -> None:
        self.out += b"("
        for one in value:
            self.write(one)
        self.out += b"t"

    def unordered(self, value: set[Any]) -> None:
        self.call("__builtin__.set", list(value))

    def mapping(self, value: dict[Any, Any]) -> None:
        if isinstance(value, OrderedDict):
            self.call("collections.OrderedDict")
        else:
            self.out += b"}"
        self.out += b"("
        for key, one in value.items():
            self.write(key)
            self.write(one)
        self.out += b"u"
        metadata = getattr(value, "_metadata", None)  # versions of modules in a state_dict of PyTorch
        if metadata is not None:
            self.write({"_metadata": metadata})
            self.out += b"b"

    def parameter(self, value: Parameter) -> None:
        def plain(writer: Writer) -> None:
            writer.tensor(value, False)

        self.call("torch._utils._rebuild_parameter", plain, value.requires_grad, OrderedDict())

    def tensor(self, value: Tensor, requires_grad: bool | None = None) -> None:
        """A view on the whole of a storage; equal values under two names share it."""
        kind = CLASSES.get(value.dtype.name)  # none of float8: bytes, beside which the dtype stands
        if id(value.node) not in self._storages:
            self._storages[id(value.node)] = str(len(self.tensors)), value
            self.tensors.append(value)
        key, _ = self._storages[id(value.node)]

        def storage(writer: Writer) -> None:
            writer.out += b"("
            writer.text("storage")
            writer.name(f"torch.{kind}Storage" if kind else "torch.storage.UntypedStorage")
            for one in (key, "cpu", value.numel() * (1 if kind else value.dtype.size)):
                writer.write(one)
            writer.out += b"tQ"

        strides, step = [], 1
        for n in reversed(value.shape):
            strides.append(step)
            step *= max(n, 1)
        grad = value.requires_grad and value.is_leaf if requires_grad is None else requires_grad
        place = (storage, 0, tuple(value.shape), tuple(reversed(strides)))
        if kind:
            self.call("torch._utils._rebuild_tensor_v2", *place, grad, OrderedDict())
        else:
            self.call("torch._utils._rebuild_tensor_v3", *place, grad, OrderedDict(), value.dtype)


def _is(value: Any, kind: Any) -> bool:
    """Subclasses of containers would come back as something else; those of numbers, text and tensors are values."""
    return type(value) is kind if kind in (dict, OrderedDict, list, tuple, set) else isinstance(value, kind)


FORMS: dict[Any, Any] = {
    type(None): Writer.none,
    bool: Writer.truth,
    int: Writer.integer,
    float: Writer.real,
    str: Writer.text,
    bytes: Writer.octets,
    DType: Writer.dtype,
    list: Writer.sequence,
    tuple: Writer.fixed,
    set: Writer.unordered,
    dict: Writer.mapping,
    OrderedDict: Writer.mapping,
    Parameter: Writer.parameter,
    Tensor: Writer.tensor,
}


def save(obj: Any, f: "str | os.PathLike[str] | IO[bytes]") -> None:
    """Write tensors and plain containers to a `.pt` file that `flame.load` and `torch.load` read.

    A path is replaced at once when all is written, so a file is whole or not there. One tensor at a time is in memory a
    second time. Raises CheckpointError for objects of other classes, and then leaves the old file.
    """
    writer = Writer()
    program = writer.finish(obj)
    realize(*writer.tensors)
    with write_to(f) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        root = Path(f).stem if isinstance(f, (str, os.PathLike)) else "archive"
        _put(archive, f"{root}/data.pkl", program)
        _put(archive, f"{root}/byteorder", b"little")
        for key, value in enumerate(writer.tensors):
            _put(archive, f"{root}/data/{key}", raw(value))
        _put(archive, f"{root}/version", b"3\n")


def _put(archive: zipfile.ZipFile, name: str, data: Any) -> None:
    """Add an entry whose bytes begin at a multiple of 64; the room before them is an extra field, as PyTorch has it."""
    entry = zipfile.ZipInfo(name, WRITTEN)
    assert archive.fp is not None
    nbytes = memoryview(data).nbytes
    large = nbytes >= zipfile.ZIP64_LIMIT
    begin = archive.fp.tell() + LOCAL.size + len(name.encode()) + 20 * large  # zip64 sizes take 20 bytes
    room = -(begin + 4) % ALIGNMENT
    entry.extra = struct.pack("<2sH", b"FB", room) + b"Z" * room
    with archive.open(entry, "w", force_zip64=large) as file:
        file.write(data)
