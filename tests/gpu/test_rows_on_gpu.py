"""Large rows and odd sizes on a GPU: rows of a cluster, rows asked for ahead, vectors that are cut off."""

import numpy as np
import pytest

from flame.config import config
from flame.ir import dtype as dt
from tests.codegen.test_row_forms import shifted_sum
from tests.support import check, kernels, run_gpu
from tests.workloads import EVERYTHING, Work

pytestmark = pytest.mark.gpu


def on_a_gpu(work: Work, loose: float = 100) -> None:
    values = work.values()
    half = work.leaves[0].dtype.size == 2
    check(work.roots, run_gpu(work.roots, values), values, 3 if half else loose, relative_to_all=True)


@pytest.mark.parametrize("dtype", [dt.float32, dt.bfloat16], ids=str)
@pytest.mark.parametrize("offset", [0, 1, 6])
@pytest.mark.parametrize("n", [4097, (1 << 20) + 3])
def test_any_number_of_free_elements_from_any_offset(n, offset, dtype):
    on_a_gpu(shifted_sum(n, offset, dtype), 4)


@pytest.mark.parametrize("dtype", [dt.float32, dt.bfloat16], ids=str)
@pytest.mark.parametrize("length", [70000, 131072, 600001])
@pytest.mark.parametrize("name", ["softmax", "layer_norm"])
def test_rows_of_several_blocks(name, length, dtype):
    work = EVERYTHING[name]((17, length), dtype)
    assert kernels(work.roots)[0].layout.cluster > 1 or config.tune != "off"  # a tuner may take one block
    on_a_gpu(work, 300)


@pytest.mark.parametrize("dtype", [dt.float32, dt.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(4096, 64), (4099, 77), (2051, 1152), (1100, 4096), (1030, 8192)], ids=str)
def test_rows_in_turns(shape, dtype):
    on_a_gpu(EVERYTHING["layer_norm_backward"](shape, dtype), 300)


def test_the_same_bits_every_time():
    work = EVERYTHING["layer_norm_backward"]((5000, 768), dt.bfloat16)
    values = work.values()
    first, again = (run_gpu(work.roots, values) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.view(np.uint8), b.view(np.uint8))
