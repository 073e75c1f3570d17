# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# The entries of a table are lambdas, which cannot say their types.
"""Movement: only where the elements are read from changes."""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from flame.ir import rules
from flame.ir.node import Index, Node, Shape, apply, const, reshape
from flame.ir.op import Grads, Kind, Op, define


def unflatten(flat: Node, shape: Shape) -> Index:
    """The index tuple of the flat position `flat` in `shape`. The first axis needs no `%`: flat is in range."""
    out: list[Node] = []
    for axis in reversed(range(len(shape))):
        if shape[axis] == 1:
            out.append(const(0))
            continue
        outermost = prod(shape[:axis]) == 1
        out.append(flat if outermost else flat % shape[axis])
        flat = flat if outermost else flat // shape[axis]
    return tuple(reversed(out))


def flatten(index: Index, shape: Shape) -> Node:
    """The flat position of `index` in row-major `shape`."""
    flat = const(0)
    for i, n in zip(index, shape, strict=True):
        flat = flat * n + i
    return flat


def sum_to(g: Node, shape: Shape) -> Node:
    """Undo a broadcast: sum `g` down to `shape`."""
    lead = len(g.shape) - len(shape)
    axes = tuple(a for a in range(len(g.shape)) if a < lead or (shape[a - lead] == 1 and g.shape[a] != 1))
    return reshape(apply("sum", g, axes=axes) if axes else g, shape)


def slice_index(at: Index, shape: Shape, start: Shape, stop: Shape, step: Shape) -> tuple[Index, None]:
    return tuple(i * by + lo for i, lo, by in zip(at, start, step, strict=True)), None


def slice_numpy(a: Any, start: Shape, stop: Shape, step: Shape) -> Any:
    return a[tuple(slice(lo, hi, by) for lo, hi, by in zip(start, stop, step, strict=True))]


def slice_grad(g: Node, y: Node, a: Node) -> Grads:
    start, step = y["start"], y["step"]
    ends = [lo + (n - 1) * by + 1 if n else lo for lo, n, by in zip(start, y.shape, step, strict=True)]
    high = tuple(n - end for n, end in zip(a.shape, ends, strict=True))
    return (apply("pad", g, low=start, high=high, step=step, fill=0),)


def pad_index(at: Index, shape: Shape, low: Shape, high: Shape, step: Shape, fill: float) -> tuple[Index, Node | None]:
    """Where the source lies below each element, and whether it lies there at all."""
    out: list[Node] = []
    inside: Node | None = None
    for i, n, lo, hi, by in zip(at, shape, low, high, step, strict=True):
        j = i - lo if lo else i
        tests = [j >= 0] if lo else []
        tests += [j < (n - 1) * by + 1] if hi else []
        tests += [apply("eq", j % by, const(0))] if by > 1 else []
        for t in tests:
            inside = t if inside is None else inside & t
        out.append(j // by if by > 1 else j)
    return tuple(out), inside


def pad_numpy(a: Any, low: Shape, high: Shape, step: Shape, fill: float) -> Any:
    out = np.full(rules.padded(a.shape, low=low, high=high, step=step, fill=fill), fill, a.dtype)
    if a.size:
        ends = (lo + (n - 1) * by + 1 for lo, n, by in zip(low, a.shape, step, strict=True))
        out[tuple(slice(lo, end, by) for lo, end, by in zip(low, ends, step, strict=True))] = a
    return out


def pad_grad(g: Node, y: Node, a: Node) -> Grads:
    low, step = y["low"], y["step"]
    stop = tuple(lo + max(0, (n - 1) * by + 1) for lo, n, by in zip(low, a.shape, step, strict=True))
    return (apply("slice", g, start=low, stop=stop, step=step),)


def on_diagonal_index(
    at: Index, shape: Shape, offset: int, rows: int, columns: int, fill: float
) -> tuple[Index, Node | None]:
    """Row and column are equally far from where the diagonal begins."""
    *lead, i, j = at
    i, j = i - max(-offset, 0), j - max(offset, 0)
    return (*lead, i), apply("eq", i, j)


def on_diagonal_numpy(a: Any, offset: int, rows: int, columns: int, fill: float) -> Any:
    out = np.full((*a.shape[:-1], rows, columns), fill, a.dtype)
    k = np.arange(a.shape[-1])
    out[..., k + max(-offset, 0), k + max(offset, 0)] = a
    return out


def in_front(**first: int | None) -> Callable[[int, Node, Node], Node]:
    """The rule for a batch of an operator whose attributes have an entry for each axis; None: the size of the batch."""

    def batch(n: int, y: Node, a: Node) -> Node:
        more = {k: (n if v is None else v, *y[k]) for k, v in first.items()}
        return apply(y.op, a, **{**dict(y.attrs), **more})

    return batch


def align(n: int, y: Node, a: Node) -> Node:
    """Axes that an example's operand lacks in front are new ones behind the axis of the batch."""
    return reshape(a, (n, *(1,) * (len(y.shape) + 1 - len(a.shape)), *a.shape[1:]))


def movement(name: str, shape: Callable[..., Shape], numpy: Any, index: Any, grad: Any, **more: Any) -> Op:
    return define(
        name, Kind.MOVEMENT, shape=shape, dtype=rules.held, numpy=numpy, index=index, grad=grad, public=False, **more
    )


movement(
    "expand",
    rules.to_shape,
    lambda a, to: np.broadcast_to(a, to),
    lambda at, shape, to: (
        tuple(const(0) if n == 1 else i for i, n in zip(at[len(at) - len(shape) :], shape, strict=True)),
        None,
    ),
    lambda g, y, a: (sum_to(g, a.shape),),
    examples=({"to": (2, 3, 4)},),
    batch=lambda n, y, a: apply("expand", align(n, y, a), to=(n, *y.shape)),
    doc="Axes of size 1, or missing in front, repeated.",
)
movement(
    "permute",
    rules.permuted,
    lambda a, order: np.transpose(a, order),
    lambda at, shape, order: (tuple(at[order.index(a)] for a in range(len(shape))), None),
    lambda g, y, a: (apply("permute", g, order=tuple(y["order"].index(a) for a in range(len(y["order"])))),),
    examples=({"order": (1, 0)},),
    batch=lambda n, y, a: apply("permute", a, order=(0, *(o + 1 for o in y["order"]))),
    doc="Axes in another order.",
)
movement(
    "reshape",
    rules.reshaped,
    lambda a, to: np.reshape(a, to),
    lambda at, shape, to: (unflatten(flatten(at, to), shape), None),
    lambda g, y, a: (reshape(g, a.shape),),
    examples=({"to": (4, 3)}, {"to": (2, 6)}),
    batch=lambda n, y, a: reshape(a, (n, *y.shape)),
    doc="The same elements in row-major order under another shape.",
)
movement(
    "slice",
    rules.sliced,
    slice_numpy,
    slice_index,
    slice_grad,
    examples=({"start": (0, 1), "stop": (3, 4), "step": (2, 1)}, {"start": (1, 0), "stop": (2, 4), "step": (1, 3)}),
    batch=in_front(start=0, stop=None, step=1),
    doc="Every step-th element from start to stop.",
)
movement(
    "flip",
    lambda shape, axes: (rules.reduced(shape, axes=axes) and shape) or shape,
    lambda a, axes: np.flip(a, axes),
    lambda at, shape, axes: (tuple(const(shape[a] - 1) - i if a in axes else i for a, i in enumerate(at)), None),
    lambda g, y, a: (apply("flip", g, axes=y["axes"]),),
    examples=({"axes": (1,)}, {"axes": (0, 1)}),
    batch=lambda n, y, a: apply("flip", a, axes=tuple(i + 1 for i in y["axes"])),
    doc="Axes read backwards.",
)
movement(
    "pad",
    rules.padded,
    pad_numpy,
    pad_index,
    pad_grad,
    examples=(
        {"low": (1, 0), "high": (0, 2), "step": (1, 1), "fill": 0},
        {"low": (0, 1), "high": (2, 0), "step": (2, 3), "fill": 1},
    ),
    batch=in_front(low=0, high=0, step=1),
    doc="`fill` around the elements, and step - 1 of it between them.",
)
movement(
    "diagonal",
    rules.diagonal,
    lambda a, offset: np.diagonal(a, offset, -2, -1),
    lambda at, shape, offset: ((*at[:-1], at[-1] + max(-offset, 0), at[-1] + max(offset, 0)), None),
    lambda g, y, a: (apply("on_diagonal", g, offset=y["offset"], rows=a.shape[-2], columns=a.shape[-1], fill=0),),
    examples=({"offset": 0}, {"offset": 1}, {"offset": -2}),
    batch=in_front(),
    doc="The diagonal of the last two axes that begins `offset` to the right.",
)
movement(
    "on_diagonal",
    rules.on_diagonal,
    on_diagonal_numpy,
    on_diagonal_index,
    lambda g, y, a: (apply("diagonal", g, offset=y["offset"]),),
    examples=(
        {"offset": 0, "rows": 4, "columns": 6, "fill": 0},
        {"offset": 2, "rows": 5, "columns": 6, "fill": 1},
        {"offset": -1, "rows": 5, "columns": 4, "fill": 0},
    ),
    batch=in_front(),
    doc="The last axis as a diagonal of two axes, `fill` elsewhere.",
)
