"""Attention with shared heads, a cache, and without its matrix: each beside the plain form that it must equal."""

import numpy as np
import pytest

import flame
from flame import compiler, nn
from flame.errors import FlameError, ShapeError
from tests.surface.sides import interpreted


def close(a, b):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=2e-5, atol=2e-6)


def alike(layer, kind, **options):
    """Another kind of attention with the same weights."""
    made = kind(layer.embed_dim, layer.num_heads, **options)
    made.load_state_dict(layer.state_dict())
    return made


def trained(layer, x, **options):
    """The output, and every gradient."""
    x = x.detach().requires_grad_()
    layer.zero_grad()
    out = layer(x, x, x, need_weights=False, **options)[0]
    (out * flame.arange(out.numel(), dtype=flame.float32).reshape(out.shape).sin()).sum().backward()
    return [out, x.grad, *(p.grad for p in layer.parameters())]


MASKS = {
    "none": {},
    "causal": {"is_causal": True},
    "matrix": {"attn_mask": flame.tensor(np.triu(np.ones((5, 5), bool), 2))},
    "padding": {"key_padding_mask": flame.tensor([[False] * 4 + [True], [False] * 5]), "is_causal": True},
    "heads": {"attn_mask": flame.tensor(np.triu(np.ones((4, 5, 5), bool), 1))},
}


@pytest.mark.parametrize("options", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("block", [1, 2, 8])
def test_flash_attention_is_attention(options, block):
    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    flash = alike(layer, nn.FlashAttention, batch_first=True, block=block)
    x = flame.randn(2, 5, 8)
    with interpreted():
        for a, b in zip(trained(layer, x, **options), trained(flash, x, **options), strict=True):
            close(a, b)


def kept(layer, x):
    """Bytes that lie in memory between the forward pass and gradients that are still to be asked for."""
    pool = x.device.pool
    before = pool.stats().in_use
    loss = layer(x, x, x, need_weights=False)[0].square().sum()
    loss.item()
    return pool.stats().in_use - before


def test_flash_attention_keeps_no_matrix():
    layer = nn.MultiheadAttention(8, 1, batch_first=True)
    x = flame.randn(1, 256, 8).realize()
    matrix = 256 * 256 * 4
    flash = alike(layer, nn.FlashAttention, batch_first=True, block=32)
    assert matrix > 4 * kept(layer, x)
    assert matrix > 4 * kept(flash, x)


def test_flash_attention_has_no_weights_to_give():
    x = flame.ones(1, 2, 4)
    with pytest.raises(FlameError, match="need_weights"):
        nn.FlashAttention(4, 2)(x, x, x, need_weights=True)
    assert nn.FlashAttention(4, 2)(x, x, x)[1] is None
    with pytest.raises(ShapeError, match="block is 0"):
        nn.FlashAttention(4, 2, block=0)


def test_shared_heads_are_repeated_ones():
    shared = nn.MultiheadAttention(8, 4, batch_first=True, num_kv_heads=2)
    assert {key: tuple(value.shape) for key, value in shared.state_dict().items()} == {
        "q_proj_weight": (8, 8), "k_proj_weight": (4, 8), "v_proj_weight": (4, 8), "in_proj_bias": (16,),
        "out_proj.weight": (8, 8), "out_proj.bias": (8,),
    }  # fmt: skip
    with flame.no_grad():
        shared.in_proj_bias.copy_(flame.randn(16))
    own = shared.state_dict()

    def repeated(rows):
        return np.repeat(rows.numpy().reshape(2, 2, -1), 2, 0).reshape(8, -1).squeeze()

    biases = own["in_proj_bias"].split([8, 4, 4])
    weights = own["q_proj_weight"].numpy(), repeated(own["k_proj_weight"]), repeated(own["v_proj_weight"])
    plain = nn.MultiheadAttention(8, 4, batch_first=True)
    plain.load_state_dict({
        "in_proj_weight": np.concatenate(weights),
        "in_proj_bias": np.concatenate([biases[0].numpy(), repeated(biases[1]), repeated(biases[2])]),
        "out_proj.weight": own["out_proj.weight"], "out_proj.bias": own["out_proj.bias"],
    })  # fmt: skip
    x = flame.randn(2, 5, 8)
    with interpreted():
        for a, b in zip(trained(shared, x, is_causal=True)[:2], trained(plain, x, is_causal=True)[:2], strict=True):
            close(a, b)
    with pytest.raises(ShapeError, match="num_kv_heads 3 does not divide"):
        nn.MultiheadAttention(8, 4, num_kv_heads=3)


@pytest.mark.parametrize("kind", [nn.MultiheadAttention, nn.FlashAttention])
@pytest.mark.parametrize("options", [{}, {"num_kv_heads": 1}], ids=str)
def test_a_cache_gives_what_the_whole_text_gives(kind, options):
    layer, cache, x = kind(8, 2, batch_first=True, **options), nn.KeyValueCache(9), flame.randn(2, 7, 8)
    with interpreted(), flame.no_grad():
        whole = layer(x, x, x, is_causal=True, need_weights=False)[0]
        parts = [x[:, :3], x[:, 3:4], x[:, 4:6], x[:, 6:]]
        found = flame.cat([layer(t, t, t, need_weights=False, cache=cache)[0] for t in parts], 1)
        close(found, whole)
    assert cache.used == 7
    with pytest.raises(ShapeError, match="3 places after 7 are more than its length 9"):
        layer(x[:, :3], x[:, :3], x[:, :3], need_weights=False, cache=cache)
    with pytest.raises(FlameError, match="with a cache there are no masks"):
        layer(x, x, x, need_weights=False, cache=cache, key_padding_mask=flame.zeros(2, 7).bool())


def test_a_cache_that_fills_compiles_nothing_new():
    layer, cache, x = nn.MultiheadAttention(4, 1, batch_first=True), nn.KeyValueCache(8), flame.randn(1, 1, 4)
    found = []
    with flame.no_grad():
        for step in range(5):
            if step == 2:
                compiler.listeners.append(found.append)
            layer(x, x, x, need_weights=False, cache=cache)[0].realize()
    compiler.listeners.remove(found.append)
    assert not found
