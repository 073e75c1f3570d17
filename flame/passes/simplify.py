# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# The entries of a table are lambdas, which cannot say their types.
"""Algebra that holds for tensors and for index arithmetic alike; every value stays the same to the bit."""

from functools import lru_cache
from hashlib import blake2b
from math import prod
from typing import Any

import numpy as np

from flame.ir import node as nd
from flame.ir.index import below, bounds, non_negative
from flame.ir.loop import map_scalars
from flame.ir.node import Node, apply, const, like
from flame.ir.op import Kind
from flame.ir.plan import Plan, map_kernels
from flame.passes.pattern import Rewriter, consts, pattern, rules, wild

x, y, z = wild("x y z")
c, d = consts("c d")


def merge(op: str) -> Any:
    """(x op c) op d: the two constants first. Exact for integers only."""

    def right(x: Node, c: Node, d: Node, **_: Node) -> Node:
        return nd.binary(op, x, nd.binary(op, c, d))

    return right


Terms = list[tuple[Node, int]]


def terms(root: Node) -> Terms:
    """A sum as its terms and their constant factors."""
    out: Terms = []
    pending = [(root, 1)]
    while pending:
        n, factor = pending.pop()
        if n.op.name in ("add", "sub"):
            pending += [(n.src[1], factor if n.op.name == "add" else -factor), (n.src[0], factor)]
        elif n.op.name == "mul" and n.src[1].op.name == "const":
            pending.append((n.src[0], factor * n.src[1]["value"]))
        elif n.op.name == "const":
            out.append((const(1), factor * n["value"]))
        else:
            out.append((n, factor))
    return out


def total(parts: Terms, by: int = 1) -> Node:
    """The sum of terms, each factor divided by `by`."""
    out: Node | None = None
    for n, factor in parts:
        scaled = const(factor // by) if n.op.name == "const" else n if factor == by else n * (factor // by)
        out = scaled if out is None else out + scaled
    return const(0) if out is None else out


def parted(x: Node, c: int) -> tuple[Terms, Terms]:
    """The terms whose factor is a multiple of c, and the others."""
    every = terms(x)
    return [t for t in every if t[1] % c == 0], [t for t in every if t[1] % c]


def coarser(x: Node, d: int) -> tuple[Terms, Node, int] | None:
    """x as high * c + low with low < c, where c divides d: (high, low, c)."""
    for c in sorted({f for _, f in terms(x) if 1 < f < d and d % f == 0}, reverse=True):
        high, rest = parted(x, c)
        if below(low := total(rest), c):
            return high, low, c
    return None


def divide_sum(node: Node, x: Node, y: Node, d: Node) -> Node | None:
    """What is a multiple of d leaves the quotient; what stays below a common factor is forgotten."""
    dv = d["value"]
    if dv <= 0:
        return None
    high, rest = parted(node.src[0], dv)
    if high:
        low = total(rest)
        return total(high, dv) if below(low, dv) else total(high, dv) + low // dv
    if found := coarser(node.src[0], dv):
        return total(found[0], found[2]) // (dv // found[2])
    return None


def mod_sum(node: Node, x: Node, y: Node, d: Node) -> Node | None:
    dv = d["value"]
    if dv <= 0:
        return None
    high, rest = parted(node.src[0], dv)
    if high:
        low = total(rest)
        return low if below(low, dv) else low % dv
    if found := coarser(node.src[0], dv):
        return (total(found[0], found[2]) % (dv // found[2])) * found[2] + found[1]
    return None


LONG = 256  # characters; what reads a value twice, over and over, would be spelled with millions


@lru_cache(1 << 14)
def spelled(n: Node) -> str:
    """An expression as text, a digest of it where it is long: an order that is the same in every process."""
    text = f"{n.op.name}({','.join([*map(spelled, n.src), *(str(v) for _, v in n.attrs)])})"
    return text if len(text) < LONG else f"{n.op.name} {blake2b(text.encode(), digest_size=8).hexdigest()}"


def in_order(node: Node, x: Node, y: Node) -> Node | None:
    """A sum of indices has one form: largest factors first, equal terms joined, quotients and remainders rejoined."""
    every: dict[Node, int] = {}
    for n, factor in terms(node):
        every[n] = every.get(n, 0) + factor
    for n in [n for n in every if n.op.name == "remainder"]:
        _rejoin(every, n)
    parts = [(n, f) for n, f in every.items() if f]
    parts.sort(key=lambda t: (t[0].op.name == "const", -t[1], spelled(t[0])))
    return total(parts)


def _rejoin(every: dict[Node, int], rest: Node) -> None:
    """(x // c) * (c * k) + (x % c) * k is x * k, and with (x // c) % d in front it is (x % (c * d)) * k."""
    x, c = rest.src
    if c.op.name != "const" or c["value"] <= 0 or not every.get(rest):
        return
    deeper = x.op.name == "floor_divide" and x.src[1].op.name == "const" and x.src[1]["value"] > 0
    quotient = x.src[0] // (x.src[1]["value"] * c["value"]) if deeper else x // c
    whole = terms(x)
    if every.get(quotient) != every[rest] * c["value"]:
        found = [n for n, f in every.items() if f == every[rest] * c["value"] and _part_of(n, quotient)]
        if not found:
            return
        (quotient, *_) = found
        whole = [(x % (c["value"] * quotient.src[1]["value"]), 1)]
    factor = every.pop(rest)
    del every[quotient]
    for n, f in whole:
        every[n] = every.get(n, 0) + f * factor


def _part_of(n: Node, quotient: Node) -> bool:
    """True if n is quotient % d."""
    return n.op.name == "remainder" and n.src[0] is quotient and n.src[1].op.name == "const" and n.src[1]["value"] > 0


def divide_product(x: Node, c: Node, d: Node, **_: Node) -> Node | None:
    cv, dv = c["value"], d["value"]
    if dv > 0 and cv % dv == 0:
        return x * (cv // dv)
    return x // (dv // cv) if cv > 0 and dv > 0 and dv % cv == 0 else None


def mod_product(x: Node, c: Node, d: Node, **_: Node) -> Node | None:
    cv, dv = c["value"], d["value"]
    if dv > 0 and cv % dv == 0:
        return const(0)
    return (x % (dv // cv)) * cv if cv > 0 and dv > 0 and dv % cv == 0 else None


def divide_twice(x: Node, c: Node, d: Node, **_: Node) -> Node | None:
    return x // (c["value"] * d["value"]) if c["value"] > 0 and d["value"] > 0 else None


def mod_twice(x: Node, c: Node, d: Node, **_: Node) -> Node | None:
    return x % d if c["value"] > 0 and d["value"] > 0 and c["value"] % d["value"] == 0 else None


def divide_mod(x: Node, c: Node, d: Node, **_: Node) -> Node | None:
    """(x % c) // d = (x // d) % (c / d) where d divides c."""
    cv, dv = c["value"], d["value"]
    return (x // dv) % (cv // dv) if dv > 0 and cv > 0 and cv % dv == 0 and cv != dv else None


def known_less(node: Node, x: Node, y: Node) -> Node | None:
    a, b = bounds(x), bounds(y)
    if a is None or b is None:
        return None
    return const(True) if a[1] < b[0] else const(False) if a[0] >= b[1] else None


def known_at_least(node: Node, x: Node, y: Node) -> Node | None:
    less = known_less(node, x, y)
    return None if less is None else const(not less["value"])


def an_index(node: Node) -> bool:
    """True if the bounds of all that is computed are known: then nothing overflows."""
    known = node.dtype.name != "int64" or bounds(node) is not None
    return known and all(bounds(s) is not None for s in node.src)


# Exact for every float, inf, nan and -0.0 included, and for integers.
ALGEBRA = rules(
    (x - 0, x),
    (x * 1, x),
    (pattern("mul", 1, x), x),
    (x / 1, x),
    (-(-x), x),  # noqa: B002  two negations, no decrement
    (x - (-y), x + y),
    (x + (-y), x - y),
    (pattern("mul", -x, -y), x * y),
    (pattern("where", x, y, y), y),
    (pattern("where", True, x, y), x),
    (pattern("where", False, x, y), y),
    (pattern("where", pattern("logical_not", x), y, z), pattern("where", x, z, y)),
    (pattern("logical_not", pattern("logical_not", x)), x),
    (pattern("logical_and", True, x), x),
    (pattern("logical_and", x, True), x),
    (pattern("maximum", pattern("maximum", x, c), c), pattern("maximum", x, c)),
    (pattern("minimum", pattern("minimum", x, c), c), pattern("minimum", x, c)),
    (pattern("maximum", x, x), x),
    (pattern("minimum", x, x), x),
    (pattern("gt", pattern("relu", x), 0), x > 0),
    (pattern("relu", pattern("relu", x)), pattern("relu", x)),
)

# Only integers: 0 * x is not 0 when x is inf or nan, 0.0 + -0.0 is not -0.0, and regrouping rounds.
INTEGER = rules(
    (x + 0, x),
    (pattern("add", 0, x), x),
    (x * 0, 0),
    (pattern("mul", 0, x), 0),
    (pattern("mul", c, x), lambda node, x, c: None if x.op.name == "const" else nd.binary("mul", x, c)),
    (pattern("add", c, x), lambda node, x, c: None if x.op.name == "const" else nd.binary("add", x, c)),
    ((x * c) * d, merge("mul")),
    ((x + c) + d, merge("add")),
    ((x - y) + y, x),
    (x - x, 0),
    (x // 1, x),
    (x % 1, 0),
    only=lambda n: not n.dtype.is_float,
)

# Index arithmetic: 64-bit integers that never overflow, with positive constant divisors. Data may overflow.
INDEX = rules(
    (x + y, in_order),
    (x - c, lambda node, x, c: x + -c["value"]),
    ((x + y) * c, x * c + y * c),
    ((x + y) // d, divide_sum),
    ((x + y) % d, mod_sum),
    ((x * c) // d, divide_product),
    ((x * c) % d, mod_product),
    ((x // c) // d, divide_twice),
    ((x % c) % d, mod_twice),
    ((x % c) // d, divide_mod),
    (x // c, lambda node, x, c: const(0) if below(x, c["value"]) else None),
    (x % c, lambda node, x, c: x if below(x, c["value"]) else None),
    (x < y, known_less),
    (pattern("ge", x, y), known_at_least),
    (pattern("maximum", x, 0), lambda node, x: x if non_negative(x) else None),
    (pattern("minimum", x, c), lambda node, x, c: x if below(x, c["value"] + 1) else None),
    only=an_index,
)


def same_shape(node: Node, x: Node) -> Node | None:
    return x if x.shape == node.shape else None


def reshape_again(node: Node, x: Node) -> Node:
    return nd.reshape(x, node.shape)


def permute_again(node: Node, x: Node) -> Node:
    inner = node.src[0]["order"]
    return apply("permute", x, order=tuple(inner[a] for a in node["order"]))


def permute_nothing(node: Node, x: Node) -> Node | None:
    """Moving only axes of size 1 is a reshape; moving none is nothing."""
    moved = [a for a in node["order"] if x.shape[a] != 1]
    return nd.reshape(x, node.shape) if moved == sorted(moved) else None


def flip_again(node: Node, x: Node) -> Node:
    """Twice around is not at all."""
    axes = tuple(sorted({*node["axes"]} ^ {*node.src[0]["axes"]}))
    return apply("flip", x, axes=axes) if axes else x


def flip_nothing(node: Node, x: Node) -> Node | None:
    return x if all(x.shape[a] == 1 for a in node["axes"]) else None


def on_and_off(node: Node, x: Node) -> Node | None:
    """The diagonal of what was put on it."""
    return x if node["offset"] == node.src[0]["offset"] else None


def reduce_nothing(node: Node, x: Node) -> Node | None:
    """A fold over axes of size 1 only moves."""
    return nd.reshape(x, node.shape) if all(x.shape[a] == 1 for a in node["axes"]) else None


def slice_nothing(node: Node, x: Node) -> Node | None:
    return x if node.shape == x.shape and set(node["step"]) <= {1} else None


def pad_nothing(node: Node, x: Node) -> Node | None:
    return x if node.shape == x.shape and not any((*node["low"], *node["high"])) else None


def there_and_back(node: Node, x: Node) -> Node | None:
    """A cast to a wider type and back changes nothing."""
    wide, back = node.src[0].dtype, node.dtype
    exact = x.dtype.size < wide.size and x.dtype.category == wide.category
    return x if back is x.dtype and exact else None


# What only moves elements: shapes, not values.
SHAPES = rules(
    (pattern("reshape", pattern("reshape", x)), reshape_again),
    (pattern("reshape", x), same_shape),
    (pattern("expand", x), same_shape),
    (pattern("expand", pattern("expand", x)), lambda node, x: nd.expand(x, node.shape)),
    (pattern("permute", pattern("permute", x)), permute_again),
    (pattern("permute", x), permute_nothing),
    (pattern("slice", x), slice_nothing),
    (pattern("flip", pattern("flip", x)), flip_again),
    (pattern("flip", x), flip_nothing),
    (pattern("diagonal", pattern("on_diagonal", x)), on_and_off),
    (pattern("pad", x), pad_nothing),
    (pattern("sum", x), reduce_nothing),
    (pattern("max", x), reduce_nothing),
    (pattern("min", x), reduce_nothing),
    (pattern("cast", pattern("cast", x)), there_and_back),
)


def folded(node: Node) -> Node | None:
    """An elementwise operator on constants is computed now, with its own meaning."""
    if node.op.kind is not Kind.ELEMENTWISE or not node.src or node.op.numpy is None:
        return None
    values: list[Any] = []
    for s in node.src:
        while s.op.name == "expand":
            s = s.src[0]
        if s.op.name != "const":
            return None
        values.append(np.asarray(s["value"], s.dtype.numpy))
    with np.errstate(all="ignore"):
        return nd.expand(const(node.op.numpy(*values, **dict(node.attrs)).item(), node.dtype), node.shape)


def graph_only(node: Node) -> Node | None:
    """Nothing is computed for no element, from no element, or for a mark that only differentiation reads."""
    if node.op.transparent:
        return node.src[0]
    if node.src and 0 in node.shape and node.op.name != "expand":
        return like(node, 0)
    if node.src and any(0 in s.shape for s in node.src):
        return _of_nothing(node)
    return folded(node)


def _of_nothing(node: Node) -> Node | None:
    """What an operator gives where it reads no element at all."""
    if prod(node.shape) == 0:
        return None
    if node.op.identity is not None:
        return like(node, node.op.identity(node.dtype))
    return like(node, node["fill"] if node.op.kind is Kind.MOVEMENT else 0)


def simplify(roots: tuple[Node, ...], settled: tuple[Node, ...] = ()) -> tuple[Node, ...]:
    """No operator is left that changes nothing or has only constants to work on; `settled` nodes stay as they are."""
    return Rewriter(ALGEBRA + INTEGER + SHAPES, first=graph_only, memo={n: n for n in settled}).many(roots)


class Scalars(Rewriter):
    """Simplifies the scalars of kernels: indices lose every division that bounds make needless."""

    def __init__(self) -> None:
        super().__init__(INDEX + ALGEBRA + INTEGER, first=folded)


def simplify_kernels(plan: Plan, simple: Scalars) -> Plan:
    """Every scalar inside every kernel is simple."""
    return map_kernels(plan, lambda k: map_scalars(k, simple))
