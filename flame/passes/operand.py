"""The memory that a library reads for an operand: transposes, slices and broadcasts become strides, without a copy."""

from collections.abc import Callable

from flame.ir.library import View
from flame.ir.node import Index, Node, apply, const, var
from flame.ir.op import Kind
from flame.ir.ops.movement import flatten
from flame.passes.simplify import Scalars, terms

Fits = Callable[[View, tuple[int, ...]], bool]


def operand(n: Node, simple: Scalars, fits: Fits = View.readable) -> tuple[Node, View]:
    """The memory to read for `n`: the deepest value that its movements read as strides that fit, or `n` itself.

    Each value on the way down is tried: one that must be copied for one product serves all that read it.
    """
    axes = tuple(var(f"i{a}", extent=size) if size != 1 else const(0) for a, size in enumerate(n.shape))
    best, base, at = (n, View.of(n.shape)), n, axes
    late: list[Node] = []  # what says when the memory may be read stays before it
    while base.op.kind is Kind.MOVEMENT:
        assert base.op.index is not None
        source = base.src[0]
        late += [base] if base.op.alias else []
        at, condition = base.op.index(at, source.shape, **dict(base.attrs))
        if condition is not None:
            break
        base, at = source, tuple(map(simple, at))
        view = strided(at, axes, base.shape, simple)
        if view is not None and fits(view, n.shape):
            best = _late(base, late), view
    return best


def _late(n: Node, late: list[Node]) -> Node:
    for each in late:
        n = apply(each.op, n, *each.src[1:], **dict(each.attrs))
    return n


def strided(at: Index, axes: Index, shape: tuple[int, ...], simple: Scalars) -> View | None:
    """The element `at` of a value of that shape as an offset and a stride for each axis; None where it is none."""
    offset, strides = 0, dict.fromkeys(axes, 0)
    for term, factor in terms(simple(flatten(at, shape))):
        if term.op.name == "const":
            offset += factor
        elif term in strides and factor > 0:
            strides[term] += factor
        else:
            return None
    return View(offset, tuple(0 if a.op.name == "const" else strides[a] for a in axes))
