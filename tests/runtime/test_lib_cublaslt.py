"""How cuBLASLt's products are described, without the library: strides, batches and loops against numpy."""

import itertools

import numpy as np
import pytest

from flame.errors import DeviceError
from flame.ir.library import MatmulSpec, View
from flame.runtime import lib_cublaslt as lib
from flame.runtime.lib_cublaslt import Product


def spec_of(a: np.ndarray, b: np.ndarray, dtype: str = "float64") -> MatmulSpec:
    """The product of two arrays of equal batch shape."""
    (*batch, m, k), n = a.shape, b.shape[-1]
    views = (View(0, tuple(s // each.itemsize for s in each.strides)) for each in (a, b))
    return MatmulSpec(dtype, tuple(batch), m, n, k, *views)


def product(a: np.ndarray, b: np.ndarray) -> Product:
    """The same without offsets."""
    return Product.of(spec_of(a, b))


def library_multiply(spec: Product, out_stride: int, first: np.ndarray, second: np.ndarray, out: np.ndarray):
    """What the library does with `describe`'s numbers: column-major matrices, an offset a batch."""
    (a_turned, lda), (b_turned, ldb) = (
        lib.orient(spec.m, spec.k, *spec.a_strides[:2]),
        lib.orient(spec.k, spec.n, *spec.b_strides[:2]),
    )
    for i in range(spec.batch[0] if spec.batch else 1):
        steps = [each[2] * i if spec.batch else 0 for each in (spec.a_strides, spec.b_strides)]
        b = column_major(second[steps[1] :], *((spec.k, spec.n) if b_turned else (spec.n, spec.k)), ldb)
        a = column_major(first[steps[0] :], *((spec.m, spec.k) if a_turned else (spec.k, spec.m)), lda)
        result = (b.T if b_turned else b) @ (a.T if a_turned else a)
        out[i * out_stride : i * out_stride + spec.m * spec.n] = result.T.reshape(-1)


def column_major(flat: np.ndarray, rows: int, columns: int, leading: int) -> np.ndarray:
    """A column-major matrix in a flat array; every element must lie inside."""
    assert leading >= max(rows, 1), "cuBLAS refuses a leading dimension below the rows"
    assert (columns - 1) * leading + rows <= flat.size
    return np.array([[flat[j * leading + i] for j in range(columns)] for i in range(rows)])


def check(a: np.ndarray, b: np.ndarray, a_memory: np.ndarray, b_memory: np.ndarray) -> None:
    """The described product of two views of flat memory is numpy's."""
    assert lib.supports(spec_of(a, b))
    inner, out_stride, offsets = lib.outer_loop(lib.simplify(product(a, b)))
    out = np.full(a.shape[:-1] + b.shape[-1:], np.nan).reshape(-1)
    for x, y, z in offsets:
        library_multiply(inner, out_stride, a_memory[x // 8 :], b_memory[y // 8 :], out[z // 8 :])
    np.testing.assert_allclose(out.reshape(a.shape[:-1] + b.shape[-1:]), a @ b, rtol=1e-12)


def matrix(rng, batch, rows, columns, turned, padded):
    """A matrix of any layout and the flat memory it lies in."""
    shape = (*batch, columns, rows) if turned else (*batch, rows, columns)
    memory = rng.standard_normal((*shape[:-1], shape[-1] + 3 * padded))
    view = memory[..., : shape[-1]]
    return (view.swapaxes(-1, -2) if turned else view), memory.reshape(-1)


@pytest.mark.parametrize("batch", [(), (3,), (1,), (2, 3), (2, 1, 3)])
@pytest.mark.parametrize("sizes", [(4, 5, 6), (1, 5, 6), (4, 1, 6), (4, 5, 1), (1, 1, 1), (4, 4, 4)])
def test_layouts(batch, sizes):
    rng, (m, n, k) = np.random.default_rng(1), sizes
    for a_turned, b_turned, padded in itertools.product((False, True), repeat=3):
        a, a_memory = matrix(rng, batch, m, k, a_turned, padded)
        b, b_memory = matrix(rng, batch, k, n, b_turned, padded)
        check(a, b, a_memory, b_memory)


def test_broadcast_and_permuted_batches():
    rng = np.random.default_rng(2)
    a_memory, b_memory = rng.standard_normal(2 * 3 * 4 * 6), rng.standard_normal(3 * 6 * 5)
    a, b = a_memory.reshape(2, 3, 4, 6), b_memory.reshape(3, 6, 5)
    check(a, np.broadcast_to(b, (2, 3, 6, 5)), a_memory, b_memory)
    check(a, np.broadcast_to(b[0], (2, 3, 6, 5)), a_memory, b_memory)
    check(np.broadcast_to(a[0, 0], (3, 4, 6)), b, a_memory, b_memory)
    check(a.swapaxes(0, 1), np.broadcast_to(b[:, None], (3, 2, 6, 5)), a_memory, b_memory)
    heads = a_memory.reshape(2, 4, 3, 6).swapaxes(
        1, 2
    )  # attention: (batch, head, time, dim) of (batch, time, head, dim)
    check(heads, np.broadcast_to(b, (2, 3, 6, 5)), a_memory, b_memory)


def test_rows_of_one_matrix_become_one_product():
    x, w = np.zeros((8, 16, 32)), np.broadcast_to(np.zeros((32, 64)), (8, 16 * 4, 32, 64))
    plain = lib.simplify(product(x, w[:, 0]))
    assert (plain.m, plain.batch) == (128, ())
    assert len(lib.outer_loop(plain)[2]) == 1


def test_what_is_refused():
    a, b = np.zeros((4, 6)), np.zeros((6, 5))
    assert lib.supports(spec_of(a, b))
    assert not lib.supports(spec_of(a, b, "int32"))
    assert not lib.supports(spec_of(np.zeros((4, 12))[:, ::2], b))
    assert not lib.supports(spec_of(np.broadcast_to(np.zeros((1, 6)), (4, 6)), b))
    assert not lib.supports(spec_of(a[::-1], b))
    with pytest.raises(DeviceError, match="cannot run"):
        lib._bind(spec_of(a, b, "int32"), 0)


def test_where_it_is_missing_it_says_so():
    assert lib.available() == (not lib.why_not())
