"""Positions of what is true on CUDA: the kernel on the host, one fiber a thread, finds what NumPy does; it compiles."""

from pathlib import Path

import numpy as np
import pytest

from flame.ir.library import PlacesSpec
from flame.runtime import cuda_routine, lib_select, nvrtc
from tests.runtime import cuda_on_host

needs_compiler = pytest.mark.skipif(bool(why := nvrtc.why_not()), reason=f"no NVRTC: {why}")
needs_gcc = pytest.mark.skipif(bool(why := cuda_on_host.why_not()), reason=why)


@needs_gcc
def test_positions():
    kernels = cuda_on_host.compiled(Path(lib_select.__file__).with_name(lib_select.FILE), ["true_places"])
    rng = np.random.default_rng(0)
    for rows, n in ((1, 1), (3, 7), (1, 4096), (2, 4097), (1, 300000), (5, 9001)):
        for share in (0.0, 0.01, 0.5, 1.0):
            truth = rng.random((rows, n)) < share
            for size in (0, int(truth.sum(1).max()), n // 2, n + 3):
                plan = lib_select.plan(PlacesSpec(rows, n, size))
                places, zeros, total = cuda_routine.offsets(plan)
                arena = np.full(total, 0xFF, np.uint8)
                arena[:zeros] = 0
                out = np.full(rows * size + 1, -1, np.int64)
                memory = {name: arena[at:] for name, at in places.items()} | {"in0": truth, "out": out}
                (launch,) = plan.passes
                operands = (memory[o] if isinstance(o, str) else o for o in launch.operands)
                kernels[launch.kernel](launch.blocks, launch.threads, *operands)
                assert out[-1] == -1
                for row, found in zip(truth, out[:-1].reshape(rows, size), strict=True):
                    want = np.flatnonzero(row)[:size]
                    np.testing.assert_array_equal(found, [*want, *[n] * (size - len(want))])


@needs_compiler
def test_it_compiles():
    ((cubin, name),) = cuda_routine.functions(lib_select.plan(PlacesSpec(1, 5000, 10)), (9, 0))
    assert cubin and name
