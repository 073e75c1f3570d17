"""A checkpoint runs steps of the same plan again: whatever is inside, the gradients are the same to the bit."""

import gc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import flame
from flame import compiler, nn
from flame.ir.graph import toposort
from flame.ir.plan import Call, written
from flame.ir.region import Again, regions_of
from flame.ir.target import CPU, CUDA
from flame.passes.simplify import Scalars
from flame.utils.checkpoint import (
    apply_checkpointing,
    checkpoint,
    create_selective_checkpoint_contexts,
    remove_checkpointing,
)
from tests.support import compiled

pytestmark = pytest.mark.filterwarnings("error")


def bits(tensor):
    array = tensor.float().numpy()
    return array.view(np.int32)


def train(model, data, form, read_first, device="cpu"):
    """The bits of a loss, of every gradient, and of the weights after a step."""
    gc.collect()  # values that an earlier graph left behind would be read instead of computed
    model.zero_grad()
    flame.manual_seed(5)
    x = flame.tensor(data, device=device)
    if form == "autocast":
        with flame.autocast(device, flame.bfloat16):
            out = model(x)
    else:
        out = model(x.bfloat16() if form == "bfloat16" else x)
    loss = out.float().logsumexp(-1).mean()
    if read_first:
        loss.item()
    loss.backward()
    if not read_first:
        flame.realize(loss, *[p.grad for p in model.parameters()])
    return [bits(t) for t in (loss, *[p.grad for p in model.parameters()])]


class Residual(nn.Module):
    def __init__(self, inside):
        super().__init__()
        self.inside = inside

    def forward(self, x):
        return x + self.inside(x)


class Stack(nn.Module):
    def __init__(self, *members):
        super().__init__()
        self.blocks = nn.ModuleList(members)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


def mlp(width=16):
    def inside():
        return nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width), nn.Dropout(0.3)
        )

    return Stack(*[Residual(inside()) for _ in range(3)]), (24, width)


def attention():
    layers = [nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True, norm_first=i > 0) for i in range(2)]
    return Stack(*layers), (2, 8, 16)


def flash():
    class Attend(nn.Module):
        def __init__(self):
            super().__init__()
            self.attend = nn.FlashAttention(8, 2, batch_first=True, dropout=0.2, block=4)

        def forward(self, x):
            return x + self.attend(x, x, x, is_causal=True)[0]

    return Stack(Attend(), Attend()), (2, 12, 8)


def convolution():
    def inside():
        return nn.Sequential(
            nn.Conv2d(4, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.SiLU(), nn.Dropout(0.2), nn.Conv2d(4, 4, 1)
        )

    return Stack(*[Residual(inside()) for _ in range(2)]), (2, 4, 6, 6)


MODELS = {f.__name__: f for f in (mlp, attention, flash, convolution)}


def check(model, shape, form, read_first, device="cpu", **options):
    model = model.bfloat16() if form == "bfloat16" else model
    flame.realize(*model.parameters())
    data = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    plain = train(model, data, form, read_first, device)
    apply_checkpointing(model, lambda name, module: name.count(".") == 1 and name.startswith("blocks."), **options)
    again = train(model, data, form, read_first, device)
    remove_checkpointing(model)
    for a, b in zip(plain, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(a.any() for a in plain[1:])


CASES = [(model, form) for model in MODELS for form in ("float32", "bfloat16", "autocast")]
QUICK = [("mlp", "float32"), ("mlp", "autocast"), ("attention", "autocast"), ("convolution", "float32")]


@pytest.mark.parametrize("read_first", [False, True], ids=["one plan", "two plans"])
@pytest.mark.parametrize(
    ("model", "form"), [pytest.param(*c, marks=() if c in QUICK else pytest.mark.slow) for c in CASES]
)
def test_every_kind_of_layer(model, form, read_first):
    flame.manual_seed(0)
    check(*MODELS[model](), form, read_first)


@pytest.mark.gpu
@pytest.mark.parametrize("read_first", [False, True], ids=["one plan", "two plans"])
@pytest.mark.parametrize(("model", "form"), CASES)
def test_every_kind_of_layer_on_a_gpu(model, form, read_first):
    flame.manual_seed(0)
    made, shape = MODELS[model]()
    check(made.to("cuda"), shape, form, read_first, "cuda")


PARTS = ("linear", "tanh", "gelu", "dropout", "layer_norm", "softmax", "product", "residual", "twice")


def applied(name, x, w, wrap):
    match name:
        case "linear":
            return x @ w
        case "dropout":
            return flame.nn.functional.dropout(x, 0.4)
        case "layer_norm":
            return flame.nn.functional.layer_norm(x, (x.shape[-1],))
        case "softmax":
            return x.softmax(-1)
        case "product":
            return x * x.flip(0) + w[0]
        case "residual":
            return x + (x @ w).sin()
        case "twice":  # a checkpoint in a checkpoint
            return wrap(lambda y: (y @ w).tanh() * y, x)
    return getattr(x, name)() if hasattr(x, name) else getattr(flame, name)(x)


def chain(regions, x, w, wrap):
    for parts in regions:

        def region(y, parts=parts):
            for name in parts:
                y = applied(name, y, w, wrap)
            return y

        x = wrap(region, x)
    return x.square().mean()


def keeping(policy):
    def wrap(function, *args):
        return checkpoint(function, *args, context_fn=lambda: create_selective_checkpoint_contexts(policy))

    return wrap


random_models = given(
    regions=st.lists(st.lists(st.sampled_from(PARTS), min_size=1, max_size=5), min_size=1, max_size=4),
    policy=st.sampled_from([[], [], ["matmul"], ["tanh", "mul"]]),
    read_first=st.booleans(),
    half=st.booleans(),
)


def check_random(regions, policy, read_first, half):
    found = []
    for wrap in (lambda f, *args: f(*args), keeping(policy)):
        gc.collect()
        flame.manual_seed(1)
        rng = np.random.default_rng(3)
        x, w = (flame.tensor(rng.normal(size=shape).astype(np.float32) / 2) for shape in ((6, 8), (8, 8)))
        x, w = ((t.bfloat16() if half else t).realize().requires_grad_() for t in (x, w))
        loss = chain(regions, x, w, wrap)
        if read_first:
            loss.item()
        grads = flame.autograd.grad(loss, [x, w], allow_unused=True)
        found.append([bits(t) for t in (loss, *grads) if t is not None])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


@random_models
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_random_models(regions, policy, read_first, half):
    check_random(regions, policy, read_first, half)


@pytest.mark.slow
@random_models
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_many_random_models(regions, policy, read_first, half):
    check_random(regions, policy, read_first, half)


# --- plans --------------------------------------------------------------------------------------------------------
def graph(wrap):
    x, w = (flame.tensor(np.random.default_rng(i).normal(size=(64, 64)).astype(np.float32)) for i in range(2))
    w.requires_grad_()
    h = x @ w
    for _ in range(3):
        h = wrap(lambda t: ((t @ w).tanh() @ w).sin(), h)
    roots = tuple(g.node for g in flame.autograd.grad((h * h).sum(), [w]))
    order = toposort(roots)
    return roots, Again(regions_of(order, {n for n in order if n.op.name == "leaf"})), w


@pytest.mark.parametrize("target", [CPU, CUDA], ids=["cpu", "cuda"])
def test_the_plan_is_that_without_checkpoints_and_some_of_its_steps_again(target):
    roots, again, _keep = graph(checkpoint)
    assert any(again.regions.homes)
    plain, late = compiled(roots, target).plan, compiled(roots, target, again=again).plan
    assert late.arena < plain.arena
    names = {s.kernel.name for s in plain.steps if not isinstance(s, Call)}
    repeated = [s for s in late.steps if not isinstance(s, Call) and s.again]
    assert repeated and {s.kernel.name for s in repeated} <= names
    assert len(late.steps) > len(plain.steps)
    first = {w: i for i, s in enumerate(late.steps) for w in written(s)}
    assert len(first) == sum(len(written(s)) for s in late.steps), "nothing is written twice"


@pytest.mark.parametrize("target", [CPU, CUDA], ids=["cpu", "cuda"])
def test_following_what_lies_inside_changes_no_graph(target):
    roots, again, _keep = graph(checkpoint)
    nodes, simple = again.regions.nodes, Scalars()
    followed = compiler.optimize((*roots, *nodes), target, simple, len(nodes))
    assert followed[: len(roots)] == compiler.optimize(roots, target, simple)
