"""What calling a user's kernel does: check the operands, make a node, give it a gradient."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from flame.autograd.function import custom_gradient
from flame.errors import DeviceError, DTypeError, GradError, ShapeError
from flame.ir import node as nd
from flame.ir.dtype import DType
from flame.ir.library import KernelSpec
from flame.ir.node import Node, apply
from flame.kernel.text import parameters
from flame.runtime import user_cpu, user_cuda
from flame.tensor import Tensor, new, same_device

Out = Callable[..., Any] | None
Sizes = int | Sequence[int] | Callable[..., Any] | None
NUMBERS = (bool, int, float)
BLOCK = 256  # threads of a block, unless the user says otherwise
FLOAT8 = ("float8_e4m3fn", "float8_e5m2")
WITHOUT = {
    "numba": ("float16", "bfloat16", *FLOAT8),
    "numba.cuda": ("bfloat16", *FLOAT8),
    "cuda": FLOAT8,
}  # dtypes a language cannot name


class Kernel(ABC):
    """A kernel that is called with tensors and numbers, and returns a tensor."""

    language: str
    name: str

    def __init__(self, out: Out, backward: Callable[..., Any] | None):
        self.out = out
        self.run = custom_gradient(backward or self._no_gradient)(self._made)

    def __call__(self, *args: Any) -> Tensor:
        return self.run(*args)

    def __repr__(self) -> str:
        return f"<kernel {self.name} in {self.language}>"

    @abstractmethod
    def spec(self, args: Sequence[Any], arguments: tuple[Any, ...], shape: tuple[int, ...], dtype: DType) -> KernelSpec:
        """The kernel for these operands."""

    @abstractmethod
    def check(self, spec: KernelSpec, device: Any) -> None:
        """Raise what can be known to be wrong before anything runs: another device, text that does not compile."""

    def _no_gradient(self, *_: Any) -> Any:
        raise GradError(f"kernel {self.name} has no gradient; give it backward=, or detach() its operands")

    def _made(self, *args: Any) -> Tensor:
        tensors = [a for a in args if isinstance(a, Tensor)]
        if not tensors:
            raise DTypeError(f"kernel {self.name}: needs at least one tensor, got {args!r}")
        device = same_device(f"kernel {self.name}", *tensors)
        arguments = tuple(self._argument(i, a) for i, a in enumerate(args))
        shape, dtype = self._result(args, tensors[0])
        self._known(dtype, "the result")
        spec = self.spec(args, arguments, shape, dtype)
        self.check(spec, device)
        sources = [_in_memory(t.node) for t in tensors]
        made = apply("call", *sources, routine="kernel", spec=spec, of=shape or (1,), as_=dtype)
        return new(nd.reshape(made, shape), device, *tensors)

    def _argument(self, i: int, a: Any) -> Any:
        if isinstance(a, Tensor):
            self._known(a.dtype, f"argument {i}")
            return a.shape, a.dtype.name
        if not isinstance(a, NUMBERS):
            raise DTypeError(f"kernel {self.name}: argument {i} is {a!r}; give tensors and Python numbers")
        return a

    def _known(self, dtype: DType, what: str) -> None:
        if dtype.name in WITHOUT[self.language]:
            raise DTypeError(f"kernel {self.name}: {what} is {dtype}, unknown to {self.language}; cast it first")

    def _result(self, args: Sequence[Any], first: Tensor) -> tuple[tuple[int, ...], DType]:
        if self.out is None:
            return first.shape, first.dtype
        found = self.out(*args)
        fits = isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], DType)
        if not fits or not all(isinstance(n, int) and n >= 0 for n in tuple(found[0])):
            raise ShapeError(f"kernel {self.name}: out= must give (shape, dtype) of the result, got {found!r}")
        return tuple(found[0]), found[1]


def _in_memory(node: Node) -> Node:
    """A single number may be one that kernels receive by value; a user's kernel reads memory."""
    return node if node.shape else nd.reshape(node, (1,))


class Numba(Kernel):
    """A Python function on arrays, for the CPU."""

    language = "numba"

    def __init__(self, function: Callable[..., Any], out: Out, backward: Any, options: tuple[Any, ...]):
        super().__init__(out, backward)
        self.function, self.options, self.name = function, options, function.__name__
        self.__doc__ = function.__doc__

    def spec(self, args: Sequence[Any], arguments: tuple[Any, ...], shape: tuple[int, ...], dtype: DType) -> KernelSpec:
        return KernelSpec("numba", self.name, self.function, arguments, shape, dtype.name, options=self.options)

    def check(self, spec: KernelSpec, device: Any) -> None:
        if device.name != "cpu":
            raise DeviceError(
                f"kernel {self.name} is for the CPU, its operands are on {device.name}; move them with .cpu(), or "
                "write it with device='cuda'"
            )
        user_cpu.of(spec)


class _OnGPU(Kernel):
    """A kernel of blocks and threads."""

    def __init__(self, out: Out, backward: Any, grid: Sizes, block: Sizes):
        super().__init__(out, backward)
        self.grid, self.block = grid, block

    def space(self, args: Sequence[Any], shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """How many blocks of how many threads."""
        block = self._three("block", BLOCK if self.block is None else self.block, args)
        grid = -(-prod(shape) // prod(block)) if self.grid is None else self.grid
        return self._three("grid", grid, args), block

    def _three(self, what: str, given: Any, args: Sequence[Any]) -> tuple[int, ...]:
        found: Any = given(*args) if callable(given) else given
        found = (found,) if isinstance(found, int) else tuple(found)
        if not 1 <= len(found) <= 3 or not all(isinstance(n, int) and n >= (what == "block") for n in found):
            raise ShapeError(f"kernel {self.name}: {what} is {found!r}; give one to three positive numbers")
        if what == "block" and prod(found) > 1024:
            raise ShapeError(f"kernel {self.name}: a block of {prod(found)} threads; a GPU takes 1024 at most")
        return (*found, 1, 1)[:3]

    def check(self, spec: KernelSpec, device: Any) -> None:
        if not device.name.startswith("cuda"):
            raise DeviceError(
                f"kernel {self.name} is for a GPU, its operands are on {device.name}; move them with .cuda()"
            )
        user_cuda.machine_code(spec, device.target.cc)


class NumbaCuda(_OnGPU):
    """A numba.cuda kernel: a Python function that a thread runs."""

    language = "numba.cuda"

    def __init__(self, function: Callable[..., Any], out: Out, backward: Any, grid: Sizes, block: Sizes):
        super().__init__(out, backward, grid, block)
        self.function, self.name = function, function.__name__
        self.__doc__ = function.__doc__

    def spec(self, args: Sequence[Any], arguments: tuple[Any, ...], shape: tuple[int, ...], dtype: DType) -> KernelSpec:
        grid, block = self.space(args, shape)
        return KernelSpec("numba.cuda", self.name, self.function, arguments, shape, dtype.name, grid, block)


class CudaC(_OnGPU):
    """CUDA C++."""

    language = "cuda"

    def __init__(
        self,
        source: str,
        name: str,
        file: str,
        out: Out,
        backward: Any,
        grid: Sizes,
        block: Sizes,
        sizes: Any,
        options: tuple[str, ...],
    ):
        super().__init__(out, backward, grid, block)
        self.source, self.name, self.sizes, self.options = source, name, sizes, (file, *options)
        self.takes = parameters(source, name)

    def spec(self, args: Sequence[Any], arguments: tuple[Any, ...], shape: tuple[int, ...], dtype: DType) -> KernelSpec:
        grid, block = self.space(args, shape)
        found = (prod(shape),) if self.sizes is None else self.sizes(*args)
        numbers = (found,) if isinstance(found, int) else tuple(found)
        self._agree(arguments, dtype, len(numbers))
        return KernelSpec(
            "cuda", self.name, self.source, arguments, shape, dtype.name, grid, block, numbers, self.options
        )

    def _agree(self, arguments: tuple[Any, ...], dtype: DType, numbers: int) -> None:
        """Raise DTypeError where the kernel's own parameter list says something else."""
        if self.takes is None:
            return
        given = [a[1] if isinstance(a, tuple) else None for a in (*arguments, ((), dtype.name))] + [None] * numbers
        if len(given) != len(self.takes):
            raise DTypeError(
                f"kernel {self.name} takes {len(self.takes)} parameters; {len(arguments)} arguments, the result and "
                f"{numbers} sizes are {len(given)}"
            )
        for i, (kind, (takes, pointer)) in enumerate(zip(given, self.takes, strict=True)):
            if pointer != (kind is not None):
                what = "a pointer" if pointer else "a number"
                raise DTypeError(f"kernel {self.name}: parameter {i} is {what}, and is given {kind or 'a number'}")
            if kind is not None and takes and takes != kind:
                raise DTypeError(
                    f"kernel {self.name}: parameter {i} points to {takes}, and is given {kind}; cast it first"
                )
            if kind is None and takes and takes not in ("int64", "float64"):
                raise DTypeError(f"kernel {self.name}: parameter {i} must be long long or double, which numbers are")
