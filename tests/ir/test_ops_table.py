"""Every operator of the table, tested from the table: no operator is named here."""

import math
from math import prod

import numpy as np
import pytest

from flame.errors import GradError
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir.node import Node, apply
from flame.ir.op import Kind, Op
from flame.passes.grad import gradients, ones
from tests.support import check, oracle, run_cpu
from tests.table import TABLE, Case, attributes, case, cases, signatures, values_of

COMMON = [dt.float32, dt.int64, dt.boolean]
OTHERS = [d for d in dt.BY_NAME.values() if d not in COMMON]
EPSILON = 1e-5
FOLDS = (Kind.REDUCE, Kind.SEGMENT, Kind.SCAN, Kind.CONTRACT)  # whose sums may cancel
RNG = np.random.default_rng(0)


def compare(c: Case) -> None:
    values = values_of(c, 1)
    check(c.roots, run_cpu(c.roots, values), values, 4, c.op.kind in FOLDS)


@pytest.mark.parametrize("c", cases(COMMON), ids=str)
def test_compiled_is_interpreted(c: Case):
    compare(c)


@pytest.mark.slow
@pytest.mark.parametrize("c", cases(OTHERS), ids=str)
def test_compiled_is_interpreted_in_every_dtype(c: Case):
    compare(c)


def test_every_operator_has_a_case_and_says_what_it_does():
    assert {c.op for c in cases(list(dt.BY_NAME.values()))} == set(TABLE)
    assert all(o.doc and o.numpy for o in TABLE)


# --- gradients --------------------------------------------------------------------------------------------------------
SMOOTH = [o for o in TABLE if o.grad and not o.transparent and any(True for _ in signatures(o, dt.float64))]


def differentiable(op: Op) -> Case:
    return case(op, next(iter(signatures(op, dt.float64))))


def weighted(nodes: tuple[Node | None, ...], first: int) -> tuple[Node, list[Node]]:
    """The sum of nodes times weights of their own, which are leaves."""
    terms, weights = nd.const(0.0, dt.float64), []
    for i, n in enumerate(nodes):
        if n is None or n.dtype is not dt.float64 or not prod(n.shape):
            continue
        weights.append(nd.leaf(first + i, n.shape, n.dtype))
        n = nd.where(apply("eq", apply("abs", n), nd.like(n, math.inf)), nd.like(n, 0), n)  # the fold of nothing
        product = n * weights[-1]
        terms = terms + (apply("sum", product, axes=tuple(range(len(n.shape)))) if n.shape else product)
    return terms, weights


def points(c: Case) -> dict[Node, np.ndarray]:
    """Values between which the operator is smooth: random, so that no two are equal and none is a kink."""
    low, high = c.op.domain
    values = values_of(c, 2)
    return {n: RNG.uniform(low, high, n.shape) if n.dtype is dt.float64 else v for n, v in values.items()}


def differences(loss: Node, values: dict[Node, np.ndarray], wanted: Node) -> np.ndarray:
    """d loss / d wanted by central differences, one element at a time."""
    found = np.zeros(wanted.shape)
    for at in np.ndindex(wanted.shape):
        sides = []
        for sign in (1, -1):
            moved = values[wanted].copy()
            moved[at] += sign * EPSILON
            sides.append(float(oracle((loss,), {**values, wanted: moved})[0]))
        found[at] = (sides[0] - sides[1]) / (2 * EPSILON)
    return found


@pytest.mark.parametrize("op", SMOOTH, ids=str)
def test_gradients_and_their_gradients_are_differences(op: Op):
    c = differentiable(op)
    values = points(c)
    wanted = tuple(n for n in c.leaves if n.dtype is dt.float64)
    loss, weights = weighted(c.roots, 100)
    values |= {w: RNG.uniform(0.5, 1.5, w.shape) for w in weights}
    first = gradients(loss, ones(loss), wanted)
    slope, weights = weighted(first, 200)
    values |= {w: RNG.uniform(0.5, 1.5, w.shape) for w in weights}
    second = gradients(slope, ones(slope), wanted)
    for lower, grads in ((loss, first), (slope, second)):
        made = [nd.like(w, 0) if g is None else g for g, w in zip(grads, wanted, strict=True)]
        for w, g in zip(wanted, oracle(tuple(made), values), strict=True):
            np.testing.assert_allclose(g, differences(lower, values, w), rtol=1e-5, atol=1e-7)
    graph = tuple(g for g in (*first, *second) if g is not None)
    check(graph, run_cpu(graph, values), values, 100, relative_to_all=True)


@pytest.mark.parametrize("op", [o for o in TABLE if o.transparent and o.grad is not None], ids=str)
def test_an_operator_that_only_differentiation_sees_passes_a_gradient_or_stops_it(op: Op):
    x = nd.leaf(0, (3,), dt.float64)
    y = apply(op, x, **attributes(op)[0])
    assert gradients(y, seed := ones(y), (x,))[0] in (None, seed)


@pytest.mark.parametrize("op", [o for o in TABLE if o.grad is None], ids=str)
def test_an_operator_without_a_rule_raises(op: Op):
    loss, _ = weighted(differentiable(op).roots, 100)
    with pytest.raises(GradError, match=f"{op.name} has no gradient rule"):
        gradients(loss, ones(loss), differentiable(op).leaves)


def test_a_library_call_has_no_gradient():
    x = nd.leaf(0, (2, 2), dt.float32)
    y = apply("call", x, routine="none", spec=None, of=(2, 2), as_=dt.float32)
    with pytest.raises(GradError, match="call has no gradient rule"):
        gradients(y, ones(y), (x,))


def test_equal_extremes_share_a_gradient():
    x = nd.leaf(0, (4,), dt.float64)
    for op in (o for o in TABLE if o.kind is Kind.REDUCE):
        (g,) = gradients(y := apply(op, x, axes=(0,)), ones(y), (x,))
        assert g is not None
        (found,) = oracle((g,), {x: np.ones(4)})
        assert found.sum() in (1.0, 4.0) and len(set(found)) == 1
