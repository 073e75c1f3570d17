"""checkpoint: the same gradients, less memory, the interior computed twice."""

import gc

import numpy as np
import pytest

import flame
from flame import values
from flame.ir.graph import toposort
from flame.ir.region import Again, regions_of
from flame.runtime import devices
from flame.utils.checkpoint import checkpoint, checkpoint_sequential, create_selective_checkpoint_contexts
from tests.support import oracle, run_cuda_on_numpy
from tests.tensor.count import Products

WIDTH, ROWS, SEGMENTS = 64, 4096, 5
pytestmark = pytest.mark.filterwarnings("error")


def weights(seed=0):
    rng = np.random.default_rng(seed)
    made = [flame.tensor(rng.normal(size=(WIDTH, WIDTH)).astype(np.float32) / 8) for _ in range(2 * SEGMENTS)]
    return [w.requires_grad_() for w in made]


def block(a, b, rate=0.0):
    def run(h):
        h = (h @ a).tanh()
        if rate:
            h = flame.where(flame.rand(*h.shape) < rate, 0.0, h / (1 - rate))
        return (h @ b).sin()

    return run


def train(ws, x, wrap, rate=0.0):
    h = x
    for i in range(SEGMENTS):
        h = wrap(block(ws[2 * i], ws[2 * i + 1], rate), h)
    return h.square().mean()


def plain(f, *args, **kwargs):
    return f(*args, **kwargs)


@pytest.fixture
def data():
    x = flame.tensor(np.random.default_rng(1).normal(size=(ROWS, WIDTH)).astype(np.float32))
    return weights(), x


@pytest.mark.parametrize("read_first", [False, True])
def test_memory_falls_and_the_interior_runs_again(data, read_first):
    ws, x = data
    pool, found = devices.get("cpu").pool, {}
    for wrap in (plain, checkpoint):
        for w in ws:
            w.grad = None
        gc.collect()  # compiling leaves cycles of graphs
        pool.trim()
        pool.reset_peak()
        start = pool.stats().in_use
        with Products() as seen:
            loss = train(ws, x, wrap)
            if read_first:
                loss.item()
                kept = pool.stats().in_use - start
            loss.backward()
            flame.realize(*[w.grad for w in ws])
        found[wrap] = pool.stats().peak - start, sum(seen.values()), [w.grad.numpy() for w in ws]
        if read_first:
            found[wrap] += (kept,)
        del loss
    (peak, products, grads, *kept), (peak_2, products_2, grads_2, *kept_2) = found[plain], found[checkpoint]
    assert products + SEGMENTS - 1 <= products_2 <= products + 2 * SEGMENTS
    value = ROWS * WIDTH * 4
    assert peak_2 <= peak - (SEGMENTS - 2) * value
    if read_first:
        assert kept_2[0] <= (SEGMENTS + 1) * value < 2 * SEGMENTS * value <= kept[0]
    for a, b in zip(grads, grads_2):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("read_first", [False, True])
def test_the_same_random_numbers_are_drawn(data, read_first):
    ws, x = data
    found = []
    for wrap in (plain, checkpoint):
        flame.manual_seed(3)
        for w in ws:
            w.grad = None
        loss = train(ws, x, wrap, rate=0.3)
        if read_first:
            loss.item()
        loss.backward()
        found.append([loss.item(), *[w.grad.numpy() for w in ws]])
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-8)


def small(grad=True):
    return flame.tensor([0.3, -0.7], dtype=flame.float64, requires_grad=grad)


def gradient(f, *tensors):
    loss = f(*tensors)
    return [g.tolist() for g in flame.autograd.grad(loss, tensors)]


def test_a_step_leaves_no_garbage_that_holds_memory():
    """Values go when the last handle does, not when Python looks for cycles some day."""
    x = small()
    gc.collect()
    gc.disable()
    try:
        before = values.count()
        loss = checkpoint(lambda a: checkpoint(lambda b: {"y": b.exp().sin()}, a)["y"] * 2, x * 3).sum()
        loss.item()
        loss.backward()
        x.grad.numpy()
        x.grad = None
        del loss
        assert values.count() == before
    finally:
        gc.enable()


def test_nested_and_with_several_results_and_keywords():
    def inner(x, *, scale):
        return x.exp() * scale, {"sum": x.sum()}

    def outer(wrap):
        def f(x, w):
            y, d = wrap(inner, x * w, scale=w)
            return wrap(lambda a: wrap(lambda b: b.sin(), a * 2) * w, y).sum() * d["sum"]

        return f

    x, w = small(), small()
    a, b = gradient(lambda x, w: checkpoint(outer(checkpoint), x, w), x, w), gradient(outer(plain), x, w)
    np.testing.assert_allclose(a, b)


def test_second_derivatives_go_through():
    x = small()

    def slope(wrap):
        y = wrap(lambda t: (t * t).exp(), x).sum()
        (g,) = flame.autograd.grad(y, x, create_graph=True)
        return flame.autograd.grad((g * g).sum(), x)[0].tolist()

    np.testing.assert_allclose(slope(checkpoint), slope(plain))


def test_a_captured_activation_is_not_computed_again_but_has_its_gradient():
    x = small()
    h = x.exp()
    y = checkpoint(lambda t: (t * h).sin(), x).sum()
    y.backward()
    v = x.detach().numpy()
    e = np.exp(v)
    np.testing.assert_allclose(x.grad.numpy(), np.cos(v * e) * (e + v * e))


def test_custom_functions_and_hooks_inside():
    seen = []

    @flame.autograd.custom_gradient(lambda g, y, x: g * y * 2)
    def doubled(x):
        return x.exp()

    def f(x):
        h = doubled(x * 3)
        h.register_hook(lambda g: seen.append(g * 1))
        return doubled(h).sum()

    x = small()
    a = gradient(lambda x: checkpoint(f, x), x)
    hooked = [g.tolist() for g in seen]
    b = gradient(f, x)
    np.testing.assert_allclose(a, b)
    np.testing.assert_allclose(hooked, [seen[-1].tolist()])


def test_nothing_happens_without_gradients():
    x = small(grad=False)
    assert not checkpoint(lambda t: t.sin(), x).requires_grad
    with flame.no_grad():
        assert not checkpoint(lambda t: t.sin(), small()).requires_grad
    assert checkpoint(lambda t: (t, 3, None), small())[1:] == (3, None)


def test_integers_and_masks_pass_through():
    x = small()

    def f(t, mask, k):
        return flame.where(mask, t, 0.0) * k, mask

    y, mask = checkpoint(f, x, flame.tensor([True, False]), 3, use_reentrant=False, preserve_rng_state=True)
    y.sum().backward()
    assert (x.grad.tolist(), mask.tolist()) == ([3.0, 0.0], [True, False])


@pytest.mark.parametrize("read_first", [False, True])
def test_under_validation(read_first):
    x = flame.tensor(np.ones((8, 8), np.float32), requires_grad=True)
    w = flame.tensor(np.full((8, 8), 0.1, np.float32), requires_grad=True)
    with flame.config(validate=True):
        loss = (checkpoint(lambda t: (t @ w).tanh() @ w, x) ** 2).sum()
        if read_first:
            loss.item()
        loss.backward()
        flame.realize(x.grad, w.grad)
    assert np.isfinite(w.grad.numpy()).all()


def test_a_value_inside_can_be_read_after_it_was_forgotten():
    x, seen = flame.tensor(np.ones((64, 64), np.float32), requires_grad=True), []

    def f(t):
        seen.append((t @ t).exp())
        return (seen[0] @ t).sin()

    loss = (checkpoint(f, x / 64) ** 2).sum()
    loss.item()
    np.testing.assert_allclose(seen[0].numpy(), np.exp(np.full((64, 64), 1 / 64)), rtol=1e-6)
    loss.backward()
    assert np.isfinite(x.grad.numpy()).all()


def test_two_optimizers_may_take_turns_on_what_one_loss_left():
    """The first step gives weights away that forgotten values of the second one's gradients are made of."""
    found = []
    for wrap in (plain, checkpoint):
        gc.collect()
        a, b = weights()[:2]
        first, second = flame.optim.SGD([a], lr=0.1), flame.optim.SGD([b], lr=0.1)
        x = flame.tensor(np.random.default_rng(1).normal(size=(256, WIDTH)).astype(np.float32))
        for _ in range(2):
            loss = wrap(block(b, b), wrap(block(a, b), x)).square().mean()
            loss.item()
            loss.backward()
            for optimizer in (first, second):
                optimizer.step()
                optimizer.zero_grad()
        found.append([a.numpy(), b.numpy()])
    for p, q in zip(*found):
        np.testing.assert_array_equal(p, q)


def test_sequential():
    flame.manual_seed(0)
    net = flame.nn.Sequential(*[flame.nn.Linear(4, 4) for _ in range(5)])
    x = flame.ones(2, 4)
    found = []
    for run in (lambda: net(x), lambda: checkpoint_sequential(net, 2, x), lambda: checkpoint_sequential([*net], 5, x)):
        net.zero_grad()
        run().sum().backward()
        found.append([p.grad.numpy() for p in net.parameters()])
    for other in found[1:]:
        for a, b in zip(found[0], other):
            np.testing.assert_allclose(a, b, rtol=1e-6)
    with pytest.raises(flame.FlameError, match="7 segments of 5"):
        checkpoint_sequential(net, 7, x)


@pytest.mark.parametrize("knobs", [{}, {"fuse": False}, {"reuse": False}], ids=str)
def test_every_way_to_plan_it_gives_the_same(knobs):
    x, w = (flame.tensor(np.random.default_rng(i).normal(size=(6, 6)) / 3, requires_grad=True) for i in range(2))

    def run(wrap):
        h = wrap(lambda t: (t @ w).tanh() @ t.t(), x * 2)
        return flame.autograd.grad(wrap(lambda t: (t.softmax(-1) @ w).sum(), h), [x, w])

    with flame.config(**knobs):
        got = [g.numpy() for g in run(checkpoint)]
    for a, b in zip(got, run(plain)):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-9)


def test_the_kernels_for_a_gpu_compute_it_too():
    x, w = (flame.tensor(np.random.default_rng(i).normal(size=(8, 8)).astype(np.float32)) for i in range(2))
    x.requires_grad_(), w.requires_grad_()
    y = checkpoint(lambda t: (t.exp() @ w).softmax(-1), x * 2)
    roots = tuple(g.node for g in flame.autograd.grad((y * y).sum(), [x, w]))
    order = toposort(roots)
    leaves = {n: _value(n) for n in order if n.op.name == "leaf"}
    again = Again(regions_of(order, leaves))
    assert any(again.regions.homes) and again.regions.arrived
    for got, want in zip(run_cuda_on_numpy(roots, leaves, again=again), oracle(roots, leaves)):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def _value(n):
    out = np.empty(n.shape, n.dtype.numpy)
    devices.get("cpu").download(values.get(n), out)
    return out


# --- what a policy keeps ----------------------------------------------------------------------------------------------
def keeping(*names):
    def wrap(f, *args):
        return checkpoint(f, *args, context_fn=lambda: create_selective_checkpoint_contexts(names))

    return wrap


@pytest.mark.parametrize("read_first", [False, True])
def test_products_that_are_kept_do_not_run_again(data, read_first):
    ws, x = data
    found = {}
    for name, wrap in (("plain", plain), ("again", checkpoint), ("kept", keeping("matmul"))):
        gc.collect()  # compiling leaves cycles of graphs, whose values need not be computed
        flame.manual_seed(3)
        for w in ws:
            w.grad = None
        with Products() as seen:
            loss = train(ws, x, wrap, rate=0.3)
            if read_first:
                loss.item()
            loss.backward()
            flame.realize(*[w.grad for w in ws])
        found[name] = sum(seen.values()), [w.grad.numpy() for w in ws]
        del loss
    assert found["kept"][0] == found["plain"][0] < found["again"][0]
    for a, b in zip(found["plain"][1], found["kept"][1]):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("names", [["matmul"], ["exp", "sin"], ["mul", "matmul", "tanh", "sum"]])
def test_whatever_is_kept_the_gradients_are_the_same(names):
    w = flame.tensor(np.random.default_rng(2).normal(size=(2, 2)), requires_grad=True)

    def run(wrap):
        x = small()

        def f(t):
            return ((t * 2).exp() @ w).tanh().sin() * wrap(lambda u: (u @ w).exp(), t)

        y = (wrap(f, x * 1.5) @ w).sum()
        first = flame.autograd.grad(y, [x, w], create_graph=True)
        second = flame.autograd.grad(sum((g * g).sum() for g in first), [x, w])
        return [g.numpy() for g in (*first, *second)]

    for a, b in zip(run(keeping(*names)), run(plain)):
        np.testing.assert_allclose(a, b, rtol=1e-9)


def test_a_policy_is_names_or_a_function_of_one():
    seen = []

    def policy(name):
        seen.append(name)
        return name == "sin"

    x = small()
    y = checkpoint(lambda t: t.exp().sin() * 1, x, context_fn=lambda: create_selective_checkpoint_contexts(policy))
    y.sum().backward()
    assert {"exp", "sin"} <= set(seen)
    np.testing.assert_allclose(x.grad.numpy(), np.cos(np.exp(x.detach().numpy())) * np.exp(x.detach().numpy()))
    with pytest.raises(flame.FlameError, match="'matmull' is no operator"):
        create_selective_checkpoint_contexts(["matmull"])
