"""The CUDA prelude on a GPU: memory, gathers and functions against numpy, float32 functions against float64."""

import numpy as np
import pytest

from flame.ir import special
from tests.gpu.device_kernel import on_gpu
from tests.runtime.printed import (
    COMBINES,
    DTYPES,
    INTEGERS,
    REGISTERS,
    copy_body,
    gather_sample,
    gathered,
    same_bits,
    sample,
    under_numpy,
)

pytestmark = pytest.mark.gpu
TINY = float(np.finfo(np.float32).tiny)  # kernels flush denormal float32


@pytest.mark.parametrize("dtype", DTYPES)
def test_memory(dtype):
    for width in (1, 2, 4, 8, 16):
        x, out = sample(dtype, 3 * 32 * width), np.zeros_like(sample(dtype, 3 * 32 * width))
        on_gpu(copy_body(width, dtype, False), [x, out], blocks=3)
        assert same_bits(x, out), f"width {width}"
        out[:] = 0
        on_gpu(copy_body(width, dtype, True), [x, out], n=40 * width, blocks=3)
        assert same_bits(x[: 40 * width], out[: 40 * width]), f"guarded, width {width}"
        assert not out[40 * width :].astype(bool).any(), f"a masked lane stored, width {width}"


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_masked_lane_reads_no_address(dtype):
    out = np.ones(64, np.int32)
    body = f"t0 = thread() * 1000000000000\nv0 = load1_{dtype}_if(a0, t0, t0 < 1)\n"
    body += f"v1 = load4_{dtype}_if(a0, t0, t0 < 1)\nt1 = thread()\n"
    body += "store1_int32(a1, t1, to_int32(v0))\nstore1_int32(a1, t1 + 32, to_int32(v1[3]))\n"
    body += f"store1_{dtype}_if(a0, t0, v0, t0 < 1)"
    on_gpu(body, [np.ones(8).astype(sample(dtype, 1).dtype), out])
    assert out.tolist() == [1] + [0] * 31 + [1] + [0] * 31


GATHERS = {
    1024: ("1", "2", "8", "32", "64", "256", "1024", "4x2", "8x4", "2x16", "32x32", "16x64"),
    96: ("32", "96", "32x3"),
    256: ("32", "128", "64x4", "16x16"),
}


@pytest.mark.parametrize("combine", COMBINES)
@pytest.mark.parametrize("dtype", REGISTERS)
def test_gathers(dtype, combine):
    for threads, shapes in GATHERS.items():
        x = gather_sample(combine, dtype, 2 * threads)
        out = np.zeros((len(shapes), x.size), x.dtype)
        lines = [f"t0 = block() * {threads} + thread()\nv0 = load1_{dtype}(a0, t0)"]
        for k, shape in enumerate(shapes):
            lines.append(f"store1_{dtype}(a1, t0 + {k * x.size}, gather_{combine}_{dtype}_{shape}(v0))")
        on_gpu("\n".join(lines), [x, out], blocks=2, threads=threads)
        for shape, got in zip(shapes, out):
            wanted = gathered(x, combine, shape)
            if x.dtype.kind == "f":
                close = 2e-6 if dtype == "float32" else 1e-14
                np.testing.assert_allclose(got, wanted, rtol=50 * close, atol=close * np.abs(x).sum(), err_msg=shape)
            else:
                assert np.array_equal(got, wanted), shape


def test_nan_is_gathered():
    x = np.arange(64, dtype=np.float32)
    x[3] = np.nan
    out = np.zeros_like(x)
    on_gpu("store1_float32(a1, thread(), gather_maximum_float32_32(load1_float32(a0, thread())))", [x, out], threads=64)
    assert np.isnan(out[:32]).all() and (out[32:] == 63).all()


def test_gathers_in_a_loop():
    x = sample("float32", 256 * 50)
    body = "v0 = float32(0.0)\nfor k in range(n):\n    v1 = load1_float32(a0, k * 256 + thread())\n"
    body += "    v0 = v0 + gather_add_float32_256(v1) * gather_maximum_float32_256(v1)\n    barrier()\n"
    out = np.zeros(256, np.float32)
    on_gpu(body + "store1_float32(a1, thread(), v0)", [x, out], n=50, threads=256)
    rows = x.reshape(50, 256).astype(np.float64)
    assert (out == out[0]).all()
    np.testing.assert_allclose(out[0], (rows.sum(1) * rows.max(1)).sum(), rtol=1e-4, atol=0.05)


# --- functions ------------------------------------------------------------------------------------
def numbers(dtype, low: float, high: float) -> np.ndarray:
    """Both signs of every size, dense, within [low, high], no denormals; special values at the end."""
    rng = np.random.default_rng(3)
    sizes = np.exp2(rng.uniform(-120, 126, 20000))
    x = np.concatenate(
        [sizes, -sizes, rng.uniform(-4, 4, 20000), rng.uniform(-90, 90, 10000), rng.uniform(0.9, 1.1, 10000)]
    )
    x = x[(x >= low) & (x <= high)]
    return np.concatenate([x, [0.0, -0.0, 1.0, -1.0, 0.5, 2.5, np.inf, -np.inf, np.nan]]).astype(dtype)


def reference(name):
    """The function in float64."""
    own = {"rsqrt": lambda x: 1 / np.sqrt(x), "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "round": np.rint}
    own |= {n: getattr(np, n.replace("a", "arc", 1)) for n in ("asin", "acos", "atan", "asinh", "acosh", "atanh")}
    own |= {n: getattr(special, n) for n in ("erf", "erfc", "erfinv", "lgamma", "sign")}
    return own.get(name) or getattr(np, name)


# name: largest relative error of float32, of float64, least absolute error of float32, range that is tested
FUNCTIONS = {
    "exp": (6e-6, 2e-15, 0, (-87, 88)),
    "exp2": (1e-6, 2e-15, 0, (-125, 127)),
    "expm1": (5e-7, 2e-15, 0, (-87, 88)),
    "sigmoid": (6e-6, 2e-15, 0, (-87, 3e38)),
    "log": (3e-7, 2e-15, 1e-7, (1e-37, 3e38)),
    "log2": (3e-7, 2e-15, 1e-7, (1e-37, 3e38)),
    "log1p": (5e-7, 2e-15, 0, (-0.99, 3e38)),
    "sqrt": (3e-7, 2e-15, 0, (0, 3e38)),
    "rsqrt": (4e-7, 2e-15, 0, (1e-37, 3e38)),
    "tanh": (5e-7, 2e-15, 0, (-3e38, 3e38)),
    "erf": (5e-7, 2e-15, 0, (-3e38, 3e38)),
    "sin": (5e-7, 2e-15, 2e-7, (-1e4, 1e4)),
    "cos": (5e-7, 2e-15, 2e-7, (-1e4, 1e4)),
    "log10": (4e-7, 2e-15, 1e-7, (1e-37, 3e38)),
    "tan": (8e-7, 2e-15, 2e-7, (-1e4, 1e4)),
    "asin": (6e-7, 2e-15, 0, (-1, 1)),
    "acos": (6e-7, 2e-15, 2e-7, (-1, 1)),
    "atan": (4e-7, 2e-15, 0, (-3e38, 3e38)),
    "sinh": (5e-7, 2e-15, 0, (-88, 88)),
    "cosh": (5e-7, 2e-15, 0, (-88, 88)),
    "asinh": (5e-7, 2e-15, 0, (-3e38, 3e38)),
    "acosh": (6e-7, 2e-15, 0, (1, 3e38)),
    "atanh": (5e-7, 2e-15, 0, (-1, 1)),
    "erfc": (1e-6, 4e-15, 0, (-9, 9)),
    "erfinv": (1e-6, 6e-15, 0, (-1, 1)),
    "lgamma": (1e-6, 1e-13, 1e-6, (3, 1e30)),
    "sign": (0, 0, 0, (-3e38, 3e38)),
    "floor": (0, 0, 0, (-3e38, 3e38)),
    "ceil": (0, 0, 0, (-3e38, 3e38)),
    "round": (0, 0, 0, (-3e38, 3e38)),
    "trunc": (0, 0, 0, (-3e38, 3e38)),
    "absolute": (0, 0, 0, (-3e38, 3e38)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name, dtype):
    single, double, least, span = FUNCTIONS[name]
    x = numbers(dtype, *span)
    out = np.zeros_like(x)
    body = f"t0 = block() * 256 + thread()\nstore1_{dtype}_if(a1, t0, {name}(load1_{dtype}_if(a0, t0, t0 < n)), t0 < n)"
    on_gpu(body, [x, out], n=x.size, blocks=-(-x.size // 256), threads=256)
    with np.errstate(all="ignore"):
        wanted = reference(name)(x.astype(np.float64))
    allowed, least = (single, max(least, TINY)) if dtype == "float32" else (double, 1e-16 if least else 1e-300)
    report(name, x, out.astype(np.float64), wanted, allowed, least)


def report(name, x, got, wanted, allowed, least) -> None:
    """Fail with the worst element."""
    assert np.array_equal(np.isnan(got), np.isnan(wanted)), f"{name}: nan at {x[np.isnan(got) != np.isnan(wanted)][:5]}"
    flat = np.isfinite(wanted)
    assert np.array_equal(got[~flat & ~np.isnan(got)], wanted[~flat & ~np.isnan(wanted)]), f"{name}: infinities"
    with np.errstate(all="ignore"):
        over = np.abs(got[flat] - wanted[flat]) - (allowed * np.abs(wanted[flat]) + least)
        relative = np.abs(got[flat] - wanted[flat]) / np.maximum(np.abs(wanted[flat]), least)
    worst = int(np.argmax(over))
    text = f"{name}({x[flat][worst]!r}) is {got[flat][worst]!r}, not {wanted[flat][worst]!r}"
    assert over[worst] <= 0, f"{text}; largest relative error {relative.max():.2g}, allowed {allowed:.2g}"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "name", ["maximum", "minimum", "power", "floordiv", "modulo", "divide", "fmod", "atan2", "hypot", "copysign"]
)
def test_functions_of_two(name, dtype):
    x = np.repeat(np.array([0.0, -0.0, 1, -1, 2.5, -2.5, 7, 1e-3, 1e20, -3, np.inf, -np.inf, np.nan], dtype), 13)
    y = np.tile(x[::13], 13)
    out = np.zeros_like(x)
    call = "v0 / v1" if name == "divide" else f"{name}(v0, v1)"
    body = f"t0 = thread()\nv0 = load1_{dtype}(a0, t0)\nv1 = load1_{dtype}(a1, t0)\nstore1_{dtype}(a2, t0, {call})"
    on_gpu(body, [x, y, out], threads=x.size // 32 * 32)
    n = x.size // 32 * 32
    functions = {"floordiv": np.floor_divide, "modulo": np.mod, "atan2": np.arctan2}
    with np.errstate(all="ignore"):
        wanted = (functions.get(name) or getattr(np, name))(x[:n], y[:n]).astype(np.float64)
    allowed = 2e-6 if dtype == "float32" else 1e-14
    report(name, list_of_pairs(x, y)[:n], out[:n].astype(np.float64), wanted, allowed, TINY)


def list_of_pairs(x, y):
    """Pairs as one array, for messages."""
    pairs = np.empty(x.size, object)
    pairs[:] = list(zip(x.tolist(), y.tolist()))
    return pairs


@pytest.mark.parametrize("dtype", [*INTEGERS, "bool"])
def test_functions_of_integers(dtype):
    x, y = sample(dtype, 256, 1), sample(dtype, 256, 2)
    y[:8] = 0
    if dtype.startswith("int"):
        x[3:9], y[8] = np.iinfo(dtype).min, -1
    lines = [f"t0 = thread()\nv0 = load1_{dtype}(a0, t0)\nv1 = load1_{dtype}(a1, t0)"]
    calls = ["maximum(v0, v1)", "minimum(v0, v1)", "absolute(v0)", "select(v0 > v1, v0, v1)"]
    calls += [] if dtype == "bool" else ["floordiv(v0, v1)", "modulo(v0, v1)", "trunc_divide(v0, v1)"]
    calls += [] if dtype == "bool" else ["fmod(v0, v1)", "sign(v0)", "shift_left(v0, v1)", "shift_right(v0, v1)"]
    calls += [] if dtype == "bool" else ["gcd(v0, v1)"]
    lines += [f"store1_{dtype}(a2, t0 + {256 * k}, {call})" for k, call in enumerate(calls)]
    both_ways("\n".join(lines), [x, y, np.zeros(256 * len(calls), x.dtype)], calls)


def both_ways(body: str, args, calls, **geometry) -> None:
    """The GPU and numpy's prelude agree to the bit; the last argument is the output, one part a call."""
    geometry = {"threads": 256} | geometry
    twice = [[a.copy() if isinstance(a, np.ndarray) else a for a in args] for _ in range(2)]
    on_gpu(body, twice[0], **geometry)
    under_numpy(body, twice[1], **geometry)
    for call, got, wanted in zip(calls, *(np.split(t[-1], len(calls)) for t in twice)):
        assert same_bits(got, wanted), f"{call}: {got[:8]} on the GPU, {wanted[:8]} in numpy"


@pytest.mark.parametrize("dtype", REGISTERS)
@pytest.mark.parametrize("to", DTYPES)
def test_conversions(dtype, to):
    x = sample(dtype, 256)
    if dtype.startswith("float"):
        x[:6] = [0.0, -0.0, 1.00390625, 1.01171875, 0.1, 65520.0 if "int" not in to else 100]
    if to == "uint8" and dtype.startswith("float"):
        x = np.abs(x)
    kind = sample(to, 1).dtype
    body = f"store1_{to}(a1, thread(), to_{to}(load1_{dtype}(a0, thread())))"
    both_ways(body, [x, np.zeros(256, kind)], [f"to_{to}"])


def test_integers_and_random_words():
    lines = ["t0 = thread() + block() * 256"]
    calls = [
        "philox(n, t0)",
        "philox(n * n, t0 * 1000003)",
        "udiv32(t0, 7)",
        "umod32(t0, 7)",
        "udiv64(t0 * 10000000000, 77)",
    ]
    calls += ["umod64(t0 * 10000000000, 77)", "int64(int32(t0 * 100000000))", "int64(int8(t0))", "int64(uint8(t0))"]
    lines += [f"store1_int64(a0, t0 + {k * 512}, {call})" for k, call in enumerate(calls)]
    both_ways("\n".join(lines), [np.zeros(512 * len(calls), np.int64)], calls, n=123456789123, blocks=2)


def test_values_are_passed_by_value():
    out = np.zeros(32, np.float32)
    body = "store1_float32(a4, thread(), select(a2, a0 + to_float32(a1), to_float32(a3)) + to_float32(n))"
    given = [np.float32(2.5), np.int8(-3), np.True_, np.float64(9.0)]
    on_gpu(body, [*given, out], n=4)
    assert (out == 3.5).all()
    on_gpu(body, [*given[:2], np.False_, given[3], out], n=4)
    assert (out == 13).all()
