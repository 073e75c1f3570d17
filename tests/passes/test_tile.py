"""Transposed operands pass through shared memory: which do, in what tiles, without bank conflicts."""

from collections import Counter

import numpy as np
import pytest

from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir import show
from flame.ir.graph import substitute
from flame.ir.loop import Kernel, Loop, Role, Stage, Store, statements
from flame.ir.node import Node, apply, const
from flame.ir.target import CPU
from flame.passes.simplify import Scalars
from tests.support import check, kernels, run_cuda_on_numpy


def leaf(*shape: int, dtype: dt.DType = dt.float32, uid: int = 0) -> Node:
    return nd.leaf(uid, shape, dtype)


def turned(a: Node, *order: int) -> Node:
    return apply("permute", a, order=order or (1, 0))


def stages(k: Kernel) -> list[Stage]:
    return [s for s in statements(k.body) if isinstance(s, Stage)]


def test_a_transposed_matrix_is_staged():
    (k,) = kernels((turned(leaf(128, 256)),))
    assert show.kernel(k).splitlines()[2:] == [
        "  for g in 8 [grid]",
        "    for p in 4096 [row]",
        "      t0 = remainder(p, 64)",
        "      t1 = floor_divide(p, 64)",
        "      stage tile0[add(mul(t0, 65), t1) of 4160] = "
        "a0[add(add(add(mul(remainder(g, 2), 16384), mul(t1, 256)), mul(floor_divide(g, 2), 64)), t0)]",
        "    for q in 4096 [row]",
        "      t0 = floor_divide(q, 64)",
        "      t1 = remainder(q, 64)",
        "      out0[add(add(add(mul(floor_divide(g, 2), 8192), mul(t0, 128)), mul(remainder(g, 2), 64)), t1)] = "
        "tile0[add(mul(t0, 65), t1)]",
    ]
    assert (k.layout.lanes, k.layout.items, k.layout.vector) == (256, 4, 4)


def test_only_what_lies_across_is_staged():
    x, y = leaf(128, 256), leaf(256, 128, uid=1)
    assert [len(stages(k)) for k in kernels((turned(x) * y + turned(x),))] == [1]
    assert [len(stages(k)) for k in kernels((turned(x) * turned(leaf(128, 256, uid=2)),))] == [2]
    rows = turned(leaf(8, 64, 16, 64), 0, 2, 1, 3)
    assert [len(stages(k)) for k in kernels((rows,))] == [0], "the innermost axis stays where it is"
    column = nd.expand(nd.reshape(leaf(256), (256, 1)), (256, 128))
    assert [len(stages(k)) for k in kernels((column + y,))] == [0], "one value for a whole line"
    assert [len(stages(k)) for k in kernels((turned(x),), CPU)] == [0]
    close = turned(leaf(64, 16, 512), 0, 2, 1)
    assert [len(stages(k)) for k in kernels((close,))] == [0], "a warp uses up what it reads"


def places(k: Kernel, index: Node, loop: Loop, item: int, v: int) -> list[int]:
    """Where the lanes of the first warp reach a tile, in one access."""
    at, simple = k.layout, Scalars()
    found = []
    for lane in range(32):
        r = const(item * at.lanes * at.vector + lane * at.vector + v)
        found.append(simple(substitute((index,), {loop.var: r})[0])["value"])
    return found


@pytest.mark.parametrize("dtype", [dt.float32, dt.bfloat16, dt.int64], ids=str)
def test_lanes_meet_few_banks_twice(dtype):
    for shape in ((1, 128, 256), (16, 100, 56 * 56), (1, 4099, 8191)):
        (k,) = kernels(
            (turned(leaf(*shape, dtype=dtype), *(0, 2, 1)[3 - len(shape) :] if len(shape) == 3 else (1, 0)),)
        )
        first, second = (s for s in k.outer.body if isinstance(s, Loop))
        (staged,) = stages(k)
        (stored,) = (s for s in second.body if isinstance(s, Store))
        for loop, index in ((first, staged.index), (second, stored.value.src[0])):
            banks = Counter(p % 32 for p in places(k, index, loop, 0, 1))
            assert max(banks.values()) <= 2, (shape, loop.var, banks)


SHAPES = {
    "square": ((64, 64), (1, 0)),
    "ragged": ((130, 203), (1, 0)),
    "rows of few y": ((2, 300, 3), (0, 2, 1)),
    "rows of few m": ((2, 17, 300), (0, 2, 1)),
    "many small": ((48, 20, 7), (0, 2, 1)),
    "channels last": ((2, 24, 14, 14), (0, 2, 3, 1)),
    "channels first": ((2, 7, 7, 40), (0, 3, 1, 2)),
    "all axes": ((5, 3, 4, 6, 2), (4, 0, 3, 2, 1)),
}


@pytest.mark.parametrize(("shape", "order"), SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("dtype", [dt.float32, dt.bfloat16, dt.boolean, dt.float64], ids=str)
def test_staged_kernels_under_numpy(shape, order, dtype):
    x = leaf(*shape, dtype=dtype)
    values = {x: np.random.default_rng(0).integers(0, 9, shape).astype(dtype.numpy)}
    roots = (turned(x, *order),)
    assert all(stages(k) for k in kernels(roots))
    check(roots, run_cuda_on_numpy(roots, values), values)


def test_what_surrounds_a_transposed_operand_goes_with_it():
    """Padded, flipped, sliced, added to, several results: no load leaves its tensor, no place is read unstaged."""
    x, y = leaf(70, 90), leaf(90, 70, dtype=dt.bfloat16, uid=1)
    rng = np.random.default_rng(1)
    values = {x: rng.standard_normal((70, 90), np.float32), y: rng.standard_normal((90, 70)).astype(y.dtype.numpy)}
    t = turned(x)
    padded = apply("pad", t, low=(1, 3), high=(2, 0), step=(1, 1), fill=2)
    sliced = apply("slice", t, start=(3, 1), stop=(85, 70), step=(2, 3))
    for roots in (
        (padded,),
        (sliced,),
        (apply("flip", t, axes=(0, 1)),),
        (nd.cast(y, dt.float32) * t, apply("exp", t)),
    ):
        assert all(stages(k) for k in kernels(roots))
        check(roots, run_cuda_on_numpy(roots, values), values)


def test_the_grid_is_the_only_loop_that_a_batch_changes():
    names = {k.name for n in (4, 9) for k in kernels((turned(leaf(n, 24, 14, 14), 0, 2, 3, 1),))}
    assert len(names) == 1 and all(k.outer.role is Role.GRID for k in kernels((turned(leaf(4, 24, 196), 0, 2, 1),)))
