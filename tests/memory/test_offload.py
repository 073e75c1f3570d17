"""An optimizer's state on the host: the same numbers, and never all of it on the device."""

import copy
import gc

import numpy as np
import pytest

import flame
from flame import nn, optim
from flame.errors import FlameError, OutOfMemoryError
from flame.runtime import devices
from flame.tensor import memory

pytestmark = pytest.mark.filterwarnings("error")
WIDTH, LAYERS = 64, 6
OPTIMIZERS = {
    "adamw": lambda params: optim.AdamW(params, lr=1e-2, amsgrad=True),
    "sgd": lambda params: optim.SGD(params, lr=1e-2, momentum=0.9, nesterov=True),
    "plain sgd": lambda params: optim.SGD(params, lr=1e-2),
    "nadam": lambda params: optim.NAdam(params, lr=1e-2),
    "adafactor": lambda params: optim.Adafactor(params, lr=1e-2),
    "8 bits": lambda params: optim.AdamW8bit(params, lr=1e-2),
}


def net():
    flame.manual_seed(0)
    model = nn.Sequential(*[nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)])
    flame.realize(*model.parameters())
    return model


def data():
    rng = np.random.default_rng(1)
    return [flame.tensor(rng.normal(size=(8, WIDTH)).astype(np.float32)) for _ in range(2)]


def train(model, optimizer, steps=3):
    x, y = data()
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def same(a, b, **tolerance):
    for p, q in zip(a.parameters(), b.parameters()):
        np.testing.assert_allclose(p.numpy(), q.numpy(), **tolerance)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("chunk", ["1", "40KiB", "1GiB"])
def test_the_same_numbers(name, chunk):
    made = OPTIMIZERS[name]
    plain, other = net(), net()
    with flame.config(fuse=False):  # to the bit: fusing the update with the gradients rounds elsewhere
        expected = train(plain, made(plain.parameters()))
        assert train(other, optim.offload(made(other.parameters()), chunk)) == expected
    folds = name == "adafactor"  # its folds are parted otherwise in a plan of their own
    same(plain, other, rtol=0, atol=1e-7 if folds else 0)


@pytest.mark.parametrize("half", [{"master_weights": True}, {}])
def test_half_precision_with_and_without_master_weights(half):
    found = []
    for offloaded in (False, True):
        model = net().bfloat16()
        optimizer = optim.AdamW(model.parameters(), lr=1e-3, **half)
        if offloaded:
            optim.offload(optimizer, "40KiB")
        x, y = (t.bfloat16() for t in data())
        with flame.config(fuse=False):
            for _ in range(3):
                optimizer.zero_grad()
                (model(x) - y).float().square().mean().backward()
                optimizer.step()
        state = next(iter(optimizer.state.values()))
        assert ("master" in state) == bool(half)
        found.append([p.float().numpy() for p in model.parameters()])
    for a, b in zip(*found):
        np.testing.assert_array_equal(a, b)


def test_fused_the_numbers_agree_as_floats_do():
    plain, other = net(), net()
    expected = train(plain, optim.AdamW(plain.parameters()))
    np.testing.assert_allclose(train(other, optim.offload(optim.AdamW(other.parameters()))), expected, rtol=1e-5)
    same(plain, other, rtol=1e-4, atol=1e-6)


def test_a_model_whose_state_exceeds_the_limit_trains():
    """The device has room for weights, gradients and a part of the state: with all of the state it has not."""
    expected = net()
    train(expected, optim.AdamW(expected.parameters()))
    del expected
    pool = devices.get("cpu").pool
    for offloaded in (False, True):
        model = net()
        optimizer = optim.AdamW(model.parameters())
        if offloaded:
            optim.offload(optimizer, "40KiB")
        weights = sum(p.numel() * 4 for p in model.parameters())
        gc.collect()
        pool.trim()
        limit = pool.stats().in_use + 2 * weights + weights  # gradients, all else: a half of the state
        pool.reset_peak()
        with flame.config(memory_limit=limit):
            if not offloaded:
                with pytest.raises(OutOfMemoryError):
                    train(model, optimizer)
                del model, optimizer
                continue
            train(model, optimizer)
        assert pool.stats().peak <= limit
        held = sum(t.numel() * 4 for s in optimizer.state.values() for t in s.values() if isinstance(t, flame.Tensor))
        assert held == 2 * weights
        assert pool.stats().in_use <= limit - 3 * weights + 2 * weights + 8 * 1024, "the state is not in the pool"


def test_state_that_is_there_already_moves_and_a_copy_of_it_stays_as_it_was():
    plain, other = net(), net()
    first, second = (optim.Adam(m.parameters()) for m in (plain, other))
    with flame.config(fuse=False):
        for model, optimizer in ((plain, first), (other, second)):
            train(model, optimizer, 2)
        optim.offload(second, "40KiB")
        saved = second.state_dict()
        before = {k: {n: copy.deepcopy(v.numpy()) for n, v in s.items()} for k, s in saved["state"].items()}
        assert train(plain, first, 2) == train(other, second, 2)
    for k, values in saved["state"].items():
        for name, value in values.items():
            np.testing.assert_array_equal(value.numpy(), before[k][name])
    same(plain, other, rtol=0)


def test_a_state_dict_goes_over_and_back():
    plain, other = net(), net()
    first, second = optim.Adam(plain.parameters()), optim.offload(optim.Adam(other.parameters()), "40KiB")
    with flame.config(fuse=False):
        train(plain, first, 2)
        other.load_state_dict(plain.state_dict())
        second.load_state_dict(first.state_dict())
        assert train(plain, first, 1) == train(other, second, 1)
        first.load_state_dict(second.state_dict())
        assert train(plain, first, 1) == train(other, second, 1)
    same(plain, other, rtol=0)


def test_a_step_that_fails_leaves_every_part_whole():
    model = net()
    optimizer = optim.offload(optim.Adam(model.parameters()), "40KiB")
    train(model, optimizer, 1)
    real, calls = optimizer.update, []

    def failing(*args):
        calls.append(1)
        if len(calls) > 5:
            raise RuntimeError("stop")
        return real(*args)

    optimizer.update = failing
    with pytest.raises(RuntimeError, match="stop"):
        train(model, optimizer, 1)
    optimizer.update = real
    states = list(optimizer.state.values())
    assert [s["step"] for s in states] == sorted((s["step"] for s in states), reverse=True)
    assert {s["step"] for s in states} == {1, 2}
    host = devices.get("cpu").host
    tensors = [t for s in states for t in s.values() if isinstance(t, flame.Tensor)]
    assert all(memory(t).pool is host for t in tensors)
    assert np.isfinite(train(model, optimizer, 2)).all()


def test_parameters_without_gradients_and_scheduled_rates():
    model = net()
    optimizer = optim.offload(optim.AdamW(model.parameters(), lr=0.1))
    scheduler = optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    model[0](data()[0]).sum().backward()
    optimizer.step()
    scheduler.step()
    assert len(optimizer.state) == 2
    optimizer.zero_grad()
    optimizer.step()
    assert optimizer.param_groups[0]["lr"] == 0.05


@pytest.mark.parametrize("chunk", ["0", "many", -1])
def test_a_wrong_chunk_is_refused(chunk):
    with pytest.raises(FlameError, match="chunk is"):
        optim.offload(optim.SGD(net().parameters()), chunk)
