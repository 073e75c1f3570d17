"""What is known of an index without running it: its largest value, its stride, its alignment."""

from itertools import pairwise
from math import gcd
from weakref import WeakKeyDictionary

from flame.ir.dtype import int64
from flame.ir.graph import toposort
from flame.ir.node import Node

Bounds = tuple[int, int]
LIMIT = 1 << 63  # what lies beyond wraps around: nothing is known of it
_known: "WeakKeyDictionary[Node, Bounds | None]" = WeakKeyDictionary()


def bounds(n: Node) -> Bounds | None:
    """The smallest and largest value of a 64-bit index expression that cannot overflow, or None when unknown."""
    if n not in _known:
        for m in toposort([n], _known):
            if m not in _known:
                found = _bounds(m) if m.dtype is int64 else None
                _known[m] = found if found and -LIMIT <= found[0] and found[1] < LIMIT else None
    return _known[n]


def _bounds(n: Node) -> Bounds | None:
    """The bounds of a node whose sources' are known."""
    match n.op.name:
        case "const":
            return n["value"], n["value"]
        case "var":
            return None if n["extent"] is None else (0, n["extent"] - 1)
        case "philox":
            return 0, (1 << 32) - 1
        case "remainder" if n.src[1].op.name == "const" and n.src[1]["value"] > 0:
            inner, c = _known[n.src[0]], n.src[1]["value"]
            return 0, min(inner[1], c - 1) if inner is not None and inner[0] >= 0 else c - 1
        case "minimum" if n.src[0].op.name == "maximum" and n.src[1].op.name == n.src[0].src[1].op.name == "const":
            low, high = n.src[0].src[1]["value"], n.src[1]["value"]
            return min(low, high), high
        case _:
            pass
    parts = [_known[s] for s in n.src]
    if not parts or None in parts:
        return None
    return _combined(n, [p for p in parts if p is not None])


def _combined(n: Node, parts: list[Bounds]) -> Bounds | None:
    (a, b), (c, d) = parts[0], parts[-1]
    match n.op.name:
        case "add":
            return a + c, b + d
        case "sub":
            return a - d, b - c
        case "mul":
            corners = (a * c, a * d, b * c, b * d)
            return min(corners), max(corners)
        case "floor_divide" if n.src[1].op.name == "const" and c > 0:
            return a // c, b // c
        case "minimum":
            return min(a, c), min(b, d)
        case "maximum":
            return max(a, c), max(b, d)
        case _:
            pass
    return None


def non_negative(n: Node) -> bool:
    found = bounds(n)
    return found is not None and found[0] >= 0


def below(n: Node, limit: int) -> bool:
    """True if 0 <= n < limit is known."""
    found = bounds(n)
    return found is not None and found[0] >= 0 and found[1] < limit


Walk = tuple[int | None, int]


def walk(n: Node, row: Node, width: int) -> Walk:
    """(stride, alignment) of `n` while `row` runs through `width` neighbours from a multiple of `width`.

    A stride of None means that the elements lie anywhere; 0 that they are the same one. An alignment of 0 is that of 0:
    a multiple of everything.
    """
    found: dict[Node, Walk] = {}
    for m in toposort([n]):
        found[m] = (1, width) if m is row else _walk(m, [found[s] for s in m.src], width)
    return found[n]


def _walk(n: Node, parts: list[Walk], width: int) -> Walk:
    """The walk of a node, given those of its sources."""
    match n.op.name:
        case "const":
            return 0, n["value"] if n.dtype.category < 2 else 1
        case "var":
            return 0 if n["extent"] is not None else None, 1  # a kept value or an accumulator may be each element's own
        case "add" | "sub":
            (a, p), (b, q) = parts
            stride = None if a is None or b is None else a + b if n.op.name == "add" else a - b
            return stride, gcd(p, q)
        case "mul" if n.src[1].op.name == "const" and n.dtype.category < 2:
            (a, p), c = parts[0], n.src[1]["value"]
            return (None if a is None else a * c), p * c
        case "floor_divide" | "remainder" if n.src[1].op.name == "const" and n.dtype.category < 2:
            return _divided(n, parts[0], width)
        case "lt" | "ge" if parts[0][0] == 1 and parts[1][0] == 0 and n.src[0].dtype.category < 2:
            aligned = parts[0][1] % width == 0 and parts[1][1] % width == 0  # all neighbours lie on one side
            return (0 if aligned else None), 1
        case _:
            pass
    return (0 if all(p[0] == 0 for p in parts) else None), 1


def _divided(n: Node, part: Walk, width: int) -> Walk:
    (a, p), c = part, n.src[1]["value"]
    inside = a == 0 or (a == 1 and p % width == 0 and c % width == 0)  # the neighbours share one block of c
    if n.op.name == "remainder":
        return (a if inside else None), gcd(p, c)
    return (0 if inside else None), (p // c if c and p % c == 0 and p else 1)


def contiguous(index: Node, row: Node, width: int) -> bool:
    """True if `width` neighbours lie side by side, the first at a multiple of `width`."""
    stride, align = walk(index, row, width)
    return stride == 1 and align % width == 0


def side_by_side(index: Node, row: Node, count: int) -> bool:
    """True if most of the first `count` values of `row` give neighbouring places, in whatever lines they are broken."""
    order = toposort([index])
    if any(n.op.name not in ("const", "var") and (n.op.numpy is None or not n.src) for n in order):
        return False
    places: list[int] = []
    for at in range(count):
        found: dict[Node, int] = {}
        for n in order:
            if n.op.name in ("const", "var"):
                found[n] = n["value"] if n.op.name == "const" else at if n is row else 0
            else:
                assert n.op.numpy is not None
                found[n] = int(n.op.numpy(*(found[s] for s in n.src), **dict(n.attrs)))
        places.append(found[index])
    return sum(b - a == 1 for a, b in pairwise(places)) >= count // 2
