"""The usual training loop in all its forms gives the same numbers and runs each product of the forward pass once."""

from collections import Counter

import numpy as np
import pytest

import flame
from flame import nn, optim
from flame.nn import functional as F
from flame.runtime.execute import Executable

rng = np.random.default_rng(4)
X = rng.normal(size=(3, 16, 8)).astype(np.float32)
Y = rng.integers(0, 4, (3, 16))
STEPS = 6
PRODUCTS = 3 + 5  # forward; backward: two a layer, but the first layer's input needs no gradient


@pytest.fixture
def calls(monkeypatch):
    """Library calls by routine, counted as they run."""
    seen = Counter()
    run = Executable.run

    def counted(self, *args, **kwargs):
        seen.update(step.routine for step in self.plan.steps if hasattr(step, "routine"))
        return run(self, *args, **kwargs)

    monkeypatch.setattr(Executable, "run", counted)
    return seen


def setting():
    flame.manual_seed(5)
    net = nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 32), nn.LayerNorm(32), nn.SiLU(), nn.Linear(32, 4))
    return net, optim.AdamW(net.parameters(), lr=1e-2)


def batch(step):
    return flame.tensor(X[step % 3]), flame.tensor(Y[step % 3])


def plain(net, optimizer, step):
    x, y = batch(step)
    loss = F.cross_entropy(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


def item_before_backward(net, optimizer, step):
    x, y = batch(step)
    loss = F.cross_entropy(net(x), y)
    loss.item()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


def item_after_backward(net, optimizer, step):
    x, y = batch(step)
    loss = F.cross_entropy(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    loss.item()
    optimizer.step()
    return loss


def item_after_step(net, optimizer, step):
    loss = plain(net, optimizer, step)
    loss.item()
    return loss


def printed_activation(net, optimizer, step):
    x, y = batch(step)
    logits = net(x)
    repr(logits)
    loss = F.cross_entropy(logits, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


def one_gradient_read(net, optimizer, step):
    x, y = batch(step)
    loss = F.cross_entropy(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    net[2].weight.grad.numpy()
    optimizer.step()
    return loss


def all_gradients_read(net, optimizer, step):
    x, y = batch(step)
    loss = F.cross_entropy(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    for param in net.parameters():
        param.grad.realize()
    optimizer.step()
    return loss


def accumulated(net, optimizer, step):
    x, y = batch(step)
    optimizer.zero_grad()
    halves = [F.cross_entropy(net(x[i : i + 8]), y[i : i + 8]) * 0.5 for i in (0, 8)]
    for half in halves:
        half.backward()
    optimizer.step()
    return halves[0] + halves[1]


FORMS = {
    f.__name__: f
    for f in (
        plain, item_before_backward, item_after_backward, item_after_step, printed_activation, one_gradient_read,
        all_gradients_read, accumulated,
    )
}  # fmt: skip


@pytest.fixture(scope="module")
def expected():
    net, optimizer = setting()
    return [plain(net, optimizer, step).item() for step in range(STEPS)]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_trains_alike(form, expected):
    net, optimizer = setting()
    losses = [FORMS[form](net, optimizer, step).item() for step in range(STEPS)]
    np.testing.assert_allclose(losses, expected, rtol=2e-5)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_runs_each_product_once(form, calls):
    net, optimizer = setting()
    for step in range(STEPS):
        before = calls.total()
        FORMS[form](net, optimizer, step).item()
        times = 2 if form == "accumulated" else 1
        assert calls.total() - before == times * PRODUCTS, f"step {step}: {calls}"


def test_losses_summed_over_steps_are_right():
    net, optimizer = setting()
    total = flame.zeros(())
    for step in range(STEPS):
        total = total + plain(net, optimizer, step).detach()
    other, optimizer = setting()
    np.testing.assert_allclose(total.item(), sum(plain(other, optimizer, s).item() for s in range(STEPS)), rtol=1e-5)
