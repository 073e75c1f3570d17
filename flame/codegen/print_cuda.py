"""Kernels as Numba CUDA functions: the grid is blocks, the lanes are threads."""

from flame.codegen.printer import Printer
from flame.ir.loop import Gather, Kernel, Loop, Role


class CUDAPrinter(Printer):
    """A block of lanes takes a row, several rows, or a tile of free elements."""

    prelude = "flame.runtime.prelude_cuda"
    lanes_are_loops = False
    one_lane = "lane == 0"
    find = ("place = load2_int64(where, block() * 2)", "member = place[0]")
    head = ("n",)
    tables = ("address", "address", "address")

    def enter(self, at: Loop, k: Kernel) -> list[str]:
        lay, block = k.layout, "place[1]" if k.many else "block()"
        if at.role is Role.SPREAD:
            return ["lane = thread()", f"tile = {block} * {lay.span}"]
        g = at.var["name"]
        if lay.rows == 1:
            return ["lane = thread()", f"{g} = {block}"]
        if lay.across:
            return [
                f"lane = udiv32(thread(), {lay.rows})",
                f"{g} = {block} * {lay.rows} + umod32(thread(), {lay.rows})",
            ]
        return [f"lane = umod32(thread(), {lay.lanes})", f"{g} = {block} * {lay.rows} + udiv32(thread(), {lay.lanes})"]

    def again(self) -> list[str]:
        return ["barrier()"]

    def gather(self, acc: str, at: Gather, k: Kernel) -> list[str]:
        across = f"x{k.layout.rows}" if k.layout.across else ""
        return [f"{acc} = gather_{at.combine}_{at.acc.dtype}_{k.layout.lanes}{across}({acc})"]
