"""`flame info`: versions, devices, cache, knobs, what is missing and how to get it."""

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from flame.config import config
from flame.runtime import cache as disk_cache
from flame.runtime import cuda
from flame.runtime.pool import readable


class Part(NamedTuple):
    """Something FLAME uses: `extra` is what to install it by, empty where FLAME cannot live without it."""

    name: str
    purpose: str
    extra: str = ""


PACKAGES = (
    Part("flame-compiler", "this"),
    Part("numpy", "host arrays, the oracle, products on the CPU"),
    Part("numba", "compiles printed kernels"),
    Part("llvmlite", "under Numba"),
    Part("networkx", "graph analyses and exports"),
    Part("ml_dtypes", "bfloat16 on the host"),
    Part("rich", "tables and progress bars"),
    Part("numba-cuda", "compiles printed kernels for CUDA (drivers before 580: the extra cuda12)", "cuda"),
    Part("cuda-python", "loads and launches them", "cuda"),
    Part("nvmath-python", "cuBLASLt: matrix products on CUDA", "cuda"),
    Part("nvidia-cudnn-frontend", "cuDNN: convolutions and attention on CUDA; decomposed without it", "cuda"),
    Part("scikit-learn", "the demo's digits and its judge", "demo"),
    Part("matplotlib", "the demo's pictures", "demo"),
    Part("pytest", "tests", "test"),
    Part("hypothesis", "random graphs in tests", "test"),
    Part("torch", "parity tests", "parity"),
)
PROGRAMS = (
    Part("dot", "flame dump --format svg", "apt install graphviz"),
    Part("nvidia-smi", "comes with the NVIDIA driver", "install the NVIDIA driver; FLAME runs on the CPU without it"),
)
NOT_INSTALLED = "not installed: pip install -e . in FLAME's checkout"


def version(name: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Table:
    """A plain table, rows as text."""
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, show_header=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*map(str, row))
    return made


def versions() -> list[tuple[str, str, str]]:
    """(name, version or what to do, purpose) of everything FLAME can use."""
    rows = [("python", platform.python_version(), f"{platform.system()} {platform.machine()}")]
    for part in PACKAGES:
        install = f"missing: pip install -e '.[{part.extra}]' in FLAME's checkout" if part.extra else NOT_INSTALLED
        here = version(part.name) or install
        rows.append((part.name, here, part.purpose))
    for part in PROGRAMS:
        rows.append((part.name, shutil.which(part.name) or f"missing: {part.extra}", part.purpose))
    return rows


def devices() -> list[tuple[str, str]]:
    """The CPU, each GPU, and why there is no GPU where there is none."""
    rows = [("cpu", f"{processor()}, {config.threads} of {os.cpu_count()} CPUs for kernels")]
    if not cuda.available():
        return [*rows, ("cuda", f"none: {cuda.why_not()}")]
    for ordinal in range(cuda.count()):
        here = cuda.device(ordinal)
        about = f"{here.name}, {readable(here.memory)}, compute capability {here.cc[0]}.{here.cc[1]}"
        rows.append((f"cuda:{ordinal}", f"{about}, {here.multiprocessors} multiprocessors"))
    return rows


def processor() -> str:
    """The CPU's name as Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cache() -> list[tuple[str, str]]:
    """Where the disk cache is, how full, and whether it can be written."""
    now = disk_cache.stats()
    there = next(path for path in (now.path, *now.path.parents) if path.exists())
    writable = os.access(there, os.W_OK)
    return [
        ("directory", f"{now.path}{'' if there == now.path else ' (made when first needed)'}"),
        ("this version", f"{now.entries} entries, {readable(now.bytes)}"),
        ("all versions", f"{now.all_entries} entries, {readable(now.all_bytes)}; `flame cache --clear` removes them"),
        ("writable", "yes" if writable else "no: every process compiles anew; set FLAME_CACHE to a directory of yours"),
    ]


def shown(value: object) -> str:
    """A knob's value as its environment variable would be written."""
    if isinstance(value, frozenset):
        return ",".join(sorted(value)) or "nothing"
    if isinstance(value, bool):
        return str(int(value))
    return str(value).lower() if value is None else str(value)


def knobs() -> list[tuple[str, str, str, str]]:
    """(variable, value, the default where it differs, doc) of every knob."""
    rows = []
    for row in config.describe():
        changed = row.value != row.default
        default = f"default {shown(row.default)}" if changed else ""
        rows.append((row.variable, shown(row.value), default, row.doc))
    return rows


def show(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Print one table; a pipe gets whole lines, whatever its width."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 240
    console.print(table(title, columns, rows), "")


def info() -> int:
    """Print everything there is to know about this installation."""
    show("versions", ("name", "version", "purpose"), versions())
    show("devices", ("name", "about"), devices())
    show("cache", ("what", "value"), cache())
    show("knobs", ("variable", "value", "default", "doc"), knobs())
    return 0


def clean(clear: bool) -> int:
    """`flame cache`: say what the disk cache holds, or empty it."""
    if clear:
        Console(highlight=False).print(f"removed {readable(disk_cache.clear())} from {config.cache_dir}")
    else:
        show("cache", ("what", "value"), cache())
    return 0
