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


def stepped_once(param):
    """One step of size 1 against a gradient of ones."""
    optimizer = optim.SGD([param], lr=1.0)
    param.grad = flame.ones(*param.shape)
    optimizer.step()


def test_what_was_made_of_a_parameter_keeps_its_value():
    start = np.arange(4, dtype=np.float32)
    param = nn.Parameter(start)
    made = {
        "detached": param.detach(),
        "realized": param.detach().realize(),
        "view": param.detach().reshape(2, 2),
        "clone": param.clone(),
        "twice": param * 2,
        "sum": param.exp().sum(),
    }
    stepped_once(param)
    assert param.detach().numpy().tolist() == (start - 1).tolist()
    expected = {"twice": start * 2, "sum": np.exp(start).sum()}
    for name, tensor in made.items():
        np.testing.assert_allclose(
            tensor.detach().numpy().reshape(-1), expected.get(name, start).reshape(-1), rtol=1e-6
        )


def test_a_reader_older_than_the_value_keeps_it():
    """Memory is handed on only when no node that anybody can still read has it."""
    flame.manual_seed(0)
    param = nn.Parameter(flame.rand(4))
    twice, view = param.detach() * 2, param.detach().reshape(2, 2)
    start = param.detach().numpy()
    stepped_once(param)
    np.testing.assert_allclose(twice.numpy(), 2 * start)
    np.testing.assert_allclose(view.numpy().reshape(-1), start)


def test_where_a_parameter_came_from_keeps_its_value():
    source = flame.tensor([1.0, 2.0])
    one, two, three = nn.Parameter(source), nn.Parameter(source), nn.Parameter(flame.zeros(2))
    flame.assign([(three, source)])
    for param in (one, two, three):
        stepped_once(param)
        assert param.detach().numpy().tolist() == [0.0, 1.0]
    assert source.numpy().tolist() == [1.0, 2.0]


def test_assignments_happen_at_once():
    a, b = flame.tensor([1.0]), flame.tensor([2.0])
    flame.assign([(a, b), (b, a)])
    assert (a.item(), b.item()) == (2.0, 1.0)


def test_parameters_as_each_others_gradients():
    a, b = nn.Parameter(flame.ones(2)), nn.Parameter(flame.ones(2) * 2)
    optimizer = optim.SGD([a, b], lr=0.5)
    a.grad, b.grad = b.detach(), a.detach()
    optimizer.step()
    assert (a.detach().numpy()[0], b.detach().numpy()[0]) == (0.0, 1.5)
    assert (a.grad.numpy()[0], b.grad.numpy()[0]) == (2.0, 1.0)


def test_half_precision_is_updated_in_float32():
    """β₂ = 0.999 is 1 in bfloat16: computed there, the variance would never change."""
    start, grads = rng.normal(size=8), [rng.normal(size=8) for _ in range(4)]
    param = flame.tensor(start.astype(np.float32)).bfloat16().requires_grad_()
    optimizer = optim.AdamW([param], lr=0.1)
    for g in grads:
        param.grad = flame.tensor(g.astype(np.float32)).bfloat16()
        optimizer.step()
    assert param.dtype is flame.bfloat16
    expected = np_adam(start, grads, 0.1, weight_decay=1e-2, decouple=True)
    np.testing.assert_allclose(param.detach().float().numpy(), expected, rtol=0.03, atol=0.03)


def test_a_thousand_steps_leave_memory_flat():
    import gc

    net = fresh_net()
    optimizer = optim.AdamW(net.parameters(), lr=1e-3)
    pool, seen = X.device.pool, []
    for _ in range(5):
        train(net, optimizer, 200)
        gc.collect()
        seen.append((pool.stats().in_use, pool.stats().reserved, flame.values.count(), flame.ir.node.alive()))
    assert seen[2:] == seen[1:2] * 3, seen  # the first round fills caches
