"""A user's own kernels on a GPU: machine code by Numba or NVRTC, launched by the driver with what they expect."""

import ctypes
import functools
import struct
from collections.abc import Callable
from math import prod
from typing import Any

from flame.errors import CompileError
from flame.ir.dtype import by_name
from flame.ir.library import KernelSpec
from flame.ir.plan import Call
from flame.runtime import cuda, nvrtc
from flame.runtime.user_cpu import refused

WORD = 8  # bytes of every parameter


def machine_code(spec: KernelSpec, cc: tuple[int, ...]) -> tuple[bytes, str]:
    """The cubin of a kernel, and its name there. No GPU is needed; raises CompileError."""
    if spec.language == "cuda":
        file, *flags = spec.options
        return nvrtc.compile_c(spec.code, spec.name, cc, file, tuple(flags))
    return _by_numba(spec.code, _kinds(spec), cc)


def _kinds(spec: KernelSpec) -> tuple[Any, ...]:
    given = [(a[1], len(a[0])) if isinstance(a, tuple) else type(a) for a in spec.arguments]
    return (*given, (spec.dtype, len(spec.shape)))


@functools.lru_cache(256)
def _by_numba(function: Callable[..., Any], kinds: tuple[Any, ...], cc: tuple[int, ...]) -> tuple[bytes, str]:
    from flame.runtime import cuda_compile  # imports numba-cuda

    try:
        return cuda_compile.compile_user(function, kinds, cc)
    except CompileError as problem:
        raise refused(function, problem) from problem


def parameters(spec: KernelSpec) -> tuple[list[int], list[tuple[int, int]]]:
    """The words of all parameters, and (word, operand) for each that is an address; the result is the last operand.

    CUDA C++ takes pointers and numbers as they come, the result's pointer, then the sizes. Numba takes each array as
    (0, 0, elements, bytes of one, pointer, *shape, *strides in bytes).
    """
    words: list[int] = []
    places: list[tuple[int, int]] = []
    for argument in (*spec.arguments, (spec.shape, spec.dtype)):
        if not isinstance(argument, tuple):
            words.append(_number(argument))
            continue
        shape, size = argument[0], by_name(argument[1]).size
        before = () if spec.language == "cuda" else (0, 0, prod(shape), size)
        places.append((len(words) + len(before), len(places)))
        strides = (size * prod(shape[a + 1 :]) for a in range(len(shape)))
        words += (*before, 0) if spec.language == "cuda" else (*before, 0, *shape, *strides)
    return [*words, *spec.sizes], places


def _number(value: Any) -> int:
    """A number's eight bytes."""
    if isinstance(value, float):
        return int.from_bytes(struct.pack("<d", value), "little", signed=True)
    return int(value)


def bind(step: Call, cc: tuple[int, ...], stream: int) -> Callable[[Any], None]:
    """A launch of the kernel, its parameters packed but for the addresses."""
    spec: KernelSpec = step.spec
    function = cuda.load(*machine_code(spec, cc))
    words, places = parameters(spec)
    cells = (ctypes.c_int64 * len(words))(*words)
    base = ctypes.addressof(cells)
    packed = cuda.pack(function, spec.grid, spec.block, [base + WORD * i for i in range(len(words))])
    slots = (*step.inputs, step.out)
    filled = [(word, slots[operand]) for word, operand in places]

    def run(at: Any, _keep: Any = cells) -> None:
        for word, slot in filled:
            cells[word] = at[slot]
        packed(stream)

    return run
