"""CUDA kernels without a GPU: under numpy, which checks bounds, alignment and races, they give the oracle's numbers."""

import numpy as np
import pytest

from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir.target import CUDA
from tests.support import check, compiled, run_cpu, run_cuda_on_numpy
from tests.table import Case, cases, values_of
from tests.workloads import EVERYTHING, attention, embedding

SHAPES = [(1, 1), (3, 7), (33, 33), (77, 8), (5, 333), (2, 1000), (1, 20000), (20000, 3), (3000, 64), (4, 6, 40)]
MORE = [(1, 4096), (64, 77), (1000, 33), (20000, 1), (7, 2056), (2, 3, 5, 8), (300, 1024), (3, 9000), (17, 16384)]
HALVES = [dt.bfloat16, dt.float16]
LOOSE = {"float32": 100, "bfloat16": 2, "float16": 8}  # roundings in a row kernel, in those of one operator


def compare(name: str, shape: tuple[int, ...], dtype: dt.DType) -> None:
    work = EVERYTHING[name](shape, dtype)
    values = work.values()
    for n in values:
        if n["host"]:
            values[n] = np.asarray(0.25, n.dtype.numpy)
    check(work.roots, run_cuda_on_numpy(work.roots, values), values, LOOSE[dtype.name], relative_to_all=True)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", EVERYTHING)
def test_graphs(name, shape):
    compare(name, shape, dt.float32)


@pytest.mark.slow
@pytest.mark.parametrize("shape", MORE, ids=str)
@pytest.mark.parametrize("name", EVERYTHING)
def test_more_graphs(name, shape):
    compare(name, shape, dt.float32)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("shape", [(33, 33), (40, 1000), (6, 2048), (3000, 64)], ids=str)
@pytest.mark.parametrize("name", [n for n in EVERYTHING if n not in ("whole_numbers", "adam")])
def test_half_precisions(name, shape, dtype):
    compare(name, shape, dtype)


@pytest.mark.parametrize("libraries", [frozenset[str](), frozenset({"matmul"})], ids=["printed", "library"])
@pytest.mark.parametrize("dtype", [dt.float32, dt.bfloat16], ids=str)
@pytest.mark.parametrize("work", [attention, embedding], ids=lambda w: w.__name__)
def test_products(work, dtype, libraries):
    from dataclasses import replace

    made = work((33, 24), dtype)
    values = made.values()
    got = run_cuda_on_numpy(made.roots, values, replace(CUDA, libraries=libraries))
    check(made.roots, got, values, {"float32": 100, "bfloat16": 4}[dtype.name], relative_to_all=True)


@pytest.mark.parametrize("c", cases(list(dt.BY_NAME.values())), ids=str)
def test_every_operator(c: Case):
    values = values_of(c, 3)
    loose = 4 if c.roots[0].dtype.size > 2 else 1
    check(
        c.roots,
        run_cuda_on_numpy(c.roots, values),
        values,
        loose,
        relative_to_all=c.op.kind.name in ("REDUCE", "SEGMENT", "SCAN", "CONTRACT"),
    )


@pytest.mark.parametrize("name", EVERYTHING)
def test_both_targets_agree(name):
    """The CPU's kernels are the same kernels."""
    work = EVERYTHING[name]((40, 33), dt.float32)
    values = {n: v if not n["host"] else np.asarray(0.25, np.float32) for n, v in work.values().items()}
    check(work.roots, run_cpu(work.roots, values), values, 100, relative_to_all=True)


def test_special_values_pass_through_a_row():
    work = EVERYTHING["softmax"]((4, 40), dt.float32)
    values = work.values()
    x = values[work.leaves[0]]
    x[0, 3], x[1, 5], x[2, :], x[3, 1:] = np.nan, np.inf, -np.inf, -np.inf
    check(work.roots, run_cuda_on_numpy(work.roots, values), values, 100)
    check(work.roots, run_cpu(work.roots, values), values, 100)


def test_donated_memory_is_written_over():
    work = EVERYTHING["adam"]((1000,), dt.float32)
    values = {n: v if not n["host"] else np.asarray(0.25, np.float32) for n, v in work.values().items()}
    for donors in (work.leaves[:4], work.leaves[:1], (work.leaves[2], work.leaves[3])):
        program = compiled(work.roots, CUDA, donors)
        assert len(program.plan.donated) == min(3, len(donors))
        check(work.roots, run_cuda_on_numpy(work.roots, values, donatable=donors), values, 100)
        check(work.roots, run_cpu(work.roots, values, donors), values, 100)


def test_a_chain_that_reads_other_rows_is_not_written_in_place():
    x = nd.leaf(0, (64,), dt.float32)
    turned = nd.apply("flip", x, axes=(0,)) + x
    assert compiled((turned,), CUDA, (x,)).plan.donated == ()
    values = {x: np.arange(64, dtype=np.float32)}
    check((turned,), run_cuda_on_numpy((turned,), values, donatable=(x,)), values)


def test_a_row_folds_all_its_elements_whichever_its_reader_pads():
    x = nd.leaf(0, (1, 4), dt.float32)
    e = nd.apply("exp", x - nd.expand(nd.reshape(nd.apply("max", x, axes=(1,)), (1, 1)), (1, 4)))
    total = nd.apply("pad", nd.apply("sum", e, axes=(1,)), low=(1,), high=(2,), step=(1,), fill=0)
    values = {x: np.array([[0, 0, 2, 3]], np.float32)}
    check((total,), run_cuda_on_numpy((total,), values), values)
    check((total,), run_cpu((total,), values), values)
