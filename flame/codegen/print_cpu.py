"""Kernels as Numba CPU functions: a thread takes a part of the grid, a block has one lane."""

from flame.codegen.printer import Printer
from flame.ir.loop import Fold, Gather, Kernel, Loop, Role


class CPUPrinter(Printer):
    """One lane: a row is a plain loop, which LLVM vectorises."""

    prelude = "flame.runtime.prelude_cpu"
    lanes_are_loops = True
    one_lane = None
    find = ("for member in range(first, last):",)
    head = ("begin", "end")
    tables = ("address", "address")

    def arguments(self, k: Kernel) -> list[str]:
        return ["first", "last", "n", "sizes", "table"] if k.many else ["begin", "end", *super().arguments(k)]

    def enter(self, at: Loop, k: Kernel) -> list[str]:
        name = at.var["name"] if at.role is Role.GRID else "r0"
        return [f"for {name} in range(begin, end):"]

    def fold(self, at: Fold, acc: str, value: str) -> str:
        return f"fold_{at.combine}_{at.acc.dtype}({acc}, {value})"  # in any order: LLVM may vectorise it

    def gather(self, accs: list[str], at: Gather, k: Kernel) -> list[str]:
        return []
