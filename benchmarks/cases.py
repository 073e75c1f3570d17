"""The cases of `kernels.py`: what is computed, of which operands; each written once for FLAME, torch and JAX.

A case's function takes a library (see peers.py: one vocabulary, PyTorch's names) and its operands. Nothing is imported
here, so that tests may compile every case where there is no torch.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any

Function = Callable[..., Any]
Shape = tuple[int, ...]
FULL, HALF = "float32", "bfloat16"
SIZES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2, "int64": 8, "bool": 1}


@dataclass(frozen=True)
class Operand:
    """`kind` is normal, positive, bool, or an index below `high`: uniform ("index") or a few often ("frequent")."""

    shape: Shape
    kind: str = "normal"
    high: int = 0
    dtype: str = ""  # the case's own where empty

    def of(self, dtype: str) -> str:
        fixed = {"index": "int64", "frequent": "int64", "bool": "bool"}
        return self.dtype or fixed.get(self.kind, dtype)


@dataclass(frozen=True)
class Case:
    """One line of the table. With `wrt`, the gradients of the first `wrt` operands are what is computed."""

    family: str
    what: str
    function: Function
    operands: tuple[Operand, ...]
    dtype: str
    wrt: int = 0
    moved: int | None = None  # bytes that must move, where they are not each operand and each result once
    compare: Function | None = None  # (library, result, *operands) -> what is equal for all right results
    compiled: bool = True  # torch.compile and JAX take part
    tuned: bool = False  # and torch.compile in mode max-autotune
    loose: float = 1.0  # times the usual tolerance

    @property
    def name(self) -> str:
        shape = "x".join(map(str, self.operands[0].shape))
        return f"{self.what} {shape} {self.dtype}"


def of(*shapes: Shape, **more: Any) -> tuple[Operand, ...]:
    return tuple(Operand(s, **more) for s in shapes)


# --- elementwise ------------------------------------------------------------------------------------------------------
def gated(lib: Any, x: Any, y: Any, gate: Any) -> Any:
    return x + gate * y


def eight(lib: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any) -> Any:
    return a * b + c * d - e * f + g * h


def branches(lib: Any, x: Any, y: Any) -> Any:
    inner = lib.where(x > 1.0, x * 2.0, lib.where(x < -1.0, y, x * y))
    return lib.where((y > 0.5) & (x < 0.5), inner, lib.where(y < -0.5, -x, x + y))


def transcendental(lib: Any, x: Any) -> Any:
    return lib.sin(x) * lib.cos(x * 0.5) + lib.exp(-x * x) + lib.log1p(lib.abs(x)) * lib.tanh(x)


CHAINS: dict[str, tuple[Function, str]] = {  # and the shapes of the operands: x, row, column, 3 (a batch's rows)
    "scale_shift": (lambda lib, x, w, b: x * w + b, "x row row"),
    "silu(x w + b)": (lambda lib, x, w, b: lib.silu(x * w + b), "x row row"),
    "(x - m) r": (lambda lib, x, m, r: (x - m) * r, "x column column"),
    "row and column": (lambda lib, x, w, m: x * w + m, "x row column"),
    "gelu": (lambda lib, x: lib.gelu(x), "x"),
    "gelu tanh": (lambda lib, x: lib.gelu(x, approximate="tanh"), "x"),
    "swiglu": (lambda lib, x, y: lib.silu(x) * y, "x x"),
    "gated residual": (gated, "x x row"),
    "eight inputs": (eight, "x x x x x x x x"),
    "where-heavy": (branches, "x x"),
    "transcendental": (transcendental, "x"),
    "cast": (lambda lib, x: lib.to(x, HALF if lib.name_of(x) == FULL else FULL), "x"),
}
LARGE, ODD, TINY, HUGE = (16384, 4096), (4099, 4097), (64, 1024), (131072, 8192)
HUGE_CHAINS = ("scale_shift", "gelu", "cast")


def chains(scale: int) -> Iterator[Case]:
    for what, (function, shapes) in CHAINS.items():
        for size in (LARGE, ODD, TINY, *([HUGE] if what in HUGE_CHAINS else [])):
            rows, columns = size[0] if size is TINY else max(1, size[0] // scale), size[1]
            kinds = {"x": (rows, columns), "row": (columns,), "column": (rows, 1)}
            given = of(*(kinds[word] for word in shapes.split()))
            for dtype in (FULL, HALF):
                yield Case("elementwise", what, function, given, dtype, compiled=size is not HUGE)
            if size is LARGE and what in ("swiglu", "gelu"):
                yield Case("elementwise", what, function, given, "float16", compiled=False)


# --- rows -------------------------------------------------------------------------------------------------------------
def group_norm(lib: Any, x: Any, w: Any, b: Any) -> Any:
    return lib.group_norm(x, 4, w, b)


def masked_softmax(lib: Any, x: Any, mask: Any) -> Any:
    return lib.softmax(lib.where(mask, x * 0.125, -30000.0), -1)


def residual(lib: Any, x: Any, y: Any, w: Any) -> Any:
    total = x + y
    return total, lib.rms_norm(total, w.shape, w, 1e-6)


def modulated(lib: Any, x: Any, scale: Any, shift: Any) -> Any:
    return lib.silu(lib.layer_norm(x, x.shape[-1:]) * (1.0 + scale) + shift)


def bias_softmax(lib: Any, x: Any, bias: Any) -> Any:
    return lib.softmax(x + bias, -1)


ROWS: dict[str, tuple[Function, str, int]] = {  # shapes of the operands, and of how many there are gradients
    "softmax": (lambda lib, x: lib.softmax(x, -1), "x", 1),
    "log_softmax": (lambda lib, x: lib.log_softmax(x, -1), "x", 1),
    "cross_entropy": (lambda lib, x, t: lib.cross_entropy(x, t), "x target", 1),
    "layer_norm": (lambda lib, x, w, b: lib.layer_norm(x, w.shape, w, b), "x row row", 3),
    "rms_norm": (lambda lib, x, w: lib.rms_norm(x, w.shape, w, 1e-6), "x row", 2),
    "group_norm": (group_norm, "groups channel channel", 3),
    "instance_norm": (lambda lib, x: lib.group_norm(x, x.shape[1]), "images", 1),
    "masked softmax": (masked_softmax, "x mask", 1),
    "residual rms_norm": (residual, "x x row", 3),
    "modulated layer_norm": (modulated, "x row row", 3),
}
LENGTHS = (64, 77, 768, 1152, 4096, 8192, 32768, 131072)
COMPILED_ROWS = [*((n, HALF) for n in (77, 1152, 8192, 131072)), (1152, FULL), (131072, FULL)]
ELEMENTS = 1 << 26


def row_operands(shapes: str, rows: int, length: int) -> tuple[Operand, ...]:
    """group_norm has four groups of 8 channels (one where the length is odd), instance_norm 16 channels."""
    channels = 8 if length % 8 == 0 else 1
    kinds = {
        "x": Operand((rows, length)),
        "row": Operand((length,)),
        "mask": Operand((rows, length), "bool"),
        "target": Operand((rows,), "index", length),
        "groups": Operand((max(1, rows // 4), 4 * channels, length // channels)),
        "channel": Operand((4 * channels,)),
        "images": Operand((max(1, rows // 16), 16, length)),
    }
    return tuple(kinds[word] for word in shapes.split())


def rows(scale: int) -> Iterator[Case]:
    for length in LENGTHS:
        for what, (function, shapes, wrt) in ROWS.items():
            given = row_operands(shapes, max(16, ELEMENTS // scale // length), length)
            for dtype in (FULL, HALF):
                peers = {"compiled": (length, dtype) in COMPILED_ROWS, "tuned": length in (1152, 131072)}
                yield Case("rows", what, function, given, dtype, **peers)
                loose = 4.0 if dtype == HALF else 1.0  # each step rounds to bfloat16, as PyTorch's do
                yield Case("rows backward", f"{what} backward", function, given, dtype, wrt, loose=loose, **peers)
    for what in ("softmax", "layer_norm", "rms_norm"):  # launch-bound, and half in its other form
        function, shapes, wrt = ROWS[what]
        small = Case("rows", what, function, row_operands(shapes, 64, 1024), HALF)
        yield from (small, replace(small, family="rows backward", what=f"{what} backward", wrt=wrt))
        yield Case("rows", what, function, row_operands(shapes, ELEMENTS // scale // 4096, 4096), "float16")


# --- reductions -------------------------------------------------------------------------------------------------------
def several(lib: Any, x: Any) -> Any:
    return lib.sum(x, -1), lib.amax(x, -1), lib.sum(x * x, -1), lib.sum(x * 2.0 + 1.0, -1)


def middle(lib: Any, x: Any) -> Any:
    rows, columns = x.shape
    part = next(p for p in (64, 4, 1) if rows % p == 0 and rows > p)
    return lib.sum(x.reshape(part, rows // part, columns), 1)


def at_argmax(axis: int) -> Function:
    return lambda lib, out, x: lib.amax(lib.gather(x, axis, lib.unsqueeze(out, axis)), axis)


REDUCTIONS: dict[str, tuple[Function, Function | None]] = {
    "sum of all": (lambda lib, x: lib.sum(x), None),
    "sum of rows": (lambda lib, x: lib.sum(x, -1), None),
    "sum of columns": (lambda lib, x: lib.sum(x, 0), None),
    "sum of a middle axis": (middle, None),
    "variance of columns": (lambda lib, x: lib.var(x, 0), None),
    "argmax of rows": (lambda lib, x: lib.argmax(x, -1), at_argmax(-1)),
    "norm of all": (lambda lib, x: lib.sqrt(lib.sum(x * x)), None),
    "four of one input": (several, None),
}
REDUCED = {(16384, 4096): True, (8, 1 << 23): True, (1 << 20, 64): True, (4099, 4097): False, (64, 1024): True}


def reductions(scale: int) -> Iterator[Case]:
    for what, (function, compare) in REDUCTIONS.items():
        for (a, b), compiled in REDUCED.items():
            shape = (a, max(64, b // scale)) if a == 8 else (max(64, a // scale), b)
            for dtype in (FULL, HALF):
                peers = {"compiled": compiled and (dtype == HALF or a == 16384), "tuned": a == 16384}
                yield Case("reduction", what, function, of(shape, kind="positive"), dtype, compare=compare, **peers)


# --- movement ---------------------------------------------------------------------------------------------------------
def heads(lib: Any, x: Any) -> Any:
    batch, length, width = x.shape
    return lib.contiguous(lib.permute(x.reshape(batch, length, width // 64, 64), (0, 2, 1, 3)))


MOVEMENTS: dict[str, tuple[Function, str]] = {
    "transpose": (lambda lib, x: lib.contiguous(lib.permute(x, (1, 0))), "x"),
    "heads (0, 2, 1, 3)": (heads, "tokens"),
    "cat": (lambda lib, x, y: lib.cat([x, y], 1), "x x"),
    "stack": (lambda lib, x, y: lib.stack([x, y], -1), "x x"),
    "split": (lambda lib, x: (lib.contiguous(x[:, :1000]), lib.contiguous(x[:, 1000:])), "x"),
    "pad": (lambda lib, x: lib.pad(x, (1, 1, 1, 1)), "x"),
    "roll": (lambda lib, x: lib.roll(x, (3, 5), (0, 1)), "x"),
    "flip": (lambda lib, x: lib.flip(x, (0, 1)), "x"),
}


def movements(scale: int) -> Iterator[Case]:
    for what, (function, shapes) in MOVEMENTS.items():
        for size in (LARGE, ODD, TINY):
            if size is ODD and "tokens" in shapes:
                continue
            rows, columns = size[0] if size is TINY else max(64, size[0] // scale), size[1]
            kinds = {"x": (rows, columns), "tokens": (max(1, rows // 256), min(rows, 256), columns)}
            for dtype in (FULL, HALF):
                given = of(*(kinds[word] for word in shapes.split()))
                yield Case("movement", what, function, given, dtype, compiled=size is not TINY)


# --- positions --------------------------------------------------------------------------------------------------------
def embedding(lib: Any, table: Any, index: Any) -> Any:
    return lib.embedding(index, table)


def positions(scale: int) -> Iterator[Case]:
    words, width, count = 50257 // min(scale, 8), 768, 1 << 17
    count //= scale
    table, lines = Operand((words, width)), Operand((count, width))
    for dtype in (FULL, HALF):
        size = SIZES[dtype]
        for kind in ("index", "frequent"):
            at, tag = Operand((count,), kind, words), {"index": "uniform", "frequent": "Zipf"}[kind]
            read = count * 8 + 2 * count * width * size
            yield Case("positions", f"embedding, {tag}", embedding, (table, at), dtype, moved=read)
            grad = count * 8 + count * width * size + words * width * size
            yield Case(
                "positions", f"embedding backward, {tag}", embedding, (table, at), dtype, 1, grad, loose=4, tuned=False
            )
        narrow = Operand((count,), "index", 1024)
        add = lambda lib, x, i, v: lib.index_add(x, 0, i, v)  # noqa: E731
        given = (Operand((1024, width)), narrow, lines)
        yield Case("positions", "index_add into 1024", add, given, dtype, loose=4)
        each = Operand((count, width // 8), "index", width)
        gather = lambda lib, x, i: lib.gather(x, 1, i)  # noqa: E731
        yield Case("positions", "gather along rows", gather, (lines, each), dtype)
        spread = lambda lib, x, i, v: lib.scatter_add(x, 1, i, v)  # noqa: E731
        given = (lines, each, Operand((count, width // 8)))
        yield Case("positions", "scatter_add along rows", spread, given, dtype, loose=4)


# --- scans and sorting ------------------------------------------------------------------------------------------------
def line(function: Function) -> Function:
    return lambda lib, x: function(lib, x.reshape(-1))


ORDERED: dict[str, Function] = {
    "cumsum of rows": lambda lib, x: lib.cumsum(x, 1),
    "cumsum of columns": lambda lib, x: lib.cumsum(x, 0),
    "cumsum of a line": line(lambda lib, x: lib.cumsum(x, 0)),
    "sort of rows": lambda lib, x: lib.sort(x, 1)[0],
    "sort of a line": line(lambda lib, x: lib.sort(x, 0)[0]),
    "topk 8 of rows": lambda lib, x: lib.topk(x, 8, 1)[0],
}


def ordered(scale: int) -> Iterator[Case]:
    for what, function in ORDERED.items():
        for dtype in (FULL, HALF):
            shape = (max(64, 16384 // scale), 1024)
            yield Case("scan and sort", what, function, of(shape), dtype, loose=64, compiled="columns" not in what)


# --- an optimizer's step ----------------------------------------------------------------------------------------------
def adamw(lib: Any, *given: Any) -> Any:
    """Clipping by the norm of all gradients, then AdamW; parameters, gradients, first and second moments, in turn."""
    n = len(given) // 4
    params, grads, first, second = (given[i * n : (i + 1) * n] for i in range(4))
    norm = lib.sqrt(sum(lib.sum(g * g) for g in grads))
    clip = lib.clamp(1.0 / (norm + 1e-6), max=1.0)
    made = [adamw_of_one(lib, *each, clip) for each in zip(params, grads, first, second, strict=True)]
    return tuple(part for each in zip(*made, strict=True) for part in each)


def adamw_of_one(lib: Any, p: Any, g: Any, m: Any, v: Any, clip: Any) -> tuple[Any, Any, Any]:
    g = g * clip
    m = m * 0.9 + g * 0.1
    v = v * 0.999 + g * g * 0.001
    return p * (1.0 - 1e-5) - (m * 1e-2) / (lib.sqrt(v * 1e3) + 1e-8), m, v


def transformer(width: int) -> list[Shape]:
    """The shapes of 300 parameters of a model with 24 blocks."""
    block = [(width,), (width,), (3 * width, width), (3 * width,), (width, width), (width,)]
    block += [(width,), (width,), (4 * width, width), (4 * width,), (width, 4 * width), (width,)]
    ends = [(50257, width), (1024, width), (width,), (width,), *[(77, width), (width, 3)] * 4]
    return block * 24 + ends


def optimizers(scale: int) -> Iterator[Case]:
    shapes = transformer(512 if scale == 1 else 64)
    weights = sum(map(prod, shapes))
    given = of(*shapes, *shapes, *shapes) + of(*shapes, kind="positive")
    moved = 8 * weights * SIZES[FULL]  # p, g, m, v read, g a second time after the norm is known, p, m, v written
    yield Case("optimizer", "AdamW with clipping, 300 tensors", adamw, given, FULL, moved=moved)


# --- more of the surface ----------------------------------------------------------------------------------------------
SURFACE: dict[str, tuple[Function, tuple[Shape, ...], int]] = {
    "conv 3x3": (lambda lib, x, w: lib.conv2d(x, w, padding=1), ((512, 64, 32, 32), (64, 64, 3, 3)), 2),
    "max_pool 2x2": (lambda lib, x: lib.max_pool2d(x, 2), ((512, 64, 32, 32),), 1),
    "bilinear 2x": (
        lambda lib, x: lib.interpolate(x, scale_factor=2, mode="bilinear"),
        ((512, 64, 32, 32),),
        1,
    ),
    "prod of rows": (lambda lib, x: lib.prod(x * 0.01 + 1.0, 1), ((16384, 1024),), 0),
    "logsumexp of rows": (lambda lib, x: lib.logsumexp(x, 1), ((16384, 1024),), 0),
    "median of rows": (lambda lib, x: lib.median(x, 1)[0], ((16384, 1024),), 0),
}


def surface(scale: int) -> Iterator[Case]:
    for what, (function, shapes, wrt) in SURFACE.items():
        first, *rest = shapes
        given = of((max(1, first[0] // scale), *first[1:]), *rest)
        yield Case("surface", what, function, given, FULL, compiled=False, loose=100)
        if wrt:
            yield Case("surface", f"{what} backward", function, given, FULL, wrt, compiled=False, loose=100)


FAMILIES = (chains, rows, reductions, movements, positions, ordered, optimizers, surface)


def every(scale: int = 1) -> list[Case]:
    """All cases; `scale` divides the number of rows, for machines that are slower than a GPU."""
    return [case for family in FAMILIES for case in family(scale)]
