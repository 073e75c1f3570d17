"""Optimizers beside torch.optim: twenty steps of a model, and states that move over in both directions."""

import numpy as np
import pytest

import flame
from flame import nn
from flame.nn import functional as F

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity
rng = np.random.default_rng(0)
X, Y = rng.normal(size=(64, 6)).astype(np.float32), rng.integers(0, 3, 64)

CASES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.01, "maximize": True}),
    ("Adam", {"lr": 0.01}),
    ("Adam", {"lr": 0.01, "weight_decay": 0.1, "amsgrad": True}),
    ("AdamW", {"lr": 0.01}),
    ("AdamW", {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1, "amsgrad": True}),
    ("AdamW", {"lr": 0.001, "maximize": True}),
    ("Adamax", {"lr": 0.01}),
    ("Adamax", {"lr": 0.01, "weight_decay": 0.1, "betas": (0.8, 0.95), "maximize": True}),
    ("Adagrad", {"lr": 0.05}),
    ("Adagrad", {"lr": 0.05, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.2}),
    ("RMSprop", {"lr": 0.01}),
    ("RMSprop", {"lr": 0.005, "momentum": 0.9, "centered": True, "weight_decay": 0.1, "alpha": 0.9}),
    ("Adadelta", {"lr": 1.0}),
    ("Adadelta", {"lr": 0.5, "rho": 0.8, "weight_decay": 0.1}),
    ("NAdam", {"lr": 0.01}),
    ("NAdam", {"lr": 0.01, "weight_decay": 0.1, "momentum_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {"lr": 0.01}),
    ("RAdam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True, "betas": (0.8, 0.95)}),
    ("RAdam", {"lr": 0.01, "weight_decay": 0.1}),
    ("Rprop", {"lr": 0.01}),
    ("Rprop", {"lr": 0.02, "etas": (0.6, 1.1), "step_sizes": (1e-3, 0.03), "maximize": True}),
    ("ASGD", {"lr": 0.05}),
    ("ASGD", {"lr": 0.05, "lambd": 0.02, "alpha": 0.6, "t0": 4, "weight_decay": 0.1}),
    ("Adafactor", {"lr": 0.05}),
    ("Adafactor", {"lr": 0.05, "weight_decay": 0.1, "d": 1.5, "beta2_decay": -0.5, "eps": (1e-8, 1e-2)}),
]
NAMES = list(dict.fromkeys(name for name, _ in CASES))
ONE_EACH = [CASES[1], *[next(c for c in reversed(CASES) if c[0] == name) for name in NAMES[1:]]]


def model(n):
    return n.Sequential(n.Linear(6, 16), n.GELU(), n.LayerNorm(16), n.Linear(16, 3))


def pair(name, options):
    flame.manual_seed(1)
    ours, theirs = model(nn), model(torch.nn)
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()})
    return (
        ours,
        theirs,
        getattr(flame.optim, name)(ours.parameters(), **options),
        getattr(torch.optim, name)(theirs.parameters(), **options),
    )


def run(library, functional, net, optimizer, steps, start=0):
    losses = []
    for step in range(start, start + steps):
        at = slice(step * 8 % 64, step * 8 % 64 + 8)
        loss = functional.cross_entropy(net(library.tensor(X[at])), library.tensor(Y[at]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(("name", "options"), CASES)
def test_twenty_steps(name, options):
    ours, theirs, one, two = pair(name, options)
    left = run(flame, F, ours, one, 20)
    right = run(torch, torch.nn.functional, theirs, two, 20)
    np.testing.assert_allclose(left, right, rtol=2e-4, atol=2e-5)
    for (key, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters()):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-3, atol=2e-4, err_msg=key)


@pytest.mark.parametrize(("name", "options"), ONE_EACH)
def test_a_state_of_pytorch_continues_here(name, options):
    ours, theirs, one, two = pair(name, options)
    run(torch, torch.nn.functional, theirs, two, 5)
    ours.load_state_dict(theirs.state_dict())
    one.load_state_dict(two.state_dict())
    left = run(flame, F, ours, one, 5, 5)
    right = run(torch, torch.nn.functional, theirs, two, 5, 5)
    np.testing.assert_allclose(left, right, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(("name", "options"), ONE_EACH)
def test_a_state_of_ours_continues_there(name, options):
    ours, theirs, one, two = pair(name, options)
    run(flame, F, ours, one, 5)
    state = one.state_dict()
    moved = {
        number: {key: torch.tensor(value.numpy()) for key, value in values.items()}
        for number, values in state["state"].items()
    }
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()})
    two.load_state_dict({"state": moved, "param_groups": state["param_groups"]})
    left = run(flame, F, ours, one, 5, 5)
    right = run(torch, torch.nn.functional, theirs, two, 5, 5)
    np.testing.assert_allclose(left, right, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_defaults_are_pytorchs(name):
    ours, theirs = getattr(flame.optim, name), getattr(torch.optim, name)
    mine = ours(nn.Linear(1, 1).parameters()).state_dict()["param_groups"][0]
    his = theirs(torch.nn.Linear(1, 1).parameters()).state_dict()["param_groups"][0]
    assert mine == his
