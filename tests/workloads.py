"""Graphs that the tests of fusion, codegen and machine code share, written with nodes as the composites write them."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir import ops  # noqa: F401  fills the operator table
from flame.ir.dtype import DType
from flame.ir.node import Node, apply, cast, reshape
from flame.passes.grad import gradients, ones

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Work:
    """A graph and its leaves, the large ones first."""

    roots: tuple[Node, ...]
    leaves: tuple[Node, ...]

    def values(self, seed: int = 0) -> dict[Node, np.ndarray]:
        return {n: filled(n, seed + i) for i, n in enumerate(self.leaves)}


def filled(n: Node, seed: int) -> np.ndarray:
    rng, d = np.random.default_rng(seed), n.dtype
    if d.is_float:
        return rng.normal(size=n.shape).astype(d.numpy)
    return (rng.random(n.shape) < 0.5) if d is dt.boolean else rng.integers(0, 100, n.shape).astype(d.numpy)


# --- composites -------------------------------------------------------------------------------------------------------
def fold(name: str, x: Node, axis: int = -1) -> Node:
    """A fold over one axis that stays, of size 1."""
    at = axis % len(x.shape)
    return reshape(apply(name, x, axes=(at,)), tuple(1 if a == at else n for a, n in enumerate(x.shape)))


def mean(x: Node) -> Node:
    return fold("sum", x) * (1.0 / x.shape[-1])


def softmax(x: Node) -> Node:
    e = apply("exp", x - fold("max", x))
    return e / fold("sum", e)


def log_softmax(x: Node) -> Node:
    d = x - fold("max", x)
    return d - apply("log", fold("sum", apply("exp", d)))


def layer_norm(x: Node, w: Node, b: Node) -> Node:
    d = x - mean(x)
    return d * apply("rsqrt", mean(d * d) + 1e-5) * w + b


def rms_norm(x: Node, w: Node) -> Node:
    return x * apply("rsqrt", mean(x * x) + 1e-5) * w


def total(x: Node) -> Node:
    return apply("sum", x, axes=tuple(range(len(x.shape)))) if x.shape else x


def wide(x: Node) -> Node:
    return cast(x, dt.float32)


def first_largest(x: Node) -> Node:
    """argmax over the last axis, as the composite writes it."""
    n = x.shape[-1]
    place = nd.expand(apply("iota", n=n), x.shape)
    hit = apply("eq", x, nd.expand(fold("max", x), x.shape))
    return apply("min", nd.where(hit, place, nd.like(place, n - 1)), axes=(len(x.shape) - 1,))


def uniform(key: Node, shape: Shape) -> Node:
    """Numbers in [0, 1) from a key and the position."""
    counter = reshape(apply("iota", n=prod(shape)), shape)
    return cast(nd.binary("philox", key, counter), dt.float32) * 2.0**-32


# --- graphs -----------------------------------------------------------------------------------------------------------
def one(f: Callable[[Node], Node]) -> Callable[[Shape, DType], Work]:
    def build(shape: Shape, dtype: DType) -> Work:
        x = nd.leaf(0, shape, dtype)
        return Work((cast(f(wide(x)), dtype),), (x,))

    return build


def weighted(f: Callable[..., Node], count: int) -> Callable[[Shape, DType], Work]:
    def build(shape: Shape, dtype: DType) -> Work:
        x = nd.leaf(0, shape, dtype)
        weights = tuple(nd.leaf(1 + i, shape[-1:], dt.float32) for i in range(count))
        return Work((cast(f(wide(x), *weights), dtype),), (x, *weights))

    return build


def layer_norm_backward(shape: Shape, dtype: DType) -> Work:
    x, g = nd.leaf(0, shape, dtype), nd.leaf(3, shape, dtype)
    w, b = nd.leaf(1, shape[-1:], dt.float32), nd.leaf(2, shape[-1:], dt.float32)
    loss = total(layer_norm(wide(x), w, b) * wide(g))
    return Work(tuple(n for n in gradients(loss, ones(loss), (x, w, b)) if n is not None), (x, g, w, b))


def cross_entropy(shape: Shape, dtype: DType) -> Work:
    """The mean loss over rows of classes, and its gradient."""
    x, target = nd.leaf(0, shape, dtype), nd.leaf(1, shape[:-1], dt.int64)
    chosen = apply("gather", log_softmax(wide(x)), reshape(target, (*target.shape, 1)), axis=len(shape) - 1)
    loss = total(chosen) * (-1.0 / prod(target.shape))
    (g,) = gradients(loss, ones(loss), (x,))
    assert g is not None
    return Work((loss, g), (x, target))


def chain(shape: Shape, dtype: DType) -> Work:
    """silu(x * row + column)."""
    x, row = nd.leaf(0, shape, dtype), nd.leaf(1, shape[-1:], dt.float32)
    column = nd.leaf(2, (*shape[:-1], 1), dt.float32)
    v = wide(x) * row + column
    return Work((cast(v * apply("sigmoid", v), dtype),), (x, row, column))


def movements(shape: Shape, dtype: DType) -> Work:
    """Two tensors joined along the last axis, a padded one, a flipped one, every other element, and a transpose."""
    a, b = nd.leaf(0, shape, dtype), nd.leaf(1, shape, dtype)
    rank, n = len(shape), shape[-1]
    none, some = (0,) * rank, (0,) * (rank - 1)
    left = apply("pad", a, low=none, high=(*some, n), step=(1,) * rank, fill=0)
    right = apply("pad", b, low=(*some, n), high=none, step=(1,) * rank, fill=0)
    joined = left + right
    border = apply("pad", a, low=(1,) * rank, high=(2,) * rank, step=(1,) * rank, fill=1)
    turned = apply("flip", b, axes=(rank - 1,)) - a
    half = apply("slice", a, start=none, stop=shape, step=(*((1,) * (rank - 1)), 2)) * 2
    swapped = apply("permute", a, order=(*range(rank - 2), rank - 1, rank - 2)) if rank > 1 else a
    return Work((joined, border, turned, half, swapped + 1), (a, b))


def sums(shape: Shape, dtype: DType) -> Work:
    """Over rows, over columns, over everything, and the largest of each column."""
    x = nd.leaf(0, shape, dtype)
    y = apply("exp", wide(x) * 0.1)
    return Work((fold("sum", y), fold("sum", y, 0), total(y), fold("max", y, 0)), (x,))


def largest(shape: Shape, dtype: DType) -> Work:
    x = nd.leaf(0, shape, dtype)
    return Work((first_largest(x), fold("max", x)), (x,))


def whole_numbers(shape: Shape, dtype: DType) -> Work:
    """Integers and truth values, of several widths."""
    x, y, c = nd.leaf(0, shape, dt.int32), nd.leaf(1, shape, dt.int8), nd.leaf(2, shape, dt.boolean)
    z = nd.where(c, cast(y, dt.int32), x // 3) % 7
    some = apply("logical_and", c, z > 2)
    return Work(
        (z, some, apply("max", some, axes=(len(shape) - 1,)), apply("sum", cast(y, dt.int64), axes=(0,))), (x, y, c)
    )


def dropout(shape: Shape, dtype: DType) -> Work:
    x, key = nd.leaf(0, shape, dtype), nd.leaf(1, (), dt.int64)
    kept = uniform(key, shape) > 0.5
    return Work((nd.where(kept, wide(x) * 2, nd.like(wide(x), 0)), uniform(key, shape)), (x, key))


def adam(shape: Shape, dtype: DType) -> Work:
    """One step; what changes from step to step comes by value."""
    p, g, m, v = (nd.leaf(i, shape, dtype) for i in range(4))
    rate, left, right = (nd.leaf(4 + i, (), dt.float32, host=True) for i in range(3))
    m1, v1 = m * 0.9 + g * 0.1, v * 0.999 + g * g * 0.001
    p1 = p - rate * (m1 / left) / (apply("sqrt", apply("abs", v1) / right) + 1e-8)
    return Work((p1, m1, v1), (p, g, m, v, rate, left, right))


def attention(shape: Shape, dtype: DType) -> Work:
    """softmax(x x^T) x: products with a row kernel between."""
    x = nd.leaf(0, shape, dtype)
    swapped = apply("permute", x, order=(*range(len(shape) - 2), len(shape) - 1, len(shape) - 2))
    p = softmax(wide(apply("matmul", x, swapped)) * (1.0 / shape[-1]))
    return Work((apply("matmul", cast(p, dtype), x),), (x,))


def embedding(shape: Shape, dtype: DType) -> Work:
    """Rows of a table, and the gradient of their squares."""
    x, index = nd.leaf(0, shape, dtype), nd.leaf(1, (9,), dt.int64)
    rows = apply("gather", x, nd.expand(reshape(index, (9, 1)), (9, shape[-1])), axis=0)
    loss = total(rows * rows)
    (g,) = gradients(loss, ones(loss), (x,))
    assert g is not None
    return Work((rows, g), (x, index))


ROW = {
    "softmax": one(softmax),
    "log_softmax": one(log_softmax),
    "layer_norm": weighted(layer_norm, 2),
    "rms_norm": weighted(rms_norm, 1),
}
EVERYTHING = ROW | {
    "layer_norm_backward": layer_norm_backward,
    "cross_entropy": cross_entropy,
    "chain": chain,
    "movements": movements,
    "sums": sums,
    "largest": largest,
    "whole_numbers": whole_numbers,
    "dropout": dropout,
    "adam": adam,
}
