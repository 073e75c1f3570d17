"""The CUDA prelude under numpy: its meaning against plain numpy, and each fault that it must find."""

import numpy as np
import pytest

from flame.errors import ValidationError
from flame.runtime import prelude_numpy as p
from tests.runtime.printed import (
    BINARY,
    COMBINES,
    DTYPES,
    INTEGERS,
    REGISTERS,
    SHAPES,
    UNARY,
    copy_body,
    gather_body,
    gather_sample,
    gathered,
    same_bits,
    sample,
    threads_of,
    under_numpy,
)


@pytest.mark.parametrize("width", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_loaded_and_stored_is_the_same(dtype, width):
    x = sample(dtype, 3 * 32 * width)
    out = np.zeros_like(x)
    under_numpy(copy_body(width, dtype, False), [x, out], blocks=3)
    assert same_bits(x, out)


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_masked_lanes_touch_nothing(dtype, width):
    x = sample(dtype, 40 * width)  # fewer elements than lanes
    out = np.zeros_like(x)
    under_numpy(copy_body(width, dtype, True), [x, out], n=40 * width, blocks=3)
    assert same_bits(x, out)
    loaded = np.ones(96, np.int32)
    body = "t0 = block() * 32 + thread()\nstore1_int32(a1, t0, to_int32(load1_int32_if(a0, t0, t0 < 5)))"
    under_numpy(body, [np.full(5, 7, np.int32), loaded], blocks=3)
    assert loaded.tolist() == [7] * 5 + [0] * 91


@pytest.mark.parametrize("combine", COMBINES)
@pytest.mark.parametrize("dtype", REGISTERS)
def test_gathers(dtype, combine):
    for shape in SHAPES:
        threads = threads_of(shape)
        x = gather_sample(combine, dtype, 2 * threads)
        out = np.zeros_like(x)
        under_numpy(gather_body(combine, dtype, shape), [x, out], blocks=2, threads=threads)
        wanted = gathered(x, combine, shape)
        if x.dtype.kind == "f":
            np.testing.assert_allclose(out, wanted, rtol=1e-4, atol=1e-4)
        else:
            assert np.array_equal(out, wanted), shape


def test_a_nan_in_a_row_is_gathered():
    x = np.arange(64, dtype=np.float32)
    x[3] = np.nan
    out = np.zeros_like(x)
    under_numpy(gather_body("maximum", "float32", "32"), [x, out], blocks=2)
    assert np.isnan(out[:32]).all() and (out[32:] == 63).all()


def test_blocks_in_turns_are_the_same(monkeypatch):
    x = sample("float32", 32 * 100)
    out = np.zeros_like(x)
    monkeypatch.setattr(p, "CHUNK", 96)
    under_numpy(
        "t0 = block() * 32 + thread()\nstore1_float32(a1, t0, exp(load1_float32(a0, t0)))", [x, out], blocks=100
    )
    assert np.array_equal(out, np.exp(x))


@pytest.mark.parametrize("name", [*UNARY, *BINARY])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_keep_their_dtype(name, dtype):
    x = np.array([0.5, 1.5, 2.5, -0.0, np.inf, np.nan], dtype)
    given = (x,) if name in UNARY else (x, dtype(2))
    got = getattr(p, name)(*given)
    assert got.dtype == dtype
    if name in ("exp", "log", "sqrt", "tanh", "floor", "maximum", "power"):
        with np.errstate(all="ignore"):
            assert same_bits(got, getattr(np, name)(*given))


def test_rounding_is_to_even_and_erf_is_odd():
    assert p.round(np.array([0.5, 1.5, 2.5, -0.5])).tolist() == [0.0, 2.0, 2.0, -0.0]
    assert p.erf(np.float32(-1.0)) == -p.erf(np.float32(1.0)) and p.erf(np.float32(1.0)).dtype == np.float32
    assert p.sigmoid(np.float32(-np.inf)) == 0 and p.sigmoid(np.float32(np.inf)) == 1


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integer_division(dtype):
    least = np.iinfo(dtype).min
    x = np.array([7, 7, 100, 0, 5, least, least], dtype)
    y = np.array([2, 3, 7, 5, 0, 1, 3], dtype)
    x[1:3] = np.array([-7, -100]).astype(dtype)
    with np.errstate(all="ignore"):
        assert np.array_equal(p.floordiv(x, y), np.floor_divide(x, y))
        assert np.array_equal(p.modulo(x, y), np.mod(x, y))
    wanted = [0 if b == 0 else int(a / b) if abs(int(a)) < 2**50 else -(-int(a) // int(b)) for a, b in zip(x, y)]
    assert p.trunc_divide(x, y).tolist() == wanted
    assert p.floordiv(x, y).dtype == x.dtype == p.trunc_divide(x, y).dtype


def test_unsigned_division_is_the_hardwares():
    assert p.udiv32(np.int64(7), 2) == 3 and p.umod64(np.int64(2**40 + 1), 2**40) == 1
    assert p.udiv32(np.int64(-1), 5) == (2**32 - 1) // 5  # a masked lane's position: no access uses it
    with pytest.raises(ValidationError, match="unsigned division"):
        p.udiv32(np.int64(1), np.int64(0))


def test_conversions():
    x = np.array([1.9, -1.9, 300.0, 0.0, np.nan], np.float32)
    assert p.to_int32(x[:4]).tolist() == [1, -1, 300, 0]
    assert p.to_uint8(x[:4]).tolist() == [1, 255, 44, 0]
    assert p.to_bool(x).tolist() == [True, True, True, False, True]
    assert p.to_bfloat16(np.float32(1.00390625)) == 1.0 and p.to_bfloat16(np.float64(2.0)).dtype == np.float32
    assert p.to_float16(np.float32(1e6)) == np.inf and p.to_float16(np.float32(0.1)) == np.float16(0.1)
    assert p.int32(np.int64(2**31)) == -(2**31) and p.boolean(np.int8(2)) == np.True_


def test_philox_is_the_published_one():
    # Random123's known answers for philox4x32-10: all zeros, and the key words in place
    assert [int(p.philox(0, c)) for c in range(4)] == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert int(p.philox(np.int64(5), np.arange(8)).max()) < 2**32


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("store1_float32(a1, thread(), load1_float32(a0, thread() + 1))", "index 64 .*leaves argument 0 of k of 64"),
        ("store1_float32(a1, thread() - 1, float32(1.0))", "index -1 .*leaves argument 1"),
        (
            "v0 = load4_float32(a0, thread())\nstore1_float32(a1, thread(), v0[0])",
            "leaves argument 0|not 16-byte aligned",
        ),
        ("v0 = load2_float32_if(a0, thread(), thread() < 9)", "not 8-byte aligned"),
        ("store1_float32(a1, thread() * 0, to_float32(thread()))", "two lanes meet at element 0"),
        ("store1_float32(a1, thread(), float32(1.0))\nv0 = load1_float32(a1, thread() * 0)", "another lane writes"),
        ("v0 = load1_float32(a1, thread() * 0)\nstore1_float32(a1, thread(), float32(1.0))", "a race"),
        ("store1_float32(a1, thread(), 1.0)", "given float64"),
        ("store1_float32(a1, thread(), float64(1.0))", "given float64"),
        ("v0 = load1_float64(a1, thread())", "holds float32"),
        ("v0 = load1_float32(n, thread())", "for an address"),
        ("v0 = gather_add_float32_96(load1_float32(a0, thread()))", "64 threads are no whole number"),
        ("v0 = gather_add_float32_32(to_float64(load1_float32(a0, thread())))", "given float64"),
    ],
)
def test_faults_are_found(body, message):
    with pytest.raises(ValidationError, match=message):
        under_numpy(body, [np.zeros(64, np.float32), np.zeros(64, np.float32)], threads=64)


def test_a_donated_buffer_may_be_rewritten_by_its_reader():
    x = np.arange(64, dtype=np.float32)
    body = "v0 = load1_float32(a0, thread())\nstore1_float32(a1, thread(), v0 + gather_add_float32_64(v0))"
    under_numpy(body, [x, x], threads=64)
    assert x[0] == 2016
    with pytest.raises(ValidationError, match="a race"):
        under_numpy("store1_float32(a1, thread(), load1_float32(a0, 63 - thread()))", [x, x], threads=64)


def test_equal_values_may_meet():
    out = np.zeros(2, np.float32)
    under_numpy("store1_float32(a0, block(), float32(3.0))", [out], blocks=2)
    assert out.tolist() == [3, 3]


def test_values_are_passed_through():
    out = np.zeros(32, np.float32)
    body = "store1_float32(a2, thread(), select(a1, a0, float32(0.0)) * to_float32(n))"
    under_numpy(body, [np.float32(2.5), np.True_, out], n=4)
    assert (out == 10).all()
    with pytest.raises(AttributeError, match="has no load3_float32"):
        _ = p.load3_float32
