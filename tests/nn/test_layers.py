"""Layers beside numpy's formulas; every parameter of every layer learns."""

import math

import numpy as np
import pytest

import flame
from flame import nn
from flame.errors import DTypeError, FlameError, IndexingError, ShapeError
from flame.nn import functional as F

rng = np.random.default_rng(0)
erf = np.vectorize(math.erf)


def array(*shape, dtype=np.float32):
    return rng.normal(size=shape).astype(dtype)


def close(tensor, expected, tolerance=1e-5):
    np.testing.assert_allclose(tensor.numpy(), expected, rtol=tolerance, atol=tolerance)


def np_softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def test_linear():
    x, layer = array(2, 3, 4), nn.Linear(4, 5)
    close(layer(flame.tensor(x)), x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy())
    plain = nn.Linear(4, 5, bias=False)
    close(plain(flame.tensor(x)), x @ plain.weight.detach().numpy().T)
    assert np.abs(layer.weight.numpy()).max() <= 0.5
    assert np.abs(layer.bias.numpy()).max() <= 0.5
    with pytest.raises(ShapeError, match=r"\(3, 2\).*\(5, 4\)"):
        layer(flame.ones(3, 2))


@pytest.mark.parametrize("shape", [(6,), (4, 6)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layer_norm(shape, dtype):
    x, weight, bias = array(3, 4, 6, dtype=dtype), array(*shape, dtype=dtype), array(*shape, dtype=dtype)
    axes = tuple(range(-len(shape), 0))
    expected = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5) * weight + bias
    result = F.layer_norm(flame.tensor(x), shape, flame.tensor(weight), flame.tensor(bias))
    close(result, expected, 1e-5 if dtype == "float32" else 1e-12)
    assert result.dtype.name == dtype


def test_layer_norm_of_halves_is_computed_in_float32():
    x = (1000 + array(4, 64)).astype(np.float16)
    wide = x.astype(np.float64)
    expected = (wide - wide.mean(-1, keepdims=True)) / np.sqrt(wide.var(-1, keepdims=True) + 1e-5)
    result = F.layer_norm(flame.tensor(x), (64,))
    assert result.dtype is flame.float16
    close(result, expected, 3e-3)


def test_layer_norm_says_what_does_not_fit():
    with pytest.raises(ShapeError, match=r"\(2, 3\) does not end in normalized_shape \(4,\)"):
        nn.LayerNorm(4)(flame.ones(2, 3))
    with pytest.raises(ShapeError, match="weight has shape"):
        F.layer_norm(flame.ones(2, 3), (3,), flame.ones(2))


def test_embedding():
    layer = nn.Embedding(7, 3)
    index = rng.integers(0, 7, (2, 5))
    close(layer(flame.tensor(index)), layer.weight.detach().numpy()[index])
    with pytest.raises(DTypeError, match="index must be int64 or int32"):
        layer(flame.ones(2))
    with pytest.raises(IndexingError, match="padding_idx is 7"):
        nn.Embedding(7, 3, padding_idx=7)


def test_a_padding_row_is_zero_and_stays():
    layer = nn.Embedding(4, 2, padding_idx=1)
    assert layer.weight.numpy()[1].tolist() == [0.0, 0.0]
    layer(flame.tensor([0, 1, 1, 3])).sum().backward()
    assert layer.weight.grad.numpy().tolist() == [[1.0, 1.0], [0.0, 0.0], [0.0, 0.0], [1.0, 1.0]]


def test_repeated_rows_of_an_embedding_add_their_gradients():
    layer = nn.Embedding(3, 2)
    layer(flame.tensor([0, 2, 2, 2])).sum().backward()
    assert layer.weight.grad.numpy().tolist() == [[1.0, 1.0], [0.0, 0.0], [3.0, 3.0]]


def np_gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.ReLU(), lambda x: np.maximum(x, 0)),
        (nn.LeakyReLU(0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
        (nn.SiLU(), lambda x: x / (1 + np.exp(-x))),
        (nn.GELU(), lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2)))),
        (nn.GELU("tanh"), np_gelu_tanh),
    ],
    ids=lambda v: getattr(v, "__name__", repr(v)),
)
def test_activations(layer, expected):
    x = np.concatenate([3 * array(50), [0.0, -0.0, 20.0, -20.0]]).astype(np.float32)
    close(layer(flame.tensor(x)), expected(x.astype(np.float64)), 2e-6)


def test_softmax_along_any_dimension():
    x = 50 * array(2, 3, 4)
    for dim in (0, 1, 2, -1, -3):
        close(F.softmax(flame.tensor(x), dim), np_softmax(x.astype(np.float64), dim))
        close(F.log_softmax(flame.tensor(x), dim), np.log(np_softmax(x.astype(np.float64), dim)), 2e-5)
    assert F.softmax(flame.tensor(x), -1, dtype=flame.float64).dtype is flame.float64


def test_dropout_keeps_the_mean_and_repeats_with_a_seed():
    flame.manual_seed(7)
    layer, x = nn.Dropout(0.25), flame.ones(100, 100)
    y = layer(x).numpy()
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs(y.mean() - 1) < 0.03
    assert not np.array_equal(y, layer(x).numpy())
    flame.manual_seed(7)
    assert np.array_equal(y, layer(x).numpy())
    assert np.array_equal(layer.eval()(x).numpy(), x.numpy())
    assert F.dropout(x, 1.0).numpy().max() == 0
    with pytest.raises(FlameError, match="p is 1.5"):
        nn.Dropout(1.5)


def test_the_gradient_of_dropout_sees_the_same_mask():
    x = flame.ones(64, 64, requires_grad=True)
    y = F.dropout(x, 0.5)
    y.sum().backward()
    assert np.array_equal(x.grad.numpy(), y.detach().numpy())


def np_attention(q, k, v, mask=None):
    score = q @ np.swapaxes(k, -1, -2) / math.sqrt(q.shape[-1])
    return np_softmax(score if mask is None else np.where(mask, score, -np.inf)) @ v


def test_attention_with_and_without_masks():
    q, k, v = array(2, 3, 5, 8), array(2, 3, 7, 8), array(2, 3, 7, 4)
    tensors = [flame.tensor(a) for a in (q, k, v)]
    close(F.scaled_dot_product_attention(*tensors), np_attention(q, k, v))
    mask = rng.random((5, 7)) < 0.6
    mask[:, 0] = True
    close(F.scaled_dot_product_attention(*tensors, attn_mask=flame.tensor(mask)), np_attention(q, k, v, mask))
    added = np.where(mask, 0, -np.inf).astype(np.float32)
    close(F.scaled_dot_product_attention(*tensors, attn_mask=flame.tensor(added)), np_attention(q, k, v, mask))
    causal = np.tril(np.ones((5, 7), bool))
    close(F.scaled_dot_product_attention(*tensors, is_causal=True), np_attention(q, k, v, causal))
    close(F.scaled_dot_product_attention(*tensors, scale=0.0), np.broadcast_to(v.mean(-2, keepdims=True), (2, 3, 5, 4)))


def test_a_query_that_sees_nothing_gets_zeros_and_no_nan_gradient():
    q = flame.tensor(array(1, 3, 4), requires_grad=True)
    mask = flame.tensor(np.array([[True, True], [False, False], [True, False]]))
    k = flame.tensor(array(1, 2, 4), requires_grad=True)
    y = F.scaled_dot_product_attention(q, k, k, attn_mask=mask)
    (y * y).sum().backward()
    assert y.numpy()[0, 1].tolist() == [0.0] * 4
    assert np.isfinite(q.grad.numpy()).all()
    assert np.isfinite(k.grad.numpy()).all()
    assert q.grad.numpy()[0, 1].tolist() == [0.0] * 4


def test_grouped_heads_share_keys():
    q, k, v = array(2, 6, 5, 8), array(2, 2, 5, 8), array(2, 2, 5, 8)
    result = F.scaled_dot_product_attention(*(flame.tensor(a) for a in (q, k, v)), enable_gqa=True)
    close(result, np_attention(q, np.repeat(k, 3, 1), np.repeat(v, 3, 1)))


def test_attention_says_what_does_not_fit():
    q = flame.ones(1, 2, 4)
    with pytest.raises(ShapeError, match="share their width"):
        F.scaled_dot_product_attention(q, flame.ones(1, 2, 5), q)
    with pytest.raises(FlameError, match="not both"):
        F.scaled_dot_product_attention(q, q, q, attn_mask=flame.ones(2, 2), is_causal=True)
    with pytest.raises(ShapeError, match="num_heads 3 does not divide embed_dim 8"):
        nn.MultiHeadAttention(8, 3)


def np_multi_head(layer, query, key, value, forbidden=None):
    """Batch first; weights averaged over heads."""
    state = {name: t.numpy() for name, t in layer.state_dict().items()}
    w, b, E, H = state["in_proj_weight"], state["in_proj_bias"], layer.embed_dim, layer.num_heads
    parts = []
    for i, x in enumerate((query, key, value)):
        y = x @ w[i * E : (i + 1) * E].T + b[i * E : (i + 1) * E]
        parts.append(y.reshape(*y.shape[:2], H, E // H).transpose(0, 2, 1, 3))
    q, k, v = parts
    score = q @ k.swapaxes(-1, -2) / math.sqrt(E // H)
    weights = np_softmax(score if forbidden is None else np.where(forbidden, -np.inf, score))
    mixed = (weights @ v).transpose(0, 2, 1, 3).reshape(*query.shape[:2], E)
    return mixed @ state["out_proj.weight"].T + state["out_proj.bias"], weights.mean(1)


@pytest.mark.parametrize("need_weights", [True, False])
def test_multi_head_attention(need_weights):
    layer = nn.MultiHeadAttention(8, 2, batch_first=True)
    x, y = array(3, 5, 8), array(3, 4, 8)
    for q, k, v in ((x, x, x), (x, y, y)):
        cache = {id(a): flame.tensor(a) for a in (q, k, v)}
        out, weights = layer(cache[id(q)], cache[id(k)], cache[id(v)], need_weights=need_weights)
        expected, expected_weights = np_multi_head(layer, q, k, v)
        close(out, expected)
        if need_weights:
            close(weights, expected_weights)
        else:
            assert weights is None


def test_multi_head_attention_masks_and_layouts():
    layer = nn.MultiHeadAttention(8, 2)
    x = array(3, 5, 8)
    padding = np.zeros((3, 5), bool)
    padding[1, 3:] = True
    causal = np.triu(np.ones((5, 5), bool), 1)
    expected, weights = np_multi_head(layer, x, x, x, causal | padding[:, None, None, :])
    t = flame.tensor(x.transpose(1, 0, 2))
    out, seen = layer(t, t, t, key_padding_mask=flame.tensor(padding), attn_mask=flame.tensor(causal))
    close(out, expected.transpose(1, 0, 2))
    close(seen, weights)
    out, seen = layer(t, t, t, need_weights=False, is_causal=True)
    close(out, np_multi_head(layer, x, x, x, causal)[0].transpose(1, 0, 2))
    alone = flame.tensor(x[0])
    out, seen = layer(alone, alone, alone)
    assert out.shape == (5, 8)
    assert seen.shape == (5, 5)
    _, heads = layer(t, t, t, average_attn_weights=False)
    assert heads.shape == (3, 2, 5, 5)
    with pytest.raises(ShapeError, match="key_padding_mask has shape"):
        layer(t, t, t, key_padding_mask=flame.tensor(padding.T))
    assert nn.MultiheadAttention is nn.MultiHeadAttention


def test_multi_head_attention_with_other_widths():
    layer = nn.MultiHeadAttention(8, 2, kdim=6, vdim=5, batch_first=True)
    assert list(layer.state_dict()) == [
        "q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias",
    ]  # fmt: skip
    out, _ = layer(flame.ones(2, 3, 8), flame.ones(2, 4, 6), flame.ones(2, 4, 5))
    assert out.shape == (2, 3, 8)


def attend(layer):
    return lambda x: layer(x, x, x)[0]


LAYERS = {
    "linear": lambda: nn.Linear(8, 3),
    "layer_norm": lambda: nn.LayerNorm(8),
    "layer_norm_of_two": lambda: nn.LayerNorm((5, 8)),
    "attention": lambda: nn.MultiHeadAttention(8, 2),
    "attention_of_one_head": lambda: nn.MultiHeadAttention(8, 1, kdim=8),
    "sequence": lambda: nn.Sequential(nn.Linear(8, 4), nn.GELU(), nn.LayerNorm(4), nn.Linear(4, 2), nn.SiLU()),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_parameter_gets_a_gradient(name):
    layer = LAYERS[name]()
    x = flame.tensor(array(4, 5, 8), requires_grad=True)
    y = layer(x, x, x)[0] if isinstance(layer, nn.MultiHeadAttention) else layer(x)
    (y * flame.tensor(array(*y.shape))).sum().backward()
    for key, param in layer.named_parameters():
        gradient = param.grad.numpy()
        assert gradient.shape == param.shape, key
        assert np.isfinite(gradient).all(), key
        if key == "in_proj_bias":  # softmax does not see a shift that all keys share
            gradient = np.concatenate([gradient[:8], gradient[16:]])
        assert (np.abs(gradient) > 1e-7).mean() > 0.9, key
    assert np.abs(x.grad.numpy()).max() > 0


def test_an_embedding_learns_the_rows_it_read():
    layer = nn.Embedding(6, 4)
    layer(flame.tensor([0, 3, 5])).square().sum().backward()
    assert (np.abs(layer.weight.grad.numpy()).sum(1) > 0).tolist() == [True, False, False, True, False, True]


def test_starting_values():
    flame.manual_seed(0)
    w = nn.Parameter(flame.zeros(200, 300))
    nn.init.normal_(w, 1.0, 2.0)
    assert abs(w.numpy().mean() - 1) < 0.05
    assert abs(w.numpy().std() - 2) < 0.05
    nn.init.uniform_(w, -3.0, 5.0)
    assert -3 <= w.numpy().min() < -2.9
    assert 4.9 < w.numpy().max() <= 5
    nn.init.xavier_uniform_(w)
    assert 0.95 * math.sqrt(6 / 500) < np.abs(w.numpy()).max() <= math.sqrt(6 / 500)
    nn.init.kaiming_uniform_(w, nonlinearity="relu")
    assert 0.95 * math.sqrt(6 / 300) < np.abs(w.numpy()).max() <= math.sqrt(6 / 300)
    nn.init.constant_(w, 2.5)
    assert np.unique(w.numpy()).tolist() == [2.5]
    assert w.requires_grad
    with pytest.raises(ShapeError, match="at least 2 dimensions"):
        nn.init.xavier_uniform_(flame.zeros(3))
    with pytest.raises(FlameError, match="nonlinearity is 'sin'"):
        nn.init.kaiming_uniform_(w, nonlinearity="sin")
