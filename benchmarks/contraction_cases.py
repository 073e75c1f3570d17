"""The cases of `contractions.py`: products, convolutions and attention, each written once for FLAME, torch and JAX.

Images lie with their channels last in every library's memory, and operands are turned by views.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

from benchmarks.cases import HALF, Case, Function, Shape, of


@dataclass(frozen=True)
class Contraction(Case):
    """A case that is measured by its multiplications and additions."""

    flops: float = 0.0
    peers_compiled: bool = True
    exact: bool = True  # a float64 reference fits in memory

    @property
    def name(self) -> str:
        return f"{self.what} {self.dtype}"


# --- products ---------------------------------------------------------------------------------------------------------
def product(left: str, right: str) -> Function:
    """x @ w with either side turned: "n" as it lies, "t" turned."""

    def run(lib: Any, x: Any, w: Any) -> Any:
        return (x.mT if left == "t" else x) @ (w.mT if right == "t" else w)

    return run


GEMMS: dict[str, tuple[tuple[int, ...], int, int, int, str]] = {  # batch, m, n, k, which sides are turned
    **{f"square {n}": ((), n, n, n, "nn") for n in (1024, 2048, 4096, 8192, 16384)},
    **{
        f"tokens {t} width {d} -> {4 * d}": ((), t, 4 * d, d, "nt")
        for t, d in ((1024, 768), (4096, 1024), (8192, 4096))
    },
    **{
        f"tokens {t} width {4 * d} -> {d}": ((), t, d, 4 * d, "nt")
        for t, d in ((1024, 768), (4096, 1024), (8192, 4096))
    },
    "tokens 65536 width 768 -> 768": ((), 65536, 768, 768, "nt"),
    "tokens 16384 width 12288 -> 12288": ((), 16384, 12288, 12288, "nt"),
    "decode 1": ((), 1, 4096, 4096, "nt"),
    "decode 16": ((), 16, 12288, 4096, "nt"),
    "decode 128": ((), 128, 4096, 12288, "nt"),
    "heads scores": ((64,), 1024, 1024, 64, "nt"),
    "heads values": ((64,), 1024, 64, 1024, "nn"),
    "batched 512": ((32,), 512, 512, 512, "nn"),
    "left turned": ((), 4096, 4096, 4096, "tn"),
    "both turned": ((), 4096, 4096, 4096, "tt"),
    "weight gradient 1024": ((), 768, 3072, 8192, "tn"),
    "weight gradient 4096": ((), 4096, 4096, 16384, "tn"),
    "input gradient": ((), 8192, 4096, 16384, "nn"),
}


def gemms(scale: int) -> Iterator[Contraction]:
    for what, (batch, m, n, k, sides) in GEMMS.items():
        m, n, k = (max(1, size // scale) for size in (m, n, k))
        x = (*batch, *((k, m) if sides[0] == "t" else (m, k)))
        w = (*batch, *((n, k) if sides[1] == "t" else (k, n)))
        flops = 2.0 * prod(batch) * m * n * k
        yield Contraction("gemm", what, product(*sides), of(x, w), HALF, tuned=True, flops=flops)
        if what in ("square 4096", "square 1024"):
            yield Contraction("gemm", what, product(*sides), of(x, w), "float32", flops=flops)


def bias_gelu(lib: Any, x: Any, w: Any, b: Any) -> Any:
    return lib.gelu(x @ w.mT + b, approximate="tanh")


def bias_relu(lib: Any, x: Any, w: Any, b: Any) -> Any:
    return lib.relu(x @ w.mT + b)


def residual(lib: Any, x: Any, w: Any, b: Any, r: Any) -> Any:
    return x @ w.mT + b + r


def silu_gate(lib: Any, x: Any, w: Any, g: Any) -> Any:
    return lib.silu(x @ w.mT) * g


def statistics(lib: Any, x: Any, w: Any) -> Any:
    y = x @ w.mT
    wide = lib.to(y, "float32")
    return y, wide.sum(-1), (wide * wide).sum(-1)


EPILOGUES: dict[str, tuple[Function, str, int]] = {  # operands behind x and w; gradients of how many
    "bias": (lambda lib, x, w, b: x @ w.mT + b, "row", 0),
    "bias relu": (bias_relu, "row", 0),
    "bias gelu": (bias_gelu, "row", 0),
    "residual": (residual, "row x", 0),
    "silu gate": (silu_gate, "x", 0),
    "norm statistics": (statistics, "", 0),
    "gradients of bias": (lambda lib, x, w, b: x @ w.mT + b, "row", 3),
    "gradients of bias relu": (bias_relu, "row", 3),
    "gradients of bias gelu": (bias_gelu, "row", 3),
    "gradients of silu gate": (silu_gate, "x", 3),
}


def epilogues(scale: int) -> Iterator[Contraction]:
    m, n, k = 8192 // scale, 4096 // scale, 4096 // scale
    for what, (function, more, wrt) in EPILOGUES.items():
        shapes = {"row": (n,), "x": (m, n)}
        operands = of((m, k), (n, k), *(shapes[name] for name in more.split()))
        flops = 2.0 * m * n * k * (2 if wrt else 1)
        yield Contraction("epilogue", what, function, operands, HALF, wrt, tuned=True, flops=flops)


# --- convolutions -----------------------------------------------------------------------------------------------------
def convolution(rank: int, stride: int, padding: int, groups: int) -> Function:
    def run(lib: Any, x: Any, w: Any) -> Any:
        inwards, outwards = (0, rank + 1, *range(1, rank + 1)), (0, *range(2, rank + 2), 1)
        y = lib.conv(lib.permute(x, inwards), lib.permute(w, inwards), stride, padding, groups)
        return lib.permute(y, outwards)

    return run


CONVOLUTIONS: dict[
    str, tuple[int, int, Shape, int, int, int, int]
] = {  # batch, channels, size, out, taps, stride, groups
    "SDXL 320 64x64": (4, 320, (64, 64), 320, 3, 1, 1),
    "SDXL 640 32x32": (4, 640, (32, 32), 640, 3, 1, 1),
    "SDXL 1280 16x16": (4, 1280, (16, 16), 1280, 3, 1, 1),
    "SD down 320": (4, 320, (64, 64), 320, 3, 2, 1),
    "SD skip 1x1 960": (4, 960, (64, 64), 320, 1, 1, 1),
    "UNet out": (4, 320, (64, 64), 4, 3, 1, 1),
    "VAE 128 512x512": (1, 128, (512, 512), 128, 3, 1, 1),
    "VAE 512 64x64": (1, 512, (64, 64), 512, 3, 1, 1),
    "ResNet stem": (32, 3, (224, 224), 64, 7, 2, 1),
    "ResNet 64 56x56": (32, 64, (56, 56), 64, 3, 1, 1),
    "ResNet 1x1 256": (32, 256, (56, 56), 64, 1, 1, 1),
    "ResNet 512 7x7": (32, 512, (7, 7), 512, 3, 1, 1),
    "ResNeXt groups 32": (32, 128, (56, 56), 128, 3, 1, 32),
    "depthwise 256": (32, 256, (28, 28), 256, 3, 1, 256),
    "1d 256": (16, 256, (4096,), 256, 5, 1, 1),
    "3d 64": (2, 64, (16, 32, 32), 64, 3, 1, 1),
}


def convolutions(scale: int) -> Iterator[Contraction]:
    for what, (n, c, size, o, taps, stride, groups) in CONVOLUTIONS.items():
        n = max(1, n // scale)
        size = tuple(max(7, s // scale) for s in size)
        operands = of((n, *size, c), (o, *(taps,) * len(size), c // groups))
        function = convolution(len(size), stride, taps // 2, groups)
        flops = 2.0 * n * prod(-(-s // stride) for s in size) * o * (c // groups) * taps ** len(size)
        dtype = HALF if scale < 16 else "float32"
        yield Contraction("convolution", what, function, operands, dtype, flops=flops)
        yield Contraction("convolution", f"gradients {what}", function, operands, dtype, 2, flops=2 * flops)


# --- attention --------------------------------------------------------------------------------------------------------
def attention(causal: bool) -> Function:
    def run(lib: Any, q: Any, k: Any, v: Any, *mask: Any) -> Any:
        return lib.attention(q, k, v, mask[0] if mask else None, causal)

    return run


ATTENTIONS: dict[str, tuple[int, int, int, int, int, bool, bool]] = {  # batch, heads, L, S, D, causal, mask
    "4096 d128": (4, 16, 4096, 4096, 128, False, False),
    "4096 d128 causal": (4, 16, 4096, 4096, 128, True, False),
    "16384 d128 causal": (1, 16, 16384, 16384, 128, True, False),
    "32768 d128 causal": (1, 8, 32768, 32768, 128, True, False),
    "1024 d64": (16, 16, 1024, 1024, 64, False, False),
    "1024 d64 causal": (16, 16, 1024, 1024, 64, True, False),
    "2048 d256": (2, 8, 2048, 2048, 256, False, False),
    "512 d64": (32, 12, 512, 512, 64, False, False),
    "SDXL self 4096 d64": (4, 10, 4096, 4096, 64, False, False),
    "SDXL cross 4096 77": (4, 10, 4096, 77, 64, False, False),
    "CLIP 77 causal": (16, 12, 77, 77, 64, True, False),
    "mask 1024": (8, 16, 1024, 1024, 64, False, True),
}


def attentions(scale: int) -> Iterator[Contraction]:
    for what, (b, h, length, keys, d, causal, mask) in ATTENTIONS.items():
        b, length, keys = max(1, b // scale), max(16, length // scale), max(16, keys // scale)
        operands = of((b, h, length, d), (b, h, keys, d), (b, h, keys, d))
        operands += of((length, keys), kind="bool") if mask else ()
        flops = 4.0 * b * h * length * keys * d * (0.5 if causal else 1)
        exact, dtype = b * h * length * keys < 2**31, HALF if scale < 16 else "float32"
        function = attention(causal)
        yield Contraction("attention", what, function, operands, dtype, flops=flops, exact=exact)
        gradient = Contraction(
            "attention", f"gradients {what}", function, operands, dtype, 3, flops=2.5 * flops, exact=exact
        )
        yield gradient


def every(scale: int) -> list[Contraction]:
    """All cases; `scale` divides their sizes, for a CPU."""
    return [*gemms(scale), *epilogues(scale), *convolutions(scale), *attentions(scale)]


QUICK = (
    "gemm: square (4096|8192) bf|gemm: tokens (1024|8192)|gemm: decode 16|gemm: heads|gemm: weight gradient 4096|"
    "epilogue: (bias gelu|gradients of bias gelu)|convolution: .*(SDXL 320|ResNet 64|ResNet stem|depthwise)|"
    "attention: .*(4096 d128|1024 d64|77|mask)"
)
