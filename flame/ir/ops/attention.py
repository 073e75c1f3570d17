# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# The entries of a table are lambdas, which cannot say their types.
"""Attention as one operator, so that a library may do it without a matrix of all scores.

    attention(q, k, v, mask) = softmax(scale * q k' + mask) v

for q (*, H, L, E), k (*, h, S, E), v (*, h, S, V), where each head of k and v serves H / h heads of q, one after
the other; `mask`, which may be left out, is added and has an axis for each of (*, H, L, S), of that size or 1.
`causal` lets query i see keys 0 ... i. A row must see something. `attention_stats` is the logarithm of the softmax's
denominator, which the gradient needs (Dao et al., arXiv:2205.14135); `attention_grad` is all three gradients, `part`
says which. Second gradients are those of the decomposition.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from flame.errors import ShapeError
from flame.ir import dtype as dt
from flame.ir import rules
from flame.ir.dtype import DType
from flame.ir.node import Node, Shape, apply, cast, const, expand, reshape, where
from flame.ir.op import Grads, Kind, by_decomposition, define
from flame.ir.ops.contract import transpose

HIDDEN = -1e30  # a score that is not seen: with -inf, or what overflows to it, LLVM does not vectorise a maximum
LARGE = 1 << 28  # bytes of scores from which on queries are taken some at a time


# --- shapes and dtypes ------------------------------------------------------------------------------------------------
def heads(shape: Shape) -> int:
    return shape[-3] if len(shape) > 2 else 1


def scores_shape(q: Shape, k: Shape, v: Shape, *mask: Shape) -> Shape:
    """(*, H, L, S), or a ShapeError."""
    rank = len(q)
    fit = rank >= 2 and len(k) == len(v) == rank and q[:-3] == k[:-3] == v[:-3] and k[-1] == q[-1]
    if not fit or k[:-1] != v[:-1] or heads(q) % max(heads(k), 1):
        raise ShapeError(
            f"needs q (*, H, L, E), k (*, h, S, E) and v (*, h, S, V), h a divisor of H; got {q}, {k}, {v}"
        )
    shape = (*q[:-1], k[-2])
    for m in mask:
        if len(m) != rank or any(a not in (1, b) for a, b in zip(m, shape, strict=True)):
            raise ShapeError(f"a mask of {m} does not spread over scores of {shape}")
    return shape


def shape_of(q: Shape, k: Shape, v: Shape, *mask: Shape, scale: float, causal: bool) -> Shape:
    return (*scores_shape(q, k, v, *mask)[:-1], v[-1])


def stats_shape(q: Shape, k: Shape, v: Shape, *mask: Shape, scale: float, causal: bool) -> Shape:
    return scores_shape(q, k, v, *mask)[:-1]


def grad_shape(g: Shape, q: Shape, k: Shape, v: Shape, *rest: Shape, scale: float, causal: bool, part: int) -> Shape:
    wanted = (*scores_shape(q, k, v, *rest[2:])[:-1], v[-1])
    if g != wanted:
        raise ShapeError(f"a gradient of {g} for a result of {wanted}")
    return (q, k, v)[part]


def stats_dtype(*dtypes: DType, **_: Any) -> DType:
    return dt.float64 if rules.floating(*dtypes) is dt.float64 else dt.float32


def grad_dtype(g: DType, q: DType, k: DType, v: DType, out: DType, stats: DType, *mask: DType, **_: Any) -> DType:
    return rules.floating(g, q, k, v, out, *mask)


# --- the meaning ------------------------------------------------------------------------------------------------------
def _wide(*arrays: Any) -> list[Any]:
    return [a.astype(np.float32) if a.dtype.itemsize == 2 else a for a in arrays]


def _scores(q: Any, k: Any, mask: tuple[Any, ...], scale: float, causal: bool) -> Any:
    found = np.matmul(q, np.swapaxes(_shared(k, q), -1, -2)) * q.dtype.type(scale)
    if causal:
        rows, columns = found.shape[-2:]
        found = np.where(np.arange(rows)[:, None] >= np.arange(columns), found, -np.inf)
    return found + _wide(*mask)[0] if mask else found


def _shared(k: Any, q: Any) -> Any:
    """Keys or values, each head as often as heads of queries share it."""
    times = heads(q.shape) // heads(k.shape)
    return np.repeat(k, times, -3) if times > 1 else k


def _softmax(scores: Any) -> Any:
    e = np.exp(scores - scores.max(-1, keepdims=True, initial=-np.inf)) if scores.size else scores
    return e / e.sum(-1, keepdims=True)


def numpy_of(q: Any, k: Any, v: Any, *mask: Any, scale: float, causal: bool) -> Any:
    wide_q, wide_k, wide_v = _wide(q, k, v)
    with np.errstate(all="ignore"):
        weights = _softmax(_scores(wide_q, wide_k, mask, scale, causal))
    return np.matmul(weights, _shared(wide_v, wide_q)).astype(q.dtype)


def stats_of(q: Any, k: Any, v: Any, *mask: Any, scale: float, causal: bool) -> Any:
    wide_q, wide_k = _wide(q, k)
    with np.errstate(all="ignore"):
        scores = _scores(wide_q, wide_k, mask, scale, causal)
        top = scores.max(-1, initial=-np.inf)
        return np.log(np.exp(scores - top[..., None]).sum(-1)) + top


def grads_of(
    g: Any, q: Any, k: Any, v: Any, out: Any, stats: Any, *mask: Any, scale: float, causal: bool, part: int
) -> Any:
    dtype = q.dtype
    g, q, k, v = _wide(g, q, k, v)
    with np.errstate(all="ignore"):
        weights = _softmax(_scores(q, k, mask, scale, causal))
    if part == 2:
        return _together(np.matmul(np.swapaxes(weights, -1, -2), g), v).astype(dtype)
    by_weights = np.matmul(g, np.swapaxes(_shared(v, q), -1, -2))
    by_scores = weights * (by_weights - (weights * by_weights).sum(-1, keepdims=True)) * q.dtype.type(scale)
    if part == 0:
        return np.matmul(by_scores, _shared(k, q)).astype(dtype)
    return _together(np.matmul(np.swapaxes(by_scores, -1, -2), q), k).astype(dtype)


def _together(by_heads: Any, k: Any) -> Any:
    """The sum over the heads of queries that share one of keys or values."""
    if by_heads.shape == k.shape:
        return by_heads
    h = k.shape[-3]
    split = by_heads.reshape(*k.shape[:-3], h, by_heads.shape[-3] // h, *by_heads.shape[-2:])
    return split.sum(-3)


# --- in simpler operators ---------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Block:
    """Some queries, which are rows `first` to `last` of all, and the keys that they may see, 0 to `keys`."""

    first: int
    last: int
    keys: int


def blocks(node: Node, q: Node, k: Node) -> list[Block]:
    """All queries at once, or as many at a time as have scores of LARGE bytes; below a diagonal, only the keys seen."""
    rows, keys = q.shape[-2], k.shape[-2]
    most = max(1, LARGE // max(1, prod(q.shape[:-2]) * keys * 4))
    each = min(rows, most)
    ranges = ((first, min(rows, first + each)) for first in range(0, rows, each or 1))
    return [Block(first, last, min(last, keys) if node["causal"] else keys) for first, last in ranges]


def shared(k: Node, q: Node) -> Node:
    """Keys or values, each head as often as heads of queries share it."""
    times = heads(q.shape) // heads(k.shape)
    if times == 1:
        return k
    *lead, h, s, e = k.shape
    return reshape(expand(reshape(k, (*lead, h, 1, s, e)), (*lead, h, times, s, e)), (*lead, h * times, s, e))


def rows_of(n: Node, first: int, last: int) -> Node:
    """Rows of matrices."""
    if (first, last) == (0, n.shape[-2]):
        return n
    lead = n.shape[:-2]
    start, stop = (*(0 for _ in lead), first, 0), (*lead, last, n.shape[-1])
    return apply("slice", n, start=start, stop=stop, step=(1,) * len(start))


def put(n: Node, first: int, rows: int) -> Node:
    """Matrices as some rows of larger ones, zeros around."""
    if n.shape[-2] == rows:
        return n
    none = (0,) * (len(n.shape) - 2)
    behind = rows - first - n.shape[-2]
    return apply("pad", n, low=(*none, first, 0), high=(*none, behind, 0), step=(1,) * len(n.shape), fill=0)


def seen_of(node: Node, q: Node, k: Node, mask: tuple[Node, ...], block: Block) -> Node:
    """The weights of a block's queries over the keys that they may see."""
    found = scores_of(node, q, k, mask, block)
    e = apply("exp", found - _folded("max", found))
    return e / _folded("sum", e)


def scores_of(node: Node, q: Node, k: Node, mask: tuple[Node, ...], block: Block) -> Node:
    """The scores of a block's queries, as low as can be where they may not see, and the mask added."""
    found = apply("matmul", q, transpose(shared(k, q))) * node["scale"]
    if node["causal"]:
        found = where(below(found.shape, block.first), found, expand(const(HIDDEN, found.dtype), found.shape))
    for m in mask:
        some = m if m.shape[-2] == 1 else rows_of(m, block.first, block.last)
        turned = some if some.shape[-1] == 1 else transpose(rows_of(transpose(some), 0, block.keys))
        found = found + turned
    return found


def below(shape: Shape, first: int) -> Node:
    """True where a column's number is not above the row's, rows counted from `first`."""
    rows, columns = shape[-2:]
    place, lead = apply("iota", n=max(first + rows, columns)), (1,) * (len(shape) - 2)
    row, column = (
        apply("slice", place, start=(begin,), stop=(begin + n,), step=(1,))
        for begin, n in ((first, rows), (0, columns))
    )
    wide = expand(reshape(row, (*lead, rows, 1)), shape)
    return apply("ge", wide, expand(reshape(column, (*lead, 1, columns)), shape))


def _folded(op: str, x: Node) -> Node:
    """A fold over the last axis, spread over it again."""
    axis = len(x.shape) - 1
    return expand(reshape(apply(op, x, axes=(axis,)), (*x.shape[:-1], 1)), x.shape)


def wide(*nodes: Node) -> list[Node]:
    """Half precisions as float32: between the products nothing is rounded, as in a library."""
    return [cast(n, dt.float32) if n.dtype.size == 2 else n for n in nodes]


def summed(node: Node, q: Node, k: Node, one: Callable[[Node, Block], Node]) -> Node:
    """The sum of what each block gives, one block after the other: the scores of only one are in memory at once."""
    total: Node | None = None
    for block in blocks(node, q, k):
        late = q if total is None else apply("after", q, total, uid=0)
        part = one(rows_of(late, block.first, block.last), block)
        total = part if total is None else total + part
    assert total is not None
    return total


def simpler(node: Node) -> Node:
    q, k, v, *mask = wide(*node.src)

    def one(rows: Node, b: Block) -> Node:
        seen = seen_of(node, rows, rows_of(k, 0, b.keys), tuple(mask), b)
        return put(apply("matmul", seen, shared(rows_of(v, 0, b.keys), rows)), b.first, q.shape[-2])

    return cast(summed(node, q, k, one), node.dtype)


def stats_simpler(node: Node) -> Node:
    q, k, _, *mask = wide(*node.src)

    def one(rows: Node, b: Block) -> Node:
        found = scores_of(node, rows, rows_of(k, 0, b.keys), tuple(mask), b)
        top = apply("max", found, axes=(len(found.shape) - 1,))
        e = apply("exp", found - expand(reshape(top, (*top.shape, 1)), found.shape))
        made = apply("log", apply("sum", e, axes=(len(e.shape) - 1,))) + top
        return put(reshape(made, (*made.shape, 1)), b.first, q.shape[-2])

    return cast(reshape(summed(node, q, k, one), node.shape), node.dtype)


def grad_simpler(node: Node) -> Node:
    """Of the queries, keys and values alone: what the forward pass left is made again."""
    g, q, k, v, _, _, *mask = wide(*node.src)
    part: int = node["part"]

    def one(rows: Node, b: Block) -> Node:
        keys, values, by = rows_of(k, 0, b.keys), rows_of(v, 0, b.keys), rows_of(g, b.first, b.last)
        seen = seen_of(node, rows, keys, tuple(mask), b)
        if part == 2:
            return put(gathered(apply("matmul", transpose(seen), by), values), 0, k.shape[-2])
        by_weights = apply("matmul", by, transpose(shared(values, rows)))
        by_scores = seen * (by_weights - _folded("sum", seen * by_weights)) * node["scale"]
        if part == 0:
            return put(apply("matmul", by_scores, shared(keys, rows)), b.first, q.shape[-2])
        return put(gathered(apply("matmul", transpose(by_scores), rows), keys), 0, k.shape[-2])

    return cast(summed(node, q, k, one), node.dtype)


def gathered(by_heads: Node, k: Node) -> Node:
    """The sum over the heads of queries that share one of keys or values."""
    if by_heads.shape == k.shape:
        return by_heads
    *lead, h, s, e = k.shape
    split = reshape(by_heads, (*lead, h, by_heads.shape[-3] // h, s, e))
    return apply("sum", split, axes=(len(lead) + 1,))


# --- the entries ------------------------------------------------------------------------------------------------------
def grad_of(g: Node, y: Node, q: Node, k: Node, v: Node, *mask: Node) -> Grads:
    attrs = {"scale": y["scale"], "causal": y["causal"]}
    stats = apply("attention_stats", q, k, v, *mask, **attrs)
    parts = (apply("attention_grad", g, q, k, v, y, stats, *mask, **attrs, part=i) for i in range(3))
    return (*parts, *(None for _ in mask))


def batch_of(n: int, y: Node, *src: Node) -> Node:
    """One more axis in front; matrices alone are given one for their only head before."""
    if len(src[0].shape) > 3 or len(y.src[0].shape) > 2:
        return apply(y.op, *src, **dict(y.attrs))
    wide = [reshape(s, (n, 1, *s.shape[1:])) for s in src]
    return reshape(apply(y.op, *wide, **dict(y.attrs)), (n, *y.shape))


_EXAMPLES = ({"scale": 0.5, "causal": False}, {"scale": 0.3, "causal": True})

define(
    "attention",
    Kind.CONTRACT,
    shape=shape_of,
    dtype=rules.floating,
    numpy=numpy_of,
    grad=grad_of,
    decompose=simpler,
    batch=batch_of,
    examples=_EXAMPLES,
    public=False,
    doc="softmax(scale * q k' + mask) v, of which a library needs no matrix of scores.",
)
define(
    "attention_stats",
    Kind.CONTRACT,
    shape=stats_shape,
    dtype=stats_dtype,
    numpy=stats_of,
    grad=by_decomposition,
    decompose=stats_simpler,
    batch=batch_of,
    examples=_EXAMPLES,
    public=False,
    doc="The logarithm of the denominators of attention's softmax.",
)
define(
    "attention_grad",
    Kind.CONTRACT,
    shape=grad_shape,
    dtype=grad_dtype,
    numpy=grads_of,
    grad=by_decomposition,
    decompose=grad_simpler,
    batch=batch_of,
    examples=tuple({**e, "part": part} for e in _EXAMPLES for part in range(3)),
    public=False,
    doc="The gradient of attention by its queries, keys or values: sources are it, them, its result and its stats.",
)
