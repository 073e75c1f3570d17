"""What a library for deep networks must know of its operands: plain data that passes write and the runtime reads."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from flame.ir import dtype as dt
from flame.ir.dtype import DType, by_name
from flame.ir.library import View
from flame.ir.op import OPS

Shape = tuple[int, ...]


def channels_last(shape: Shape) -> Shape:
    """(N, C, *S) as it lies in memory: (N, *S, C)."""
    return (shape[0], *shape[2:], shape[1])


@dataclass(frozen=True, slots=True)
class ConvolutionSpec:
    """A convolution, or one of its gradients; every operand and the result lie with their channels last.

    The convolution meant is x (N, C, *S) * w (O, C / groups, *K) -> y (N, O, *P). Its `form` says which of the three is
    wanted of the two others: "forward" (x, w) -> y, "data" (y, w) -> x, "weight" (x, y) -> w.
    """

    form: str
    dtype: str
    x: Shape
    w: Shape
    y: Shape
    stride: Shape
    padding: Shape  # zeros on both sides of each axis
    dilation: Shape
    groups: int
    tf32: bool = False

    @property
    def operands(self) -> tuple[Shape, Shape]:
        """The shapes of both operands, channels second."""
        return {"forward": (self.x, self.w), "data": (self.y, self.w), "weight": (self.x, self.y)}[self.form]

    @property
    def result(self) -> Shape:
        """The shape of the result, channels second."""
        return {"forward": self.y, "data": self.x, "weight": self.w}[self.form]

    @property
    def work(self) -> int:
        """Multiplications and additions."""
        taps = self.w[1] * int(np.prod(self.w[2:]))
        return 2 * int(np.prod(self.y)) * taps

    def numpy(self, a: Any, b: Any) -> Any:
        """The meaning, by that of the operator `convolution`; memory may be longer than the operand that begins it."""
        pairs = zip((a, b), map(channels_last, self.operands), strict=True)
        first, second = (np.moveaxis(View.of(shape).over(memory, shape), -1, 1) for memory, shape in pairs)
        return np.ascontiguousarray(np.moveaxis(self._performed(first, second), 1, -1))

    def _performed(self, a: Any, b: Any) -> Any:
        made = partial(_meaning, "convolution")
        one = (1,) * len(self.stride)
        if self.form == "forward":
            return made(a, b, self.stride, self.padding, self._behind, one, self.dilation, self.groups)
        if self.form == "data":
            around = tuple((k - 1) * d for k, d in zip(self.w[2:], self.dilation, strict=True))
            full = made(a, self._turned(b), one, around, around, self.stride, self.dilation, self.groups)
            out = np.zeros(self.x, full.dtype)
            ends = [lo + n for lo, n in zip(self.padding, self.x[2:], strict=True)]
            seen = full[(..., *(slice(lo, end) for lo, end in zip(self.padding, ends, strict=True)))]
            out[tuple(map(slice, seen.shape))] = seen
            return out
        images, g = self._batched(a), b.swapaxes(0, 1)
        return made(images, g, self.dilation, self.padding, self._behind, one, self.stride, self.groups).swapaxes(0, 1)

    @property
    def _behind(self) -> Shape:
        """Zeros behind that the windows read: no more than the padding, fewer than none where elements are left."""
        axes = zip(self.x[2:], self.w[2:], self.y[2:], self.stride, self.padding, self.dilation, strict=True)
        return tuple((p - 1) * by + (k - 1) * d + 1 - n - lo for n, k, p, by, lo, d in axes)

    def _turned(self, w: Any) -> Any:
        """(groups * O, C, *K) to (groups * C, O, *K), every tap mirrored."""
        o, c = w.shape[0] // self.groups, w.shape[1]
        seen = w.reshape(self.groups, o, *w.shape[1:]).swapaxes(1, 2).reshape(self.groups * c, o, *w.shape[2:])
        return np.flip(seen, tuple(range(2, w.ndim))) if w.ndim > 2 else seen

    def _batched(self, x: Any) -> Any:
        """(N, groups * C, *S) to (C, groups * N, *S)."""
        n, c = x.shape[0], x.shape[1] // self.groups
        seen = x.reshape(n, self.groups, c, *x.shape[2:])
        return np.moveaxis(seen, (2, 1, 0), (0, 1, 2)).reshape(c, self.groups * n, *x.shape[2:])


@dataclass(frozen=True, slots=True)
class AttentionSpec:
    """softmax(scale * q k' + mask) v for q (B, H, L, E), k (B, h, S, E), v (B, h, S, V), and its logarithms (B, H, L).

    The result lies as (B, L, H, V), so that the heads of a query are one row; a mask of 4 axes is contiguous.
    """

    dtype: str
    batch: int
    heads: int
    shared: int  # heads of keys and values
    queries: int
    keys: int
    width: int  # of a query and a key
    depth: int  # of a value
    scale: float
    causal: bool
    q: View
    k: View
    v: View
    mask: Shape | None = None

    @property
    def q_shape(self) -> Shape:
        return self.batch, self.heads, self.queries, self.width

    @property
    def k_shape(self) -> Shape:
        return self.batch, self.shared, self.keys, self.width

    @property
    def v_shape(self) -> Shape:
        return self.batch, self.shared, self.keys, self.depth

    @property
    def out_shape(self) -> Shape:
        return self.batch, self.heads, self.queries, self.depth

    @property
    def results(self) -> tuple[tuple[Shape, DType], ...]:
        """(shape, dtype) of each, as it lies in memory."""
        of = by_name(self.dtype)
        stats = dt.float64 if of is dt.float64 else dt.float32
        return (heads_inside(self.out_shape), of), (self.out_shape[:3], stats)

    def operands(self, q: Any, k: Any, v: Any, *mask: Any) -> list[Any]:
        """Memory as arrays."""
        pairs = ((q, self.q, self.q_shape), (k, self.k, self.k_shape), (v, self.v, self.v_shape))
        assert (self.mask is None) == (not mask)
        return [view.over(m, shape) for m, view, shape in pairs] + [
            View.of(self.mask or ()).over(m, self.mask or ()) for m in mask
        ]

    def numpy(self, *memory: Any) -> Any:
        """The meaning: (result, logarithms)."""
        arrays = self.operands(*memory)
        attrs: dict[str, Any] = {"scale": self.scale, "causal": self.causal}
        out, stats = (_meaning(name, *arrays, **attrs) for name in ("attention", "attention_stats"))
        return np.ascontiguousarray(out.swapaxes(1, 2)), stats


@dataclass(frozen=True, slots=True)
class AttentionGradSpec:
    """The gradients of an attention by q, k and v, each with its heads inside as (B, L, H, E), of that of its result.

    Operands: the gradient, q, k, v, the result, its logarithms (contiguous), and a mask where there is one.
    """

    forward: AttentionSpec
    g: View  # over (B, H, L, V)
    out: View
    deterministic: bool = True

    @property
    def dtype(self) -> str:
        return self.forward.dtype

    @property
    def results(self) -> tuple[tuple[Shape, DType], ...]:
        """(shape, dtype) of each, as it lies in memory."""
        f = self.forward
        return tuple((heads_inside(s), by_name(f.dtype)) for s in (f.q_shape, f.k_shape, f.v_shape))

    def numpy(self, g: Any, q: Any, k: Any, v: Any, out: Any, stats: Any, *mask: Any) -> Any:
        """The meaning: the three gradients."""
        f = self.forward
        q, k, v, *masks = f.operands(q, k, v, *mask)
        g, out = (view.over(m, f.out_shape) for m, view in ((g, self.g), (out, self.out)))
        attrs: dict[str, Any] = {"scale": f.scale, "causal": f.causal}
        parts = (_meaning("attention_grad", g, q, k, v, out, stats, *masks, **attrs, part=i) for i in range(3))
        return tuple(np.ascontiguousarray(p.swapaxes(1, 2)) for p in parts)


def heads_inside(shape: Shape) -> Shape:
    """(B, H, L, E) as (B, L, H, E)."""
    return shape[0], shape[2], shape[1], shape[3]


def _meaning(name: str, *arrays: Any, **attrs: Any) -> Any:
    meaning = OPS[name].numpy
    assert meaning is not None
    return meaning(*arrays, **attrs)
