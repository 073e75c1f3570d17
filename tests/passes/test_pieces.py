"""Results of many pieces: a branch for each, in which nothing asks for another."""

import numpy as np
import pytest

import flame
from flame.codegen.candidates import candidates
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir.graph import toposort
from flame.ir.loop import Kernel, Loop, Store, scalars, statements
from flame.ir.node import Node
from flame.ir.target import CPU, CUDA
from flame.tensor import new
from tests.support import check, kernels, run_cuda_on_numpy


def joined(shapes: list[tuple[int, ...]], dim: int, dtype: dt.DType = dt.float32) -> tuple[Node, list[Node]]:
    leaves = [nd.leaf(i, s, dtype) for i, s in enumerate(shapes)]
    cpu = flame.device("cpu")
    return flame.cat([new(n, cpu) for n in leaves], dim).node, leaves


def branches(k: Kernel) -> list[Loop]:
    return [s for s in statements(k.body) if isinstance(s, Loop) and s.bounds is not None]


def loads(s: Store) -> int:
    return sum(n.op.name == "load" for n in toposort(scalars(s)))


def test_each_piece_has_a_branch_that_reads_it_alone():
    y, leaves = joined([(8, 64)] * 12, 1)
    (k,) = kernels((y,))
    stores = [s for s in statements(k.body) if isinstance(s, Store)]
    assert len(stores) == len(leaves) == 12 and all(loads(s) == 1 for s in stores)
    assert k.layout.vector == 4, "pieces whose edges are aligned are read wide"
    assert len(branches(k)) == 12 + 2, "branches lead to at most eight"


def test_a_lane_takes_one_vector_where_branches_are_asked_once():
    (k,) = kernels((joined([(8, 64)] * 12, 1)[0],))
    assert all(at.items == 1 for at in candidates(k, CUDA))


def test_few_pieces_are_choices():
    (k,) = kernels((joined([(8, 64)] * 3, 1)[0],))
    assert not branches(k) and k.layout.vector == 4
    (k,) = kernels((joined([(8, 64)] * 12, 1)[0],), CPU)
    assert not branches(k)


def test_pieces_that_one_warp_would_mix_are_choices():
    (k,) = kernels((joined([(64, 1)] * 12, 1)[0],))
    assert not branches(k)
    (k,) = kernels((joined([(64, 33)] * 12, 1)[0],))
    assert not branches(k) and k.layout.vector == 4, "edges that no wide access fits"


PIECES = {
    "equal": ([(3, 32)] * 9, 1),
    "in front": ([(6, 8)] * 16, 0),
    "of all sizes": ([(5, k + 1, 32) for k in range(12)], 1),
    "odd": ([(3, k + 33) for k in range(30)], 1),
    "more than one kernel's": ([(2, 32)] * 70, 1),
    "inner axis": ([(3, 2, 37)] * 8, 2),
    "mixed": ([(3, 5, 7)] * 8, 2),
}


@pytest.mark.parametrize(("shapes", "dim"), PIECES.values(), ids=PIECES.keys())
@pytest.mark.parametrize("dtype", [dt.float32, dt.bfloat16, dt.boolean, dt.int64], ids=str)
def test_pieces_under_numpy(shapes, dim, dtype):
    y, leaves = joined(shapes, dim, dtype)
    rng = np.random.default_rng(0)
    values = {n: rng.integers(0, 2, n.shape).astype(dtype.numpy) for n in leaves}
    check((y,), run_cuda_on_numpy((y,), values), values)


def test_what_is_computed_with_pieces_goes_with_them():
    y, leaves = joined([(6, 32)] * 7, 1)
    other = nd.leaf(99, (6, 224), dt.bfloat16)
    roots = (y * 2 + nd.cast(other, dt.float32), nd.apply("exp", y))
    rng = np.random.default_rng(0)
    values = {n: rng.standard_normal(n.shape).astype(n.dtype.numpy) for n in (*leaves, other)}
    (k,) = kernels(roots)
    assert len(branches(k)) == 7 and k.layout.items == 1
    check(roots, run_cuda_on_numpy(roots, values), values)
