"""Which dtype an operation has, before it is done."""

import math
from typing import Any

import ml_dtypes
import numpy as np

from flame.errors import DTypeError
from flame.ir import dtype as dt
from flame.ir.dtype import DType
from flame.ops.method import method
from flame.tensor import Tensor

__all__ = ["can_cast", "finfo", "iinfo", "is_complex", "is_floating_point", "is_signed", "is_tensor", "result_type"]


class finfo:  # noqa: N801  PyTorch's name
    """The limits of a floating dtype (torch.finfo), the default one unless told otherwise.

    Raises DTypeError for other dtypes.

    >>> flame.finfo(flame.bfloat16).eps
    0.0078125
    """

    def __init__(self, type: DType | None = None) -> None:
        kind = dt.default() if type is None else type
        if not kind.is_float:
            raise DTypeError(f"finfo: {kind!r} is not floating; flame.iinfo has the limits of integers")
        found: Any = ml_dtypes.finfo(kind.numpy)
        self.dtype, self.bits = kind.name, 8 * kind.size
        self.eps, self.max, self.min = float(found.eps), float(found.max), float(found.min)
        self.tiny = self.smallest_normal = float(found.smallest_normal)
        self.resolution = 10.0 ** -math.floor(-math.log10(self.eps))

    def __repr__(self) -> str:
        names = ("resolution", "min", "max", "eps", "smallest_normal", "tiny")
        return f"finfo({', '.join(f'{n}={getattr(self, n):g}' for n in names)}, dtype={self.dtype})"


class iinfo:  # noqa: N801  PyTorch's name
    """The limits of an integer dtype (torch.iinfo). Raises DTypeError for others.

    >>> flame.iinfo(flame.int8).max
    127
    """

    def __init__(self, type: DType) -> None:
        if type.is_float or type is dt.boolean:
            raise DTypeError(f"iinfo: {type!r} is no integer; flame.finfo has the limits of floating dtypes")
        found = np.iinfo(type.numpy)
        self.dtype, self.bits, self.min, self.max = type.name, 8 * type.size, int(found.min), int(found.max)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"


def is_tensor(obj: Any) -> bool:
    """True for a tensor of FLAME."""
    return isinstance(obj, Tensor)


def result_type(tensor1: Any, tensor2: Any) -> DType:
    """The dtype in which two tensors or numbers meet: numbers and 0-d tensors raise the category, not the width."""
    both = (tensor1, tensor2)
    tensors = [(t.dtype, t.ndim) for t in both if isinstance(t, Tensor)]
    return dt.result_type(tensors, [t for t in both if not isinstance(t, Tensor)])


def can_cast(from_: DType, to: DType) -> bool:
    """Whether PyTorch casts so without being asked: never to a lower category (float, int, bool)."""
    return to.category >= from_.category


def is_floating_point(input: Tensor) -> bool:
    """True for float16, bfloat16, float32 and float64."""
    return input.dtype.is_float


@method
def is_signed(input: Tensor) -> bool:
    """True for all dtypes but uint8 and bool."""
    return input.dtype is not dt.uint8 and input.dtype is not dt.boolean


@method
def is_complex(input: Tensor) -> bool:
    """False: no dtype of FLAME is complex."""
    return False
