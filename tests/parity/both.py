"""Ours beside PyTorch's: the same call on the same data; values, dtypes, shapes and gradients must be equal."""

import numpy as np
import pytest

import flame

torch = pytest.importorskip("torch", reason="parity needs torch==2.13.0: pip install -e '.[parity]'")

FLOATS = ("float16", "bfloat16", "float32", "float64")
INTS = ("uint8", "int8", "int16", "int32", "int64")
ALL = ("bool", *INTS, *FLOATS)
LOOSE = {"float64": 1e-9, "float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, 3.0, -7.25, 1e-3, 40.0])


def data(shape, dtype="float32", seed=0, low=-3.0, high=3.0):
    """Numbers of a dtype as float64 or int64 that both sides take exactly."""
    rng = np.random.default_rng([seed, *shape])
    if dtype == "bool":
        return rng.random(shape) < 0.5
    if dtype in INTS:
        return rng.integers(0 if dtype == "uint8" else -5, 6, shape)
    return np.asarray(torch.tensor(rng.uniform(low, high, shape)).to(getattr(torch, dtype)).double())


def ours(array, dtype="float32", grad=False):
    """A tensor of FLAME."""
    return flame.tensor(array, dtype=getattr(flame, dtype), requires_grad=grad)


def theirs(array, dtype="float32", grad=False):
    """A tensor of PyTorch."""
    return torch.tensor(np.array(array)).to(getattr(torch, dtype)).requires_grad_(grad)


def wide(tensor):
    """The numbers of either side for a comparison; half precisions widened."""
    if isinstance(tensor, torch.Tensor):
        tensor = tensor.detach()
        tensor = torch.zeros_like(tensor) if tensor._is_zerotensor() else tensor
        return (tensor.double() if tensor.is_floating_point() else tensor).numpy()
    found = tensor.numpy()
    return found.astype(np.float64) if tensor.is_floating_point() else found


def name_of(dtype):
    return str(dtype).removeprefix("torch.")


class Ledger:
    """Pairs to compare; all of ours are computed in one plan, which is what a user's step would do."""

    def __init__(self, loose=None):
        self.pairs, self.loose = [], loose or {}

    def add(self, label, mine, other, dtype=True):
        if not isinstance(mine, flame.Tensor):
            assert len(mine) == len(other), label
            for i, (m, o) in enumerate(zip(mine, other)):
                self.add(f"{label}[{i}]", m, o, dtype)
            return
        assert tuple(mine.shape) == tuple(other.shape), f"{label}: shape {mine.shape}, PyTorch {tuple(other.shape)}"
        if dtype:
            assert str(mine.dtype) == name_of(other.dtype), f"{label}: {mine.dtype}, PyTorch {other.dtype}"
        self.pairs.append((label, mine, other))

    def close(self):
        """Compare all; the message lists every pair that differs."""
        flame.realize(*[m for _, m, _ in self.pairs])
        wrong = [line for label, m, o in self.pairs if (line := self.differs(label, m, o))]
        assert not wrong, f"{len(wrong)} of {len(self.pairs)} differ:\n" + "\n".join(wrong[:20])

    def differs(self, label, mine, other):
        a, b = wide(mine), wide(other)
        kind = name_of(mine.dtype)
        if kind not in LOOSE:
            return "" if (a == b).all() else f"{label}: {a.ravel()[:8]} instead of {b.ravel()[:8]}"
        tolerance = self.loose.get(kind, LOOSE[kind])
        good = np.isclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)
        if good.all():
            return ""
        at = tuple(np.argwhere(~good)[0])
        return f"{label}: {a[at]} instead of {b[at]} at {at} ({(~good).sum()} of {good.size})"


def seeds(shape, dtype):
    return data(shape, dtype, seed=9)


def check(ledger, label, call, arrays, dtypes, grad=True, views=lambda x: x):
    """`call(library, *tensors)` on both sides, and the gradients of every floating operand."""
    grads = [grad and d in FLOATS for d in dtypes]
    mine = [ours(a, d, g) for a, d, g in zip(arrays, dtypes, grads)]
    other = [theirs(a, d, g) for a, d, g in zip(arrays, dtypes, grads)]
    y, z = call(flame, *map(views, mine)), call(torch, *map(views, other))
    ledger.add(label, y, z)
    first, second = (y, z) if isinstance(y, flame.Tensor) else (y[0], z[0])
    if not (any(grads) and first.is_floating_point()):
        return
    assert first.requires_grad == second.requires_grad, f"{label}: requires_grad"
    if not second.requires_grad:
        return
    seed = seeds(tuple(second.shape), name_of(second.dtype))
    first.backward(ours(seed, name_of(first.dtype)))
    second.backward(theirs(seed, name_of(second.dtype)))
    for i, (a, b, g) in enumerate(zip(mine, other, grads)):
        if g:
            assert (a.grad is None) == (b.grad is None), f"{label}: gradient {i} is {a.grad}, PyTorch {b.grad}"
            if a.grad is not None:
                ledger.add(f"{label} gradient {i}", a.grad, b.grad)
