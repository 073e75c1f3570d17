"""Optimizers that PyTorch has not, averages of weights, and memory of quantised moments."""

import numpy as np
import pytest

import flame
from flame import nn, optim
from flame.errors import FlameError
from flame.optim.swa_utils import EMA, AveragedModel, get_ema_avg_fn

rng = np.random.default_rng(5)


def stepped(make, start, grads):
    param = flame.tensor(start, requires_grad=True)
    optimizer = make([param])
    for g in grads:
        param.grad = flame.tensor(g)
        optimizer.step()
    return param.detach().numpy(), optimizer


def test_lion_is_its_formula():
    p, grads = rng.normal(size=(4, 5)), [rng.normal(size=(4, 5)) for _ in range(6)]
    found, _ = stepped(lambda ps: optim.Lion(ps, lr=0.01, betas=(0.8, 0.9), weight_decay=0.1), p, grads)
    m = np.zeros_like(p)
    for g in grads:
        u = np.sign(0.8 * m + 0.2 * g)
        m = 0.9 * m + 0.1 * g
        p = p * (1 - 0.01 * 0.1) - 0.01 * u
    np.testing.assert_allclose(found, p, rtol=1e-12)


def test_lamb_is_its_formula():
    p, grads = rng.normal(size=(4, 5)), [rng.normal(size=(4, 5)) for _ in range(6)]
    found, _ = stepped(lambda ps: optim.LAMB(ps, lr=0.01, weight_decay=0.1), p, grads)
    m = v = np.zeros_like(p)
    for t, g in enumerate(grads, 1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        u = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-6) + 0.1 * p
        p = p - 0.01 * np.linalg.norm(p) / np.linalg.norm(u) * u
    np.testing.assert_allclose(found, p, rtol=1e-10)


def test_lamb_takes_a_plain_step_from_zero():
    found, _ = stepped(lambda ps: optim.LAMB(ps, lr=0.5, weight_decay=0.0), np.zeros(3), [np.ones(3)])
    np.testing.assert_allclose(found, -0.5, rtol=1e-5)


@pytest.mark.parametrize("size", [4096, 70 * 70])
def test_quantised_moments_follow_adamw(size):
    start = rng.normal(size=size).astype(np.float32)
    grads = [(rng.normal(size=size) * 10.0 ** rng.uniform(-4, 0, size)).astype(np.float32) for _ in range(12)]
    exact, _ = stepped(lambda ps: optim.AdamW(ps, lr=1e-2), start, grads)
    found, optimizer = stepped(lambda ps: optim.AdamW8bit(ps, lr=1e-2), start, grads)
    moved = exact - start
    assert np.linalg.norm(found - exact) < 0.05 * np.linalg.norm(moved)
    state = next(iter(optimizer.state.values()))
    nbytes = sum(t.numel() * t.dtype.size for t in state.values() if isinstance(t, flame.Tensor))
    assert nbytes < 2.1 * size + 2 * 256 and state["exp_avg_code"].dtype is flame.int8


def test_small_parameters_keep_whole_moments():
    start, grads = rng.normal(size=300), [rng.normal(size=300) for _ in range(3)]
    exact, _ = stepped(lambda ps: optim.AdamW(ps, lr=1e-2), start, grads)
    found, _ = stepped(lambda ps: optim.AdamW8bit(ps, lr=1e-2), start, grads)
    np.testing.assert_array_equal(found, exact)


@pytest.mark.parametrize("name", ["Lion", "LAMB", "AdamW8bit", "Adafactor", "NAdam"])
def test_a_state_resumes(name):
    start, grads = rng.normal(size=(64, 80)), [rng.normal(size=(64, 80)) for _ in range(6)]
    make = lambda ps: getattr(optim, name)(ps, lr=1e-2)  # noqa: E731
    whole, _ = stepped(make, start, grads)
    half, first = stepped(make, start, grads[:3])
    param = flame.tensor(half, requires_grad=True)
    second = make([param])
    second.load_state_dict(first.state_dict())
    for g in grads[3:]:
        param.grad = flame.tensor(g)
        second.step()
    np.testing.assert_array_equal(param.detach().numpy(), whole)


def test_a_wrong_state_is_refused():
    _, first = stepped(lambda ps: optim.Adafactor(ps), np.ones((3, 4)), [np.ones((3, 4))])
    other = optim.Adafactor([flame.ones(4, 3).requires_grad_()])
    with pytest.raises(FlameError, match=r"row_var has shape \(3, 1\).*needs \(4, 1\)"):
        other.load_state_dict(first.state_dict())


# --- averages ---------------------------------------------------------------------------------------------------------
def test_averaged_model_is_the_mean_of_all_weights():
    net = nn.Linear(3, 2)
    average = AveragedModel(net)
    seen = []
    for i in range(4):
        with flame.no_grad():
            net.weight.copy_(flame.full((2, 3), float(i)))
        seen.append(net.weight.numpy())
        average.update_parameters(net)
    np.testing.assert_allclose(average.module.weight.detach().numpy(), np.mean(seen, 0), rtol=1e-6)
    assert average(flame.ones(1, 3)).shape == (1, 2)


def test_ema_of_a_model_and_of_parameters():
    net = nn.Linear(3, 2)
    model, ema = AveragedModel(net, avg_fn=get_ema_avg_fn(0.9)), EMA(net.parameters(), 0.9)
    first = net.weight.numpy()
    model.update_parameters(net)
    with flame.no_grad():
        net.weight.add_(1.0)
    model.update_parameters(net)
    ema.update()
    wanted = first * 0.9 + (first + 1) * 0.1
    np.testing.assert_allclose(model.module.weight.detach().numpy(), wanted, rtol=1e-6)
    with ema.average():
        np.testing.assert_allclose(net.weight.detach().numpy(), wanted, rtol=1e-6)
    np.testing.assert_allclose(net.weight.detach().numpy(), first + 1, rtol=1e-6)
    other = EMA(nn.Linear(3, 2).parameters())
    other.load_state_dict(ema.state_dict())
    np.testing.assert_allclose(other.shadow[0].numpy(), wanted, rtol=1e-6)
    with pytest.raises(FlameError, match="decay is 2"):
        get_ema_avg_fn(2)


EVERY = {
    "SGD": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "AdamW": lambda p: optim.AdamW(p, lr=0.1),
    "Adam, maximize": lambda p: optim.Adam(p, lr=0.1, amsgrad=True, maximize=True),
    "RAdam": lambda p: optim.RAdam(p, lr=0.1, betas=(0.9, 0.9)),  # takes another way from some step on
    "NAdam": lambda p: optim.NAdam(p, lr=0.1),
    "LAMB": lambda p: optim.LAMB(p, lr=0.1),
    "Rprop": lambda p: optim.Rprop(p, lr=0.1),
    "ASGD": lambda p: optim.ASGD(p, lr=0.1),
    "Adafactor": lambda p: optim.Adafactor(p, lr=0.1),
    "AdamW8bit": lambda p: optim.AdamW8bit(p, lr=0.1),
    "rounded by chance": lambda p: optim.AdamW(p, lr=0.1, stochastic_rounding=True),
    "masters": lambda p: optim.AdamW(p, lr=0.1, master_weights=True),
}


def train(make, seed: int, steps: int = 8):
    """Parameters of shapes that repeat, in two groups; gradients pending, clipped, missing; a changing rate."""
    draw = np.random.default_rng(seed)
    flame.manual_seed(seed)
    shapes = [(3, 4), (5,), (3, 4), (), (5,), (70, 70), (2, 6)]
    kinds = [flame.float32, flame.bfloat16, flame.float32, flame.float32, flame.float32, flame.float32, flame.bfloat16]
    params = [
        flame.tensor(draw.standard_normal(s).astype(np.float32)).to(k).detach().requires_grad_()
        for s, k in zip(shapes, kinds, strict=True)
    ]
    optimizer = make([{"params": params[:3]}, {"params": params[3:], "lr": 0.05}])
    for step in range(steps):
        for i, p in enumerate(params):
            noise = flame.tensor(draw.standard_normal(p.shape).astype(np.float32)).to(p.dtype)
            p.grad = None if step == 2 and i == 1 else (noise * p.detach()) if step % 2 else noise
        if step % 3 == 1:
            nn.utils.clip_grad_norm_(params, 0.5)
        optimizer.param_groups[0]["lr"] = 0.1 / (1 + step)
        optimizer.step()
    return [p.detach().float().numpy() for p in params]


@pytest.mark.parametrize("name", EVERY)
def test_a_step_found_by_recipes_is_the_step_that_is_built(name, monkeypatch):
    found = train(EVERY[name], 4)
    monkeypatch.setattr(optim.Optimizer, "_steps", lambda self, due, numbers: [])
    for a, b in zip(found, train(EVERY[name], 4), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_step_traces_one_parameter_of_each_shape(monkeypatch):
    params = [flame.tensor(np.ones(s, np.float32), requires_grad=True) for s in [(4,), (6,)] * 20]
    optimizer, update, traced = optim.AdamW(params, lr=0.1), optim.AdamW.update, []

    def counted(self, group, state, param, grad, number):
        traced.append(param.shape)
        return update(self, group, state, param, grad, number)

    monkeypatch.setattr(optim.AdamW, "update", counted)
    for _ in range(2):
        for p in params:
            p.grad = flame.ones(p.shape)
        optimizer.step()
    assert traced == [(4,), (6,)] * 2
