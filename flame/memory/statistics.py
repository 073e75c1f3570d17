"""What a device's pool holds, under torch.cuda's names, and which of the user's lines holds it.

Bytes are those of blocks, which the pool rounds up; memory that a plan needs only while it runs counts while it runs.
"""

from typing import Any

from flame.runtime import devices
from flame.runtime.device import Device
from flame.runtime.pool import PoolStats, readable

Where = str | Device | None
SHOWN = 20  # lines in a summary


def _stats(device: Where) -> PoolStats:
    return find(device).pool.stats()


def find(device: Where) -> Device:
    """The device of that name; None is that of new tensors. Raises DeviceError where there is none."""
    if isinstance(device, Device):
        return device
    return devices.default() if device is None else devices.get(device)


def memory_stats(device: Where = None) -> dict[str, Any]:
    """Counters of a device's pool under torch.cuda.memory_stats' keys, and "lines": bytes held by each user's line.

    `device` is a name or a device; None is that of new tensors. Peaks are those since `reset_peak_memory_stats`.

    >>> held = flame.ones(1000, device="cpu").realize()
    >>> flame.memory_stats("cpu")["allocated_bytes.all.current"] >= 4000
    True
    """
    now = _stats(device)
    return {
        "allocated_bytes.all.current": now.in_use,
        "allocated_bytes.all.peak": now.peak,
        "reserved_bytes.all.current": now.reserved,
        "reserved_bytes.all.peak": now.peak_reserved,
        "allocation.all.current": now.buffers,
        "allocation.all.peak": now.peak_buffers,
        "allocation.all.allocated": now.allocations,
        "allocation.all.freed": now.allocations - now.buffers,
        "allocation.all.cached": now.hits,  # served without asking the driver
        "num_alloc_retries": now.retries,
        "lines": dict(now.lines),
    }


def memory_summary(device: Where = None) -> str:
    """A table to print: what is in use, reserved, at the peak, and which lines of the user's code hold how much."""
    now = _stats(device)
    rows = [
        ("in use", now.in_use, now.peak, f"{now.buffers} buffers, at most {now.peak_buffers}"),
        ("reserved", now.reserved, now.peak_reserved, f"{now.retries} times full"),
        ("cached", now.cached, None, f"{now.hits} of {now.allocations} requests served from it"),
    ]
    head = f"memory of {now.name}"
    out = [f"{head:<24} {'now':>11} {'peak':>11}"]
    for name, current, peak, note in rows:
        most = "" if peak is None else readable(peak)
        out.append(f"{name:<24} {readable(current):>11} {most:>11}  {note}")
    if now.lines:
        out += ["", f"{'held':>11} {'share':>6} {'buffers':>8}  made at"]
    lines = list(now.lines.items())
    for line, held in lines[:SHOWN]:
        out.append(f"{readable(held):>11} {held / now.in_use:>6.1%} {now.counts[line]:>8}  {line}")
    if len(lines) > SHOWN:
        rest = sum(held for _, held in lines[SHOWN:])
        count = sum(now.counts[line] for line, _ in lines[SHOWN:])
        out.append(f"{readable(rest):>11} {rest / now.in_use:>6.1%} {count:>8}  {len(lines) - SHOWN} other lines")
    return "\n".join(out)


def memory_allocated(device: Where = None) -> int:
    """Bytes in use."""
    return _stats(device).in_use


def max_memory_allocated(device: Where = None) -> int:
    """Most bytes that were in use at once since `reset_peak_memory_stats`."""
    return _stats(device).peak


def memory_reserved(device: Where = None) -> int:
    """Bytes that the driver gave: in use, or cached for the next request."""
    return _stats(device).reserved


def max_memory_reserved(device: Where = None) -> int:
    """Most bytes that the driver had given at once since `reset_peak_memory_stats`."""
    return _stats(device).peak_reserved


def reset_peak_memory_stats(device: Where = None) -> None:
    """Let the peaks start again from what is in use and reserved now."""
    find(device).pool.reset_peak()


reset_peak = reset_peak_memory_stats


def empty_cache(device: Where = None) -> None:
    """Give cached memory back to the driver; what is in use stays."""
    find(device).pool.trim()
