"""Module, Parameter, Sequential and ModuleList: names, order, state, text."""

from collections import OrderedDict

import numpy as np
import pytest

import flame
from flame import nn
from flame.errors import FlameError, IndexingError, StateError


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2, bias=False))
        self.scale = nn.Parameter(flame.ones(2))
        self.register_buffer("mean", flame.zeros(2))
        self.register_buffer("scratch", flame.zeros(1), persistent=False)

    def forward(self, x):
        return (self.body(x) - self.mean) * self.scale


def test_names_come_in_pytorchs_order():
    net = Net()
    assert [n for n, _ in net.named_parameters()] == ["scale", "body.0.weight", "body.0.bias", "body.2.weight"]
    assert [n for n, _ in net.named_buffers()] == ["mean", "scratch"]
    assert [n for n, _ in net.named_modules()] == ["", "body", "body.0", "body.1", "body.2"]
    assert list(net.state_dict()) == ["scale", "mean", "body.0.weight", "body.0.bias", "body.2.weight"]
    assert net.get_submodule("body.2") is net.body[2]
    assert [n for n, _ in net.named_children()] == ["body"]


def test_a_shared_parameter_is_one_parameter_with_two_keys():
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    net[1].weight = net[0].weight
    assert len(list(net.parameters())) == 1
    assert list(net.state_dict()) == ["0.weight", "1.weight"]


def test_a_state_goes_round():
    one, two = Net(), Net()
    assert not np.array_equal(one.body[0].weight.numpy(), two.body[0].weight.numpy())
    report = two.load_state_dict(one.state_dict())
    assert report == ([], [])
    x = flame.randn(5, 4)
    assert np.array_equal(one(x).numpy(), two(x).numpy())
    assert all(p.requires_grad for p in two.parameters())


def test_a_state_may_hold_arrays():
    layer = nn.Linear(2, 1)
    layer.load_state_dict({"weight": np.array([[1.0, 2.0]]), "bias": np.array([3.0])})
    assert layer(flame.ones(2)).numpy().tolist() == [6.0]
    assert layer.weight.dtype is flame.float32


def test_a_state_dict_holds_values_not_the_parameters():
    layer = nn.Linear(2, 1)
    before = layer.state_dict()
    kept = before["weight"].numpy().copy()
    optimizer = flame.optim.SGD(layer.parameters(), lr=1.0)
    layer(flame.ones(2)).sum().backward()
    optimizer.step()
    assert np.array_equal(before["weight"].numpy(), kept)
    assert not np.array_equal(layer.weight.numpy(), kept)


def test_a_state_that_does_not_fit_is_refused_whole():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    before = net[0].bias.numpy().copy()
    with pytest.raises(StateError) as error:
        net.load_state_dict({"0.bias": np.ones(2), "0.weight": np.ones((3, 2)), "1.weight": np.ones((1, 2)), "x": 1})
    text = str(error.value)
    assert "missing: 1.bias" in text
    assert "unexpected: x" in text
    assert "0.weight has shape (3, 2), the module's has (2, 2)" in text
    assert np.array_equal(net[0].bias.numpy(), before)
    report = net.load_state_dict({"0.bias": np.ones(2), "x": 1}, strict=False)
    assert report.unexpected_keys == ["x"]
    assert report.missing_keys == ["0.weight", "1.weight", "1.bias"]
    assert net[0].bias.numpy().tolist() == [1.0, 1.0]


def test_train_and_eval_reach_every_module():
    net = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.5)))
    assert not any(m.training for m in net.eval().modules())
    assert all(m.training for m in net.train().modules())


def test_attributes_move_between_tables():
    net = Net()
    net.scale = None
    assert net.scale is None
    assert "scale" not in net.state_dict()
    net.scale = nn.Parameter(flame.ones(2))
    net.mean = flame.ones(2)
    assert net.state_dict()["mean"].numpy().tolist() == [1.0, 1.0]
    with pytest.raises(FlameError, match="cannot become a Tensor"):
        net.scale = flame.ones(2)
    del net.body
    assert not hasattr(net, "body")
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'body'"):
        net.body  # noqa: B018


def test_forgetting_super_init_is_explained():
    class Hasty(nn.Module):
        def __init__(self):
            self.inner = nn.ReLU()

    with pytest.raises(FlameError, match=r"super\(\).__init__\(\)"):
        Hasty()


def test_a_module_without_forward_says_so():
    with pytest.raises(NotImplementedError, match="Module has no forward"):
        nn.Module()(1)


def test_zero_grad_and_requires_grad():
    layer = nn.Linear(2, 1)
    layer(flame.ones(2)).sum().backward()
    assert layer.weight.grad.numpy().tolist() == [[1.0, 1.0]]
    layer.zero_grad(set_to_none=False)
    assert layer.weight.grad.numpy().tolist() == [[0.0, 0.0]]
    layer.zero_grad()
    assert layer.weight.grad is None
    layer.requires_grad_(False)
    assert not layer.weight.requires_grad
    assert not layer(flame.ones(2)).requires_grad


def test_lists_and_sequences():
    net = nn.Sequential(OrderedDict(first=nn.Linear(2, 3), then=nn.ReLU()))
    assert list(net.state_dict()) == ["first.weight", "first.bias"]
    assert net[1] is net.then
    assert isinstance(net[-1], nn.ReLU)
    layers = nn.ModuleList([nn.Linear(1, 1) for _ in range(3)]).append(nn.ReLU())
    assert len(layers) == 4
    assert len(layers[1:3]) == 2
    layers.insert(0, nn.SiLU())
    assert [type(m).__name__ for m in layers] == ["SiLU", "Linear", "Linear", "Linear", "ReLU"]
    del layers[1]
    layers[0] = nn.GELU()
    assert repr(layers[0]) == "GELU(approximate='none')"
    assert list(layers.state_dict()) == ["1.weight", "1.bias", "2.weight", "2.bias"]
    with pytest.raises(IndexingError, match="index 4 is out of range for 4 modules"):
        layers[4]


def test_apply_reaches_children_first():
    seen = []
    nn.Sequential(nn.ReLU()).apply(lambda m: seen.append(type(m).__name__))
    assert seen == ["ReLU", "Sequential"]


def test_repr_is_pytorchs():
    net = nn.Sequential(nn.Linear(2, 3), nn.ModuleList([nn.LayerNorm(3), nn.LayerNorm(3), nn.Dropout(0.1)]))
    assert repr(net) == (
        "Sequential(\n"
        "  (0): Linear(in_features=2, out_features=3, bias=True)\n"
        "  (1): ModuleList(\n"
        "    (0-1): 2 x LayerNorm((3,), eps=1e-05, elementwise_affine=True, bias=True)\n"
        "    (2): Dropout(p=0.1, inplace=False)\n"
        "  )\n"
        ")"
    )
    assert repr(nn.Embedding(5, 2, padding_idx=-1)) == "Embedding(5, 2, padding_idx=4)"
