"""Files that are whole or not there: written beside their place, flushed to the disk, then renamed into it."""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from glob import escape
from pathlib import Path
from typing import IO, Any

ENDING = ".part"


@contextlib.contextmanager
def replacing(path: "str | os.PathLike[str]") -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` once the block has ended well.

    Whatever ends the process before, the old file stays as it was; the unfinished one is removed, by `sweep` after a
    kill. Afterwards the new file and its name are on the disk, also if the power fails.
    """
    goal = Path(os.path.realpath(path))  # a link stays a link
    sweep(goal.parent, goal.name)
    part = goal.with_name(f".{goal.name}.{secrets.token_hex(4)}{ENDING}")
    try:
        with part.open("xb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # held while this process lives: how others know the file is in work
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, goal)
        flush_folder(goal.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def flush_folder(folder: Path) -> None:
    """Make renames in a folder last."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(folder: Path, name: str = "") -> None:
    """Remove what killed writers of files called `name` (of all, without one) have left behind."""
    for part in folder.glob(f".{escape(name) or '*'}.*{ENDING}"):
        with contextlib.suppress(OSError), part.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink()


def write_to(file: "str | os.PathLike[str] | IO[bytes]") -> "contextlib.AbstractContextManager[Any]":
    """The file object itself, or a path's file as `replacing` makes it."""
    return replacing(file) if isinstance(file, (str, os.PathLike)) else contextlib.nullcontext(file)
