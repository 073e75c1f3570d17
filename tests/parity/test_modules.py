"""Every layer of flame.nn beside torch.nn's from one state_dict: repr, output, gradients of inputs and parameters."""

import numpy as np
import pytest

import flame
from flame import nn
from tests.parity.both import torch
from tests.parity.test_nn import both

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore:LSTM with projections")]  # slow in PyTorch
rng = np.random.default_rng(3)


def x(*shape):
    """Numbers that are all different, so that no maximum is tied."""
    return (rng.permutation(int(np.prod(shape))).reshape(shape) / np.prod(shape) * 4 - 2).astype(np.float32)


ACTIVATIONS = {
    "ReLU": [()], "ReLU6": [()], "LeakyReLU": [(), (0.2,)], "ELU": [(), (0.5,)], "SELU": [()],
    "CELU": [(), (0.5,)], "GELU": [(), ("tanh",)], "SiLU": [()], "Mish": [()], "Hardswish": [()], "Hardsigmoid": [()],
    "Hardtanh": [(), (-0.5, 0.7)], "Hardshrink": [(), (0.3,)], "Softshrink": [(), (0.3,)], "Tanhshrink": [()],
    "Softsign": [()], "Softplus": [(), (2.0, 1.0)], "LogSigmoid": [()], "Sigmoid": [()], "Tanh": [()],
    "Threshold": [(0.1, 0.5)], "GLU": [(), (0,)], "Softmin": [(1,)], "Softmax": [(1,), (-1,)], "LogSoftmax": [(0,)],
    "PReLU": [(), (4,)],
}  # fmt: skip
IMAGES = {
    "Softmax2d": [()],
    "Conv2d": [
        (3, 4, 3), (3, 4, (3, 2), 2, 1), (3, 6, 3, 1, "same", 2, 3), (3, 4, 3, 1, 1, 1, 1, False), (3, 3, 3, 1, 1,
        1, 3),
        (3, 4, 3, 1, 2, 1, 1, True, "reflect"), (3, 4, 3, 2, 1, 1, 1, True, "circular"),
        (3, 4, 4, 1, "same", 1, 1, True, "replicate"),
    ],
    "ConvTranspose2d": [(3, 4, 3), (3, 6, 3, 2, 1, 1, 3), (3, 4, (2, 3), 2, 0, 0, 1, False, 2)],
    "MaxPool2d": [(2,), (3, 2, 1), (2, 1, 0, 2), (3, 2, 1, 1, False, True)],
    "AvgPool2d": [(2,), (3, 2, 1, True, False), (3, 2, 1, False, True, 5)],
    "AdaptiveAvgPool2d": [(1,), ((3, 2),)], "AdaptiveMaxPool2d": [((2, 3),)], "LPPool2d": [(2, 2)],
    "BatchNorm2d": [(3,), (3, 1e-3, 0.3, False), (3, 1e-5, 0.1, True, False), (3, 1e-5, None)],
    "GroupNorm": [(3, 3), (1, 3), (3, 3, 1e-3, False)],
    "InstanceNorm2d": [(3,), (3, 1e-3, 0.2, True, True)], "LocalResponseNorm": [(2,)],
    "Upsample": [(None, 2), ((9, 5), None, "bilinear"), (None, 2, "bicubic", True)],
    "UpsamplingNearest2d": [(None, 2)], "UpsamplingBilinear2d": [((9, 5),)],
    "ReflectionPad2d": [(2,), ((1, 2, 0, 1),)], "ReplicationPad2d": [(1,)], "ZeroPad2d": [((1, 2, 0, 1),)],
    "CircularPad2d": [(1,)], "ConstantPad2d": [(1, 0.5)],
    "Flatten": [(), (0, 1)], "Unflatten": [(3, (2, 3))], "Unfold": [(2,), ((2, 3), 1, 1, 2)], "ChannelShuffle": [(3,)],
    "Identity": [()],
}  # fmt: skip
LINES = {
    "Conv1d": [(3, 4, 3), (3, 6, 3, 2, 2, 2, 3)], "ConvTranspose1d": [(3, 4, 3, 2, 1, 1)],
    "MaxPool1d": [(2,), (3, 1, 1)], "AvgPool1d": [(2,), (3, 2, 1)], "AdaptiveAvgPool1d": [(3,)],
    "AdaptiveMaxPool1d": [(3,)], "LPPool1d": [(2, 3)], "BatchNorm1d": [(3,)], "InstanceNorm1d": [(3,)],
    "ReflectionPad1d": [(2,)], "ReplicationPad1d": [((1, 3),)], "CircularPad1d": [(2,)], "RMSNorm": [(8,), ((3, 8),
    0.1)],
}  # fmt: skip
VOLUMES = {
    "Conv3d": [(2, 3, 2), (2, 4, (1, 2, 3), 1, 1, 1, 2)], "ConvTranspose3d": [(2, 3, 2, 2)], "MaxPool3d": [(2,)],
    "AvgPool3d": [(2,)], "LPPool3d": [(2, 2)], "AdaptiveAvgPool3d": [(2,)], "BatchNorm3d": [(2,)],
    "InstanceNorm3d": [(2,)], "ReplicationPad3d": [(1,)],
}  # fmt: skip
INPUTS = ((ACTIVATIONS, (2, 4)), (IMAGES, (2, 3, 4, 6)), (LINES, (2, 3, 8)), (VOLUMES, (2, 2, 4, 4, 4)))
LAYERS = [(name, args, shape) for table, shape in INPUTS for name, many in table.items() for args in many]
FLAT = ("PixelShuffle", (2,), (1, 8, 2, 3)), ("PixelUnshuffle", (2,), (1, 2, 4, 6)), ("Fold", ((4, 5), 2), (2, 12, 12))


@pytest.mark.parametrize(("name", "args", "shape"), [*LAYERS, *FLAT], ids=str)
def test_layer(name, args, shape):
    ours, theirs = getattr(nn, name)(*args), getattr(torch.nn, name)(*args)
    assert repr(ours) == repr(theirs)
    both(ours, theirs, x(*shape))
    if name.startswith(("BatchNorm", "InstanceNorm")):
        for (key, mine), (_, other) in zip(ours.named_buffers(), theirs.named_buffers()):
            np.testing.assert_allclose(mine.numpy(), other.numpy(), rtol=2e-5, atol=1e-6, err_msg=key)
        both(ours.eval(), theirs.eval(), x(*shape))


LOSSES = {
    "L1Loss": [()], "MSELoss": [(), ("none",)], "SmoothL1Loss": [("mean", 0.5)], "HuberLoss": [("sum", 0.5)],
    "SoftMarginLoss": [()], "PoissonNLLLoss": [(), (False, True)],
    "KLDivLoss": [("batchmean",), ("sum", True)], "HingeEmbeddingLoss": [()], "MultiLabelSoftMarginLoss": [()],
}  # fmt: skip
KEYWORDS = {"MSELoss": ("reduction",), "SmoothL1Loss": ("reduction", "beta"), "HuberLoss": ("reduction", "delta")}
KEYWORDS |= {"PoissonNLLLoss": ("log_input", "full"), "KLDivLoss": ("reduction", "log_target")}


@pytest.mark.parametrize(("name", "args"), [(n, a) for n, many in LOSSES.items() for a in many], ids=str)
def test_loss(name, args):
    options = dict(zip(KEYWORDS.get(name, ()), args))
    target = np.abs(x(3, 4)) + 0.1
    target = np.sign(x(3, 4)) if "Margin" in name or "Hinge" in name else target
    given = np.abs(x(3, 4)) + 0.2 if name == "PoissonNLLLoss" else x(3, 4)

    def call(layer, input, other):
        return layer(input, other.detach())

    both(getattr(nn, name)(**options), getattr(torch.nn, name)(**options), given, target.astype(np.float32), call=call)


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss", "MultiMarginLoss"])
def test_losses_of_classes(name):
    weight = np.array([0.5, 1.0, 2.0, 0.1], np.float32)
    ours = getattr(nn, name)(weight=flame.tensor(weight))
    theirs = getattr(torch.nn, name)(weight=torch.tensor(weight))
    both(ours, theirs, x(5, 4), np.array([0, 3, 2, 1, 1]))


def test_binary_losses():
    probability = (x(3, 4) + 2.1) / 4.3
    target = (x(3, 4) > 0).astype(np.float32)
    call = lambda layer, a, b: layer(a, b.detach())  # noqa: E731
    both(nn.BCELoss(), torch.nn.BCELoss(), probability, target, call=call)
    positive = np.array([1.0, 2.0, 0.5, 3.0], np.float32)
    ours = nn.BCEWithLogitsLoss(pos_weight=flame.tensor(positive))
    both(ours, torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor(positive)), x(3, 4), target, call=call)


def test_losses_of_three():
    a, b, c = x(4, 5), x(4, 5), x(4, 5)
    both(nn.TripletMarginLoss(), torch.nn.TripletMarginLoss(), a, b, c)
    sign = np.array([1.0, -1, 1, -1], np.float32)
    call = lambda layer, p, q, s: layer(p, q, s.detach())  # noqa: E731
    both(nn.CosineEmbeddingLoss(0.2), torch.nn.CosineEmbeddingLoss(0.2), a, b, sign, call=call)
    both(nn.MarginRankingLoss(0.2), torch.nn.MarginRankingLoss(0.2), a[:, 0], b[:, 0], sign, call=call)
    var = np.abs(c) + 0.1
    both(nn.GaussianNLLLoss(), torch.nn.GaussianNLLLoss(), a, b, var)


def test_bilinear_and_distances():
    both(nn.Bilinear(3, 4, 5), torch.nn.Bilinear(3, 4, 5), x(2, 6, 3), x(2, 6, 4))
    both(nn.CosineSimilarity(), torch.nn.CosineSimilarity(), x(3, 4), x(3, 4))
    both(nn.PairwiseDistance(), torch.nn.PairwiseDistance(), x(3, 4), x(3, 4))


RECURRENT = [
    ("RNN", {}), ("RNN", {"nonlinearity": "relu", "num_layers": 2}), ("LSTM", {}), ("GRU", {}),
    ("LSTM", {"num_layers": 2, "bidirectional": True, "batch_first": True}), ("GRU", {"bias": False,
    "bidirectional": True}), ("LSTM", {"proj_size": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), RECURRENT, ids=str)
def test_recurrent_layers(name, options):
    ours, theirs = getattr(nn, name)(3, 4, **options), getattr(torch.nn, name)(3, 4, **options)
    assert repr(ours) == repr(theirs)
    both(ours, theirs, x(5, 2, 3), call=lambda layer, a: layer(a)[0])
    both(ours, theirs, x(5, 3), call=lambda layer, a: layer(a)[0])
    last = lambda layer, a: layer(a)[1][-1] if name == "LSTM" else layer(a)[1]  # noqa: E731
    both(ours, theirs, x(5, 2, 3), call=last)


@pytest.mark.parametrize("name", ["RNNCell", "LSTMCell", "GRUCell"])
def test_recurrent_cells(name):
    ours, theirs = getattr(nn, name)(3, 4), getattr(torch.nn, name)(3, 4)
    assert repr(ours) == repr(theirs)
    first = lambda layer, a: layer(a)[0]  # noqa: E731
    both(ours, theirs, x(2, 3), call=first)


@pytest.mark.parametrize("options", [{}, {"norm_first": True, "activation": "gelu", "batch_first": True}], ids=str)
def test_transformer_layers(options):
    made = {"d_model": 8, "nhead": 2, "dim_feedforward": 12, "dropout": 0.0, **options}
    both(nn.TransformerEncoderLayer(**made), torch.nn.TransformerEncoderLayer(**made), x(5, 3, 8))
    ours, theirs = nn.TransformerDecoderLayer(**made), torch.nn.TransformerDecoderLayer(**made)
    both(ours, theirs, x(4, 3, 8), x(4, 6, 8) if options else x(6, 3, 8))


def test_a_whole_transformer():
    made = {"d_model": 8, "nhead": 2, "num_encoder_layers": 2, "num_decoder_layers": 2, "dim_feedforward": 12}
    made |= {"dropout": 0.0, "batch_first": True}
    ours, theirs = nn.Transformer(**made), torch.nn.Transformer(**made)

    def call(layer, a, b):
        mask = layer.generate_square_subsequent_mask(b.shape[1])
        return layer(a, b, tgt_mask=mask, tgt_is_causal=True)

    both(ours, theirs, x(2, 5, 8), x(2, 4, 8), call=call)


def test_containers():
    for library in (nn, torch.nn):
        made = library.ModuleDict({"a": library.Linear(2, 3), "b": library.ReLU()})
        made["c"] = library.Tanh()
        assert list(made) == ["a", "b", "c"] and "a" in made and len(made) == 3
        zeros = flame.zeros if library is nn else torch.zeros
        held = library.ParameterList([library.Parameter(zeros(2))])
        assert list(held.state_dict()) == ["0"] and len(held) == 1
    ours = repr(nn.ModuleDict({"a": nn.Linear(2, 3)}))
    assert ours == repr(torch.nn.ModuleDict({"a": torch.nn.Linear(2, 3)}))


# --- adapters ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", [nn.LoRA, nn.DoRA])
@pytest.mark.parametrize("make", [lambda: nn.Linear(6, 4), lambda: nn.Conv2d(3, 4, 3, padding=1)])
def test_an_adapter_changes_nothing_at_first_learns_and_merges(kind, make):
    base = make()
    given = flame.tensor(x(5, 6) if isinstance(base, nn.Linear) else x(2, 3, 4, 4))
    before = base(given).numpy()
    wrapped = kind(base, rank=2, alpha=4)
    np.testing.assert_allclose(wrapped(given).detach().numpy(), before, rtol=1e-5, atol=1e-6)
    optimizer = flame.optim.SGD([p for p in wrapped.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (wrapped(given) - 1.0).square().mean().backward()
        optimizer.step()
    assert base.weight.grad is None and np.abs(wrapped.lora_B.detach().numpy()).max() > 0
    trained = wrapped(given).detach().numpy()
    assert np.abs(trained - before).max() > 1e-3
    kept = base.weight.detach().numpy()
    np.testing.assert_allclose(wrapped.merge()(given).detach().numpy(), trained, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(wrapped.unmerge().base.weight.detach().numpy(), kept)


def test_adapting_a_model_and_taking_its_adapters_along():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    given = flame.tensor(x(3, 4))
    plain = list(model.state_dict())
    nn.adapters.adapt(model, nn.LoRA, names="0", rank=2)
    assert isinstance(model[0], nn.LoRA) and isinstance(model[2], nn.Linear)
    assert sorted(nn.adapters.adapter_state_dict(model)) == ["0.lora_A", "0.lora_B"]
    assert sum(p.requires_grad for p in model.parameters()) == 2
    with flame.no_grad():
        model[0].lora_B.copy_(flame.ones(6, 2))
    adapted = model(given).detach().numpy()
    nn.adapters.merge(model)
    assert list(model.state_dict()) == plain
    np.testing.assert_allclose(model(given).detach().numpy(), adapted, rtol=1e-5, atol=1e-6)


# --- tables -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("options", [{}, {"mode": "sum", "padding_idx": 1}, {"mode": "max"}], ids=str)
def test_embedding_bags(options):
    ours, theirs = nn.EmbeddingBag(6, 3, **options), torch.nn.EmbeddingBag(6, 3, **options)
    assert repr(ours) == repr(theirs)
    numbers = rng.integers(0, 6, (4, 5))
    both(ours, theirs, numbers)
    both(ours, theirs, numbers.reshape(-1), np.array([0, 3, 3, 11]))


@pytest.mark.parametrize("kind", ["Embedding", "EmbeddingBag"])
def test_tables_that_are_there_already(kind):
    table, numbers = x(5, 3), np.array([[0, 4, 1]])
    for options in ({}, {"freeze": False, "padding_idx": 4}):
        ours = getattr(nn, kind).from_pretrained(flame.tensor(table), **options)
        theirs = getattr(torch.nn, kind).from_pretrained(torch.tensor(table), **options)
        assert ours.weight.requires_grad == theirs.weight.requires_grad and repr(ours) == repr(theirs)
        found, wanted = ours(flame.tensor(numbers)), theirs(torch.tensor(numbers))
        np.testing.assert_allclose(found.detach().numpy(), wanted.detach().numpy(), rtol=1e-6)
    with pytest.raises(flame.errors.StateError, match="max_norm"):
        getattr(nn, kind)(5, 3, max_norm=1.0)
    with pytest.raises(flame.errors.ShapeError, match="two dimensions"):
        getattr(nn, kind).from_pretrained(flame.ones(3))


def test_adaptive_softmax():
    ours, theirs = (n.AdaptiveLogSoftmaxWithLoss(8, 12, [3, 7], 2.0) for n in (nn, torch.nn))
    assert repr(ours) == repr(theirs)
    both(ours, theirs, x(5, 8), np.array([0, 3, 11, 7, 6]), call=lambda layer, a, b: layer(a, b).output)
    both(ours, theirs, x(8), np.array(9), call=lambda layer, a, b: layer(a, b).loss)
    both(ours, theirs, x(5, 8), call=lambda layer, a: layer.log_prob(a))
    given = x(5, 8)
    assert ours.predict(flame.tensor(given)).tolist() == theirs.predict(torch.tensor(given)).tolist()
    for cutoffs in ([], [3, 3], [12], [0, 4]):
        with pytest.raises(flame.errors.ShapeError, match="must rise"):
            nn.AdaptiveLogSoftmaxWithLoss(8, 12, cutoffs)
    with pytest.raises(flame.errors.ShapeError, match="target"):
        ours(flame.ones(5, 8), flame.zeros(4).long())
