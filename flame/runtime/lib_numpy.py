"""Library routines on the CPU: NumPy's BLAS and its sorting, on raw memory, shared among FLAME's own threads.

OpenBLAS's threads spin while they wait, and take the cores that FLAME's kernels need between two products: with both on
two cores a training step took twice as long on a quiet machine, eight times on a busy one. So BLAS gets one thread.
"""

import ctypes
import functools
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise, product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from flame.ir.dtype import by_name
from flame.ir.library import MatmulSpec, PlacesSpec, SortSpec, View, order, widened

Routine = Callable[..., None]
SHARED_FROM = 1 << 22  # operations that are worth waking another thread for
SORTED_FROM = 1 << 14  # elements
FEW = 4  # the part of a row up to which its ranks are selected before they are sorted


def bind(spec: MatmulSpec, threads: int = 1) -> list[Routine]:
    """A product as `run(out, a, b)` on addresses, one for each thread; transposes and strides are read in place."""
    work = 2 * prod(spec.batch) * spec.m * spec.n * spec.k
    axis = divided(spec, threads)
    extent = (*spec.batch, spec.m, spec.n)[axis]
    parts = min(threads, extent) if work >= SHARED_FROM and blas() else 1
    edges = [extent * i // parts for i in range(parts + 1)]
    return [_part(spec, axis, begin, end) for begin, end in pairwise(edges)]


def divided(spec: MatmulSpec, threads: int) -> int:
    """Which axis of the result threads share: the batch where it has enough for all, else the longer of a matrix."""
    if spec.batch and spec.batch[0] >= threads:
        return 0
    return len(spec.batch) + (spec.n > spec.m)


def _part(spec: MatmulSpec, axis: int, begin: int, end: int) -> Routine:
    """The product of a range of one axis of the result."""
    dtype, rank = by_name(spec.dtype).numpy, len(spec.batch)
    whole = (*spec.batch, spec.m, spec.n)
    *batch, m, n = (end - begin if i == axis else size for i, size in enumerate(whole))
    left, right, result = (*batch, m, spec.k), (*batch, spec.k, n), (*batch, m, n)
    a, b, out = spec.a, spec.b, View.of(whole)
    if axis != rank + 1:
        a = replace(a, offset=a.offset + begin * a.strides[axis])
    if axis != rank:
        b = replace(b, offset=b.offset + begin * b.strides[min(axis, rank + 1)])
    out = replace(out, offset=begin * out.strides[axis])

    def run(to: int, x: int, y: int) -> None:
        np.matmul(array(x, dtype, left, a), array(y, dtype, right, b), out=array(to, dtype, result, out))

    return run


def array(address: int, dtype: np.dtype, shape: tuple[int, ...], view: View) -> np.ndarray:
    """Memory at an address as a strided array."""
    size = dtype.itemsize
    reach = view.offset + sum((n - 1) * s for n, s in zip(shape, view.strides, strict=True)) + 1 if prod(shape) else 0
    memory: Any = (ctypes.c_char * (reach * size)).from_address(address)
    strides = tuple(s * size for s in view.strides)
    return np.ndarray(shape, dtype, memory, view.offset * size, strides)


@functools.cache
def blas() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """How many threads NumPy's OpenBLAS uses: (get, set); None where NumPy has another BLAS, which is left alone."""
    try:
        maps = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return None
    loaded = dict.fromkeys(line.split(maxsplit=5)[5] for line in maps if "openblas" in line)
    own = f"{Path(np.__file__).parent}.libs"  # where NumPy's wheels keep theirs; SciPy brings another
    for path in sorted(loaded, key=lambda path: not path.startswith(own)):
        library = ctypes.CDLL(path)
        for prefix, suffix in product(("", "scipy_"), ("", "64_")):  # how OpenBLAS spells its functions
            get, put = (f"{prefix}openblas_{verb}_num_threads{suffix}" for verb in ("get", "set"))
            if hasattr(library, get) and hasattr(library, put):
                return getattr(library, get), getattr(library, put)
    return None


class one_thread:  # noqa: N801  reads as a statement: with one_thread():
    """Inside, BLAS computes in the calling thread alone; afterwards the user's own NumPy is as fast as before."""

    def __enter__(self) -> None:
        found = blas()
        self.before = found[0]() if found else 1
        if self.before > 1 and found:
            found[1](1)

    def __exit__(self, *_: object) -> None:
        found = blas()
        if self.before > 1 and found:
            found[1](self.before)


def places(rows: np.ndarray, descending: bool, ranks: tuple[int, int]) -> np.ndarray:
    """Some ranks of the stable order of each row.

    Narrow keys are sorted with their positions behind them, which NumPy vectorises; few ranks are selected first.
    """
    keys = None if rows.shape[1] >= 1 << 32 else _keys(rows)
    if keys is None:
        return order(rows, 1, descending, ranks)
    pairs = (~keys if descending else keys).astype(np.uint64) << np.uint64(32)
    pairs |= np.arange(rows.shape[1], dtype=np.uint64)
    if 0 < ranks[1] <= rows.shape[1] // FEW:
        pairs = np.partition(pairs, ranks[1] - 1, axis=1)[:, : ranks[1]]
    pairs.sort(axis=1)
    pairs &= np.uint64((1 << 32) - 1)
    return pairs.view(np.int64)[:, slice(*ranks)]


def ranked(rows: np.ndarray, descending: bool, ranks: tuple[int, int]) -> np.ndarray:
    """The values at some ranks of each row; of few ranks the smallest, which are selected first."""
    first, last = ranks
    if not descending and 0 < last <= rows.shape[1] // FEW:
        found = np.sort(np.partition(widened(rows), last - 1, axis=1)[:, :last], axis=1)
    else:
        found = np.sort(widened(rows), axis=1)
    found = np.flip(found, 1) if descending else found
    return found[:, first:last]


def _keys(rows: np.ndarray) -> np.ndarray | None:
    """Unsigned 32 bits in the order of the values, nan the largest; None for 64-bit values."""
    wide = widened(rows)
    if wide.dtype.itemsize > 4:
        return None
    if wide.dtype.kind != "f":
        return (wide.astype(np.int64) + (1 << 31)).astype(np.uint32)
    bits = np.where(np.isnan(wide), np.float32(np.nan), wide + np.float32(0)).view(np.uint32)  # -0.0 becomes 0.0
    return np.where(bits >> np.uint32(31), ~bits, bits | np.uint32(1 << 31))


def bind_sort(spec: SortSpec, threads: int = 1) -> list[Routine]:
    """The order of rows as `run(out, a)` on addresses, one for each thread."""
    parts = min(threads, spec.rows) if spec.rows * spec.n >= SORTED_FROM else 1
    edges = [spec.rows * i // parts for i in range(parts + 1)]
    return [_sorted(spec, begin, end) for begin, end in pairwise(edges)]


def _sorted(spec: SortSpec, begin: int, end: int) -> Routine:
    """The order of a range of the rows."""
    dtype = by_name(spec.dtype).numpy
    result, perform = (dtype, ranked) if spec.values else (np.dtype(np.int64), places)
    given, made = (end - begin, spec.n), (end - begin, spec.selected)
    read, written = begin * spec.n * dtype.itemsize, begin * spec.selected * result.itemsize

    def run(out: int, x: int) -> None:
        rows = array(x + read, dtype, given, View.of(given))
        array(out + written, result, made, View.of(made))[...] = perform(rows, spec.descending, spec.ranks)

    return run


def bind_places(spec: PlacesSpec, threads: int = 1) -> list[Routine]:
    """The positions of what is true in rows, as `run(out, a)` on addresses."""
    given, made = (spec.rows, spec.n), (spec.rows, spec.size)

    def run(out: int, x: int) -> None:
        rows = array(x, np.dtype(np.bool_), given, View.of(given))
        to = array(out, np.dtype(np.int64), made, View.of(made))
        for row, line in zip(rows, to, strict=True):
            found = np.flatnonzero(row)[: spec.size]
            line[: len(found)], line[len(found) :] = found, spec.n

    return [run]


ROUTINES: dict[str, Callable[..., list[Routine]]] = {
    "matmul": bind,
    "argsort": bind_sort,
    "sorted": bind_sort,
    "places": bind_places,
}
