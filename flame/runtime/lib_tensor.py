"""Printed matrix products on tensor cores: which products they can do, and how one is launched.

A launch needs three tensor maps, which say where matrices lie: 128 bytes each, made by the driver for the addresses
at hand and kept, for a training step comes back to the same memory.
"""

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from flame.ir.library import MatmulSpec
from flame.ir.plan import Code
from flame.ir.tile import ATOM, Shape, Tile, shape
from flame.runtime import cuda

MOST_PLACES = 1024  # sets of addresses whose maps are kept for one product


@dataclass(frozen=True)
class Matrix:
    """A matrix in memory as a tensor map sees it: extents and strides in elements, the closest neighbours first."""

    extents: tuple[int, int, int]  # along the axis of neighbours, the other axis, and the batch
    strides: tuple[int, int]  # of the other axis and the batch
    box: tuple[int, int, int]


def matrices(tile: Tile, shape: Shape) -> tuple[Matrix, Matrix, Matrix]:
    """Both operands and the result."""
    p, columns = shape.product, tile.columns // tile.cluster
    left = _matrix(p.a_strides, p.m, p.k, shape.left == "k", tile.rows, p.batch)
    turned = (p.b_strides[1], p.b_strides[0], *p.b_strides[2:])
    right = _matrix(turned, p.n, p.k, shape.right == "k", columns, p.batch)
    out = Matrix((p.n, p.m, shape.batch), (p.n, p.m * p.n), (ATOM, 64, 1))
    return left, right, out


def _matrix(strides: Sequence[int], own: int, k: int, along_k: bool, count: int, batch: tuple[int, ...]) -> Matrix:
    """An operand of strides (own axis, k, batch): boxes of `count` own elements and 64 of k, or 64 and 64."""
    apart = strides[2] if len(strides) > 2 else 0
    many = batch[0] if batch and apart else 1
    if along_k:
        return Matrix((k, own, many), (strides[0], apart or strides[0]), (ATOM, count, 1))
    return Matrix((own, k, many), (strides[1], apart or strides[1]), (ATOM, ATOM, 1))


def encode(matrix: Matrix, address: int, dtype: str) -> bytes:
    """The tensor map of a matrix at an address."""
    d = cuda.driver()
    kinds, swizzle = d.CUtensorMapDataType, d.CUtensorMapSwizzle.CU_TENSOR_MAP_SWIZZLE_128B
    kind = getattr(kinds, f"CU_TENSOR_MAP_DATA_TYPE_{dtype.upper()}")
    made = cuda.check(
        d.cuTensorMapEncodeTiled(
            kind,
            3,
            address,
            [d.cuuint64_t(e) for e in matrix.extents],
            [d.cuuint64_t(2 * s) for s in matrix.strides],
            [d.cuuint32_t(b) for b in matrix.box],
            [d.cuuint32_t(1)] * 3,
            d.CUtensorMapInterleave.CU_TENSOR_MAP_INTERLEAVE_NONE,
            swizzle,
            d.CUtensorMapL2promotion.CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
            d.CUtensorMapFloatOOBfill.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        ),
        f"mapping a matrix of {matrix.extents[1]} x {matrix.extents[0]}",
    )
    return ctypes.string_at(made.getPtr(), 128)


def sizes(tile: Tile, shape: Shape, blocks: int) -> tuple[int, ...]:
    """What a launch tells the kernel: the count of tiles, then the numbers `codegen.print_product.SIZES` names."""
    p = shape.product
    across, down = -(-p.n // tile.columns), -(-p.m // (tile.rows * tile.cluster))
    left, right = (int(bool(p.batch) and s[2] != 0) for s in (p.a_strides, p.b_strides))
    steps = -(-p.k // ATOM)
    return across * down * shape.batch, across, down, blocks // tile.cluster, steps, left, right, p.m


def bind(spec: MatmulSpec, tile: Tile, code: Code, function: cuda.Function, processors: int) -> Callable[..., None]:
    """A function `(a, b, out, *more, stream)` of addresses that queues the product.

    `more` are the arguments of the epilogue; addresses of matrices must be multiples of 16.
    """
    found = shape(spec)
    assert found is not None
    tiles = sizes(tile, found, 0)[0]
    blocks = min(tiles, processors // tile.cluster) * tile.cluster
    told = sizes(tile, found, blocks)
    numbers = (ctypes.c_int64 * len(told))(*told)
    count = len(code.signature) + 1 - 3 - len(told)  # n is no part of the signature; three are maps
    more = (ctypes.c_int64 * max(1, count))()
    shapes, offsets = matrices(tile, found), (2 * spec.a.offset, 2 * spec.b.offset, 0)
    tell = [ctypes.addressof(numbers) + 8 * i for i in range(len(told))]
    behind = [ctypes.addressof(more) + 8 * i for i in range(count)]

    @lru_cache(MOST_PLACES)
    def packed(*addresses: int) -> Callable[..., None]:
        at = zip(shapes, addresses, offsets, strict=True)
        maps = [ctypes.create_string_buffer(encode(m, a + offset, spec.dtype), 128) for m, a, offset in at]
        pointers = [tell[0], *map(ctypes.addressof, maps), *tell[1:], *behind]
        launch = cuda.pack(function, blocks, code.threads, pointers, code.shared)
        return lambda stream, _keep=(maps, more, numbers): launch(stream)

    def run(a: int, b: int, out: int, *rest: int, stream: object) -> None:
        more[: len(rest)] = rest
        packed(a, b, out)(stream)

    return run
