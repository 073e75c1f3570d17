"""Layers and losses beside PyTorch from one state_dict: values, and gradients of inputs and parameters."""

import numpy as np
import pytest

import flame
from flame import nn
from flame.nn import functional as F

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity
rng = np.random.default_rng(0)


def array(*shape):
    return rng.normal(size=shape).astype(np.float32)


def close(ours, theirs, what, tolerance=2e-5):
    np.testing.assert_allclose(
        ours.detach().numpy(), theirs.detach().numpy(), rtol=tolerance, atol=tolerance, err_msg=what
    )


def both(ours, theirs, *inputs, call=lambda layer, *inputs: layer(*inputs)):
    """Run both from our state, compare outputs and every gradient."""
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()})
    floating = [a.dtype.kind == "f" for a in inputs]
    left = [flame.tensor(a, requires_grad=f) for a, f in zip(inputs, floating)]
    right = [torch.tensor(a, requires_grad=f) for a, f in zip(inputs, floating)]
    y, z = call(ours, *left), call(theirs, *right)
    close(y, z, "output")
    seed = array(*y.shape)
    (y * flame.tensor(seed)).sum().backward()
    (z * torch.tensor(seed)).sum().backward()
    for a, b, f in zip(left, right, floating):
        if f and b.grad is not None:
            close(a.grad, b.grad, "gradient of an input", 1e-4)
        assert (a.grad is None) == (b.grad is None), "gradient of an input"
    for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters()):
        close(a.grad, b.grad, name, 1e-4)


@pytest.mark.parametrize("bias", [True, False])
def test_linear(bias):
    both(nn.Linear(6, 4, bias=bias), torch.nn.Linear(6, 4, bias=bias), array(2, 3, 6))


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"elementwise_affine": False}, {"eps": 0.1}])
@pytest.mark.parametrize("shape", [(8,), (3, 8)])
def test_layer_norm(shape, options):
    both(nn.LayerNorm(shape, **options), torch.nn.LayerNorm(shape, **options), array(4, 3, 8))


@pytest.mark.parametrize("padding", [None, 2, -1])
def test_embedding(padding):
    ours, theirs = nn.Embedding(5, 3, padding_idx=padding), torch.nn.Embedding(5, 3, padding_idx=padding)
    both(ours, theirs, rng.integers(0, 5, (4, 6)))


@pytest.mark.parametrize(
    "make",
    [
        lambda n: n.ReLU(),
        lambda n: n.LeakyReLU(0.2),
        lambda n: n.SiLU(),
        lambda n: n.GELU(),
        lambda n: n.GELU(approximate="tanh"),
        lambda n: n.Sequential(n.Linear(7, 5), n.GELU(), n.LayerNorm(5), n.Linear(5, 2)),
    ],
)
def test_activations_and_sequences(make):
    both(make(nn), make(torch.nn), 3 * array(9, 7))


def test_reprs():
    def make(n):
        blocks = n.ModuleList([n.Sequential(n.Linear(2, 3, bias=False), n.SiLU(), n.Dropout(0.2)) for _ in range(2)])
        return n.Sequential(n.Embedding(9, 2, padding_idx=1), n.LayerNorm((4, 2)), blocks, n.GELU("tanh"))

    assert repr(make(nn)) == repr(make(torch.nn))


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("masked", ["", "padding", "bool", "float", "causal", "heads"])
def test_multi_head_attention(masked, batch_first):
    options = {"embed_dim": 8, "num_heads": 2, "batch_first": batch_first}
    padding, forbidden = np.zeros((3, 5), bool), np.triu(np.ones((5, 5), bool), 1)
    padding[1, 4:] = True
    masks = {
        "": {},
        "padding": {"key_padding_mask": padding},
        "bool": {"attn_mask": forbidden, "key_padding_mask": padding},
        "float": {"attn_mask": array(5, 5)},
        "causal": {"attn_mask": forbidden, "is_causal": True},
        "heads": {"attn_mask": array(6, 5, 5)},
    }[masked]

    def call(layer, x):
        make = flame.tensor if isinstance(x, flame.Tensor) else torch.tensor
        return layer(x, x, x, **{k: make(m) if isinstance(m, np.ndarray) else m for k, m in masks.items()})[0]

    shape = (3, 5, 8) if batch_first else (5, 3, 8)
    both(nn.MultiheadAttention(**options), torch.nn.MultiheadAttention(**options), array(*shape), call=call)


def test_cross_attention_and_its_weights():
    options = {"embed_dim": 8, "num_heads": 2, "kdim": 6, "vdim": 4, "batch_first": True}
    inputs = array(2, 3, 8), array(2, 5, 6), array(2, 5, 4)
    for part in (0, 1):
        ours, theirs = nn.MultiheadAttention(**options), torch.nn.MultiheadAttention(**options)
        if part == 0:
            both(ours, theirs, *inputs, call=lambda layer, *x: layer(*x)[0])
        else:
            theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()})
            close(ours(*map(flame.tensor, inputs))[1], theirs(*map(torch.tensor, inputs))[1], "weights")


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"scale": 0.3}, {"mask": "bool"}, {"mask": "float"}])
def test_scaled_dot_product_attention(options):
    q, k, v = array(2, 4, 5, 8), array(2, 4, 7, 8), array(2, 4, 7, 6)
    allowed = rng.random((5, 7)) < 0.7
    allowed[:, 0] = True
    mask = {"bool": allowed, "float": array(5, 7)}.get(options.pop("mask", ""))
    left, right = ([make(a, requires_grad=True) for a in (q, k, v)] for make in (flame.tensor, torch.tensor))
    y = F.scaled_dot_product_attention(*left, attn_mask=None if mask is None else flame.tensor(mask), **options)
    z = torch.nn.functional.scaled_dot_product_attention(
        *right, attn_mask=None if mask is None else torch.tensor(mask), **options
    )
    close(y, z, "output")
    y.square().sum().backward()
    z.square().sum().backward()
    for a, b in zip(left, right):
        close(a.grad, b.grad, "gradient", 1e-4)


@pytest.mark.parametrize("shape", [(6, 5), (3, 5, 4)])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [{}, {"weight": 1}])
@pytest.mark.parametrize("smooth", [{}, {"label_smoothing": 0.2}])
def test_cross_entropy(shape, reduction, smooth, weighted):
    x, y, w = 3 * array(*shape), rng.integers(0, 5, (shape[0], *shape[2:])), rng.random(5).astype(np.float32)
    y.reshape(-1)[0] = 3
    losses = []
    for library, functional in ((flame, F), (torch, torch.nn.functional)):
        logits = library.tensor(x, requires_grad=True)
        given = {**smooth, **{name: library.tensor(w) for name in weighted}}
        loss = functional.cross_entropy(logits, library.tensor(y), ignore_index=3, reduction=reduction, **given)
        loss.sum().backward()
        losses.append((loss, logits.grad))
    close(losses[0][0], losses[1][0], "loss")
    close(losses[0][1], losses[1][1], "gradient")


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_mse_loss(reduction):
    x, y = array(3, 4), array(3, 4)
    ours = F.mse_loss(flame.tensor(x), flame.tensor(y), reduction)
    close(ours, torch.nn.functional.mse_loss(torch.tensor(x), torch.tensor(y), reduction=reduction), "loss")


def test_starting_values_are_distributed_alike():
    flame.manual_seed(0)
    torch.manual_seed(0)
    pairs = [
        (nn.Linear(400, 300), torch.nn.Linear(400, 300)),
        (nn.Embedding(300, 200), torch.nn.Embedding(300, 200)),
        (nn.MultiheadAttention(256, 4), torch.nn.MultiheadAttention(256, 4)),
        (nn.LayerNorm(64), torch.nn.LayerNorm(64)),
    ]
    for ours, theirs in pairs:
        for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters()):
            a, b = a.detach().numpy(), b.detach().numpy()
            assert a.shape == b.shape
            assert abs(a.std() - b.std()) <= 0.1 * b.std(), name
            assert abs(a.mean() - b.mean()) <= 0.1 * b.std() + 1e-7, name
            assert np.abs(a).max() <= 1.25 * np.abs(b).max(), name
