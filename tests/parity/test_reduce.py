"""Reductions: values and gradients over dimensions, dtypes, ties, nan and empty tensors."""

import numpy as np
import pytest

import flame
from tests.parity.both import ALL, FLOATS, INTS, Ledger, check, data, ours, theirs, torch

pytestmark = pytest.mark.parity

DIMS = (None, 0, 1, -1, (0, 2), (-1, 0), (0, 1, 2))
FOLDS = {
    "sum": lambda lib, x, **k: lib.sum(x, **k),
    "mean": lambda lib, x, **k: lib.mean(x, **k),
    "amax": lambda lib, x, **k: lib.amax(x, **{"dim": (), **k}),
    "amin": lambda lib, x, **k: x.amin(**{"dim": (), **k}),
    "var": lambda lib, x, **k: lib.var(x, **k),
    "std": lambda lib, x, **k: x.std(correction=0, **k),
    "logsumexp": lambda lib, x, **k: lib.logsumexp(x, **{"dim": (0, 1, 2), **k}),
}


def options(dim, keepdim):
    return {} if dim is None else {"dim": dim, "keepdim": keepdim}


@pytest.mark.parametrize("name", FOLDS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_folds(name, dtype):
    ledger = Ledger()
    for dim in DIMS:
        for keepdim in (False, True):
            given = options(dim, keepdim)
            call = lambda lib, x, given=given: FOLDS[name](lib, x, **given)  # noqa: E731
            check(ledger, f"{name} {given}", call, [data((3, 4, 5), dtype)], [dtype])
    ledger.close()


@pytest.mark.parametrize("dtype", ["bool", *INTS])
def test_folds_of_integers(dtype):
    ledger = Ledger()
    for dim in (None, 1, (0, -1)):
        for name in ("sum", "amax", "amin"):
            given = options(dim, False)
            call = lambda lib, x, name=name, given=given: FOLDS[name](lib, x, **given)  # noqa: E731
            check(ledger, f"{name} {given}", call, [data((3, 4, 5), dtype)], [dtype])
    for name in ("any", "all") if dtype != "uint8" else ():  # whose truth PyTorch keeps as uint8
        for given in ({}, {"dim": 1}, {"dim": -1, "keepdim": True}):
            check(
                ledger, name, lambda lib, x, n=name, g=given: getattr(lib, n)(x, **g), [data((3, 4, 5), dtype)], [dtype]
            )
    ledger.close()


@pytest.mark.parametrize("dtype", ALL)
def test_extremes_with_their_places(dtype):
    ledger = Ledger()
    x = data((4, 5, 3), dtype)
    for name in ("max", "min"):
        check(ledger, name, lambda lib, x, n=name: getattr(lib, n)(x), [x], [dtype])
        for dim in (0, 1, -1):
            for keepdim in (False, True):
                call = lambda lib, x, n=name, d=dim, k=keepdim: tuple(getattr(lib, n)(x, d, k))  # noqa: E731
                if dtype in FLOATS:
                    check(ledger, f"{name} {dim}", call, [x], [dtype])
        other = data((4, 5, 3), dtype, seed=1)
        check(ledger, f"{name} of two", lambda lib, x, y, n=name: getattr(lib, n)(x, y), [x, other], [dtype] * 2)
    for name in ("argmax", "argmin"):
        if dtype == "bool":
            continue
        for given in ({}, {"dim": 1}, {"dim": -1, "keepdim": True}):
            check(ledger, name, lambda lib, x, n=name, g=given: getattr(lib, n)(x, **g), [x], [dtype])
    ledger.close()


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


@pytest.mark.parametrize("shape", [(), (1,), (7,), (1, 1), (129,), (1, 33)], ids=str)
def test_odd_shapes(shape):
    ledger = Ledger()
    x = data(shape)
    for name in ("sum", "mean", "amax", "logsumexp", "argmax"):
        if name == "logsumexp" and not shape:
            continue
        given = {"dim": -1} if name == "logsumexp" else {}
        check(ledger, name, lambda lib, x, n=name, g=given: getattr(lib, n)(x, **g), [x], ["float32"])
        check(ledger, f"{name} last", lambda lib, x, n=name: getattr(lib, n)(x, -1), [x], ["float32"])
    ledger.close()


def test_empty_tensors():
    ledger = Ledger()
    for shape, dim in (((0,), 0), ((0, 3), 0), ((0, 3), 1), ((2, 0, 3), 1), ((2, 0, 3), -1)):
        for name in ("sum", "mean"):
            check(
                ledger,
                f"{name} {shape} {dim}",
                lambda lib, x, n=name, d=dim: getattr(lib, n)(x, d),
                [data(shape)],
                ["float32"],
            )
        check(ledger, f"any {shape} {dim}", lambda lib, x, d=dim: lib.any(x > 0, d), [data(shape)], ["float32"])
        check(ledger, f"all {shape} {dim}", lambda lib, x, d=dim: lib.all(x > 0, d), [data(shape)], ["float32"])
    check(ledger, "sum of all", lambda lib, x: lib.sum(x), [data((0, 3))], ["float32"])
    check(ledger, "mean of all", lambda lib, x: lib.mean(x), [data((0,))], ["float32"])
    check(ledger, "amax beside", lambda lib, x: lib.amax(x, 1), [data((0, 3))], ["float32"])
    assert np.isnan(ours(np.ones(1)).var().item())
    check(ledger, "argmax beside", lambda lib, x: lib.argmax(x, 1), [data((0, 3))], ["float32"])
    ledger.close()


@pytest.mark.parametrize(
    "call",
    [
        lambda lib: lib.zeros(0).amax(),
        lambda lib: lib.zeros(0, 3).amax(0),
        lambda lib: lib.zeros(3, 0).argmax(1),
        lambda lib: lib.zeros(0).max(),
        lambda lib: lib.zeros(3).sum(1),
        lambda lib: lib.zeros(3, 2).mean((0, -2)),
        lambda lib: lib.zeros(()).sum(1),
        lambda lib: lib.zeros(3, dtype=lib.int32).mean(),
        lambda lib: lib.zeros(2).softmax(1),
    ],
)
def test_what_pytorch_refuses_is_refused(call):
    with pytest.raises((RuntimeError, IndexError)):
        call(torch)
    with pytest.raises(flame.FlameError):
        call(flame)


def test_sums_of_another_dtype():
    ledger = Ledger()
    for source, target in (("int8", "int8"), ("int32", "float32"), ("float16", "float32"), ("bool", "float64")):
        call = lambda lib, x, t=target: lib.sum(x, 0, dtype=getattr(lib, t))  # noqa: E731
        check(ledger, f"{source} {target}", call, [data((5, 3), source)], [source])
    ledger.close()


@pytest.mark.parametrize("dtype", FLOATS)
def test_softmax(dtype):
    ledger = Ledger()
    for dim in (0, 1, -1):
        for name in ("softmax", "log_softmax"):
            check(ledger, name, lambda lib, x, n=name, d=dim: getattr(lib, n)(x, d), [data((4, 3, 5), dtype)], [dtype])
            wide = lambda lib, x, n=name, d=dim: getattr(x, n)(d, dtype=lib.float32)  # noqa: E731
            if dtype != "float64":
                check(ledger, f"{name} wide", wide, [data((4, 3, 5), dtype)], [dtype])
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
