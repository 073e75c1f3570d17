# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# The entries of a table are lambdas, which cannot say their types.
"""Convolution, general enough to be its own gradient.

    out[n, o, p] = sum over c, k of x[n, c, (p * stride + k * dilation - low) / spread] * w[o, c, k]

for x (N, C, *S), w (O, C / groups, *K) and out (N, O, *P), where only whole positions inside x count: `spread` - 1
zeros stand between its elements and `low` and `high` around them (negative: fewer elements). A transposed convolution
has a spread; both gradients of any convolution are convolutions again, so none is ever lost as a product and a sum.
"""

from math import prod
from typing import Any

import numpy as np

from flame.errors import ShapeError
from flame.ir import dtype as dt
from flame.ir import rules
from flame.ir.node import Node, Shape, apply, cast, const, expand, reshape, where
from flame.ir.op import Grads, Kind, define
from flame.ir.ops.contract import transpose

MANY = 32  # positions of one image from which on each image is a product of its own, and nothing is transposed
LARGE = 1 << 28  # bytes of windows from which on images are taken a few at a time
FEW = 64  # terms of a sum up to which one lane forms it alone, beside its neighbours: the terms are a leading axis


def spread_size(n: int, spread: int) -> int:
    """The length of n elements with spread - 1 zeros between them."""
    return max(0, (n - 1) * spread + 1)


def shape_of(
    x: Shape, w: Shape, *, stride: Shape, low: Shape, high: Shape, spread: Shape, dilation: Shape, groups: int
) -> Shape:
    rank = len(x) - 2
    if rank < 0 or len(w) != len(x) or any(len(a) != rank for a in (stride, low, high, spread, dilation)):
        raise ShapeError(f"needs x (N, C, …), w (O, C / groups, …) and a number for each … axis, got {x} and {w}")
    if groups < 1 or x[1] % groups or w[0] % groups or x[1] // groups != w[1]:
        raise ShapeError(f"{groups} groups of {x[1]} channels do not fit a weight {w}: it must be (O, C / groups, …)")
    if min((*stride, *spread, *dilation, 1)) < 1:
        raise ShapeError(f"stride {stride}, spread {spread} and dilation {dilation} must be at least 1")
    positions = (
        max(0, (spread_size(n, gap) + lo + hi - (k - 1) * apart - 1) // by + 1)
        for n, k, by, lo, hi, gap, apart in zip(x[2:], w[2:], stride, low, high, spread, dilation, strict=True)
    )
    return (x[0], w[0], *positions)


def numpy_of(
    x: Any, w: Any, stride: Shape, low: Shape, high: Shape, spread: Shape, dilation: Shape, groups: int
) -> Any:
    """The definition: all windows of the spread and padded input, times the weight, summed over channels and taps."""
    shape = shape_of(
        x.shape, w.shape, stride=stride, low=low, high=high, spread=spread, dilation=dilation, groups=groups
    )
    wide = np.float32 if x.dtype.itemsize == 2 and x.dtype.kind not in "iu" else x.dtype
    if 0 in shape or not x.size or not w.size:
        return np.zeros(shape, x.dtype)
    lengths = [spread_size(n, gap) for n, gap in zip(x.shape[2:], spread, strict=True)]
    sides = [(n, max(lo, 0), max(hi, 0)) for n, lo, hi in zip(lengths, low, high, strict=True)]
    padded = np.zeros((*x.shape[:2], *(n + lo + hi for n, lo, hi in sides)), wide)
    inside = (slice(lo, lo + n, gap) for (n, lo, _), gap in zip(sides, spread, strict=True))
    padded[(..., *inside)] = x
    padded = padded[(..., *(slice(max(-lo, 0), min(hi, 0) or None) for lo, hi in zip(low, high, strict=True)))]
    axes = tuple(range(2, x.ndim))
    spans = tuple((k - 1) * apart + 1 for k, apart in zip(w.shape[2:], dilation, strict=True))
    every = np.lib.stride_tricks.sliding_window_view(padded, spans, axes) if axes else padded
    every = every[(..., *(slice(None, None, by) for by in stride), *(slice(None, None, d) for d in dilation))]
    n, o, *positions = shape
    taps = prod(w.shape[2:])
    left = every.reshape(n, groups, w.shape[1], prod(positions), taps)
    right = w.astype(wide).reshape(groups, o // groups, w.shape[1], taps)
    found = np.einsum("ngcpk,gock->ngop", left, right, optimize=True)
    return found.reshape(shape).astype(x.dtype)


# --- gradients --------------------------------------------------------------------------------------------------------
def exchanged(x: Node) -> Node:
    """The first two axes swapped."""
    return apply("permute", x, order=(1, 0, *range(2, len(x.shape))))


def other_side(w: Node, groups: int) -> Node:
    """(groups * O, C, *K) to (groups * C, O, *K): the weight seen from the result."""
    total, c, *taps = w.shape
    o = total // groups
    inner = apply("permute", reshape(w, (groups, o, c, *taps)), order=(0, 2, 1, *range(3, len(w.shape) + 1)))
    return reshape(inner, (groups * c, o, *taps))


def batch_as_channels(x: Node, groups: int) -> Node:
    """(N, groups * C, *S) to (C, groups * N, *S)."""
    n, total, *size = x.shape
    c = total // groups
    inner = apply("permute", reshape(x, (n, groups, c, *size)), order=(2, 1, 0, *range(3, len(x.shape) + 1)))
    return reshape(inner, (c, groups * n, *size))


def flipped(w: Node) -> Node:
    axes = tuple(range(2, len(w.shape)))
    return apply("flip", w, axes=axes) if axes else w


def convolution(
    x: Node, w: Node, out: Shape, stride: Shape, low: Shape, spread: Shape, dilation: Shape, g: int
) -> Node:
    """The convolution whose result has the spatial shape `out`: what lies behind follows."""
    high = tuple(
        (p - 1) * by + (k - 1) * apart + 1 - spread_size(n, gap) - lo
        for p, by, k, apart, n, gap, lo in zip(
            out, stride, w.shape[2:], dilation, x.shape[2:], spread, low, strict=True
        )
    )
    return apply("convolution", x, w, stride=stride, low=low, high=high, spread=spread, dilation=dilation, groups=g)


def grad_of(g: Node, y: Node, x: Node, w: Node) -> Grads:
    stride, low, spread, dilation, groups = (y[name] for name in ("stride", "low", "spread", "dilation", "groups"))
    back = tuple((k - 1) * apart - lo for k, apart, lo in zip(w.shape[2:], dilation, low, strict=True))
    by_x = convolution(g, flipped(other_side(w, groups)), x.shape[2:], spread, back, stride, dilation, groups)
    if max((*spread, 1)) > 1 and max((*stride, 1)) == 1:  # windows of g, rather than of x with its zeros between
        images = batch_as_channels(g, groups)
        found = convolution(images, exchanged(x), w.shape[2:], dilation, back, (1,) * len(low), spread, groups)
        return by_x, flipped(other_side(exchanged(found), groups))
    images = batch_as_channels(x, groups)
    return by_x, exchanged(convolution(images, exchanged(g), w.shape[2:], dilation, low, spread, stride, groups))


def batch_of(n: int, y: Node, x: Node, w: Node) -> Node:
    """One weight serves the images of all examples; else each example is a group of channels."""
    if w.op.name == "expand" and w.src[0].shape == w.shape[1:]:
        images = reshape(x, (n * x.shape[1], *x.shape[2:]))
        return reshape(apply(y.op, images, w.src[0], **dict(y.attrs)), (n, *y.shape))
    _, images, channels, *size = x.shape
    side = apply("permute", x, order=(1, 0, *range(2, len(x.shape))))
    side = reshape(side, (images, n * channels, *size))
    weight = reshape(w, (n * w.shape[1], *w.shape[2:]))
    found = apply(y.op, side, weight, **{**dict(y.attrs), "groups": n * y["groups"]})
    found = reshape(found, (images, n, *y.shape[1:]))
    return apply("permute", found, order=(1, 0, *range(2, len(x.shape))))


# --- in simpler operators ---------------------------------------------------------------------------------------------
def simpler(node: Node) -> Node:
    """A matrix product over windows; each way reads and writes no more than it must."""
    x, w = node.src
    groups, o, c = node["groups"], w.shape[0] // node["groups"], w.shape[1]
    if groups > 1 and 1 in (o, c):
        return by_sum(node)
    overlaps = max((*node["spread"], 1)) > 1 and max((*node["stride"], 1)) == 1 and node.dtype.size > 2
    places = prod(x.shape[2:]) * w.shape[0] if overlaps else prod(node.shape[2:]) * x.shape[1]
    parts = -(-x.shape[0] * places * prod(w.shape[2:]) * node.dtype.size // LARGE)
    if min(parts, x.shape[0]) > 1:
        return in_parts(node, min(parts, x.shape[0]))
    if overlaps:
        return by_overlap(node)
    weight = reshape(w, (groups, o, c * prod(w.shape[2:])))
    return reshape(product(weight, windows_of(node), len(x.shape) - 2), node.shape)


def in_parts(node: Node, parts: int) -> Node:
    """The images a few at a time, one behind the other: the windows of only a few are in memory at once."""
    x, w = node.src
    n, each = x.shape[0], -(-x.shape[0] // parts)
    rank, out, made = len(x.shape), None, None
    for first in reversed(range(0, n, each)):
        last = min(n, first + each)
        late = x if made is None else apply("after", x, made, uid=0)  # its windows wait for the product before
        some = apply("slice", late, start=(first,) + (0,) * (rank - 1), stop=(last, *x.shape[1:]), step=(1,) * rank)
        made = apply(node.op, some, w, **dict(node.attrs))
        sides = {"low": (first,) + (0,) * (rank - 1), "high": (n - last,) + (0,) * (rank - 1), "step": (1,) * rank}
        whole = apply("pad", made, fill=0, **sides)
        here = apply("pad", expand(const(True), made.shape), fill=False, **sides)
        out = whole if out is None else where(here, whole, out)
    assert out is not None
    return out


def windows_of(node: Node) -> Node:
    """(N, groups, C / groups, *P, *K): the elements of x that each position of the result reads."""
    x, w = node.src
    x = surrounded(x, node["low"], node["high"], node["spread"])
    for a, (taps, by, apart) in enumerate(zip(w.shape[2:], node["stride"], node["dilation"], strict=True), 2):
        wide = expand(reshape(x, (*x.shape, 1)), (*x.shape, taps))
        x = (
            apply("skew", wide, axis=a, taps=len(x.shape), stride=by, dilation=apart)
            if taps > 1
            else _first(wide, a, by)
        )
    return reshape(x, (x.shape[0], node["groups"], w.shape[1], *x.shape[2:]))


def _first(x: Node, axis: int, stride: int) -> Node:
    """Windows of one tap are a slice."""
    if stride == 1:
        return x
    step = tuple(stride if a == axis else 1 for a in range(len(x.shape)))
    return apply("slice", x, start=(0,) * len(step), stop=x.shape, step=step)


def surrounded(x: Node, low: Shape, high: Shape, spread: Shape) -> Node:
    """Zeros between the elements of the axes behind the second, and around them; negative counts crop."""
    lead = (0, 0)
    before, after = (tuple(max(n, 0) for n in side) for side in (low, high))
    if any((*before, *after)) or max((*spread, 1)) > 1:
        x = apply("pad", x, low=lead + before, high=lead + after, step=(1, 1, *spread), fill=0)
    if min((*low, *high, 0)) < 0:
        start = lead + tuple(max(-n, 0) for n in low)
        stop = tuple(n - max(-cut, 0) for n, cut in zip(x.shape, lead + high, strict=True))
        x = apply("slice", x, start=start, stop=stop, step=(1,) * len(start))
    return x


def product(weight: Node, x: Node, rank: int) -> Node:
    """(groups, R, C * K) times (N, groups, C, *P, *K) to (N, groups, R, *P): as one product, or one for each image."""
    n, groups, c, *rest = x.shape
    places, taps, rows = prod(rest[:rank]), prod(rest[rank:]), weight.shape[1]
    where, tap = tuple(range(3, 3 + rank)), tuple(range(3 + rank, len(x.shape)))
    if places >= MANY:
        each = expand(reshape(weight, (1, *weight.shape)), (n, *weight.shape))
        columns = reshape(apply("permute", x, order=(0, 1, 2, *tap, *where)), (n, groups, c * taps, places))
        return reshape(apply("matmul", each, columns), (n, groups, rows, *rest[:rank]))
    if taps > places:  # memory is written along the longer of the two
        columns = transpose(reshape(apply("permute", x, order=(1, 0, *where, 2, *tap)), (groups, n * places, c * taps)))
    else:
        columns = reshape(apply("permute", x, order=(1, 2, *tap, 0, *where)), (groups, c * taps, n * places))
    found = reshape(apply("matmul", weight, columns), (groups, rows, n, *rest[:rank]))
    return apply("permute", found, order=(2, 0, 1, *where))


def by_sum(node: Node) -> Node:
    """One channel a group on either side: each result is a short sum, and no window is written to memory."""
    w, x = node.src[1], windows_of(node)
    n, groups, c, *rest = x.shape
    rank, o = len(node.shape) - 2, w.shape[0] // groups
    wide = dt.float32 if node.dtype.size == 2 else node.dtype
    shape, terms = (n, groups, o, *rest[:rank]), (c, *rest[rank:])
    left = apply("permute", cast(x, wide), order=(2, *range(3 + rank, len(x.shape)), 0, 1, *range(3, 3 + rank)))
    left = expand(reshape(left, (*terms, n, groups, 1, *rest[:rank])), (*terms, *shape))
    right = apply("permute", cast(reshape(w, (groups, o, *terms)), wide), order=(*range(2, 3 + rank), 0, 1))
    right = expand(reshape(right, (*terms, 1, groups, o, *(1,) * rank)), (*terms, *shape))
    every, ahead = left * right, len(terms)
    if prod(terms) > FEW:
        every = apply("permute", every, order=(*range(ahead, len(every.shape)), *range(ahead)))
    axes = tuple(range(ahead)) if prod(terms) <= FEW else tuple(range(len(shape), len(every.shape)))
    return reshape(cast(apply("sum", every, axes=axes), node.dtype), node.shape)


def overlapped(x: Node, first: int, size: Shape, stride: Shape, dilation: Shape) -> Node:
    """(*K, …, *P) to (…, *size): windows put back where they came from; what falls on one place is summed.

    `first` is the first axis of *P.
    """
    for a, (n, by, apart) in enumerate(zip(size, stride, dilation, strict=True)):
        x = apply("unskew", x, axis=first + a, taps=a, stride=by, dilation=apart, size=n, fill=0)
    return apply("sum", x, axes=tuple(range(len(size))))


def by_overlap(node: Node) -> Node:
    """Each element of x times the whole weight; the results that fall on one place are summed: no zero is multiplied.

    Of a dtype in which sums are formed, so that nothing is rounded between.
    """
    x, w = node.src
    groups, (total, c, *taps), rank = node["groups"], w.shape, len(node.shape) - 2
    n, o = x.shape[0], total // groups
    weight = apply("permute", reshape(flipped(w), (groups, o, c, prod(taps))), order=(0, 1, 3, 2))
    weight = reshape(weight, (groups, o * prod(taps), c))
    y = product(weight, reshape(x, (n, groups, c, *x.shape[2:])), rank)
    y = reshape(y, (n, groups, o, *taps, *x.shape[2:]))
    y = apply("permute", y, order=(*range(3, 3 + rank), 0, 1, 2, *range(3 + rank, 3 + 2 * rank)))
    y = reshape(y, (*taps, n, total, *x.shape[2:]))
    sizes = zip(x.shape[2:], node["spread"], taps, node["dilation"], strict=True)
    size = tuple((n - 1) * gap + (k - 1) * apart + 1 for n, gap, k, apart in sizes)
    full = overlapped(y, 2 + rank, size, node["spread"], node["dilation"])
    low = tuple(lo - (k - 1) * apart for lo, k, apart in zip(node["low"], taps, node["dilation"], strict=True))
    high = tuple(p - n - lo for p, n, lo in zip(node.shape[2:], full.shape[2:], low, strict=True))
    return surrounded(full, low, high, (1,) * rank)


_ONE = {"stride": (1,), "low": (0,), "high": (0,), "spread": (1,), "dilation": (1,), "groups": 1}
define(
    "convolution",
    Kind.CONTRACT,
    shape=shape_of,
    dtype=rules.numeric,
    numpy=numpy_of,
    grad=grad_of,
    decompose=simpler,
    batch=batch_of,
    examples=(
        {**_ONE, "stride": (2,), "low": (2,), "high": (1,)},
        {**_ONE, "low": (1,), "high": (-1,), "spread": (2,), "dilation": (3,), "groups": 3},
        {**_ONE, "low": (-1,), "high": (2,), "spread": (3,), "dilation": (2,)},
        {"stride": (1, 2), "low": (1, 0), "high": (0, 1), "spread": (2, 1), "dilation": (1, 1), "groups": 1},
    ),
    public=False,
    doc="Windows of x times a weight, summed over channels and taps; half precisions are summed in float32.",
)
