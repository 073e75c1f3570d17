"""Kernels as Numba CUDA functions: the grid is blocks, the lanes are threads."""

from flame.codegen.printer import Printer
from flame.ir.ahead import turns
from flame.ir.loop import Gather, Kernel, Loop, Role

WARP = 32


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
        if lay.cluster > 1:
            lane = f"lane = umod32(block(), {lay.cluster}) * {lay.lanes} + thread()"
            return [lane, f"{g} = udiv32(block(), {lay.cluster})", "arrive()"]
        if lay.rows == 1:
            return ["lane = thread()", f"{g} = {block}"]
        if turns(k) is not None:
            lane = f"lane = umod32(thread(), {lay.lanes})"
            return [lane, f"part = udiv32(thread(), {lay.lanes})", f"{g} = {block}"]
        if lay.across:
            return [
                f"lane = udiv32(thread(), {lay.rows})",
                f"{g} = {block} * {lay.rows} + umod32(thread(), {lay.rows})",
            ]
        return [f"lane = umod32(thread(), {lay.lanes})", f"{g} = {block} * {lay.rows} + udiv32(thread(), {lay.lanes})"]

    def leave(self, k: Kernel) -> list[str]:
        return ["wait()"] if k.layout.cluster > 1 else []

    def again(self, k: Kernel) -> list[str]:
        lay = k.layout
        meet = lay.lanes * (lay.rows if lay.across else 1) > WARP
        return ["barrier()"] if meet and lay.cluster == 1 else []

    def gather(self, accs: list[str], at: Gather, k: Kernel) -> list[str]:
        lay, kind = k.layout, f"{at.combine}_{at.acc.dtype}_{k.layout.lanes}"
        if len(accs) > 1 and not lay.across and lay.cluster == 1:
            met = f"met = gather{len(accs)}_{kind}({', '.join(accs)})"
            return [met, *(f"{acc} = met[{i}]" for i, acc in enumerate(accs))]
        across = f"x{lay.rows}" if lay.across else f"c{lay.cluster}" if lay.cluster > 1 else ""
        return [f"{acc} = gather_{kind}{across}({acc})" for acc in accs]
