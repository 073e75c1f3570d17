"""Shape and dtype rules that many operators share. A rule raises when the operands do not fit."""

from math import prod
from typing import Any

from flame.errors import DTypeError, ShapeError
from flame.ir import dtype as dt
from flame.ir.dtype import DType

Shape = tuple[int, ...]


def broadcast_shapes(a: Shape, b: Shape) -> Shape:
    """The shape in which both meet: sizes agree from the right, or are 1."""
    out: list[int] = []
    for i in range(max(len(a), len(b))):
        x = a[-1 - i] if i < len(a) else 1
        y = b[-1 - i] if i < len(b) else 1
        if x != y and 1 not in (x, y):
            raise ShapeError(
                f"cannot broadcast {a} with {b}: axis {-1 - i} is {x} in one and {y} in the other; "
                "sizes must be equal or 1, reshape or transpose one of them"
            )
        out.append(y if x == 1 else x)
    return tuple(reversed(out))


# --- shapes ---------------------------------------------------------------------------------------
def same(*shapes: Shape, **_: Any) -> Shape:
    first = shapes[0]
    for i, s in enumerate(shapes):
        if s != first:
            raise ShapeError(f"operand {i} has shape {s}, operand 0 has {first}; expand one of them first")
    return first


def given(*_: Shape, of: Shape, **__: Any) -> Shape:
    return of


def scalar(*_: Shape, **__: Any) -> Shape:
    return ()


def to_shape(shape: Shape, *, to: Shape) -> Shape:
    if len(to) < len(shape) or any(n not in (1, m) for n, m in zip(reversed(shape), reversed(to), strict=False)):
        raise ShapeError(f"cannot expand {shape} to {to}: only axes of size 1 grow; new axes come first")
    return to


def permuted(shape: Shape, *, order: tuple[int, ...]) -> Shape:
    if sorted(order) != list(range(len(shape))):
        raise ShapeError(f"order {order} is not a permutation of the {len(shape)} axes of {shape}")
    return tuple(shape[a] for a in order)


def reshaped(shape: Shape, *, to: Shape) -> Shape:
    if prod(shape) != prod(to) or any(n < 0 for n in to):
        raise ShapeError(
            f"cannot reshape {shape} ({prod(shape)} elements) to {to} ({prod(to)} elements); the counts must agree"
        )
    return to


def sliced(shape: Shape, *, start: Shape, stop: Shape, step: Shape) -> Shape:
    for n, lo, hi, by in zip(shape, start, stop, step, strict=True):
        if not (0 <= lo <= hi <= n and by > 0):
            raise ShapeError(f"slice {start}:{stop}:{step} lies outside {shape}")
    return tuple(-(-(hi - lo) // by) for lo, hi, by in zip(start, stop, step, strict=True))


def padded(shape: Shape, *, low: Shape, high: Shape, step: Shape, fill: float) -> Shape:
    if not len(shape) == len(low) == len(high) == len(step) or min((*low, *high, 0)) < 0:
        raise ShapeError(f"padding {low}, {high} needs one count >= 0 for each side of each axis of {shape}")
    spread = (max(0, (n - 1) * by + 1) for n, by in zip(shape, step, strict=True))
    return tuple(lo + n + hi for lo, n, hi in zip(low, spread, high, strict=True))


def diagonal(shape: Shape, *, offset: int) -> Shape:
    if len(shape) < 2:
        raise ShapeError(f"a diagonal needs two axes, got {shape}")
    *lead, rows, columns = shape
    return (*lead, max(0, min(rows - max(-offset, 0), columns - max(offset, 0))))


def on_diagonal(shape: Shape, *, offset: int, rows: int, columns: int, fill: float) -> Shape:
    found = (*shape[:-1], rows, columns)
    if not shape or diagonal(found, offset=offset) != shape:
        raise ShapeError(f"{shape} does not fit the diagonal {offset} of {rows} rows and {columns} columns")
    return found


def reduced(shape: Shape, *, axes: tuple[int, ...]) -> Shape:
    for a in axes:
        if not 0 <= a < len(shape):
            raise ShapeError(f"axis {a} is out of range for shape {shape}")
    return tuple(n for a, n in enumerate(shape) if a not in axes)


def reduced_some(shape: Shape, *, axes: tuple[int, ...]) -> Shape:
    """As `reduced`, for folds without a value for nothing at all."""
    if 0 in (shape[a] for a in axes if a < len(shape)):
        raise ShapeError(f"axes {axes} of shape {shape} hold no element; there is no largest or smallest of none")
    return reduced(shape, axes=axes)


def scanned(*shapes: Shape, axis: int, **_: Any) -> Shape:
    reduced(shapes[0], axes=(axis,))
    return same(*shapes)


def ranked(shape: Shape, *, axis: int, ranks: tuple[int, int], **_: Any) -> Shape:
    reduced(shape, axes=(axis,))
    if not 0 <= ranks[0] <= ranks[1] <= shape[axis]:
        raise ShapeError(f"ranks {ranks} of axis {axis} of {shape}; choose 0 <= first <= last <= {shape[axis]}")
    return (*shape[:axis], ranks[1] - ranks[0], *shape[axis + 1 :])


def placed(shape: Shape, *, size: int) -> Shape:
    if not shape or size < 0:
        raise ShapeError(f"{size} places along the last axis of {shape}; choose at least 0 of at least one axis")
    return (*shape[:-1], size)


def gathered(shape: Shape, index: Shape, *, axis: int) -> Shape:
    reduced(index, axes=(axis,))
    if len(shape) == len(index) and shape[axis] == 0 and prod(index):
        raise ShapeError(f"axis {axis} of {shape} has no element; an index of shape {index} has nothing to read there")
    if len(shape) != len(index) or any(m != n for a, (m, n) in enumerate(zip(shape, index, strict=True)) if a != axis):
        raise ShapeError(f"index of shape {index} does not fit {shape}: all axes but {axis} must agree")
    return index


def segmented(shape: Shape, begin: Shape, end: Shape, *, axis: int) -> Shape:
    fits = begin == end and len(shape) == len(begin) > axis
    if not fits or any(m != n for a, (m, n) in enumerate(zip(shape, begin, strict=True)) if a != axis):
        raise ShapeError(f"ends of shapes {begin} and {end} do not fit {shape}: all axes but {axis} must agree")
    return begin


def scattered(index: Shape, value: Shape, *, axis: int, size: int) -> Shape:
    reduced(index, axes=(axis,))
    return tuple(size if a == axis else n for a, n in enumerate(same(index, value)))


def matmul(a: Shape, b: Shape) -> Shape:
    if len(a) < 2 or len(a) != len(b) or a[:-2] != b[:-2]:
        raise ShapeError(f"cannot multiply {a} by {b}: leading axes must agree; expand one of them first")
    if a[-1] != b[-2]:
        raise ShapeError(
            f"cannot multiply {a} by {b}: inner sizes {a[-1]} and {b[-2]} must agree; transpose one of them?"
        )
    return (*a[:-1], b[-1])


# --- dtypes ---------------------------------------------------------------------------------------
def held(*dtypes: DType, **_: Any) -> DType:
    """Of what moves elements, and computes nothing with them."""
    first = dtypes[0]
    for i, d in enumerate(dtypes):
        if d is not first:
            raise DTypeError(f"operand {i} is {d.name}, operand 0 is {first.name}; cast one of them first")
    return first


def keep(*dtypes: DType, **_: Any) -> DType:
    if held(*dtypes).stored:
        raise DTypeError(f"{dtypes[0].name} keeps values only; cast it first, e.g. .float()")
    return dtypes[0]


def floating(*dtypes: DType, **_: Any) -> DType:
    if not keep(*dtypes).is_float:
        raise DTypeError(f"needs a floating dtype, got {dtypes[0].name}; cast it first, e.g. .float()")
    return dtypes[0]


def full_precision(*dtypes: DType, **_: Any) -> DType:
    """Of what kernels hold in registers of the same width."""
    if floating(*dtypes).size < 4:
        raise DTypeError(f"needs float32 or float64, got {dtypes[0].name}; cast it first, e.g. .float()")
    return dtypes[0]


def bits(*dtypes: DType, **_: Any) -> DType:
    if keep(*dtypes).is_float:
        raise DTypeError(f"needs integers or bool, got {dtypes[0].name}; cast it first, e.g. .long()")
    return dtypes[0]


def whole(*dtypes: DType, **_: Any) -> DType:
    if bits(*dtypes) is dt.boolean:
        raise DTypeError("needs integers, got bool; cast it first, e.g. .int()")
    return dtypes[0]


def float_truth(*dtypes: DType, **_: Any) -> DType:
    floating(*dtypes)
    return dt.boolean


def numeric(*dtypes: DType, **_: Any) -> DType:
    if keep(*dtypes) is dt.boolean:
        raise DTypeError("needs numbers, got bool; cast it first, or use a logical operator")
    return dtypes[0]


def truth(*dtypes: DType, **_: Any) -> DType:
    keep(*dtypes)
    return dt.boolean


def logical(*dtypes: DType, **_: Any) -> DType:
    for d in dtypes:
        if d is not dt.boolean:
            raise DTypeError(f"needs bool operands, got {d.name}; compare first, e.g. x != 0")
    return dt.boolean


def second(condition: DType, a: DType, b: DType) -> DType:
    if condition is not dt.boolean:
        raise DTypeError(f"the condition must be bool, got {condition.name}; compare first, e.g. x > 0")
    return held(a, b)


def first_by_index(a: DType, index: DType, **_: Any) -> DType:
    if index.category != dt.INT:
        raise DTypeError(f"the index must be an integer tensor, got {index.name}")
    return a


def integers(*dtypes: DType, **_: Any) -> DType:
    for d in dtypes:
        if d is not dt.int64:
            raise DTypeError(f"needs int64 operands, got {d.name}; cast it first, e.g. .long()")
    return dt.int64


def positions(*dtypes: DType, **_: Any) -> DType:
    if dtypes:
        keep(dtypes[0])
    return dt.int64


def places(*dtypes: DType, **_: Any) -> DType:
    if dtypes[0] is not dt.boolean:
        raise DTypeError(f"needs truth values, got {dtypes[0].name}; compare first, e.g. x > 0")
    return dt.int64


def declared(*_: DType, as_: DType, **__: Any) -> DType:
    return as_


def target(*_: DType, to: DType) -> DType:
    return to
