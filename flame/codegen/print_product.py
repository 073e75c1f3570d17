"""A matrix product on Hopper's tensor cores, as Numba source: one group of threads brings operands, two multiply.

Tiles of both operands arrive in shared memory by tensor maps, several stages ahead, swizzled so that no bank is asked
twice; each stage has a barrier that counts arriving bytes and one that counts its readers. The products are
asynchronous (`wgmma`): one step is multiplied while the next is awaited. What is done with each element of the result
is an ordinary kernel whose one load is the accumulators, its epilogue, spelled as every kernel is.

Of each piece of 64 rows a lane has two neighbours in every 8 columns, in row `16 warp + lane / 4` and in the one 8
below (PTX ISA, the accumulator fragment of wgmma): items of vectors of two.
"""

import re
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import product

from flame.codegen.spell import Speller
from flame.ir.dtype import DType, by_name
from flame.ir.library import FinishedSpec, MatmulSpec
from flame.ir.loop import Kernel, Layout, Loop, Param, Store, scalars
from flame.ir.node import Node
from flame.ir.plan import Code
from flame.ir.tile import ATOM, GROUPS, TILES, Tile, fits, shape

SWIZZLED = (64 << 32) | (1 << 62)  # a descriptor of shared memory: 8 rows of 128 bytes follow one another, swizzled
ALONG_K = SWIZZLED | (1 << 16)
ALONG_OWN = SWIZZLED | (512 << 16)  # the next 64 elements of the own axis are 8192 bytes away
PIECE_ITEMS = ATOM // 8  # items that a lane has in one row of a piece
THREADS = 128 * (GROUPS + 1)
PRELUDE = "flame.runtime.prelude_cuda"
SIZES = ("across", "down", "step", "steps", "left_batch", "right_batch", "height")  # what a launch tells beside maps


@dataclass(frozen=True, slots=True)
class Form:
    """What the text of a product depends on beside its tile and its epilogue: never on its sizes."""

    dtype: DType
    left: str  # the axis along which the left operand lies side by side: "k" or "m"
    right: str  # "k" or "n"
    result: DType  # of what leaves by a tensor map


@dataclass(frozen=True, slots=True)
class Epilogue:
    """What is stored for element (g, r) of a product: `kernel` is written for it, `value` is the product's own."""

    kernel: Kernel
    value: Node
    staged: Store | None  # the one store that leaves by shared memory and a tensor map


def source(name: str, form: Form, tile: Tile, epilogue: Epilogue | None = None) -> str:
    """The module of one kernel; its parameters are `arguments(epilogue)`."""
    made = _Product(form, tile, epilogue)
    made.print()
    parts = ["\n".join([f"def {name}({', '.join(arguments(epilogue))}):", *made.lines])]
    if epilogue is not None:
        parts.insert(0, element(epilogue))
    used = set(re.findall(r"\b([a-z_]\w*)\(", "\n".join(parts))) - {"range", "element", name}
    head = ", ".join(sorted(used | ({"device"} if epilogue is not None else set())))
    return f"from {PRELUDE} import {head}\n\n\n" + "\n\n\n".join(parts) + "\n"


def arguments(epilogue: Epilogue | None) -> list[str]:
    """The parameters of a printed product: how many tiles, three tensor maps, sizes, and those of its epilogue."""
    more = [] if epilogue is None else [p.name for p in epilogue.kernel.params]
    return ["n", "left", "right", "out", *SIZES, *more]


def codes(spec: MatmulSpec | FinishedSpec) -> tuple[tuple[Tile, Code], ...]:
    """The printed ways to do a product, one for each tile; none where tensor cores cannot."""
    of, epilogue = (spec.product, _epilogue(spec)) if isinstance(spec, FinishedSpec) else (spec, None)
    found = shape(of)
    if found is None:
        return ()
    dtype = result = by_name(of.dtype)
    if epilogue is not None and epilogue.staged is not None:
        result = next(p.dtype for p in epilogue.kernel.params if p.name == epilogue.staged.param)
    form = Form(dtype, found.left, found.right, result)
    tiles = [t for t in TILES if fits(t, found)] if epilogue is None else [t for t in TILES if t.cluster == 1]
    return tuple((tile, code(form, tile, epilogue)) for tile in tiles)


def _epilogue(spec: FinishedSpec) -> Epilogue:
    return Epilogue(spec.rows, spec.value, spec.staged)


def code(form: Form, tile: Tile, epilogue: Epilogue | None = None) -> Code:
    """A printed product, named by its content."""
    text = source("product", form, tile, epilogue)
    name = f"product_{sha256(text.encode()).hexdigest()[:8]}"
    more = () if epilogue is None else (_kind(p) for p in epilogue.kernel.params)
    signature = ("map",) * 3 + ("int64",) * len(SIZES) + tuple(more)
    text = text.replace("def product(", f"def {name}(")
    return Code(name, text, signature, 0, 0, THREADS, 0, shared=tile.shared, cluster=tile.cluster)


def _kind(p: Param) -> str:
    return p.dtype.register.name if p.by_value else "address"


class _Product:
    """The state of printing one product."""

    def __init__(self, form: Form, tile: Tile, epilogue: Epilogue | None):
        self.form, self.tile, self.epilogue = form, tile, epilogue
        self.lines: list[str] = []
        self.pad = 1

    def emit(self, *lines: str) -> None:
        self.lines += ["    " * self.pad + line for line in lines]

    def print(self) -> None:
        t = self.tile
        self.emit(
            "base = tile_memory()",
            f"staging = base + {t.stages * t.stage}",
            f"full = staging + {GROUPS * t.staging * t.piece}",
            f"free = full + {8 * t.stages}",
            "lane = thread()",
            "group = lane >> 7",
            "if lane == 0:",
            f"    for i in range({t.stages}):",
            "        count_new(full + 8 * i, 1)",
            f"        count_new(free + 8 * i, {(1 if t.alternate else GROUPS) * t.cluster})",
            "    counts_ready()",
            "barrier()",
            *(["cluster_barrier()"] if t.cluster > 1 else []),
            f"rank = {'cluster_rank()' if t.cluster > 1 else '0'}",
            f"tile = {f'udiv32(block(), {t.cluster})' if t.cluster > 1 else 'block()'}",
            "if group == 0:",
            "    few_registers()",
            "    if lane == 0:",
        )
        self.pad += 2
        self.bring()
        self.pad -= 2
        self.emit("else:", "    many_registers()")
        self.pad += 1
        self.multiply()
        self.pad -= 1
        if t.cluster > 1:
            self.emit("cluster_barrier()")

    def place(self) -> None:
        """Which tile of which product this is: bands of `group` rows of tiles, column by column."""
        t = self.tile
        self.emit(
            "batch = udiv32(tile, across * down)",
            "t = tile - batch * across * down",
            f"band = udiv32(t, {t.group} * across)",
            f"t -= band * {t.group} * across",
            f"tall = select(down - band * {t.group} < {t.group}, down - band * {t.group}, {t.group})",
            f"row = ((band * {t.group} + umod32(t, tall)) * {t.cluster} + rank) * {t.rows}",
            f"column = udiv32(t, tall) * {t.columns}",
        )

    def next_stage(self) -> None:
        self.emit("s += 1", f"if s == {self.tile.stages}:", "    s = 0", "    turn = 1 - turn")

    # --- operands -----------------------------------------------------------------------------------------------------
    def bring(self) -> None:
        """One thread asks for the operands of each step as soon as all have read what its stage held before."""
        t = self.tile
        self.emit("map_prefetch(left)", "map_prefetch(right)", "map_prefetch(out)", "s = 0", "turn = 1")
        self.emit("while tile < n:")
        self.pad += 1
        self.place()
        self.emit("for k in range(steps):")
        self.pad += 1
        self.emit(
            "count_wait(free + 8 * s, turn)",
            f"count_bytes(full + 8 * s, {t.stage})",
            f"at = base + s * {t.stage}",
        )
        self.operand("left", self.form.left, "row", t.rows, 0)
        self.operand("right", self.form.right, "column", t.columns, t.left)
        self.next_stage()
        self.pad -= 1
        self.emit("tile += step")
        self.pad -= 1

    def operand(self, name: str, along: str, first: str, count: int, offset: int) -> None:
        """Ask for `count` rows or columns of one step; blocks of a cluster bring a share each, for all of them."""
        shares = self.tile.cluster if name == "right" else 1
        batch = f"batch * {name}_batch"
        if shares > 1:
            share = count // shares
            here, mine = f"at + {offset} + rank * {share * ATOM * 2}", f"{first} + rank * {share}"
            self.emit(f"map_load_all({name}, {here}, full + 8 * s, k * {ATOM}, {mine}, {batch})")
        elif along == "k":
            self.emit(f"map_load({name}, at + {offset}, full + 8 * s, k * {ATOM}, {first}, {batch})")
        else:
            for p in range(count // ATOM):
                here = f"at + {offset + p * ATOM * ATOM * 2}, full + 8 * s, {first} + {p * ATOM}"
                self.emit(f"map_load({name}, {here}, k * {ATOM}, {batch})")

    # --- products -----------------------------------------------------------------------------------------------------
    def multiply(self) -> None:
        t = self.tile
        self.emit("w = group - 1", "inside = lane & 127", "warp = inside >> 5", "lane = inside & 31")
        self.emit(
            f"mine = staging + w * {t.staging * t.piece}",
            "put = mine + (warp * 16 + ((lane >> 3) & 1) * 8 + (lane & 7)) * 128",
            "chunk = lane >> 4",
            "s = 0",
            "turn = 0",
        )
        if t.alternate:
            self.emit("tile += w * step", "if w == 1:", "    turn_give(3)")
            self.skip("w * steps")
        self.emit("while tile < n:")
        self.pad += 1
        self.place()
        self.steps()
        for m, piece in product(range(t.high), range(t.columns // ATOM)):
            self.finish(m, piece)
        if t.alternate:
            self.skip("steps")
        self.emit(f"tile += {'2 * ' if t.alternate else ''}step")
        self.pad -= 1
        self.emit("if inside == 0:", "    store_done()")

    def skip(self, count: str) -> None:
        """Leave out the stages of the other group's tile."""
        stages = self.tile.stages
        self.emit(f"s += {count}", f"turn = (turn + udiv32(s, {stages})) & 1", f"s = umod32(s, {stages})")

    def steps(self) -> None:
        """All steps along k into the accumulators; a stage is free again when the products after it have begun."""
        t, form = self.tile, self.form
        high = range(t.high)
        self.emit(*(f"c{m} = accumulators_{t.columns}()" for m in high), "last = 0")
        if t.alternate:
            self.emit("turn_wait(3 + w)")
        self.emit("for k in range(steps):")
        self.pad += 1
        first = "at" if t.alternate else f"at + w * {t.high * t.piece}"
        self.emit(
            "count_wait(full + 8 * s, turn)",
            f"at = base + s * {t.stage}",
            f"x = {ALONG_K if form.left == 'k' else ALONG_OWN} | (({first}) >> 4)",
            f"y = {ALONG_K if form.right == 'k' else ALONG_OWN} | ((at + {t.left}) >> 4)",
            "wgmma_fence()",
        )
        deep = {True: 2, False: 128}  # sixteen bytes units to the next 16 elements of k
        for q, m in product(range(ATOM // 16), high):
            x, y = q * deep[form.left == "k"] + m * t.piece // 16, q * deep[form.right == "k"]
            more = "k" if q == 0 else "1"
            self.emit(f"c{m} = wgmma_{form.dtype}_{t.columns}_{form.left}{form.right}(c{m}, x + {x}, y + {y}, {more})")
        self.emit("wgmma_commit()", *(f"c{m} = wgmma_wait1_{t.columns}(c{m})" for m in high), "if k > 0:")
        self.release("    ")
        self.emit("last = s")
        self.next_stage()
        self.pad -= 1
        if t.alternate:
            self.emit("turn_give(4 - w)")
        self.emit(*(f"c{m} = wgmma_wait0_{t.columns}(c{m})" for m in high))
        self.release("")

    def release(self, pad: str) -> None:
        cluster = self.tile.cluster
        who, how = ("== 0", "count_one(free + 8 * last)")
        if cluster > 1:
            who, how = (f"< {cluster}", "count_one_at(free + 8 * last, inside)")
        self.emit(f"{pad}if inside {who}:", f"{pad}    {how}")

    # --- results ------------------------------------------------------------------------------------------------------
    def finish(self, m: int, piece: int) -> None:
        """Store 64 x 64 elements: one result through shared memory, others where they belong."""
        t, epilogue = self.tile, self.epilogue
        number = m * (t.columns // ATOM) + piece
        buffer, first = f"{number % t.staging * t.piece}", "0" if t.alternate else f"w * {t.high * 64}"
        self.emit(f"top = row + {first} + {m * 64}")
        if epilogue is not None:
            self.rows()
        staged = epilogue is None or epilogue.staged is not None
        if staged:
            self.emit("if inside == 0:", f"    store_wait{t.staging - 1}()", "group_barrier(1 + w)")
        for p in range(PIECE_ITEMS // 2):
            items = [(PIECE_ITEMS * piece + j, half) for j in (2 * p, 2 * p + 1) for half in (0, 1)]
            pairs = [f"c{m}[{4 * j + 2 * half}], c{m}[{4 * j + 2 * half + 1}]" for j, half in items]
            if epilogue is not None:
                pairs = [self.element(pair, *item) for pair, item in zip(pairs, items, strict=True)]
            if staged:
                where = f"put + {buffer} + (((chunk + {2 * p}) ^ (lane & 7)) << 4)"
                self.emit(f"stmatrix_{self.form.result}({where}, {', '.join(pairs)})")
        if staged:
            self.emit(
                "shared_written()",
                "group_barrier(1 + w)",
                "if inside == 0:",
                f"    map_store(out, mine + {buffer}, column + {piece * ATOM}, top, batch)",
                "    store_commit()",
            )

    def rows(self) -> None:
        """Where this lane's elements are: two rows, and the first of its columns."""
        self.emit("edge = column + (lane & 3) * 2")
        for half in (0, 1):
            self.emit(f"here = top + warp * 16 + (lane >> 2) + {8 * half}", f"g{half} = batch * height + here")
            self.emit(f"there{half} = here < height")

    def element(self, pair: str, j: int, half: int) -> str:
        """Let two neighbours go through the epilogue; what is left of them to store."""
        assert self.epilogue is not None
        r = f"edge + {8 * j}"
        more = "".join(f", {p.name}" for p in self.epilogue.kernel.params)
        call = f"element({pair}, g{half}, {r}, ({r} < {_row(self.epilogue.kernel).extent}) & there{half}{more})"
        if self.epilogue.staged is None:
            self.emit(call)
            return ""
        name = f"x{2 * (j % 2) + half}"
        self.emit(f"{name} = {call}")
        return f"{name}[0], {name}[1]"


def _row(kernel: Kernel) -> Loop:
    (row,) = (s for s in kernel.outer.body if isinstance(s, Loop))
    return row


def element(epilogue: Epilogue) -> str:
    """The function of two neighbours `x0, x1` of a product, at row `g` and column `r0`, if `ok0`."""
    kernel, row = replace(epilogue.kernel, layout=Layout(lanes=4, vector=2, kept=True)), _row(epilogue.kernel)
    lines: list[str] = []
    sp = Speller(kernel, lines.append, wide=True)
    sp.enter(row.var)
    sp.count_reads(v for s in row.body for v in scalars(s))
    sp.guards[0] = "ok0"
    for e in (0, 1):
        sp.names[epilogue.value, 0, e] = f"x{e}"
    result = "0"
    for s in row.body:
        assert isinstance(s, Store)
        dtype, values = sp.types[s.param], [sp.text(s.value, 0, e) for e in (0, 1)]
        if s is epilogue.staged:
            result = ", ".join(values)
        elif sp.side_by_side(s.index):
            lines.append(f"store2_{dtype}_if({s.param}, {sp.text(s.index)}, {', '.join(values)}, ok0)")
        else:
            lines += [f"store1_{dtype}_if({s.param}, {sp.text(s.index, 0, e)}, {v}, ok0)" for e, v in enumerate(values)]
    body = "\n".join(f"    {line}" for line in [*lines, f"return {result}"])
    return (
        f"@device\ndef element({', '.join(['x0', 'x1', 'g', 'r0', 'ok0', *(p.name for p in kernel.params)])}):\n{body}"
    )
