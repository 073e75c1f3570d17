"""The forms of a kernel that large shapes ask for: ragged vectors, rows of several blocks, rows asked for ahead."""

import numpy as np
import pytest
from hypothesis import given, settings

from flame.codegen import schedule
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir.loop import Fold, Gather, Kernel, Layout, Loop, Role, statements
from flame.ir.node import apply, cast, reshape
from flame.ir.target import CUDA
from flame.passes import split
from flame.runtime import cuda_compile
from tests.cpu.random_graphs import graphs
from tests.cpu.test_random_graphs import QUIET, as_cuda
from tests.support import check, compiled, kernels, offline, run_cuda_on_numpy
from tests.workloads import EVERYTHING, Work, wide

needs_compiler = pytest.mark.skipif(bool(why := cuda_compile.why_not()), reason=f"no CUDA compiler: {why}")
SMALL = {"RAGGED": 1, "BESIDE": 256}  # of schedule: small shapes take every form
SOON = {"TALL": 4, "SOME": 1, "LEAST": 1, "CARRIED": 3}  # of split
ROW = schedule._row


def of_a_cluster(chunks: int, v: int, loads: int, streams: int, most: int) -> Layout:
    """Four blocks of a warp share a row; they keep every other row length, and read the others anew."""
    if most == 1:
        return ROW(chunks, v, loads, streams, most)
    kept = chunks % 2 == 0
    return Layout(32, items=-(-chunks // 128) if kept else 1, vector=v, kept=kept, cluster=4)


@pytest.fixture
def small(monkeypatch):
    """Small shapes take the forms of large ones."""
    for module, values in ((schedule, SMALL), (split, SOON)):
        for name, value in values.items():
            monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(schedule, "_row", of_a_cluster)


def on_numpy(work: Work, loose: float = 100) -> None:
    values = work.values()
    for n in values:
        if n["host"]:
            values[n] = np.asarray(0.25, n.dtype.numpy)
    loose = loose if work.leaves[0].dtype.size > 2 else 3
    check(work.roots, run_cuda_on_numpy(work.roots, values), values, loose, relative_to_all=True)


# --- ragged vectors ---------------------------------------------------------------------------------------------------
def shifted_sum(n: int, offset: int, dtype: dt.DType) -> Work:
    """x + y[offset:] + a row of seven, over and over."""
    x, y, row = nd.leaf(0, (n,), dtype), nd.leaf(1, (n + offset,), dtype), nd.leaf(2, (7,), dt.float32)
    z = apply("slice", y, start=(offset,), stop=(n + offset,), step=(1,)) if offset else y
    lines = -(-n // 7)
    r = reshape(nd.expand(reshape(row, (1, 7)), (lines, 7)), (lines * 7,))
    r = apply("slice", r, start=(0,), stop=(n,), step=(1,)) if lines * 7 != n else r
    return Work((cast(wide(x) * 2 + wide(z) + r, dtype),), (x, y, row))


@pytest.mark.parametrize("dtype", [dt.float32, dt.bfloat16, dt.float16, dt.int8, dt.float64], ids=str)
@pytest.mark.parametrize("offset", [0, 1, 3, 4, 9])
@pytest.mark.parametrize("n", [4096, 4097, 4103, 6143])
def test_any_number_of_free_elements_from_any_offset(n, offset, dtype):
    on_numpy(shifted_sum(n, offset, dtype), 4)


@pytest.mark.parametrize("n", [1, 2, 7, 9, 4097])
def test_an_edge_leaves_alone_what_lies_behind_it(n, small):
    """The numpy prelude refuses a store beyond the end; a bool is one byte, so four bytes hold several."""
    x, y = nd.leaf(0, (n,), dt.boolean), nd.leaf(1, (n,), dt.boolean)
    on_numpy(Work((apply("logical_or", x, y),), (x, y)))


def test_odd_sizes_are_wide():
    for n in (1 << 24, (1 << 24) + 1):
        (kernel,) = kernels(EVERYTHING["adam"]((n,), dt.float32).roots)
        assert kernel.layout.vector == 4 and kernel.layout.ragged == (n % 4 > 0)


@needs_compiler
@pytest.mark.parametrize("dtype", [dt.float32, dt.bfloat16], ids=str)
def test_odd_sizes_and_offsets_in_machine_code(dtype):
    for machine in offline(compiled(shifted_sum((1 << 20) + 1, 1, dtype).roots, CUDA)):
        assert machine.resources.get("spills", 0) == 0
        assert machine.ptx.count("ld.global.v4") == 3 and "st.global.v4" in machine.ptx


# --- several blocks a row ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [dt.float32, dt.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(3, 256), (2, 1000), (5, 333), (2, 334), (2, 20000)], ids=str)
@pytest.mark.parametrize("name", ["softmax", "layer_norm", "cross_entropy", "largest"])
def test_rows_of_a_cluster(name, shape, dtype, small):
    work = EVERYTHING[name](shape, dtype)
    assert any(k.layout.cluster > 1 for k in kernels(work.roots))
    on_numpy(work)


@pytest.mark.parametrize("name", ["softmax", "layer_norm", "rms_norm"])
def test_long_rows_have_one_kernel(name):
    for length, blocks in ((32768, 1), (131072, 4), (1 << 20, 8)):
        (kernel,) = kernels(EVERYTHING[name]((512, length), dt.bfloat16).roots)
        assert kernel.layout.cluster == blocks


@needs_compiler
@pytest.mark.parametrize("name", ["softmax", "layer_norm"])
def test_clusters_in_machine_code(name):
    for machine in offline(compiled(EVERYTHING[name]((512, 131072), dt.bfloat16).roots, CUDA)):
        assert machine.resources.get("spills", 0) == 0 and machine.resources.get("local", 0) == 0
        assert ".reqnctapercluster 4, 1, 1" in machine.ptx and "st.shared::cluster" in machine.ptx


# --- rows one after the other -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [dt.float32, dt.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(24, 64), (23, 40), (18, 77), (31, 1152), (27, 333), (29, 4096)], ids=str)
def test_rows_in_turns(shape, dtype, small):
    work = EVERYTHING["layer_norm_backward"](shape, dtype)
    alone = shape[1] % 2 and dtype.size == 2  # no asynchronous copy brings two bytes
    assert alone or any(k.layout.ahead for k in kernels(work.roots))
    on_numpy(work)


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_any_number_of_rows_ahead(ahead, small, monkeypatch):
    monkeypatch.setattr(schedule, "AHEAD", ahead)
    on_numpy(EVERYTHING["layer_norm_backward"]((30, 256), dt.float32))


@needs_compiler
@pytest.mark.parametrize("length", [64, 768, 1152, 8192])
@pytest.mark.parametrize("dtype", [dt.float32, dt.bfloat16], ids=str)
def test_turns_in_machine_code(length, dtype):
    made = compiled(EVERYTHING["layer_norm_backward"]((1 << 14, length), dtype).roots, CUDA)
    first, *_ = offline(made)
    assert first.layout.ahead and "cp.async.cg.shared.global" in first.ptx and "ld.shared.v4" in first.ptx
    assert first.resources.get("spills", 0) == 0 and first.resources.get("local", 0) == 0


# --- all of them ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [(19, 45), (18, 45)], ids=str)
@pytest.mark.parametrize("name", EVERYTHING)
def test_graphs(name, shape, small):
    on_numpy(EVERYTHING[name](shape, dt.float32))


def test_random_graphs(small):
    @settings(QUIET, max_examples=60)
    @given(graphs())
    def run(case):
        as_cuda(case)

    run()


# --- sums taken apart -------------------------------------------------------------------------------------------------
def meetings(work: Work) -> int:
    """How often the lanes of a row meet, one after the other."""
    (kernel, *_) = kernels(work.roots)
    rows = [s for s in statements(kernel.body) if isinstance(s, Loop) and s.role is Role.ROW]
    return sum(any(isinstance(x, Fold) and x.acc in gathered(kernel) for x in r.body) for r in rows)


def gathered(kernel: Kernel) -> set[nd.Node]:
    return {s.acc for s in statements(kernel.body) if isinstance(s, Gather)}


def test_the_backward_of_a_norm_meets_twice():
    """The mean of the gradient has factors that come from the second meeting; its sums come from the first two."""
    assert meetings(EVERYTHING["layer_norm_backward"]((4096, 1024), dt.float32)) == 2
    assert meetings(EVERYTHING["softmax"]((4096, 1024), dt.float32)) == 2


def test_a_difference_of_values_is_not_taken_apart():
    """Each is exact and small; the difference of the sums would be neither."""
    x, y = nd.leaf(0, (64, 512), dt.float32), nd.leaf(1, (64, 512), dt.float32)
    spread = nd.expand(reshape(apply("max", x, axes=(1,)), (64, 1)), x.shape)
    work = Work((apply("sum", (x - y) * spread - x * spread, axes=(1,)), apply("sum", spread - x, axes=(1,))), (x, y))
    rng = np.random.default_rng(0)
    a = rng.normal(size=x.shape).astype(np.float32) + np.float32(1e6)
    values = {x: a, y: np.nextafter(a, np.float32(np.inf))}
    check(work.roots[1:], run_cuda_on_numpy(work.roots[1:], values), values, 4)
