"""Hand contractions to libraries; decompose the ones no library wants.

A target names the routines it has. This pass only chooses; `runtime/lib_*.py` perform. Transposes, slices and
broadcasts of an operand become strides: no copy.
"""

from collections.abc import Callable
from functools import partial
from math import prod

from flame.ir import dtype as dt
from flame.ir.graph import toposort
from flame.ir.library import HostSpec, MatmulSpec, PlacesSpec, SortSpec, View
from flame.ir.node import Node, apply, cast, reshape
from flame.ir.op import Kind
from flame.ir.target import Target
from flame.passes.attend import attention, attention_grad, attention_stats
from flame.passes.convolve import convolution
from flame.passes.operand import operand
from flame.passes.simplify import Scalars, simplify

Routine = Callable[[Node, Target, Scalars], Node | None]


def matmul(node: Node, target: Target, simple: Scalars) -> Node | None:
    """A product of float matrices; half precisions go through float32 where the machine has none."""
    if not node.dtype.is_float:
        return None
    if node.dtype.size == 2 and target.name == "cpu":
        wide = apply("matmul", *(cast(s, dt.float32) for s in node.src))
        made = matmul(wide, target, simple)
        return None if made is None else cast(made, node.dtype)
    (a, left), (b, right) = (operand(s, simple) for s in node.src)
    *batch, m, k = node.src[0].shape
    tf32 = target.tf32 and node.dtype is dt.float32
    spec = MatmulSpec(node.dtype.name, tuple(batch), m, node.shape[-1], k, left, right, tf32)
    return apply("call", a, b, routine="matmul", spec=spec, of=node.shape, as_=node.dtype)


def argsort(node: Node, target: Target, simple: Scalars) -> Node:
    """Rows side by side are sorted where they lie; another axis is turned into rows, and back."""
    return _sort(node, simple, node["below"], False)


def sorted_values(node: Node, target: Target, simple: Scalars) -> Node:
    """The same for the values alone."""
    return _sort(node, simple, 0, True)


def _sort(node: Node, simple: Scalars, below: int, values: bool) -> Node:
    (a,), rank = node.src, len(node.shape)
    axis: int = node["axis"]
    order = (*(i for i in range(rank) if i != axis), axis)
    turned = apply("permute", a, order=order)
    memory, _ = operand(turned, simple, lambda view, shape: view == View.of(shape))
    n = a.shape[axis]
    spec = SortSpec(a.dtype.name, prod(a.shape) // n, n, node["descending"], node["ranks"], below, values)
    found = apply("call", memory, routine=node.op.name, spec=spec, of=(spec.rows, spec.selected), as_=node.dtype)
    found = reshape(found, (*turned.shape[:-1], spec.selected))
    return apply("permute", found, order=tuple(order.index(i) for i in range(rank)))


def places(node: Node, target: Target, simple: Scalars) -> Node:
    """Rows of truth values as they lie in memory."""
    (a,) = node.src
    memory, _ = operand(a, simple, lambda view, shape: view == View.of(shape))
    spec = PlacesSpec(prod(a.shape[:-1]), a.shape[-1], node["size"])
    return reshape(
        apply("call", memory, routine="places", spec=spec, of=(spec.rows, spec.size), as_=node.dtype), node.shape
    )


ROUTINES: dict[str, Routine] = {
    "matmul": matmul,
    "argsort": argsort,
    "sorted": sorted_values,
    "places": places,
    "convolution": convolution,
    "attention": attention,
    "attention_stats": attention_stats,
    "attention_grad": attention_grad,
}


def libraries(roots: tuple[Node, ...], target: Target, simple: Scalars) -> tuple[Node, ...]:
    """No contraction is left: each is a library's call, or simpler operators."""
    new: dict[Node, Node] = {}
    choose = partial(_chosen, target=target, simple=simple)
    for node in toposort(roots):
        src = tuple([new[s] for s in node.src])
        rebuilt = node if src == node.src else apply(node.op, *src, **dict(node.attrs))
        new[node] = choose(rebuilt)
    return tuple(new[r] for r in roots)


def on_host(node: Node) -> Node:
    """The call of an operator that only the host performs, whatever the target."""
    spec = HostSpec(node.op.name, node.attrs, node.dtype.name, tuple(s.shape for s in node.src), node.shape)
    return apply("call", *node.src, routine="host", spec=spec, of=node.shape, as_=node.dtype)


def _chosen(node: Node, target: Target, simple: Scalars) -> Node:
    if node.op.kind is Kind.HOST:
        return on_host(node)
    if node.op.kind is not Kind.CONTRACT:
        return node
    routine = ROUTINES.get(node.op.name) if node.op.name in target.libraries else None
    made = routine(node, target, simple) if routine else None
    if made is not None:
        return made
    assert node.op.decompose is not None
    (simpler,) = libraries(simplify((node.op.decompose(node),), node.src), target, simple)
    return simpler
