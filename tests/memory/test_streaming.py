"""Arguments and parameters of blocks on the host: the same numbers, in less memory of the device."""

import gc

import numpy as np
import pytest

import flame
from flame import nn, optim, values
from flame.errors import OutOfMemoryError
from flame.memory import offload_modules, streaming
from flame.runtime import devices
from flame.tensor import is_away
from flame.utils.checkpoint import apply_checkpointing, remove_checkpointing

pytestmark = pytest.mark.filterwarnings("error")
WIDTH, LAYERS = 32, 6


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.wide = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 2 * WIDTH)
        self.narrow, self.drop = nn.Linear(2 * WIDTH, WIDTH), nn.Dropout(0.2)

    def forward(self, x, *, scale):
        return x + self.drop(self.narrow(flame.gelu(self.wide(self.norm(x))))) * scale, None


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside = nn.Linear(WIDTH, WIDTH)
        self.blocks = nn.ModuleList([Block() for _ in range(LAYERS)])

    def forward(self, x):
        x = self.inside(x)
        for block in self.blocks:
            x, _ = block(x, scale=0.5)
        return x


def made(rows=16):
    flame.manual_seed(0)
    model = Net()
    flame.realize(*model.parameters())
    return model, flame.randn(rows, WIDTH).realize()


def train(model, x, optimizer, steps=3, read_first=False):
    flame.manual_seed(4)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(x).logsumexp(-1).mean()
        if read_first:
            loss.item()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("parameters", [False, True])
@pytest.mark.parametrize("read_first", [False, True])
def test_the_same_numbers_to_the_bit(parameters, read_first):
    (plain, x), (other, _) = made(), made()
    offload_modules(other, parameters=parameters)
    first, second = optim.AdamW(plain.parameters()), optim.AdamW(other.parameters())
    if parameters:
        optim.offload(second, "20KiB")
    with flame.config(fuse=False):
        assert train(other, x, second, read_first=read_first) == train(plain, x, first)
    for p, q in zip(plain.parameters(), other.parameters()):
        np.testing.assert_array_equal(p.numpy(), q.numpy())


def step(model, x, read_first=True):
    model.zero_grad()
    loss = model(x).logsumexp(-1).mean()
    if read_first:
        loss.item()
    loss.backward()
    flame.realize(*[p.grad for p in model.parameters()])
    found = [p.grad.numpy() for p in model.parameters()]
    model.zero_grad()
    return found


@pytest.mark.parametrize("read_first", [False, True])
def test_arguments_are_not_in_the_devices_memory(read_first):
    """Each block's argument is as large as its interior is small: checkpoints keep all of them, streams none."""
    model, x = made(rows=2048)
    pool = devices.get("cpu").pool
    peaks = {}
    for name in ("checkpointed", "streamed"):
        remove_checkpointing(model)
        (apply_checkpointing if name == "checkpointed" else offload_modules)(model)
        gc.collect()
        pool.reset_peak()
        before = pool.stats().in_use
        step(model, x, read_first)
        peaks[name] = pool.stats().peak - before
    value = 2048 * WIDTH * 4
    assert peaks["streamed"] <= peaks["checkpointed"] - (LAYERS - 3) * value


def test_parameters_wait_on_the_host_between():
    model, x = made()
    names = offload_modules(model, parameters=True)
    assert names == [f"blocks.{i}" for i in range(LAYERS)]
    streamed = list(model.blocks.parameters())
    assert all(is_away(p) for p in streamed)
    optimizer = optim.offload(optim.AdamW(model.parameters()), "20KiB")
    for _ in range(2):
        train(model, x, optimizer, 1)
        assert all(is_away(p) for p in streamed)
    with flame.no_grad():
        model(x).numpy()
    assert all(is_away(p) for p in streamed)
    assert not is_away(model.inside.weight)
    weight = model.blocks[0].wide.weight.numpy()
    assert weight.shape == (2 * WIDTH, WIDTH)


def test_a_model_that_exceeds_the_limit_trains():
    """Weights, gradients and AdamW's state are four times the weights; the limit has room for about two."""
    pool = devices.get("cpu").pool
    for streamed in (False, True):
        model, x = made()
        weights = sum(p.numel() * 4 for p in model.parameters())
        if streamed:
            offload_modules(model, parameters=True)
        optimizer = optim.AdamW(model.parameters())
        if streamed:
            optim.offload(optimizer, "8KiB")
        gc.collect()
        pool.trim()
        outside = pool.stats().in_use - (0 if streamed else weights)
        with flame.config(memory_limit=outside + int(2.5 * weights)):
            if not streamed:
                with pytest.raises(OutOfMemoryError):
                    train(model, x, optimizer, 2)
            else:
                assert np.isfinite(train(model, x, optimizer, 2)).all()
        del model, optimizer


def test_what_the_next_block_needs_comes_back_beside_the_work_of_this_one(monkeypatch):
    model, x = made()
    offload_modules(model, parameters=True)
    loss = model(x).logsumexp(-1).mean()
    loss.item()
    events: list[str] = []
    spy(monkeypatch, streaming, "ask_for", events)
    spy(monkeypatch, streaming, "realize", events)
    spy(monkeypatch, values, "_fetched", events)
    loss.backward()
    blocks = "".join({"ask_for": "a", "_fetched": "f", "realize": "|"}[e] for e in events).split("|")
    needed = len(list(model.blocks[0].parameters())) + 1  # and the argument
    first, *others, last = blocks[: LAYERS + 1]
    assert first == "f" * needed + "af" * needed  # the last block's own, then what the one before it needs
    assert all(set(part) <= {"a", "f"} and part.count("a") == part.count("f") for part in others)  # nobody else waits
    assert "a" not in blocks[LAYERS - 1] and "f" not in last


def test_where_memory_ends_nothing_is_asked_for_ahead(monkeypatch):
    model, x = made()
    expected = slope(model, x.requires_grad_())
    offload_modules(model)

    def refused(node):
        raise OutOfMemoryError("no room for what comes later")

    monkeypatch.setattr(streaming, "ask_for", refused)
    np.testing.assert_allclose(slope(model, x), expected, rtol=1e-3, atol=1e-7)


def spy(monkeypatch, module, name, events):
    real = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *args: events.append(name) or real(*args))


def test_second_derivatives_and_frozen_models_go_through():
    model, x = made(4)
    x.requires_grad_()
    plain = slope(model, x)
    offload_modules(model, parameters=True)
    np.testing.assert_allclose(slope(model, x), plain, rtol=1e-3, atol=1e-7)
    model.requires_grad_(False)
    model.eval()
    assert not model(x.detach()).requires_grad


def slope(model, x):
    flame.manual_seed(1)
    (g,) = flame.autograd.grad(model(x).square().sum(), x, create_graph=True)
    return flame.autograd.grad((g * g).sum(), x)[0].numpy()
