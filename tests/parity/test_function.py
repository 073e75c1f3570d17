"""flame.autograd.Function beside torch.autograd.Function: one script for both."""

import contextlib
import gc
import weakref

import numpy as np
import pytest

import flame
from flame import compiler
from tests.parity.both import torch
from tests.parity.test_autograd import leaf, same
from tests.surface.sides import interpreted

pytestmark = pytest.mark.parity


@pytest.fixture(autouse=True)
def by_the_oracle(request):
    with contextlib.nullcontext() if "compiled" in request.node.name else interpreted():
        yield


def product(lib, seen):
    class Product(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x, k, w):
            y = (x * w).exp()
            ctx.save_for_backward(x, w, y)
            ctx.k = k
            return y * k, x + w

        @staticmethod
        def backward(ctx, gy, gz):
            x, w, y = ctx.saved_tensors
            seen.append(ctx.needs_input_grad)
            return gy * y * w * ctx.k + gz, None, gy * y * x * ctx.k + gz

    return Product


def later_context(lib, seen):
    class Cube(lib.autograd.Function):
        @staticmethod
        def forward(x, w):
            return x * x * x + w

        @staticmethod
        def setup_context(ctx, inputs, output):
            x, _ = inputs
            ctx.save_for_backward(x, output)

        @staticmethod
        def backward(ctx, g):
            x, y = ctx.saved_tensors
            return 3 * x * x * g + y * 0, None

    return Cube


def through_its_result(lib, seen):
    class Exp(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x.exp()
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, g):
            (y,) = ctx.saved_tensors
            return g * y

    return Exp


def partial(lib, seen):
    class Partial(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.set_materialize_grads(False)
            order = (x > 1).to(lib.int64)
            extra = x * 5
            ctx.mark_non_differentiable(extra)
            return x * 2, x * 3, extra, order

        @staticmethod
        def backward(ctx, a, b, c, d):
            seen.append([g is None for g in (a, b, c, d)])
            return a * 2

    return Partial


def broadcast(lib, seen):
    class Broadcast(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            return x * w

        @staticmethod
        def backward(ctx, g):
            return g, g  # wider than w: summed to its shape

    return Broadcast


def identity(lib, seen):
    class Scaled(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.view(x.shape)

        @staticmethod
        def backward(ctx, g):
            return g * 10

    return Scaled


def once(lib, seen):
    from importlib import import_module

    class Once(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @import_module(f"{lib.__name__}.autograd.function").once_differentiable
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            seen.append(lib.is_grad_enabled())
            return 2 * x * g

    return Once


def second(lib, y, x):
    (g,) = lib.autograd.grad(y, x, create_graph=True)
    return [g, *lib.autograd.grad((g * g).sum(), x)]


SCRIPTS = {
    "several results and arguments": lambda lib, F, x, w: [
        *(o := F(product).apply(x, 2.0, w)), lib.autograd.grad((o[0] * o[1]).sum(), [x, w])],
    "one of several results": lambda lib, F, x, w: lib.autograd.grad(F(product).apply(x, 2.0, w)[1].sum(), [x, w]),
    "mixed derivatives": lambda lib, F, x, w: lib.autograd.grad(
        lib.autograd.grad(F(product).apply(x, 2.0, w)[0].sum(), x, create_graph=True)[0].sum(), w),
    "an argument without gradients": lambda lib, F, x, w: lib.autograd.grad(
        F(product).apply(x, 2.0, w.detach())[0].sum(), x),
    "setup_context": lambda lib, F, x, w: second(lib, F(later_context).apply(x, w).sum(), x),
    "through its result": lambda lib, F, x, w: second(lib, F(through_its_result).apply(x).sum(), x),
    "some results": lambda lib, F, x, w: [
        o := F(partial).apply(x), [(t.requires_grad, t * 1) for t in o], lib.autograd.grad(o[0].sum(), x)],
    "wider gradients": lambda lib, F, x, w: lib.autograd.grad(F(broadcast).apply(x, w.sum()).sum(), [x, w]),
    "the argument itself": lambda lib, F, x, w: lib.autograd.grad(F(identity).apply(x * 2).sum(), x),
    "once differentiable": lambda lib, F, x, w: lib.autograd.grad(F(once).apply(x).sum(), x),
    "the same argument twice": lambda lib, F, x, w: lib.autograd.grad(F(product).apply(x, 2.0, x)[0].sum(), x),
    "a call of a call": lambda lib, F, x, w: second(
        lib, F(through_its_result).apply(F(through_its_result).apply(x)).sum(), x),
    "without gradients": lambda lib, F, x, w: [F(product).apply(x.detach(), 2.0, w.detach())[0]],
    "a hook on a result": lambda lib, F, x, w: [
        o := F(identity).apply(x), o.register_hook(lambda g: g * 3) and 0, lib.autograd.grad(o.sum(), x)],
    "the name": lambda lib, F, x, w: F(identity).apply(x).grad_fn.name(),
}  # fmt: skip


def run(lib, name):
    seen = []
    x, w = leaf(lib, [1.0, 2.0]), leaf(lib, [0.5, 0.25])
    return [SCRIPTS[name](lib, lambda make: make(lib, seen), x, w), seen]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_function_does_what_pytorchs_does(name):
    same(run(flame, name), run(torch, name))


def second_of_once(lib):
    x = leaf(lib, [1.0, 2.0])
    return second(lib, once(lib, []).apply(x).sum(), x)


def wrong(lib, returned):
    class Wrong(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return returned(g)

    x = leaf(lib, [1.0, 2.0])
    return lib.autograd.grad(Wrong.apply(x).sum(), x)


MISUSES = {
    "second derivatives of once": second_of_once,
    "too many gradients": lambda lib: wrong(lib, lambda g: (g, g)),
    "a shape that does not fit": lambda lib: wrong(lib, lambda g: g[:1].expand(3)),
    "no tensor": lambda lib: wrong(lib, lambda g: 1.0),
}


@pytest.mark.parametrize("name", MISUSES)
def test_what_pytorch_refuses_is_refused(name):
    with pytest.raises(Exception):  # noqa: B017
        MISUSES[name](torch)
    with pytest.raises(flame.FlameError):
        MISUSES[name](flame)


# --- FLAME's own ------------------------------------------------------------------------------------------------------
def test_a_decorator_with_a_gradient():
    @flame.autograd.custom_gradient(lambda g, y, x, k, w: (g * y, None, g * x))
    def f(x, k, w):
        return x * k * w

    x, w = leaf(flame, [1.0, 2.0]), leaf(flame, [3.0, 4.0])
    y = f(x, 2.0, w)
    y.sum().backward()
    assert (y.tolist(), x.grad.tolist(), w.grad.tolist()) == ([6.0, 16.0], [6.0, 16.0], [1.0, 2.0])
    assert f.__name__ == "f"


def test_realizing_calls_no_code_of_the_user():
    called = []

    @flame.autograd.custom_gradient(lambda g, y, x: called.append(1) or g)
    def f(x):
        return x * 2

    x = leaf(flame, [1.0])
    h = x * 3
    h.register_hook(lambda g: called.append(2))
    y = f(h).sum()
    y.item()
    assert called == []
    y.backward()
    assert called == [1, 2]


def test_a_call_lives_as_long_as_its_graph_and_no_longer():
    class Big:
        pass

    held = Big()
    gone = weakref.ref(held)

    def back(g, y, x, big):
        return g * 2, None

    @flame.autograd.custom_gradient(back)
    def f(x, big):
        return x * 2

    x = leaf(flame, [1.0])
    y = f(x, held)
    h = x * 5
    h.register_hook(lambda g: (g * h, held)[0])  # a cycle through the user's closure
    z = (y * h).sum()
    z.item()
    z.backward()
    x.grad.numpy()
    held = y = h = z = None
    gc.collect()
    assert gone() is None


def test_a_plan_is_compiled_once_for_all_calls():
    programs = []
    x = flame.tensor(np.ones(3, np.float32), requires_grad=True)

    @flame.autograd.custom_gradient(lambda g, y, x: g * y)
    def f(x):
        return x.exp()

    def step():
        x.grad = None
        f(x).sum().backward()
        flame.checkpoint(lambda t: t.sin() * t, x).sum().backward()
        return x.grad

    compiler.listeners.append(programs.append)
    try:
        for _ in range(3):
            step().numpy()
    finally:
        compiler.listeners.remove(programs.append)
    assert len(programs) == 1
