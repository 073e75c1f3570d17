"""Attention as a library's calls: the result and its logarithms are one call, the three gradients another."""

from math import prod

from flame.ir.dnn import AttentionGradSpec, AttentionSpec
from flame.ir.library import View
from flame.ir.node import Node, Shape, apply, expand, reshape
from flame.ir.target import Target
from flame.passes.operand import operand
from flame.passes.simplify import Scalars

DTYPES = ("float16", "bfloat16")
WIDEST = 256  # elements of a query, key or value
UNIT = 8  # elements that widths, strides and offsets are multiples of: 16 bytes


def attention(node: Node, target: Target, simple: Scalars) -> Node | None:
    """The result's part of the call; None where the library has no such attention."""
    made = _forward(node, node.src, target, simple)
    if made is None:
        return None
    spec, memory = made
    (of, as_), _ = spec.results
    called = apply("call", *memory, routine="attention", spec=spec, of=of, as_=as_, part=0)
    return reshape(apply("permute", called, order=(0, 2, 1, 3)), node.shape)


def attention_stats(node: Node, target: Target, simple: Scalars) -> Node | None:
    """The logarithms' part of the same call."""
    made = _forward(node, node.src, target, simple)
    if made is None:
        return None
    spec, memory = made
    of, as_ = spec.results[1]
    return reshape(apply("call", *memory, routine="attention", spec=spec, of=of, as_=as_, part=1), node.shape)


def attention_grad(node: Node, target: Target, simple: Scalars) -> Node | None:
    """One gradient's part of the call that makes all three."""
    g, q, k, v, out, stats, *mask = node.src
    scores = (q.shape[-2], k.shape[-2])  # the library's gradient of a mask of one row for all queries is wrong
    made = _forward(node, (q, k, v, *(expand(m, (*m.shape[:-2], *scores)) for m in mask)), target, simple)
    if made is None:
        return None
    forward, memory = made
    (g, by), (out, of_out) = (_laid(_four(n), simple) for n in (g, out))
    logarithms = operand(stats, simple, lambda view, shape: view == View.of(shape))[0]
    spec = AttentionGradSpec(forward, by, of_out, target.deterministic)
    if spec in target.declined:
        return None
    sources = (g, *memory[:3], out, logarithms, *memory[3:])
    part: int = node["part"]
    of, as_ = spec.results[part]
    called = apply("call", *sources, routine="attention_grad", spec=spec, of=of, as_=as_, part=part)
    return reshape(apply("permute", called, order=(0, 2, 1, 3)), node.shape)


def _forward(
    node: Node, src: tuple[Node, ...], target: Target, simple: Scalars
) -> tuple[AttentionSpec, tuple[Node, ...]] | None:
    """What the library is told of an attention, and the memory it reads."""
    q, k, v, *mask = (_four(s) for s in src)
    if q.dtype.name not in DTYPES or not fits(q.shape, k.shape, v.shape, node["causal"]):
        return None
    (q_memory, q_view), (k_memory, k_view), (v_memory, v_view) = (_laid(s, simple) for s in (q, k, v))
    masks = [operand(m, simple, lambda view, shape: view == View.of(shape))[0] for m in mask]
    batch, heads, queries, width = q.shape
    spec = AttentionSpec(
        dtype=q.dtype.name,
        batch=batch,
        heads=heads,
        shared=k.shape[1],
        queries=queries,
        keys=k.shape[2],
        width=width,
        depth=v.shape[3],
        scale=node["scale"],
        causal=node["causal"],
        q=q_view,
        k=k_view,
        v=v_view,
        mask=mask[0].shape if mask else None,
    )
    return None if spec in target.declined else (spec, (q_memory, k_memory, v_memory, *masks))


def fits(q: Shape, k: Shape, v: Shape, causal: bool) -> bool:
    """True for sizes of (B, H, L, E) that the library may have an algorithm for.

    >>> fits((2, 8, 100, 64), (2, 4, 77, 64), (2, 4, 77, 64), False)
    True
    >>> fits((1, 1, 9, 12), (1, 1, 9, 12), (1, 1, 9, 8), True)
    False
    """
    widths = (q[-1], v[-1])
    possible = min(prod(q), prod(k), prod(v)) > 0 and max(widths) <= WIDEST and not any(w % UNIT for w in widths)
    return possible and not (causal and q[2] > k[2])


def _four(n: Node) -> Node:
    """As (B, H, L, E): the axes in front of the heads are one, and there are heads."""
    *lead, rows, width = n.shape
    heads = lead[-1] if lead else 1
    return reshape(n, (prod(lead[:-1]), heads, rows, width))


def _laid(n: Node, simple: Scalars) -> tuple[Node, View]:
    return operand(n, simple, readable)


def readable(view: View, shape: Shape) -> bool:
    """True if rows lie side by side and begin at multiples of 16 bytes, and nothing is read twice."""
    *others, last = zip(view.strides, shape, strict=True)
    unit = last[0] == 1 or last[1] == 1
    return unit and not view.offset % UNIT and all(n == 1 or (s > 0 and not s % UNIT) for s, n in others)
