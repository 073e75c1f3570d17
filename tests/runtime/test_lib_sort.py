"""Sorting on CUDA: the kernels under numpy, which checks bounds and races, order as the oracle does; all compile."""

import numpy as np
import pytest

from flame.ir import dtype as dt
from flame.ir.library import SortSpec
from flame.runtime import cuda_compile, lib_sort, prelude_numpy

needs_compiler = pytest.mark.skipif(bool(why := cuda_compile.why_not()), reason=f"no CUDA compiler: {why}")
SHAPES = [(1, 1), (3, 2), (2, 31), (5, 32), (4, 33), (2, 64), (3, 65), (1, 1000), (7, 129), (40, 100), (1, 5000)]


def keys(dtype: dt.DType, rows: int, n: int) -> np.ndarray:
    """Few different values, so that many are equal; nan, infinities and both zeros among floats."""
    rng = np.random.default_rng([rows, n])
    if dtype is dt.boolean:
        return rng.random(rows * n) < 0.5
    found = rng.integers(0 if dtype is dt.uint8 else -20, 20, rows * n).astype(dtype.numpy)
    if dtype.is_float:
        at = rng.integers(0, rows * n, rows * n // 4)
        found[at] = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0], len(at)).astype(dtype.numpy)
    return found


def sort(spec: SortSpec, given: np.ndarray) -> np.ndarray:
    """The plan of a sort, run under numpy on poisoned memory."""
    plan = lib_sort.plan(spec)
    kinds = {"even": given.dtype, "odd": given.dtype, "spare": np.dtype(np.int64)}
    memory = {"keys": given, "out": np.full(given.size, -1, np.int64)}
    for name, nbytes in plan.workspaces.items():
        assert nbytes >= given.size * kinds[name].itemsize and nbytes % lib_sort.ALIGN == 0
        memory[name] = np.full(given.size * kinds[name].itemsize, 0xFF, np.uint8).view(kinds[name])
    for p in plan.passes:
        operands = [memory[o] if isinstance(o, str) else np.int64(o) for o in p.operands]
        assert [isinstance(o, str) for o in p.operands] == [kind == "address" for kind in p.code.signature]
        prelude_numpy.run(p.code.source, p.code.name, p.code.blocks, p.code.threads, p.code.extent, operands)
    return memory["out"].reshape(spec.rows, spec.n)


@pytest.mark.parametrize("descending", [False, True], ids=["up", "down"])
@pytest.mark.parametrize("dtype", [d for d in dt.BY_NAME.values() if not d.stored], ids=str)
def test_every_dtype_and_length(dtype: dt.DType, descending: bool):
    for rows, n in SHAPES:
        spec, given = SortSpec(dtype.name, rows, n, descending), keys(dtype, rows, n)
        np.testing.assert_array_equal(sort(spec, given.copy()), spec.numpy(given))


def test_each_launch_doubles_the_runs():
    assert [len(lib_sort.plan(SortSpec("float32", 3, n, False)).passes) for n in (1, 32, 33, 64, 65, 1 << 20)] == [
        1, 1, 2, 2, 3, 16,
    ]  # fmt: skip


@needs_compiler
@pytest.mark.parametrize("descending", [False, True], ids=["up", "down"])
@pytest.mark.parametrize("dtype", [d for d in dt.BY_NAME.values() if not d.stored], ids=str)
def test_kernels_compile(dtype: dt.DType, descending: bool):
    for p in {p.code.name: p for p in lib_sort.plan(SortSpec(dtype.name, 2, 100, descending)).passes}.values():
        ptx = cuda_compile.ptx_cuda(p.code.source, p.code.name, p.code.signature, p.code.options((9, 0)))
        assert ".local" not in ptx
        cuda_compile.assemble(ptx, (9, 0))
