"""Deep graphs: chains of 100,000 nodes, and 48 equal layers."""

import time

import numpy as np
import pytest

from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir.node import Node, apply, reshape
from flame.ir.target import CUDA
from flame.passes.grad import gradients, ones
from tests.support import check, compiled, launches, run_cpu
from tests.workloads import layer_norm

LONG = 100_000


def chain(x: Node, length: int, reshaped: bool = False) -> Node:
    y = x
    for i in range(length // 2 if reshaped else length):
        y = apply("sin", reshape(y, (6, 4) if i % 2 else (4, 6)) if reshaped else y)
    return y


@pytest.mark.slow
@pytest.mark.parametrize("reshaped", [False, True], ids=["elementwise", "reshaped"])
def test_a_long_chain_is_built_differentiated_and_compiled(reshaped):
    x = nd.leaf(0, (4, 6), dt.float32)
    (g,) = gradients(y := chain(x, LONG, reshaped), ones(y), (x,))
    assert g is not None
    assert compiled((y,), CUDA).codes


@pytest.mark.parametrize("shape", [(), (4, 6)], ids=str)
def test_a_chain_is_cut_into_kernels_that_compile_fast(shape):
    x = nd.leaf(0, shape, dt.int64)
    y = x
    for i in range(20_000):
        y = y + x if i % 2 else y * 3
    program = compiled((y,), CUDA)
    assert len(launches(program)) >= 70 and len(program.codes) < 10
    assert max(len(c.source.splitlines()) for c in program.codes.values()) < 300


def test_numbers_of_a_chain():
    x = y = nd.leaf(0, (4, 6), dt.float32)
    for i in range(300):
        y = y * x if i % 2 else y + 0.01
    (g,) = gradients(y, ones(y), (x,))
    assert g is not None
    values = {x: np.full((4, 6), 0.98, np.float32)}
    check((y, g), run_cpu((y, g), values), values, 1000)


def network(depth: int) -> tuple[Node, ...]:
    """Residual layers of a norm and an MLP, and the gradients of all their weights."""
    x, weights = nd.leaf(0, (64, 96), dt.float32), []
    for i in range(depth):
        w, b = (nd.leaf(10 * i + 1 + j, (96,), dt.float32) for j in range(2))
        up, down = nd.leaf(10 * i + 3, (96, 192), dt.float32), nd.leaf(10 * i + 4, (192, 96), dt.float32)
        h = apply("matmul", layer_norm(x, w, b), up)
        x = x + apply("matmul", h * apply("sigmoid", h), down)
        weights += [w, b, up, down]
    loss = apply("sum", x * x, axes=(0, 1))
    return (loss, *(g for g in gradients(loss, ones(loss), tuple(weights)) if g is not None))


def test_distinct_kernels_do_not_depend_on_depth():
    counts, steps = [], []
    for depth in (6, 48):
        start = time.perf_counter()
        program = compiled(network(depth), CUDA)
        seconds = time.perf_counter() - start
        print(f"depth {depth}: {seconds:.2f} s, {len(program.plan.steps)} steps, {len(program.codes)} kernels")
        counts.append(len({c.name for c in program.codes.values()}))
        steps.append(len(program.plan.steps))
    assert counts[0] == counts[1] < 20
    assert steps[1] < 9 * steps[0]
