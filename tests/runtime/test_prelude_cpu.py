"""The CPU prelude against numpy: every function, every dtype, nan, infinities, -0.0 and every exponent."""

import math

import ml_dtypes
import numpy as np
import pytest

from flame.ir import special
from flame.ir.dtype import converted
from flame.ir.philox import philox as philox_reference
from flame.runtime import circular_cpu, cpu_compile
from tests.runtime.cpu_kernel import elementwise, load, run, source

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
NUMPY = {name: np.dtype(name) for name in ("int8", "uint8", "int16", "int32", "int64", "float16", "float32", "float64")}
NUMPY |= {"bool": np.dtype(np.bool_), "bfloat16": BFLOAT16}
NUMPY |= {name: np.dtype(getattr(ml_dtypes, name)) for name in ("float8_e4m3fn", "float8_e5m2")}
NARROW = ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")  # in memory only
SPECIAL = [0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0, 0.5, -0.5, 2.5, -2.5, 1e-45, -1e-45, 3.4e38, -3.4e38]


def every_exponent(dtype=np.float32):
    """Bits from all over the format, the ranges that matter more densely, and the special values."""
    bits, step = (np.uint32, 130_003) if dtype == np.float32 else (np.uint64, 130_003 * 2**32 + 12_345)
    whole = np.arange(0, np.iinfo(bits).max - step, step, dtype=bits).view(dtype)
    dense = [np.linspace(-a, a, 20_001) for a in (0.01, 1.2, 5.0, 110.0, 1e4)]
    return np.concatenate([whole, *dense, SPECIAL, 1.0 + np.linspace(-1e-3, 1e-3, 2001)], dtype=dtype, casting="unsafe")


def ulps(got, want):
    """The error in units of the last place; 0 where both are the same special value, infinite where they differ."""
    with np.errstate(all="ignore"):
        rounded = want.astype(got.dtype)
        unit = np.spacing(np.maximum(np.abs(rounded), np.finfo(got.dtype).tiny)).astype(want.dtype)
        error = np.abs(got.astype(want.dtype) - want) / unit
    special = ~np.isfinite(rounded) | ~np.isfinite(got)
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    return np.where(special, np.where(same, 0.0, np.inf), error)


FUNCTIONS = {
    "exp": (np.exp, 1.5), "exp2": (np.exp2, 1.5), "expm1": (np.expm1, 2.0), "log": (np.log, 1.5),
    "log2": (np.log2, 2.0),
    "log1p": (np.log1p, 2.0), "tanh": (np.tanh, 3.0), "erf": (np.vectorize(math.erf), 2.0), "sqrt": (np.sqrt, 0.51),
    "rsqrt": (lambda x: 1 / np.sqrt(x), 2.0), "floor": (np.floor, 0.0), "ceil": (np.ceil, 0.0), "round": (np.rint, 0.0),
    "trunc": (np.trunc, 0.0), "absolute": (np.abs, 0.0), "sin": (np.sin, 2.0), "cos": (np.cos, 2.0),
    "log10": (np.log10, 2.5), "tan": (np.tan, 4.0), "asin": (np.arcsin, 2.5), "acos": (np.arccos, 2.5),
    "atan": (np.arctan, 3.0), "sinh": (np.sinh, 2.5), "cosh": (np.cosh, 2.5), "asinh": (np.arcsinh, 3.5),
    "acosh": (np.arccosh, 3.5), "atanh": (np.arctanh, 3.5), "erfc": (special.erfc, 6.0),
    "erfinv": (special.erfinv, 4.0), "lgamma": (special.lgamma, 10.0),
    "sigmoid": (lambda x: np.where(x < 0, np.exp(x) / (1 + np.exp(x)), 1 / (1 + np.exp(-x))), 3.0),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float32_functions(name):
    reference, most = FUNCTIONS[name]
    x = every_exponent()
    if name in ("sin", "cos"):
        x = x[~(np.abs(x) > 2.0**40) | np.isinf(x)]
    got = run(elementwise(f"{name}(x0)", [name], ["float32"], "float32"), [x, np.empty_like(x)])
    with np.errstate(all="ignore"):
        want = reference(x.astype(np.float64))
    error = ulps(got, want)
    worst = int(error.argmax())
    assert error[worst] <= most, f"{name}({x[worst]!r}) is {got[worst]!r}, not {want[worst]!r}: {error[worst]} ulp"
    zeros = want == 0
    assert np.array_equal(np.signbit(got[zeros]), np.signbit(want[zeros])), "the sign of zero"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float64_functions(name):
    reference, _ = FUNCTIONS[name]
    x = every_exponent(np.float64)
    got = run(elementwise(f"{name}(x0)", [name], ["float64"], "float64"), [x, np.empty_like(x)])
    with np.errstate(all="ignore"):
        want = reference(x)
    if name == "lgamma":  # Python's own cancels beside the zeros at 1 and 2
        np.testing.assert_allclose(got, want, rtol=1e-14, atol=1e-14)
    else:
        assert ulps(got, want).max() <= 4.0


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_huge_angles_keep_their_turns(name):
    x = np.float32(2.0) ** np.arange(41, 128, dtype=np.float32) * np.float32(1.2345678)
    got = run(elementwise(f"{name}(x0)", [name], ["float32"], "float32"), [x, np.empty_like(x)])
    np.testing.assert_allclose(got, getattr(np, name)(x.astype(np.float64)), rtol=0, atol=2e-7)


@pytest.mark.parametrize(
    "name",
    [
        "exp",
        "exp2",
        "expm1",
        "log",
        "log2",
        "log1p",
        "tanh",
        "sigmoid",
        "erf",
        "sin",
        "cos",
        *circular_cpu.FLOAT32,
        "erfinv",
    ],
)
def test_loops_over_functions_vectorise(name):
    text = elementwise(f"{name}(x0)", [name], ["float32"], "float32")
    assembly = cpu_compile.assembly(text, "kernel", ("address",) * 2)
    assert vectorised(assembly)
    assert "call" not in assembly.split("kernel:", 1)[1].split(".size")[0]


def vectorised(assembly):
    """Vector registers hold several elements; llvm has no scalar use of ymm and zmm."""
    return "%ymm" in assembly or "%zmm" in assembly or "ps\t%xmm" in assembly or ".4s" in assembly


def test_a_quotient_by_a_root_is_no_estimate():
    x = np.tile(np.array([0.0, np.inf, 1e-42, 4.0], np.float32), 8)
    got = run(
        elementwise("float32(2.0) / sqrt(x0)", ["float32", "sqrt"], ["float32"], "float32"), [x, np.empty_like(x)]
    )
    with np.errstate(divide="ignore"):
        assert ulps(got, 2 / np.sqrt(x.astype(np.float64))).max() <= 1.5


def test_a_loop_over_seven_pointers_vectorises_without_comparing_them():
    names = ["float32", "load1_float32", "sqrt", "store1_float32"]
    body = ["for i in range(begin, end):", *(f"    {v} = load1_float32(a{k}, i)" for k, v in enumerate("pgmv")),
            "    m1 = (m * float32(0.9)) + (g * float32(0.1))",
            "    v1 = (v * float32(0.99)) + ((g * g) * float32(0.01))",
            "    store1_float32(out0, i, p - (m1 / (sqrt(v1) + float32(1e-8))))",
            "    store1_float32(out1, i, m1)", "    store1_float32(out2, i, v1)"]  # fmt: skip
    arguments = ["a0", "a1", "a2", "a3", "out0", "out1", "out2"]
    text = source(names, body, arguments)
    assembly = cpu_compile.assembly(text, "kernel", ("address",) * 7)
    assert vectorised(assembly)
    assert assembly.count("ja\t") + assembly.count("jb\t") + assembly.count("jae\t") <= 4, "no checks of 12 pairs"
    p, g, m, v = np.random.default_rng(0).random((4, 1001), dtype=np.float32)
    want = (
        p - (0.9 * m + 0.1 * g) / (np.sqrt(0.99 * v + 0.01 * g * g) + 1e-8),
        0.9 * m + 0.1 * g,
        0.99 * v + 0.01 * g * g,
    )
    load(text, ["address"] * 7)(
        0, 1001, 0, *(x.ctypes.data for x in (p, g, m, v, p, m, v))
    )  # the outputs take their inputs
    for got, expected in zip((p, m, v), want, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_an_output_may_take_the_memory_of_an_input_it_does_not_depend_on():
    text = source(["load1_float32", "store1_float32"],
                  ["for i in range(begin, end):", "    x = load1_float32(a0, i)", "    y = load1_float32(a1, i)",
                   "    store1_float32(out0, i, y + y)", "    store1_float32(out1, i, x + y)"],
                  ["a0", "a1", "out0", "out1"])  # fmt: skip
    x, y, out = np.random.default_rng(0).random((3, 999), dtype=np.float32)
    want = y + y, x + y
    load(text, ["address"] * 4)(0, 999, 0, *(a.ctypes.data for a in (x, y, x, out)))
    assert np.array_equal(x, want[0])
    assert np.array_equal(out, want[1])


# Memory.


def patterns(dtype):
    """Values of a memory dtype: all of the 8- and 16-bit ones."""
    if dtype == "bool":
        return np.arange(64) % 3 == 0
    kind = NUMPY[dtype]
    if kind.itemsize <= 2:
        unsigned = np.dtype(f"uint{8 * kind.itemsize}")
        return np.arange(2 ** (8 * kind.itemsize), dtype=unsigned).view(kind)
    if kind.kind == "f":
        return every_exponent(kind)
    return np.random.default_rng(0).integers(np.iinfo(kind).min, np.iinfo(kind).max, 1000, kind, endpoint=True)


@pytest.mark.parametrize("dtype", NUMPY)
def test_what_is_loaded_and_stored_is_the_same(dtype):
    x = patterns(dtype)
    got = run(elementwise("x0", [], [dtype], dtype), [x, np.empty_like(x)])
    with np.errstate(invalid="ignore"):  # signalling nan
        numbers = ~np.isnan(x.astype(np.float64))
        assert np.isnan(got[~numbers].astype(np.float64)).all()
    assert np.array_equal(got[numbers].view(np.uint8), x[numbers].view(np.uint8))


@pytest.mark.parametrize("dtype", NARROW)
def test_narrow_floats_round_to_nearest_even(dtype):
    x = every_exponent()
    x = np.concatenate([x, (x.view(np.uint32) & 0xFFFF8000 | 0x8000).view(np.float32)])  # ties
    with np.errstate(all="ignore"):
        want = converted(x, NUMPY[dtype]).astype(np.float32)
    stored = run(elementwise("x0", [], ["float32"], dtype), [x, np.empty(x.size, NUMPY[dtype])]).astype(np.float32)
    rounded = run(elementwise(f"to_{dtype}(x0)", [f"to_{dtype}"], ["float32"], "float32"), [x, np.empty_like(x)])
    np.testing.assert_array_equal(stored, want)
    np.testing.assert_array_equal(rounded, want)
    assert np.array_equal(np.signbit(rounded[want == 0]), np.signbit(want[want == 0]))


def test_any_nonzero_byte_is_true():
    x = np.array([0, 1, 2, 255], np.uint8)
    assert run(elementwise("x0", [], ["bool"], "bool"), [x, np.empty(4, np.uint8)]).tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize("dtype", NUMPY)
def test_guards_touch_nothing_outside(dtype):
    """Half of the array lies behind an address that cannot be read: a touch would end the process."""
    names = [f"load1_{dtype}_if", f"store1_{dtype}_if"]
    text = source(names, ["for i in range(begin, end):", "    ok = i < n", f"    x = load1_{dtype}_if(a0, i, ok)",
                          f"    store1_{dtype}_if(out0, i, x, ok)"], ["a0", "out0"])  # fmt: skip
    x = np.ones(7, NUMPY[dtype])
    out = np.zeros(16, NUMPY[dtype])
    load(text, ["address"] * 2)(0, 16, 7, x.ctypes.data, out.ctypes.data)
    assert out.tolist() == [1] * 7 + [0] * 9
    load(text, ["address"] * 2)(0, 1 << 20, 0, 8, 8)  # address 8 belongs to nobody


def test_a_guarded_load_gives_zero():
    text = source(["load1_float32_if", "store1_float32"],
                  ["for i in range(begin, end):", "    store1_float32(out0, i, load1_float32_if(a0, i, (i & 1) == 0))"],
                  ["a0", "out0"])  # fmt: skip
    x = np.arange(1, 9, dtype=np.float32)
    assert run(text, [x, np.full(8, 9, np.float32)]).tolist() == [1, 0, 3, 0, 5, 0, 7, 0]


# Combining and integers.


def pairs(dtype):
    """All pairs of the interesting values of a dtype."""
    kind = NUMPY[dtype]
    if dtype == "bool":
        values = [False, True]
    elif kind.kind == "f":
        values = [*SPECIAL, 7.25, -7.25, 1e30, 3.0]
    else:
        least, most = np.iinfo(kind).min, np.iinfo(kind).max
        values = [v for v in (0, 1, -1, 2, 7, -7, 3, -3, 100, least, least + 1, most) if least <= v <= most]
    with np.errstate(all="ignore"):
        values = np.array(values).astype(kind)
    grid = np.meshgrid(values, values)
    return grid[0].ravel().copy(), grid[1].ravel().copy()


REGISTERS = [d for d in NUMPY if d not in NARROW]
PAIRWISE = {"maximum": np.maximum, "minimum": np.minimum, "floordiv": np.floor_divide, "modulo": np.remainder}


@pytest.mark.parametrize("dtype", REGISTERS)
@pytest.mark.parametrize("name", PAIRWISE)
def test_pairwise(name, dtype):
    if dtype == "bool" and name in ("floordiv", "modulo"):
        pytest.skip("not defined for bool")
    x, y = pairs(dtype)
    got = run(elementwise(f"{name}(x0, x1)", [name], [dtype, dtype], dtype), [x, y, np.empty_like(x)])
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(got, PAIRWISE[name](x, y))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64"])
def test_integer_division_towards_zero(dtype):
    x, y = pairs(dtype)
    got = run(elementwise("trunc_divide(x0, x1)", ["trunc_divide"], [dtype, dtype], dtype), [x, y, np.empty_like(x)])
    bits = 8 * x.itemsize
    for a, b, g in zip(x.tolist(), y.tolist(), got.tolist(), strict=True):
        quotient = 0 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
        assert (g - quotient) % 2**bits == 0, (a, b, g)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64"])
def test_absolute_integers(dtype):
    x, _ = pairs(dtype)
    np.testing.assert_array_equal(
        run(elementwise("absolute(x0)", ["absolute"], [dtype], dtype), [x, np.empty_like(x)]), np.abs(x)
    )


@pytest.mark.parametrize(("dtype", "most"), [("float32", 1.0), ("float64", 2.0)])
def test_power(dtype, most):
    x, y = pairs(dtype)
    got = run(elementwise("power(x0, x1)", ["power"], [dtype, dtype], dtype), [x, y, np.empty_like(x)])
    with np.errstate(all="ignore"):
        want = np.power(x.astype(np.float64), y.astype(np.float64))
    assert ulps(got, want).max() <= most


def test_logic():
    x, y = pairs("bool")
    assert (
        run(elementwise("logical_not(x0)", ["logical_not"], ["bool"], "bool"), [x, np.empty_like(x)]).tolist()
        == (~x).tolist()
    )
    both = elementwise("logical_not(x0 & x1) | (x0 & x1)", ["logical_not"], ["bool", "bool"], "bool")
    assert run(both, [x, y, np.empty_like(x)]).all()


@pytest.mark.parametrize("dtype", REGISTERS)
def test_select(dtype):
    x, y = pairs(dtype)
    c = np.arange(x.size) % 2 == 0
    got = run(elementwise("select(x0, x1, x2)", ["select"], ["bool", dtype, dtype], dtype), [c, x, y, np.empty_like(x)])
    np.testing.assert_array_equal(got, np.where(c, x, y))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_isnan(dtype):
    x, _ = pairs(dtype)
    assert np.array_equal(
        run(elementwise("isnan(x0)", ["isnan"], [dtype], "bool"), [x, np.empty(x.size, bool)]), np.isnan(x)
    )


COMBINE = {"add": np.add, "mul": np.multiply, "maximum": np.maximum, "minimum": np.minimum, "logical_or": np.logical_or,
           "logical_and": np.logical_and}  # fmt: skip


@pytest.mark.parametrize("dtype", REGISTERS)
@pytest.mark.parametrize("combine", COMBINE)
def test_folds(combine, dtype):
    if ("logical" in combine) != (dtype == "bool"):
        pytest.skip("no such fold")
    rng, columns = np.random.default_rng(1), 100
    x = (
        (rng.random((5, columns)) * (1.02 if combine == "mul" else 20)).astype(NUMPY[dtype])
        if dtype != "bool"
        else rng.random((5, columns)) < 0.01
    )
    fold, kind = f"fold_{combine}_{dtype}", "boolean" if dtype == "bool" else dtype
    body = ["for g in range(begin, end):", f"    acc = load1_{dtype}(a0, g * n)", "    for r in range(1, n):",
            f"        acc = {fold}(acc, load1_{dtype}(a0, g * n + r))",
            f"    store1_{dtype}(out0, g, acc)"]  # fmt: skip
    got = run(
        source([fold, kind, f"load1_{dtype}", f"store1_{dtype}"], body, ["a0", "out0"]),
        [x, np.empty(5, x.dtype)],
        columns,
    )
    want = COMBINE[combine].reduce(x, axis=1, dtype=x.dtype)
    np.testing.assert_allclose(got, want, rtol=1e-5 if dtype == "float32" else 1e-12)


def test_a_fold_keeps_nan_and_vectorises():
    body = ["for g in range(begin, end):", "    acc = float32(-inf())", "    for r in range(n):",
            "        acc = fold_maximum_float32(acc, load1_float32(a0, g * n + r))",
            "    store1_float32(out0, g, acc)"]  # fmt: skip
    text = source(["float32", "fold_maximum_float32", "inf", "load1_float32", "store1_float32"], body, ["a0", "out0"])
    assert vectorised(cpu_compile.assembly(text, "kernel", ("address",) * 2))
    x = np.random.default_rng(0).random((3, 100), dtype=np.float32)
    x[1, 57], x[2] = np.nan, -np.inf
    np.testing.assert_array_equal(run(text, [x, np.empty(3, np.float32)], 100), x.max(1))


@pytest.mark.parametrize("name", ["udiv32", "umod32", "udiv64", "umod64"])
def test_unsigned_division(name):
    most = 2**31 - 1 if "32" in name else 2**62
    x = np.random.default_rng(0).integers(0, most, 1000)
    y = np.maximum(np.random.default_rng(1).integers(0, most, 1000) >> np.arange(1000) % 31, 1)
    got = run(elementwise(f"{name}(x0, x1)", [name], ["int64", "int64"], "int64"), [x, y, np.empty_like(x)])
    np.testing.assert_array_equal(got, x // y if "div" in name else x % y)


# Conversions and random numbers.


@pytest.mark.parametrize("to", NUMPY)
@pytest.mark.parametrize("dtype", REGISTERS)
def test_conversions(dtype, to):
    x, _ = pairs(dtype)
    out = "float32" if to in NARROW else to
    if x.dtype.kind == "f" and NUMPY[to].kind in "iu":  # numpy leaves the others undefined
        x = np.array([0.0, -0.0, 0.9, 1.5, 100.99, *([] if to == "uint8" else [-0.9, -1.5, -100.99])], x.dtype)
    got = run(elementwise(f"to_{to}(x0)", [f"to_{to}"], [dtype], out), [x, np.empty(x.size, NUMPY[out])])
    with np.errstate(all="ignore"):
        want = converted(x.astype(np.float32 if to in NARROW else NUMPY[to]), NUMPY[to]).astype(NUMPY[out])
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("to", ["int8", "uint8", "int16", "int32", "int64"])
def test_floats_beyond_an_integer_saturate(to):
    x = np.array([np.inf, -np.inf, 1e30, -1e30, np.nan], np.float32)
    got = run(elementwise(f"to_{to}(x0)", [f"to_{to}"], ["float32"], to), [x, np.empty(5, NUMPY[to])])
    limits = np.iinfo(NUMPY[to])
    assert got.tolist() == [limits.max, limits.min, limits.max, limits.min, 0]


def test_philox():
    rng = np.random.default_rng(0)
    key, counter = rng.integers(-(2**63), 2**63, 5000), np.concatenate([np.arange(1000), rng.integers(0, 2**63, 4000)])
    got = run(
        elementwise("philox(x0, x1)", ["philox"], ["int64", "int64"], "int64"), [key, counter, np.empty_like(key)]
    )
    np.testing.assert_array_equal(got, philox_reference(key, counter))


def test_constants_and_the_single_lane():
    text = source(["barrier", "block", "gather_add_float64_1", "inf", "nan", "store1_float64", "thread"],
                  ["store1_float64(out0, 0, gather_add_float64_1(inf()))", "store1_float64(out0, 1, nan())",
                   "barrier()",
                   "store1_float64(out0, 2, 1.0 * (thread() + block()))"], ["out0"])  # fmt: skip
    np.testing.assert_array_equal(run(text, [np.empty(3)]), [np.inf, np.nan, 0.0])


def test_values_as_parameters():
    kinds = ["float32", "float64", "int32", "int64", "boolean", "uint8", "int8", "int16"]
    stores = [{"boolean": "bool"}.get(k, k) for k in kinds]
    text = source([f"store1_{s}" for s in stores],
                  [f"store1_{s}(out0 + {8 * k}, 0, v{k})" for k, s in enumerate(stores)],
                  ["out0", *(f"v{k}" for k in range(len(kinds)))])  # fmt: skip
    kernel = load(text, ["address", *kinds])
    out = np.zeros(64, np.uint8)
    kernel(0, 1, 0, out.ctypes.data, 1.5, 2.5, -3, -4, True, 200, -5, -6)
    got = [out[8 * k : 8 * k + NUMPY[s].itemsize].view(NUMPY[s])[0] for k, s in enumerate(stores)]
    assert got == [1.5, 2.5, -3, -4, True, 200, -5, -6]


def test_an_unknown_name_says_so():
    import flame.runtime.prelude_cpu as prelude

    with pytest.raises(AttributeError, match="no load1_float33"):
        prelude.load1_float33  # noqa: B018
