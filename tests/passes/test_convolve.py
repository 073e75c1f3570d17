"""The library's convolutions without the library: each form means what the operator means, and its sizes are lawful."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flame.errors import ShapeError
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir.dnn import ConvolutionSpec
from flame.ir.graph import toposort
from flame.ir.interp import interpret
from flame.ir.node import Node, apply
from flame.ir.op import Kind
from flame.ir.ops.convolution import shape_of
from flame.ir.target import CUDA
from flame.passes.grad import gradients, ones
from flame.passes.library import libraries
from flame.passes.simplify import Scalars

TARGET = replace(CUDA, libraries=CUDA.libraries | {"convolution"})


def chosen(*roots: Node, target=TARGET) -> tuple[tuple[Node, ...], list[ConvolutionSpec]]:
    made = libraries(roots, target, Scalars())
    calls = [n["spec"] for n in toposort(made) if n.op.kind is Kind.CALL and n["routine"] == "convolution"]
    return made, calls


def lawful(spec: ConvolutionSpec) -> bool:
    """True if the library's own formula gives the places of y, and no padding is negative."""
    sizes = zip(spec.x[2:], spec.w[2:], spec.y[2:], spec.stride, spec.padding, spec.dilation, strict=True)
    places = ((n + 2 * lo - (k - 1) * d - 1) // by + 1 == p for n, k, p, by, lo, d in sizes)
    return all(places) and min(spec.padding) >= 0 and len(spec.x) in (4, 5)


def same(node: Node, target=TARGET) -> list[ConvolutionSpec]:
    """The calls that a node becomes, which must mean the same."""
    leaves = [n for n in toposort([node]) if n.op.name == "leaf"]
    rng = np.random.default_rng(0)
    values = {n: rng.standard_normal(n.shape).astype(n.dtype.numpy) for n in leaves}
    made, calls = chosen(node, target=target)
    (expected,), (got,) = interpret((node,), values), interpret(made, values)
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)
    assert all(map(lawful, calls)), calls
    return calls


def conv(x, w, stride=1, low=0, high=0, spread=1, dilation=1, groups=1, dtype=dt.float64) -> Node:
    rank = len(x) - 2
    sides = {"stride": stride, "low": low, "high": high, "spread": spread, "dilation": dilation}
    every = {k: v if isinstance(v, tuple) else (v,) * rank for k, v in sides.items()}
    return apply("convolution", nd.leaf(0, x, dtype), nd.leaf(1, w, dtype), **every, groups=groups)


@pytest.mark.parametrize(
    ("node", "form"),
    [
        (conv((2, 3, 8, 9), (4, 3, 3, 3), low=1, high=1), "forward"),
        (conv((2, 3, 12, 14), (4, 3, 3, 3), low=-1, high=(0, -2), stride=2), "forward"),
        (conv((2, 4, 5, 4), (6, 2, 3, 3), low=1, high=2, spread=2, groups=2), "data"),
        (conv((2, 4, 5, 4), (6, 2, 3, 2), low=4, high=-3, spread=(3, 1), groups=2, dilation=(1, 2)), "data"),
        (conv((3, 2, 9, 9), (5, 2, 8, 7), low=1, high=1, stride=1, dilation=1), "weight"),
        (conv((3, 4, 9, 9), (6, 2, 4, 4), low=-1, high=1, stride=2, dilation=2, groups=2), "weight"),
        (conv((2, 3, 4, 5, 6), (4, 3, 2, 2, 2), low=1, high=0), "forward"),
    ],
)
def test_each_form_means_the_operator(node: Node, form: str) -> None:
    (spec,) = same(node)
    assert spec.form == form


def test_sequences_are_images_of_one_row() -> None:
    (spec,) = same(conv((2, 3, 9), (4, 3, 3), low=1, high=1, stride=2))
    assert (spec.x, spec.w, spec.y) == ((2, 3, 1, 9), (4, 3, 1, 3), (2, 4, 1, 5))


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_take_their_own_forms(stride: int, groups: int) -> None:
    x, w = nd.leaf(0, (2, 6, 8, 8), dt.float64), nd.leaf(1, (6, 6 // groups, 3, 3), dt.float64)
    pair = {"stride": (stride,) * 2, "low": (1, 1), "high": (1, 1), "spread": (1, 1), "dilation": (1, 1)}
    y = apply("convolution", x, w, **pair, groups=groups)
    by_x, by_w = gradients(y * y, ones(y), (x, w))
    assert by_x is not None
    assert by_w is not None
    assert [s.form for s in same(by_x)] == ["forward", "forward" if stride == 1 else "data"]
    assert [s.form for s in same(by_w)] == ["forward", "weight"]
    assert same(by_w)[-1].x == (2, 6, 8, 8), "no zeros are added by hand, where the sizes allow it"


def test_what_the_library_declines_is_decomposed() -> None:
    node = conv((2, 3, 8, 9), (4, 3, 3, 3))
    (spec,) = same(node)
    assert not same(node, replace(TARGET, declined=frozenset({spec})))
    assert not same(conv((2, 3, 8, 9), (4, 3, 3, 3), stride=2, spread=2)), "zeros between elements and skipped places"
    whole = conv((2, 3, 8, 9), (4, 3, 3, 3), dtype=dt.int32)
    assert not chosen(whole)[1]


def test_tf32_is_said_where_it_is_allowed() -> None:
    node = conv((2, 3, 8, 9), (4, 3, 3, 3), dtype=dt.float32)
    assert [s.tf32 for s in chosen(node)[1]] == [False]
    assert [s.tf32 for s in chosen(node, target=replace(TARGET, tf32=True))[1]] == [True]


SMALL = st.integers(1, 3)
EDGE = st.integers(-2, 3)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_random_convolutions(data: st.DataObject) -> None:
    rank, groups = data.draw(st.integers(1, 2)), data.draw(SMALL)
    axes = [
        data.draw(st.tuples(st.integers(1, 7), st.integers(1, 5), SMALL, EDGE, EDGE, SMALL, SMALL)) for _ in range(rank)
    ]
    size, taps, stride, low, high, spread, dilation = (tuple(column) for column in zip(*axes, strict=True))
    x = (data.draw(SMALL), groups * data.draw(SMALL), *size)
    w = (groups * data.draw(SMALL), x[1] // groups, *taps)
    sides = {"stride": stride, "low": low, "high": high, "spread": spread, "dilation": dilation, "groups": groups}
    try:
        shape = shape_of(x, w, **sides)
    except ShapeError:
        return
    if 0 not in shape:
        same(conv(x, w, **sides))
