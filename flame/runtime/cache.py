"""The disk cache: machine code and tuned choices by key, one checked file each, shared by any number of processes.

Nothing here is ever fatal. A damaged entry is removed and missed; where the directory cannot be used, entries live in a
temporary directory of this process, and one warning says so.
"""

import atexit
import contextlib
import functools
import hashlib
import importlib.metadata
import itertools
import os
import platform
import shutil
import tempfile
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path

from flame.config import config

MAGIC = b"FLAME1\n"
DIGEST = hashlib.sha256().digest_size
HEADER = len(MAGIC) + DIGEST
PACKAGES = ("numba", "llvmlite", "numba-cuda")
HOME = Path(__file__).resolve().parent.parent

_numbers = itertools.count()
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Stats:
    """What lies in the cache: entries of this version, their bytes, and the same over all versions."""

    path: Path
    entries: int
    bytes: int
    all_entries: int
    all_bytes: int


@functools.cache
def version() -> str:
    """Changes when FLAME's own source or a compiler does, so that a fixed compiler never meets its old output."""
    python = f"{platform.python_implementation()} {platform.python_version()} {platform.machine()}"
    digest = hashlib.sha256(python.encode())
    for package in PACKAGES:
        digest.update(f"\0{package} {_installed(package)}".encode())
    for path in sorted(HOME.rglob("*.py")):
        data = path.read_bytes()
        digest.update(f"\0{path.relative_to(HOME)} {len(data)}\0".encode() + data)
    return digest.hexdigest()[:20]


def _installed(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


# Where entries lie.


class _Fallback:
    """Directories that could not be used, and the temporary one that stands in for them."""

    refused: set[Path] = set()
    directory: Path | None = None

    @classmethod
    def instead_of(cls, root: Path, problem: OSError) -> Path:
        with _lock:
            first = root not in cls.refused
            cls.refused.add(root)
            if cls.directory is None:
                cls.directory = Path(tempfile.mkdtemp(prefix="flame-"))
                atexit.register(_remove_of_process, cls.directory, os.getpid())
        if first:
            why = problem.strerror or str(problem)
            warnings.warn(
                f"FLAME cannot write its cache {root} ({why}): kernels will be compiled again in each process. "
                "Set FLAME_CACHE to a directory that can be written.",
                stacklevel=2,
            )
        return cls.directory


def _remove_of_process(directory: Path, process: int) -> None:
    if os.getpid() == process:  # not in a forked child
        shutil.rmtree(directory, ignore_errors=True)


def _roots() -> tuple[Path, ...]:
    """Where to look: the configured directory, and the stand-in where there is one."""
    return (config.cache_dir, *([_Fallback.directory] if _Fallback.directory else []))


def _entry(root: Path, kind: str, key: str) -> Path:
    name = key if key.isalnum() and len(key) <= 80 else hashlib.sha256(key.encode()).hexdigest()
    return root / version() / kind / name


# Reading and writing.


def get(kind: str, key: str) -> bytes | None:
    """The bytes put under (kind, key), or None; a damaged entry is removed."""
    for root in _roots():
        path = _entry(root, kind, key)
        try:
            data = path.read_bytes()
        except OSError:
            continue
        body = data[HEADER:]
        if data[: len(MAGIC)] == MAGIC and data[len(MAGIC) : HEADER] == _digest(kind, key, body):
            return body
        _remove(path)
    return None


def put(kind: str, key: str, data: bytes) -> None:
    """Keep `data` under (kind, key) for later processes; readers see it whole or not at all."""
    _write(lambda root: _entry(root, kind, key), MAGIC + _digest(kind, key, data) + data)


def source_file(source: str, name: str, suffix: str = ".py") -> Path:
    """The readable file of a printed kernel. Tracebacks and debuggers open it, so it is never rewritten in place."""
    file_name = f"{name}_{hashlib.sha256(source.encode()).hexdigest()[:16]}{suffix}"
    data = source.encode()
    for root in _roots():
        path = root / version() / "kernels" / file_name
        try:
            if path.read_bytes() == data:
                return path
        except OSError:
            continue
    return _write(lambda root: root / version() / "kernels" / file_name, data)


def _digest(kind: str, key: str, data: bytes) -> bytes:
    """Over the names too: an entry copied to another's place is damaged."""
    return hashlib.sha256(f"{kind}\0{key}\0".encode() + data).digest()


def _write(place, data: bytes) -> Path:
    """The file at `place(root)`, in the first root that takes it."""
    root = config.cache_dir
    if root not in _Fallback.refused:
        try:
            return _replace(place(root), data)
        except OSError as problem:
            _Fallback.instead_of(root, problem)
    path = place(_Fallback.directory)
    try:
        return _replace(path, data)
    except OSError:  # the temporary directory is full as well: this entry is compiled again when it is needed again
        return path


def _replace(path: Path, data: bytes) -> Path:
    """Written beside its place, then moved there in one step; an interruption leaves the old entry or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name[:100]}.{platform.node()[:20]}.{os.getpid()}.{next(_numbers)}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    except BaseException:
        _remove(part)
        raise
    return path


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # read-only: the entry is missed each time, which costs only time
        path.unlink(missing_ok=True)


# For the command line.


def stats() -> Stats:
    """Count what lies in the cache."""
    root = config.cache_dir
    every = [(path, _size(path)) for path in root.glob("*/*/*") if path.is_file()]
    mine = [(path, size) for path, size in every if path.relative_to(root).parts[0] == version()]
    return Stats(root, len(mine), sum(s for _, s in mine), len(every), sum(s for _, s in every))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # another process removed it


def clear() -> int:
    """Remove every version's entries; return the bytes freed. Other files in the directory are left alone."""
    freed = stats().all_bytes
    for path in config.cache_dir.glob("*"):
        if path.is_dir() and len(path.name) == len(version()) and all(c in "0123456789abcdef" for c in path.name):
            shutil.rmtree(path, ignore_errors=True)
    return freed
