"""Scatters of many values: sorted once, then each place folds the values that stand side by side."""

import time

import numpy as np
import pytest

import flame
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir.loop import Loop, statements
from flame.ir.node import Node, apply
from flame.ir.ops import index as index_ops
from flame.ir.plan import Call
from flame.ir.target import CPU, CUDA
from flame.passes import segments as segment_pass
from tests.support import check, compiled, kernels, offline, run_cpu, run_cuda_on_numpy

RNG = np.random.default_rng(3)
COMBINES = ("scatter_add", "scatter_mul", "scatter_max", "scatter_min")


@pytest.fixture(autouse=True)
def always_sort(monkeypatch):
    monkeypatch.setattr(index_ops, "FEW", 0)
    monkeypatch.setattr(index_ops, "LITTLE", 0)


def graph(name: str, shape: tuple[int, ...], axis: int, size: int, dtype=dt.float32, shared=False, skew=1.0):
    """A scatter of values of a shape; with `shared`, one index serves whole slices."""
    value = nd.leaf(0, shape, dtype)
    line = tuple(n if a == axis else 1 for a, n in enumerate(shape))
    index = nd.leaf(1, line if shared else shape, dt.int64)
    root = apply(name, nd.expand(index, shape), value, axis=axis, size=size)
    numbers = RNG.uniform(0.5, 1.5, shape) if dtype.is_float else RNG.integers(0, 3, shape)
    places = (RNG.random(index.shape) ** skew * size).astype(np.int64)
    return root, {value: numbers.astype(dtype.numpy), index: places}


def both(root: Node, values: dict, loose: float = 4) -> None:
    check((root,), run_cpu((root,), values), values, loose, relative_to_all=True)
    check((root,), run_cuda_on_numpy((root,), values), values, loose, relative_to_all=True)


@pytest.mark.parametrize("name", COMBINES)
@pytest.mark.parametrize("shared", [True, False], ids=["slices", "elements"])
@pytest.mark.parametrize(("shape", "axis"), [((57, 12), 0), ((5, 33), 1), ((2, 19, 3), 1), ((41,), 0)], ids=str)
def test_every_axis(name, shape, axis, shared):
    both(*graph(name, shape, axis, 23, shared=shared))


@pytest.mark.parametrize("dtype", [dt.int32, dt.float64, dt.bfloat16, dt.float16], ids=str)
@pytest.mark.parametrize("name", COMBINES)
def test_dtypes(name, dtype):
    both(*graph(name, (130, 8), 0, 40, dtype, True), loose=1 if dtype.size == 2 else 8)


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257])
@pytest.mark.parametrize("count", [1, 2, 31, 32, 33])
def test_sizes(count, size):
    both(*graph("scatter_add", (count, 4), 0, size, shared=True))


@pytest.mark.parametrize("width", [1, 3, 4, 8, 64])
def test_wide_rows_are_read_by_wide_accesses(width):
    root, values = graph("scatter_add", (200, width), 0, 50, shared=True, skew=4)
    both(root, values)
    layouts = [
        k.layout for k in kernels((root,), CUDA) if any(s.bounds for s in statements(k.body) if isinstance(s, Loop))
    ]
    assert [at.vector for at in layouts] == [4 if width % 4 == 0 else 1]


def test_places_that_nobody_names_get_the_neutral_value():
    value, index = nd.leaf(0, (3,), dt.float32), nd.leaf(1, (3,), dt.int64)
    given = {value: np.array([1, 2, 4], np.float32), index: np.array([3, 3, 1])}
    for name, want in (("scatter_add", [0, 4, 0, 3]), ("scatter_mul", [1, 4, 1, 2])):
        (found,) = run_cpu((apply(name, index, value, axis=0, size=4),), given)
        assert found.tolist() == want


def test_what_is_not_finite_stays_in_its_place():
    value, index = nd.leaf(0, (100, 2), dt.float32), nd.leaf(1, (100, 1), dt.int64)
    numbers = np.ones((100, 2), np.float32)
    numbers[7], numbers[8] = np.inf, np.nan
    given = {value: numbers, index: np.arange(100)[:, None] % 50}
    root = apply("scatter_add", nd.expand(index, (100, 2)), value, axis=0, size=50)
    for (found,) in (run_cpu((root,), given), run_cuda_on_numpy((root,), given)):
        assert (found[np.isfinite(found)] == 2).all() and np.isfinite(found).sum() == 96


def test_the_order_of_the_index_is_kept():
    """1 after 1e8 is lost, before it the sum of two ones is not."""
    value, index = nd.leaf(0, (6,), dt.float32), nd.leaf(1, (6,), dt.int64)
    root = apply("scatter_add", index, value, axis=0, size=2)
    given = {value: np.array([1e8, 4, 4, 4, 4, 1e8], np.float32), index: np.array([0, 0, 1, 1, 0, 1])}
    for (found,) in (run_cpu((root,), given), run_cuda_on_numpy((root,), given)):
        assert found.tolist() == [np.float32(1e8), np.float32(1e8) + np.float32(8)]


def test_a_gradient_of_an_embedding_sorts_the_tokens_once_and_reads_the_rows_once():
    weight = flame.zeros(1000, 16, requires_grad=True)
    tokens = flame.tensor(RNG.integers(0, 1000, (8, 32)))
    flame.nn.functional.embedding(tokens, weight).square().sum().backward()
    program = compiled((weight.grad.node,), CPU)
    sorts = [s for s in program.plan.steps if isinstance(s, Call)]
    assert [(s.routine, s.spec.rows, s.spec.n) for s in sorts] == [("argsort", 1, 256)]
    assert len(program.plan.steps) <= 4  # the sort, where each place begins, the folds, and the order as a value


def test_kernels_compile_for_a_gpu():
    for width in (1, 8):
        root, _ = graph("scatter_add", (200, width), 0, 50, dt.bfloat16, shared=True)
        assert offline(compiled((root,), CUDA))


def test_a_long_binary_search_is_planned_in_no_time():
    """Each step reads the one before twice: nothing may walk it as a tree."""
    index = nd.leaf(0, (1 << 24,), dt.int64)
    root = apply("scatter_add", index, nd.expand(nd.const(1), index.shape), axis=0, size=1 << 20)
    start = time.perf_counter()
    for target in (CPU, CUDA):
        compiled((nd.reshape(root, (1 << 10, 1 << 10)),), target)
    assert time.perf_counter() - start < 20


@pytest.mark.parametrize("shared", [True, False], ids=["slices", "elements"])
@pytest.mark.parametrize("name", COMBINES)
def test_long_segments_are_folded_in_pieces(name, shared, monkeypatch):
    """Some places have most of the values; pieces of pieces are reached too."""
    monkeypatch.setattr(segment_pass, "LONG", 16)
    monkeypatch.setattr(segment_pass, "PIECE", 4)
    for shape, axis, size, skew in (
        ((1000,), 0, 9, 3.0),
        ((300, 4), 0, 40, 8.0),
        ((3, 257), 1, 5, 99.0),
        ((64,), 0, 1, 1.0),
    ):
        for dtype in (dt.float32, dt.bfloat16):
            root, values = graph(name, shape, axis, size, dtype, shared, skew)
            values[root.src[1]] = np.clip(values[root.src[1]], 0.97, 1.03).astype(dtype.numpy)
            check((root,), run_cuda_on_numpy((root,), values), values, 20 if dtype is dt.float32 else 1, True)


def test_no_lane_folds_a_long_segment():
    root, values = graph("scatter_add", (1 << 14, 8), 0, 100, shared=True, skew=1000.0)
    assert len(compiled((root,), CPU).plan.steps) < len(compiled((root,), CUDA).plan.steps)
    check((root,), run_cuda_on_numpy((root,), values), values, 200, relative_to_all=True)


def test_how_often_is_where_segments_end():
    index = nd.leaf(0, (5000,), dt.int64)
    ones = nd.expand(nd.const(1), (5000,))
    root = apply("scatter_add", index, ones, axis=0, size=70)
    assert not any(s.bounds for k in kernels((root,), CUDA) for s in statements(k.body) if isinstance(s, Loop))
    both(root, {index: RNG.integers(0, 70, 5000)})
