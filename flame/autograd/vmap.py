"""vmap: a function of one example as a function of a batch, traced once."""

from collections.abc import Callable, Sequence
from typing import Any

from flame import positions
from flame.autograd.tree import filled, leaves, spread
from flame.batching import RANDOMNESS, Level, example, levels
from flame.errors import FlameError, ShapeError
from flame.ir.graph import toposort
from flame.ir.node import Node, apply
from flame.ir.origins import note
from flame.passes.batch import batched
from flame.tensor import Tensor

Dims = Any  # a number, None, or such in tuples, lists and dicts like the values they speak of


def vmap(
    func: Callable[..., Any],
    in_dims: Dims = 0,
    out_dims: Dims = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """Map a function over a dimension of its arguments, without a loop: the whole batch is one graph.

    `in_dims` says which dimension of each argument counts examples (None: the same for all), `out_dims` where it goes
    in the results; keyword arguments are mapped over their first. The function sees one example, whose value it cannot
    read. `randomness`: "error", "different" numbers for each example, or the "same". `chunk_size` is accepted and
    changes nothing. Raises ShapeError where sizes differ, GradError naming an operator that knows no batches.

    >>> import flame
    >>> flame.vmap(flame.dot)(flame.tensor([[1.0, 2.0], [3.0, 4.0]]), flame.tensor([[1.0, 1.0], [2.0, 2.0]])).tolist()
    [3.0, 14.0]
    """
    if randomness not in RANDOMNESS:
        raise FlameError(f"vmap: randomness is {randomness!r}; choose from {', '.join(RANDOMNESS)}")
    if chunk_size is not None and chunk_size < 1:
        raise FlameError(f"vmap: chunk_size is {chunk_size}; it must be 1 or more, or None")

    def mapped(*args: Any, **kwargs: Any) -> Any:
        dims = [*_dims("in_dims", in_dims, args), *(0 for _ in leaves(kwargs))]
        given = [*leaves(args), *leaves(kwargs)]
        level = Level(_size(given, dims), randomness)
        shown = iter([x if d is None else _example(x, d, level) for x, d in zip(given, dims, strict=True)])
        levels.append(level)
        try:
            out = func(*filled(args, shown), **filled(kwargs, shown))
        finally:
            levels.pop()
        return filled(out, _collected(list(leaves(out)), _dims("out_dims", out_dims, out), level))

    return mapped


def _dims(name: str, dims: Dims, value: Any) -> list[int | None]:
    try:
        found = spread(name, dims, value)
    except ValueError as problem:
        raise ShapeError(f"vmap: {problem}") from None
    for d in found:
        if d is not None and (isinstance(d, bool) or not isinstance(d, int)):
            raise ShapeError(f"vmap: {name} holds {d!r} where a dimension or None must stand")
    return found


def _size(given: Sequence[Any], dims: Sequence[int | None]) -> int:
    """How many examples there are: what all mapped arguments agree on."""
    sizes: dict[int, int] = {}
    for i, (x, d) in enumerate(zip(given, dims, strict=True)):
        if d is None:
            continue
        if not isinstance(x, Tensor):
            raise ShapeError(f"vmap: argument {i} is {x!r}, which has no dimension to map over; give None in in_dims")
        if not -x.ndim <= d < x.ndim:
            raise ShapeError(f"vmap: in_dims is {d} for argument {i} of shape {x.shape}; choose from its dimensions")
        sizes[i] = x.shape[d]
    if not sizes:
        raise ShapeError("vmap: no argument is mapped over; give at least one a dimension in in_dims")
    if len(set(sizes.values())) > 1:
        shown = ", ".join(f"{n} in argument {i}" for i, n in sizes.items())
        raise ShapeError(f"vmap: the mapped dimensions differ: {shown}; they must be equally long")
    return next(iter(sizes.values()))


def _example(x: Tensor, dim: int, level: Level) -> Tensor:
    d = dim % x.ndim
    front = apply("permute", x.node, order=(d, *(a for a in range(x.ndim) if a != d))) if d else x.node
    one = example(front.shape[1:], x.dtype)
    level.known[one] = front
    return Tensor(one, x.device, x.requires_grad, is_leaf=not x.requires_grad)


def _collected(results: list[Any], dims: list[int | None], level: Level) -> list[Tensor]:
    """The results of all examples, the batch where `out_dims` wants it."""
    for y in results:
        if not isinstance(y, Tensor):
            raise FlameError(f"vmap: the function must return tensors, got {y!r}")
    nodes = batched(tuple(y.node for y in results), level.known, level.size, positions.follow)
    out: list[Tensor] = []
    for y, node, d in zip(results, nodes, dims, strict=True):
        if d is None and any(n in level.known for n in toposort([y.node])):
            raise ShapeError("vmap: out_dims is None for a result that differs between examples; give it a dimension")
        placed = y.node if d is None else _placed(node, d)
        note(placed)
        out.append(Tensor(placed, y.device, y.requires_grad, is_leaf=not y.requires_grad))
    return out


def _placed(node: Node, dim: int) -> Node:
    """The axis in front moved to `dim`."""
    rank = len(node.shape)
    if not -rank <= dim < rank:
        raise ShapeError(
            f"vmap: out_dims is {dim} for results of shape {node.shape[1:]}; choose from {-rank}..{rank - 1}"
        )
    order = list(range(1, rank))
    order.insert(dim % rank, 0)
    return apply("permute", node, order=tuple(order)) if dim % rank else node
