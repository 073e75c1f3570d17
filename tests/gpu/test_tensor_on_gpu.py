"""The same graphs on the GPU and on the CPU: forms, dtypes, sizes, gradients, a training loop."""

import gc
from dataclasses import replace

import numpy as np
import pytest

import flame
from flame import nn, optim
from flame.nn import functional as F

pytestmark = pytest.mark.gpu
RNG = np.random.default_rng(0)
SHAPES = [
    (1, 1),
    (3, 7),
    (64, 33),
    (5, 77),
    (130, 333),
    (37, 1000),
    (16, 1152),
    (8, 4096),
    (3, 20000),
    (2, 150001),
    (4096, 96),
]


def layer_norm(x, w, b):
    d = x - x.mean(-1, True)
    return d * (d.square().mean(-1, True) + 1e-5).rsqrt() * w + b


def forms(x, w, b):
    """Named results of a matrix and two vectors of its width."""
    n = x.shape[1]
    return {
        "chain": flame.silu(x * w + b),
        "softmax": x.softmax(-1),
        "log_softmax": x.log_softmax(-1),
        "layer_norm": layer_norm(x, w, b),
        "columns": x.sum(0),
        "column softmax": x.softmax(0),
        "whole": (x * x).mean(),
        "rows": x.sum(1),
        "largest": x.amax(1),
        "argmax": x.argmax(1),
        "transposed": x.T * 2.0,
        "cat": flame.cat([x, x * 2.0], 1),
        "padded": flame.pad(x, (1, 2, 0, 1), value=3.0),
        "flipped": x.flip(1)[:, ::2],
        "gathered": x[:, flame.tensor([n - 1, 0, n // 2], device=x.device.name)],
        "gelu": flame.gelu(x),
        "compared": (x > w).long().sum(),
    }


def near(got, want, loose, name):
    assert got.dtype == want.dtype and got.shape == want.shape, name
    if want.dtype.kind in "iub":
        np.testing.assert_array_equal(got, want, err_msg=name)
        return
    a, b = got.astype(np.float64), want.astype(np.float64)
    assert np.isfinite(a).all(), name
    error = np.linalg.norm(a - b) / (np.linalg.norm(b) + 1e-30)
    assert error < loose, f"{name}: relative error {error:.2e}"


@pytest.mark.parametrize(("dtype", "loose"), [("float32", 1e-5), ("bfloat16", 1e-2), ("float16", 2e-3)])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_forms(shape, dtype, loose):
    data = [RNG.normal(size=s).astype("f4") for s in (shape, shape[1:], shape[1:])]
    kind = getattr(flame, dtype)
    both = [forms(*(flame.tensor(d, device=where).to(kind) for d in data)) for where in ("cuda", "cpu")]
    for name in both[0]:
        near(both[0][name].numpy(), both[1][name].numpy(), loose, name)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_layer_norm_backward(shape):
    data = [RNG.normal(size=s).astype("f4") for s in (shape, shape[1:], shape[1:], shape)]
    found = []
    for where in ("cuda", "cpu"):
        x, w, b = (flame.tensor(d, device=where, requires_grad=True) for d in data[:3])
        (layer_norm(x, w, b) * flame.tensor(data[3], device=where)).sum().backward()
        flame.realize(x.grad, w.grad, b.grad)
        found.append([t.grad.numpy() for t in (x, w, b)])
    for name, got, want in zip("xwb", *found, strict=True):
        if shape[1] > 1 or name == "b":
            near(got, want, 2e-5, name)


def test_random_numbers_are_those_of_the_cpu():
    flame.manual_seed(7)
    a = flame.rand(1000, device="cuda").numpy()
    flame.manual_seed(7)
    b = flame.rand(1000, device="cpu").numpy()
    np.testing.assert_array_equal(a, b)
    flame.manual_seed(7)
    c = flame.randn(1000, device="cuda").numpy()
    flame.manual_seed(7)
    np.testing.assert_allclose(c, flame.randn(1000, device="cpu").numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_training_follows_the_cpu(dtype):
    losses = {}
    data = [RNG.normal(size=s).astype("f4") for s in ((64, 32), (32, 48), (48, 8), (64, 8))]
    for where in ("cuda", "cpu"):
        kind = getattr(flame, dtype)
        x, w1, w2, y = (flame.tensor(d * 0.3, device=where).to(kind).realize() for d in data)
        w1.requires_grad_(), w2.requires_grad_()
        losses[where] = []
        for _ in range(5):
            loss = ((flame.gelu(x @ w1) @ w2 - y) ** 2).mean()
            loss.backward()
            flame.assign([(w, w - w.grad * 0.1) for w in (w1, w2)])
            w1.grad = w2.grad = None
            losses[where].append(loss.item())
    np.testing.assert_allclose(losses["cuda"], losses["cpu"], rtol=1e-4 if dtype == "float32" else 3e-2)


def test_memory_comes_back():
    def call() -> None:
        (flame.randn(512, 512, device="cuda") @ flame.randn(512, 512, device="cuda")).sum().item()

    pool = flame.device("cuda").pool
    call()  # a first call may bring what its plan keeps
    gc.collect()
    before = pool.stats().in_use
    for _ in range(3):
        call()
    assert pool.stats().in_use == before


def test_products_without_a_library_are_printed_kernels(monkeypatch):
    """What no library does is decomposed and still runs."""
    device = flame.device("cuda")
    monkeypatch.setattr(device, "target", replace(device.target, libraries=frozenset()))
    a, b = RNG.normal(size=(3, 70, 45)).astype("f4"), RNG.normal(size=(45, 33)).astype("f4")
    got = (flame.tensor(a, device="cuda") @ flame.tensor(b, device="cuda") + 0.125).numpy()
    near(got, (a.astype("f8") @ b + 0.125).astype("f4"), 1e-5, "printed product")


def test_a_transformer_block_trains_like_on_the_cpu():
    losses = {}
    for where in ("cuda", "cpu"):
        with flame.config(device=where):
            flame.manual_seed(3)
            block = nn.Sequential(nn.Linear(24, 32), nn.GELU(), nn.LayerNorm(32), nn.Linear(32, 24))
            attend = nn.MultiHeadAttention(24, 4, batch_first=True)
            parameters = [*block.parameters(), *attend.parameters()]
            optimizer = optim.AdamW(parameters, lr=1e-2)
            x = flame.randn(8, 10, 24)
            losses[where] = []
            for _ in range(6):
                y, _ = attend(x, x, x)
                loss = F.mse_loss(block(x + y), x)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses[where].append(loss.item())
    np.testing.assert_allclose(losses["cuda"], losses["cpu"], rtol=2e-4)
