"""Routines written in CUDA C++ beside this file: which launches they are, and how a plan's step performs them."""

import ctypes
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flame.runtime import cuda, nvrtc
from flame.runtime.pool import Pool

ALIGN = 256  # bytes between workspaces
WORD = 8  # bytes of every parameter
Operand = str | int


@dataclass(frozen=True, slots=True)
class Pass:
    """One launch of a kernel, an expression that names it; `operands` are its parameters: memory, or numbers."""

    kernel: str
    blocks: int
    threads: int
    operands: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Routine:
    """The launches that turn the memory `in0`, `in1`, .. into `out`; the first workspaces begin as zeros."""

    file: str
    passes: tuple[Pass, ...]
    workspaces: dict[str, int]  # bytes of each
    cleared: int = 0  # how many of them begin as zeros


@functools.cache
def text(file: str) -> str:
    """The CUDA C++ of a file beside this one."""
    return Path(__file__).with_name(file).read_text()


def functions(routine: Routine, cc: tuple[int, ...]) -> list[tuple[bytes, str]]:
    """The machine code of each pass, and its kernel's name there; what the disk cache lacks compiles side by side."""
    kernels = list(dict.fromkeys(p.kernel for p in routine.passes))

    def made(kernel: str) -> tuple[bytes, str]:
        return nvrtc.compile_c(text(routine.file), kernel, cc, routine.file)

    with ThreadPoolExecutor(len(kernels)) as pool:
        found = dict(zip(kernels, pool.map(made, kernels), strict=True))
    return [found[p.kernel] for p in routine.passes]


def offsets(routine: Routine) -> tuple[dict[str, int], int, int]:
    """Where each workspace begins in one piece of memory, how many bytes begin as zeros, and how many there are."""
    places: dict[str, int] = {}
    end = zeros = 0
    for i, (name, nbytes) in enumerate(routine.workspaces.items()):
        places[name] = end
        end += -(-nbytes // ALIGN) * ALIGN
        zeros = end if i < routine.cleared else zeros
    return places, zeros, end


def bind(
    routine: Routine, inputs: tuple[int, ...], out: int, cc: tuple[int, ...], pool: Pool, stream: cuda.Stream
) -> Callable[[Any], None]:
    """The launches, packed over a table of their own; the workspaces live while they are queued."""
    names = list(dict.fromkeys(o for p in routine.passes for o in p.operands))
    cells = (ctypes.c_int64 * len(names))(*(o if isinstance(o, int) else 0 for o in names))
    place, base = {o: i for i, o in enumerate(names)}, ctypes.addressof(cells)
    launches = [
        cuda.pack(cuda.load(*code), p.blocks, p.threads, [base + WORD * place[o] for o in p.operands])
        for code, p in zip(functions(routine, cc), routine.passes, strict=True)
    ]
    given = [(place[name], s) for name, s in [*((f"in{i}", s) for i, s in enumerate(inputs)), ("out", out)]]
    at, zeros, size = offsets(routine)
    own = [(place[name], begin) for name, begin in at.items()]

    def run(addresses: Any) -> None:
        memory = pool.buffer(size, routine.file)
        for cell, slot in given:
            cells[cell] = addresses[slot]
        for cell, begin in own:
            cells[cell] = memory.address + begin
        if zeros:
            cuda.fill(memory.address, 0, zeros, stream)
        for launch in launches:
            launch(stream.handle)

    return run
