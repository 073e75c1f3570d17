"""Cases for every operator, read from the operator table: no operator is named here."""

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from flame.errors import FlameError
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir import ops  # noqa: F401  fills the table
from flame.ir.dtype import DType
from flame.ir.node import Node, apply
from flame.ir.op import OPS, Kind, Op

# Operators of the host take matrices of their own kinds: tests/surface/of_linalg.py gives them those.
TABLE = [o for o in OPS.values() if o.kind not in (Kind.LEAF, Kind.CALL, Kind.HOST)]
BASE = (6, 8)  # the shape of the leaf that all operands of a kind are views of
SHAPE = (3, 4)  # the shape that the table's example attributes fit
IMAGES = [((1, 3, 4), (2, 3, 2)), ((1, 3, 4), (6, 1, 2)), ((1, 3, 2, 2), (1, 3, 2, 2))]  # SHAPE in more axes
SPECIAL = [np.nan, np.inf, -np.inf, -0.0, 0.0, 1.0, -1.0, 0.5, 2.5, -1.5]
View = Callable[[Node], Node]


def arity(op: Op) -> int:
    if op.kind is Kind.ELEMENTWISE:
        assert op.scalar is not None
        return 1 + max(int(i) for i in re.findall(r"{(\d)}", op.scalar))
    assert op.numpy is not None
    parameters = inspect.signature(op.numpy).parameters.values()
    return sum(p.kind is not p.VAR_POSITIONAL for p in parameters) - len(attributes(op)[0])


def signatures(op: Op, d: DType) -> Iterator[tuple[DType, ...]]:
    """The dtypes of operands, `d` among them, that the operator takes, found by asking its rule."""
    n, seen = arity(op), set()
    places = ((d, dt.int64, dt.int64)[:n], (dt.int64, d)[:n], (d, dt.int32, dt.int32)[:n])
    for dtypes in ((d,) * n, (dt.boolean, d, d)[:n], *places):
        if len(dtypes) == n and dtypes not in seen and d in dtypes:
            seen.add(dtypes)
            try:
                op.dtype(*dtypes, **attributes(op)[0])
            except FlameError:
                continue
            yield dtypes


def attributes(op: Op) -> tuple[dict[str, Any], ...]:
    return op.examples or ({},)


def part(x: Node, start: tuple[int, int], stop: tuple[int, int], step: tuple[int, int] = (1, 1)) -> Node:
    return apply("slice", x, start=start, stop=stop, step=step)


VIEWS: dict[str, View] = {
    "whole": lambda b: b,
    "permuted": lambda b: apply("permute", part(b, (0, 2), (4, 5)), order=(1, 0)),
    "stepped": lambda b: part(b, (1, 0), (6, 8), (2, 2)),
    "row": lambda b: nd.expand(part(b, (1, 2), (2, 6)), SHAPE),
    "column": lambda b: nd.expand(part(b, (2, 3), (5, 4)), SHAPE),
    "flipped": lambda b: apply("flip", part(b, (3, 4), (6, 8)), axes=(0, 1)),
    "one": lambda b: part(b, (2, 2), (3, 3)),
    "scalar": lambda b: nd.reshape(part(b, (4, 1), (5, 2)), ()),
    "nothing": lambda b: part(b, (1, 0), (1, 4)),
}


@dataclass(frozen=True)
class Case:
    """One operator on operands of given dtypes: a root for each kind of operand and each example of its attributes."""

    op: Op
    dtypes: tuple[DType, ...]
    roots: tuple[Node, ...]
    leaves: tuple[Node, ...]

    def __str__(self) -> str:
        return f"{self.op}-{'-'.join(map(str, self.dtypes))}"


def case(op: Op, dtypes: tuple[DType, ...]) -> Case:
    leaves = tuple(nd.leaf(i, BASE, d) for i, d in enumerate(dtypes))
    mixed = [("stepped", "row"), ("whole", "whole"), ("column", "permuted")] if len(dtypes) > 1 else []
    kinds = [(k,) * len(dtypes) for k in VIEWS] + [m[0:1] + m[1:] * (len(dtypes) - 1) for m in mixed]
    roots: dict[Node, None] = {}
    for kind in kinds:
        for attrs in attributes(op):
            operands = [VIEWS[k](b) for k, b in zip(kind, leaves, strict=True)]
            made = _contracted(op, *operands, **attrs) if op.kind is Kind.CONTRACT and len(operands) == 2 else None
            if made := made or _try(op, *operands, **attrs):
                roots[made] = None
    assert len(roots) >= 5, (op, dtypes, "its examples fit no operand")
    return Case(op, dtypes, tuple(roots), leaves)


def _contracted(op: Op, a: Node, b: Node, **attrs: Any) -> Node | None:
    """A contraction of two matrices, the second turned where it must be, or of the same elements in more axes."""
    turned = apply("permute", b, order=(1, 0)) if len(b.shape) == 2 else b
    made = _try(op, a, turned, **attrs) or _try(op, a, b, **attrs)
    if made or a.shape != SHAPE:
        return made
    return next(filter(None, (_try(op, nd.reshape(a, s), nd.reshape(b, t), **attrs) for s, t in IMAGES)), None)


def _try(op: Op, *src: Node, **attrs: Any) -> Node | None:
    """The node, or None where the operator's rules decline these operands."""
    try:
        return apply(op, *src, **attrs)
    except (FlameError, ValueError):  # zip(strict=True): attributes of another rank
        return None


def cases(dtypes: list[DType]) -> list[Case]:
    made = {str(c): c for op in TABLE for d in dtypes for c in (case(op, s) for s in signatures(op, d))}
    return list(made.values())


def sample(n: Node, seed: int, finite: bool, positive: bool = False) -> np.ndarray:
    """Values of a leaf; unless `finite`, with nan, inf, -0.0 and the extremes of integers among them."""
    rng, d = np.random.default_rng(seed), n.dtype
    if d is dt.boolean:
        return rng.random(n.shape) < 0.5
    if not d.is_float:
        info = np.iinfo(d.numpy)
        x = rng.integers(max(info.min, -9), 10, n.shape).astype(d.numpy)
        if not finite:
            x.reshape(-1)[rng.permutation(x.size)[:6]] = [info.min, info.max, info.max - 1, 0, 1, info.min + 1]
        return x
    x = rng.uniform(0.1 if positive else -4, 4, n.shape)
    if not finite:
        x.reshape(-1)[rng.permutation(x.size)[: 2 * len(SPECIAL)]] = SPECIAL * 2
    return x.astype(d.numpy)


def values_of(c: Case, seed: int) -> dict[Node, np.ndarray]:
    """Values for a case; finite ones where the operator multiplies matrices, or casts floats to integers."""
    into_integer = any(r.dtype.category == dt.INT for r in c.roots) and any(d.is_float for d in c.dtypes)
    into_integer = into_integer and c.op.kind is Kind.ELEMENTWISE
    unsigned = into_integer and any(r.dtype is dt.uint8 for r in c.roots)  # no unsigned integer is a negative float
    finite = into_integer or (c.op.kind is Kind.CONTRACT and len(c.dtypes) > 1)
    return {n: sample(n, seed + i, finite, unsigned) for i, n in enumerate(c.leaves)}
