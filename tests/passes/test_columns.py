"""Folds over columns: a block keeps the columns that a value reads twice; what lies across a row kernel is turned."""

import numpy as np
import pytest

from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir.loop import Kernel, Stage, statements
from flame.ir.node import Node, apply, expand, reshape
from flame.ir.target import CPU
from tests.support import check, kernels, run_cuda_on_numpy


def kept(a: Node, axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(1 if i in axes else n for i, n in enumerate(a.shape))


def over(name: str, x: Node, axes: tuple[int, ...]) -> Node:
    return expand(reshape(apply(name, x, axes=axes), kept(x, axes)), x.shape)


def softmax(x: Node, axes: tuple[int, ...]) -> Node:
    e = apply("exp", x - over("max", x, axes))
    return e / over("sum", e, axes)


def squares(x: Node, axes: tuple[int, ...]) -> Node:
    d = x - over("sum", x, axes) * (1 / 64)
    return apply("sum", d * d, axes=axes)


SHAPES = {
    "channels": ((64, 256, 3136), (1,), True),
    "rows": ((512, 4096), (0,), True),
    "an odd number beside": ((40, 70, 49), (1,), True),
    "two axes": ((4, 64, 8, 8), (1, 2), True),
    "too many rows to keep": ((600, 300), (0,), False),
}


@pytest.mark.parametrize(("shape", "axes", "once"), SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("value", [softmax, squares])
def test_columns_are_read_once(shape, axes, once, value):
    x = nd.leaf(0, shape, dt.float32)
    (k,) = kernels((value(x, axes),))
    assert k.layout.across and k.layout.rows == 32 and k.layout.kept == once


@pytest.mark.parametrize("shape", [(3, 40, 9), (40, 70, 11), (8, 64, 2, 33), (300, 64, 1)], ids=str)
@pytest.mark.parametrize("value", [softmax, squares])
@pytest.mark.parametrize("dtype", [dt.float32, dt.bfloat16], ids=str)
def test_columns_under_numpy(shape, value, dtype):
    x = nd.leaf(0, shape, dtype)
    values = {x: np.random.default_rng(0).standard_normal(shape).astype(dtype.numpy)}
    roots = (value(nd.cast(x, dt.float32), (1,)),)
    check(roots, run_cuda_on_numpy(roots, values), values, loose=30, relative_to_all=True)


def test_axes_with_others_between_have_no_columns():
    x = nd.leaf(0, (9, 64, 5, 64), dt.float32)
    roots = (softmax(x, (0, 2)),)
    values = {x: np.random.default_rng(0).standard_normal(x.shape, np.float32)}
    assert len(kernels(roots)) == 2
    check(roots, run_cuda_on_numpy(roots, values), values, loose=30)


def staged(k: Kernel) -> bool:
    return any(isinstance(s, Stage) for s in statements(k.body))


def test_a_transposed_operand_is_turned_before_a_row_kernel_reads_it():
    x, y = nd.leaf(0, (2048, 1024), dt.float32), nd.leaf(1, (1024, 2048), dt.float32)
    turned = apply("permute", x, order=(1, 0))
    first, second = kernels((softmax(turned * y, (1,)),))
    assert staged(first) and not staged(second) and second.layout.vector == 4
    small = apply("permute", nd.leaf(2, (64, 96), dt.float32), order=(1, 0))
    assert len(kernels((softmax(small, (1,)),))) == 1, "a cache holds it"
    assert len(kernels((squares(turned, (1,)),))) == 1, "columns are read side by side"
    assert len(kernels((softmax(turned, (1,)),), CPU)) == 1
