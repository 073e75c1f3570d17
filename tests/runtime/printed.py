"""Small printed kernels for tests: a body becomes the source that codegen would print."""

import re

import numpy as np

from flame.runtime import prelude_numpy
from flame.runtime.prelude_numpy import memory_type

DTYPES = ("bool", "int8", "uint8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64",
          "float8_e4m3fn", "float8_e5m2")  # fmt: skip
NARROW = ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")  # in memory only
REGISTERS = tuple(d for d in DTYPES if d not in NARROW)
INTEGERS = ("int8", "uint8", "int16", "int32", "int64")
COMBINES = ("add", "mul", "maximum", "minimum", "logical_or", "logical_and")
UNARY = (
    "exp",
    "exp2",
    "log",
    "log2",
    "log1p",
    "expm1",
    "sqrt",
    "rsqrt",
    "tanh",
    "sigmoid",
    "erf",
    "sin",
    "cos",
    "floor",
    "ceil",
    "round",
    "trunc",
    "absolute",
    "log10",
    "tan",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "asinh",
    "acosh",
    "atanh",
    "erfc",
    "erfinv",
    "lgamma",
    "sign",
)
BINARY = ("maximum", "minimum", "power", "floordiv", "modulo", "fmod", "atan2", "hypot", "copysign", "nextafter")
SHAPES = ("1", "2", "8", "32", "64", "96", "256", "1024", "4x2", "8x4", "2x16", "64x4", "32x32", "16x64", "32x3")
OWN = {"n", "for", "in", "range"}


def source(body: str, count: int, name: str = "k") -> str:
    """The source of `def k(n, a0, a1, ..)`; names of one letter and digits are local, all others the prelude's."""
    called = sorted({w for w in re.findall(r"[A-Za-z_]\w*", body) if not re.fullmatch(r"[a-z]\d*", w)} - OWN)
    params = ", ".join(["n", *(f"a{k}" for k in range(count))])
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return f"from flame.runtime.prelude_cuda import {', '.join(called)}\n\n\ndef {name}({params}):\n{lines}"


def under_numpy(body: str, args, n: int = 0, blocks: int = 1, threads: int = 32) -> None:
    """Run a body under the numpy prelude."""
    prelude_numpy.run(source(body, len(args)), "k", blocks, threads, n, args)


def copy_body(width: int, dtype: str, guarded: bool) -> str:
    """Each lane copies `width` elements from a0 to a1; lanes from n on are masked."""
    ok = ", t0 < n" if guarded else ""
    suffix = "_if" if guarded else ""
    values = "v0" if width == 1 else ", ".join(f"v0[{k}]" for k in range(width))
    return "\n".join(
        [
            f"t0 = (block() * 32 + thread()) * {width}",
            f"v0 = load{width}_{dtype}{suffix}(a0, t0{ok})",
            f"store{width}_{dtype}{suffix}(a1, t0, {values}{ok})",
        ]
    )


def gather_body(combine: str, dtype: str, shape: str) -> str:
    """Every thread stores the gathered value of its row."""
    load, store = f"load1_{dtype}(a0, i0)", f"store1_{dtype}(a1, i0, gather_{combine}_{dtype}_{shape}(v0))"
    return f"i0 = block() * {threads_of(shape)} + thread()\nv0 = {load}\n{store}"


def threads_of(shape: str) -> int:
    """Threads of a block for a gather: whole rows, and at least a warp."""
    lanes, rows = (int(v) for v in f"{shape}x1".split("x")[:2])
    return max(lanes * rows, 32)


def gathered(x: np.ndarray, combine: str, shape: str) -> np.ndarray:
    """What `gather_body` stores, by plain numpy in float64 or Python's integers modulo the dtype."""
    lanes, rows = (int(v) for v in f"{shape}x1".split("x")[:2])
    functions = {"add": np.add, "mul": np.multiply, "maximum": np.maximum, "minimum": np.minimum}
    functions |= {"logical_or": np.logical_or, "logical_and": np.logical_and}
    whole = x.reshape(-1, lanes, rows)
    wide = whole.astype(np.float64) if x.dtype.kind == "f" else whole
    extra = {} if combine.startswith("logical") else {"dtype": wide.dtype}
    with np.errstate(all="ignore"):
        found = functions[combine].reduce(wide, axis=1, keepdims=True, **extra)
    return np.broadcast_to(found, whole.shape).reshape(-1).astype(x.dtype)


def sample(dtype: str, count: int, seed: int = 0) -> np.ndarray:
    """Values of a dtype of moderate size, zeros among them."""
    rng = np.random.default_rng(seed)
    kind = memory_type(dtype)
    if dtype == "bool":
        return rng.random(count) < 0.5
    if dtype in INTEGERS:
        return rng.integers(0 if dtype == "uint8" else -100, 100, count).astype(kind)
    return (rng.standard_normal(count) * 3).astype(kind)


def gather_sample(combine: str, dtype: str, count: int) -> np.ndarray:
    """Values whose sums and products over 1024 lanes neither overflow nor vanish."""
    x = sample(dtype, count)
    if combine == "mul" and x.dtype.kind == "f":
        return (1 + x / 100).astype(x.dtype)
    if combine.startswith("logical"):  # rows of all kinds
        x[: count // 2] = 1
        x[3 * count // 4 :] = 0
    return x


def same_bits(x: np.ndarray, y: np.ndarray) -> bool:
    """Equal, a nan equal to a nan."""
    x, y = (v.astype(np.float64) if v.dtype.kind in "fV" or v.dtype.name == "bfloat16" else v for v in (x, y))
    return np.array_equal(x, y, equal_nan=x.dtype.kind == "f")
