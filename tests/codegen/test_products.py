"""Printed matrix products: which products tensor cores can do, what their kernels need, and that they compile."""

import pytest

from flame.codegen.print_product import Form, code, codes
from flame.ir import dtype as dt
from flame.ir.library import MatmulSpec, View
from flame.ir.tile import TILES, fits, shape
from flame.runtime import cuda_compile, lib_tensor

SHARED = 227 << 10  # bytes of shared memory that a block of compute capability 9.0 may have
needs_compiler = pytest.mark.skipif(bool(why := cuda_compile.why_not()), reason=f"no CUDA compiler: {why}")


def spec(m=1024, n=1024, k=1024, a=None, b=None, batch=(), dtype="bfloat16", offset=0) -> MatmulSpec:
    left, right = View(offset, a or (k, 1)), View(0, b or (n, 1))
    return MatmulSpec(dtype, batch, m, n, k, left, right)


@pytest.mark.parametrize("tile", TILES, ids=lambda t: t.name)
def test_a_tile_fits_its_block(tile):
    assert tile.shared <= SHARED
    assert tile.high * tile.columns // 2 <= 128  # accumulators of a lane: more would not stay in registers
    assert tile.rows <= 256 and tile.columns // tile.cluster <= 256  # what one tensor map brings


def test_both_orientations_of_both_operands():
    forms = [(s.left, s.right) for s in map(shape, (spec(), spec(b=(1, 1024)), spec(a=(1, 1024))))]
    assert forms == [("k", "n"), ("k", "k"), ("m", "n")]


@pytest.mark.parametrize(
    "what",
    [
        spec(dtype="float32"),
        spec(k=1001),  # rows that begin between multiples of 16 bytes
        spec(n=1004),
        spec(offset=4),
        spec(m=64, n=64, k=64),  # too small to fill the machine
        spec(batch=(4, 8), a=(9 << 20, 1 << 20, 1024, 1), b=(0, 1 << 20, 1024, 1)),  # no one stride over the batch
    ],
)
def test_what_tensor_maps_cannot_say(what):
    assert shape(what) is None and codes(what) == ()


def test_rows_of_a_batch_that_share_the_right_operand_are_rows():
    found = shape(spec(batch=(8,), a=(1 << 20, 1024, 1), b=(0, 1024, 1)))
    assert found.product.m == 8192 and found.batch == 1


def test_a_batch_that_shares_its_left_operand_reads_one():
    what = spec(batch=(8,), a=(0, 1024, 1), b=(1 << 20, 1024, 1))
    found = shape(what)
    left, right, out = lib_tensor.matrices(TILES[0], found)
    assert left.extents == (1024, 1024, 1) and right.extents == out.extents == (1024, 1024, 8)
    count, across, down, step, steps, a, b, height = lib_tensor.sizes(TILES[0], found, 132)
    assert (count, across, down, step, steps, a, b, height) == (512, 8, 8, 132, 16, 0, 1, 1024)


def test_a_cluster_shares_what_lies_along_k():
    assert {t.cluster for t, _ in codes(spec(b=(1, 1024)))} == {1, 2}
    assert {t.cluster for t, _ in codes(spec())} == {1}
    assert not fits(TILES[-1], shape(spec()))


def test_names_say_the_content():
    names = [c.name for what in (spec(), spec(b=(1, 1024)), spec(dtype="float16")) for _, c in codes(what)]
    assert len(set(names)) == len(names)
    assert [c.name for _, c in codes(spec())] == [c.name for _, c in codes(spec(m=4096, k=2048, a=(2048, 1)))]


CHOSEN = [(0, "k", "k"), (1, "m", "n"), (3, "k", "k")]
ALL = [(i, a, b) for i, t in enumerate(TILES) for a in "km" for b in ("k" if t.cluster > 1 else "kn")]
REST = [which for which in ALL if which not in CHOSEN]


@needs_compiler
@pytest.mark.parametrize(
    ("number", "left", "right"), [*CHOSEN, *(pytest.param(*r, marks=pytest.mark.slow) for r in REST)]
)
def test_compiles_without_spills(number, left, right):
    tile = TILES[number]
    made = code(Form(dt.bfloat16, left, right, dt.bfloat16), tile)
    options = made.options((9, 0))
    ptx = cuda_compile.ptx_cuda(made.source, made.name, made.signature, options)
    assert cuda_compile.lowered(made.source, made.name, made.signature) is not None  # Numba needs seconds for it
    used = cuda_compile.resources(ptx, cuda_compile.machine(made.signature, options))
    assert used["spills"] == used["local"] == 0 and used["registers"] <= 168
    assert ptx.count(".param .align 64 .b8") == 3 and ("reqnctapercluster" in ptx) == (tile.cluster > 1)
    assert "wgmma.mma_async" in ptx and "stmatrix" in ptx and "st.global" not in ptx
