"""Regions in which operations choose the precision of their operands: `autocast`, as torch.autocast.

Casts are nodes like any other, made while the call is recorded (docs/design/008-autocast.md): dtypes are visible at
once, a weight that several calls read is cast once because equal nodes are one, and gradients flow back through them.
"""

import functools
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from flame.amp.lists import NAMES, TABLES, Policy
from flame.errors import DeviceError, DTypeError, FlameError
from flame.ir import dtype as dt
from flame.ir.dtype import DType
from flame.ops.elementwise import to_dtype
from flame.recording import Mode
from flame.tensor import Tensor

DEFAULT = {"cuda": dt.float16, "cpu": dt.bfloat16}  # PyTorch's
HALF = (dt.float16, dt.bfloat16)


@dataclass(frozen=True)
class Region:
    """What holds for the tensors of one kind of device."""

    dtype: DType
    table: Mapping[str, Policy]


class _State(threading.local):
    """Each thread has its own regions."""

    regions: Mapping[str, Region] = {}  # by type of device


_state = _State()


def _known(name: str, device_type: str) -> str:
    """The type of a device, "cuda" of "cuda:0"; raises DeviceError for one that FLAME has not."""
    kind = str(device_type).partition(":")[0]
    if kind not in TABLES:
        raise DeviceError(f"{name}: device_type {device_type!r} is unknown; choose from {', '.join(map(repr, TABLES))}")
    return kind


class autocast(Mode):  # noqa: N801  PyTorch's name
    """Inside, products run in `dtype` and what needs the range or the digits runs in float32 (torch.autocast).

    A context manager and a decorator; regions nest, and `enabled=False` cuts one out of another. `dtype` is bfloat16 on
    the CPU and float16 on "cuda" unless given; parameters keep theirs, and so do their gradients. Only tensors on
    `device_type` are cast. `cache_enabled` is accepted: equal casts are one node anyhow. Raises DTypeError for another
    dtype than the two half precisions.

    >>> a = flame.ones(2, 2)
    >>> with flame.autocast("cpu"):
    ...     y = a @ a
    >>> y.dtype, (a @ a).dtype
    (flame.bfloat16, flame.float32)
    """

    def __init__(
        self,
        device_type: str = "cuda",
        dtype: DType | None = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:
        self.device = _known("autocast", device_type)
        self.dtype = get_autocast_dtype(self.device) if dtype is None else dtype
        if enabled and self.dtype not in HALF:
            raise DTypeError(f"autocast: dtype is {self.dtype!r}; choose flame.bfloat16 or flame.float16")
        self.enabled = enabled
        self.before: list[Mapping[str, Region]] = []

    def __enter__(self) -> Self:
        self.before.append(_state.regions)
        others = {kind: region for kind, region in _state.regions.items() if kind != self.device}
        own = {self.device: Region(self.dtype, TABLES[self.device])} if self.enabled else {}
        _state.regions = {**others, **own}
        return self

    def __exit__(self, *_: object) -> None:
        _state.regions = self.before.pop()


def is_autocast_enabled(device_type: str | None = None) -> bool:
    """True inside an `autocast` region of this type of device; of any, where none is given."""
    if device_type is None:
        return bool(_state.regions)
    return _known("is_autocast_enabled", device_type) in _state.regions


def is_autocast_available(device_type: str) -> bool:
    """True for the types of devices that have lists: "cpu" and "cuda"."""
    return str(device_type) in TABLES


def get_autocast_dtype(device_type: str) -> DType:
    """The dtype to which the region casts, or would without another being named."""
    region = _state.regions.get(_known("get_autocast_dtype", device_type))
    return DEFAULT[_known("get_autocast_dtype", device_type)] if region is None else region.dtype


# --- calls ------------------------------------------------------------------------------------------------------------
def _tensors(given: Iterable[Any]) -> Iterable[Tensor]:
    """The tensors among arguments, and in their lists."""
    for a in given:
        if isinstance(a, Tensor):
            yield a
        elif isinstance(a, (list, tuple)):
            yield from _tensors(a)


def _eligible(t: Tensor, kind: str) -> bool:
    return t.dtype.is_float and t.dtype is not dt.float64 and t.device.type == kind


def _moved(given: Any, kind: str, dtype: DType) -> Any:
    """An argument with its eligible tensors cast."""
    if isinstance(given, Tensor):
        return to_dtype(given, dtype) if _eligible(given, kind) else given
    if isinstance(given, (list, tuple)) and any(True for _ in _tensors(given)):
        return type(given)(_moved(a, kind, dtype) for a in given)
    return given


def _goal(name: str, policy: Policy, region: Region, kind: str, given: list[Any]) -> DType | None:
    """The dtype to which a call's operands are cast, if any."""
    if policy is Policy.LOW:
        return region.dtype
    if policy is Policy.WIDE:
        return None if any(isinstance(a, DType) for a in given) else dt.float32
    if policy is Policy.WIDEST:
        alike = all(t.dtype is region.dtype for t in _tensors(given) if _eligible(t, kind))
        return region.dtype if alike else dt.float32
    if policy is Policy.REFUSED:
        raise DTypeError(
            f"{name}: is unsafe under autocast, whose results before it may overflow; give the logits to "
            "binary_cross_entropy_with_logits (BCEWithLogitsLoss), or leave the region: autocast(enabled=False)"
        )
    return None


def _cast_call(name: str, function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """A call inside a region: operands cast as the table says, and nothing cast within it."""
    given = [*args, *named.values()]
    regions = _state.regions
    kind = next((t.device.type for t in _tensors(given) if t.device.type in regions), None)
    if kind is not None:
        policy = regions[kind].table.get(name, Policy.WHOLE)
        goal = _goal(name, policy, regions[kind], kind, given)
        if goal is not None:
            args = tuple([_moved(a, kind, goal) for a in args])
            named = {key: _moved(a, kind, goal) for key, a in named.items()}
        elif policy is Policy.OPEN:
            return function(*args, **named)
    _state.regions = {}
    try:
        return function(*args, **named)
    finally:
        _state.regions = regions


def _listed(name: str, function: Callable[..., Any], home: str) -> Callable[..., Any]:
    """The public form of an operation that stands in a list: outside of regions, one look more."""

    @functools.wraps(function)
    def listed(*args: Any, **named: Any) -> Any:
        if not _state.regions:
            return function(*args, **named)
        return _cast_call(name, function, args, named)

    listed.__module__, listed.__qualname__ = home, name.rpartition(".")[2]  # where it is found when unpickled
    return listed


class Surface:
    """The public names of FLAME, of which those in the lists get their policy; operations know nothing of it.

    An operation that is found under several names has one public form.
    """

    def __init__(self) -> None:
        self._forms: dict[Callable[..., Any], Callable[..., Any]] = {}

    def cover(self, space: Any, prefix: str = "") -> None:
        """Put public forms into a module or a class; `prefix` is what its names have in the lists."""
        found = {name: it for name, it in vars(space).items() if callable(it) and not isinstance(it, type)}
        for name, function in found.items():
            if prefix + name in NAMES and function not in self._forms:
                home = space.__module__ if isinstance(space, type) else space.__name__
                self._forms[function] = _listed(prefix + name, function, home)
        for name, function in found.items():
            if function in self._forms:
                setattr(space, name, self._forms[function])


# --- functions with gradients of their own ----------------------------------------------------------------------------
def custom_fwd(
    fwd: Callable[..., Any] | None = None, *, device_type: str, cast_inputs: DType | None = None
) -> Callable[..., Any]:
    """For the `forward` of an `autograd.Function`: with `cast_inputs`, floating tensors come in that dtype and the
    region is left; without, forward runs in the caller's region. `backward` takes `custom_bwd`.
    """
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)
    kind, run = _known("custom_fwd", device_type), fwd

    @functools.wraps(fwd)
    def forward(ctx: Any, *args: Any, **named: Any) -> Any:
        ctx._dtype = get_autocast_dtype(kind)
        inside = is_autocast_enabled(kind)
        ctx._fwd_used_autocast = inside and cast_inputs is None
        if not inside or cast_inputs is None:
            return run(ctx, *args, **named)
        with autocast(kind, enabled=False):
            moved = [_moved(a, kind, cast_inputs) for a in args]
            return run(ctx, *moved, **{key: _moved(a, kind, cast_inputs) for key, a in named.items()})

    return forward


def custom_bwd(bwd: Callable[..., Any] | None = None, *, device_type: str) -> Callable[..., Any]:
    """For the `backward` of an `autograd.Function`: it runs in the region that `forward` ran in, or in none."""
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)
    kind, run = _known("custom_bwd", device_type), bwd

    @functools.wraps(bwd)
    def backward(ctx: Any, *grads: Any) -> Any:
        if not hasattr(ctx, "_fwd_used_autocast"):
            raise FlameError("custom_bwd: forward was not decorated; put custom_fwd before it")
        with autocast(kind, ctx._dtype, enabled=ctx._fwd_used_autocast):
            return run(ctx, *grads)

    return backward
