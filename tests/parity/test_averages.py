"""torch.optim.swa_utils beside PyTorch's: averaged models and their states, SWALR, update_bn."""

import numpy as np
import pytest

import flame
from flame import nn
from flame.errors import FlameError
from tests.surface.sides import interpreted

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore:Detected call:UserWarning")]
X = np.random.default_rng(0).normal(size=(6, 8, 3)).astype(np.float32)


@pytest.fixture(autouse=True)
def by_the_oracle():
    with interpreted():
        yield


def net(n):
    return n.Sequential(n.Linear(3, 4), n.BatchNorm1d(4), n.Tanh(), n.Linear(4, 2))


def pair():
    ours, theirs = net(nn), net(torch.nn)
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()})
    return (flame, ours), (torch, theirs)


def close(mine, other):
    assert list(mine) == list(other)
    for key in mine:
        assert str(mine[key].dtype) == str(other[key].dtype).removeprefix("torch.")
        np.testing.assert_allclose(mine[key].numpy(), other[key].numpy(), rtol=1e-4, atol=1e-5, err_msg=key)


AVERAGES = {
    "swa": lambda utils: {},
    "swa of many": lambda utils: {"multi_avg_fn": utils.get_swa_multi_avg_fn()},
    "ema": lambda utils: {"avg_fn": utils.get_ema_avg_fn(0.8)},
    "ema of many, buffers": lambda utils: {"multi_avg_fn": utils.get_ema_multi_avg_fn(0.8), "use_buffers": True},
    "one's own": lambda utils: {"avg_fn": lambda average, value, count: 0.5 * average + 0.5 * value + count},
}


@pytest.mark.parametrize("options", AVERAGES.values(), ids=AVERAGES)
def test_an_averaged_model(options):
    states = []
    for library, model in pair():
        utils = library.optim.swa_utils
        average = utils.AveragedModel(model, **options(utils))
        optimizer = library.optim.SGD(model.parameters(), lr=0.01)
        scheduler = utils.SWALR(optimizer, swa_lr=0.1, anneal_epochs=3)
        for x in X[:4]:
            optimizer.zero_grad()
            model(library.tensor(x)).square().sum().backward()
            optimizer.step()
            average.update_parameters(model)
            scheduler.step()
        utils.update_bn([(library.tensor(x), 1) for x in X], average)
        assert average.training and average.module[1].momentum == 0.1
        states.append(average.state_dict())
    close(*states)
    assert states[0]["n_averaged"].item() == 4
    again = flame.optim.swa_utils.AveragedModel(net(nn))
    again.load_state_dict(states[1])
    close(again.state_dict(), states[1])


@pytest.mark.parametrize(
    "options", [{}, {"anneal_epochs": 4, "anneal_strategy": "linear"}, {"anneal_epochs": 0}], ids=str
)
@pytest.mark.parametrize("rate", [0.02, [0.02, 0.3]], ids=str)
def test_swalr(options, rate):
    found = []
    for library in (flame, torch):
        w, b = (library.nn.Parameter(library.ones(2)) for _ in range(2))
        optimizer = library.optim.SGD([{"params": [w]}, {"params": [b], "lr": 0.5}], lr=0.1)
        before = library.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        scheduler = library.optim.swa_utils.SWALR(optimizer, rate, **options)
        rates = []
        for step in range(15):
            (before if step < 3 else scheduler).step()
            rates.append([group["lr"] for group in optimizer.param_groups])
        found.append(rates)
    np.testing.assert_allclose(*found, rtol=1e-6)


def test_misuse():
    optimizer = flame.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    utils = flame.optim.swa_utils
    with pytest.raises(FlameError, match="anneal_strategy is 'exp'"):
        utils.SWALR(optimizer, 0.1, anneal_strategy="exp")
    with pytest.raises(FlameError, match="anneal_epochs is -1"):
        utils.SWALR(optimizer, 0.1, -1)
    with pytest.raises(FlameError, match="two ways to average"):
        utils.AveragedModel(nn.Linear(2, 2), avg_fn=utils.get_swa_avg_fn(), multi_avg_fn=utils.get_swa_multi_avg_fn())
