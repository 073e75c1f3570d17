"""What a library routine must know of its operands: plain data that passes write and the runtime reads."""

from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from flame.errors import ValidationError
from flame.ir.dtype import by_name
from flame.ir.loop import Kernel, Loop, Store
from flame.ir.node import Node
from flame.ir.op import OPS

Shape = tuple[int, ...]


def widened(a: Any) -> Any:
    """Half precisions as float32, in which they accumulate and compare."""
    return a.astype(np.float32) if a.dtype.itemsize == 2 and a.dtype.kind not in "iu" else a


def order(a: Any, axis: int, descending: bool, ranks: tuple[int, int] | None = None) -> Any:
    """Positions in NumPy's stable order, in which nan is last; descending, that of the reversed axis from its end."""
    wide = widened(a)
    found = np.argsort(np.flip(wide, axis) if descending else wide, axis, kind="stable").astype(np.int64, copy=False)
    found = wide.shape[axis] - 1 - np.flip(found, axis) if descending else found
    return found if ranks is None else np.take(found, range(*ranks), axis)


@dataclass(frozen=True, slots=True)
class View:
    """Strides over memory, in elements."""

    offset: int
    strides: Shape

    @staticmethod
    def of(shape: Shape) -> "View":
        """The view of a whole tensor in row-major order."""
        return View(0, tuple(prod(shape[a + 1 :]) if n != 1 else 0 for a, n in enumerate(shape)))

    def over(self, memory: Any, shape: Shape) -> Any:
        """The view as a numpy array over contiguous memory."""
        flat = np.ascontiguousarray(memory).reshape(-1)[self.offset :]  # of a slice, reshape alone may keep the steps
        return np.lib.stride_tricks.as_strided(
            flat, shape, tuple(s * flat.itemsize for s in self.strides), writeable=False
        )

    def readable(self, shape: Shape) -> bool:
        """True if each matrix has rows or columns side by side, far enough apart not to overlap: BLAS reads it so."""
        (rows, columns), (m, n) = self.strides[-2:], shape[-2:]
        by_rows = (columns == 1 or n == 1) and (rows >= n or m == 1)
        by_columns = (rows == 1 or m == 1) and (columns >= m or n == 1)
        return by_rows or by_columns


@dataclass(frozen=True, slots=True)
class MatmulSpec:
    """`batch` products of (m, k) by (k, n) matrices into one row-major (batch, m, n) result."""

    dtype: str
    batch: Shape
    m: int
    n: int
    k: int
    a: View  # over (*batch, m, k)
    b: View  # over (*batch, k, n)
    tf32: bool = False  # float32 operands may be rounded to tf32

    def numpy(self, a: Any, b: Any) -> Any:
        """The meaning: the product of both views; half precisions are multiplied in float32."""
        left = self.a.over(a, (*self.batch, self.m, self.k))
        right = self.b.over(b, (*self.batch, self.k, self.n))
        if left.dtype.itemsize == 2:
            return np.matmul(left.astype(np.float32), right.astype(np.float32)).astype(left.dtype)
        return np.matmul(left, right)


@dataclass(frozen=True, slots=True)
class FinishedSpec:
    """A product whose every element goes through an elementwise kernel: `value` is what its loop reads of it.

    The operands are those of the product, then what the kernel reads beside it; the results are the kernel's.
    """

    product: MatmulSpec
    kernel: Kernel  # as it is launched after a product in memory, `place` being the product's parameter
    place: int
    rows: Kernel  # the same for element (g, r), without that parameter
    value: Node

    @property
    def staged(self) -> Store | None:
        """The result that leaves a printed kernel through shared memory: 16 bits wide, each element in its place."""
        types = {p.name: p.dtype for p in self.rows.params}
        (row,) = (s for s in self.rows.outer.body if isinstance(s, Loop))
        stores = (s for s in row.body if isinstance(s, Store) and s.index is self.value.src[0])
        return next((s for s in stores if types[s.param].name in ("bfloat16", "float16")), None)

    @property
    def nbytes(self) -> int:
        """Bytes of the product itself, where a library must store it."""
        of = self.product
        return prod((*of.batch, of.m, of.n)) * by_name(of.dtype).size

    def __str__(self) -> str:
        return f"{self.product} {self.kernel.name}"


@dataclass(frozen=True, slots=True)
class SortSpec:
    """Of the stable order of each of `rows` rows of `n` elements, what has some ranks; nan is the largest.

    What is wanted are positions, or the `values`, which may lose the sign of a nan and the order of equal zeros.
    """

    dtype: str
    rows: int
    n: int
    descending: bool
    ranks: tuple[int, int]  # from the first up to the second
    below: int = 0  # integers known to be 0 or more, and below this; 0 where nothing is known
    values: bool = False

    @property
    def selected(self) -> int:
        """How many ranks of each row are wanted."""
        return self.ranks[1] - self.ranks[0]

    def numpy(self, a: Any) -> Any:
        """The meaning: the order of each row of contiguous memory."""
        rows = np.asarray(a).reshape(self.rows, self.n)
        found = order(rows, 1, self.descending, self.ranks)
        return np.take_along_axis(rows, found, 1) if self.values else found


def true_places(a: Any, size: int) -> Any:
    """The first `size` positions of what is true along the last axis, in order, then the axis's length."""
    n: int = a.shape[-1]
    found: Any = np.sort(np.where(a, np.arange(n), n), -1)[..., :size]
    return np.concatenate([found, np.full((*a.shape[:-1], size - found.shape[-1]), n, np.int64)], -1)


@dataclass(frozen=True, slots=True)
class PlacesSpec:
    """Of each of `rows` rows of `n` truth values the positions of the first `size` true ones, then n."""

    rows: int
    n: int
    size: int

    def numpy(self, a: Any) -> Any:
        """The meaning: the positions of each row of contiguous memory."""
        return true_places(np.asarray(a).reshape(self.rows, self.n), self.size)


@dataclass(frozen=True, slots=True)
class KernelSpec:
    """A user's own kernel for one set of operands: what it is written in, and what it is given.

    An argument is a (shape, dtype) of the next operand, or a number. `code` is the Python function, or the text.
    """

    language: str  # "numba", "numba.cuda" or "cuda"
    name: str
    code: Any = field(repr=False)
    arguments: tuple[Any, ...]
    shape: Shape
    dtype: str
    grid: Shape = (1, 1, 1)
    block: Shape = (1, 1, 1)
    sizes: tuple[int, ...] = ()  # of CUDA C++: the numbers behind the pointers
    options: tuple[Any, ...] = field(default=(), repr=False)  # for the compiler

    @property
    def meaning(self) -> bool:
        """True if NumPy can tell what the kernel computes."""
        return self.language == "numba"

    def numpy(self, *arrays: Any) -> Any:
        """The meaning of a kernel for the CPU: its function as Python."""
        if not self.meaning:
            raise ValidationError(f"kernel {self.name} is for a GPU: NumPy cannot tell what it computes")
        rest = iter(arrays)
        args = [
            next(rest).reshape(argument[0]) if isinstance(argument, tuple) else argument for argument in self.arguments
        ]
        out = np.empty(self.shape, by_name(self.dtype).numpy)
        self.code(*args, out)
        return out.reshape(self.shape or (1,))  # a single number lies in memory as one of a row


@dataclass(frozen=True, slots=True)
class HostSpec:
    """An operator of the table that NumPy performs on whole tensors in the host's memory."""

    op: str
    attrs: tuple[tuple[str, Any], ...]
    dtype: str  # of all operands, and of the result
    shapes: tuple[Shape, ...]
    result: Shape

    def numpy(self, *arrays: Any) -> Any:
        """The meaning: that of the operator."""
        meaning = OPS[self.op].numpy
        assert meaning is not None
        given = (np.asarray(a).reshape(s) for a, s in zip(arrays, self.shapes, strict=True))
        return np.asarray(meaning(*given, **dict(self.attrs)))
