"""Random graphs give the oracle's numbers: fused or not, with memory reused or not, on the CPU and as CUDA kernels."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis.strategies import integers

from flame import compiler
from flame.config import config
from flame.ir import show
from flame.ir.graph import substitute, toposort
from flame.ir.node import Node, fresh, leaf
from flame.ir.target import CUDA
from tests.cpu.random_graphs import graphs
from tests.support import oracle, run_cpu, run_cuda_on_numpy, run_gpu
from tests.table import TABLE

MOST_CANDIDATES = 16  # a number beyond a kernel's last begins again at its first
EVERY = replace(CUDA, libraries=CUDA.libraries | {"convolution", "attention", "attention_stats", "attention_grad"})
QUIET = settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
LONG = settings(QUIET, derandomize=False, print_blob=True)


def compare(case, run, what: str) -> None:
    wanted, leaves = case
    roots = tuple(v.node for v in wanted)
    for v, got, want in zip(wanted, run(roots, leaves), oracle(roots, leaves), strict=True):
        a, b = got.astype(np.float64), want.astype(np.float64)
        assert got.shape == want.shape
        off = np.abs(a - b)
        wrong = ~(off <= 8 * v.error + 1e-30)
        assert not wrong.any(), (
            f"{what}: {off[wrong][0]} where {v.error[wrong][0]} is explained\n{show.graph(*roots)}\nroot {v.node}\n"
            f"{got}\n{want}"
        )


def on_the_cpu(case) -> None:
    compare(case, run_cpu, "fused")
    with config(fuse=False):
        compare(case, run_cpu, "unfused")
    with config(reuse=False):
        compare(case, run_cpu, "without reuse")


def on_a_gpu(case) -> None:
    compare(case, run_gpu, "on a GPU")
    with config(fuse=False):
        compare(case, run_gpu, "on a GPU, unfused")


def as_cuda(case) -> None:
    compare(case, run_cuda_on_numpy, "CUDA")
    with config(fuse=False):
        compare(case, run_cuda_on_numpy, "CUDA, unfused")


def in_any_layout(run, number: int):
    """Each kernel in the candidate of that number."""

    def tuned(roots, leaves):
        with config(tune=f"#{number}"):
            return run(roots, leaves)

    return tuned


@settings(QUIET, max_examples=25)
@given(graphs())
def test_graphs_on_the_cpu(case):
    on_the_cpu(case)


@settings(QUIET, max_examples=150)
@given(graphs())
def test_graphs_as_cuda_kernels(case):
    as_cuda(case)


@settings(QUIET, max_examples=60)
@given(graphs())
def test_graphs_with_every_library(case):
    """Convolutions and attention are calls, by their meaning; what is around them is laid as a library lays it."""
    compare(case, partial(run_cuda_on_numpy, target=EVERY), "CUDA, every library")


def twins(case, count: int) -> tuple[tuple[Node, ...], dict[Node, np.ndarray]]:
    """The same graph again and again, of leaves of its own whose values lie in another order."""
    wanted, leaves = case
    roots, values, rng = [], {}, np.random.default_rng(0)
    for _ in range(count):
        known = {n: leaf(fresh(), n.shape, n.dtype, n["host"]) for n in leaves}
        values |= {known[n]: rng.permutation(np.ravel(value)).reshape(n.shape) for n, value in leaves.items()}
        roots += substitute(tuple(v.node for v in wanted), known)
    return tuple(dict.fromkeys(roots)), values


@settings(QUIET, max_examples=15)
@given(graphs(10))
def test_tensors_that_share_launches_get_what_each_gets_alone(case):
    roots, values = twins(case, 3)
    for run in (run_cpu, run_cuda_on_numpy):
        got = run(roots, values)
        with pytest.MonkeyPatch.context() as alone:
            alone.setattr(compiler, "together", lambda plan, fuse: plan)
            want = run(roots, values)
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(a.view(f"u{a.itemsize}"), b.view(f"u{b.itemsize}"))


@settings(QUIET, max_examples=100)
@given(graphs(), integers(1, MOST_CANDIDATES - 1))
def test_graphs_as_cuda_kernels_in_any_layout(case, number):
    compare(case, in_any_layout(run_cuda_on_numpy, number), f"CUDA, candidate {number}")


def many(check, shard: int, count: int) -> None:
    """So many graphs of a stream of their own: shards run side by side, `-n auto`."""

    @seed(shard)
    @settings(LONG, max_examples=count)
    @given(graphs(24))
    def run(case):
        check(case)

    run()


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(20))
def test_many_graphs_on_the_cpu(shard):
    many(on_the_cpu, shard, 500)


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(20))
def test_many_graphs_as_cuda_kernels(shard):
    many(as_cuda, shard, 500)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1, MOST_CANDIDATES))
def test_many_graphs_as_cuda_kernels_in_any_layout(number):
    many(lambda case: compare(case, in_any_layout(run_cuda_on_numpy, number), f"candidate {number}"), number, 300)


@pytest.mark.gpu
@pytest.mark.parametrize("shard", range(15))
def test_graphs_on_a_gpu(shard):
    many(on_a_gpu, shard, 10)


@pytest.mark.gpu
@pytest.mark.parametrize("number", range(1, MOST_CANDIDATES))
def test_graphs_on_a_gpu_in_any_layout(number):
    many(lambda case: compare(case, in_any_layout(run_gpu, number), f"candidate {number}"), number, 10)


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize("shard", range(20))
def test_many_graphs_on_a_gpu(shard):
    many(on_a_gpu, shard, 500)


@pytest.mark.slow
def test_every_operator_is_met():
    met: set[str] = set()

    @settings(QUIET, max_examples=4000)
    @given(graphs(24))
    def meet(case):
        met.update(n.op.name for n in toposort([v.node for v in case[0]]))

    meet()
    assert {op.name for op in TABLE} <= met, {op.name for op in TABLE} - met
