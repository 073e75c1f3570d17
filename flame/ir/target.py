"""What the compiler may assume about a machine. Plain data, so that passes stay pure."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Target:
    """A machine as the passes see it."""

    name: str  # picks the printer: "cpu" or "cuda"
    max_lanes: int = 1  # threads of one block
    carry: int = 0  # the longest row whose folds over rows stay in the registers of a block
    libraries: frozenset[str] = frozenset()  # routines that the runtime has
    cc: tuple[int, int] = (0, 0)  # CUDA compute capability
    declined: frozenset[Any] = frozenset()  # specs for which a library said that it has no algorithm
    tf32: bool = False  # float32 products may be rounded to tf32
    deterministic: bool = True  # libraries may only do what gives the same bits every time


CPU = Target("cpu", libraries=frozenset({"matmul", "argsort", "sorted", "places"}))
CUDA = Target(
    "cuda", max_lanes=256, carry=8192, libraries=frozenset({"matmul", "argsort", "sorted", "places"}), cc=(9, 0)
)
