"""Optimizers beside numpy's formulas, their state, and what a step costs."""

import math

import numpy as np
import pytest

import flame
from flame import compiler, nn, optim
from flame.errors import FlameError, ShapeError, StateError

rng = np.random.default_rng(2)


def np_sgd(p, grads, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, maximize=False):
    buffer = None
    for g in grads:
        g = -g if maximize else g
        g = g + weight_decay * p
        if momentum:
            buffer = g if buffer is None else momentum * buffer + (1 - dampening) * g
            g = g + momentum * buffer if nesterov else buffer
        p = p - lr * g
    return p


def np_adam(
    p, grads, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False, maximize=False, decouple=False
):
    m = v = most = np.zeros_like(p)
    for t, g in enumerate(grads, 1):
        g = -g if maximize else g
        p, g = (p * (1 - lr * weight_decay), g) if decouple else (p, g + weight_decay * p)
        m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g * g
        most = np.maximum(most, v)
        spread = np.sqrt(most if amsgrad else v) / math.sqrt(1 - betas[1] ** t) + eps
        p = p - lr / (1 - betas[0] ** t) * m / spread
    return p


def stepped(make, start, grads, dtype="float64"):
    param = flame.tensor(start.astype(dtype), requires_grad=True)
    optimizer = make([param])
    for g in grads:
        param.grad = flame.tensor(g.astype(dtype))
        optimizer.step()
    return param.detach().numpy()


SGD = [
    {"lr": 0.1},
    {"lr": 0.1, "momentum": 0.9},
    {"lr": 0.1, "momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1},
    {"lr": 0.1, "momentum": 0.9, "nesterov": True, "maximize": True},
]
ADAM = [
    {"lr": 0.1},
    {"lr": 0.1, "betas": (0.5, 0.7), "eps": 1e-3, "weight_decay": 0.1},
    {"lr": 0.1, "amsgrad": True, "maximize": True},
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("make", "reference", "options"),
    [
        *((optim.SGD, np_sgd, o) for o in SGD),
        *((optim.Adam, np_adam, o) for o in ADAM),
        *((optim.AdamW, lambda *a, **k: np_adam(*a, decouple=True, **{"weight_decay": 1e-2, **k}), o) for o in ADAM),
    ],
)
def test_five_steps_are_the_formulas(make, reference, options, dtype):
    start, grads = rng.normal(size=(3, 4)), [rng.normal(size=(3, 4)) for _ in range(5)]
    expected = reference(start, grads, **options)
    result = stepped(lambda params: make(params, **options), start, grads, dtype)
    tolerance = 1e-12 if dtype == "float64" else 2e-6
    np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance)


def fresh_net():
    flame.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 1))


X = flame.tensor(rng.normal(size=(32, 4)).astype(np.float32))
Y = flame.tensor(rng.normal(size=(32, 1)).astype(np.float32))


def train(net, optimizer, steps):
    losses = []
    for _ in range(steps):
        loss = nn.functional.mse_loss(net(X), Y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.SGD(p, lr=0.1),
        lambda p: optim.SGD(p, lr=0.05, momentum=0.9),
        lambda p: optim.Adam(p, lr=1e-2),
        lambda p: optim.AdamW(p, lr=1e-2),
    ],
)
def test_a_model_learns(make):
    net = fresh_net()
    losses = train(net, make(net.parameters()), 30)
    assert losses[-1] < 0.7 * losses[0]


def test_new_learning_rates_compile_nothing():
    net = fresh_net()
    optimizer = optim.AdamW(net.parameters(), lr=1e-2)
    train(net, optimizer, 3)
    seen = []
    compiler.listeners.append(seen.append)
    try:
        for step in range(5):
            optimizer.param_groups[0]["lr"] = 1e-3 * (step + 1)
            optimizer.param_groups[0]["betas"] = (0.8 + 0.01 * step, 0.99)
            train(net, optimizer, 1)
    finally:
        compiler.listeners.remove(seen.append)
    assert not seen


@pytest.mark.parametrize("make", [lambda p: optim.AdamW(p, lr=1e-2), lambda p: optim.SGD(p, lr=0.05, momentum=0.9)])
def test_training_resumes_from_a_state(make):
    net = fresh_net()
    optimizer = make(net.parameters())
    train(net, optimizer, 3)
    weights, state = net.state_dict(), optimizer.state_dict()
    expected = train(net, optimizer, 3)
    other = fresh_net()
    resumed = make(other.parameters())
    other.load_state_dict(weights)
    resumed.load_state_dict(state)
    np.testing.assert_allclose(train(other, resumed, 3), expected, rtol=1e-6)


def test_a_state_has_pytorchs_layout():
    net = nn.Linear(2, 1)
    optimizer = optim.AdamW(net.parameters(), lr=1e-2)
    net(flame.ones(1, 2)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    assert sorted(state) == ["param_groups", "state"]
    assert sorted(state["state"][0]) == ["exp_avg", "exp_avg_sq", "step"]
    assert state["state"][0]["step"].item() == 1.0
    assert state["state"][1]["exp_avg"].shape == (1,)
    group = state["param_groups"][0]
    assert group["params"] == [0, 1]
    assert (group["lr"], group["betas"], group["weight_decay"]) == (1e-2, (0.9, 0.999), 1e-2)


def test_a_state_that_does_not_fit_is_refused():
    one, two = optim.Adam(nn.Linear(2, 1).parameters()), optim.Adam(nn.Linear(2, 1, bias=False).parameters())
    with pytest.raises(StateError, match=r"groups of \[2\] parameters, the optimizer of \[1\]"):
        two.load_state_dict(one.state_dict())
    state = two.state_dict()
    state["state"][0] = {"step": 1.0, "exp_avg": np.zeros((2, 2)), "exp_avg_sq": np.zeros((1, 2))}
    with pytest.raises(StateError, match=r"exp_avg has shape \(2, 2\), its parameter \(1, 2\)"):
        two.load_state_dict(state)


def test_groups_have_options_of_their_own():
    a, b = (flame.ones(2, requires_grad=True) for _ in range(2))
    optimizer = optim.SGD([{"params": [a]}, {"params": b, "lr": 1.0}], lr=0.5)
    (a.sum() + b.sum()).backward()
    optimizer.step()
    assert a.detach().numpy().tolist() == [0.5, 0.5]
    assert b.detach().numpy().tolist() == [0.0, 0.0]
    c = flame.ones(1, requires_grad=True)
    optimizer.add_param_group({"params": [c], "lr": 0.25})
    optimizer.zero_grad()
    c.sum().backward()
    optimizer.step()
    assert c.item() == 0.75
    assert a.detach().numpy().tolist() == [0.5, 0.5]
    with pytest.raises(FlameError, match="given twice"):
        optimizer.add_param_group({"params": [a]})


def test_parameters_without_a_gradient_stay():
    a, b = (flame.ones(2, requires_grad=True) for _ in range(2))
    optimizer = optim.AdamW([a, b], lr=0.5)
    a.sum().backward()
    optimizer.step()
    assert b.detach().numpy().tolist() == [1.0, 1.0]
    assert list(optimizer.state_dict()["state"]) == [0]


def test_a_gradient_may_be_edited():
    w = flame.ones(3, requires_grad=True)
    optimizer = optim.SGD([w], lr=1.0)
    (w * w).sum().backward()
    w.grad = w.grad.clamp(max=0.5)
    optimizer.step()
    assert w.detach().numpy().tolist() == [0.5, 0.5, 0.5]


def test_a_closure_computes_the_loss():
    w = flame.ones(1, requires_grad=True)
    optimizer = optim.SGD([w], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 1.0
    assert w.item() == 0.0


def test_wrong_use_is_explained():
    w = flame.ones(2, requires_grad=True)
    with pytest.raises(FlameError, match="lr is -1"):
        optim.SGD([w], lr=-1)
    with pytest.raises(FlameError, match=r"betas\[1\] is 1.0, but must be at least 0.0 and below 1.0"):
        optim.AdamW([w], betas=(0.9, 1.0))
    with pytest.raises(FlameError, match="nesterov needs momentum"):
        optim.SGD([w], nesterov=True)
    with pytest.raises(FlameError, match=r"give a list of parameters"):
        optim.SGD(w)
    with pytest.raises(FlameError, match=r"give a list of parameters"):
        optim.SGD([])
    with pytest.raises(FlameError, match="tensors only, not a str"):
        optim.SGD(["w"])
    optimizer = optim.SGD([w], lr=1.0)
    with pytest.raises((ShapeError, FlameError), match="shape"):
        w.grad = flame.ones(3)
        optimizer.step()
    assert "lr: 1.0" in repr(optimizer)
