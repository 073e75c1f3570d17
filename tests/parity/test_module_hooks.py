"""Hooks of modules on gradients and states beside torch.nn's: when they are called, with what, what they change."""

from collections import OrderedDict

import numpy as np
import pytest

import flame
from flame import nn
from flame.errors import StateError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity
SIDES = [(flame, nn), (torch, torch.nn)]
X = np.array([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]], np.float32)


def numbers(tree):
    """Nested tuples of arrays, None for None."""
    if isinstance(tree, tuple | list):
        return tuple(map(numbers, tree))
    return None if tree is None else tree.detach().numpy().tolist()


def same(run):
    """`run(library, its nn)` gives the same on both sides."""
    left, right = (run(*side) for side in SIDES)
    assert left == right


class Pair(nn.Module):
    """Two arguments to two results."""

    def forward(self, a, b):
        return a * b, a + b


class TorchPair(torch.nn.Module):
    forward = Pair.forward


def linear(n):
    layer = n.Linear(3, 2)
    layer.load_state_dict({"weight": tensors(n)(np.ones((2, 3))), "bias": tensors(n)(np.zeros(2))})
    return layer


def tensors(n):
    return flame.tensor if n is nn else torch.tensor


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")  # PyTorch's, where no input needs a gradient
@pytest.mark.parametrize("needed", [True, False])
def test_gradients_come_and_leave(needed):
    def run(library, n):
        seen, layer = [], linear(n)
        layer.register_full_backward_hook(lambda m, i, o: seen.append((type(m).__name__, numbers(i), numbers(o))))
        layer.register_full_backward_pre_hook(lambda m, o: seen.append(numbers(o)))
        x = library.tensor(X, requires_grad=needed)
        layer(x).square().sum().backward()
        return seen, numbers(x.grad), numbers(layer.weight.grad)

    same(run)


def test_a_hook_replaces_gradients():
    def run(library, n):
        layer = linear(n)
        layer.register_full_backward_pre_hook(lambda m, o: (o[0] * 2,))
        layer.register_full_backward_hook(lambda m, i, o: (i[0] + o[0].sum(),))
        handle = layer.register_full_backward_hook(lambda m, i, o: (i[0] * 1000,))
        handle.remove()
        x = library.tensor(X, requires_grad=True)
        layer(x).sum().backward()
        return numbers(x.grad), numbers(layer.weight.grad)

    same(run)


def test_several_arguments_and_results():
    def run(library, n):
        seen, pair = [], (Pair if n is nn else TorchPair)()
        pair.register_full_backward_hook(lambda m, i, o: seen.append((numbers(i), numbers(o))))
        a, b = library.tensor(X, requires_grad=True), library.tensor(X + 1)
        product, total = pair(a, b)
        (product.sum() + 3 * total.sum()).backward()
        return seen, numbers(a.grad)

    same(run)


def test_a_module_that_is_called_twice_is_seen_twice():
    def run(library, n):
        seen, act = [], n.Tanh()
        act.register_full_backward_hook(lambda m, i, o: seen.append(tuple(np.round(o[0].detach().numpy(), 4).ravel())))
        x = library.tensor(X, requires_grad=True)
        act(act(x)).sum().backward()
        return seen

    left, right = run(flame, nn), run(torch, torch.nn)
    np.testing.assert_allclose(left, right, atol=1e-3)


def test_no_hook_without_gradients():
    layer = linear(nn)
    layer.register_full_backward_hook(lambda *args: pytest.fail("called"))
    with flame.no_grad():
        layer(flame.tensor(X))


def net(n):
    return n.Sequential(OrderedDict(one=n.Linear(2, 2, bias=False), two=n.Sequential(n.BatchNorm1d(2))))


def test_state_hooks_see_and_rename():
    def run(library, n):
        model, seen = net(n), []
        model.two.register_state_dict_pre_hook(lambda m, prefix, keep: seen.append((prefix, keep)))

        def renamed(m, state, prefix, meta):
            seen.append(list(state))
            state[prefix + "scale"] = state.pop(prefix + "0.weight")

        def back(m, state, prefix, meta, strict, missing, unexpected, errors):
            state[prefix + "0.weight"] = state.pop(prefix + "scale")
            seen.append((prefix, strict, missing, unexpected, errors))

        model.two.register_state_dict_post_hook(renamed)
        model.two.register_load_state_dict_pre_hook(back)
        model.register_load_state_dict_post_hook(lambda m, keys: seen.append(tuple(map(list, keys))))
        state = model.state_dict(prefix="a.")
        plain = model.state_dict()
        report = model.load_state_dict(plain)
        return list(state), list(plain), seen, list(report)

    same(run)


def test_what_a_hook_forgives_is_no_error():
    def run(library, n):
        model = net(n)
        state = model.state_dict()
        del state["one.weight"]
        model.register_load_state_dict_post_hook(lambda m, keys: keys.missing_keys.clear())
        return list(model.load_state_dict(state))

    same(run)


def test_a_state_that_does_not_fit_in_the_end_changes_nothing():
    model = net(nn)
    before = model.one.weight.numpy()
    model.register_load_state_dict_post_hook(lambda m, keys: keys.missing_keys.append("more"))
    state = {key: np.ones(tuple(value.shape), np.float32) for key, value in model.state_dict().items()}
    with pytest.raises(StateError, match="missing: more"):
        model.load_state_dict(state)
    assert np.array_equal(model.one.weight.numpy(), before)


def test_extra_state_travels():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.count = 3

        def get_extra_state(self):
            return {"count": self.count}

        def set_extra_state(self, state):
            self.count = state["count"]

    one, two = nn.Sequential(Counting()), nn.Sequential(Counting())
    one[0].count = 7
    assert list(one.state_dict()) == ["0._extra_state"]
    two.load_state_dict(one.state_dict())
    assert two[0].count == 7
    with pytest.raises(StateError, match="missing: 0._extra_state"):
        two.load_state_dict({})


def test_assigning_takes_dtypes_and_keeps_the_parameters():
    layer = nn.Linear(2, 1, bias=False)
    weight = layer.weight
    optimizer = flame.optim.SGD(layer.parameters(), lr=0.5)
    layer.load_state_dict({"weight": np.array([[1.0, 2.0]])}, assign=True)
    assert layer.weight is weight and weight.dtype is flame.float64 and weight.requires_grad
    layer(flame.ones(1, 2, dtype=flame.float64)).sum().backward()
    optimizer.step()
    assert weight.tolist() == [[0.5, 1.5]]


def test_members_by_dotted_name():
    def run(library, n):
        model = net(n)
        found = [tuple(model.get_parameter("one.weight").shape), tuple(model.get_buffer("two.0.running_mean").shape)]
        for call, target in [
            (model.get_parameter, "two.0.running_mean"), (model.get_buffer, "one.weight"), (model.get_parameter, "x.y"),
            (model.get_submodule, "two.1"),
        ]:  # fmt: skip
            with pytest.raises(AttributeError):
                call(target)
        model.set_submodule("two.0", n.Identity())
        return found, repr(model)

    same(run)


def test_memory_formats_are_accepted():
    model = nn.Conv2d(1, 1, 1)
    assert model.to(memory_format="channels_last") is model and model.type(flame.float64).weight.dtype is flame.float64


@pytest.mark.parametrize("kind", ["half", "bfloat16", "double", "float"])
def test_a_module_in_another_dtype_keeps_its_parameters_and_trains(kind):
    layer = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    held = list(layer.parameters())
    optimizer = flame.optim.SGD(layer.parameters(), lr=0.5)
    getattr(layer, kind)()
    wanted = {name: str(value.dtype) for name, value in layer.state_dict().items()}
    other = getattr(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)), kind)()
    assert wanted == {name: str(value.dtype).removeprefix("torch.") for name, value in other.state_dict().items()}
    assert all(a is b for a, b in zip(held, layer.parameters())) and all(p.requires_grad for p in held)
    before = held[0].tolist()
    layer(flame.tensor([[1.0, 2.0], [3.0, 5.0]], dtype=held[0].dtype)).square().sum().backward()
    layer[0].weight.grad = layer[0].weight.grad + 1
    optimizer.step()
    assert held[0].tolist() != before


def test_shared_members_are_named_once_or_always():
    def run(library, n):
        model = n.Sequential(n.BatchNorm1d(2), n.Linear(2, 2))
        model.append(model[0])
        names = []
        for each in (model.named_modules, model.named_parameters, model.named_buffers):
            names += [[name for name, _ in each(remove_duplicate=once)] for once in (True, False)]
        return names, [name for name, _ in model.named_parameters("a")], list(model.state_dict())

    same(run)
