"""Which dtype an operation has, before it is done."""

from typing import Any

from flame.ir import dtype as dt
from flame.ir.dtype import DType
from flame.ops.method import method
from flame.tensor import Tensor

__all__ = ["can_cast", "is_complex", "is_floating_point", "is_signed", "result_type"]


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
