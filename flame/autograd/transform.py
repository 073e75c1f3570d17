"""Transformations of functions: `grad`, `value_and_grad`, `vjp`, `jvp`, `jacrev`, `jacfwd`, `hessian`. They nest.

Arguments and results may be tensors in tuples, lists and dicts. What is returned is lazy, and differentiable in what
the function reads beside its arguments.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

from flame.autograd.tree import filled, leaves
from flame.batching import example
from flame.errors import GradError
from flame.ir import node as nd
from flame.ir.dtype import DType
from flame.ir.node import Node, apply, fresh, like
from flame.ir.origins import note
from flame.passes.batch import batched
from flame.passes.grad import ones, pullback, sources_first
from flame.recording import Recording, enable_grad, is_grad_enabled
from flame.runtime.device import Device
from flame.tensor import Tensor, owned

Argnums = int | tuple[int, ...]
_asked: list[Node] = []  # what the transformations that run now differentiate with respect to


class Marked:
    """The arguments of one call, those to differentiate under names of their own."""

    def __init__(self, name: str, args: Sequence[Any], argnums: Argnums):
        self.name, self.given = name, list(args)
        self.numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        self.nodes: list[Node] = []
        for i in self.numbers:
            if not -len(args) <= i < len(args):
                raise GradError(f"{name}: argnums {argnums} names argument {i} of {len(args)}")
            self.given[i] = filled(args[i], [self._mark(i, x) for x in leaves(args[i])])
        tensors = [t for a in self.given for t in leaves(a) if isinstance(t, Tensor)]
        self.device: Device = tensors[0].device

    def _mark(self, i: int, x: Any) -> Tensor:
        if not isinstance(x, Tensor) or not x.dtype.is_float:
            raise GradError(f"argument {i} must be a floating Tensor to be differentiated, got {x!r}")
        self.nodes.append(apply("mark", x.node, uid=fresh()))
        return Tensor(self.nodes[-1], x.device, True, is_leaf=False)

    @contextmanager
    def asked(self) -> Iterator[None]:
        """While the function runs, its arguments are what gradients are asked for."""
        _asked.extend(self.nodes)
        try:
            with enable_grad():
                yield
        finally:
            del _asked[len(_asked) - len(self.nodes) :]

    def pull(self, seeds: dict[Node, Node]) -> list[Node]:
        """The gradient of each marked leaf; zeros where nothing flows."""
        with Recording(True):
            found = pullback(seeds, self.nodes, stop=self.nodes)
        return [like(m, 0) if g is None else g for g, m in zip(found, self.nodes, strict=True)]

    def made(self, nodes: Sequence[Node]) -> list[Tensor]:
        """Results as tensors: differentiable where they hang on what gradients may be asked for outside."""
        below = sources_first(nodes) if is_grad_enabled() else []
        outside = set(_asked)
        needs = any(n in outside for n in below) or bool(owned(n for n in below if isinstance(n, Node)))
        out: list[Tensor] = []
        for n in nodes:
            note(n)
            flows = needs and n.dtype.is_float
            out.append(Tensor(n if flows else apply("detach", n), self.device, flows, is_leaf=not flows))
        return out

    def arranged(self, parts: Sequence[Any], argnums: Argnums) -> Any:
        """One part for each marked leaf, nested as the arguments are."""
        rest = iter(parts)
        found = tuple(filled(self.given[i], [next(rest) for _ in leaves(self.given[i])]) for i in self.numbers)
        return found[0] if isinstance(argnums, int) else found


def _called(marked: Marked, function: Callable[..., Any], kwargs: dict[str, Any], has_aux: bool) -> tuple[Any, Any]:
    """What the function returns, and what it returns beside it."""
    with marked.asked():
        out = function(*marked.given, **kwargs)
    if not has_aux:
        return out, None
    if not isinstance(out, tuple) or len(out) != 2:
        raise GradError(f"{marked.name}: has_aux=True wants (result, aux) from the function, got {type(out).__name__}")
    return out[0], filled(out[1], _constants(marked, list(leaves(out[1]))))


def _constants(marked: Marked, values: Sequence[Any]) -> list[Any]:
    """Tensors that were computed on the way, without the marks of this call."""
    made = iter(marked.made([t.node for t in values if isinstance(t, Tensor)]))
    return [next(made) if isinstance(t, Tensor) else t for t in values]


def _results(name: str, out: Any) -> list[Tensor]:
    found = list(leaves(out))
    for y in found:
        if not isinstance(y, Tensor) or not y.dtype.is_float:
            raise GradError(f"{name}: the function must return floating tensors, got {y!r}")
    return found


# --- one number -------------------------------------------------------------------------------------------------------
def value_and_grad(function: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns (value, gradients) of a function of tensors whose result is one number.

    The gradient is that of argument `argnums`, or a tuple for several; an argument may be a dict of tensors. With
    `has_aux` the function returns (number, anything), and the value here is that pair. Raises GradError where the
    result is no single number.

    >>> import flame
    >>> value, slope = flame.value_and_grad(lambda x: (x * x).sum())(flame.tensor([1.0, 2.0]))
    >>> value.item(), slope.tolist()
    (5.0, [2.0, 4.0])
    """

    def differentiated(*args: Any, **kwargs: Any) -> Any:
        marked = Marked("grad", args, argnums)
        out, aux = _called(marked, function, kwargs, has_aux)
        if not isinstance(out, Tensor) or out.numel() != 1 or not out.dtype.is_float:
            raise GradError(
                f"the function must return one number, got {getattr(out, 'shape', out)}; reduce it, e.g. .sum()"
            )
        value, *parts = marked.made([out.node, *marked.pull({out.node: ones(out.node)})])
        return (value, aux) if has_aux else value, marked.arranged(parts, argnums)

    return differentiated


def grad(function: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The gradient of a function of tensors whose result is one number; see `value_and_grad`. (gradient, aux) with aux.

    >>> import flame
    >>> cube = lambda x: x * x * x
    >>> flame.grad(flame.grad(cube))(flame.tensor(2.0)).item()
    12.0
    """
    both = value_and_grad(function, argnums, has_aux)

    def differentiated(*args: Any, **kwargs: Any) -> Any:
        value, found = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return differentiated


def grad_and_value(function: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """`value_and_grad` in torch.func's order: (gradients, value)."""
    both = value_and_grad(function, argnums, has_aux)
    return lambda *args, **kwargs: both(*args, **kwargs)[::-1]


# --- products with Jacobians ------------------------------------------------------------------------------------------
def vjp(function: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """(results, pull), where `pull(vectors)` is a tuple: the vectors times the Jacobian of each primal.

    >>> import flame
    >>> y, pull = flame.vjp(lambda x: x * x, flame.tensor([1.0, 2.0]))
    >>> pull(flame.tensor([1.0, 10.0]))[0].tolist()
    [2.0, 40.0]
    """
    every = tuple(range(len(primals)))
    marked = Marked("vjp", primals, every)
    out, aux = _called(marked, function, {}, has_aux)
    results = _results("vjp", out)

    def pull(vectors: Any) -> tuple[Any, ...]:
        seeds = _seeds("vjp", [y.node for y in results], list(leaves(vectors)))
        return marked.arranged(marked.made(marked.pull(seeds)), every)

    shown = filled(out, marked.made([y.node for y in results]))
    return (shown, pull, aux) if has_aux else (shown, pull)


def jvp(function: Callable[..., Any], primals: Any, tangents: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """(results, the Jacobian of the results times the tangents); `primals` and `tangents` are tuples that match.

    The gradient's own gradient: what pulls back is linear, and pulling it back again pushes forward.

    >>> import flame
    >>> y, dy = flame.jvp(lambda x: x * x, (flame.tensor([1.0, 2.0]),), (flame.tensor([1.0, 10.0]),))
    >>> dy.tolist()
    [2.0, 40.0]
    """
    if not isinstance(primals, tuple) or not isinstance(tangents, tuple) or len(primals) != len(tangents):
        raise GradError("jvp: primals and tangents are tuples of the same length, one entry for each argument")
    marked = Marked("jvp", primals, tuple(range(len(primals))))
    out, aux = _called(marked, function, {}, has_aux)
    results = _results("jvp", out)
    given = list(leaves(tangents))
    _fit("jvp: tangents", marked.nodes, given)
    pushed = marked.made(_push(marked, [y.node for y in results], [t.node for t in given]))
    shown = filled(out, marked.made([y.node for y in results]))
    return (shown, filled(out, pushed), *((aux,) if has_aux else ()))


def _push(marked: Marked, results: Sequence[Node], tangents: Sequence[Node]) -> list[Node]:
    points = [apply("mark", like(y, 0), uid=fresh()) for y in results]
    seeds: dict[Node, Node] = {}
    for y, u in zip(results, points, strict=True):
        seeds[y] = seeds[y] + u if y in seeds else u
    back = marked.pull(seeds)
    total: dict[Node, Node] = {}
    for g, t in zip(back, tangents, strict=True):
        t = nd.cast(t, g.dtype)
        total[g] = total[g] + t if g in total else t
    with Recording(True):
        found = pullback(total, points, stop=points)
    return [like(y, 0) if g is None else g for g, y in zip(found, results, strict=True)]


def _seeds(name: str, results: Sequence[Node], vectors: Sequence[Any]) -> dict[Node, Node]:
    _fit(f"{name}: vectors", results, vectors)
    seeds: dict[Node, Node] = {}
    for y, v in zip(results, vectors, strict=True):
        g = nd.cast(v.node, y.dtype)
        seeds[y] = seeds[y] + g if y in seeds else g
    return seeds


def _fit(name: str, nodes: Sequence[Node], given: Sequence[Any]) -> None:
    shapes = [getattr(t, "shape", None) for t in given]
    if shapes != [n.shape for n in nodes]:
        raise GradError(f"{name} have the shapes {shapes}, needed are {[n.shape for n in nodes]}")


# --- Jacobians --------------------------------------------------------------------------------------------------------
def jacrev(function: Callable[..., Any], argnums: Argnums = 0, *, has_aux: bool = False) -> Callable[..., Any]:
    """The Jacobian, by reverse mode: for each result and each argument a tensor of shape (*result, *argument).

    All rows are one graph: a batch of unit vectors is pulled back at once.

    >>> import flame
    >>> flame.jacrev(lambda x: x * x)(flame.tensor([1.0, 2.0])).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """

    def jacobian(*args: Any, **kwargs: Any) -> Any:
        marked = Marked("jacrev", args, argnums)
        out, aux = _called(marked, function, kwargs, has_aux)
        rows = []
        for y in _results("jacrev", out):
            one = example(y.shape, y.dtype)
            parts = batched(tuple(marked.pull({y.node: one})), {one: basis(y.shape, y.dtype)}, y.numel())
            shaped = [nd.reshape(p, (*y.shape, *m.shape)) for p, m in zip(parts, marked.nodes, strict=True)]
            rows.append(marked.arranged(marked.made(shaped), argnums))
        found = filled(out, rows)
        return (found, aux) if has_aux else found

    return jacobian


def jacfwd(function: Callable[..., Any], argnums: Argnums = 0, *, has_aux: bool = False) -> Callable[..., Any]:
    """The Jacobian, by forward mode: `jacrev`'s numbers, cheaper where there are fewer arguments than results.

    >>> import flame
    >>> flame.jacfwd(lambda x: x.sum() * x)(flame.tensor([1.0, 2.0])).tolist()
    [[4.0, 1.0], [2.0, 5.0]]
    """

    def jacobian(*args: Any, **kwargs: Any) -> Any:
        marked = Marked("jacfwd", args, argnums)
        out, aux = _called(marked, function, kwargs, has_aux)
        results = [y.node for y in _results("jacfwd", out)]
        columns = [_columns(marked, results, i) for i in range(len(marked.nodes))]
        rows = [marked.arranged(marked.made(row), argnums) for row in zip(*columns, strict=True)]
        found = filled(out, rows)
        return (found, aux) if has_aux else found

    return jacobian


def _columns(marked: Marked, results: Sequence[Node], i: int) -> list[Node]:
    """The Jacobian of every result with respect to the i-th marked leaf."""
    m = marked.nodes[i]
    one = example(m.shape, m.dtype)
    tangents = [one if j == i else like(n, 0) for j, n in enumerate(marked.nodes)]
    count, rank = prod(m.shape), len(m.shape)
    found = batched(tuple(_push(marked, results, tangents)), {one: basis(m.shape, m.dtype)}, count)
    out: list[Node] = []
    for p, y in zip(found, results, strict=True):
        back = nd.reshape(p, (*m.shape, *y.shape))
        order = (*range(rank, rank + len(y.shape)), *range(rank))
        out.append(apply("permute", back, order=order))
    return out


jacobian = jacrev


def hessian(function: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """The second derivatives of a function: forward mode over reverse mode.

    >>> import flame
    >>> flame.hessian(lambda x: (x * x * x).sum())(flame.tensor([1.0, 2.0])).tolist()
    [[6.0, 0.0], [0.0, 12.0]]
    """
    return jacfwd(jacrev(function, argnums), argnums)


def basis(shape: tuple[int, ...], dtype: DType) -> Node:
    """The unit vectors of a space of tensors, (count, *shape)."""
    count = prod(shape)
    at = apply("iota", n=count)
    row, column = (nd.expand(nd.reshape(at, s), (count, count)) for s in ((count, 1), (1, count)))
    return nd.reshape(nd.cast(apply("eq", row, column), dtype), (count, *shape))
