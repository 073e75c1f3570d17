"""Random graphs of every kind of operator, each value with a bound of its size and of the error that rounding may make.

Where a value is exact (small whole numbers), discontinuous operators may read it; elsewhere only continuous ones may.
"""

from dataclasses import dataclass, field
from math import exp, prod

import numpy as np
from hypothesis import strategies as st

from flame.errors import FlameError
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir.node import Node, apply

EPSILON = {
    "int64": 0.0,
    "int32": 0.0,
    "int8": 0.0,
    "float64": 1e-15,
    "float32": 2e-7,
    "bfloat16": 2**-8,
    "float16": 2**-11,
}
SHAPES = [(), (1,), (5,), (8,), (3, 4), (4, 1), (2, 3, 4), (1, 4), (33,), (2, 40), (6, 7)]
LARGEST, WORST = 1e4, 1e-2
SLOPE_ONE = ("sin", "cos", "tanh", "sigmoid", "erf", "relu", "abs", "neg")
BOUNDED = ("sin", "cos", "tanh", "sigmoid", "erf")
STEPS = ("floor", "ceil", "round", "trunc")


@dataclass
class Value:
    """A node, the largest size of its elements, and how far rounding may move them."""

    node: Node
    bound: float
    error: float

    @property
    def exact(self) -> bool:
        return self.error == 0


@dataclass
class Graph:
    """What was made so far; `draw` chooses."""

    draw: object
    made: list[Value] = field(default_factory=list)
    leaves: dict[Node, np.ndarray] = field(default_factory=dict)

    # --- choosing -----------------------------------------------------------------------------------------------------
    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def choose(self, options):
        return options[self.number(0, len(options) - 1)]

    def any(self, fits=lambda v: True) -> Value | None:
        options = [v for v in self.made if fits(v)]
        return self.choose(options[-8:]) if options else None

    def add(self, node: Node, bound: float, error: float) -> None:
        d = node.dtype
        if d.is_float and (error or d.size == 2):
            error += bound * EPSILON[d.name]
        if bound > LARGEST or error > WORST * max(1.0, bound) or prod(node.shape) > 2000:
            return
        if d.category == dt.INT and d.size < 4 and bound > 100:
            return
        self.made.append(Value(node, bound, error))

    def leaf(self) -> None:
        shape, d = (
            self.choose(SHAPES),
            self.choose([dt.float32, dt.float32, dt.float32, dt.int64, dt.bfloat16, dt.int8]),
        )
        n = nd.leaf(len(self.leaves), shape, d)
        self.leaves[n] = np.random.default_rng(len(self.leaves)).integers(-3, 4, shape).astype(d.numpy)
        self.made.append(Value(n, 3.0, 0.0))

    # --- one operator each --------------------------------------------------------------------------------------------
    def unary(self) -> None:
        v = self.any(lambda v: v.node.dtype.is_float)
        if v is None:
            return
        kind = self.number(0, 9)
        if kind < 6:
            name = self.choose(SLOPE_ONE)
            moved = apply(name, v.node)
            rounds = name in BOUNDED
            self.add(moved, 1.0 if rounds else v.bound, v.error + rounds * EPSILON[v.node.dtype.name] * 4)
        elif kind < 8 and v.exact:
            self.add(apply(self.choose(STEPS), v.node), v.bound + 1, 0.0)
        elif v.bound < 3:
            size = exp(v.bound)
            self.add(apply("exp", v.node), size, size * (v.error + 4 * EPSILON[v.node.dtype.name]))

    def binary(self) -> None:
        a = self.any(lambda v: v.node.dtype is not dt.boolean)
        if a is None:
            return
        b = self.any(lambda v: v.node.dtype is a.node.dtype and _meet(a.node, v.node))
        if b is None:
            return
        name = self.choose(["add", "sub", "mul", "maximum", "minimum", "mul", "where", "compare"])
        bound, error = a.bound + b.bound, a.error + b.error
        if name == "mul":
            bound, error = a.bound * b.bound, a.error * b.bound + b.error * a.bound
        if name in ("maximum", "minimum"):
            bound, error = max(a.bound, b.bound), max(a.error, b.error)
        if name == "compare":
            if a.exact and b.exact:
                self.made.append(Value(nd.binary(self.choose(["lt", "eq", "ge", "ne"]), a.node, b.node), 1.0, 0.0))
        elif name == "where":
            self.where(a, b)
        else:
            self.add(nd.binary(name, a.node, b.node), bound, error)

    def where(self, a: Value, b: Value) -> None:
        shape = nd.binary("add", a.node, b.node).shape
        c = self.any(lambda v: v.node.dtype is dt.boolean and _to(v.node, shape))
        if c is not None:
            sides = [nd.expand(x, shape) for x in (c.node, a.node, b.node)]
            self.add(nd.where(*sides), max(a.bound, b.bound), max(a.error, b.error))

    def constant(self) -> None:
        v = self.any(lambda v: v.node.dtype is not dt.boolean)
        if v is not None:
            c = self.choose([0, 1, -1, 2, 3])
            if self.number(0, 1):
                self.add(v.node * c, v.bound * abs(c), v.error * abs(c))
            else:
                self.add(v.node + c, v.bound + abs(c), v.error)

    def cast(self) -> None:
        v = self.any()
        if v is None:
            return
        to = self.choose([dt.float32, dt.float64, dt.int64, dt.int32, dt.bfloat16, dt.float16, dt.boolean])
        if v.exact or (to.is_float and v.node.dtype.is_float):
            if v.exact and to.size == 2 and v.bound <= 128:
                self.made.append(Value(nd.cast(v.node, to), v.bound, 0.0))
            else:
                self.add(nd.cast(v.node, to), 1.0 if to is dt.boolean else v.bound, v.error)

    def move(self) -> None:
        v = self.any()
        if v is None:
            return
        n, kind = v.node, self.choose(["reshape", "permute", "slice", "flip", "pad", "expand"])
        rank = len(n.shape)
        if kind == "reshape":
            to = self.choose([s for s in [*SHAPES, *_factored(n.shape)] if prod(s) == prod(n.shape)] or [n.shape])
            made = nd.reshape(n, to)
        elif kind == "permute" and rank:
            made = apply("permute", n, order=tuple(self.draw(st.permutations(range(rank)))))
        elif kind == "slice" and rank:
            start = tuple(self.number(0, s - 1) for s in n.shape)
            stop = tuple(self.number(lo + 1, s) for lo, s in zip(start, n.shape))
            made = apply("slice", n, start=start, stop=stop, step=tuple(self.number(1, 3) for _ in start))
        elif kind == "flip" and rank:
            made = apply("flip", n, axes=(self.number(0, rank - 1),))
        elif kind == "pad" and rank:
            low, high = ([self.number(0, 2) for _ in n.shape] for _ in range(2))
            step = tuple(self.number(1, 2) for _ in n.shape)
            made = apply("pad", n, low=tuple(low), high=tuple(high), step=step, fill=self.number(0, 1))
        else:
            made = nd.expand(n, self.choose([s for s in SHAPES if _to(n, s)] or [n.shape]))
        self.add(made, max(1.0, v.bound), v.error)

    def reduce(self) -> None:
        v = self.any(lambda v: bool(v.node.shape))
        if v is None:
            return
        n = v.node
        axes = tuple(a for a in range(len(n.shape)) if self.number(0, 1)) or (len(n.shape) - 1,)
        count = prod(n.shape[a] for a in axes)
        if n.dtype is not dt.boolean and self.number(0, 2):
            exact = v.exact and v.bound * count < 2**20
            rounding = 0.0 if exact else v.bound * count * EPSILON[n.dtype.register.name] * 4
            self.add(apply("sum", n, axes=axes), v.bound * count, v.error * count + rounding)
        else:
            self.add(apply(self.choose(["max", "min"]), n, axes=axes), v.bound, v.error)

    def gather(self) -> None:
        a = self.any(lambda v: bool(v.node.shape))
        i = self.any(lambda v: v.node.dtype.category == dt.INT and bool(v.node.shape))
        if a is None or i is None:
            return
        axis = self.number(0, len(a.node.shape) - 1)
        index = nd.reshape(i.node, tuple(prod(i.node.shape) if x == axis else 1 for x in range(len(a.node.shape))))
        full = tuple(prod(i.node.shape) if x == axis else s for x, s in enumerate(a.node.shape))
        if prod(full) > 2000:
            return
        self.add(apply("gather", a.node, nd.expand(index, full), axis=axis), a.bound, a.error)
        if a.node.dtype is not dt.boolean and full == a.node.shape:
            made = apply("scatter_add", nd.expand(index, full), a.node, axis=axis, size=4)
            self.add(made, a.bound * full[axis], (a.error + a.bound * EPSILON["float32"]) * full[axis])

    def product(self) -> None:
        a = self.any(lambda v: len(v.node.shape) == 2 and v.node.dtype is not dt.boolean)
        if a is None:
            return
        k = a.node.shape[1]
        b = self.any(lambda v: v.node.dtype is a.node.dtype and len(v.node.shape) == 2 and k in v.node.shape)
        if b is None:
            return
        right = b.node if b.node.shape[0] == k else apply("permute", b.node, order=(1, 0))
        bound = a.bound * b.bound * k
        exact = a.exact and b.exact and bound < 2**20
        rounding = 0.0 if exact else bound * 4 * EPSILON[a.node.dtype.register.name] if a.node.dtype.is_float else 0.0
        self.add(apply("matmul", a.node, right), bound, k * (a.error * b.bound + b.error * a.bound) + rounding)

    def normalise(self) -> None:
        """A softmax over the last axis, as the composite writes it."""
        v = self.any(lambda v: v.node.dtype in (dt.float32, dt.float64) and bool(v.node.shape) and v.bound < 8)
        if v is None:
            return
        n = v.node
        axes, kept = (len(n.shape) - 1,), (*n.shape[:-1], 1)
        e = apply("exp", n - nd.reshape(apply("max", n, axes=axes), kept))
        made = e / nd.reshape(apply("sum", e, axes=axes), kept)
        self.add(made, 1.0, 4 * v.error + 1e-5 * (n.dtype is dt.float32) + 1e-13)


def _factored(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    n = prod(shape)
    return [(n,), (1, n), (n, 1), *((k, n // k) for k in (2, 3, 4) if n % k == 0)]


def _meet(a: Node, b: Node) -> bool:
    try:
        return prod(nd.broadcast_shapes(a.shape, b.shape)) <= 2000
    except FlameError:
        return False


def _to(n: Node, shape: tuple[int, ...]) -> bool:
    return len(n.shape) <= len(shape) and all(x in (1, y) for x, y in zip(n.shape[::-1], shape[::-1]))


MOVES = ("unary", "unary", "binary", "binary", "binary", "constant", "cast", "move", "move", "reduce", "reduce")
MOVES += ("gather", "product", "normalise", "leaf")


@st.composite
def graphs(draw, longest: int = 16) -> tuple[list[Value], dict[Node, np.ndarray]]:
    """Some values of a random graph, to be computed together, and the values of its leaves."""
    g = Graph(draw)
    g.leaf()
    g.leaf()
    for _ in range(g.number(3, longest)):
        getattr(g, g.choose(MOVES))()
    inner = [v for v in g.made if v.node not in g.leaves] or g.made
    wanted = {inner[-1].node: inner[-1]}
    for _ in range(g.number(0, 3)):
        v = g.choose(inner)
        wanted[v.node] = v
    return list(wanted.values()), g.leaves
