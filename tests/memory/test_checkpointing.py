"""Checkpoints by module: the same gradients, dropout and running statistics included, and budgets that hold."""

import copy
import gc

import numpy as np
import pytest

import flame
from flame import nn
from flame.errors import FlameError, OutOfMemoryError
from flame.utils.checkpoint import (
    apply_checkpointing,
    checkpoint_module,
    create_selective_checkpoint_contexts,
    remove_checkpointing,
)

pytestmark = pytest.mark.filterwarnings("error")


class Block(nn.Module):
    def __init__(self, width, rate=0.1):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.drop = nn.Dropout(rate)

    def forward(self, x, scale=1.0):
        return x + self.drop(self.narrow(flame.gelu(self.wide(self.norm(x))))) * scale


class Net(nn.Module):
    def __init__(self, layers=4, width=8, rate=0.1):
        super().__init__()
        self.inside = nn.Linear(width, width)
        self.blocks = nn.ModuleList([Block(width, rate) for _ in range(layers)])
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 3))

    def forward(self, x):
        x = self.inside(x)
        for block in self.blocks:
            x = block(x, scale=0.5)
        return self.head(x)


def total(output):
    return output.logsumexp(-1).mean()


def gradients(model, x, read_first=False):
    model.zero_grad()
    flame.manual_seed(5)
    loss = total(model(x))
    if read_first:
        loss.item()
    loss.backward()
    flame.realize(loss, *[p.grad for p in model.parameters()])
    return [loss.numpy(), *[p.grad.numpy() for p in model.parameters()]]


def made(layers=4, width=8, rows=16, rate=0.1):
    flame.manual_seed(0)
    model = Net(layers, width, rate)
    flame.realize(*model.parameters())
    return model, flame.randn(rows, width).realize()


def checkpointed(model):
    return [name for name, m in model.named_modules() if m._hooks is not None and m._hooks.around is not None]


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("read_first", [False, True])
def test_the_same_gradients_to_the_bit(read_first, fuse):
    model, x = made(rate=0.4)
    with flame.config(fuse=fuse):
        plain = gradients(model, x, read_first)
        assert apply_checkpointing(model) == [f"blocks.{i}" for i in range(4)]
        again = gradients(model, x, read_first)
        remove_checkpointing(model)
        assert checkpointed(model) == []
    for a, b in zip(plain, again):
        np.testing.assert_array_equal(a.view(np.int32), b.view(np.int32))
    assert max(np.abs(g).max() for g in plain) > 1e-3


def test_what_is_computed_between_is_not_kept():
    model, x = made(rows=512)
    kept = {}
    for name in ("plain", "checkpointed"):
        if name == "checkpointed":
            apply_checkpointing(model)
        gc.collect()
        before = flame.memory_allocated("cpu")
        loss = total(model(x))
        loss.item()
        kept[name] = flame.memory_allocated("cpu") - before
        del loss
    assert kept["checkpointed"] < 0.5 * kept["plain"]


def test_what_a_policy_of_operators_keeps_lies_between():
    model, x = made(rows=512)
    kept = {}
    for name, names in (("all", None), ("products", ["matmul"]), ("nothing", [])):
        remove_checkpointing(model)
        if names is not None:
            apply_checkpointing(model, context_fn=lambda: create_selective_checkpoint_contexts(names))  # noqa: B023
        gc.collect()
        before = flame.memory_allocated("cpu")
        loss = total(model(x))
        loss.item()
        kept[name] = flame.memory_allocated("cpu") - before
        del loss
    assert kept["nothing"] < kept["products"] <= kept["all"]


@pytest.mark.parametrize(
    ("policy", "names"),
    [
        (Block, ["blocks.0", "blocks.1", "blocks.2", "blocks.3"]),
        ([nn.Sequential, Block], ["blocks.0", "blocks.1", "blocks.2", "blocks.3", "head"]),
        (lambda name, module: name.startswith("blocks.") and name[-1] in "13", ["blocks.1", "blocks.3"]),
        (lambda name, module: name == "", [""]),
    ],
    ids=["class", "classes", "names", "all"],
)
def test_a_policy_chooses(policy, names):
    model, x = made(rate=0.0)
    keys = list(model.state_dict())
    plain = gradients(model, x)
    assert apply_checkpointing(model, policy) == names
    assert checkpointed(model) == names
    assert list(model.state_dict()) == keys
    for a, b in zip(plain, gradients(model, x)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7)


def test_blocks_are_found_from_the_outside_in():
    model = nn.Sequential(nn.Linear(4, 4), Net(3), nn.Sequential(nn.Linear(4, 4), nn.ReLU()))
    assert apply_checkpointing(model) == ["1.blocks.0", "1.blocks.1", "1.blocks.2", "2"]


def test_a_copy_is_checkpointed_with_its_own_weights():
    model, x = made(rate=0.0)
    apply_checkpointing(model)
    other = copy.deepcopy(model)
    assert checkpointed(other) == checkpointed(model)
    with flame.no_grad():
        for p in other.parameters():
            p.zero_()
    assert (other(x).numpy() == 0).all()
    assert not (model(x).numpy() == 0).all()


def test_hooks_run_once_around_a_checkpoint():
    layer, seen = nn.Linear(2, 2), []
    layer.register_forward_pre_hook(lambda module, args: seen.append("before"))
    layer.register_forward_hook(lambda module, args, output: output * 2)
    x = flame.ones(1, 2)
    plain = layer(x).numpy()
    checkpoint_module(layer)
    loss = layer(x)
    loss.sum().backward()
    np.testing.assert_array_equal(loss.numpy(), plain)
    assert seen == ["before", "before"]
    assert layer.weight.grad.tolist() == [[2.0, 2.0], [2.0, 2.0]]


def test_running_statistics_move_once():
    flame.manual_seed(0)
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)))
    x, twin = flame.randn(8, 4), copy.deepcopy(model)
    apply_checkpointing(model, lambda name, module: name == "0")
    for net in (model, twin):
        net(x).square().sum().backward()
        net[0][0].weight.grad.realize()
    np.testing.assert_array_equal(model[0][1].running_mean.numpy(), twin[0][1].running_mean.numpy())
    assert model[0][1].num_batches_tracked.item() == 1


# --- budgets ----------------------------------------------------------------------------------------------------------
def peak(model, x, read_first):
    model.zero_grad()
    gc.collect()
    flame.reset_peak("cpu")
    gradients(model, x, read_first)
    found = flame.max_memory_allocated("cpu")
    model.zero_grad()
    return found


def check_a_budget(model, x, share):
    """Both ways to a gradient peak below the budget, and one checkpoint fewer would not."""
    apply_checkpointing(model)
    least = max(peak(model, x, False), peak(model, x, True))
    remove_checkpointing(model)
    most = max(peak(model, x, False), peak(model, x, True))
    budget = int(least + share * (most - least))
    assert least < budget < most
    chosen = apply_checkpointing(model, budget=f"{budget}", sample=x, loss=total)
    assert 0 < len(chosen) <= len(model.blocks)
    assert max(peak(model, x, False), peak(model, x, True)) <= budget
    remove_checkpointing(model)
    if chosen[:-1]:
        apply_checkpointing(model, lambda name, module: name in chosen[:-1])
    assert max(peak(model, x, False), peak(model, x, True)) > budget


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_a_budget_is_met_with_as_few_checkpoints_as_it_takes(share):
    check_a_budget(*made(layers=5, rows=256), share)


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        layers = [nn.TransformerEncoderLayer(16, 2, 64, dropout=0.1, batch_first=True) for _ in range(24)]
        self.blocks, self.head = nn.ModuleList(layers), nn.Linear(16, 8)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x)


@pytest.mark.slow
def test_a_transformer_of_24_layers_meets_its_budget():
    flame.manual_seed(0)
    model, x = Transformer(), flame.randn(8, 64, 16).realize()
    flame.realize(*model.parameters())
    budget = 12 * 1024 * 1024
    assert peak(model, x, False) > budget
    chosen = apply_checkpointing(model, budget=budget, sample=(x,), loss=total)
    assert 0 < len(chosen) < 24
    for read_first in (False, True):
        assert peak(model, x, read_first) <= budget


def training_peak(model, x, optimizer):
    gc.collect()
    gc.collect()  # what tests before left behind is no part of this peak
    flame.reset_peak("cpu")
    for step in range(4):
        optimizer.zero_grad()
        loss = total(model(x))
        if step % 2:
            loss.item()
        loss.backward()
        optimizer.step()
    return flame.max_memory_allocated("cpu")


@pytest.mark.parametrize("offloaded", [False, True])
def test_with_an_optimizer_the_budget_is_that_of_its_steps(offloaded):
    peaks = []
    for share in (None, 0.0, 0.7):  # without checkpoints, with all of them, within a budget between
        model, x = made(layers=5, rows=128, width=16)
        optimizer = flame.optim.AdamW(model.parameters())
        if offloaded:
            flame.optim.offload(optimizer, "4KiB")
        if share == 0.0:
            apply_checkpointing(model)
        elif share:
            budget = sum(peaks) // 2
            chosen = apply_checkpointing(model, budget=budget, sample=x, loss=total, optimizer=optimizer)
            assert 0 < len(chosen) < 5
        peaks.append(training_peak(model, x, optimizer))
        del model, x, optimizer
    assert peaks[1] < peaks[2] <= budget < peaks[0]


def test_a_budget_that_is_wide_enough_costs_nothing():
    model, x = made(2)
    assert apply_checkpointing(model, budget="1GiB", sample={"x": x}) == []
    assert checkpointed(model) == []


def test_a_budget_that_cannot_be_met_changes_nothing_and_names_both_numbers():
    model, x = made(2, rows=256)
    checkpoint_module(model.blocks[1])
    with pytest.raises(OutOfMemoryError, match=r"peaks at [\d.]+ \w+, and at [\d.]+ \w+ with all 2 .* is 1.0 KiB"):
        apply_checkpointing(model, budget="1KiB", sample=x)
    assert checkpointed(model) == ["blocks.1"]


def test_measuring_leaves_no_trace():
    flame.manual_seed(0)
    model = nn.Sequential(*[nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)) for _ in range(2)])
    x = flame.randn(8, 4).realize()
    state, random = model.state_dict(), flame.get_rng_state().tolist()
    apply_checkpointing(model, budget="1GiB", sample=x)
    assert flame.get_rng_state().tolist() == random
    after = model.state_dict()
    for key in state:
        np.testing.assert_array_equal(after[key].numpy(), state[key].numpy())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"policy": nn.Conv2d}, "matches none"),
        ({"budget": "1GiB"}, "needs sample"),
        ({"budget": "much", "sample": 1}, "'much'"),
        ({"budget": "1GiB", "sample": ..., "loss": lambda out: out.detach().sum()}, "no gradient"),
    ],
)
def test_misuse_is_told(arguments, match):
    model, x = made(1)
    if arguments.get("sample") is ...:
        arguments = {**arguments, "sample": x}
    with pytest.raises(FlameError, match=match):
        apply_checkpointing(model, **arguments)
    with pytest.raises(FlameError, match="no blocks"):
        apply_checkpointing(nn.Linear(2, 2))
    with pytest.raises(FlameError, match="no parameter"):
        apply_checkpointing(made(1)[0].requires_grad_(False), budget="1GiB", sample=x)
