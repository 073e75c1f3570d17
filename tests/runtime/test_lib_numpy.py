"""Products and orders on the CPU: the parts of a shared product are the whole; BLAS keeps the user's threads."""

import subprocess
import sys

import numpy as np
import pytest

from flame.ir import dtype as dt
from flame.ir.library import MatmulSpec, SortSpec, View
from flame.runtime import lib_numpy

rng = np.random.default_rng(0)
ROWS, COLUMNS = (64, 1), (1, 64)  # strides of square matrices of 64, and of their transposes


def spec(batch, a, b):
    return MatmulSpec("float32", batch, 64, 64, 64, a, b)


CASES = {
    "matrices": spec((), View(0, ROWS), View(0, COLUMNS)),
    "an offset": spec((), View(64, COLUMNS), View(128, ROWS)),
    "a batch": spec((5,), View(0, (4096, *ROWS)), View(0, (4096, *COLUMNS))),
    "a batch of one matrix": spec((5,), View(0, (4096, *COLUMNS)), View(0, (0, *ROWS))),
    "a row": MatmulSpec("float32", (), 1, 64, 64, View(0, (0, 1)), View(0, ROWS)),
    "rows of columns": MatmulSpec("float32", (2,), 16, 64, 64, View(0, (4096, *COLUMNS)), View(8, (4096, *COLUMNS))),
    "two batch axes": spec((3, 2), View(0, (4096, 0, *ROWS)), View(0, (0, 4096, *ROWS))),
}


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("name", CASES)
def test_the_parts_are_the_whole(name, threads, monkeypatch):
    monkeypatch.setattr(lib_numpy, "SHARED_FROM", 1)
    product = CASES[name]
    a, b = (rng.normal(size=6 * 4096).astype(np.float32) for _ in range(2))
    out = np.full((*product.batch, product.m, product.n), np.nan, np.float32)
    runs = lib_numpy.bind(product, threads)
    assert len(runs) == threads or lib_numpy.blas() is None
    for run in runs:
        run(out.ctypes.data, a.ctypes.data, b.ctypes.data)
    np.testing.assert_allclose(out, product.numpy(a, b), rtol=1e-4, atol=1e-4)


def test_small_products_and_other_libraries_are_not_shared(monkeypatch):
    assert len(lib_numpy.bind(CASES["matrices"], 8)) == 1
    monkeypatch.setattr(lib_numpy, "SHARED_FROM", 1)
    monkeypatch.setattr(lib_numpy, "blas", lambda: None)
    assert len(lib_numpy.bind(CASES["matrices"], 8)) == 1
    with lib_numpy.one_thread():
        pass


def test_blas_has_one_thread_inside_and_its_own_number_outside():
    if lib_numpy.blas() is None:
        pytest.skip("NumPy has no OpenBLAS here")
    get, _ = lib_numpy.blas()
    before = get()
    with lib_numpy.one_thread():
        assert get() == 1
    assert get() == before


def test_it_is_numpys_blas_and_not_scipys():
    """Beside SciPy's own OpenBLAS, the threads of NumPy's are the ones that matter."""
    program = (
        "import scipy.linalg, numpy as np, threadpoolctl; from flame.runtime import lib_numpy;"
        "numpys = lambda: [i['num_threads'] for i in threadpoolctl.threadpool_info() if 'numpy.libs' in i['filepath']];"
        "before = numpys(); scope = lib_numpy.one_thread(); scope.__enter__(); assert numpys() in ([1], []);"
        "scope.__exit__(); assert numpys() == before"
    )
    for package in ("scipy", "threadpoolctl"):
        pytest.importorskip(package)
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("descending", [False, True], ids=["up", "down"])
@pytest.mark.parametrize("dtype", [d for d in dt.BY_NAME.values() if not d.stored], ids=str)
def test_orders_are_stable_and_nan_is_the_largest(dtype, descending):
    rng = np.random.default_rng(1)
    for rows, n in ((1, 1), (7, 40), (3, 6000)):
        if dtype.is_float:
            special = [np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-7, -2.5]
            given = rng.choice([*special, *rng.normal(size=20)], (rows, n)).astype(dtype.numpy)
        elif dtype is dt.boolean:
            given = rng.random((rows, n)) < 0.5
        else:
            info = np.iinfo(dtype.numpy)
            given = rng.choice(np.array([info.min, info.max, 0, 1, 5], dtype.numpy), (rows, n))
        for ranks in ((0, n), (n // 8, n // 5 + 1), (n - 1, n)):
            spec = SortSpec(dtype.name, rows, n, descending, ranks)
            out = np.full((rows, spec.selected), -1)
            for run in lib_numpy.bind_sort(spec, 2):
                run(out.ctypes.data, given.ctypes.data)
            np.testing.assert_array_equal(out, spec.numpy(given))
