"""Scans before fusion: parts of long lines, and what is the same along an axis."""

import numpy as np
import pytest

from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir.graph import toposort
from flame.ir.node import Node, apply
from flame.ir.op import Kind, Op
from flame.ir.target import CPU, CUDA
from flame.passes import scans as passes
from flame.passes.scans import LONG, scans
from tests.support import assert_close, check, compiled, kernels, oracle, run_cpu, run_cuda_on_numpy
from tests.table import TABLE, arity, signatures

SCANS = [o for o in TABLE if o.kind is Kind.SCAN]
SHAPES = [((LONG, 1, 2), 0), ((1000, 2), 0), ((2, 300, 3), 1), ((5, 4099, 2), 1), ((257, 3), 0)]
ROWS = [((LONG,), 0), ((1000, 1), 0), ((3, 300), 1), ((5, 4099), 1)]


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


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("op", SCANS, ids=str)
def test_long_rows_are_cut_for_blocks(op: Op, reverse: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(passes, "ROW", 64)
    monkeypatch.setattr(passes, "EVEN", 16)
    for d in (dt.float64, dt.bfloat16, dt.int64):
        if not any(True for _ in signatures(op, d)):
            continue
        for shape, axis in ROWS:
            leaves = [nd.leaf(i, shape, d) for i in range(arity(op))]
            before = (apply(op, *leaves, axis=axis, reverse=reverse),)
            given, after = values(leaves), scans(before, CUDA)
            assert max(walked(after)) <= 64 and scans(before, CPU) == before
            (x,), (y,) = oracle(before, given), oracle(after, given)
            assert_close(y, x, d, 100 if d.size > 2 else 2, float(np.abs(x.astype(np.float64)).max()))


@pytest.mark.parametrize("shape", [(2, 700, 3), (3, 700), (5, 33), (1, 9001), (2, 5000)], ids=str)
@pytest.mark.parametrize("op", SCANS, ids=str)
def test_lines_as_kernels(op: Op, shape: tuple[int, ...]):
    """Rows of part of a warp, of one, of a block at once and in rounds, and in parts; columns."""
    leaves = [nd.leaf(i, shape, dt.float32) for i in range(arity(op))]
    roots = tuple(apply(op, *leaves, axis=1, reverse=r) for r in (False, True))
    given = values(leaves)
    check(roots, run_cuda_on_numpy(roots, given), given, 100, relative_to_all=True)
    if shape[1] == 700:
        check(roots, run_cpu(roots, given), given, 100, relative_to_all=True)


@pytest.mark.parametrize("d", dt.BY_NAME.values(), ids=str)
@pytest.mark.parametrize("op", SCANS, ids=str)
def test_rows_of_every_dtype(op: Op, d: dt.DType):
    if any(True for _ in signatures(op, d)) and not d.stored:
        leaves = [nd.leaf(i, (3, 77), d) for i in range(arity(op))]
        roots = tuple(apply(op, *leaves, axis=1, reverse=r) for r in (False, True))
        given = values(leaves)
        check(roots, run_cuda_on_numpy(roots, given), given, 200, relative_to_all=True)


def test_a_scan_and_what_reads_it_are_one_kernel():
    x, y = nd.leaf(0, (40, 300), dt.float32), nd.leaf(1, (40, 300), dt.float32)
    before = apply("cumsum", apply("exp", x), axis=1, reverse=False)
    found = compiled((before * y,), CUDA)
    assert len(found.plan.steps) == 1
    assert len(compiled((before * y,), CPU).plan.steps) == 2
    again = apply("cummax", before * y, axis=1, reverse=False)  # of a scan, in the same direction
    back = apply("cumsum", before * y, axis=1, reverse=True)  # and in the other
    folded = before / nd.expand(nd.reshape(apply("sum", before, axes=(1,)), (40, 1)), (40, 300))
    given = {n: np.random.default_rng(0).uniform(0.5, 1, n.shape).astype(np.float32) for n in (x, y)}
    for root in (before * y, again, back, folded, apply("flip", before, axes=(1,)) * y):
        check((root,), run_cuda_on_numpy((root,), given), given, 100, relative_to_all=True)


@pytest.mark.parametrize("n", [9001, 9004, 16380, 20001])
def test_a_line_that_no_rows_fill_is_written_once(n: int):
    x = nd.leaf(0, (n,), dt.float32)
    for reverse in (False, True):
        root = apply("cumsum", x, axis=0, reverse=reverse) * x
        assert len(compiled((root,), CUDA).plan.steps) == 3  # what parts come to, a scan of that, and the rest
        given = {x: np.random.default_rng(0).uniform(0.5, 1, n).astype(np.float32)}
        check((root,), run_cuda_on_numpy((root,), given), given, 100, relative_to_all=True)


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


def test_lines_that_lie_apart_are_walked_a_few_at_a_time():
    """Many lines a power of two apart drive each other out of a cache; columns side by side share their lines."""
    x = nd.leaf(nd.fresh(), (256, 1024), dt.float32)
    assert [k.layout.vector for k in kernels((apply("cumsum", x, axis=1, reverse=False),), CPU)] == [4]
    assert [k.layout.vector for k in kernels((apply("cumsum", x, axis=0, reverse=False),), CPU)][-1] == 16
