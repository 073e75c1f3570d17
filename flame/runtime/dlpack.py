"""DLPack: memory that other libraries may see without a copy, as capsules both ways.

The structures are those of dlpack.h, version 1 (and the unversioned form before it, which cannot say "read only").
"""

import ctypes
import sys
from collections.abc import Callable
from ctypes import POINTER, c_char_p, c_int32, c_int64, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from typing import Any

from flame.errors import DTypeError, ExportError
from flame.ir import dtype as dt
from flame.ir.dtype import DType

CPU, CUDA, CUDA_HOST = 1, 2, 3  # DLDeviceType
INT, UINT, FLOAT, BFLOAT, BOOL = 0, 1, 2, 4, 6  # DLDataTypeCode
READ_ONLY, IS_COPIED = 1, 2  # flags of a versioned tensor
VERSION = (1, 0)
FLOAT8 = {dt.float8_e4m3fn: 10, dt.float8_e5m2: 12}
CODES = (
    {dt.boolean: BOOL, dt.bfloat16: BFLOAT, dt.uint8: UINT}
    | FLOAT8
    | {
        d: FLOAT if d.is_float else INT
        for d in (dt.int8, dt.int16, dt.int32, dt.int64, dt.float16, dt.float32, dt.float64)
    }
)
KINDS = {(code, 8 * d.size): d for d, code in CODES.items()}


class _Device(ctypes.Structure):
    _fields_ = [("type", c_int32), ("id", c_int32)]


class _Type(ctypes.Structure):
    _fields_ = [("code", c_uint8), ("bits", c_uint8), ("lanes", c_uint16)]


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", c_void_p),
        ("device", _Device),
        ("ndim", c_int32),
        ("dtype", _Type),
        ("shape", POINTER(c_int64)),
        ("strides", POINTER(c_int64)),
        ("byte_offset", c_uint64),
    ]


DELETER = ctypes.CFUNCTYPE(None, c_void_p)


class _Managed(ctypes.Structure):
    """DLManagedTensor."""

    _fields_ = [("tensor", _Tensor), ("context", c_void_p), ("deleter", c_void_p)]


class _Versioned(ctypes.Structure):
    """DLManagedTensorVersioned."""

    _fields_ = [
        ("major", c_uint32),
        ("minor", c_uint32),
        ("context", c_void_p),
        ("deleter", c_void_p),
        ("flags", c_uint64),
        ("tensor", _Tensor),
    ]


FORMS: dict[bytes, type[_Managed] | type[_Versioned]] = {b"dltensor_versioned": _Versioned, b"dltensor": _Managed}


def _python(name: str, answer: Any, *takes: Any) -> Any:
    """A function of Python's C interface, for us alone: `ctypes.pythonapi.NAME` is one object that all share."""
    return ctypes.PYFUNCTYPE(answer, *takes)((name, ctypes.pythonapi))


_new = _python("PyCapsule_New", ctypes.py_object, c_void_p, c_char_p, c_void_p)
_rename = _python("PyCapsule_SetName", ctypes.c_int, ctypes.py_object, c_char_p)
_is = _python("PyCapsule_IsValid", ctypes.c_int, c_void_p, c_char_p)
_pointer = _python("PyCapsule_GetPointer", c_void_p, c_void_p, c_char_p)


# --- giving -----------------------------------------------------------------------------------------------------------
_given: dict[int, tuple[Any, ...]] = {}  # address of a structure -> what must live until its reader lets go


def _let_go(address: int) -> None:
    """A reader is done: called by his library, or by a capsule that nobody took."""
    held = _given.pop(address, None)
    if held is not None:
        held[0]()


def _unused(capsule: int) -> None:
    """A capsule dies: one that was taken has another name, and its taker lets go."""
    for name in FORMS:
        if _is(capsule, name):
            _let_go(_pointer(capsule, name))


_deleter = DELETER(_let_go)
_destructor = ctypes.PYFUNCTYPE(None, c_void_p)(_unused)
_names = {form: ctypes.create_string_buffer(name) for name, form in FORMS.items()}  # a capsule keeps only the pointer


@dataclass(frozen=True)
class Memory:
    """Memory as DLPack describes it; strides count elements, None where they are row-major."""

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    dtype: DType
    device: tuple[int, int]
    read_only: bool
    owner: Any


def give(memory: Memory, versioned: bool, copied: bool = False, before: Callable[[], None] = lambda: None) -> Any:
    """A capsule of row-major memory; its owner lives, and then `before` is called, when the reader lets go."""
    form: Any = (_Versioned if versioned else _Managed)()
    numbers = (c_int64 * max(1, 2 * len(memory.shape)))()
    step = 1
    for at in reversed(range(len(memory.shape))):
        numbers[at], numbers[len(memory.shape) + at] = memory.shape[at], step
        step *= memory.shape[at]
    start = ctypes.addressof(numbers)
    tensor = form.tensor
    tensor.data, tensor.ndim, tensor.byte_offset = memory.address, len(memory.shape), 0
    tensor.device = _Device(*memory.device)
    tensor.dtype = _Type(CODES[memory.dtype], 8 * memory.dtype.size, 1)
    tensor.shape = ctypes.cast(start, POINTER(c_int64))
    tensor.strides = ctypes.cast(start + 8 * len(memory.shape), POINTER(c_int64))
    form.deleter = ctypes.cast(_deleter, c_void_p)
    if versioned:
        form.major, form.minor = VERSION
        form.flags = READ_ONLY * memory.read_only | IS_COPIED * copied
    address = ctypes.addressof(form)
    _given[address] = (before, form, numbers, memory.owner)
    name = ctypes.cast(_names[type(form)], c_char_p)
    return _new(address, name, ctypes.cast(_destructor, c_void_p))


# --- taking -----------------------------------------------------------------------------------------------------------
class _Loan:
    """Tells the other library, when Python forgets it, that its memory is read no more."""

    def __init__(self, address: int, deleter: int | None):
        self.address, self.deleter = address, deleter

    def __del__(self, _ending: Callable[[], bool] = sys.is_finalizing):
        if self.deleter and not _ending():
            DELETER(self.deleter)(self.address)


def take(capsule: Any) -> Memory:
    """What a capsule describes; raises ExportError for one that was taken before, DTypeError for other numbers."""
    name = next((n for n in FORMS if _is(id(capsule), n)), None)
    if name is None:
        raise ExportError(
            f"from_dlpack: {capsule!r} is no fresh DLPack capsule; each can be taken once, ask for another"
        )
    address = _pointer(id(capsule), name)
    found: Any = FORMS[name].from_address(address)
    if name == b"dltensor_versioned" and found.major != VERSION[0]:
        raise ExportError(f"from_dlpack: DLPack {found.major}.{found.minor} is not {VERSION[0]}; ask with max_version")
    t = found.tensor
    kind = KINDS.get((t.dtype.code, t.dtype.bits))
    if kind is None or t.dtype.lanes != 1:
        raise DTypeError(
            f"from_dlpack: type code {t.dtype.code} of {t.dtype.bits} bits and {t.dtype.lanes} lanes is not one of "
            f"{', '.join(dt.BY_NAME)}; convert it before"
        )
    _rename(capsule, ctypes.cast(_used[name], c_char_p))
    shape = tuple(t.shape[i] for i in range(t.ndim))
    strides = tuple(t.strides[i] for i in range(t.ndim)) if t.strides else None
    read_only = name == b"dltensor_versioned" and bool(found.flags & READ_ONLY)
    at = (t.data or 0) + t.byte_offset
    return Memory(at, shape, strides, kind, (t.device.type, t.device.id), read_only, _Loan(address, found.deleter))


_used = {name: ctypes.create_string_buffer(b"used_" + name) for name in FORMS}
