"""A user's own kernels on the CPU: Python functions on arrays, compiled by Numba as they are."""

import functools
from collections.abc import Callable
from typing import Any

from flame.errors import CompileError
from flame.ir.dtype import by_name
from flame.ir.library import KernelSpec, View
from flame.runtime.lib_numpy import array

Argument = Any  # (dtype, ndim) of an array, or the type of a number


@functools.lru_cache(256)
def compiled(function: Callable[..., Any], arguments: tuple[Argument, ...], out: Argument, options: Any) -> Any:
    """Machine code for one set of dtypes and ranks; operands cannot be written to. Raises CompileError."""
    from numba import njit, types  # takes half a second: only who has kernels of his own waits for it

    kinds = {int: types.int64, float: types.float64, bool: types.boolean}
    signature = [kinds[a] if isinstance(a, type) else _array(a[0], a[1], True) for a in arguments]
    made = njit(**dict(options), nogil=True)(function)
    try:
        made.compile((*signature, _array(out[0], out[1], False)))
    except Exception as problem:
        raise refused(function, problem) from problem
    return made


def refused(function: Callable[..., Any], problem: Exception) -> CompileError:
    """Why a user's function does not compile: his file and line, and the compiler's own words."""
    code = function.__code__
    lines = [line for line in str(problem).splitlines() if line.strip()]
    said = "\n  ".join(lines[:16]) or type(problem).__name__
    return CompileError(
        f"kernel {code.co_name} ({code.co_filename}:{code.co_firstlineno}) does not compile; Numba says:\n  {said}"
    )


def _array(dtype: str, ndim: int, readonly: bool) -> Any:
    from numba import types

    element = getattr(types, {"bool": "boolean"}.get(dtype, dtype))
    return types.Array(element, ndim, "C", readonly=readonly)


def of(spec: KernelSpec) -> Any:
    """The machine code of a kernel for its operands."""
    kinds = tuple((a[1], len(a[0])) if isinstance(a, tuple) else type(a) for a in spec.arguments)
    return compiled(spec.code, kinds, (spec.dtype, len(spec.shape)), spec.options)


def bind(spec: KernelSpec, threads: int) -> list[Callable[..., None]]:
    """The kernel as `run(out, *operands)` on addresses."""
    function = of(spec)

    def run(out: int, *addresses: int) -> None:
        rest = iter(addresses)
        args: list[Any] = []
        for argument in spec.arguments:
            if isinstance(argument, tuple):
                shape, dtype = argument
                made = array(next(rest), by_name(dtype).numpy, shape, View.of(shape))
                made.flags.writeable = False
                args.append(made)
            else:
                args.append(argument)
        function(*args, array(out, by_name(spec.dtype).numpy, spec.shape, View.of(spec.shape)))

    return [run]


ROUTINES: dict[str, Callable[..., list[Callable[..., None]]]] = {"kernel": bind}
