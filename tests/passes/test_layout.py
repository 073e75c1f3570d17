"""Activations stay as a library lays them: the same values, and nothing large is stored with channels second."""

from dataclasses import replace

import numpy as np
import pytest

import flame
from flame import compiler, nn
from flame.ir.graph import substitute, toposort
from flame.ir.interp import interpret
from flame.ir.node import Node, leaf
from flame.ir.target import CUDA
from flame.nn import functional as F
from flame.passes.layout import layouts
from flame.passes.library import libraries
from flame.passes.simplify import Scalars, simplify
from flame.values import COMPUTED, get
from tests.support import check, run_cuda_on_numpy

TARGET = replace(CUDA, libraries=CUDA.libraries | {"convolution"})
N, C, SIZE = 2, 8, 12


class Block(nn.Module):
    """A residual block with a norm after each convolution."""

    def __init__(self, norm) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(C, C, 3, padding=1, bias=norm is None) for _ in range(2))
        self.norms = nn.ModuleList([norm() for _ in range(2)]) if norm else None

    def forward(self, x):
        y = self.first(x)
        y = (self.norms[0](y) if self.norms else y).relu()
        y = self.second(y)
        return (x + (self.norms[1](y) if self.norms else y)).relu()


MODELS = {
    "plain": lambda: nn.Sequential(Block(None), Block(None)),
    "batch norm": lambda: nn.Sequential(Block(lambda: nn.BatchNorm2d(C)), Block(lambda: nn.BatchNorm2d(C))),
    "group norm": lambda: nn.Sequential(Block(lambda: nn.GroupNorm(4, C)), nn.SiLU(), nn.Conv2d(C, C, 1)),
    "pools": lambda: nn.Sequential(nn.Conv2d(C, C, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(C, C, 3), nn.AvgPool2d(2)),
    "halves": lambda: nn.Sequential(nn.Conv2d(C, C, 3, 2, 1), nn.Upsample(scale_factor=2), nn.Conv2d(C, C, 3)),
    "head": lambda: nn.Sequential(nn.Conv2d(C, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 100, 4)),
}


def graph(name: str, backward: bool) -> tuple[tuple[Node, ...], dict[Node, np.ndarray]]:
    """A model's result or its weights' gradients, over numbered leaves, and the values of these."""
    flame.manual_seed(0)
    model, x = MODELS[name](), flame.randn(N, C, SIZE, SIZE).realize()
    flame.realize(*model.parameters(), *model.buffers())
    y = model(x)
    if backward:
        y.square().mean().backward()
    wanted = [p.grad for p in model.parameters()] if backward else [y]
    roots = tuple(t.node for t in wanted if t is not None)
    inputs = [n for n in toposort(roots, COMPUTED) if n in COMPUTED]
    numbered = {n: leaf(-1 - i, n.shape, n.dtype, not hasattr(get(n), "address")) for i, n in enumerate(inputs)}
    device = flame.device("cpu")
    values = {
        numbered[n]: np.asarray(v, n.dtype.numpy) if not hasattr(v := get(n), "address")
        else np.array(device.array(v, n.shape, n.dtype))
        for n in inputs
    }  # fmt: skip
    return substitute(roots, numbered), values


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("name", list(MODELS))
def test_values_are_the_same(name: str, backward: bool) -> None:
    roots, values = graph(name, backward)
    called = libraries(simplify(roots), TARGET, Scalars())
    made = layouts(called, Scalars())
    for got, want in zip(interpret(made, values), interpret(roots, values), strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-3, atol=2e-5)


@pytest.mark.parametrize("name", ["batch norm", "group norm", "pools"])
def test_compiled_for_a_gpu_they_are_the_same(name: str) -> None:
    roots, values = graph(name, True)
    check(roots, run_cuda_on_numpy(roots, values, TARGET), values, 1000, relative_to_all=True)


@pytest.mark.parametrize("name", ["plain", "batch norm", "group norm"])
def test_nothing_large_is_stored_with_channels_second(name: str) -> None:
    roots, _ = graph(name, True)
    plan = compiler.compile_graph(roots, TARGET).plan
    own = {*plan.leaves, *plan.outputs}
    stored = [s.shape for i, s in enumerate(plan.slots) if i not in own and sum(n > 1 for n in s.shape) == 4]
    activations = [s for s in stored if N * C * SIZE * SIZE == int(np.prod(s))]
    assert activations
    assert set(activations) == {(N, SIZE, SIZE, C)}


def test_a_graph_without_calls_is_left_alone() -> None:
    x = flame.randn(4, 5, 6).realize()
    y = (x.permute(2, 0, 1) * 2.0).sum(0)
    assert layouts((y.node,), Scalars()) == (y.node,)
    assert F.relu(y).shape == (4, 5)
