"""The library's attention without the library: its calls mean what the operator means; no matrix of scores is left."""

from dataclasses import replace
from math import prod

import numpy as np
import pytest

from flame import compiler
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir.graph import toposort
from flame.ir.interp import interpret
from flame.ir.library import View
from flame.ir.node import Node, apply
from flame.ir.ops import attention
from flame.ir.plan import Call
from flame.ir.target import CUDA
from flame.passes.attend import readable
from flame.passes.grad import gradients, ones
from flame.passes.library import libraries
from flame.passes.simplify import Scalars

TARGET = replace(CUDA, libraries=CUDA.libraries | {"attention", "attention_stats", "attention_grad"})
HALF = dt.float16


def heads(x: Node, n: int, first: int = 0) -> Node:
    """(B, T, 3 * n * 8) to (B, n, T, 8): one of the three projections that lie side by side."""
    b, t, _ = x.shape
    part = apply("slice", x, start=(0, 0, first), stop=(b, t, first + n * 8), step=(1, 1, 1))
    return apply("permute", nd.reshape(part, (b, t, n, 8)), order=(0, 2, 1, 3))


def operands(kind: str) -> tuple[Node, ...]:
    packed = nd.leaf(0, (2, 6, 96), HALF)
    match kind:
        case "packed":
            return tuple(heads(packed, 4, first) for first in (0, 32, 64))
        case "shared":
            return heads(packed, 4), heads(packed, 2, 32), heads(packed, 2, 48)
        case "masked":
            return (*(heads(packed, 4, first) for first in (0, 32, 64)), nd.leaf(1, (1, 1, 6, 6), HALF))
        case "apart":
            return nd.leaf(0, (3, 5, 16), HALF), nd.leaf(1, (3, 7, 16), HALF), nd.leaf(2, (3, 7, 24), HALF)
        case "copied":  # rows of every second element must be copied
            wide = [nd.leaf(i, (2, 4, 6, 16), HALF) for i in range(3)]
            return tuple(apply("slice", w, start=(0,) * 4, stop=w.shape, step=(1, 1, 1, 2)) for w in wide)
    raise AssertionError(kind)


def values_of(roots: tuple[Node, ...]) -> dict[Node, np.ndarray]:
    rng = np.random.default_rng(0)
    return {n: rng.standard_normal(n.shape).astype(n.dtype.numpy) for n in toposort(roots) if n.op.name == "leaf"}


def graph(kind: str, causal: bool) -> tuple[Node, ...]:
    """The result, its logarithms and the three gradients of a weighted sum."""
    src = operands(kind)
    attrs = {"scale": 0.35, "causal": causal}
    y = apply("attention", *src, **attrs)
    weight = nd.leaf(9, y.shape, HALF)
    found = gradients(y * weight, ones(y), src[:3])
    return (y, apply("attention_stats", *src, **attrs), *(g for g in found if g is not None))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", ["packed", "shared", "masked", "apart", "copied"])
def test_calls_mean_the_operators(kind: str, causal: bool) -> None:
    roots = graph(kind, causal)
    assert len(roots) == 5
    values = values_of(roots)
    made = libraries(roots, TARGET, Scalars())
    assert {n["routine"] for n in toposort(made) if n.op.name == "call"} == {"attention", "attention_grad"}
    for got, want in zip(interpret(made, values), interpret(roots, values), strict=True):
        np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), rtol=2e-3, atol=2e-3)


def test_results_of_one_call_are_one_step_and_nothing_has_the_size_of_all_scores() -> None:
    roots = graph("packed", True)
    program = compiler.compile_graph(roots, TARGET)
    steps = {s.routine: s for s in program.plan.steps if isinstance(s, Call)}
    assert sorted(s.routine for s in program.plan.steps if isinstance(s, Call)) == ["attention", "attention_grad"]
    assert [len(steps[name].more) for name in sorted(steps)] == [1, 2]
    assert max(prod(s.shape) for s in program.plan.slots) <= 2 * 6 * 96


def test_a_result_that_nobody_wants_has_memory_all_the_same() -> None:
    roots = graph("apart", False)[:1]
    program = compiler.compile_graph(roots, TARGET)
    (call,) = [s for s in program.plan.steps if isinstance(s, Call)]
    assert len(call.more) == 1
    assert program.plan.slots[call.more[0]].shape == (1, 3, 5)


def test_a_projection_of_three_is_read_where_it_lies() -> None:
    (y, *_) = libraries(graph("packed", False), TARGET, Scalars())
    (call,) = [n for n in toposort((y,)) if n.op.name == "call"]
    assert {s.op.name for s in call.src} == {"leaf"}
    spec = call["spec"]
    assert (spec.q.offset, spec.k.offset, spec.v.offset) == (0, 32, 64)
    assert spec.q.strides == spec.k.strides == (576, 8, 96, 1)


@pytest.mark.parametrize(
    ("view", "shape", "fit"),
    [
        (View(8, (64, 16, 8, 1)), (2, 4, 2, 8), True),
        (View(4, (64, 16, 8, 1)), (2, 4, 2, 8), False),  # begins between 16 bytes
        (View(0, (64, 16, 12, 1)), (2, 4, 2, 8), False),
        (View(0, (64, 16, 8, 2)), (2, 4, 2, 4), False),
        (View(0, (0, 16, 8, 1)), (2, 4, 2, 8), False),  # an example read twice
        (View(0, (0, 16, 8, 1)), (1, 4, 2, 8), True),
    ],
)
def test_what_is_read_in_place(view: View, shape: tuple[int, ...], fit: bool) -> None:
    assert readable(view, shape) == fit


@pytest.mark.parametrize("why", ["dtype", "width", "declined", "more queries than keys under a diagonal"])
def test_what_the_library_has_not_is_decomposed(why: str) -> None:
    d, target = (dt.float32, TARGET) if why == "dtype" else (HALF, TARGET)
    width, queries = (12 if why == "width" else 16), (9 if why.startswith("more") else 5)
    q, k, v = nd.leaf(0, (2, queries, width), d), nd.leaf(1, (2, 7, width), d), nd.leaf(2, (2, 7, 16), d)
    y = apply("attention", q, k, v, scale=1.0, causal=why.startswith("more"))
    made = libraries((y,), target, Scalars())
    if why == "declined":
        (spec,) = [n["spec"] for n in toposort(made) if n.op.name == "call"]
        made = libraries((y,), replace(target, declined=frozenset({spec})), Scalars())
    assert "attention" not in {n["routine"] for n in toposort(made) if n.op.name == "call"}
    values = values_of((y,))
    (got,), (want,) = interpret(made, values), interpret((y,), values)
    np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", ["packed", "shared", "masked", "apart"])
def test_in_blocks_it_is_the_same(kind: str, causal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    roots = graph(kind, causal)
    values = values_of(roots)
    monkeypatch.setattr(attention, "LARGE", 4 * 2 * 4 * 2 * 6)
    assert len(attention.blocks(roots[0], *roots[0].src[:2])) in (2, 3)
    made = libraries(roots, CUDA, Scalars())
    for got, want in zip(interpret(made, values), interpret(roots, values), strict=True):
        np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), rtol=2e-3, atol=2e-3)


def test_blocks_hold_the_scores_of_few_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v, g = (nd.leaf(i, (2, 64, 8), dt.float32) for i in range(4))
    y = apply("attention", q, k, v, scale=1.0, causal=True)
    roots = (y, *(n for n in gradients(y * g, ones(y), (q, k, v)) if n is not None))
    monkeypatch.setattr(attention, "LARGE", 4 * 2 * 8 * 64)
    plan = compiler.compile_graph(roots, CUDA).plan
    assert max(prod(s.shape) for s in plan.slots) <= 2 * 8 * 64
    monkeypatch.undo()
    plan = compiler.compile_graph(roots, CUDA).plan
    assert max(prod(s.shape) for s in plan.slots) == 2 * 64 * 64


def test_a_mask_of_one_row_is_spread_for_the_gradient_alone() -> None:
    """cuDNN's gradient of a mask of one row for all queries is wrong: by 13 times the largest value, on an H200."""
    q, k, v = (nd.leaf(i, (2, 4, 6, 8), HALF) for i in range(3))
    attrs = {"scale": 0.35, "causal": False}
    y = apply("attention", q, k, v, nd.leaf(3, (2, 1, 1, 6), HALF), **attrs)
    roots = (y, gradients(y, ones(y), [q])[0])
    made = libraries(roots, TARGET, Scalars())
    masks = {n["routine"]: n["spec"] for n in toposort(made) if n.op.name == "call"}
    assert masks["attention"].mask == (2, 1, 1, 6)
    assert masks["attention_grad"].forward.mask == (2, 1, 6, 6)
