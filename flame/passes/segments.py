"""Segments before fusion: long ones are folded in pieces, by many lanes side by side.

A piece is `PIECE` neighbouring values that begin at a multiple of `PIECE` and lie in one segment. A segment is what
lies before its first piece, its pieces, and what lies behind the last; where there are many pieces, they are folded in
the same way. Values keep their order. Where all segments are short, no piece folds anything.
"""

from math import prod

from flame.ir import dtype as dt
from flame.ir.graph import toposort, transform
from flame.ir.node import Node, apply, binary, cast, const, expand, reshape, where
from flame.ir.op import Kind, Op
from flame.ir.ops.index import count_below
from flame.ir.target import Target

PIECE = 64  # values that one lane folds
LONG = 512  # an axis of fewer values is left alone


def segments(roots: tuple[Node, ...], target: Target) -> tuple[Node, ...]:
    """No lane folds a long segment while others wait."""
    if target.max_lanes == 1 or not any(n.op.kind is Kind.SEGMENT for n in toposort(roots)):
        return roots
    return transform(roots, lambda n: _whole(n) if n.op.kind is Kind.SEGMENT else n)


def _whole(n: Node) -> Node:
    """Half precisions are folded in float32, pieces too."""
    value, begin, end = n.src
    axis: int = n["axis"]
    if value.shape[axis] < LONG or not prod(n.shape):
        return n
    same = begin.op.name == end.op.name == "expand" and begin.src[0].shape == end.src[0].shape
    same = same and len(begin.src[0].shape) == len(n.shape)
    begin, end = (begin.src[0], end.src[0]) if same else (begin, end)  # what is the same for whole slices is found once
    begin, end = cast(begin, dt.int64), cast(end, dt.int64)
    return cast(_by_pieces(n.op, cast(value, value.dtype.register), begin, end, axis), n.dtype)


def _by_pieces(op: Op, value: Node, begin: Node, end: Node, axis: int) -> Node:
    """What lies before the first piece, the pieces, and what lies behind the last."""
    if value.shape[axis] < LONG:
        return _fold(op, value, begin, end, axis)
    assert op.combine is not None
    pieces = _fold(op, value, *_edges(begin, end, value.shape[axis] // PIECE, axis), axis)
    first = _divided(begin + (PIECE - 1))
    last = binary("maximum", _divided(end), first)
    until = binary("minimum", first * PIECE, end)
    since = binary("maximum", last * PIECE, until)
    before, behind = _fold(op, value, begin, until, axis), _fold(op, value, since, end, axis)
    return binary(op.combine, binary(op.combine, before, _by_pieces(op, pieces, first, last, axis)), behind)


def _fold(op: Op, value: Node, begin: Node, end: Node, axis: int) -> Node:
    shape = tuple(m if a == axis else n for a, (m, n) in enumerate(zip(begin.shape, value.shape, strict=True)))
    return apply(op, value, expand(begin, shape), expand(end, shape), axis=axis)


def _divided(n: Node) -> Node:
    return binary("floor_divide", n, const(PIECE))


def _edges(begin: Node, end: Node, pieces: int, axis: int) -> tuple[Node, Node]:
    """Where pieces begin and end; one that does not lie within a segment ends where it begins."""
    shape = tuple(pieces if a == axis else n for a, n in enumerate(begin.shape))
    line = reshape(apply("iota", n=pieces), tuple(pieces if a == axis else 1 for a in range(len(shape))))
    start = expand(line, shape) * PIECE
    stop = start + PIECE
    owner = count_below(begin, start, axis, right=True) - 1  # the last segment that begins before it
    inside = apply("le", apply("gather", begin, owner, axis=axis), start)
    inside = inside & apply("ge", apply("gather", end, owner, axis=axis), stop)
    return start, where(inside, stop, start)
