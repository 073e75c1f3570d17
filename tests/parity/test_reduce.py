"""Reductions of ties, nan, infinities, and of values that are computed twice; the rest is in tests/surface."""

import numpy as np
import pytest

import flame
from tests.parity.both import FLOATS, Ledger, check, data, ours, theirs, torch

pytestmark = pytest.mark.parity


def test_ties_infinities_and_nan():
    ledger = Ledger()
    x = np.array([[1, 3, 3, 2], [np.nan, 1, np.inf, 0], [-np.inf] * 4, [np.inf, np.inf, 0, -1], [0, -0.0, 0, -0.0]])
    for name in ("amax", "amin", "sum", "mean", "logsumexp"):
        check(ledger, name, lambda lib, x, n=name: getattr(lib, n)(x, 1), [x], ["float64"], grad="am" not in name)
    check(ledger, "amax ties", lambda lib, x: lib.amax(x, 1), [x[[0, 2, 3, 4]]], ["float64"])
    for name in ("argmax", "argmin"):
        check(ledger, name, lambda lib, x, n=name: getattr(lib, n)(x, 1), [x], ["float64"])
    for name in ("max", "min"):
        check(ledger, name, lambda lib, x, n=name: getattr(lib, n)(x, 1).values, [x], ["float64"])
        check(ledger, f"{name} of all", lambda lib, x, n=name: getattr(lib, n)(x), [x[:1]], ["float64"])
    ledger.close()


def test_softmax_of_large_and_masked_numbers():
    ledger = Ledger()
    x = np.array([[1000.0, 999, -1000], [-np.inf, 1, 2], [-np.inf, -np.inf, 3], [0.0, 0, 0]])
    for name in ("softmax", "log_softmax"):
        check(ledger, name, lambda lib, x, n=name: getattr(lib, n)(x, -1), [x], ["float32"])
    check(ledger, "nothing left", lambda lib, x: lib.softmax(x, -1), [np.full((1, 3), -np.inf)], ["float32"])
    check(ledger, "one element", lambda lib, x: lib.log_softmax(x, -1), [data((3, 1))], ["float32"])
    ledger.close()


def test_half_precisions_are_summed_wider():
    ones = np.ones(5000)
    for dtype in ("float16", "bfloat16"):
        assert (
            ours(ones, dtype).sum().item()
            == theirs(ones, dtype).sum().item()
            == torch.tensor(5000.0).to(getattr(torch, dtype))
        )


@pytest.mark.parametrize("dtype", FLOATS)
def test_extremes_of_computed_values(dtype):
    """Nothing may hang on a value being computed twice to the same bit."""
    ledger = Ledger()
    x, w = data((6, 40), dtype, low=-1.0, high=1.0), data((6, 40), dtype, seed=5, low=0.5, high=1.0)
    made = lambda lib, x, w: ((x * w).exp() / (w * w + x.tanh() + 2)).sigmoid()  # noqa: E731
    x64, w64 = theirs(x, "float64"), theirs(w, "float64")
    exact = made(torch, x64, w64)
    for name in ("amax", "amin"):
        mine = [ours(a, dtype, True) for a in (x, w)]
        h = made(flame, *mine)
        top = getattr(h, name)(1)
        top.numpy()
        top.sum().backward()
        hits = (mine[0].grad.numpy().astype(float) != 0).sum(1)
        assert (hits >= 1).all(), (name, hits)
        at = getattr(h, f"arg{name[1:]}")(1).numpy()
        found = exact.numpy()[np.arange(6), at]
        np.testing.assert_allclose(
            found, getattr(exact, name)(1).numpy(), rtol=2 * flame.ir.dtype.by_name(dtype).epsilon
        )
    if dtype in ("float32", "float64"):
        check(ledger, "amax", lambda lib, x, w: made(lib, x, w).amax(1), [x, w], [dtype] * 2)
        check(ledger, "max", lambda lib, x, w: made(lib, x, w).max(1).values, [x, w], [dtype] * 2)
        check(ledger, "all", lambda lib, x, w: made(lib, x, w).min(), [x, w], [dtype] * 2)
    ledger.close()
