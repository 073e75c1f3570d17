"""A user's own kernels as operations on tensors: `numba` for Python functions, `cuda_c` for CUDA C++.

They are nodes of the graph like any other: lazy, fused around, planned, cached; inside `no_grad`, `checkpoint` and
gradients. docs/custom_kernels.md has one of each.
"""

import sys
from collections.abc import Callable
from typing import Any

from flame.errors import DTypeError
from flame.kernel.kernel import CudaC, Kernel, Numba, NumbaCuda, Out, Sizes
from flame.kernel.text import located

__all__ = ["Kernel", "cuda_c", "numba"]


def numba(
    function: Callable[..., Any] | None = None,
    *,
    out: Out = None,
    backward: Callable[..., Any] | None = None,
    device: str = "cpu",
    grid: Sizes = None,
    block: Sizes = None,
    parallel: bool = False,
    fastmath: bool = False,
) -> Any:
    """A decorator: a function that writes its last argument, compiled by Numba, as an operation on tensors.

    The function gets a contiguous array for each tensor, which it may not write to, each number as it is, and an array
    for the result. `out(*arguments)` says (shape, dtype) of the result; without it they are the first tensor's.
    `backward(grad, result, *arguments)` gives a gradient for each argument, or None. With device="cuda" the function is
    a numba.cuda kernel over `grid` blocks of `block` threads: numbers, up to three in a tuple, or functions of the
    arguments; by default one thread for each element of the result, in blocks of 256.

    Raises CompileError, with the function's file and line, when it is called with dtypes that do not compile.

    >>> @flame.kernel.numba
    ... def running(x, out):
    ...     total = 0.0
    ...     for i in range(x.shape[0]):
    ...         total += x[i]
    ...         out[i] = total
    >>> running(flame.tensor([1.0, 2.0, 4.0])).tolist()
    [1.0, 3.0, 7.0]
    """
    if device not in ("cpu", "cuda"):
        raise DTypeError(f"kernel.numba: device is {device!r}; choose 'cpu' or 'cuda'")

    def decorate(function: Callable[..., Any]) -> Kernel:
        plain = getattr(function, "py_func", function)  # a function that Numba has decorated already
        if device == "cuda":
            return NumbaCuda(plain, out, backward, grid, block)
        return Numba(plain, out, backward, (("parallel", parallel), ("fastmath", fastmath)))

    return decorate if function is None else decorate(function)


def cuda_c(
    source: Any,
    name: str,
    *,
    out: Out = None,
    backward: Callable[..., Any] | None = None,
    grid: Sizes = None,
    block: Sizes = None,
    sizes: Callable[..., Any] | None = None,
    options: tuple[str, ...] = (),
) -> Kernel:
    """A kernel in CUDA C++, compiled by NVRTC when it is first called, as an operation on CUDA tensors.

    `source` is the text, or the path of a .cu file; `name` the kernel in it, or an instance of a template:
    "scale<float>". Its parameters are, in this order: a pointer for each tensor argument (contiguous) and an 8-byte
    number (long long or double) for each other one, as they are given; a pointer to the result; then each of
    `sizes(*arguments)` as long long, by default one: the number of elements of the result. The rest is as for `numba`;
    `options` go to NVRTC. A parameter list that can be read is compared with the arguments at the call.

    Raises CompileError with file, line and NVRTC's message; DTypeError for a pointer of another type.
    """
    text, file = located(source, name, sys._getframe(1).f_code.co_filename)
    return CudaC(text, name, file, out, backward, grid, block, sizes, options)
