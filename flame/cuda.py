"""torch.cuda's names for what a script asks about GPUs. Without one, memory is 0 and there is nothing to wait for."""

from collections.abc import Callable
from typing import Any

from flame import memory, positions
from flame.errors import DeviceError
from flame.memory.statistics import find
from flame.runtime import cuda, devices
from flame.runtime.device import Device

__all__ = [
    "current_device",
    "device_count",
    "empty_cache",
    "get_device_capability",
    "get_device_name",
    "is_available",
    "max_memory_allocated",
    "max_memory_reserved",
    "mem_get_info",
    "memory_allocated",
    "memory_reserved",
    "memory_stats",
    "memory_summary",
    "reset_peak_memory_stats",
    "synchronize",
]

Where = int | str | Device | None


def is_available() -> bool:
    """Whether there is a GPU to use."""
    return cuda.available()


def device_count() -> int:
    """How many GPUs there are."""
    return cuda.count()


def current_device() -> int:
    """The number of the GPU that new tensors go to where they go to a GPU."""
    return _gpu(None).index or 0


def _gpu(device: Where) -> Device:
    """A GPU by number, by name, or the one of new tensors; raises DeviceError for what is none."""
    if isinstance(device, int):
        device = f"cuda:{device}"
    if device is None:
        device = devices.default() if is_available() else "cuda"
        device = device if isinstance(device, str) or device.type == "cuda" else "cuda"
    found = find(device)
    if found.type != "cuda":
        raise DeviceError(f"cuda: {found.name} is no GPU; choose a number, 'cuda' or 'cuda:N'")
    return found


def synchronize(device: Where = None) -> None:
    """Wait for all work of a GPU; an error of a kernel, or a position out of range, is raised here."""
    found = _gpu(device)
    found.synchronize()
    positions.settle(found)


def get_device_name(device: Where = None) -> str:
    """What the driver calls a GPU."""
    return cuda.device(_gpu(device).index or 0).name


def get_device_capability(device: Where = None) -> tuple[int, int]:
    """The compute capability: (9, 0) is Hopper."""
    return cuda.device(_gpu(device).index or 0).cc


def mem_get_info(device: Where = None) -> tuple[int, int]:
    """Free and total bytes of a GPU, other processes counted."""
    cuda.use(_gpu(device).index or 0)
    return cuda.memory_info()


def _or(nothing: Any, ask: Callable[[Device], Any], device: Where) -> Any:
    """As torch.cuda: where no GPU can be used, a script that only asks gets nothing, and no error."""
    return ask(_gpu(device)) if is_available() else nothing


def memory_stats(device: Where = None) -> dict[str, Any]:
    """`flame.memory_stats` of a GPU."""
    return _or({}, memory.memory_stats, device)


def memory_summary(device: Where = None, abbreviated: bool = False) -> str:
    """`flame.memory_summary` of a GPU."""
    return _or("no GPU", memory.memory_summary, device)


def memory_allocated(device: Where = None) -> int:
    """Bytes in use."""
    return _or(0, memory.memory_allocated, device)


def max_memory_allocated(device: Where = None) -> int:
    """Most bytes in use at once since `reset_peak_memory_stats`."""
    return _or(0, memory.max_memory_allocated, device)


def memory_reserved(device: Where = None) -> int:
    """Bytes that the driver gave."""
    return _or(0, memory.memory_reserved, device)


def max_memory_reserved(device: Where = None) -> int:
    """Most bytes that the driver had given at once since `reset_peak_memory_stats`."""
    return _or(0, memory.max_memory_reserved, device)


def reset_peak_memory_stats(device: Where = None) -> None:
    """Let the peaks start again."""
    _or(None, memory.reset_peak_memory_stats, device)


def empty_cache() -> None:
    """Give cached memory of every GPU back to the driver."""
    for number in range(device_count()):
        memory.empty_cache(_gpu(number))
