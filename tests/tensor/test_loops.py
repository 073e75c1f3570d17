"""The training loop in all its forms: numpy's numbers, each forward product once a step, and flat memory."""

import gc

import numpy as np
import pytest

import flame
from flame import values
from flame.ir import node as nd
from flame.runtime import devices
from flame.tensor import assign
from tests.tensor.count import Products

BATCH, INPUT, HIDDEN, OUTPUT = 6, 5, 7, 3
FORWARD = [(BATCH, HIDDEN, INPUT), (BATCH, OUTPUT, HIDDEN)]  # (m, n, k) of x @ w1 and of h @ w2
BACKWARD = [(INPUT, HIDDEN, BATCH), (HIDDEN, OUTPUT, BATCH), (BATCH, HIDDEN, OUTPUT)]
RATE, STEPS = 0.1, 4
rng = np.random.default_rng(0)
X = rng.normal(size=(STEPS, BATCH, INPUT)).astype(np.float32)
Y = rng.normal(size=(STEPS, BATCH, OUTPUT)).astype(np.float32)
W1 = (rng.normal(size=(INPUT, HIDDEN)) / 2).astype(np.float32)
W2 = (rng.normal(size=(HIDDEN, OUTPUT)) / 2).astype(np.float32)


def numpy_gradients(w1, w2, x, y):
    """The loss, the hidden layer and the gradients, by hand, in float64."""
    h = np.tanh(x @ w1)
    error = h @ w2 - y
    g = 2 * error / error.size
    return (error**2).mean(), h, (x.T @ ((g @ w2.T) * (1 - h * h)), h.T @ g)


def numpy_losses(times=1.0):
    w1, w2, losses = W1.astype(np.float64), W2.astype(np.float64), []
    for x, y in zip(X, Y):
        loss, _, (g1, g2) = numpy_gradients(w1, w2, x, y)
        losses.append(loss)
        w1, w2 = w1 - RATE * times * g1, w2 - RATE * times * g2
    return losses


class Model:
    """Two layers and plain gradient descent, in ten lines."""

    def __init__(self):
        self.params = [flame.tensor(w, requires_grad=True) for w in (W1, W2)]

    def hidden(self, x):
        return (x @ self.params[0]).tanh()

    def loss(self, x, y, h=None):
        return (((self.hidden(x) if h is None else h) @ self.params[1] - y) ** 2).mean()

    def zero_grad(self):
        for p in self.params:
            p.grad = None

    def step(self, rate=RATE):
        with flame.no_grad():
            assign([(p, p - p.grad * rate) for p in self.params])


def batch(i):
    return flame.tensor(X[i]), flame.tensor(Y[i])


def plain(model, i):
    loss = model.loss(*batch(i))
    loss.backward()
    model.step()
    return loss


def item_before_backward(model, i):
    loss = model.loss(*batch(i))
    loss.item()
    loss.backward()
    model.step()
    return loss


def item_after_backward(model, i):
    loss = model.loss(*batch(i))
    loss.backward()
    loss.item()
    model.step()
    return loss


def item_everywhere(model, i):
    loss = model.loss(*batch(i))
    first = loss.item()
    loss.backward()
    assert loss.item() == first
    model.step()
    assert loss.item() == first
    return loss


def activation_before(model, i):
    x, y = batch(i)
    h = model.hidden(x)
    repr(h)
    loss = model.loss(x, y, h)
    loss.backward()
    model.step()
    return loss


def activation_after(model, i):
    x, y = batch(i)
    h = model.hidden(x)
    loss = model.loss(x, y, h)
    loss.backward()
    expected = numpy_gradients(*(p.detach().numpy() for p in model.params), X[i], Y[i])[1]
    np.testing.assert_allclose(h.detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    model.step()
    np.testing.assert_allclose(h.detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    return loss


def one_gradient(model, i):
    loss = model.loss(*batch(i))
    loss.backward()
    model.params[1].grad.numpy()
    model.step()
    return loss


def gradients_one_by_one(model, i):
    loss = model.loss(*batch(i))
    loss.backward()
    for p in model.params:
        p.grad.realize()
    model.step()
    return loss


def gradients_in_reverse(model, i):
    loss = model.loss(*batch(i))
    loss.backward()
    for p in reversed(model.params):
        p.grad.numpy()
    loss.item()
    model.step()
    return loss


def retained(model, i):
    loss = model.loss(*batch(i))
    loss.backward(retain_graph=True)
    model.params[0].grad.numpy()
    model.zero_grad()
    loss.backward()
    model.step()
    return loss


def with_create_graph(model, i):
    loss = model.loss(*batch(i))
    loss.backward(create_graph=True)
    assert all(p.grad.requires_grad for p in model.params)
    model.step()
    return loss


def evaluation_between(model, i):
    loss = model.loss(*batch(i))
    loss.item()
    with flame.no_grad():
        assert not model.hidden(flame.tensor(X[i][:2])).requires_grad
        model.hidden(flame.tensor(X[i][:2])).numpy()
    loss.backward()
    model.step()
    return loss


def gradient_clipped(model, i):
    loss = model.loss(*batch(i))
    loss.backward()
    norm = sum((p.grad**2).sum() for p in model.params).sqrt()
    for p in model.params:
        p.grad = p.grad * (1e9 / norm).clamp(max=1.0)
    model.step()
    assert norm.item() > 0
    return loss


def metric_summed(model, i):
    loss = model.loss(*batch(i))
    total = loss.detach() * 2 + 1
    loss.backward()
    model.step()
    np.testing.assert_allclose(total.item(), 2 * loss.item() + 1, rtol=1e-5)
    return loss


FORMS = [
    plain,
    item_before_backward,
    item_after_backward,
    item_everywhere,
    activation_before,
    activation_after,
    one_gradient,
    gradients_one_by_one,
    gradients_in_reverse,
    retained,
    with_create_graph,
    evaluation_between,
    gradient_clipped,
    metric_summed,
]


@pytest.mark.parametrize("form", FORMS, ids=lambda f: f.__name__)
def test_each_product_of_the_forward_pass_runs_once_a_step(form):
    model, losses = Model(), []
    for i in range(STEPS):
        model.zero_grad()
        with Products() as seen:
            loss = form(model, i)
            losses.append(loss.item())
        assert {k: seen[k] for k in FORWARD} == dict.fromkeys(FORWARD, 1), f"step {i}: {dict(seen)}"
        if form is not retained:
            assert {k: seen[k] for k in BACKWARD} == dict.fromkeys(BACKWARD, 1), f"step {i}: {dict(seen)}"
    np.testing.assert_allclose(losses, numpy_losses(), rtol=2e-5)


def test_accumulated_gradients():
    """Two backward passes before a step; reading the loss in between runs nothing again."""
    model, losses = Model(), []
    for i in range(STEPS):
        model.zero_grad()
        with Products() as seen:
            for _ in range(2):
                loss = model.loss(*batch(i))
                loss.item()
                loss.backward()
            losses.append(loss.item())
            model.step()
        assert {k: seen[k] for k in (*FORWARD, *BACKWARD)} == dict.fromkeys((*FORWARD, *BACKWARD), 2)
    np.testing.assert_allclose(losses, numpy_losses(2.0), rtol=2e-5)


@pytest.mark.parametrize("read", [False, True])
def test_two_losses_share_their_layers(read):
    """Two losses over one hidden layer, each with its backward(): the shared product runs once."""
    model = Model()
    for i in range(STEPS):
        model.zero_grad()
        x, y = batch(i)
        with Products() as seen:
            h = model.hidden(x)
            first, second = model.loss(x, y, h), (h * h).mean()
            if read:
                first.item()
            first.backward(retain_graph=True)
            if read:
                second.item()
            second.backward()
            model.step()
        assert seen[FORWARD[0]] == 1
        assert seen[FORWARD[1]] == 1


def test_gradients_of_two_losses_add_up():
    model, x, y = Model(), flame.tensor(X[0]), flame.tensor(Y[0])
    h = model.hidden(x)
    model.loss(x, y, h).backward(retain_graph=True)
    first = [p.grad.numpy() for p in model.params]
    (h * h).sum().backward()
    _, hidden, gradients = numpy_gradients(W1.astype(float), W2.astype(float), X[0], Y[0])
    more = X[0].T @ (2 * hidden * (1 - hidden * hidden))
    np.testing.assert_allclose(first[0], gradients[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(model.params[0].grad.numpy(), gradients[0] + more, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.params[1].grad.numpy(), gradients[1], rtol=1e-4, atol=1e-6)


def test_create_graph_gives_the_gradient_of_a_gradient_penalty():
    w = flame.tensor([1.0, -2.0, 3.0], requires_grad=True)
    (w**3).sum().backward(create_graph=True)
    g = w.grad
    w.grad = None
    (g * g).sum().backward()  # d (3 w²)² / dw = 36 w³
    np.testing.assert_allclose(w.grad.numpy(), 36 * np.array([1.0, -8, 27]), rtol=1e-6)


def test_an_inference_loop_keeps_nothing():
    model = Model()
    with flame.no_grad():
        outputs = [model.hidden(flame.tensor(X[i])).numpy() for i in range(STEPS)]
    np.testing.assert_allclose(outputs, [np.tanh(x @ W1) for x in X], rtol=1e-5)
    del outputs


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def measure():
    gc.collect()
    return nd.alive(), values.count(), devices.get("cpu").pool.stats().in_use, resident()


def train(steps):
    """Steps of every form in turn; measured half-way, and at the end, after the same form."""
    model, losses = Model(), []
    for i in range(steps):
        model.zero_grad()
        losses.append(FORMS[i % len(FORMS)](model, i % STEPS).detach())
        losses = losses[-5:]
        if i == steps // 2 - 1:
            before = measure()
    return before, measure()


def compare(before, after):
    for what, a, b in zip(("nodes", "values", "pool"), before, after):
        assert b <= a, f"{what} grew from {a} to {b}"
    assert after[3] - before[3] < 8e6, f"memory grew by {(after[3] - before[3]) / 1e6:.1f} MB"


def test_steps_leave_memory_flat():
    compare(*train(16 * len(FORMS)))


@pytest.mark.slow
def test_ten_thousand_steps_leave_memory_flat():
    compare(*train(-(-10_000 // (2 * len(FORMS))) * 2 * len(FORMS)))


def test_losses_kept_in_a_list_keep_no_graph():
    """`losses.append(loss)` without item(): each keeps one number."""
    model, losses, counts = Model(), [], []
    for i in range(24):
        model.zero_grad()
        losses.append(plain(model, i % STEPS))
        gc.collect()
        counts.append((nd.alive(), values.count()))
    assert counts[-1][0] - counts[8][0] <= 15 * 3, counts
    assert counts[-1][1] - counts[8][1] <= 15, counts
    np.testing.assert_allclose([x.item() for x in losses[:STEPS]], numpy_losses(), rtol=2e-5)
