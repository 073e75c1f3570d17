"""Random graphs of every operator of the table: each value with its numbers, and how far rounding may move them.

How an operator carries an error on is found by asking its numpy meaning at moved operands, so no operator needs a rule
here. Where a value is exact, discontinuous operators may read it; elsewhere only if moving their operands by many times
the error changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from random import Random
from typing import Any

import numpy as np
from hypothesis import strategies as st

from flame.errors import FlameError
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir import rules
from flame.ir.interp import perform
from flame.ir.node import Node, apply
from flame.ir.op import Kind, Op
from tests.table import IMAGES, SHAPE, TABLE, arity, attributes, signatures

EPSILON = {"float64": 1e-15, "float32": 2e-7, "bfloat16": 2**-8, "float16": 2**-11}
EPSILON |= {"float8_e4m3fn": 2**-4, "float8_e5m2": 2**-3}
SHAPES = [(), (1,), (5,), (8,), SHAPE, (4, 1), (2, 3, 4), (1, 4), (33,), (2, 40), (6, 7)]
LEAVES = [dt.float32, dt.float32, dt.float32, dt.int64, dt.bfloat16, dt.int8, dt.float64, dt.boolean, dt.uint8]
LARGEST, WORST, MOST = 1e4, 1e-2, 2000  # of a value, of a relative error, of elements
ROUNDINGS = 8  # of one operator's result, in steps of its dtype
ELEMENTWISE = [op for op in TABLE if op.kind is Kind.ELEMENTWISE]
OTHERS = [op for op in TABLE if op.kind is not Kind.ELEMENTWISE]


@dataclass
class Value:
    """A node, the oracle's numbers for it, and how far rounding may move each."""

    node: Node
    value: np.ndarray
    error: np.ndarray

    @property
    def exact(self) -> bool:
        return not self.error.any()


def wide(x: np.ndarray) -> np.ndarray:
    """Floats as float64; the others as they are."""
    return x if x.dtype.kind in "biu" else x.astype(np.float64)


def moved(op: Op, attrs: dict[str, Any], src: list[Value], by: Sequence[Any]) -> np.ndarray:
    """The operator at operands moved by multiples of their errors."""
    assert op.numpy is not None
    given = [wide(v.value) + s * v.error if v.value.dtype.kind not in "biu" else v.value for v, s in zip(src, by)]
    with np.errstate(all="ignore"):
        return wide(np.asarray(op.numpy(*given, **attrs)))


def sizes(op: Op, attrs: dict[str, Any], src: list[Value], out: np.ndarray) -> np.ndarray:
    """The magnitude of what is rounded: of the result, or of all that is added up to it."""
    if op.kind in (Kind.ELEMENTWISE, Kind.MOVEMENT, Kind.GATHER):
        return np.abs(out)
    assert op.numpy is not None
    given = [np.abs(x) if x.dtype.kind == "f" else x for x in (wide(v.value) for v in src)]
    with np.errstate(all="ignore"):
        total = wide(np.asarray(op.numpy(*given, **attrs)))
    return np.maximum(np.abs(out), np.abs(total)) if total.shape == out.shape else np.abs(out)


def overflows(op: Op, attrs: dict[str, Any], src: list[Value]) -> bool:
    """True if some order of folding might leave the range of float32: 0 times an overflow is nan in that order only."""
    if op.kind in (Kind.ELEMENTWISE, Kind.MOVEMENT, Kind.GATHER):
        return False
    assert op.numpy is not None
    given = [np.maximum(np.abs(x), 1) if x.dtype.kind == "f" else x for x in (wide(v.value) for v in src)]
    with np.errstate(all="ignore"):
        return bool((np.abs(wide(np.asarray(op.numpy(*given, **attrs)))) > 1e30).any())


def rounds(op: Op) -> bool:
    """False for operators whose result is exact wherever it can be represented."""
    return op.dtype is rules.floating and op.grad is not None and not (op.kind is Kind.ELEMENTWISE and stepped(op))


def stepped(op: Op) -> bool:
    """True for operators whose gradient is zero: they give whole numbers."""
    x = nd.leaf(0, (), dt.float32)
    if arity(op) != 1 or op.grad is None:
        return False
    (g,) = op.grad(nd.like(x, 1), apply(op, x, **attributes(op)[0]), x)
    return g is None or g is nd.like(x, 0)


def estimate(node: Node, src: list[Value]) -> Value | None:
    """The node as a Value, or None where its numbers are of no use for a comparison."""
    op, attrs = node.op, dict(node.attrs)
    with np.errstate(all="ignore"):
        value = perform(node, [v.value for v in src])
    if prod(node.shape) > MOST or not prod(node.shape):
        return None
    out = wide(value)
    none = np.zeros(node.shape)
    if not node.dtype.is_float:
        return Value(node, value, none) if _firm(op, attrs, src, out) else None
    if not np.isfinite(out).all() or np.abs(out).max() > LARGEST or overflows(op, attrs, src):
        return None
    still = moved(op, attrs, src, [0.0] * len(src))
    if all(v.exact for v in src) and not rounds(op) and (still == out).all():
        return Value(node, value, none)
    signs = np.random.default_rng(len(src)).choice([-1.0, 1.0], (2, len(src)))
    tries = [moved(op, attrs, src, list(by)) for by in (np.ones(len(src)), -np.ones(len(src)), *signs)]
    spread = np.max([np.abs(t - still) for t in tries], axis=0)
    error = 1.5 * spread + ROUNDINGS * EPSILON[node.dtype.name] * sizes(op, attrs, src, out)
    if not np.isfinite(error).all() or (error > WORST * np.maximum(1.0, np.abs(out))).any():
        return None
    return Value(node, value, np.broadcast_to(error, node.shape))


def _firm(op: Op, attrs: dict[str, Any], src: list[Value], out: np.ndarray) -> bool:
    """True if errors of the operands leave whole numbers and truth values as they are."""
    low, high = -(2.0**15), 2.0**15
    for v in src:
        if v.value.dtype.kind not in "biu" and out.dtype.kind in "iu":
            if out.dtype.kind == "u":
                low = 0.0
            if out.dtype.itemsize == 1:
                low, high = max(low, -128.0), 127.0
            if (wide(v.value) < low).any() or (wide(v.value) > high).any():
                return False
    if all(v.exact for v in src):
        return True
    rng = np.random.default_rng(len(src))
    apart = [[32 * rng.choice([-1.0, 1.0], v.value.shape) for v in src] for _ in range(3)]  # sorting sees differences
    together = [[s] * len(src) for s in (-32.0, 32.0)]
    return all((moved(op, attrs, src, by) == out).all() for by in (*together, *apart))


@dataclass
class Graph:
    """What was made so far; `random` chooses, each option as often as any other."""

    random: Random
    made: list[Value] = field(default_factory=list)
    leaves: dict[Node, np.ndarray] = field(default_factory=dict)

    # --- choosing -----------------------------------------------------------------------------------------------------
    def number(self, low: int, high: int) -> int:
        return self.random.randint(low, high)

    def choose(self, options):
        return options[self.number(0, len(options) - 1)]

    def any(self, fits=lambda v: True) -> Value | None:
        options = [v for v in self.made if fits(v)]
        return self.choose(options[-8:]) if options else None

    # --- making -------------------------------------------------------------------------------------------------------
    def leaf(self) -> None:
        n = nd.leaf(len(self.leaves), self.choose(SHAPES), self.choose(LEAVES))
        rng, low = np.random.default_rng(len(self.leaves)), 0 if n.dtype is dt.uint8 else -3
        self.leaves[n] = np.asarray(rng.integers(low, 4, n.shape)).astype(n.dtype.numpy)
        self.made.append(Value(n, self.leaves[n], np.zeros(n.shape)))

    def apply(self, op: Op | str, *src: Value, **attrs: Any) -> Value | None:
        """The operator on values, if its rules take them and the result is of use."""
        try:
            node = apply(op, *[v.node for v in src], **attrs)
        except (FlameError, ValueError):
            return None
        made = estimate(node, list(src))
        if made is not None:
            self.made.append(made)
        return made

    def as_(self, v: Value, dtype: dt.DType) -> Value | None:
        return v if v.node.dtype is dtype else self.apply("cast", v, to=dtype)

    def expanded(self, v: Value, shape: tuple[int, ...]) -> Value | None:
        return v if v.node.shape == shape else self.apply("expand", v, to=shape)

    # --- one operator each --------------------------------------------------------------------------------------------
    def elementwise(self) -> None:
        """Any elementwise operator, on operands that are cast and broadcast to fit."""
        op = self.choose(ELEMENTWISE)
        first = self.any()
        assert first is not None
        options = list(signatures(op, first.node.dtype))
        dtypes = self.choose(options) if options else (dt.float32,) * arity(op)
        src, shape = [first], first.node.shape
        for _ in dtypes[1:]:
            other = self.any(lambda v, shape=shape: _meet(shape, v.node.shape))
            assert other is not None
            shape = nd.broadcast_shapes(shape, other.node.shape)
            src.append(other)
        ready = []
        for v, d in zip(src, dtypes, strict=True):
            cast = self.as_(v, d)
            ready.append(self.expanded(cast, shape) if cast is not None else None)
        if None not in ready:
            self.apply(op, *ready, **self.choose(attributes(op)))

    def constant(self) -> None:
        v = self.any(lambda v: v.node.dtype is not dt.boolean)
        if v is not None:
            c = nd.const(self.choose([0, 1, 2, 3] if v.node.dtype is dt.uint8 else [0, 1, -1, 2, 3]), v.node.dtype)
            number = Value(c, np.asarray(c["value"], c.dtype.numpy), np.zeros(()))
            spread = estimate(nd.expand(c, v.node.shape), [number]) if v.node.shape else number
            if spread is not None:
                self.apply(self.choose(["mul", "add"]), v, spread)

    def move(self) -> None:
        v = self.any()
        assert v is not None
        n, kind = v.node, self.choose(["reshape", "permute", "slice", "flip", "pad", "expand"])
        rank = len(n.shape)
        if kind == "reshape":
            to = self.choose([s for s in [*SHAPES, *_factored(n.shape)] if prod(s) == prod(n.shape)] or [n.shape])
            self.apply("reshape", v, to=to)
        elif kind == "permute" and rank:
            self.apply("permute", v, order=tuple(self.random.sample(range(rank), rank)))
        elif kind == "slice" and rank:
            start = tuple(self.number(0, s - 1) for s in n.shape)
            stop = tuple(self.number(lo + 1, s) for lo, s in zip(start, n.shape))
            self.apply("slice", v, start=start, stop=stop, step=tuple(self.number(1, 3) for _ in start))
        elif kind == "flip" and rank:
            self.apply("flip", v, axes=(self.number(0, rank - 1),))
        elif kind == "pad" and rank:
            low, high = ([self.number(0, 2) for _ in n.shape] for _ in range(2))
            step = tuple(self.number(1, 2) for _ in n.shape)
            self.apply("pad", v, low=tuple(low), high=tuple(high), step=step, fill=self.number(0, 1))
        else:
            self.apply("expand", v, to=self.choose([s for s in SHAPES if _to(n, s)] or [n.shape]))

    def reduce(self) -> None:
        v = self.any(lambda v: bool(v.node.shape))
        if v is not None:
            rank = len(v.node.shape)
            axes = tuple(a for a in range(rank) if self.number(0, 1)) or (rank - 1,)
            self.apply(self.choose([op for op in TABLE if op.kind is Kind.REDUCE]), v, axes=axes)

    def gather(self) -> None:
        a = self.any(lambda v: bool(v.node.shape))
        i = self.any(lambda v: v.node.dtype.category == dt.INT and bool(v.node.shape))
        if a is None or i is None:
            return
        axis, count = self.number(0, len(a.node.shape) - 1), prod(i.node.shape)
        flat = self.apply("reshape", i, to=tuple(count if x == axis else 1 for x in range(len(a.node.shape))))
        full = tuple(count if x == axis else s for x, s in enumerate(a.node.shape))
        if flat is None or prod(full) > MOST:
            return
        index = self.expanded(flat, full)
        if index is not None:
            self.apply("gather", a, index, axis=axis)

    def table(self) -> None:
        """Any other operator under one of the table's examples, on values of the shape that they fit."""
        op = self.choose(OTHERS)
        first = self.any(lambda v: v.node.shape == SHAPE)
        if first is None:
            return
        options = list(signatures(op, first.node.dtype)) or list(signatures(op, dt.float32))
        src = []
        for d in self.choose(options) if options else ():
            v = self.any(lambda v: v.node.shape == SHAPE)
            assert v is not None
            src.append(self.as_(v, d))
        if not src or None in src:
            return
        attrs = self.choose(attributes(op))
        if self.apply(op, *src, **attrs) is not None or len(src) != 2:
            return
        turned = self.apply("permute", src[1], order=(1, 0))
        if turned is not None and self.apply(op, src[0], turned, **attrs) is not None:
            return
        for shapes in IMAGES if prod(src[0].node.shape) == prod(SHAPE) else ():  # the same elements in more axes
            images = [self.apply("reshape", v, to=to) for v, to in zip(src, shapes, strict=True)]
            if None not in images and self.apply(op, *images, **attrs) is not None:
                return

    def product(self) -> None:
        a = self.any(lambda v: len(v.node.shape) == 2 and v.node.dtype is not dt.boolean)
        if a is None:
            return
        k = a.node.shape[1]
        b = self.any(lambda v: v.node.dtype is a.node.dtype and len(v.node.shape) == 2 and k in v.node.shape)
        if b is None:
            return
        right = b if b.node.shape[0] == k else self.apply("permute", b, order=(1, 0))
        if right is not None:
            self.apply("matmul", a, right)

    def normalise(self) -> None:
        """A softmax over the last axis, as the composite writes it."""
        v = self.any(lambda v: v.node.dtype in (dt.float32, dt.float64) and bool(v.node.shape))
        if v is None or np.abs(v.value).max() > 8:
            return
        axes, kept = (len(v.node.shape) - 1,), (*v.node.shape[:-1], 1)
        steps = [
            lambda: self.apply("max", v, axes=axes),
            lambda: self.apply("reshape", self.made[-1], to=kept),
            lambda: self.expanded(self.made[-1], v.node.shape) or self.made[-1],
            lambda: self.apply("sub", v, self.made[-1]),
            lambda: self.apply("exp", self.made[-1]),
        ]
        for step in steps:
            if step() is None:
                return
        e = self.made[-1]
        if self.apply("sum", e, axes=axes) and self.apply("reshape", self.made[-1], to=kept):
            total = self.expanded(self.made[-1], v.node.shape)
            if total is not None:
                self.apply("div", e, total)


def _factored(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    n = prod(shape)
    return [(n,), (1, n), (n, 1), *((k, n // k) for k in (2, 3, 4) if n % k == 0)]


def _meet(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    try:
        return prod(nd.broadcast_shapes(a, b)) <= MOST
    except FlameError:
        return False


def _to(n: Node, shape: tuple[int, ...]) -> bool:
    return len(n.shape) <= len(shape) and all(x in (1, y) for x, y in zip(n.shape[::-1], shape[::-1]))


MOVES = ("elementwise",) * 5 + ("constant", "move", "move", "reduce", "reduce", "table", "table")
MOVES += ("gather", "product", "normalise", "leaf")


@st.composite
def graphs(draw, longest: int = 16) -> tuple[list[Value], dict[Node, np.ndarray]]:
    """Some values of a random graph, to be computed together, and the values of its leaves."""
    g = Graph(Random(draw(st.integers(0, 2**64 - 1))))  # hypothesis's own choices are few of the hundred operators
    g.leaf()
    g.leaf()
    for _ in range(g.number(3, longest)):
        getattr(g, g.choose(MOVES))()
    inner = [v for v in g.made if v.node not in g.leaves] or g.made
    wanted = {inner[-1].node: inner[-1]}
    for _ in range(g.number(1, 6)):
        v = g.choose(inner)
        wanted[v.node] = v
    return list(wanted.values()), g.leaves
