"""The zip files that PyTorch writes, as named pieces of a mapped file: nothing is unpacked, nothing leaves the file.

Python's zipfile reads the directory; where each entry lies is checked here.
"""

import io
import struct
import zipfile
import zlib
from typing import Any, cast

import numpy as np

from flame.errors import CheckpointError

MAGIC = b"PK\x03\x04"
LOCAL = struct.Struct("<4s5HLLLHH")  # the header that stands before each entry
ENCRYPTED, UTF8 = 1, 1 << 11  # flags of an entry


class Mapped(io.RawIOBase):
    """Mapped bytes as a file object, for zipfile."""

    def __init__(self, memory: np.ndarray) -> None:
        self._memory, self._at = memory, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        start = (0, self._at, len(self._memory))[whence]
        if start + offset < 0:
            raise OSError("before the start")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        found = self._memory[self._at : self._at + len(buffer)]
        buffer[: len(found)] = found.data
        self._at += len(found)
        return len(found)


class Archive:
    """The records of a file by name; raises CheckpointError for a damaged or hostile one."""

    def __init__(self, memory: np.ndarray, name: str) -> None:
        self.name = name
        try:
            entries = zipfile.ZipFile(cast(Any, Mapped(memory))).infolist()
        except Exception as problem:  # noqa: BLE001  zipfile raises many classes for damaged files
            raise CheckpointError(f"{name}: its zip directory is damaged or cut short: {problem}") from None
        reached = 0
        self._records: dict[str, tuple[np.ndarray, int]] = {}
        roots: set[str] = set()
        for entry in sorted(entries, key=lambda entry: entry.header_offset):
            record, end = self._piece(memory, entry)
            if entry.header_offset < reached:
                raise CheckpointError(f"{name}: the entry {entry.filename!r} overlaps another: the file is hostile")
            root, _, inner = entry.filename.partition("/")
            if not inner or inner in self._records:
                raise CheckpointError(f"{name}: the entry {entry.filename!r} is none that PyTorch writes")
            reached = end
            roots.add(root)
            self._records[inner] = record, entry.CRC
        if len(roots) > 1:
            raise CheckpointError(f"{name} holds {len(roots)} archives: {sorted(roots)[:3]}; PyTorch writes one")

    def _piece(self, memory: np.ndarray, entry: zipfile.ZipInfo) -> tuple[np.ndarray, int]:
        """The bytes of an entry and where they end, from its own header."""
        what = f"{self.name}: the entry {entry.filename[:80]!r}"
        parts = entry.filename.split("/")
        if ".." in parts or "" in parts or "\\" in entry.filename:
            raise CheckpointError(f"{what} points outside the archive: the file is hostile")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise CheckpointError(f"{what} is compressed; PyTorch stores its entries as they are: save the file again")
        if entry.flag_bits & ENCRYPTED:
            raise CheckpointError(f"{what} is encrypted")
        start = entry.header_offset + LOCAL.size
        if not 0 <= entry.header_offset <= start <= len(memory):
            raise CheckpointError(f"{what} begins outside the file")
        magic, *_, name_length, extra = LOCAL.unpack(memory[entry.header_offset : start].tobytes())
        begin = start + name_length + extra
        end = begin + entry.file_size
        if magic != MAGIC or end > len(memory):
            raise CheckpointError(f"{what} of {entry.file_size} bytes lies outside the file: it is cut short")
        spelled = entry.orig_filename.encode("utf-8" if entry.flag_bits & UTF8 else "cp437")
        if memory[start : start + name_length].tobytes() != spelled:
            raise CheckpointError(f"{what} has another name in the directory: the file is hostile")
        return memory[begin:end], end

    def __contains__(self, name: str) -> bool:
        return name in self._records

    def __getitem__(self, name: str) -> np.ndarray:
        """The bytes of a record, which must have the checksum the directory gives; 0 there means it gives none."""
        if name not in self._records:
            raise CheckpointError(f"{self.name} has no record {name!r}: the file is damaged, or not PyTorch's")
        record, checksum = self._records[name]
        if checksum and zlib.crc32(record.data) != checksum:
            raise CheckpointError(f"{self.name}: the record {name!r} is damaged: its checksum differs")
        return record
