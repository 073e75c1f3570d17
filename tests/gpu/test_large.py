"""Tensors beyond 2^31 elements: every index is 64 bits wide where it must be."""

import numpy as np
import pytest

import flame

pytestmark = pytest.mark.gpu
N = (1 << 31) + 77  # elements: more than an int32 counts
PERIOD = 251


@pytest.fixture(scope="module")
def ramp():
    """uint8, element i is i modulo 251."""
    return (flame.arange(N, device="cuda") % PERIOD).to(flame.uint8).realize()


def at(places):
    return flame.tensor(places, device="cuda")


PLACES = [0, 1, (1 << 31) - 1, 1 << 31, (1 << 31) + 5, N - 1]


def test_elements(ramp):
    assert (ramp + 1)[at(PLACES)].tolist() == [i % PERIOD + 1 for i in PLACES]
    assert ramp[-3:].tolist() == [i % PERIOD for i in range(N - 3, N)]
    assert ramp.flip(0)[at(PLACES)].tolist() == [(N - 1 - i) % PERIOD for i in PLACES]
    assert ramp[:: (1 << 20) + 1].numpy().tolist() == [i % PERIOD for i in range(0, N, (1 << 20) + 1)]


def test_folds(ramp):
    whole, rest = divmod(N, PERIOD)
    assert ramp.sum().item() == whole * sum(range(PERIOD)) + sum(range(rest))
    assert ramp.max().item() == PERIOD - 1
    marked = flame.where(flame.arange(N, device="cuda") == N - 2, 255, ramp.long())
    assert marked.argmax().item() == N - 2


def test_shapes(ramp):
    rows = ramp[: (1 << 31) + 64].reshape(-1, 64)
    assert rows.shape[0] == (1 << 25) + 1
    assert rows[-1].tolist() == [i % PERIOD for i in range(1 << 31, (1 << 31) + 64)]
    turned = rows.T.contiguous().realize()
    assert turned[63, -1].item() == ((1 << 31) + 63) % PERIOD
    both = flame.cat([ramp[: N // 2], ramp[N // 2 :]])
    assert both[at(PLACES)].tolist() == [i % PERIOD for i in PLACES]


def test_rows_of_floats():
    rows, columns = (1 << 18) + 1, 1 << 13  # 2^31 + 8192 elements of bfloat16
    x = flame.randn(rows, columns, device="cuda", dtype=flame.bfloat16).realize()
    last = x[-1].float().numpy().astype(np.float64)
    want = np.exp(last - last.max())
    np.testing.assert_allclose(x.softmax(-1)[-1].float().numpy(), want / want.sum(), rtol=2e-2)


def test_products():
    m, n, k = (1 << 16) + 1, 1 << 15, 16
    a, b = (flame.randn(*s, device="cuda", dtype=flame.bfloat16).realize() for s in ((m, k), (k, n)))
    found = (a @ b).realize()
    want = a[-1].float().numpy().astype(np.float64) @ b.float().numpy().astype(np.float64)
    np.testing.assert_allclose(found[-1].float().numpy(), want, rtol=2e-2, atol=2e-2)
