"""Memory of a kernel that runs under numpy, and the checks that make such a run an oracle of memory safety."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

from flame.errors import ValidationError
from flame.ir.dtype import converted

NOBODY, SEVERAL = -1, -2


class Ring:
    """Places in shared memory that lanes copy to while they compute; what is under way may not be taken."""

    def __init__(self):
        self.places: dict[int, tuple] = {}  # offset -> bytes that all lanes take there, and what lies there
        self.open: dict[int, tuple] = {}
        self.under_way: list[dict[int, tuple]] = []

    def fetch(self, at: int, found, nbytes: int) -> None:
        """Begin to copy; what overlaps is lost."""
        for other in [o for o, (size, _) in self.places.items() if o < at + nbytes and at < o + size]:
            del self.places[other]
        self.open[at] = nbytes, found

    def close(self) -> None:
        """What was fetched is a batch."""
        self.under_way.append(self.open)
        self.open = {}

    def wait(self, left: int) -> None:
        """The oldest batches arrive, all but `left`."""
        while len(self.under_way) > left:
            self.places |= self.under_way.pop(0)

    def take(self, at: int):
        """What was fetched there."""
        if at not in self.places:
            raise ValidationError(f"nothing has arrived at byte {at} of shared memory")
        return self.places[at][1]


@dataclass(frozen=True)
class Lanes:
    """The blocks that run together: `blocks` of them from number `first`, each of `threads` lanes."""

    first: int
    blocks: int
    threads: int
    ring: Ring = field(default_factory=Ring)

    def numbers(self) -> np.ndarray:
        """A number for each lane that no lane of another block has, shape (blocks, threads)."""
        start = self.first * self.threads
        return np.arange(start, start + self.blocks * self.threads).reshape(self.blocks, self.threads)


class Buffer:
    """One address argument: the array, and who wrote and read each element (shared by arguments on one memory)."""

    def __init__(self, array: np.ndarray, label: str, writer: np.ndarray, reader: np.ndarray):
        self.array, self.label, self.writer, self.reader = array, label, writer, reader

    @classmethod
    def of(cls, array: np.ndarray, label: str, tables: dict) -> "Buffer":
        """The buffer of an array; `tables` holds the writers and readers of the memory that a run has met."""
        if not array.flags.c_contiguous:
            raise ValidationError(f"{label} is not contiguous: strides {array.strides}, shape {array.shape}")
        flat = array.reshape(-1)
        key = array.__array_interface__["data"][0], flat.nbytes
        if key not in tables:
            tables[key] = np.full(flat.nbytes, NOBODY, np.int64), np.full(flat.nbytes, NOBODY, np.int64)
        writer, reader = tables[key]
        return cls(flat, label, writer, reader)


@dataclass(frozen=True)
class Table:
    """The addresses of a run: what each slot holds, memory or a number."""

    entries: dict

    def load(self, spec, i):
        """The entry that all lanes ask for; a number narrower than its eight bytes is asked for by its own size."""
        (found,) = np.unique(i)
        entry = self.entries[int(found) // (8 // np.dtype(spec.register).itemsize)]
        return entry if isinstance(entry, Buffer) else spec.register(entry)


def load(spec, lanes: Lanes, p: Buffer | Table, i, ok, *nothing):
    """`load{W}_{dtype}[_if]`: one value, or a tuple of W; 0 where a lane is masked."""
    if isinstance(p, Table):
        return p.load(spec, i)
    at, ok = _checked(spec, lanes, p, i, ok)
    at, who, out = np.where(ok, at, 0), lanes.numbers(), []
    shape = at.shape
    for k in range(spec.width):
        got = np.zeros(shape, spec.register)
        if p.array.size and ok.any():
            there = ok & (at + k < p.array.size)  # all, but at an edge
            place = at[there] + k
            _note_reads(spec, p, place, who[there])
            got[there] = p.array[place].astype(spec.register)
        out.append(got)
    return out[0] if spec.width == 1 else tuple(out)


def store(spec, lanes: Lanes, p: Buffer, i, ok, *values):
    """`store{W}_{dtype}[_if]`: floats round to nearest even."""
    if len(values) != spec.width:
        raise ValidationError(f"{spec.name} takes {spec.width} values, not {len(values)}")
    at, ok = _checked(spec, lanes, p, i, ok)
    who, place = lanes.numbers()[ok], at[ok]
    for k, value in enumerate(values):
        if np.asarray(value).dtype != np.dtype(spec.register):
            raise ValidationError(f"{spec.name} is given {np.asarray(value).dtype}, not {np.dtype(spec.register)}")
        new = converted(np.broadcast_to(value, ok.shape)[ok], spec.dtype)
        _note_writes(spec, p, place + k, who, new)


def store_edge(spec, lanes: Lanes, p: Buffer, i, count, *values):
    """`store{W}_{dtype}_edge`: the first `count` of W values, at an aligned place."""
    _checked(spec, lanes, p, i, np.asarray(count) > 0)
    one = SimpleNamespace(**(vars(spec) | {"width": 1, "edge": False}))
    for k, value in enumerate(values):
        store(one, lanes, p, i + np.int64(k), np.asarray(count) > k, value)


def _checked(spec, lanes: Lanes, p: Buffer, i, ok):
    """Index and guard over (blocks, lanes); every unmasked access lies in the array and is aligned."""
    if not isinstance(p, Buffer):
        raise ValidationError(f"{spec.name} is given {type(p).__name__} for an address")
    if p.array.dtype != spec.dtype:
        raise ValidationError(f"{spec.name} accesses {p.label}, which holds {p.array.dtype}")
    shape = (lanes.blocks, lanes.threads)
    i, ok = np.broadcast_to(i, shape), np.broadcast_to(ok, shape)
    if i.dtype != np.int64 or ok.dtype != np.bool_:
        raise ValidationError(f"{spec.name} wants an int64 index and a boolean guard, not {i.dtype} and {ok.dtype}")
    outside = ok & ((i < 0) | (i > p.array.size - (1 if spec.edge else spec.width)))
    if outside.any():
        raise ValidationError(f"{spec.name} at {_where(lanes, outside, i)} leaves {p.label} of {p.array.size} elements")
    unit = min(16, spec.width * p.array.itemsize)
    crooked = ok & (i * p.array.itemsize % unit != 0)
    if crooked.any():
        raise ValidationError(f"{spec.name} at {_where(lanes, crooked, i)} of {p.label} is not {unit}-byte aligned")
    return i, ok


def _where(lanes: Lanes, bad: np.ndarray, i: np.ndarray) -> str:
    row, lane = (int(v) for v in np.argwhere(bad)[0])
    return f"index {int(i[row, lane])} (block {lanes.first + row}, thread {lane}; {int(bad.sum())} lanes)"


def _note_reads(spec, p: Buffer, place: np.ndarray, who: np.ndarray) -> None:
    """Remember who reads each element; what another lane wrote in this launch may or may not be there yet."""
    mark = place * p.array.itemsize
    writer = p.writer[mark]
    if ((writer != NOBODY) & (writer != who)).any():
        bad = int(place[(writer != NOBODY) & (writer != who)][0])
        raise ValidationError(f"{spec.name} reads element {bad} of {p.label}, which another lane writes: a race")
    before = p.reader[mark]
    p.reader[mark] = who
    shared = (p.reader[mark] != who) | ((before != NOBODY) & (before != who))
    p.reader[mark[shared]] = SEVERAL


def _note_writes(spec, p: Buffer, place: np.ndarray, who: np.ndarray, new: np.ndarray) -> None:
    """Write; an element that another lane wrote or read must get the bits that it has."""
    if not place.size:
        return
    mark = place * p.array.itemsize
    foreign = ((p.writer[mark] != NOBODY) & (p.writer[mark] != who)) | (
        (p.reader[mark] != NOBODY) & (p.reader[mark] != who)
    )
    wrong = foreign & _differ(p.array[place], new)
    p.array[place] = new
    wrong |= _differ(p.array[place], new)
    if wrong.any():
        bad = int(place[wrong][0])
        raise ValidationError(
            f"{spec.name}: two lanes meet at element {bad} of {p.label} with different values: a race"
        )
    p.writer[mark] = who


def _differ(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Where the bits of two arrays differ."""
    word = f"u{x.dtype.itemsize}"
    return np.ascontiguousarray(x).view(word) != np.ascontiguousarray(y).view(word)
