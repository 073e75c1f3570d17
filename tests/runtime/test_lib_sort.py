"""Sorting on CUDA: the kernels on the host, one fiber a thread, order as the oracle does; all compile for a GPU."""

from pathlib import Path

import numpy as np
import pytest

from flame.ir import dtype as dt
from flame.ir.library import SortSpec
from flame.runtime import cuda_routine, lib_sort, nvrtc
from tests.runtime import cuda_on_host

needs_compiler = pytest.mark.skipif(bool(why := nvrtc.why_not()), reason=f"no NVRTC: {why}")
needs_gcc = pytest.mark.skipif(bool(why := cuda_on_host.why_not()), reason=why)
SORTED = [d for d in dt.BY_NAME.values() if not d.stored]
SHAPES = [(1, 1), (5, 2), (2, 31), (5, 32), (3, 65), (130, 4), (3, 200), (2, 1000), (1, 1025), (2, 3000)]
LONG = [(1, 10000), (2, 9001)]
SOURCE = Path(lib_sort.__file__).with_name(lib_sort.FILE)


def keys(spec: SortSpec) -> np.ndarray:
    """Few different values, so that many are equal; nan, infinities and both zeros among floats."""
    rng, dtype, count = np.random.default_rng([spec.rows, spec.n]), dt.BY_NAME[spec.dtype], spec.rows * spec.n
    if spec.below:
        return rng.integers(0, spec.below, count).astype(dtype.numpy)
    if dtype is dt.boolean:
        return rng.random(count) < 0.5
    found = rng.integers(0 if dtype is dt.uint8 else -20, 20, count).astype(dtype.numpy)
    if dtype.is_float:
        at = rng.integers(0, count, count // 4)
        found[at] = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0], len(at)).astype(dtype.numpy)
    elif dtype is not dt.uint8:
        found[:: max(1, count // 3)] = np.iinfo(dtype.numpy).min
        found[1 :: max(1, count // 2)] = np.iinfo(dtype.numpy).max
    return found


def check(specs: list[SortSpec]) -> None:
    """Every sort, its kernels on the host on poisoned memory."""
    plans = [lib_sort.plan(s) for s in specs]
    kernels = cuda_on_host.compiled(SOURCE, list(dict.fromkeys(p.kernel for plan in plans for p in plan.passes)))
    for spec, plan in zip(specs, plans, strict=True):
        given = keys(spec)
        places, zeros, size = cuda_routine.offsets(plan)
        arena = np.full(size + 16, 0xFF, np.uint8)
        arena[:zeros] = 0
        memory = {name: arena[at:] for name, at in places.items()}
        kind = given.dtype if spec.values else np.dtype(np.int64)
        memory |= {
            "in0": given,
            "out": np.full((spec.rows * spec.selected + 1) * kind.itemsize, 0x5A, np.uint8).view(kind),
        }
        for p in plan.passes:
            kernels[p.kernel](p.blocks, p.threads, *(memory[o] if isinstance(o, str) else o for o in p.operands))
        assert (memory["out"][-1:].view(np.uint8) == 0x5A).all() and (arena[size:] == 0xFF).all()
        found = memory["out"][:-1].reshape(spec.rows, spec.selected)
        wanted = spec.numpy(given)
        if spec.values and kind == dt.bfloat16.numpy:  # NumPy does not know its nan
            found, wanted = found.astype(np.float32), wanted.astype(np.float32)
        np.testing.assert_array_equal(found, wanted, str(spec))


@needs_gcc
@pytest.mark.parametrize("descending", [False, True], ids=["up", "down"])
@pytest.mark.parametrize("dtype", [dt.float32, dt.bfloat16, dt.int64], ids=str)
def test_rows_of_every_length(dtype: dt.DType, descending: bool):
    check([SortSpec(dtype.name, rows, n, descending, (0, n)) for rows, n in SHAPES])


@needs_gcc
@pytest.mark.parametrize("descending", [False, True], ids=["up", "down"])
def test_long_rows(descending: bool):
    dtypes = [dt.float32, dt.int64, dt.float16]
    check([SortSpec(d.name, rows, n, descending, (0, n)) for d in dtypes for rows, n in LONG])


@needs_gcc
def test_other_dtypes():
    check([SortSpec(d.name, 2, n, n < 50, (0, n)) for d in SORTED for n in (40, 300)])


@needs_gcc
def test_some_ranks():
    given = [
        (700, (3, 10)),
        (700, (699, 700)),
        (9000, (0, 5)),
        (9000, (100, 101)),
        (9000, (8000, 8003)),
        (50000, (0, 7)),
    ]
    given += [(1000, (0, 8)), (1024, (2, 3)), (100, (0, 2)), (3000, (0, 16)), (70000, (0, 3))]
    check(
        [SortSpec(d, 2, n, n in (700, 1000), ranks) for d in ("float32", "float64", "bfloat16") for n, ranks in given]
    )


@needs_gcc
def test_values_alone():
    given = [(1, (0, 1)), (33, (0, 33)), (1000, (0, 1000)), (3000, (1, 2999)), (9000, (0, 9000)), (9000, (0, 5))]
    check([SortSpec(d.name, 2, n, n % 2 == 0, r, 0, True) for d in SORTED for n, r in given[:3]])
    check([SortSpec(d, 2, n, n == 3000, r, 0, True) for d in ("float32", "int64", "float16") for n, r in given[3:]])


@needs_gcc
def test_short_keys():
    given = [(60, 50), (9000, 1), (9000, 256), (9000, 257), (9000, 100000)]
    check([SortSpec(d, 1, n, False, (0, n), below) for d in ("int32", "int64") for n, below in given])


def test_a_pass_for_each_byte_that_keys_can_have():
    def passes(dtype: str, n: int, ranks: tuple[int, int] | None = None, below: int = 0) -> list[str]:
        plan = lib_sort.plan(SortSpec(dtype, 3, n, False, ranks or (0, n), below))
        return [p.kernel.partition("<")[0] for p in plan.passes]

    assert passes("float32", 1000) == passes("float32", 8192) == ["sort_rows"]
    assert passes("float32", 8193) == ["count_digits", *["radix_pass"] * 4]
    assert passes("int64", 1 << 20) == ["count_digits", *["radix_pass"] * 8]
    assert passes("int64", 1 << 20, below=1000) == ["count_digits", *["radix_pass"] * 2]
    assert passes("float32", 1 << 22, (0, 100)) == ["sort_rows"] * 4


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_kernels_compile(dtype: str):
    for n, ranks in ((1000, (0, 1000)), (3000, (0, 3000)), (20000, (0, 5)), (20000, (0, 20000))):
        for cubin, name in cuda_routine.functions(lib_sort.plan(SortSpec(dtype, 2, n, False, ranks)), (9, 0)):
            assert cubin and name
