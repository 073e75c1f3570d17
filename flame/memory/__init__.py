"""Memory of devices: what is in use and by whom, and ways to need less."""

from flame.memory.statistics import (
    empty_cache,
    max_memory_allocated,
    max_memory_reserved,
    memory_allocated,
    memory_reserved,
    memory_stats,
    memory_summary,
    reset_peak,
    reset_peak_memory_stats,
)
from flame.memory.streaming import offload_modules

__all__ = [
    "empty_cache",
    "max_memory_allocated",
    "max_memory_reserved",
    "memory_allocated",
    "memory_reserved",
    "memory_stats",
    "memory_summary",
    "offload_modules",
    "reset_peak",
    "reset_peak_memory_stats",
]
