"""What one does to gradients before a step, beside torch.nn.utils; lazy, and fused into the optimizer's kernels."""

import numpy as np
import pytest

import flame
from flame import compiler, values
from tests.surface.sides import interpreted, torch

pytestmark = pytest.mark.parity
SHAPES = [(3, 4), (5,), (), (2, 2, 2)]


def parameters(lib, dtype="float32", scale=1.0):
    rng = np.random.default_rng(0)
    made = []
    for shape in SHAPES:
        p = lib.tensor(rng.normal(size=shape).tolist(), dtype=getattr(lib, dtype), requires_grad=True)
        p.grad = lib.tensor((rng.normal(size=shape) * scale).tolist(), dtype=getattr(lib, dtype))
        made.append(p)
    return [*made, lib.tensor([1.0], requires_grad=True)]  # one without a gradient


def wide(t):
    return t.detach().float().numpy()


def close(mine, other, rtol=1e-5):
    for a, b in zip(mine, other, strict=True):
        assert (a.grad is None) == (b.grad is None)
        if a.grad is not None:
            assert str(a.grad.dtype).split(".")[-1] == str(b.grad.dtype).split(".")[-1]
            np.testing.assert_allclose(wide(a.grad), wide(b.grad), rtol=rtol, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("scale", [0.01, 10.0])
@pytest.mark.parametrize("norm_type", [2.0, 1, 3.5, float("inf"), 0.0])
def test_clip_grad_norm(norm_type, scale, dtype):
    mine, other = parameters(flame, dtype, scale), parameters(torch, dtype, scale)
    with interpreted():
        a = flame.nn.utils.clip_grad_norm_(mine, 1.5, norm_type)
        b = torch.nn.utils.clip_grad_norm_(other, 1.5, norm_type)
        np.testing.assert_allclose(a.item(), b.item(), rtol=1e-5 if dtype == "float32" else 2e-2)
        close(mine, other, 1e-5 if dtype == "float32" else 2e-2)


def test_the_parts_of_it():
    mine, other = parameters(flame), parameters(torch)
    with interpreted():
        a = flame.nn.utils.get_total_norm([p.grad for p in mine if p.grad is not None])
        b = torch.nn.utils.get_total_norm([p.grad for p in other if p.grad is not None])
        np.testing.assert_allclose(a.item(), b.item(), rtol=1e-6)
        flame.nn.utils.clip_grads_with_norm_(mine, 0.5, a)
        torch.nn.utils.clip_grads_with_norm_(other, 0.5, b)
        close(mine, other)
        flame.nn.utils.clip_grad_value_(mine, 0.05)
        torch.nn.utils.clip_grad_value_(other, 0.05)
        close(mine, other)
        assert flame.nn.utils.get_total_norm([]).item() == torch.nn.utils.get_total_norm([]).item() == 0.0
        assert flame.nn.utils.clip_grad_norm_(iter(mine), 1.0).item() > 0  # a generator is read once


def test_a_norm_that_is_no_number_is_an_error_if_asked_for():
    p = flame.tensor([1.0], requires_grad=True)
    p.grad = flame.tensor([float("inf")])
    with interpreted():
        with pytest.raises(flame.FlameError, match="norm of order 2.0 is inf"):
            flame.nn.utils.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)
        assert p.grad.item() == float("inf")


def test_vectors_of_parameters():
    mine, other = parameters(flame), parameters(torch)
    with interpreted():
        a, b = flame.nn.utils.parameters_to_vector(mine), torch.nn.utils.parameters_to_vector(other)
        np.testing.assert_allclose(wide(a), wide(b))
        (g,) = flame.autograd.grad((a * a).sum(), [mine[0]])
        np.testing.assert_allclose(wide(g), 2 * wide(mine[0]))
        flame.nn.utils.vector_to_parameters(a.detach() * 2, mine)
        for p, q in zip(mine, other):
            np.testing.assert_allclose(wide(p), 2 * wide(q), rtol=1e-6)
        with pytest.raises(flame.FlameError, match="for 27 elements"):
            flame.nn.utils.vector_to_parameters(a[:5].detach(), mine)


def test_normalising():
    mine, other = parameters(flame), parameters(torch)
    total = torch.nn.utils.get_total_norm([q.grad for q in other if q.grad is not None])
    with interpreted():
        norm = flame.nn.utils.normalize_grad_(mine)
        np.testing.assert_allclose(norm.item(), total.item(), rtol=1e-5)
        for p, q in zip(mine, other):
            if q.grad is not None:
                np.testing.assert_allclose(wide(p.grad), wide(q.grad) / (total.item() + 1e-6), rtol=1e-5)
        flame.nn.utils.normalize_grad_(mine, each=True)
        for p in mine[:4]:
            np.testing.assert_allclose(np.linalg.norm(wide(p.grad)), 1, rtol=1e-4)


def test_noise_is_normal_and_new_at_each_step():
    flame.manual_seed(0)
    p = flame.zeros(20_000, requires_grad=True)
    drawn = []
    with interpreted():
        for _ in range(2):
            p.grad = flame.ones(20_000)
            flame.nn.utils.add_grad_noise_([p], std=0.5)
            drawn.append(p.grad.numpy() - 1)
    for noise in drawn:
        assert abs(noise.mean()) < 0.02 and abs(noise.std() - 0.5) < 0.02
    assert abs(np.corrcoef(*drawn)[0, 1]) < 0.03


def test_statistics_are_still_to_be_computed():
    net = flame.nn.Linear(4, 3)
    net(flame.ones(2, 4)).square().sum().backward()
    before = values.count()
    found = flame.nn.utils.grad_statistics(net)
    assert values.count() == before
    assert list(found) == ["weight", "bias"]
    with interpreted():
        g = net.weight.grad.numpy()
        want = {
            "mean": g.mean(),
            "std": g.std(),
            "norm": np.linalg.norm(g),
            "max": abs(g).max(),
            "zeros": (g == 0).mean(),
        }
        for name, value in found["weight"].items():
            np.testing.assert_allclose(value.item(), want[name], rtol=1e-5)


def test_nothing_is_computed_before_the_step_which_is_one_plan():
    programs = []
    flame.manual_seed(0)
    net = flame.nn.Sequential(flame.nn.Linear(4, 8), flame.nn.ReLU(), flame.nn.Linear(8, 1))
    opt = flame.optim.AdamW(net.parameters(), lr=0.1)
    x = flame.ones(16, 4).realize()
    twin = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    twin.load_state_dict({k: torch.tensor(v.numpy()) for k, v in net.state_dict().items()})
    their = torch.optim.AdamW(twin.parameters(), lr=0.1)
    compiler.listeners.append(programs.append)
    try:
        for step in range(2):
            opt.zero_grad()
            programs.clear()
            net(x).square().mean().backward()
            norm = flame.nn.utils.clip_grad_norm_(net.parameters(), 0.1)
            flame.nn.utils.clip_grad_value_(net.parameters(), 0.05)
            assert not programs
            opt.step()
            assert len(programs) <= (step < 1) + 1
    finally:
        compiler.listeners.remove(programs.append)
    assert norm.item() > 0.1
    for _ in range(2):
        their.zero_grad()
        twin(torch.ones(16, 4)).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.1)
        torch.nn.utils.clip_grad_value_(twin.parameters(), 0.05)
        their.step()
    for p, q in zip(net.parameters(), twin.parameters()):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-4, atol=1e-5)
