"""On one lane, what is dear to compute is computed once for each element of a row."""

import numpy as np
import pytest

from flame.ir import dtype as dt
from flame.ir.loop import Stage, statements
from flame.ir.node import Node, apply, expand, fresh, leaf, reshape, where
from flame.ir.target import CPU, CUDA
from flame.passes import stage as passes
from tests.support import check, compiled, kernels, run_cpu

RNG = np.random.default_rng(8)


def over(op: str, x: Node) -> Node:
    """A fold of the last axis, in its place again."""
    rows, row = x.shape
    return expand(reshape(apply(op, x, axes=(1,)), (rows, 1)), (rows, row))


def softmax(x: Node) -> Node:
    e = apply("exp", x - over("max", x))
    return e / over("sum", e)


def source(*roots: Node) -> str:
    (code,) = compiled(roots, CPU).codes.values()
    return code.source


def stages(*roots: Node, target=CPU) -> int:
    return sum(isinstance(s, Stage) for k in kernels(roots, target) for s in statements(k.body))


@pytest.mark.parametrize("dtype", [dt.float32, dt.float64, dt.bfloat16], ids=str)
def test_softmax_computes_each_exponential_once(dtype):
    x = leaf(fresh(), (7, 100), dtype)
    assert source(softmax(x)).count(" exp(") == 1 and stages(softmax(x)) == 1
    assert stages(softmax(x), target=CUDA) == 0


@pytest.mark.parametrize("row", [15, 16, 17, 31, 64, 1000, 20000])
@pytest.mark.parametrize("dtype", [dt.float32, dt.float64, dt.bfloat16], ids=str)
def test_every_row_has_its_own_values(row, dtype):
    """A tile is used by all rows, one after the other: short rows are unrolled, and rows must not meet then."""
    x = leaf(fresh(), (37, row), dtype)
    y = softmax(softmax(x) * 3)
    values = {x: (RNG.standard_normal(x.shape) * 4).astype(dtype.numpy)}
    check((y,), run_cpu((y,), values), values, loose=8)


def test_what_is_cheap_or_in_memory_is_not_staged():
    x = leaf(fresh(), (7, 100), dt.float32)
    centred = x - over("sum", x) * 0.01
    assert stages(centred * over("sum", centred * centred)) == 0


def test_a_row_that_would_not_stay_near_is_computed_again():
    row = passes.ROOM // 4
    assert stages(softmax(leaf(fresh(), (3, row), dt.float32))) == 1
    assert stages(softmax(leaf(fresh(), (3, row + 1), dt.float32))) == 0


def test_random_masks_are_drawn_once_and_truths_are_staged():
    x, key = leaf(fresh(), (33, 64), dt.float32), leaf(fresh(), (33, 64), dt.int64)
    drawn = apply("philox", key, apply("cast", x * 0 + 7, to=dt.int64))
    kept = apply("gt", drawn, expand(apply("const", value=1 << 31, text=str(1 << 31), as_=dt.int64), (33, 64)))
    y = where(kept, x, x * 0)
    roots = (y / over("sum", where(kept, x * x + 1, x * 0 + 0.5)),)
    values = {x: RNG.standard_normal(x.shape).astype(np.float32), key: RNG.integers(0, 1 << 40, key.shape)}
    assert stages(*roots) >= 1
    check(roots, run_cpu(roots, values), values, loose=8)
