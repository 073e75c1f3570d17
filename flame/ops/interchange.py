"""Tensors and the rest of the world: NumPy, DLPack, CUDA arrays, pickle and copy.

On the CPU memory is shared where the other side can promise not to write, or where it is the other side's own: FLAME
never writes to memory that somebody else sees.
"""

import contextlib
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from flame.errors import DeviceError, DTypeError, ExportError, GradError, ShapeError
from flame.ir import dtype as dt
from flame.ir.dtype import DType
from flame.ir.origins import user_line
from flame.ops.create import Where, _where, arange, tensor, zeros
from flame.ops.index import index_select
from flame.ops.method import method
from flame.ops.shape import reshape
from flame.runtime import cuda, devices, dlpack
from flame.runtime.buffer import Borrowed, Buffer
from flame.runtime.device import Device
from flame.tensor import Tensor, from_array, from_memory, memory

__all__ = ["as_tensor", "asarray", "from_dlpack", "from_numpy", "frombuffer", "map_location"]

WIDEST = 16  # bytes of one access of a CUDA kernel: memory that begins elsewhere is copied


# --- NumPy ------------------------------------------------------------------------------------------------------------
def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor of the array's memory on the CPU, where that is row-major; else, and on a GPU, of a copy.

    FLAME never writes there. What you write to the array later shows in the tensor, and in all that was made of it but
    not computed yet: use `flame.tensor(array)` for a copy. Raises DTypeError for what is no array of numbers.
    """
    if not isinstance(array, np.ndarray):
        raise DTypeError(f"from_numpy: needs a numpy.ndarray, got {type(array).__name__}; use flame.tensor(data)")
    kind, where = dt.of_numpy(array.dtype), devices.default()
    plain = array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative and array.size
    if where.type != "cpu" or not plain:
        return from_array(array, where)
    buffer = Borrowed(array.ctypes.data, array.nbytes, where.pool, array, user_line())
    return from_memory(buffer, array.shape, kind, where)


def frombuffer(buffer: Any, *, dtype: DType, count: int = -1, offset: int = 0, requires_grad: bool = False) -> Tensor:
    """A 1-d tensor of the bytes of an object such as bytes, bytearray, memoryview or array.array.

    It shares their memory as `from_numpy` does. Raises ShapeError where `count` elements from `offset` bytes on are not
    there.
    """
    size = memoryview(buffer).nbytes
    wanted = size - offset if count < 0 else count * dtype.size
    if not 0 <= offset <= size or wanted % dtype.size or offset + wanted > size or not size:
        raise ShapeError(
            f"frombuffer: {count} elements of {dtype} from byte {offset} on do not fit {size} bytes; "
            "count=-1 takes all, if they are whole elements"
        )
    made = from_numpy(np.frombuffer(buffer, dtype.numpy, count, offset))
    return made.requires_grad_() if requires_grad else made


def as_tensor(data: Any, dtype: DType | None = None, device: Where = None) -> Tensor:
    """`data` itself where it is a fitting tensor; else one that shares the memory of an array; else a new one.

    Takes what `flame.tensor` takes, and objects with `__cuda_array_interface__` or `__dlpack__`, whose memory is shared
    where they lie. Sharing is as `from_numpy` says.
    """
    if isinstance(data, Tensor):
        made = data
    elif isinstance(data, np.ndarray):
        fits = dtype is None or dtype.numpy == data.dtype
        shared = fits and _where(device) is devices.default()
        made = from_numpy(data) if shared else tensor(data, dtype=dtype, device=device)
    elif hasattr(data, "__cuda_array_interface__"):
        made = _of_cuda_array(data)
    elif hasattr(data, "__dlpack__") and not isinstance(data, np.generic):
        made = from_dlpack(data)
    else:
        return tensor(data, dtype=dtype, device=device)
    return made.to(dtype=dtype, device=device)


def asarray(
    obj: Any,
    *,
    dtype: DType | None = None,
    device: Where = None,
    copy: bool | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """`as_tensor`; with `copy` always a new one (True), or never (False: raises ExportError where one is needed)."""
    made = as_tensor(obj, dtype, device)
    if copy is False and not (made is obj or isinstance(memory(made), Borrowed)):
        raise ExportError(f"asarray: {type(obj).__name__} becomes such a tensor only by a copy; leave copy=None")
    if copy:
        made = _duplicate(made)
    return made.requires_grad_() if requires_grad else made


def _duplicate(input: Tensor) -> Tensor:
    """The same value in memory of its own."""
    source, device = memory(input), input.device
    made = device.pool.buffer(source.nbytes, user_line())
    if source.nbytes:
        device.duplicate(source.address, made)
    return from_memory(made, input.shape, input.dtype, device)


# --- DLPack and CUDA arrays -------------------------------------------------------------------------------------------
def from_dlpack(ext_tensor: Any, *, device: Where = None, copy: bool | None = None) -> Tensor:
    """A tensor of the memory of another library's array, or of a DLPack capsule; shared as `from_numpy` says.

    Row-major memory is shared where it lies; other memory is copied now, and all of it with `copy=True`. Work of the
    other library on its GPU stream comes first. Raises ExportError for devices FLAME does not know, or where
    `copy=False` cannot be; DTypeError for other dtypes.
    """
    given = dlpack.take(_capsule(ext_tensor))
    kind, number = given.device
    if kind not in (dlpack.CPU, dlpack.CUDA, dlpack.CUDA_HOST):
        raise ExportError(f"from_dlpack: device type {kind} is neither the CPU nor CUDA; copy the array there first")
    here = devices.get("cpu" if kind != dlpack.CUDA else f"cuda:{number}")
    made = _of_memory(given, here)
    if copy is False and not isinstance(memory(made), Borrowed):
        raise ExportError("from_dlpack: memory that is not row-major is copied; leave copy=None")
    made = _duplicate(made) if copy else made
    return made if device is None else made.to(device)


def _capsule(giver: Any) -> Any:
    """A capsule as it is, or the one that an array gives."""
    if type(giver).__name__ == "PyCapsule":
        return giver
    if not hasattr(giver, "__dlpack__"):
        raise DTypeError(f"from_dlpack: {type(giver).__name__} has no __dlpack__; use flame.tensor(data)")
    kind, number = giver.__dlpack_device__()
    more: dict[str, Any] = {}
    if kind == dlpack.CUDA:
        more["stream"] = _stream(devices.get(f"cuda:{number}"))
    try:
        return giver.__dlpack__(max_version=dlpack.VERSION, **more)
    except TypeError:  # from before version 1
        return giver.__dlpack__(**more)


def _stream(device: Device) -> int:
    return int(device.stream)  # pyright: ignore[reportAttributeAccessIssue]  a CUDA device has one


def _of_memory(given: dlpack.Memory, device: Device) -> Tensor:
    """A tensor of foreign memory: shared where it is row-major and aligned, else a copy."""
    shape, kind, size = given.shape, given.dtype, given.dtype.size
    if not prod(shape):
        return from_memory(device.pool.buffer(0, user_line()), shape, kind, device)
    if given.strides is None or _row_major(shape, given.strides):
        return from_memory(_shared(given.address, prod(shape) * size, size, given.owner, device), shape, kind, device)
    reach = [(count - 1) * step for count, step in zip(shape, given.strides)]
    low, high = sum(r for r in reach if r < 0), sum(r for r in reach if r > 0)
    nbytes = (high - low + 1) * size
    whole = _shared(given.address + low * size, nbytes, size, given.owner, device)
    place = zeros(1, dtype=dt.int64, device=device) - low
    for count, step in zip(shape, given.strides):
        place = place.unsqueeze(-1) + arange(count, device=device) * step
    flat = from_memory(whole, (high - low + 1,), kind, device)
    return reshape(index_select(flat, 0, reshape(place, (-1,))), shape).realize()


def _shared(address: int, nbytes: int, size: int, owner: Any, device: Device) -> Buffer:
    """Foreign memory as a buffer; a copy where kernels could not read it as widely as they do."""
    before = device.synchronize if device.type == "cuda" else None
    found = Borrowed(address, nbytes, device.pool, owner, user_line(), before)
    if address % (WIDEST if device.type == "cuda" else size) == 0:
        return found
    made = device.pool.buffer(nbytes, user_line())
    device.duplicate(address, made)
    found.free()
    return made


def _row_major(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    step = 1
    for count, by in zip(reversed(shape), reversed(strides)):
        if count != 1 and by != step:
            return False
        step *= count
    return True


def _of_cuda_array(data: Any) -> Tensor:
    """A tensor of the memory that `__cuda_array_interface__` describes."""
    said = data.__cuda_array_interface__
    kind = dt.of_numpy(np.dtype(said["typestr"]))
    strides = said.get("strides")
    if strides is not None:
        strides = tuple(by // kind.size for by in strides)
    address, read_only = said["data"]
    here = devices.get("cuda")  # the interface does not say which; NVIDIA's unified addresses are valid on the first
    given = dlpack.Memory(address, tuple(said["shape"]), strides, kind, (dlpack.CUDA, 0), read_only, data)
    cuda.synchronize()  # whoever writes it, on whatever stream, is done
    return _of_memory(given, here)


@method
def __dlpack_device__(self: Tensor) -> tuple[int, int]:  # noqa: N807  installed on Tensor
    """(device type, number) as DLPack counts them."""
    return (dlpack.CUDA, self.device.index or 0) if self.is_cuda else (dlpack.CPU, 0)


@method
def __dlpack__(  # noqa: N807  installed on Tensor
    self: Tensor,
    *,
    stream: int | None = None,
    max_version: tuple[int, int] | None = None,
    dl_device: tuple[int, int] | None = None,
    copy: bool | None = None,
) -> Any:
    """A DLPack capsule of the value.

    A reader of version 1 gets the tensor's own memory, marked read-only; one from before, who could not be told, and
    one who asks with `copy=True`, a copy of his own. All queued work is done when this returns, whatever the `stream`.
    Raises ExportError for a tensor that requires gradients, for another device than the tensor's or the CPU, and
    where `copy=False` cannot be.
    """
    if self.requires_grad:
        raise ExportError(
            "__dlpack__: the tensor requires gradients, which no other library follows; detach() it first"
        )
    source = self
    if dl_device is not None and tuple(dl_device) != __dlpack_device__(self):
        if tuple(dl_device) != (dlpack.CPU, 0) or copy is False:
            raise ExportError(f"__dlpack__: the tensor lies on {self.device.name}; move it to {dl_device} first")
        source, copy = self.cpu(), copy or False
    versioned = max_version is not None and max_version[0] >= 1
    if not versioned and copy is False and source is self:
        raise ExportError("__dlpack__: DLPack before version 1 cannot say that memory is read-only; leave copy=None")
    copied = copy or not versioned
    lent = memory(_duplicate(source) if copied else source)
    source.device.synchronize()
    shown = dlpack.Memory(
        lent.address, self.shape, None, self.dtype, __dlpack_device__(source), not copied, lent.lend()
    )
    return dlpack.give(shown, versioned, copied, _finish if source.is_cuda else _nothing)


def _nothing() -> None:
    pass


def _finish() -> None:
    """Before the pool has the memory again: the reader's kernels may still be at work."""
    with contextlib.suppress(Exception):  # the driver may be gone at exit
        cuda.synchronize()


def __cuda_array_interface__(self: Tensor) -> dict[str, Any]:  # noqa: N807  installed on Tensor
    """The address of the value on a GPU, for Numba, CuPy and others; read-only. AttributeError on the CPU.

    Whoever reads there must keep this tensor, unchanged. Its memory is not written again, even by an optimizer.
    """
    if not self.is_cuda:
        raise AttributeError(f"__cuda_array_interface__: the tensor lies on {self.device.name}")
    if self.dtype is dt.bfloat16:
        raise AttributeError("__cuda_array_interface__ cannot say bfloat16; use DLPack, or cast the tensor")
    buffer = memory(self)
    buffer.exposed = True
    self.device.synchronize()
    return {
        "version": 3,
        "shape": self.shape,
        "typestr": self.dtype.numpy.str,
        "data": (buffer.address, True),
        "strides": None,
        "stream": None,
    }


setattr(Tensor, "__cuda_array_interface__", property(__cuda_array_interface__))  # noqa: B010


# --- pickle and copy --------------------------------------------------------------------------------------------------
_location: str | None = None


@contextlib.contextmanager
def map_location(device: "str | Device") -> Iterator[None]:
    """Inside, unpickled tensors go to this device, wherever they were when they were pickled."""
    global _location
    before, _location = _location, str(device)
    try:
        yield
    finally:
        _location = before


def _made(cls: type[Tensor], flat: np.ndarray, shape: tuple[int, ...], dtype: DType, device: str, grad: bool) -> Tensor:
    """The tensor that was pickled; raises DeviceError, with the way out, where its device is not."""
    try:
        where = devices.get(_location or device)
    except DeviceError as problem:
        raise DeviceError(f"{problem}; or unpickle it under `with flame.map_location('cpu'):`") from None
    return _as(cls, from_array(flat.view(dtype.numpy).reshape(shape), where), grad)


def _as(cls: type[Tensor], value: Tensor, requires_grad: bool) -> Tensor:
    """A leaf of a class with the value of another leaf, which nobody else holds."""
    made = cls.__new__(cls)
    Tensor.__init__(made, value.node, value.device, requires_grad)
    return made


@method
def __reduce_ex__(self: Tensor, protocol: Any) -> tuple[Any, ...]:  # noqa: N807  installed on Tensor
    """The value, its device and whether it requires gradients; not its graph, nor its gradient."""
    flat = np.array(self.numpy()).reshape(-1).view(np.uint8)
    return _made, (type(self), flat, self.shape, self.dtype, self.device.name, self.requires_grad)


@method
def __copy__(self: Tensor) -> Tensor:  # noqa: N807  installed on Tensor
    """A leaf of its own with the same value; nothing is copied, since values do not change."""
    mine = memory(self)
    value = _duplicate(self) if isinstance(mine, Borrowed) else from_memory(mine, self.shape, self.dtype, self.device)
    return _as(type(self), value, self.requires_grad)


@method
def __deepcopy__(self: Tensor, memo: dict[int, Any]) -> Tensor:  # noqa: N807  installed on Tensor
    """A leaf of its own with the same value and a copy of the gradient; raises GradError for a computed tensor."""
    if not self.is_leaf:
        raise GradError("deepcopy of a computed tensor that requires gradients; detach() it first")
    made = memo[id(self)] = __copy__(self)
    if self.grad is not None:
        made.grad = __copy__(self.grad.detach())
    return made
