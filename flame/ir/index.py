"""What is known of an index without running it: its largest value, its stride, its alignment."""

from math import gcd

from flame.ir.node import Node

Bounds = tuple[int, int]


def bounds(n: Node) -> Bounds | None:
    """The smallest and largest value of an index expression, or None when unknown."""
    match n.op.name:
        case "const":
            return n["value"], n["value"]
        case "var":
            return None if n["extent"] is None else (0, n["extent"] - 1)
        case "philox":
            return 0, (1 << 32) - 1
        case "remainder" if n.src[1].op.name == "const":
            inner, c = bounds(n.src[0]), n.src[1]["value"]
            fits = inner is not None and inner[0] >= 0
            return (0, min(inner[1], c - 1) if fits and inner is not None else c - 1)
    parts = [bounds(s) for s in n.src]
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
    return None


def non_negative(n: Node) -> bool:
    found = bounds(n)
    return found is not None and found[0] >= 0


def below(n: Node, limit: int) -> bool:
    """True if 0 <= n < limit is known."""
    found = bounds(n)
    return found is not None and found[0] >= 0 and found[1] < limit


def walk(n: Node, row: Node, width: int) -> tuple[int | None, int]:
    """(stride, alignment) of `n` while `row` runs through `width` neighbours from a multiple of `width`.

    A stride of None means that the elements lie anywhere; 0 that they are the same one. An alignment of 0 is that of 0:
    a multiple of everything.
    """
    if n is row:
        return 1, width
    match n.op.name:
        case "const":
            return 0, n["value"] if n.dtype.category < 2 else 1
        case "var":
            return 0, 1
        case "add" | "sub":
            (a, p), (b, q) = (walk(s, row, width) for s in n.src)
            stride = None if a is None or b is None else a + b if n.op.name == "add" else a - b
            return stride, gcd(p, q)
        case "mul" if n.src[1].op.name == "const" and n.dtype.category < 2:
            (a, p), c = walk(n.src[0], row, width), n.src[1]["value"]
            return (None if a is None else a * c), p * c
        case "floor_divide" | "remainder" if n.src[1].op.name == "const" and n.dtype.category < 2:
            return _divided(n, row, width)
    parts = [walk(s, row, width)[0] for s in n.src]
    return (0 if all(p == 0 for p in parts) else None), 1


def _divided(n: Node, row: Node, width: int) -> tuple[int | None, int]:
    (a, p), c = walk(n.src[0], row, width), n.src[1]["value"]
    inside = a == 0 or (a == 1 and p % width == 0 and c % width == 0)  # the neighbours share one block of c
    if n.op.name == "remainder":
        return (a if inside else None), gcd(p, c)
    return (0 if inside else None), (p // c if c and p % c == 0 and p else 1)


def contiguous(index: Node, row: Node, width: int) -> bool:
    """True if `width` neighbours lie side by side, the first at a multiple of `width`."""
    stride, align = walk(index, row, width)
    return stride == 1 and align % width == 0
