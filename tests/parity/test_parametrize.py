"""Parametrizations beside torch.nn.utils': keys, values, training, assigning, removing, states of either form."""

import numpy as np
import pytest

import flame
from flame import nn
from flame.errors import FlameError
from tests.parity.both import torch
from tests.parity.test_training import floats, squares, twenty_steps

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore:.*torch.nn.utils.weight_norm.*:FutureWarning"),
]
MODERN = [
    ("weight_norm", lambda n: n.Linear(4, 3), {}, (5, 4)),
    ("weight_norm", lambda n: n.Linear(4, 3), {"dim": None}, (5, 4)),
    ("weight_norm", lambda n: n.Conv1d(2, 3, 2), {"dim": 1}, (5, 2, 4)),
    ("spectral_norm", lambda n: n.Linear(4, 3), {}, (5, 4)),
    ("spectral_norm", lambda n: n.ConvTranspose1d(2, 3, 2), {"n_power_iterations": 2}, (5, 2, 4)),
]


def cost(library, layer, x):
    return squares(library, layer(x), np.random.default_rng(1))


@pytest.mark.parametrize(("name", "make", "options", "shape"), MODERN)
def test_a_parametrized_layer_learns_as_pytorchs(name, make, options, shape):
    def made(n):
        return getattr(n.utils.parametrizations, name)(make(n), **options)

    assert repr(made(nn)).replace("_WeightNorm()", "") == repr(made(torch.nn)).replace("_WeightNorm()", "")
    assert not twenty_steps(made, floats(shape), cost)


@pytest.mark.parametrize("options", [{}, {"dim": 1}, {"dim": None}], ids=str)
def test_the_first_form_of_weight_norm(options):
    def made(n):
        return n.utils.weight_norm(n.Linear(4, 3), **options)

    assert not twenty_steps(made, floats((5, 4)), cost)
    layer, x = made(nn), flame.ones(1, 4)
    before = layer(x).tolist()
    plain = nn.utils.remove_weight_norm(layer)
    assert sorted(plain.state_dict()) == ["bias", "weight"] and np.allclose(plain(x).tolist(), before, atol=1e-6)
    with pytest.raises(FlameError, match="no weight_norm"):
        nn.utils.remove_weight_norm(layer)


def test_a_state_of_the_first_form_is_loaded_by_the_second():
    old = nn.utils.weight_norm(nn.Linear(4, 3))
    new = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)))
    new.load_state_dict({f"0.{key}": value for key, value in old.state_dict().items()})
    x = flame.randn(2, 4)
    assert np.allclose(new(x).tolist(), old(x).tolist(), atol=1e-6)


class Doubled(nn.Module):
    def forward(self, x):
        return x * 2

    def right_inverse(self, x):
        return x / 2


class Squared(nn.Module):
    def forward(self, x):
        return x * x


def test_registering_assigning_and_removing():
    parametrize, layer = nn.utils.parametrize, nn.Linear(2, 1, bias=False)
    layer.weight = nn.Parameter(flame.tensor([[4.0, 6.0]]))
    trained = layer.weight
    parametrize.register_parametrization(layer, "weight", Doubled())
    assert layer.weight.tolist() == [[4.0, 6.0]] and list(layer.state_dict()) == ["parametrizations.weight.original"]
    layer.weight = flame.tensor([[2.0, 8.0]])
    assert layer.parametrizations.weight.original.tolist() == [[1.0, 4.0]]
    parametrize.register_parametrization(layer, "weight", Squared())
    assert layer.weight.tolist() == [[4.0, 64.0]] and isinstance(layer, nn.Linear)
    with pytest.raises(FlameError, match="Squared has no right_inverse"):
        layer.weight = flame.ones(1, 2)
    assert parametrize.is_parametrized(layer) and not parametrize.is_parametrized(layer, "bias")
    parametrize.remove_parametrizations(layer, "weight")
    assert type(layer) is nn.Linear and layer.weight.tolist() == [[4.0, 64.0]] and layer.weight is trained
    with pytest.raises(FlameError, match="no parametrization"):
        parametrize.remove_parametrizations(layer, "weight")
    with pytest.raises(FlameError, match="no parameter or buffer"):
        parametrize.register_parametrization(layer, "missing", Squared())
