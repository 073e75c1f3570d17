"""Scans before fusion: parts of long lines, and what is the same along an axis."""

import numpy as np
import pytest

from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir.graph import toposort
from flame.ir.node import Node, apply
from flame.ir.op import Kind, Op
from flame.ir.target import CPU, CUDA
from flame.passes.scans import LONG, scans
from tests.support import assert_close, check, compiled, oracle, run_cpu, run_cuda_on_numpy
from tests.table import TABLE, arity, signatures

SCANS = [o for o in TABLE if o.kind is Kind.SCAN]
SHAPES = [((LONG,), 0), ((1000,), 0), ((2, 300, 3), 1), ((5, 4099), 1), ((257, 3), 0)]


def walked(roots: tuple[Node, ...]) -> list[int]:
    """How many steps each scan takes."""
    return [n.shape[n["axis"]] for n in toposort(roots) if n.op.kind is Kind.SCAN]


def values(leaves: list[Node]) -> dict[Node, np.ndarray]:
    """Numbers whose products stay near 1."""
    rng = np.random.default_rng(0)
    floats = {n: rng.uniform(0.95, 1.05, n.shape) * rng.choice([-1, 1], n.shape) for n in leaves}
    return {n: (v if n.dtype.is_float else np.sign(v) * 3).astype(n.dtype.numpy) for n, v in floats.items()}


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("op", SCANS, ids=str)
def test_parts_of_long_lines_are_walked_side_by_side(op: Op, reverse: bool):
    for d in (dt.float64, dt.float32, dt.bfloat16, dt.int64):
        if not any(True for _ in signatures(op, d)):
            continue
        for shape, axis in SHAPES:
            leaves = [nd.leaf(i, shape, d) for i in range(arity(op))]
            before = (apply(op, *leaves, axis=axis, reverse=reverse),)
            given, after = values(leaves), scans(before, CUDA)
            assert max(walked(after)) < LONG and scans(before, CPU) == before
            (x,), (y,) = oracle(before, given), oracle(after, given)
            assert_close(y, x, d, 100 if d.size > 2 else 2, float(np.abs(x.astype(np.float64)).max()))


@pytest.mark.parametrize("op", SCANS, ids=str)
def test_long_lines_as_kernels(op: Op):
    leaves = [nd.leaf(i, (3, 700), dt.float32) for i in range(arity(op))]
    roots = tuple(apply(op, *leaves, axis=1, reverse=r) for r in (False, True))
    given = values(leaves)
    check(roots, run_cuda_on_numpy(roots, given), given, 100, relative_to_all=True)
    check(roots, run_cpu(roots, given), given, 100, relative_to_all=True)


def test_many_lines_are_left_alone():
    x = nd.leaf(0, (1 << 16, 200), dt.float32)
    before = (apply("cumsum", x, axis=1, reverse=False),)
    assert scans(before, CUDA) == before


@pytest.mark.parametrize("op", SCANS, ids=str)
def test_what_is_the_same_along_an_axis_is_walked_once(op: Op):
    """LLVM's vectoriser takes exponential time over chains of values that all its lanes share."""
    rows = [nd.leaf(i, (1, 5, 1), dt.float32) for i in range(arity(op))]
    wide = [apply("exp", nd.expand(r, (4, 5, 6))) * nd.expand(nd.const(0.5, dt.float32), (4, 5, 6)) for r in rows]
    before = (apply(op, *wide, axis=1, reverse=False),)
    after = scans(before, CPU)
    assert {n.shape for n in toposort(after) if n.op.kind is Kind.SCAN} == {(1, 5, 1)}
    given = values(rows)
    np.testing.assert_array_equal(oracle(before, given)[0], oracle(after, given)[0])
    turned = apply("permute", nd.expand(rows[0], (4, 5, 6)), order=(1, 2, 0))
    along = scans((apply("cumsum", turned, axis=1, reverse=False),), CPU)
    assert {n.shape for n in toposort(along) if n.op.kind is Kind.SCAN} == {(5, 6, 1)}


def test_a_scan_may_be_written_over_what_it_reads():
    x = nd.leaf(0, (6, 40), dt.float32)
    for reverse in (False, True):
        roots = (apply("cumsum", x * x, axis=1, reverse=reverse),)
        given = {x: values([x])[x]}
        for target in (CPU, CUDA):
            assert compiled(roots, target, (x,)).plan.donated
        check(roots, run_cpu(roots, given, (x,)), given, 100)
        check(roots, run_cuda_on_numpy(roots, given, donatable=(x,)), given, 100)
    turned = (apply("cumsum", apply("flip", x, axes=(1,)), axis=1, reverse=False),)
    assert not compiled(turned, CUDA, (x,)).plan.donated
