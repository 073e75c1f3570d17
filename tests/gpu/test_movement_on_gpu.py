"""Tiles, split folds, columns and pieces on a GPU, where lanes really wait for each other: against the oracle."""

import numpy as np
import pytest

from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir.node import Node, apply
from tests.passes.test_columns import SHAPES as COLUMNS
from tests.passes.test_columns import softmax, squares
from tests.passes.test_pieces import PIECES, joined
from tests.passes.test_tile import SHAPES as TILES
from tests.passes.test_tile import turned
from tests.support import check, run_gpu

pytestmark = pytest.mark.gpu
TALL = [
    ((15000, 7), (0,)),
    ((3, 2001, 40), (1,)),
    ((100003,), (0,)),
    ((90, 6, 40, 64), (0, 2, 3)),
    ((6000, 40, 5), (0, 2)),
]
TALL += [
    ((6000, 40, 5), (0, 2)),
    ((3000, 1000), (0,)),
    ((70001, 33), (0,)),
    ((8, 3001, 201), (1,)),
    ((200003, 16), (0,)),
    ((2, 262147), (1,)),
]
LARGE = [((4099, 1023), (1, 0)), ((9, 65, 129), (0, 2, 1))]


def random(*leaves: Node) -> dict[Node, np.ndarray]:
    rng = np.random.default_rng(0)
    return {n: rng.integers(-9, 9, n.shape).astype(n.dtype.numpy) for n in leaves}


@pytest.mark.parametrize(
    ("shape", "order"), [*TILES.values(), ((4099, 1023), (1, 0)), ((9, 65, 129), (0, 2, 1))], ids=str
)
@pytest.mark.parametrize("dtype", [dt.float32, dt.bfloat16, dt.boolean, dt.float64], ids=str)
def test_tiles(shape, order, dtype):
    x = nd.leaf(0, shape, dtype)
    t = turned(x, *order)
    roots = (t, apply("pad", t, low=(1,) * len(t.shape), high=(2,) * len(t.shape), step=(1,) * len(t.shape), fill=0))
    values = random(x)
    check(roots, run_gpu(roots, values), values)


@pytest.mark.parametrize(("shape", "axes"), TALL, ids=str)
@pytest.mark.parametrize("dtype", [dt.float32, dt.bfloat16, dt.int64], ids=str)
def test_split_folds(shape, axes, dtype):
    x = nd.leaf(0, shape, dtype)
    roots = tuple(apply(name, x, axes=axes) for name in ("sum", "max", "min"))
    values = random(x)
    check(roots, run_gpu(roots, values), values, loose=4, relative_to_all=True)


@pytest.mark.parametrize(("shape", "axes"), [(s, a) for s, a, _ in COLUMNS.values() if np.prod(s) < 1 << 22], ids=str)
@pytest.mark.parametrize("value", [softmax, squares])
def test_columns(shape, axes, value):
    x = nd.leaf(0, shape, dt.float32)
    roots, values = (value(x, axes),), random(x)
    check(roots, run_gpu(roots, values), values, loose=30, relative_to_all=True)


@pytest.mark.parametrize(("shapes", "dim"), PIECES.values(), ids=PIECES.keys())
@pytest.mark.parametrize("dtype", [dt.float32, dt.bfloat16, dt.boolean], ids=str)
def test_pieces(shapes, dim, dtype):
    y, leaves = joined(shapes, dim, dtype)
    values = random(*leaves)
    check((y,), run_gpu((y,), values), values)


def test_a_row_kernel_reads_what_was_turned():
    x = nd.leaf(0, (2048, 1024), dt.float32)
    roots, values = (softmax(turned(x), (1,)),), random(x)
    check(roots, run_gpu(roots, values), values, loose=30)
