"""Lazy modules beside torch.nn's: what they are before and after the first call, and loading into either."""

import copy

import numpy as np
import pytest

import flame
from flame import nn
from flame.errors import ShapeError, StateError
from flame.nn.lazy import LazyModuleMixin
from flame.nn.parameter import is_lazy

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")]
rng = np.random.default_rng(0)
LINE, IMAGE, VOLUME = (2, 4, 6), (2, 4, 6, 5), (2, 4, 4, 4, 3)
CASES = [
    ("LazyLinear", (3,), {}, (5, 4)), ("LazyLinear", (3,), {"bias": False}, (2, 5, 4)),
    ("LazyConv1d", (6, 3), {"padding": 1}, LINE), ("LazyConv2d", (6, 3), {"groups": 2, "stride": 2}, IMAGE),
    ("LazyConv2d", (6, 3, 1, 1), {"bias": False, "padding_mode": "reflect"}, IMAGE[1:]),
    ("LazyConv3d", (2, 2), {}, VOLUME), ("LazyConvTranspose1d", (6, 3), {"stride": 2}, LINE),
    ("LazyConvTranspose2d", (6, 3), {"groups": 2}, IMAGE), ("LazyConvTranspose3d", (2, 2), {}, VOLUME),
    ("LazyBatchNorm1d", (), {}, (5, 4)), ("LazyBatchNorm2d", (), {"affine": False}, IMAGE),
    ("LazyBatchNorm3d", (), {"momentum": None}, VOLUME),
    ("LazyBatchNorm2d", (), {"track_running_stats": False}, IMAGE),
    ("LazyInstanceNorm1d", (), {}, LINE), ("LazyInstanceNorm2d", (), {"affine": False}, IMAGE),
    ("LazyInstanceNorm3d", (1e-3,), {}, VOLUME),
]  # fmt: skip


def numbers(shape):
    return rng.normal(size=shape).astype(np.float32)


def lazy_keys(module):
    kinds = (nn.UninitializedParameter, nn.UninitializedBuffer)
    kinds += (torch.nn.UninitializedParameter, torch.nn.parameter.UninitializedBuffer)
    return {key: isinstance(value, kinds) for key, value in module.state_dict().items()}


@pytest.mark.parametrize(("name", "args", "options", "shape"), CASES, ids=str)
def test_the_first_input_tells(name, args, options, shape):
    ours, theirs = getattr(nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options)
    assert repr(ours) == repr(theirs)
    assert lazy_keys(ours) == lazy_keys(theirs)
    assert ours.has_uninitialized_params() == theirs.has_uninitialized_params()
    parameters = list(ours.parameters())
    given = numbers(shape)
    x = flame.tensor(given, requires_grad=True)
    with flame.no_grad():
        ours(x)
    theirs(torch.tensor(given))
    assert repr(ours) == repr(theirs)
    assert type(ours) is getattr(nn, name.removeprefix("Lazy"))
    assert all(a is b for a, b in zip(parameters, ours.parameters(), strict=True))
    assert {k: tuple(v.shape) for k, v in ours.state_dict().items()} == {
        k: tuple(v.shape) for k, v in theirs.state_dict().items()
    }
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()})
    y, z = ours(x), theirs(torch.tensor(given))
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=2e-5, atol=2e-5)
    y.sum().backward()
    assert all(p.grad is not None and type(p) is nn.Parameter for p in parameters)


@pytest.mark.parametrize(("name", "args", "options", "shape"), CASES, ids=str)
def test_loading_before_the_first_call(name, args, options, shape):
    given = numbers(shape)
    done, ours = getattr(torch.nn, name)(*args, **options), getattr(nn, name)(*args, **options)
    done(torch.tensor(given))
    ours.load_state_dict(done.state_dict())
    assert not ours.has_uninitialized_params()
    np.testing.assert_allclose(
        ours.eval()(flame.tensor(given)).detach().numpy(), done.eval()(torch.tensor(given)).detach(), atol=2e-5
    )
    assert repr(ours) == repr(done)


def test_a_model_of_lazy_layers_trains_after_a_dry_run():
    flame.manual_seed(0)
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    twin = copy.deepcopy(model)
    assert [p is q for p, q in zip(model.parameters(), twin.parameters())] == [False] * 6
    model.to(flame.float64)
    x = flame.randn(5, 3, 6, 6, dtype=flame.float64)
    model(x)
    assert {p.dtype for p in model.parameters()} == {flame.float64} and all(map(is_lazy, twin.parameters()))
    optimizer = flame.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(5):
        loss = model(x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert isinstance(twin(x.float()), flame.Tensor)


def test_a_lazy_module_of_ones_own():
    def module(library, mixin):
        class Scale(mixin, library.nn.Module):
            def __init__(self):
                super().__init__()
                self.scale = library.nn.UninitializedParameter()
                self.shift = library.nn.UninitializedBuffer()

            def initialize_parameters(self, x, *, by=1.0):
                if self.has_uninitialized_params():
                    self.scale.materialize((x.shape[-1],))
                    self.shift.materialize((x.shape[-1],))
                    with library.no_grad():
                        self.scale.fill_(by)
                        self.shift.fill_(0.5)

            def forward(self, x, *, by=1.0):
                return x * self.scale + self.shift

        return Scale()

    mine = module(flame, LazyModuleMixin)
    his = module(torch, torch.nn.modules.lazy.LazyModuleMixin)
    y, z = mine(flame.ones(2, 3), by=2.0), his(torch.ones(2, 3), by=2.0)
    assert y.tolist() == z.tolist()
    assert [name for name, _ in mine.named_parameters()] == ["scale"] and mine.scale.requires_grad
    assert list(mine.state_dict()) == list(his.state_dict()) == ["scale", "shift"]


def test_nothing_but_its_kind_is_known_before():
    layer = nn.LazyLinear(3)
    for use in (
        lambda: layer.weight.shape, lambda: layer.weight + 1, lambda: layer.weight.numpy(),
        lambda: flame.optim.SGD(layer.parameters(), lr=0.1), lambda: layer.weight.numel(), lambda: len(layer.bias),
    ):  # fmt: skip
        with pytest.raises(StateError, match="shape is not known yet"):
            use()
    assert layer.weight.requires_grad and layer.weight.dtype is flame.float32 and layer.weight.grad is None
    assert layer.half().weight.dtype is flame.float16 and repr(layer.weight) == "<UninitializedParameter>"
    layer.requires_grad_(False)
    layer.float()(flame.ones(1, 2))
    assert not layer.weight.requires_grad and layer.weight.shape == (3, 2)
    with pytest.raises(ShapeError, match="needs 3-d or 4-d input"):
        nn.LazyConv2d(2, 1)(flame.ones(3))
    with pytest.raises(TypeError):
        nn.LazyLinear()
