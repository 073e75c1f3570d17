"""Tiles of a CPU kernel: what one loop over a row computed, until a later loop over that row asks for it.

A tile is on the stack of the kernel, and every row uses it anew. So the rounds of the loop over rows are not
independent of one another there, as they are elsewhere: accesses to tiles have a group of their own, of which
cpu_compile promises independence for innermost loops only.
"""

from llvmlite import ir

from flame.runtime.math_cpu import TILE_GROUP

I8 = ir.IntType(8)


def put(b: ir.IRBuilder, index, x, tile: str, places: int) -> None:
    """tile[index] = x"""
    kept = b.zext(x, I8) if x.type == ir.IntType(1) else x
    _in_group(b, b.store(kept, _place(b, index, tile, kept.type, places)))


def get(b: ir.IRBuilder, index, tile: str, places: int, kind: ir.Type):
    """tile[index]"""
    truth = kind == ir.IntType(1)
    x = _in_group(b, b.load(_place(b, index, tile, I8 if truth else kind, places)))
    return b.icmp_unsigned("!=", x, ir.Constant(I8, 0)) if truth else x


def _place(b: ir.IRBuilder, index, tile: str, kind: ir.Type, places: int):
    name = f"flame.{tile}"
    found = next((i for i in b.function.entry_basic_block.instructions if i.name == name), None)
    if found is None:
        with b.goto_entry_block():
            found = b.alloca(ir.ArrayType(kind, places), name=name)
            found.align = 64
    return b.gep(found, [ir.Constant(ir.IntType(64), 0), index], inbounds=True)


def _in_group(b: ir.IRBuilder, access):
    access.set_metadata("llvm.access.group", b.module.add_metadata([TILE_GROUP]))
    return access
