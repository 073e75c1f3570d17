"""Asking for gradients, beside PyTorch: the same script on both sides, values and errors compared."""

import numpy as np
import pytest

import flame
import flame.autograd
from tests.surface.sides import interpreted, torch

pytestmark = pytest.mark.parity


@pytest.fixture(autouse=True)
def by_the_oracle():
    with interpreted():
        yield


def leaf(lib, values, grad=True):
    return lib.tensor(values, dtype=lib.float64, requires_grad=grad)


def same(a, b):
    if a is None or b is None:
        assert a is b is None
    elif isinstance(a, (tuple, list)):
        assert len(a) == len(b)
        for x, y in zip(a, b):
            same(x, y)
    elif isinstance(a, (flame.Tensor,)):
        assert a.requires_grad == b.requires_grad
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-12)
    else:
        assert a == b


SCRIPTS = []


def script(f):
    SCRIPTS.append(f)
    return f


@script
def accumulation(lib):
    x = leaf(lib, [1.0, 2.0])
    (x * x).sum().backward()
    (x * 3).sum().backward()
    return x.grad


@script
def a_gradient_is_a_constant(lib):
    x = leaf(lib, 2.0)
    (x * x * x).backward()
    y = x.grad * x
    x.grad = None
    y.backward()
    return x.grad


@script
def gradient_of_a_vector(lib):
    x = leaf(lib, [1.0, 2.0])
    (x * x).backward(gradient=leaf(lib, [1.0, 10.0], False))
    return x.grad


@script
def inputs_of_backward(lib):
    x, w = leaf(lib, [1.0, 2.0]), leaf(lib, [3.0, 4.0])
    h = x * w
    (h * h).sum().backward(inputs=[x])
    return x.grad, w.grad


@script
def inputs_may_lie_above_each_other(lib):
    x = leaf(lib, [1.0, 2.0])
    h = x * x
    return lib.autograd.grad((h * x).sum(), [x, h])


@script
def twice_with_retain(lib):
    x = leaf(lib, [1.0, 2.0])
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    return x.grad


@script
def second_order(lib):
    x = leaf(lib, [1.0, 2.0])
    (g,) = lib.autograd.grad((x**3).sum(), x, create_graph=True)
    (h,) = lib.autograd.grad(g.sum(), x)
    return g, h


@script
def several_outputs(lib):
    x = leaf(lib, [1.0, 2.0])
    return lib.autograd.grad([(x * x).sum(), x.exp()], x, grad_outputs=[None, leaf(lib, [1.0, 2.0], False)])


@script
def backward_of_several(lib):
    x = leaf(lib, [1.0, 2.0])
    lib.autograd.backward([(x * x).sum(), x * 2], [None, leaf(lib, [5.0, 6.0], False)])
    return x.grad


@script
def unused_inputs(lib):
    x, z = leaf(lib, [1.0]), leaf(lib, [1.0])
    y = (x * x).sum()
    return (
        lib.autograd.grad(y, [x, z], allow_unused=True, retain_graph=True),
        lib.autograd.grad(y, [x, z], materialize_grads=True),
    )


@script
def batched_gradients(lib):
    x = leaf(lib, [1.0, 2.0])
    y = x * x * x
    return lib.autograd.grad(y, x, lib.eye(2, dtype=lib.float64), is_grads_batched=True)


@script
def hooks_of_computed_tensors(lib):
    x = leaf(lib, [1.0, 2.0])
    seen = []
    h = x * x
    h.register_hook(lambda g: seen.append(g * 1))
    h.register_hook(lambda g: g * 10)
    handle = h.register_hook(lambda g: g * 100)
    handle.remove()
    (h * h).sum().backward()
    return seen, x.grad


@script
def hooks_of_leaves(lib):
    x = leaf(lib, [1.0, 2.0])
    x.register_hook(lambda g: g + 1)
    after = []
    x.register_post_accumulate_grad_hook(lambda t: after.append(t.grad * 2))
    (x * x).sum().backward()
    (x * x).sum().backward()
    return x.grad, after


@script
def hooks_meet_grad_too(lib):
    x = leaf(lib, [1.0, 2.0])
    x.register_hook(lambda g: g * 2)
    h = x * 3
    h.register_hook(lambda g: g * 7)
    return lib.autograd.grad(h.sum(), [x])


@script
def a_hook_of_a_clone_is_its_own(lib):
    x = leaf(lib, [1.0, 2.0])
    h = x * x
    c = h.clone()
    c.register_hook(lambda g: g * 10)
    (h.sum() + c.sum()).backward()
    return x.grad


@script
def a_hook_with_create_graph(lib):
    x = leaf(lib, [1.0, 2.0])
    h = x * x
    h.register_hook(lambda g: g * h)
    (g,) = lib.autograd.grad((h * h).sum(), x, create_graph=True)
    return lib.autograd.grad(g.sum(), x)


@script
def retained_gradients(lib):
    x = leaf(lib, [1.0, 2.0])
    h = x * x
    h.retain_grad()
    h.register_hook(lambda g: g * 2)
    (h * h).sum().backward()
    return h.grad, h.retains_grad, x.retains_grad, x.grad


@script
def what_a_tensor_says(lib):
    x = leaf(lib, [1.0, 2.0])
    h = x * x
    c = leaf(lib, [1.0], False)
    return [
        (t.is_leaf, t.requires_grad, t.grad_fn is None) for t in (x, h, c, h.detach(), x.detach(), c * 2)
    ], h.grad_fn.name()


@script
def detaching_in_place(lib):
    x = leaf(lib, [1.0, 2.0])
    h = x * x
    h.detach_()
    y = (h * x).sum()
    y.backward()
    return h.is_leaf, h.requires_grad, x.grad


@script
def setting_requires_grad(lib):
    x = leaf(lib, [1.0, 2.0], False)
    x.requires_grad = True
    (x * x).sum().backward()
    y = leaf(lib, [1.0])
    y.requires_grad = False
    return x.grad, (y * 2).requires_grad


@script
def modes(lib):
    x = leaf(lib, [1.0])
    out = []
    with lib.no_grad():
        out.append((x * 2).requires_grad)
        with lib.enable_grad():
            out.append((x * 2).requires_grad)
        with lib.set_grad_enabled(True):
            out.append((x * 2).requires_grad)
        out.append(lib.is_grad_enabled())
    with lib.inference_mode():
        out.append((x * 2).requires_grad)
    lib.set_grad_enabled(False)
    out.append((x * 2).requires_grad)
    lib.set_grad_enabled(True)
    out.append((x * 2).requires_grad)

    @lib.no_grad()
    def f(n):
        return [(x * 2).requires_grad] + (f(n - 1) if n else [])

    @lib.no_grad
    def g():
        return (x * 2).requires_grad

    @lib.no_grad()
    def items():
        given = yield (x * 2).requires_grad
        yield given, (x * 2).requires_grad

    walk = items()
    out += [*f(2), lib.is_grad_enabled(), g(), lib.is_grad_enabled()]
    out += [next(walk), lib.is_grad_enabled(), walk.send(5), lib.is_grad_enabled()]

    @lib.set_grad_enabled(False)
    def h():
        return (x * 2).requires_grad

    return [*out, lib.is_grad_enabled(), h(), lib.is_grad_enabled()]


@pytest.mark.parametrize("f", SCRIPTS, ids=lambda f: f.__name__)
def test_a_script_gives_what_pytorch_gives(f):
    same(f(flame), f(torch))


# --- misuse -----------------------------------------------------------------------------------------------------------
def computed(lib):
    x = leaf(lib, [1.0, 2.0])
    return x, x * x


MISUSES = {
    "backward of a vector": lambda lib: computed(lib)[1].backward(),
    "backward of a constant": lambda lib: leaf(lib, [1.0], False).sum().backward(),
    "backward twice": lambda lib: [y := computed(lib)[1].sum().sin(), y.backward(), y.backward()],
    "gradient of another shape": lambda lib: computed(lib)[1].backward(gradient=lib.ones(3)),
    "no inputs": lambda lib: computed(lib)[1].sum().backward(inputs=[]),
    "an unused input": lambda lib: lib.autograd.grad(computed(lib)[1].sum(), leaf(lib, [1.0])),
    "an input without gradients": lambda lib: lib.autograd.grad(computed(lib)[1].sum(), leaf(lib, [1.0], False)),
    "hook on a constant": lambda lib: leaf(lib, [1.0], False).register_hook(lambda g: g),
    "post hook on a computed tensor": lambda lib: computed(lib)[1].register_post_accumulate_grad_hook(print),
    "retain_grad of a constant": lambda lib: leaf(lib, [1.0], False).retain_grad(),
    "requires_grad of integers": lambda lib: setattr(lib.tensor([1]), "requires_grad", True),
    "requires_grad of a computed tensor": lambda lib: setattr(computed(lib)[1], "requires_grad", False),
    "a hook that returns another shape": lambda lib: [
        x := leaf(lib, [1.0, 2.0]), x.register_hook(lambda g: g[:1].sum()), (x * x).sum().backward(),
        1 / 0 if lib is torch else 0,  # PyTorch takes a gradient of another shape for .grad when it broadcasts
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", MISUSES)
def test_what_pytorch_refuses_is_refused(name):
    with pytest.raises(Exception):  # noqa: B017
        MISUSES[name](torch)
    with pytest.raises(flame.FlameError):
        MISUSES[name](flame)


# --- transformations of functions -------------------------------------------------------------------------------------
def f(lib):
    return lambda x, w: (x @ w).tanh().sum() * x.sum()


TRANSFORMS = {
    "grad": lambda lib, func, x, w: func.grad(f(lib))(x, w),
    "grad of both": lambda lib, func, x, w: func.grad(f(lib), argnums=(0, 1))(x, w),
    "grad of a negative argnum": lambda lib, func, x, w: func.grad(f(lib), argnums=-1)(x, w),
    "grad_and_value": lambda lib, func, x, w: func.grad_and_value(f(lib))(x, w),
    "grad with aux": lambda lib, func, x, w: func.grad(lambda a: ((a * a).sum(), a * 2), has_aux=True)(x),
    "grad of a dict": lambda lib, func, x, w: sorted(
        func.grad(lambda d: f(lib)(d["x"], d["w"]))({"x": x, "w": w}).items()
    ),
    "grad of grad": lambda lib, func, x, w: func.grad(lambda a: func.grad(f(lib))(a, w).sin().sum())(x),
    "closure over an outer argument": lambda lib, func, x, w: func.grad(
        lambda a: func.grad(lambda b: (a * b * b).sum())(w).sum()
    )(w),
    "vjp": lambda lib, func, x, w: [(o := func.vjp(lambda a, b: a @ b, x, w))[0], o[1](o[0] * 2)],
    "vjp of a dict": lambda lib, func, x, w: [(o := func.vjp(lambda a: {"y": a.sin()}, x))[0]["y"], o[1]({"y": x})],
    "jvp": lambda lib, func, x, w: func.jvp(lambda a, b: (a @ b).exp(), (x, w), (x * 2, w * 3)),
    "jvp with aux": lambda lib, func, x, w: func.jvp(lambda a: (a.exp(), a), (x,), (x,), has_aux=True),
    "jacrev": lambda lib, func, x, w: func.jacrev(lambda a: (a @ w).tanh())(x),
    "jacrev of both": lambda lib, func, x, w: func.jacrev(lambda a, b: (a @ b).tanh(), argnums=(0, 1))(x, w),
    "jacrev of a tuple": lambda lib, func, x, w: func.jacrev(lambda a: (a.sin(), a.sum()))(x),
    "jacfwd": lambda lib, func, x, w: func.jacfwd(lambda a: (a @ w).tanh())(x),
    "jacfwd of both": lambda lib, func, x, w: func.jacfwd(lambda a, b: (a @ b).tanh(), argnums=(0, 1))(x, w),
    "hessian": lambda lib, func, x, w: func.hessian(lambda a: (a @ w).exp().sum())(x),
    "hessian of both": lambda lib, func, x, w: func.hessian(lambda a, b: (a @ b).exp().sum(), argnums=(0, 1))(x, w),
    "jacrev of a max": lambda lib, func, x, w: func.jacrev(lambda a: a.amax(1))(x),
    "gradients of each example": lambda lib, func, x, w: func.vmap(func.grad(f(lib), argnums=1), in_dims=(0, None))(
        x, w
    ),
    "vmap over a jacobian": lambda lib, func, x, w: func.vmap(func.jacrev(lambda a: a.tanh() * a.sum()))(x),
    "vmap in vmap": lambda lib, func, x, w: func.vmap(func.vmap(lambda a, b: a * b, (None, 0)), (0, None))(
        x[:, 0], w[0]
    ),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch compiles forward mode by torch.jit.script
@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transformation_gives_what_torch_func_gives(name):
    import torch.func

    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(3, 4)), rng.normal(size=(4, 2))
    mine = TRANSFORMS[name](flame, flame.func, leaf(flame, x, False), leaf(flame, w, False))
    same(mine, TRANSFORMS[name](torch, torch.func, leaf(torch, x, False), leaf(torch, w, False)))


FUNCTIONALS = {
    "vjp": lambda lib, F, x, w: F.vjp(lambda a, b: (a @ b).sin(), (x, w), lib.ones((3, 2), dtype=lib.float64)),
    "vjp of one": lambda lib, F, x, w: F.vjp(lambda a: a.sin().sum(), x),
    "jvp": lambda lib, F, x, w: F.jvp(lambda a, b: (a @ b).sin(), (x, w), (x * 2, w)),
    "jacobian": lambda lib, F, x, w: F.jacobian(lambda a, b: (a @ b).sin(), (x, w)),
    "jacobian of a tuple": lambda lib, F, x, w: F.jacobian(lambda a: (a.sin(), a.sum()), x),
    "hessian": lambda lib, F, x, w: F.hessian(lambda a, b: (a @ b).sin().sum(), (x, w)),
    "hvp": lambda lib, F, x, w: F.hvp(lambda a, b: (a @ b).sin().sum(), (x, w), (x, w)),
    "vhp": lambda lib, F, x, w: F.vhp(lambda a: a.sin().sum(), x, x),
}


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("name", FUNCTIONALS)
def test_autograd_functional(name, create_graph):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(3, 4)), rng.normal(size=(4, 2))

    class Bound:
        def __init__(self, F):
            self.F = F

        def __getattr__(self, called):
            return lambda *args: getattr(self.F, called)(*args, create_graph=create_graph)

    mine = FUNCTIONALS[name](flame, Bound(flame.autograd.functional), leaf(flame, x), leaf(flame, w))
    other = FUNCTIONALS[name](torch, Bound(torch.autograd.functional), leaf(torch, x), leaf(torch, w))
    same(mine, other)


def test_a_module_called_with_other_parameters():
    import torch.func

    def run(lib, func):
        lib.manual_seed(0)
        net = lib.nn.Sequential(lib.nn.Linear(3, 2), lib.nn.Tanh(), lib.nn.Linear(2, 1, bias=False))
        rng = np.random.default_rng(0)
        params = {n: lib.tensor(rng.normal(size=tuple(p.shape)), dtype=lib.float32) for n, p in net.named_parameters()}
        own = [p.detach() + 0 for p in net.parameters()]
        x = lib.tensor(rng.normal(size=(4, 3)), dtype=lib.float32)

        def loss(given, a):
            return func.functional_call(net, ({}, given), (a,)).square().sum()

        found = func.vmap(func.grad(loss), (None, 0))(params, x)
        for p, q in zip(net.parameters(), own, strict=True):
            assert bool((p == q).all()) and p.requires_grad
        with pytest.raises(Exception, match="0.weight"):
            func.functional_call(net, {"0.bias": own[1]}, (x,), strict=True)
        tied = lib.nn.Sequential(net[0], lib.nn.Linear(2, 3, bias=False), net[0])
        tied[1].weight = lib.nn.Parameter(lib.tensor(rng.normal(size=(3, 2)), dtype=lib.float32))
        out = func.functional_call(tied, {"0.weight": params["0.weight"], "0.bias": params["0.bias"]}, x)
        return [out.detach().numpy()] + [v.detach().numpy() for v in found.values()]

    with pytest.raises(flame.FlameError, match="Linear has no nothing; its names are weight, bias"):
        flame.func.functional_call(flame.nn.Linear(1, 1), {"nothing": flame.ones(1)}, flame.ones(1))
    for a, b in zip(run(flame, flame.func), run(torch, torch.func), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_transformations_reach_weights_they_close_over():
    w = leaf(flame, [1.0, 2.0])
    v = leaf(torch, [1.0, 2.0])
    x = np.array([3.0, 4.0])
    flame.func.grad(lambda a: (a * a * w).sum())(leaf(flame, x, False)).sum().backward()
    torch.func.grad(lambda a: (a * a * v).sum())(leaf(torch, x, False)).sum().backward()
    same(w.grad, v.grad)
