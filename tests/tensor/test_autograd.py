"""Asking for gradients: what is FLAME's own, beside tests/parity/test_autograd.py."""

import gc
import threading

import numpy as np
import pytest

import flame
from flame import values
from flame.errors import GradError
from flame.ir.node import alive


def leaf(values, grad=True):
    return flame.tensor(values, requires_grad=grad)


def test_modes_are_each_threads_own():
    inside, may_end = threading.Event(), threading.Event()

    def evaluate():
        with flame.no_grad():
            inside.set()
            may_end.wait(10)

    other = threading.Thread(target=evaluate)
    other.start()
    inside.wait(10)
    assert flame.is_grad_enabled()
    assert (leaf([1.0]) * 2).requires_grad
    may_end.set()
    other.join()


def test_a_mode_can_be_entered_again_inside_itself():
    mode = flame.no_grad()
    with mode:
        with mode:
            assert not flame.is_grad_enabled()
        assert not flame.is_grad_enabled()
    assert flame.is_grad_enabled()


def test_an_error_leaves_the_mode_as_it_was():
    @flame.no_grad()
    def items():
        yield 1
        raise ValueError

    walk = items()
    next(walk)
    with pytest.raises(ValueError):
        next(walk)
    with pytest.raises(KeyError):
        items().throw(KeyError)
    assert flame.is_grad_enabled()


def test_retained_gradients_add_up_and_stay_with_the_handle():
    x = leaf([1.0, 2.0])
    h = x * 3
    h.retain_grad()
    h.retain_grad()
    for _ in range(2):
        h.sum().backward()
    assert h.grad.tolist() == [2.0, 2.0]
    other = x * 5
    other.retain_grad()
    total = other.sum()
    del other
    total.backward()
    assert x.grad.tolist() == [11.0, 11.0]


def test_inputs_that_retain_get_their_gradient_once():
    x = leaf([1.0, 2.0])
    h = x * 3
    h.retain_grad()
    h.sum().backward(inputs=[h])
    assert h.grad.tolist() == [1.0, 1.0]
    assert x.grad is None


def test_hooks_stay_with_a_parameter_over_steps():
    w = leaf([1.0])
    seen = []
    w.register_hook(lambda g: seen.append(g * 1))
    opt = flame.optim.SGD([w], lr=0.5)
    for _ in range(2):
        opt.zero_grad()
        (w * w).sum().backward()
        opt.step()
    assert [g.item() for g in seen] == [2.0, 0.0]


def test_hooks_may_be_added_and_removed_by_with():
    x = leaf([1.0])
    with x.register_hook(lambda g: g * 2):
        x.sum().backward(retain_graph=True)
    x.sum().backward()
    assert x.grad.item() == 3.0


def test_a_hook_after_accumulation_may_step_and_free_the_gradient():
    w = leaf([1.0, 2.0])
    opt = flame.optim.SGD([w], lr=0.1)

    def step(t):
        opt.step()
        t.grad = None

    w.register_post_accumulate_grad_hook(step)
    (w * w).sum().backward()
    np.testing.assert_allclose(w.detach().numpy(), [0.8, 1.6], rtol=1e-6)
    assert w.grad is None


def test_gradients_to_several_inputs_meet_hooks_on_the_way_once():
    x = leaf([1.0])
    count = []
    h = x * 2
    h.register_hook(lambda g: count.append(1))
    a, b = h * 3, h * 4
    flame.autograd.grad((a * b).sum(), [x, h, a, b])
    assert count == [1]


def test_realizing_one_tensor_keeps_what_anothers_gradient_needs():
    x = leaf(np.ones((4, 4), np.float32))
    h = x @ x
    y, z = (h.exp()).sum(), (h * 2).sum()
    y.item()
    before = values.count()
    z.backward()
    flame.autograd.grad(h.sum(), x)
    assert values.count() == before


def test_a_loop_with_hooks_and_calls_holds_nothing_of_its_steps():
    w = leaf(np.ones(4, np.float32))

    @flame.autograd.custom_gradient(lambda g, y, x: g * y)
    def f(x):
        return x.exp()

    def step():
        h = f(w * 2)
        h.register_hook(lambda g: g * h.detach())
        h.retain_grad()
        loss = flame.checkpoint(lambda t: (t * t).sum(), h)
        loss.item()
        loss.backward()
        w.grad.numpy()
        w.grad = None

    counts = []
    for _ in range(4):
        step()
        gc.collect()
        counts.append((alive(), values.count()))
    assert counts[1] == counts[2] == counts[3]


def test_grad_fn_can_be_followed_to_the_leaves():
    x = leaf([1.0])
    y = (x * 2).exp().sum()
    names, step = [], y.grad_fn
    while step.node.src:
        names.append(step.name())
        step = step.next_functions[0][0]
    assert names[:3] == ["SumBackward0", "ExpBackward0", "MulBackward0"]
    assert repr(y.grad_fn) == "<SumBackward0>"
    assert x.grad_fn is None


def test_messages_name_the_way_out():
    x = leaf([1.0, 2.0])
    y = (x * x).sum()
    with pytest.raises(GradError, match="2 gradients, 1 were given|need 2 gradients"):
        flame.autograd.backward([y, y], [None])
    with pytest.raises(GradError, match=r"no output depends on input 1; pass allow_unused=True"):
        flame.autograd.grad(y, [x, leaf([1.0])], retain_graph=True)
    with pytest.raises(GradError, match="inputs= is empty"):
        y.backward(inputs=[])
    with pytest.raises(GradError, match="first dimension counts vectors"):
        flame.autograd.grad(y, x, is_grads_batched=True, retain_graph=True)
    with pytest.raises(GradError, match="takes a function of the gradient"):
        x.register_hook(3)


def test_deep_graphs_with_calls():
    x = leaf([1.0])
    y = x
    for _ in range(3000):
        y = flame.checkpoint(lambda t: t * 1.0001, y)
    (g,) = flame.autograd.grad(y.sum(), x)
    assert g.requires_grad is False
