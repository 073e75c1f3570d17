"""Element types and how they mix: PyTorch's promotion, NumPy and ml_dtypes as the memory of the host."""

from dataclasses import dataclass

import ml_dtypes
import numpy as np

from flame.errors import DTypeError

BOOL, INT, FLOAT = 0, 1, 2  # categories; a higher one always wins


@dataclass(frozen=True, slots=True, eq=False)
class DType:
    """One element type. Compared by identity: there is one object for each name."""

    name: str
    size: int  # bytes
    category: int
    numpy: np.dtype

    def __repr__(self) -> str:
        return f"flame.{self.name}"

    def __str__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[object, ...]:
        return by_name, (self.name,)

    @property
    def is_float(self) -> bool:
        return self.category == FLOAT

    @property
    def is_floating_point(self) -> bool:
        """True for floating dtypes, those of eight bits among them: PyTorch's name of `is_float`."""
        return self.is_float

    @property
    def is_complex(self) -> bool:
        """False: FLAME has no complex dtype."""
        return False

    @property
    def is_signed(self) -> bool:
        """True for all but bool and uint8."""
        return self.name not in ("bool", "uint8")

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self.size

    @property
    def epsilon(self) -> float:
        """The step from 1 to the next number of a floating type."""
        return float(ml_dtypes.finfo(self.numpy).eps)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]

    @property
    def lowest(self) -> float:
        """The most negative finite number of a floating dtype."""
        return float(ml_dtypes.finfo(self.numpy).min)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]

    @property
    def register(self) -> "DType":
        """The type its values have inside a kernel: half precisions exist in memory only."""
        return float32 if self.size < 4 and self.is_float else self

    @property
    def stored(self) -> bool:
        """True where it only keeps values: float8 is moved and cast, and computed with in another dtype."""
        return self.size == 1 and self.category == FLOAT


boolean = DType("bool", 1, BOOL, np.dtype(np.bool_))
uint8 = DType("uint8", 1, INT, np.dtype(np.uint8))
int8 = DType("int8", 1, INT, np.dtype(np.int8))
int16 = DType("int16", 2, INT, np.dtype(np.int16))
int32 = DType("int32", 4, INT, np.dtype(np.int32))
int64 = DType("int64", 8, INT, np.dtype(np.int64))
float16 = DType("float16", 2, FLOAT, np.dtype(np.float16))
float8_e4m3fn = DType("float8_e4m3fn", 1, FLOAT, np.dtype(ml_dtypes.float8_e4m3fn))
float8_e5m2 = DType("float8_e5m2", 1, FLOAT, np.dtype(ml_dtypes.float8_e5m2))
bfloat16 = DType("bfloat16", 2, FLOAT, np.dtype(ml_dtypes.bfloat16))
float32 = DType("float32", 4, FLOAT, np.dtype(np.float32))
float64 = DType("float64", 8, FLOAT, np.dtype(np.float64))

_WIDER = (boolean, int8, uint8, int16, int32, int64, float16, bfloat16, float32, float64)
BY_NAME = {d.name: d for d in (*_WIDER, float8_e4m3fn, float8_e5m2)}
_BY_NUMPY = {d.numpy: d for d in BY_NAME.values()}
_default = float32


def by_name(name: str) -> DType:
    return BY_NAME[name]


def of_numpy(kind: object) -> DType:
    """The dtype of a NumPy dtype; raises DTypeError for one FLAME has not."""
    found = _BY_NUMPY.get(np.dtype(kind))  # pyright: ignore[reportArgumentType, reportCallIssue]
    if found is None:
        raise DTypeError(
            f"dtype {kind} is not one of {', '.join(BY_NAME)}; convert the array first, e.g. .astype('float32')"
        )
    return found


def converted(array: np.ndarray, kind: np.dtype) -> np.ndarray:
    """An array in the NumPy dtype of one of FLAME's; float8_e4m3fn, which has no infinity, saturates as PyTorch's."""
    if kind in (float8_e4m3fn.numpy, float8_e5m2.numpy) and array.dtype != kind:
        array = array.astype(np.float32)
        array = np.clip(array, -448.0, 448.0) if kind == float8_e4m3fn.numpy else array
    return array.astype(kind)


def is_known(kind: object) -> bool:
    """True for the NumPy dtype of one of FLAME's."""
    return kind in _BY_NUMPY


def default() -> DType:
    """The floating dtype of what says none: float32, unless `set_default` chose another."""
    return _default


def set_default(dtype: DType) -> None:
    """Let Python's floats, and tensors made without a dtype, be of this one."""
    global _default
    if not dtype.is_float or dtype.stored:
        raise DTypeError(f"the default dtype must be a floating one to compute with, got {dtype.name}")
    _default = dtype


def of_scalar(value: object) -> DType:
    """The dtype of a Python number: bool, int64, or the default floating one."""
    if isinstance(value, (bool, np.bool_)):
        return boolean
    if isinstance(value, (int, np.integer)):
        return int64
    if isinstance(value, (float, np.floating)):
        return _default
    raise DTypeError(f"{value!r} of type {type(value).__name__} is no number; give a bool, an int or a float")


def promote(a: DType, b: DType) -> DType:
    """The dtype in which values of `a` and `b` meet (torch.promote_types)."""
    if a is b:
        return a
    if a.stored or b.stored:
        raise DTypeError(f"{a.name} and {b.name} meet in no dtype: float8 keeps values only; cast first, e.g. .float()")
    low, high = sorted((a, b), key=_WIDER.index)
    if (low, high) == (int8, uint8):
        return int16
    if (low, high) == (float16, bfloat16):
        return float32
    return high


def result_type(tensors: list[tuple[DType, int]], scalars: list[object]) -> DType:
    """The dtype of an operation on tensors, given as (dtype, rank), and Python numbers.

    Python numbers and tensors of rank 0 raise the category (bool, int, float) but not the width (torch.result_type).
    """
    whole = _all([d for d, rank in tensors if rank])
    single = _all([d for d, rank in tensors if not rank])
    weak = _all([of_scalar(s) for s in scalars])
    found = whole
    for other in (single, weak):
        if found is None:
            found = other
        elif other is not None and other.category > found.category:
            found = _default if other is weak and other.is_float else other
    assert found is not None
    return found


def _all(dtypes: list[DType]) -> DType | None:
    found: DType | None = None
    for d in dtypes:
        found = d if found is None else promote(found, d)
    return found
