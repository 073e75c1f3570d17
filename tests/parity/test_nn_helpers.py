"""nn.utils.rnn, nn.utils.fusion and nn.Buffer beside PyTorch's."""

import copy

import numpy as np
import pytest

import flame
from flame import nn
from flame.errors import FlameError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity
rng = np.random.default_rng(2)
SEQUENCES = [rng.normal(size=(n, 2)).astype(np.float32) for n in (3, 1, 4)]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("first", [True, False])
def test_sequences_are_padded(side, first):
    ours, theirs = (
        library.nn.utils.rnn.pad_sequence([library.tensor(s) for s in SEQUENCES], first, 7.0, side)
        for library in (flame, torch)
    )
    assert ours.tolist() == theirs.tolist()
    if side == "right":
        back = nn.utils.rnn.unpad_sequence(ours, flame.tensor([3, 1, 4]), first)
        assert all(np.array_equal(a.numpy(), b) for a, b in zip(back, SEQUENCES, strict=True))


def test_padding_nothing_is_refused():
    with pytest.raises(FlameError, match="there are no sequences"):
        nn.utils.rnn.pad_sequence([])
    with pytest.raises(FlameError, match="padding_side is 'top'"):
        nn.utils.rnn.pad_sequence([flame.ones(1)], padding_side="top")


@pytest.mark.parametrize(
    ("make", "norm", "shape", "options"),
    [
        (lambda: nn.Conv2d(2, 4, 3, groups=2), nn.BatchNorm2d, (2, 2, 5, 5), {}),
        (lambda: nn.Conv1d(2, 4, 3, bias=False), nn.BatchNorm1d, (2, 2, 5), {}),
        (lambda: nn.ConvTranspose1d(2, 4, 3), nn.BatchNorm1d, (2, 2, 5), {"transpose": True}),
        (lambda: nn.Linear(3, 4), nn.BatchNorm1d, (5, 3), None),
    ],
)
@pytest.mark.parametrize("affine", [True, False])
def test_a_norm_goes_into_the_layer_before(make, norm, shape, options, affine):
    layer, bn = make(), norm(4, affine=affine)
    both = nn.Sequential(layer, bn)
    both(flame.randn(*shape))
    if affine:
        nn.init.uniform_(bn.weight)
        nn.init.uniform_(bn.bias)
    both.eval()
    fuse = nn.utils.fuse_linear_bn_eval if options is None else nn.utils.fuse_conv_bn_eval
    made, x = fuse(layer, bn, **(options or {})), flame.randn(*shape)
    assert made is not layer
    np.testing.assert_allclose(made(x).detach().numpy(), both(x).detach().numpy(), rtol=1e-4, atol=1e-5)
    with pytest.raises(FlameError, match="must be in eval"):
        fuse(layer.train(), bn)


def test_buffers_by_assignment():
    def made(library):
        module = library.nn.Module()
        module.kept = library.nn.Buffer(library.ones(2))
        module.passing = library.nn.Buffer(library.ones(1), persistent=False)
        return module

    for module in (made(flame), made(torch), copy.deepcopy(made(flame))):
        assert list(module.state_dict()) == ["kept"]
        assert [name for name, _ in module.named_buffers()] == ["kept", "passing"]
        assert not list(module.parameters()) and module.kept.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0)])
def test_a_layer_without_elements(sizes):
    layer = nn.Linear(*sizes)
    assert layer(flame.ones(2, sizes[0])).shape == (2, sizes[1])
