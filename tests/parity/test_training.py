"""Twenty steps of SGD beside PyTorch, from one state_dict and on the same data, for whatever can stand in a model.

Every layer that learns, every loss below a Linear, and every other layer of nn behind one that learns. The losses of
all steps, and the weights and running statistics after them, are equal within the noise of float32. The first entry of
each is in the quick ring; the options swept are in the slow one.
"""

import inspect

import numpy as np
import pytest

import flame
from flame import nn
from flame.nn.plain import Plain
from tests.parity.both import torch
from tests.parity.test_modules import LAYERS

OF_PYTORCH = "LSTM with projections|enable_nested_tensor is True|reduction. 'mean' divides"  # its advice is not for us
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings(f"ignore:({OF_PYTORCH})")]
STEPS = 20


# --- both sides -------------------------------------------------------------------------------------------------------
def squares(library, out, rng):
    """The mean square distance of every floating tensor of an output from targets that stay."""
    if isinstance(out, tuple | list):
        return sum(squares(library, o, rng) for o in out if o is not None)
    target = library.tensor(rng.normal(size=tuple(out.shape)).astype(np.float32))
    return (out - target).square().mean()


def run(library, model, batches, cost, lr):
    """The loss of each step."""
    optimizer = library.optim.SGD(model.parameters(), lr=lr)
    losses = []
    for batch in batches:
        loss = cost(library, model, *map(library.tensor, batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def twenty_steps(make, batch, cost, lr=0.1):
    """`make(nn)` trained on both sides on `batch(rng)` by `cost(library, model, *batch)`; what stood still."""
    flame.manual_seed(0)
    rng = np.random.default_rng(5)
    ours, theirs = make(nn), make(torch.nn)
    start = {key: value.numpy() for key, value in ours.state_dict().items()}
    theirs.load_state_dict({key: torch.tensor(value) for key, value in start.items()})
    batches = [batch(rng) for _ in range(STEPS)]
    left, right = run(flame, ours, batches, cost, lr), run(torch, theirs, batches, cost, lr)
    np.testing.assert_allclose(left, right, rtol=2e-4, atol=2e-5)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for (key, mine), other in zip(ours.state_dict().items(), theirs.state_dict().values()):
        np.testing.assert_allclose(mine.numpy(), other.numpy(), rtol=5e-4, atol=5e-5, err_msg=key)
    moved = {key for key, _ in ours.named_parameters() if np.abs(ours.state_dict()[key].numpy() - start[key]).max() > 0}
    return {key for key, _ in ours.named_parameters()} - moved


def floats(*shapes):
    return lambda rng: [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def numbers(below, *shape):
    return lambda rng: [rng.integers(0, below, shape)]


# --- what learns ------------------------------------------------------------------------------------------------------
def plainly(layer, *inputs):
    return layer(*inputs)


def carried(layer, x, h, c):
    return layer(x, (h, c))


LINE, IMAGE, VOLUME, ROW = floats((2, 3, 8)), floats((2, 4, 6, 5)), floats((2, 2, 4, 4, 4)), floats((6, 4))
SEQUENCE = floats((5, 2, 3))
NORMS = [{"eps": 1e-2, "momentum": 0.3}, {"momentum": None}, {"track_running_stats": False}]
STATELESS = [{"affine": True, "track_running_stats": True, "momentum": 0.3}]
PADDED = [{"padding": 2, "padding_mode": mode} for mode in ("reflect", "replicate", "circular")]
CONVS = [
    {"stride": 2, "padding": 1, "dilation": 2}, {"padding": "same", "bias": False}, {"padding": "valid"},
    {"stride": 2, "padding": 1, "padding_mode": "reflect"},
]  # fmt: skip
TRANSPOSED = [{"stride": 2, "padding": 1, "output_padding": 1}, {"dilation": 2, "bias": False}]
RECURRENT = [
    {"num_layers": 2, "bidirectional": True}, {"bias": False, "batch_first": True}, {"num_layers": 3},
]  # fmt: skip
WIDE = {"d_model": 8, "nhead": 2, "dim_feedforward": 12, "dropout": 0.0}
CODER = [{"activation": "gelu", "norm_first": True}, {"batch_first": True, "bias": False}, {"layer_norm_eps": 1e-2}]
ENTRIES = {  # name: positional arguments, batch, call, options: the first in the quick ring, all in the slow one
    "Linear": ((4, 3), ROW, plainly, [{}, {"bias": False}]),
    "Bilinear": ((4, 3, 2), floats((6, 4), (6, 3)), plainly, [{}, {"bias": False}]),
    "PReLU": ((), ROW, plainly, [{"num_parameters": 4}, {}, {"init": 0.6}]),
    "Embedding": ((7, 3), numbers(7, 4, 5), plainly, [{"padding_idx": 2}, {}, {"padding_idx": -1}]),
    "EmbeddingBag": ((7, 3), numbers(7, 4, 5), plainly, [{"mode": "sum"}, {}, {"mode": "max"}, {"padding_idx": 2}]),
    "Conv1d": ((3, 4, 3), LINE, plainly, [{"padding": 1}, *CONVS, *PADDED, {"groups": 1}]),
    "Conv2d": ((4, 4, 3), IMAGE, plainly, [{"padding": 1, "groups": 2}, *CONVS, *PADDED, {"groups": 4, "padding": 2}]),
    "Conv3d": ((2, 4, 2), VOLUME, plainly, [{"stride": 2}, {"groups": 2, "padding": 1}, {"dilation": 2}]),
    "ConvTranspose1d": ((3, 4, 3), LINE, plainly, [{"stride": 2}, *TRANSPOSED]),
    "ConvTranspose2d": ((4, 4, 3), IMAGE, plainly, [{"stride": 2, "groups": 2}, *TRANSPOSED]),
    "ConvTranspose3d": ((2, 2, 2), VOLUME, plainly, [{"stride": 2}, *TRANSPOSED]),
    "LayerNorm": (((4,),), ROW, plainly, [{}, {"bias": False}, {"eps": 1e-2}]),
    "RMSNorm": (((4,),), ROW, plainly, [{}, {"eps": 1e-2}]),
    "GroupNorm": ((2, 4), IMAGE, plainly, [{}, {"eps": 1e-2}]),
    "BatchNorm1d": ((3,), LINE, plainly, [{}, *NORMS]),
    "BatchNorm2d": ((4,), IMAGE, plainly, [{}, *NORMS]),
    "BatchNorm3d": ((2,), VOLUME, plainly, [{}, *NORMS]),
    "SyncBatchNorm": ((4,), IMAGE, plainly, [{}, {"momentum": None}]),
    "InstanceNorm1d": ((3,), LINE, plainly, [{"affine": True}, *STATELESS]),
    "InstanceNorm2d": ((4,), IMAGE, plainly, [{"affine": True}, *STATELESS]),
    "InstanceNorm3d": ((2,), VOLUME, plainly, [{"affine": True}, *STATELESS]),
    "RNN": ((3, 4), SEQUENCE, plainly, [{}, {"nonlinearity": "relu"}, *RECURRENT]),
    "LSTM": ((3, 4), SEQUENCE, plainly, [{}, {"proj_size": 2}, *RECURRENT]),
    "GRU": ((3, 4), SEQUENCE, plainly, [{}, *RECURRENT]),
    "RNNCell": ((3, 4), floats((2, 3), (2, 4)), plainly, [{}, {"nonlinearity": "relu", "bias": False}]),
    "LSTMCell": ((3, 4), floats((2, 3), (2, 4), (2, 4)), carried, [{}, {"bias": False}]),
    "GRUCell": ((3, 4), floats((2, 3), (2, 4)), plainly, [{}, {"bias": False}]),
    "MultiheadAttention": (
        (4, 2), floats((3, 2, 4), (3, 2, 4), (3, 2, 4)), plainly, [{}, {"bias": False}, {"batch_first": True}],
    ),
    "TransformerEncoderLayer": ((), floats((3, 2, 8)), plainly, [WIDE, *(WIDE | more for more in CODER)]),
    "TransformerDecoderLayer": ((), floats((3, 2, 8), (3, 2, 8)), plainly, [WIDE, *(WIDE | more for more in CODER)]),
}  # fmt: skip
MADE_OF_THESE = {
    "Transformer", "TransformerEncoder", "TransformerDecoder",  # below, and in test_modules
    "MultiHeadAttention",  # another name of MultiheadAttention
    "RNNBase", "RNNCellBase",  # of which the others are
    "FlashAttention",  # beside it in tests/nn/test_attention.py
}  # fmt: skip


def first_quick(tables):
    """(name, options) of each; all but the first of a name are slow."""
    return [
        pytest.param(name, options, id=f"{name}-{options}", marks=pytest.mark.slow if i else ())
        for name, many in tables
        for i, options in enumerate(many)
    ]


@pytest.mark.parametrize(("name", "options"), first_quick((name, entry[3]) for name, entry in ENTRIES.items()))
def test_a_layer_learns_as_pytorchs(name, options):
    args, batch, call, _ = ENTRIES[name]

    def cost(library, layer, *inputs):
        return squares(library, call(layer, *inputs), np.random.default_rng(1))

    still = twenty_steps(lambda library: getattr(library, name)(*args, **options), batch, cost)
    assert not still, "parameters that did not move"


def test_whatever_learns_is_in_the_table():
    kinds = {name: kind for name, kind in vars(nn).items() if inspect.isclass(kind) and issubclass(kind, nn.Module)}
    files = {f"flame.nn.{name}" for name in ("attention", "conv", "embedding", "layers", "norm", "rnn", "transformer")}
    learning = {name for name, kind in kinds.items() if kind.__module__ in files and not issubclass(kind, Plain)}
    assert learning | {"PReLU"} == ENTRIES.keys() | MADE_OF_THESE


def attending(options):
    """A way of calling MultiheadAttention on (3, 2, 4), (5, 2, 4), (5, 2, 4)."""

    def cost(library, layer, q, k, v):
        given = {key: library.tensor(value) if isinstance(value, np.ndarray) else value for key, value in options}
        return squares(library, layer(q, k, v, **given), np.random.default_rng(1))

    return cost


FORBIDDEN = np.triu(np.ones((3, 5), bool), 2)
CALLS = {
    "causal": {"attn_mask": np.triu(np.ones((3, 5), bool), 1), "is_causal": True, "need_weights": False},
    "added": {"attn_mask": np.where(FORBIDDEN, np.float32(-2), np.float32(0.5)), "average_attn_weights": False},
    "each head": {"attn_mask": np.stack([np.roll(FORBIDDEN, i, 1) for i in range(4)])},
    "padding": {"key_padding_mask": np.array([[0, 0, 0, 1, 1], [0, 0, 1, 0, 1]], bool)},
    "both": {"key_padding_mask": np.array([[0, 0, 0, 1, 1], [0, 0, 0, 0, 1]], bool), "attn_mask": FORBIDDEN},
}


@pytest.mark.slow
@pytest.mark.parametrize("options", CALLS.values(), ids=CALLS)
def test_attention_with_masks(options):
    batch = floats((3, 2, 4), (5, 2, 4), (5, 2, 4))
    twenty_steps(lambda library: library.MultiheadAttention(4, 2), batch, attending(options.items()))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, CALLS["both"], {"need_weights": False}], ids=["", "masks", "no weights"])
def test_attention_with_more_keys(options):
    def make(library):
        return library.MultiheadAttention(4, 2, 0.0, True, True, True)

    twenty_steps(make, floats((3, 2, 4), (5, 2, 4), (5, 2, 4)), attending(options.items()))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"kdim": 3}, {"kdim": 3, "vdim": 2, "bias": False}], ids=str)
def test_attention_to_other_widths(options):
    batch = floats((3, 2, 4), (5, 2, options.get("kdim", 4)), (5, 2, options.get("vdim", 4)))
    twenty_steps(lambda library: library.MultiheadAttention(4, 2, **options), batch, attending(()))


@pytest.mark.slow
def test_a_whole_transformer():
    def cost(library, layer, source, target):
        mask = layer.generate_square_subsequent_mask(target.shape[0])
        return squares(library, layer(source, target, tgt_mask=mask), np.random.default_rng(1))

    options = {**WIDE, "num_encoder_layers": 2, "num_decoder_layers": 1}
    twenty_steps(lambda library: library.Transformer(**options), floats((4, 2, 8), (3, 2, 8)), cost)


# --- losses -----------------------------------------------------------------------------------------------------------
def positive(rng):
    return rng.uniform(0.1, 0.9, (6, 3)).astype(np.float32)


def signs(rng, *shape):
    return np.sign(rng.normal(size=shape)).astype(np.float32)


def classes(rng):
    return rng.integers(0, 3, 6)


WEIGHT = {"weight": np.array([0.5, 2.0, 1.0], np.float32)}
REDUCED = [{"reduction": "sum"}, {"reduction": "none"}]
SHAPED = {"log": lambda y: y.log_softmax(-1), "share": lambda y: y.sigmoid(), "plain": lambda y: y}
LOSSES = {  # name: what becomes of a Linear's output, what else the loss is given, options
    "L1Loss": ("plain", [positive], [{}, *REDUCED]),
    "MSELoss": ("plain", [positive], [{}, *REDUCED]),
    "SmoothL1Loss": ("plain", [positive], [{"beta": 0.5}, {}, *REDUCED]),
    "HuberLoss": ("plain", [positive], [{"delta": 0.5}, {}, *REDUCED]),
    "CrossEntropyLoss": (
        "plain", [classes], [{"label_smoothing": 0.1, **WEIGHT}, {}, {"ignore_index": 1}, *REDUCED, WEIGHT],
    ),
    "NLLLoss": ("log", [classes], [WEIGHT, {}, {"ignore_index": 1}, *REDUCED]),
    "BCELoss": ("share", [positive], [{}, WEIGHT, *REDUCED]),
    "BCEWithLogitsLoss": ("plain", [positive], [{"pos_weight": WEIGHT["weight"]}, {}, WEIGHT, *REDUCED]),
    "KLDivLoss": ("log", [positive], [{"reduction": "batchmean"}, {"log_target": True}, *REDUCED]),
    "PoissonNLLLoss": ("plain", [positive], [{}, {"full": True}, *REDUCED]),
    "GaussianNLLLoss": ("plain", [positive, positive], [{}, {"full": True}, *REDUCED]),
    "HingeEmbeddingLoss": ("plain", [lambda rng: signs(rng, 6, 3)], [{}, {"margin": 0.5}, *REDUCED]),
    "CosineEmbeddingLoss": ("plain", [positive, lambda rng: signs(rng, 6)], [{}, {"margin": 0.2}, *REDUCED]),
    "MarginRankingLoss": ("plain", [positive, lambda rng: signs(rng, 6, 3)], [{}, {"margin": 0.5}, *REDUCED]),
    "SoftMarginLoss": ("plain", [lambda rng: signs(rng, 6, 3)], [{}, *REDUCED]),
    "MultiMarginLoss": ("plain", [classes], [WEIGHT, {"p": 2}, {"margin": 0.5}, *REDUCED]),
    "MultiLabelMarginLoss": ("plain", [lambda rng: np.array([[2, 0, -1], [1, -1, 0]] * 3)], [{}, *REDUCED]),
    "MultiLabelSoftMarginLoss": ("plain", [lambda rng: positive(rng).round()], [{}, WEIGHT, *REDUCED]),
    "TripletMarginLoss": ("plain", [positive, positive], [{}, {"p": 1.0}, {"swap": True, "margin": 0.3}, *REDUCED]),
    "TripletMarginWithDistanceLoss": ("plain", [positive, positive], [{}, {"swap": True}, *REDUCED]),
}  # fmt: skip


@pytest.mark.parametrize(("name", "options"), first_quick((name, entry[2]) for name, entry in LOSSES.items()))
def test_a_loss_teaches_as_pytorchs(name, options):
    shape, others, _ = LOSSES[name]

    def batch(rng):
        return [rng.normal(size=(6, 4)).astype(np.float32), *(make(rng) for make in others)]

    def cost(library, model, x, *given):
        arrays = {key: library.tensor(o) if isinstance(o, np.ndarray) else o for key, o in options.items()}
        return getattr(library.nn, name)(**arrays)(SHAPED[shape](model(x)), *given).mean()

    assert not twenty_steps(lambda library: library.Linear(4, 3), batch, cost, lr=0.05)


@pytest.mark.parametrize("options", [{"head_bias": True, "div_value": 2.0}], ids=str)
def test_adaptive_softmax_teaches_as_pytorchs(options):
    def batch(rng):
        return [rng.normal(size=(12, 8)).astype(np.float32), rng.integers(0, 10, 12)]

    def cost(library, layer, x, target):
        return layer(x, target).loss

    assert not twenty_steps(lambda library: library.AdaptiveLogSoftmaxWithLoss(8, 10, [3, 6], **options), batch, cost)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"reduction": "sum", "blank": 2}, {"zero_infinity": True}], ids=str)
def test_ctc_teaches_as_pytorchs(options):
    targets = np.array([[1, 0, 1], [0, 1, 1]] if options.get("blank") else [[1, 2, 1], [2, 1, 1]])

    def cost(library, model, x):
        lengths = library.tensor(np.array([6, 5])), library.tensor(np.array([3, 2]))
        return library.nn.CTCLoss(**options)(model(x).log_softmax(-1), library.tensor(targets), *lengths)

    twenty_steps(lambda library: library.Linear(4, 3), floats((6, 2, 4)), cost, lr=0.05)


def test_every_loss_is_in_the_table():
    assert {name for name in vars(nn) if name.endswith("Loss")} == {*LOSSES, "CTCLoss", "AdaptiveLogSoftmaxWithLoss"}


# --- what does not learn, behind a convolution that does --------------------------------------------------------------
INDICES = "MaxPool2d", (3, 2, 1, 1, False, True)  # gives a pair
BETWEEN = [
    (name, args, shape)
    for name, args, shape in LAYERS
    if not list(getattr(nn, name)(*args).parameters()) and (name, args) != INDICES
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "args", "shape"), BETWEEN, ids=str)
def test_gradients_flow_through(name, args, shape):
    n = len(shape) - 2

    def make(library):
        before = getattr(library, f"Conv{n}d" if n else "Linear")(shape[1], shape[1], *[1] * bool(n))
        return library.Sequential(before, getattr(library, name)(*args))

    def cost(library, model, x):
        return squares(library, model(x), np.random.default_rng(1))

    twenty_steps(make, floats(shape), cost)
