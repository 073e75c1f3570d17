"""GradScaler beside PyTorch's, steps that must be skipped, and how often anything is computed."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import flame
from flame import values
from flame.amp import GradScaler
from flame.errors import DTypeError, FlameError, StateError
from tests.surface.sides import interpreted, torch

BAD = {3: np.inf, 4: np.nan, 9: -np.inf}  # steps, and what comes into their gradients


@pytest.fixture(autouse=True)
def oracle() -> Iterator[None]:
    with interpreted():
        yield


def model_of(lib: Any) -> Any:
    model = lib.nn.Linear(3, 2)
    rng = np.random.default_rng(1)
    state = {k: rng.normal(size=tuple(v.shape)).astype(np.float32) for k, v in model.state_dict().items()}
    model.load_state_dict({k: lib.tensor(v) for k, v in state.items()})
    return model


def train(lib: Any, scaler: Any, optimizer: Any, model: Any, steps: range, clip: bool = False) -> list[Any]:
    """Scale, growth tracker and weights after each step."""
    out = []
    for step in steps:
        x = np.random.default_rng(step).normal(size=(4, 3)).astype(np.float32)
        x[0, 0] = BAD.get(step, x[0, 0])
        optimizer.zero_grad()
        scaler.scale(model(lib.tensor(x)).square().mean()).backward()
        if clip:
            scaler.unscale_(optimizer)
            lib.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        scaler.step(optimizer)
        scaler.update()
        out.append((scaler.get_scale(), scaler.state_dict()["_growth_tracker"], model.weight.detach().numpy().copy()))
    return out


def pair(clip: bool = False, **options: Any) -> tuple[list[Any], list[Any]]:
    found = []
    for lib in (flame, torch):
        model = model_of(lib)
        optimizer = lib.optim.AdamW(model.parameters(), lr=0.05)
        scaler = lib.amp.GradScaler("cpu", **options)
        found.append(train(lib, scaler, optimizer, model, range(14), clip))
    return found[0], found[1]


@pytest.mark.parametrize("clip", [False, True], ids=["plain", "clipped"])
def test_scales_and_weights_are_pytorchs(clip: bool):
    mine, other = pair(clip, init_scale=2.0**10, growth_interval=3, growth_factor=4.0, backoff_factor=0.25)
    for (scale, tracker, weight), (their_scale, their_tracker, their_weight) in zip(mine, other, strict=True):
        assert (scale, tracker) == (their_scale, their_tracker)
        np.testing.assert_allclose(weight, their_weight, rtol=2e-4, atol=2e-5)
    assert (mine[3][2] == mine[2][2]).all()
    assert (mine[4][2] == mine[2][2]).all()


def test_defaults_are_pytorchs():
    assert GradScaler("cpu").state_dict() == torch.amp.GradScaler("cpu").state_dict()


def test_a_scale_that_would_overflow_stays():
    mine, other = pair(init_scale=2.0**126, growth_interval=1)
    assert [m[0] for m in mine] == [o[0] for o in other]


def test_a_skipped_step_changes_nothing():
    model = model_of(flame)
    optimizer = flame.optim.AdamW(model.parameters(), amsgrad=True)
    scaler = GradScaler("cpu", init_scale=4.0)
    train(flame, scaler, optimizer, model, range(2))
    before = copy.deepcopy([model.state_dict(), optimizer.state_dict()])
    scale = scaler.get_scale()
    train(flame, scaler, optimizer, model, range(3, 4))
    after = [model.state_dict(), optimizer.state_dict()]
    assert scaler.get_scale() == scale / 2
    for (key, a), b in zip(before[0].items(), after[0].values(), strict=True):
        assert (a.numpy() == b.numpy()).all(), key
    assert before[1]["param_groups"] == after[1]["param_groups"]
    for number, state in before[1]["state"].items():
        for key, value in state.items():
            assert (value.numpy() == after[1]["state"][number][key].numpy()).all(), key
    train(flame, scaler, optimizer, model, range(5, 6))
    assert optimizer.state_dict()["state"][0]["step"].item() == 3


def test_gradients_and_the_decision_are_one_plan_and_the_update_another(monkeypatch: pytest.MonkeyPatch):
    plans: list[int] = []
    prepare = values.prepare

    def counted(roots: Any, *args: Any, **named: Any) -> Any:
        plans.append(len(roots))
        return prepare(roots, *args, **named)

    monkeypatch.setattr(values, "prepare", counted)
    model, scaler = model_of(flame), GradScaler("cpu")
    optimizer = flame.optim.SGD(model.parameters(), lr=0.1)
    silent = _Silent(model)
    for step, wanted in ((0, 2), (1, 2), (3, 1)):
        plans.clear()
        train(flame, scaler, optimizer, silent, range(step, step + 1), clip=step == 1)
        assert len(plans) == wanted, f"step {step}: {plans}"


class _Silent:
    """A model whose weights nobody looks at: reading them would be a plan of its own."""

    def __init__(self, model: Any):
        self.model, self.parameters = model, model.parameters
        self.weight = flame.zeros(1).realize()

    def __call__(self, x: Any) -> Any:
        return self.model(x)


def test_several_optimizers_skip_on_their_own():
    a, b = (flame.tensor([1.0], requires_grad=True) for _ in range(2))
    one, two = flame.optim.SGD([a], lr=0.5), flame.optim.SGD([b], lr=0.5)
    scaler = GradScaler("cpu", init_scale=8.0)
    scaler.scale((a * 2).sum() + (b * float("inf")).sum()).backward()
    scaler.step(one)
    scaler.step(two)
    scaler.update()
    assert (a.item(), b.item(), scaler.get_scale()) == (0.0, 1.0, 4.0)


def test_states_go_to_pytorch_and_come_back():
    mine, other = GradScaler("cpu", init_scale=64.0, growth_interval=5), torch.amp.GradScaler("cpu")
    model = model_of(flame)
    train(flame, mine, flame.optim.SGD(model.parameters()), model, range(3))
    other.load_state_dict(mine.state_dict())
    assert other.state_dict() == mine.state_dict()
    fresh = GradScaler("cpu")
    fresh.load_state_dict(other.state_dict())
    assert fresh.state_dict() == mine.state_dict()
    assert fresh.state_dict()["_growth_tracker"] == 3


def test_a_run_that_is_resumed_goes_on_as_if_it_were_not():
    options = {"init_scale": 256.0, "growth_interval": 2}
    model, scaler = model_of(flame), GradScaler("cpu", **options)
    optimizer = flame.optim.Adam(model.parameters(), lr=0.05)
    whole = train(flame, scaler, optimizer, model, range(12))
    model, scaler = model_of(flame), GradScaler("cpu", **options)
    optimizer = flame.optim.Adam(model.parameters(), lr=0.05)
    train(flame, scaler, optimizer, model, range(5))
    kept = copy.deepcopy([model.state_dict(), optimizer.state_dict(), scaler.state_dict()])
    model, scaler = model_of(flame), GradScaler("cpu")
    optimizer = flame.optim.Adam(model.parameters(), lr=0.05)
    for it, state in zip((model, optimizer, scaler), kept, strict=True):
        it.load_state_dict(state)
    rest = train(flame, scaler, optimizer, model, range(5, 12))
    for (s, t, w), (s2, t2, w2) in zip(whole[5:], rest, strict=True):
        assert (s, t) == (s2, t2)
        assert (w == w2).all()


def test_small_gradients_survive_float16_only_when_scaled():
    """A gradient of 1e-8 is 0 in float16."""
    for scaler, moves in ((GradScaler("cpu", enabled=False), False), (GradScaler("cpu"), True)):
        w = flame.ones(1, 1, requires_grad=True)
        optimizer = flame.optim.SGD([w], lr=1e6)
        with flame.autocast("cpu", flame.float16):
            y = flame.ones(1, 1) @ w
        scaler.scale((y.float() * 1e-8).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        assert (w.item() != 1.0) is moves


def test_half_gradients_are_unscaled_in_float32():
    w = flame.ones(1).bfloat16().requires_grad_()
    optimizer, scaler = flame.optim.SGD([w], lr=1.0), GradScaler("cpu", init_scale=3.0)
    scaler.scale((w * 2).sum()).backward()
    scaler.unscale_(optimizer)
    assert (w.grad.dtype, w.grad.item()) == (flame.bfloat16, 2.0)


def test_it_may_be_off():
    scaler = GradScaler("cpu", enabled=False)
    w = flame.ones(1, requires_grad=True)
    optimizer = flame.optim.SGD([w], lr=0.5)
    loss = (w * 2).sum()
    assert scaler.scale(loss) is loss
    loss.backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    scaler.load_state_dict({})
    assert (w.item(), scaler.get_scale(), scaler.state_dict(), scaler.is_enabled()) == (0.0, 1.0, {}, False)


def test_losses_may_come_in_a_list_and_scales_be_set():
    scaler = GradScaler("cpu", init_scale=2.0)
    assert [y.item() for y in scaler.scale([flame.tensor(1.0), flame.tensor(3.0)])] == [2.0, 6.0]
    assert scaler.scale(flame.tensor(1.0).half()).dtype is flame.float32
    scaler.update(16.0)
    scaler.set_growth_factor(3.0)
    scaler.set_backoff_factor(0.1)
    scaler.set_growth_interval(7)
    got = scaler.get_scale(), scaler.get_growth_factor(), scaler.get_backoff_factor(), scaler.get_growth_interval()
    assert got == (16.0, 3.0, 0.1, 7)


def test_misuse():
    w = flame.ones(1, requires_grad=True)
    optimizer, scaler = flame.optim.SGD([w], lr=0.5), GradScaler("cpu")
    with pytest.raises(StateError, match="no parameter"):
        scaler.step(optimizer)
    scaler = GradScaler("cpu")
    with pytest.raises(StateError, match="update"):
        scaler.update()
    scaler.scale((w * 2).sum()).backward()
    scaler.unscale_(optimizer)
    with pytest.raises(StateError, match="has been called"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    with pytest.raises(StateError, match="last update"):
        scaler.step(optimizer)
    with pytest.raises(StateError, match="after step"):
        scaler.unscale_(optimizer)
    with pytest.raises(FlameError, match="closure"):
        scaler.step(optimizer, lambda: None)
    with pytest.raises(DTypeError, match="str"):
        scaler.scale("loss")
    with pytest.raises(StateError, match="growth_interval"):
        scaler.load_state_dict({"scale": 2.0})
    for options in ({"growth_factor": 1.0}, {"backoff_factor": 1.0}):
        with pytest.raises(FlameError, match="factor"):
            GradScaler("cpu", **options)
    h = flame.ones(1).half().requires_grad_()
    (h * 2).sum().backward()
    with pytest.raises(DTypeError, match="float16"):
        GradScaler("cpu").unscale_(flame.optim.SGD([h]))
