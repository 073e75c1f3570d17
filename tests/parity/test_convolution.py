"""Convolutions of every form, their gradients and the gradients of those, beside PyTorch; and what they become."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import flame
from flame import compiler
from flame.ir import node as nd
from flame.ir.graph import substitute, toposort, transform
from flame.ir.interp import interpret
from flame.ir.node import Node, apply
from flame.ir.op import Kind
from flame.ir.ops import convolution
from flame.ir.target import CPU
from flame.nn import functional as F
from flame.passes.grad import gradients
from flame.passes.simplify import Scalars

torch = pytest.importorskip("torch", reason="parity needs torch==2.13.0: pip install -e '.[parity]'")
pytestmark = pytest.mark.parity


# --- values -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Form:
    """The operands and options of one convolution."""

    name: str
    x: tuple[int, ...]
    w: tuple[int, ...]
    options: dict[str, Any]


def form(rng: np.random.Generator) -> Form:
    """Any convolution of one or two small axes."""

    def some(low: int, high: int) -> tuple[int, ...]:
        return tuple(int(rng.integers(low, high)) for _ in range(rank))

    rank, groups = int(rng.integers(1, 3)), int(rng.choice([1, 1, 2, 3]))
    c, o, n = (int(rng.integers(1, 3)) for _ in range(3))
    options: dict[str, Any] = {"stride": some(1, 4), "padding": some(0, 4), "dilation": some(1, 4), "groups": groups}
    if rng.random() < 0.5:
        most = (max(a, b) for a, b in zip(options["stride"], options["dilation"]))
        options["output_padding"] = tuple(int(rng.integers(m)) for m in most)
        return Form(f"conv_transpose{rank}d", (n, groups * c, *some(1, 6)), (groups * c, o, *some(1, 4)), options)
    return Form(f"conv{rank}d", (n, groups * c, *some(1, 8)), (groups * o, c, *some(1, 4)), options)


def simplest(roots: tuple[Node, ...]) -> tuple[Node, ...]:
    """Without convolutions: what they decompose to."""
    while any(n.op.name == "convolution" and 0 not in n.shape for n in toposort(roots)):
        roots = transform(roots, lambda n: n.op.decompose(n) if n.op.name == "convolution" and 0 not in n.shape else n)
    return roots


def compare(f: Form, rng: np.random.Generator) -> bool:
    """Values, gradients and their gradients, as convolutions and as what these become; False where it fits nothing."""
    a, b = rng.normal(size=f.x), rng.normal(size=f.w)
    x, w = (torch.tensor(v, requires_grad=True) for v in (a, b))
    try:
        z = getattr(torch.nn.functional, f.name)(x, w, **f.options)
    except RuntimeError:
        with pytest.raises(flame.FlameError):
            getattr(F, f.name)(flame.tensor(a), flame.tensor(b), **f.options)
        return False
    g = torch.tensor(rng.normal(size=z.shape), requires_grad=True)
    first = torch.autograd.grad(z, (x, w), g, create_graph=True)
    weights = [torch.tensor(rng.normal(size=t.shape)) for t in first]
    second = torch.autograd.grad(sum((t * v).sum() for t, v in zip(first, weights)), (x, w, g))

    mine = [flame.tensor(v) for v in (a, b)]
    y = getattr(F, f.name)(*mine, **f.options).node
    seed, *scales = (nd.leaf(-1 - i, tuple(t.shape), y.dtype) for i, t in enumerate((z, *first)))
    leaves = (mine[0].node, mine[1].node, seed)
    by = gradients(y, seed, leaves[:2])
    total = nd.const(0.0, y.dtype)
    for t, v in zip(by, scales):
        assert t is not None
        total = total + apply("sum", t * v, axes=tuple(range(len(t.shape))))
    roots = (y, *by, *gradients(total, nd.const(1.0, y.dtype), leaves))
    values = dict(zip((*leaves, *scales), (a, b, g.detach().numpy(), *(t.numpy() for t in weights))))
    for graph in (roots, simplest(roots)):
        for found, want in zip(interpret(graph, values), (z, *first, *second), strict=True):
            np.testing.assert_allclose(found, want.detach().numpy(), rtol=1e-9, atol=1e-9, err_msg=str(f))
    return True


@pytest.mark.parametrize("seed", range(8))
def test_any_convolution_and_its_gradients(seed: int):
    rng = np.random.default_rng(seed)
    assert sum(compare(form(rng), rng) for _ in range(20)) > 5


@pytest.mark.parametrize("shared", ["x", "w", "none"])
def test_a_batch_of_convolutions_is_each_of_them(shared: str):
    rng = np.random.default_rng(0)
    x, w = (flame.tensor(rng.normal(size=s)) for s in ((3, 2, 4, 6), (3, 2, 2, 3)))
    dims = (None if shared == "x" else 0, None if shared == "w" else 0)

    def loss(a: flame.Tensor, b: flame.Tensor) -> flame.Tensor:
        return (F.max_pool1d(F.conv1d(a, b, stride=2, padding=1, groups=2), 2) ** 2).sum()

    def pick(t: flame.Tensor, i: int, dim: int | None) -> flame.Tensor:
        return t[0] if dim is None else t[i]

    def slope(a: flame.Tensor, b: flame.Tensor) -> tuple[flame.Tensor, flame.Tensor]:
        return flame.func.grad(loss, argnums=(0, 1))(a, b)

    given = (x[0] if shared == "x" else x, w[0] if shared == "w" else w)
    found = flame.vmap(slope, in_dims=dims)(*given)
    for i in range(3):
        a, b = pick(x, i, dims[0]), pick(w, i, dims[1])
        for many, one in zip(found, slope(a, b)):
            np.testing.assert_allclose(many[i].numpy(), one.numpy(), rtol=1e-9)


# --- what they become -------------------------------------------------------------------------------------------------
def step(depthwise: bool = False) -> tuple[Node, ...]:
    """The graph of the gradients of a small net with strided, dilated, grouped, pointwise and transposed layers."""
    weights = [
        flame.ones(*s, requires_grad=True)
        for s in ((8, 3, 3, 3), (8, 8, 3, 3), (8, 2, 3, 3), (8, 8, 1, 1), (8, 4, 2, 2), (4, 1, 3, 3))
    ]
    x = flame.ones(2, 3, 16, 16, requires_grad=True)
    y = F.conv2d(x, weights[0], stride=2, padding=1).relu()
    y = F.conv2d(y, weights[1], padding=2, dilation=2).relu()
    y = F.conv2d(y, weights[2], padding="same", groups=4).relu()
    y = F.conv2d(y, weights[3]).relu()
    y = F.conv_transpose2d(y, weights[4], stride=2).relu()
    if depthwise:
        y = F.conv2d(y, weights[5], groups=4)
    y.sum().backward()
    grads = [t.grad for t in (x, *weights) if t.grad is not None]
    return y.node, *(t.node for t in grads)


def products_that_are_sums(roots: tuple[Node, ...]) -> list[Node]:
    def below(n: Node) -> Node:
        while n.op.kind is Kind.MOVEMENT or n.op.name == "cast":
            (n,) = n.src
        return n

    return [n for n in toposort(roots) if n.op.name == "sum" and below(n.src[0]).op.name == "mul"]


def test_a_training_step_of_convolutions_is_made_of_matrix_products():
    roots = step()
    assert sum(n.op.name == "convolution" for n in toposort(roots)) == 15  # five layers: forward and both gradients
    made = compiler.optimize(roots, CPU, Scalars())
    assert not products_that_are_sums(made)
    assert sum(n.op.kind is Kind.CALL for n in toposort(made)) == 15


def test_one_channel_a_group_is_a_sum_and_writes_no_windows():
    made = compiler.optimize(step(depthwise=True), CPU, Scalars())
    assert len(products_that_are_sums(made)) == 3
    assert sum(n.op.kind is Kind.CALL for n in toposort(made)) == 15


def test_windows_of_many_images_are_never_all_in_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(convolution, "LARGE", 4 << 20)
    x = flame.tensor(np.ones((16, 8, 64, 64), np.float32), requires_grad=True)
    w = flame.tensor(np.ones((8, 8, 3, 3), np.float32), requires_grad=True)
    (F.conv2d(x, w, padding=1) ** 2).sum().backward()
    assert x.grad is not None and w.grad is not None
    every = 16 * 8 * 9 * 64 * 64 * 4  # bytes of all windows
    leaves = {t.node: nd.leaf(-1 - i, t.shape, t.dtype) for i, t in enumerate((x, w))}
    for grad in (x.grad, w.grad):
        program = compiler.compile_graph(substitute((grad.node,), leaves), CPU)
        assert program.plan.arena < every * 0.6
    rng = np.random.default_rng(0)
    monkeypatch.setattr(convolution, "LARGE", 1 << 8)
    assert sum(compare(form(rng), rng) for _ in range(10)) > 2


def test_a_pointwise_convolution_copies_nothing():
    x, w = flame.tensor(np.ones((2, 8, 16, 16))), flame.tensor(np.ones((4, 8, 1, 1)))
    made = compiler.optimize((F.conv2d(x, w).node,), CPU, Scalars())
    (call,) = [n for n in toposort(made) if n.op.kind is Kind.CALL]
    assert set(call.src) == {x.node, w.node}
