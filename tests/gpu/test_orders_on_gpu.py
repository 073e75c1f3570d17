"""Scans, orders, selections, scatters and masks on a GPU: the numbers are NumPy's, at sizes that reach every kernel."""

import numpy as np
import pytest

import flame
from flame.ir import dtype as dt
from flame.ir.library import SortSpec
from tests.runtime.test_lib_sort import keys

pytestmark = pytest.mark.gpu
ROWS = [(1, 1), (3, 33), (1000, 64), (100, 1000), (37, 1024), (50, 3000), (9, 8193), (300, 20000), (1, 1 << 20)]
LENGTHS = [(5, 7), (300, 64), (100, 1000), (40, 4096), (12, 9001), (3, 100003), (1, 1 << 21)]


@pytest.mark.parametrize("shape", ROWS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64", "float64", "bool"])
def test_orders(dtype, shape):
    rows, n = shape
    given = keys(SortSpec(dtype, rows, n, False, (0, n))).reshape(shape)
    x = flame.tensor(np.asarray(given, np.float32) if dtype == "bfloat16" else given, device="cuda").to(
        dt.BY_NAME[dtype]
    )
    for down in (False, True):
        spec = SortSpec(dtype, rows, n, down, (0, n))
        want = spec.numpy(given)
        np.testing.assert_array_equal(x.argsort(1, descending=down).numpy(), want)
        values = x.sort(1, descending=down).values.float().numpy()
        np.testing.assert_array_equal(values, np.take_along_axis(given, want, 1).astype(np.float32))
        k = min(n, 7)
        np.testing.assert_array_equal(x.topk(k, 1, largest=down).indices.numpy(), want[:, :k])


@pytest.mark.parametrize("shape", LENGTHS, ids=str)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
def test_scans(shape, reverse):
    given = np.random.default_rng(0).uniform(0.5, 1.0, shape).astype(np.float32)
    x = flame.tensor(given, device="cuda")
    turn = (lambda a: np.flip(a, 1)) if reverse else (lambda a: a)
    way = (lambda t: t.flip(1)) if reverse else (lambda t: t)
    wide = turn(given).astype(np.float64)
    np.testing.assert_allclose(way(way(x).cumsum(1)).numpy(), turn(np.cumsum(wide, 1)), rtol=2e-5)
    np.testing.assert_array_equal(way(way(x).cummax(1).values).numpy(), turn(np.maximum.accumulate(turn(given), 1)))
    np.testing.assert_allclose(
        way(way(x).logcumsumexp(1)).numpy(), turn(np.logaddexp.accumulate(wide, 1)), rtol=2e-5, atol=1e-5
    )


@pytest.mark.parametrize("hot", [False, True], ids=["spread", "hot"])
@pytest.mark.parametrize(("count", "width", "size"), [(1 << 20, 1, 1000), (16384, 256, 1024), (5000, 77, 3)], ids=str)
def test_scatters(count, width, size, hot):
    rng = np.random.default_rng(0)
    at = (
        np.where(rng.random(count) < 0.9, size // 2, rng.integers(0, size, count))
        if hot
        else rng.integers(0, size, count)
    )
    values = rng.uniform(-1, 1, (count, width)).astype(np.float32)
    x = flame.zeros(size, width, device="cuda")
    made = [
        x.index_add(0, flame.tensor(at, device="cuda"), flame.tensor(values, device="cuda")).numpy() for _ in range(2)
    ]
    want = np.zeros((size, width))
    np.add.at(want, at, values.astype(np.float64))
    np.testing.assert_array_equal(made[0], made[1])
    np.testing.assert_allclose(made[0], want, rtol=1e-4, atol=1e-2 if hot or size == 3 else 1e-3)
    counted = flame.bincount(flame.tensor(at, device="cuda"), minlength=size).numpy()
    np.testing.assert_array_equal(counted, np.bincount(at, minlength=size))


@pytest.mark.parametrize("shape", [(1,), (4096,), (300, 77), (1 << 21,)], ids=str)
def test_masks(shape):
    given = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    x = flame.tensor(given, device="cuda")
    for bar in (-9.0, 0.0, 2.0, 9.0):
        np.testing.assert_array_equal(x[x > bar].numpy(), given[given > bar])
        np.testing.assert_array_equal((x > bar).nonzero().numpy(), np.argwhere(given > bar))
