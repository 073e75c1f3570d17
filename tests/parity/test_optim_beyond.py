"""LBFGS and Muon beside torch.optim: the same steps, the same states both ways; hooks of optimizers."""

import copy
import io

import numpy as np
import pytest

import flame
from flame import nn
from flame.errors import FlameError, ShapeError, StateError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity
rng = np.random.default_rng(0)
X, Y = rng.normal(size=(32, 6)).astype(np.float32), rng.normal(size=(32, 3)).astype(np.float32)
SEARCH = {"line_search_fn": "strong_wolfe"}
LBFGS = [
    {"lr": 0.5, "max_iter": 4},
    {"lr": 0.1, "max_iter": 3, "history_size": 2},
    {**SEARCH, "max_iter": 5},
    {**SEARCH, "lr": 0.4, "max_iter": 6, "max_eval": 9, "history_size": 3},
    {**SEARCH, "lr": 30.0, "max_iter": 3},
]


def model(n):
    return n.Sequential(n.Linear(6, 5), n.Tanh(), n.Linear(5, 3))


def pair(name, bias=True, **options):
    flame.manual_seed(1)
    ours, theirs = model(nn), model(torch.nn)
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()})
    one, two = ([p for p in m.parameters() if bias or p.ndim == 2] for m in (ours, theirs))
    return ours, theirs, getattr(flame.optim, name)(one, **options), getattr(torch.optim, name)(two, **options)


def run(library, net, optimizer, steps):
    x, y, losses = library.tensor(X), library.tensor(Y), []

    def closure():
        optimizer.zero_grad()
        loss = (net(x) - y).square().mean() + 0.1 * net(x).abs().mean()
        loss.backward()
        losses.append(loss.item())
        return loss

    for _ in range(steps):
        optimizer.step(closure)
    return losses


def close(ours, theirs, **tolerance):
    for (key, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters()):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), err_msg=key, **tolerance)


@pytest.mark.parametrize("options", LBFGS, ids=str)
def test_lbfgs_takes_the_same_steps(options):
    ours, theirs, one, two = pair("LBFGS", **options)
    left, right = run(flame, ours, one, 4), run(torch, theirs, two, 4)
    assert len(left) == len(right)  # as many evaluations: every decision was the same
    np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-4)
    close(ours, theirs, rtol=5e-3, atol=1e-3)
    (mine,), (his,) = one.state.values(), two.state.values()
    assert (mine["func_evals"], mine["n_iter"]) == (his["func_evals"], his["n_iter"])


@pytest.mark.parametrize("options", [LBFGS[1], LBFGS[2]], ids=str)
def test_states_of_lbfgs_move_both_ways(options):
    ours, theirs, one, two = pair("LBFGS", **options)
    run(torch, theirs, two, 2)
    ours.load_state_dict(theirs.state_dict())
    one.load_state_dict(two.state_dict())
    _, there, _, three = pair("LBFGS", **options)
    there.load_state_dict({k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()})
    three = torch.optim.LBFGS(there.parameters(), **options)
    state = flame.load(saved(one.state_dict()))["state"][0]
    moved = {k: theirs_of(v) for k, v in state.items()}
    three.load_state_dict({"state": {0: moved}, "param_groups": two.state_dict()["param_groups"]})
    right = run(torch, theirs, two, 2)
    np.testing.assert_allclose(run(flame, ours, one, 2), right, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(run(torch, there, three, 2), right, rtol=1e-3, atol=1e-4)


def saved(state):
    file = io.BytesIO()
    flame.save(state, file)
    file.seek(0)
    return file


def theirs_of(value):
    if isinstance(value, list):
        return [theirs_of(v) for v in value]
    return torch.tensor(value.numpy()) if isinstance(value, flame.Tensor) else value


def test_misuse_of_lbfgs():
    net = model(nn)
    groups = [{"params": [p]} for p in net.parameters()]
    with pytest.raises(FlameError, match="one group of parameters, not 4"):
        flame.optim.LBFGS(groups)
    with pytest.raises(FlameError, match="needs a closure"):
        flame.optim.LBFGS(net.parameters()).step()
    with pytest.raises(FlameError, match="line_search_fn is 'armijo'"):
        flame.optim.LBFGS(net.parameters(), line_search_fn="armijo")
    one = flame.optim.LBFGS(net.parameters())
    run(flame, net, one, 1)
    with pytest.raises(StateError, match="of 4 parameters with 53 numbers"):
        flame.optim.LBFGS(nn.Linear(2, 2).parameters()).load_state_dict(one.state_dict())


@pytest.mark.parametrize(
    "options", [{}, {"lr": 0.02, "nesterov": False, "weight_decay": 0.0}, {"adjust_lr_fn": "match_rms_adamw"}], ids=str
)
def test_muon(options):
    ours, theirs, one, two = pair("Muon", bias=False, **{"lr": 0.05, **options})
    left, right = run(flame, ours, one, 20), run(torch, theirs, two, 20)
    np.testing.assert_allclose(left, right, rtol=3e-2)  # both turn matrices in bfloat16
    state = one.state_dict()
    assert state["param_groups"] == two.state_dict()["param_groups"]
    one.load_state_dict(two.state_dict())
    np.testing.assert_allclose(
        one.state_dict()["state"][0]["momentum_buffer"].numpy(), two.state_dict()["state"][0]["momentum_buffer"]
    )


def test_misuse_of_muon():
    net = model(nn)
    with pytest.raises(ShapeError, match=r"shape \(5,\)"):
        flame.optim.Muon(net.parameters())
    with pytest.raises(FlameError, match="adjust_lr_fn is 'none'"):
        flame.optim.Muon([net[0].weight], adjust_lr_fn="none")


def hooks(library, net, optimizer):
    """What hooks saw, in order."""
    seen = []
    handles = [
        optimizer.register_step_pre_hook(
            lambda o, args, kwargs: seen.append(("before", o is optimizer, args == (o,), kwargs))
        ),
        optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append(("after", args == (o,), kwargs))),
        optimizer.register_state_dict_pre_hook(lambda o: seen.append("saving")),
        optimizer.register_state_dict_post_hook(lambda o, state: {**state, "more": 1}),
        optimizer.register_load_state_dict_pre_hook(
            lambda o, state: seen.append(("loading", state.pop("more"), sorted(state)))
        ),
        optimizer.register_load_state_dict_post_hook(lambda o: seen.append("loaded")),
        optimizer.register_load_state_dict_post_hook(lambda o: seen.append("first"), prepend=True),
    ]
    (net(library.tensor(X)).sum()).backward()
    optimizer.step()
    state = optimizer.state_dict()
    optimizer.load_state_dict(state)
    for handle in handles:
        handle.remove()
    optimizer.step()
    seen.append(sorted(optimizer.state_dict()))
    return seen


@pytest.mark.parametrize(("name", "options"), [("SGD", {"lr": 0.1}), ("AdamW", {})])
def test_hooks_of_optimizers(name, options):
    ours, theirs, one, two = pair(name, **options)
    assert hooks(flame, ours, one) == hooks(torch, theirs, two)


def test_a_hook_may_replace_the_arguments():
    def steps(library, net, optimizer):
        called = []
        optimizer.register_step_pre_hook(lambda o, args, kwargs: ((o, lambda: called.append(1)), {}))
        optimizer.step()
        return called

    ours, theirs, one, two = pair("SGD", lr=0.1)
    assert steps(flame, ours, one) == steps(torch, theirs, two) == [1]


def test_hooks_run_once_where_a_step_calls_another():
    class Twice(flame.optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            return super().step(closure)

        def state_dict(self):
            return {**super().state_dict(), "mine": 1}

    seen = []
    optimizer = Twice(nn.Linear(2, 2).parameters(), lr=0.1)
    optimizer.register_step_post_hook(lambda *_: seen.append("step"))
    optimizer.register_state_dict_post_hook(lambda o, state: seen.append(sorted(state)))
    optimizer.step()
    optimizer.state_dict()
    assert seen == ["step", ["mine", "param_groups", "state"]]


def test_parameters_with_names():
    ours, theirs, _, _ = pair("SGD", lr=0.1)
    states = []
    for library, net in ((flame, ours), (torch, theirs)):
        optimizer = library.optim.AdamW(net.named_parameters(), lr=0.01)
        run(library, net, optimizer, 2)
        first, *rest = [{"params": [pair]} for pair in net.named_parameters()]
        grouped = library.optim.SGD([{**first, "lr": 0.5}, *rest], lr=0.1)
        states.append((optimizer.state_dict()["param_groups"], grouped.state_dict()["param_groups"]))
    assert states[0] == states[1]
    close(ours, theirs, rtol=1e-4, atol=1e-5)
    one = nn.Linear(2, 2)
    with pytest.raises(FlameError, match="name all parameters, or none"):
        flame.optim.SGD([("weight", one.weight), one.bias], lr=0.1)
    named = flame.optim.SGD([("weight", one.weight)], lr=0.1)
    with pytest.raises(FlameError, match="name all parameters, or none"):
        named.add_param_group({"params": [one.bias]})


def test_a_copy_of_a_model_has_no_gradients():
    for library in (flame, torch):
        net = model(library.nn)
        net(library.tensor(X)).sum().backward()
        twin = copy.deepcopy(net)
        assert all(p.grad is None and type(p) is library.nn.Parameter for p in twin.parameters())
        assert all(p.grad is not None for p in net.parameters())
        leaf = library.ones(2, requires_grad=True)
        leaf.sum().backward()
        assert copy.deepcopy(leaf).grad.tolist() == [1.0, 1.0]
