"""cuBLASLt on a GPU against numpy: dtypes, layouts, batches, broadcasts, odd sizes and addresses."""

import ml_dtypes
import numpy as np
import pytest

from flame.ir.library import MatmulSpec, View
from flame.runtime import cuda
from flame.runtime import lib_cublaslt as lib
from tests.gpu.device_kernel import OnDevice
from tests.runtime.printed import memory_type

pytestmark = pytest.mark.gpu
CLOSE = {"float16": 2e-3, "bfloat16": 1e-2, "float32": 2e-6, "float64": 1e-13}


@pytest.fixture(autouse=True)
def _library():
    assert cuda.available(), cuda.why_not()
    cuda.use(0)
    if not lib.available():
        pytest.skip(lib.why_not())


def layout(rng, dtype, batch, rows, columns, turned, padded):
    """An array of any layout and the memory it lies in; `padded` widens the leading dimension by 8 elements."""
    shape = (*batch, columns, rows) if turned else (*batch, rows, columns)
    memory = rng.standard_normal((*shape[:-1], shape[-1] + 8 * padded)).astype(memory_type(dtype))
    view = memory[..., : shape[-1]]
    return (view.swapaxes(-1, -2) if turned else view), memory


def view(array, memory):
    """Where an array lies in its memory."""
    start = (array.__array_interface__["data"][0] - memory.__array_interface__["data"][0]) // array.itemsize
    return View(start, tuple(s // array.itemsize for s in array.strides))


def check(dtype, a, b, a_memory, b_memory, offset=0) -> None:
    """The library's product of two views is numpy's in float64."""
    (*batch, m, k), n = a.shape, b.shape[-1]
    spec = MatmulSpec(dtype, tuple(batch), m, n, k, view(a, a_memory), view(b, b_memory))
    assert lib.supports(spec), spec
    out = np.full((*batch, m, n), np.nan).astype(a.dtype)
    stream = cuda.Stream()
    with OnDevice(a_memory, offset) as x, OnDevice(b_memory, offset) as y, OnDevice(out, offset) as z:
        lib.matmul(x.address, y.address, z.address, spec, stream)
        stream.synchronize()
        got = z.read().astype(np.float64)
    wanted = a.astype(np.float64) @ b.astype(np.float64)
    scale = np.abs(a.astype(np.float64)) @ np.abs(b.astype(np.float64)) + 1e-30
    worst = (np.abs(got - wanted) / scale).max() if got.size else 0.0
    assert worst <= CLOSE[dtype], f"{spec}: relative error {worst:.2g}, allowed {CLOSE[dtype]:.2g}"


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("b_turned", [False, True])
@pytest.mark.parametrize("a_turned", [False, True])
@pytest.mark.parametrize("dtype", CLOSE)
def test_layouts(dtype, a_turned, b_turned, padded):
    rng = np.random.default_rng(1)
    for batch in ((), (3,), (2, 3)):
        a, a_memory = layout(rng, dtype, batch, 64, 48, a_turned, padded)
        b, b_memory = layout(rng, dtype, batch, 48, 80, b_turned, padded)
        check(dtype, a, b, a_memory, b_memory)


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("sizes", [(1, 7, 5), (7, 1, 5), (7, 5, 1), (33, 17, 129), (1, 1, 1000), (257, 255, 3)])
def test_odd_sizes(dtype, sizes):
    rng, (m, n, k) = np.random.default_rng(2), sizes
    for turned in (False, True):
        a, a_memory = layout(rng, dtype, (2,), m, k, turned, False)
        b, b_memory = layout(rng, dtype, (2,), k, n, turned, False)
        check(dtype, a, b, a_memory, b_memory)


@pytest.mark.parametrize("dtype", CLOSE)
def test_broadcast_and_permuted_batches(dtype):
    rng = np.random.default_rng(3)
    a, a_memory = layout(rng, dtype, (2, 3), 16, 32, False, False)
    b, b_memory = layout(rng, dtype, (3,), 32, 24, False, False)
    check(dtype, a, np.broadcast_to(b, (2, 3, 32, 24)), a_memory, b_memory)
    check(dtype, a, np.broadcast_to(b[0], (2, 3, 32, 24)), a_memory, b_memory)
    check(dtype, np.broadcast_to(a[0, 0], (3, 16, 32)), b, a_memory, b_memory)
    check(dtype, a.swapaxes(0, 1), np.broadcast_to(b[:, None], (3, 2, 32, 24)), a_memory, b_memory)
    heads, memory = layout(rng, dtype, (2, 16), 3, 32, False, False)
    heads = heads.swapaxes(1, 2)  # (batch, head, time, dim) of (batch, time, head, dim)
    check(dtype, heads, np.broadcast_to(b, (2, 3, 32, 24)), memory, b_memory)
    check(dtype, heads, heads.swapaxes(-1, -2), memory, memory)
    check(dtype, heads[1:, 1:, 2:], heads[1:, 1:].swapaxes(-1, -2), memory, memory)


@pytest.mark.parametrize("dtype", CLOSE)
def test_addresses_that_are_barely_aligned(dtype):
    rng = np.random.default_rng(4)
    a, a_memory = layout(rng, dtype, (), 64, 64, False, False)
    b, b_memory = layout(rng, dtype, (), 64, 64, True, False)
    check(dtype, a, b, a_memory, b_memory, offset=lib.SIZE[dtype])


def test_long_sums_keep_float32_and_accumulate_halves_in_it():
    rng = np.random.default_rng(5)
    for dtype in ("float32", "bfloat16", "float16"):
        a, a_memory = layout(rng, dtype, (), 16, 32768, False, False)
        b, b_memory = layout(rng, dtype, (), 32768, 16, True, False)
        check(dtype, a, b, a_memory, b_memory)


def test_nothing_to_multiply():
    spec = MatmulSpec("float32", (2,), 4, 5, 0, View(0, (0, 0, 1)), View(0, (0, 5, 1)))
    with OnDevice(np.ones((2, 4, 5), np.float32)) as z:
        lib.matmul(z.address, z.address, z.address, spec)
        assert not z.read().any()
        lib.matmul(0, 0, 0, MatmulSpec("float32", (), 0, 5, 3, View(0, (3, 1)), View(0, (5, 1))))


def test_a_product_is_recorded_in_a_graph():
    a = np.ones((32, 32), ml_dtypes.bfloat16)
    spec, stream = MatmulSpec("bfloat16", (), 32, 32, 32, View(0, (32, 1)), View(0, (32, 1))), cuda.Stream()
    with OnDevice(a) as x, OnDevice(np.zeros_like(a)) as z:
        multiply = lib.bind(spec)
        multiply(x.address, x.address, z.address, stream)  # plans and takes its workspace before the recording
        stream.synchronize()
        cuda.fill(z.address, 0, a.nbytes)
        cuda.synchronize()
        with cuda.record(stream) as graphs:
            multiply(x.address, x.address, z.address, stream)
        graphs[0].launch(stream)
        stream.synchronize()
        assert (z.read() == 32).all()
