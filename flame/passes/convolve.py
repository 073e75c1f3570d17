"""Convolutions as a library's calls: which of its three forms a node is, and what lies around it.

The operator is its own gradient; the library's routine has three forms. What has zeros between its elements is the
gradient by the data, what has more taps than places the gradient by the weight, all else a convolution. Operands and
results lie in memory with their channels last, whatever the order of the node's axes: `layout.py` lets activations stay
so through a whole network.
"""

from collections.abc import Callable
from functools import partial
from math import prod

from flame.ir.dnn import ConvolutionSpec, channels_last
from flame.ir.library import View
from flame.ir.node import Node, Shape, apply, reshape
from flame.ir.ops.convolution import exchanged, flipped, other_side, spread_size, surrounded
from flame.ir.target import Target
from flame.passes.operand import operand
from flame.passes.simplify import Scalars

DTYPES = ("float16", "bfloat16", "float32", "float64")
LARGEST = 2**31  # elements that the library counts


def convolution(node: Node, target: Target, simple: Scalars) -> Node | None:
    """The call for a convolution, its result turned to the node's axes; None where the library has no form for it."""
    rank = len(node.shape) - 2
    if not _fits(node):
        return None
    if rank == 1:
        return _as_images(node, target, simple)
    made = _formed(node, target.tf32)
    if made is None or made[0] in target.declined:
        return None
    spec, sources, finish = made
    memory = [_memory(s, simple) for s in sources]
    called = apply("call", *memory, routine="convolution", spec=spec, of=channels_last(spec.result), as_=node.dtype)
    return finish(apply("permute", called, order=(0, rank + 1, *range(1, rank + 1))))


def _fits(node: Node) -> bool:
    """True for what the library may have an algorithm for."""
    sizes = [prod(n.shape) for n in (node, *node.src)]
    cut = [
        n + min(lo, 0) + min(hi, 0) for n, lo, hi in zip(node.src[0].shape[2:], node["low"], node["high"], strict=True)
    ]
    return node.dtype.name in DTYPES and 3 <= len(node.shape) <= 5 and min((*sizes, *cut)) > 0 and max(sizes) < LARGEST


def _as_images(node: Node, target: Target, simple: Scalars) -> Node | None:
    """Sequences are images of one row."""
    x, w = (reshape(s, (*s.shape[:2], 1, s.shape[2])) for s in node.src)
    more = {"stride": 1, "low": 0, "high": 0, "spread": 1, "dilation": 1}
    attrs = {name: (one, *node[name]) for name, one in more.items()}
    made = convolution(apply(node.op, x, w, **attrs, groups=node["groups"]), target, simple)
    return None if made is None else reshape(made, node.shape)


def _memory(n: Node, simple: Scalars) -> Node:
    """What lies in memory as `n` with its channels last."""
    turned = apply("permute", n, order=channels_last(tuple(range(len(n.shape)))))
    return operand(turned, simple, lambda view, shape: view == View.of(shape))[0]


# --- the three forms --------------------------------------------------------------------------------------------------
Finish = Callable[[Node], Node]
Formed = tuple[ConvolutionSpec, tuple[Node, Node], Finish]  # what is told, of what, and how the value is made of it


def as_it_is(n: Node) -> Node:
    return n


def _formed(node: Node, tf32: bool) -> Formed | None:
    """What the library is told, of which operands, and what becomes of its result."""
    if max(node["spread"]) > 1:
        return _by_data(node, tf32) if max(node["stride"]) == 1 else None
    if prod(node.src[1].shape[2:]) > prod(node.shape[2:]):
        return _by_weight(node, tf32)
    return _forward(node, tf32)


def _forward(node: Node, tf32: bool) -> Formed:
    x, w = node.src
    spans = _spans(w.shape, node["dilation"])
    x, padding = _padded(x, node["low"], node.shape[2:], spans, node["stride"])
    spec = ConvolutionSpec(
        "forward", node.dtype.name, x.shape, w.shape, node.shape, node["stride"], padding, node["dilation"],
        node["groups"], tf32,
    )  # fmt: skip
    return spec, (x, w), as_it_is


def _spans(weight: Shape, dilation: Shape) -> Shape:
    """Elements from a window's first tap to behind its last."""
    return tuple((k - 1) * d + 1 for k, d in zip(weight[2:], dilation, strict=True))


def even(low: int, size: int, wanted: int, span: int, stride: int) -> tuple[int, int, int]:
    """Zeros on both sides by the library, before and behind by hand, so that windows have the wanted places.

    The library has algorithms that are wrong with other numbers of zeros before than behind (cuDNN 9.19, weight
    gradients in float32). Negative numbers by hand are elements that no window reads.

    >>> even(1, 56, 28, 3, 2), even(1, 9, 9, 4, 1), even(-1, 9, 3, 3, 2)
    ((1, 0, 0), (1, 0, 1), (0, -1, -1))
    """
    least = (wanted - 1) * stride + span - size - low
    if low >= 0 and least <= low <= least + stride - 1:
        return low, 0, 0
    both = max(0, min(low, least))
    return both, low - both, least - both


def _padded(x: Node, low: Shape, wanted: Shape, spans: Shape, stride: Shape) -> tuple[Node, Shape]:
    """The data with what the library cannot add, and what it adds on both sides."""
    found = [even(*axis) for axis in zip(low, x.shape[2:], wanted, spans, stride, strict=True)]
    padding, before, behind = (tuple(column) for column in zip(*found, strict=True))
    return surrounded(x, before, behind, (1,) * len(low)), padding


def _by_data(node: Node, tf32: bool) -> Formed:
    """A convolution of what has zeros between its elements: the gradient by the data of one with that stride."""
    y, w = node.src
    groups, stride, dilation = node["groups"], node["spread"], node["dilation"]
    spans = _spans(w.shape, dilation)
    low = tuple(span - 1 - lo for span, lo in zip(spans, node["low"], strict=True))
    found = [even(*axis) for axis in zip(low, node.shape[2:], y.shape[2:], spans, stride, strict=True)]
    if any(before or behind for _, before, behind in found):  # of all that the windows reach, a part, or more
        size = tuple(spread_size(n, by) + span - 1 for n, by, span in zip(y.shape[2:], stride, spans, strict=True))
        behind = tuple(n + lo - full for n, lo, full in zip(node.shape[2:], low, size, strict=True))
        finish = partial(surrounded, low=tuple(-lo for lo in low), high=behind, spread=(1,) * len(low))
        padding = (0,) * len(low)
    else:
        size, finish, padding = node.shape[2:], as_it_is, tuple(both for both, _, _ in found)
    x = (node.shape[0], node.shape[1], *size)
    weight = other_side(flipped(w), groups)
    spec = ConvolutionSpec("data", node.dtype.name, x, weight.shape, y.shape, stride, padding, dilation, groups, tf32)
    return spec, (y, weight), finish


def _by_weight(node: Node, tf32: bool) -> Formed:
    """A convolution with more taps than places: the gradient by the weight of one whose places are the taps."""
    images, g = node.src
    groups, stride, dilation, low = node["groups"], node["dilation"], node["stride"], node["low"]
    c, total, *size = images.shape
    n, rank = total // groups, len(size)
    inner = apply("permute", reshape(images, (c, groups, n, *size)), order=(2, 1, 0, *range(3, rank + 3)))
    x = reshape(inner, (n, groups * c, *size))
    y = apply("permute", g, order=(1, 0, *range(2, rank + 2)))
    x, padding = _padded(x, low, y.shape[2:], _spans(node.shape, dilation), stride)
    w = (g.shape[0], c, *node.shape[2:])
    spec = ConvolutionSpec("weight", node.dtype.name, x.shape, w, y.shape, stride, padding, dilation, groups, tf32)
    return spec, (x, y), exchanged
