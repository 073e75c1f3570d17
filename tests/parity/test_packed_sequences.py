"""Packed sequences beside torch.nn.utils.rnn, and recurrent layers over them: values, states, gradients."""

import numpy as np
import pytest

import flame
from flame import nn
from flame.errors import FlameError, ShapeError
from flame.nn.utils import rnn
from tests.surface.sides import interpreted

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore:LSTM with projections")]
LENGTHS = {"sorted": [4, 3, 3, 1], "not sorted": [2, 4, 1, 4, 3], "one": [3], "equal": [2, 2]}
SIDES = ((flame, rnn), (torch, torch.nn.utils.rnn))


@pytest.fixture(autouse=True)
def by_the_oracle():
    """Nothing is compiled: what is compiled is what other layers are made of."""
    with interpreted():
        yield


def numbers(*shape):
    return np.random.default_rng(list(shape)).normal(size=shape).astype(np.float32)


def plain(packed):
    return [None if t is None else np.array(t.tolist()) for t in packed]


def same(one, other):
    for a, b in zip(one, other, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_packing_and_padding(lengths, batch_first, as_tensor):
    x = numbers(5, len(lengths), 2)
    x = x.swapaxes(0, 1).copy() if batch_first else x
    found = []
    for library, where in SIDES:
        given = library.tensor(x, requires_grad=True)
        sizes = library.tensor(lengths) if as_tensor else lengths
        packed = where.pack_padded_sequence(given, sizes, batch_first, enforce_sorted=lengths == LENGTHS["sorted"])
        packed = packed if lengths != LENGTHS["equal"] else where.pack_padded_sequence(given, sizes, batch_first)
        padded, back = where.pad_packed_sequence(packed, batch_first, -1.0, 6)
        (padded * padded).sum().backward()
        apart = [t.tolist() for t in where.unpack_sequence(packed)]
        found.append([*plain(packed), *plain([padded, back, given.grad]), repr(apart)])
    same(found[0][:-1], found[1][:-1])
    assert found[0][-1] == found[1][-1]


def test_packing_a_list():
    found = []
    for library, where in SIDES:
        rows = [library.tensor(r) for r in ([1, 2, 3], [4, 5], [6])]
        found.append([*plain(where.pack_sequence(rows)), *plain(where.pack_sequence(rows[::-1], enforce_sorted=False))])
        again = where.PackedSequence(*where.pack_sequence(rows)[:2])
        found[-1] += plain([where.invert_permutation(library.tensor([2, 0, 1])), again.to(library.float64).data])
    same(*found)
    assert rnn.invert_permutation(None) is None


RECURRENT = [
    ("RNN", {}), ("RNN", {"nonlinearity": "relu", "num_layers": 2, "bidirectional": True}), ("GRU", {}),
    ("GRU", {"num_layers": 2, "bidirectional": True}), ("LSTM", {"bidirectional": True}), ("LSTM", {"proj_size": 2}),
    ("LSTM", {"num_layers": 2, "bias": False, "batch_first": True}),
]  # fmt: skip


@pytest.mark.parametrize("lengths", [LENGTHS["sorted"], LENGTHS["not sorted"]], ids=str)
@pytest.mark.parametrize("state", [False, True], ids=["zeros", "states"])
@pytest.mark.parametrize(("name", "options"), RECURRENT, ids=str)
def test_recurrent_layers(name, options, lengths, state):
    flame.manual_seed(0)
    ours = getattr(nn, name)(3, 4, **options)
    theirs = getattr(torch.nn, name)(3, 4, **options)
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()})
    count = ours.num_layers * (2 if ours.bidirectional else 1)
    shapes = [(count, len(lengths), ours.proj_size or 4), (count, len(lengths), 4)][: 2 if name == "LSTM" else 1]
    found = []
    for (library, where), layer in zip(SIDES, (ours, theirs)):
        x = library.tensor(numbers(4, len(lengths), 3), requires_grad=True)
        start = [library.tensor(numbers(*s) + i, requires_grad=True) for i, s in enumerate(shapes)] if state else []
        packed = where.pack_padded_sequence(x, lengths, enforce_sorted=lengths == LENGTHS["sorted"])
        hx = (tuple(start) if name == "LSTM" else start[0]) if state else None
        out, last = layer(packed, hx)
        assert isinstance(out, where.PackedSequence)
        last = last if isinstance(last, tuple) else (last,)
        loss = (out.data * library.tensor(numbers(*out.data.shape))).sum()
        loss = loss + sum((s * library.tensor(numbers(*s.shape))).sum() for s in last)
        loss.backward()
        grads = [x.grad, *(s.grad for s in start), *(p.grad for p in layer.parameters())]
        found.append([*out[1:], out.data, *last, *grads])
    for a, b in zip(*found, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=2e-4, atol=2e-5)


def test_misuse():
    x = flame.ones(3, 2, 4)
    with pytest.raises(ShapeError, match="do not decrease.*enforce_sorted=False"):
        rnn.pack_padded_sequence(x, [1, 3])
    for lengths in ([3], [3, 0], [4, 1]):
        with pytest.raises(ShapeError, match="2 sequences of at most 3 elements"):
            rnn.pack_padded_sequence(x, lengths)
    packed = rnn.pack_padded_sequence(x, [3, 1])
    with pytest.raises(ShapeError, match="total_length is 2, the longest sequence has 3"):
        rnn.pad_packed_sequence(packed, total_length=2)
    with pytest.raises(ShapeError, match=r"packed data has shape \(4, 4\)"):
        nn.GRU(3, 2)(packed)
    with pytest.raises(FlameError, match="needs batch_sizes"):
        rnn.PackedSequence(x)
