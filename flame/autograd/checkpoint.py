"""checkpoint: forget what a function computes on the way, and compute it again when gradients are asked for.

The graph is the one that there would be without it, and so are its gradients. What lies between the arguments and the
results is noted beside the graph as a region: plans run the steps that make it again, with the same random keys, when
its gradients read it (`passes/recompute.py`). What a policy keeps is no part of the region.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from flame.autograd.tree import filled, leaves
from flame.errors import FlameError
from flame.ir.graph import toposort
from flame.ir.held import Call, Held, Partial, held
from flame.ir.node import Node, apply, fresh, hold
from flame.ir.op import OPS
from flame.ir.region import Region, regions
from flame.passes.grad import pullback, sources_first
from flame.recording import is_grad_enabled
from flame.tensor import Tensor, owned, pending

_open: list[Region] = []  # the checkpoints whose functions run now


Keep = Callable[[str], bool]  # of an operator's name: whether its results are kept


def create_selective_checkpoint_contexts(policy_fn_or_list: Keep | Collection[str]) -> Keep:
    """What `context_fn` of a checkpoint gives: results of which operators are kept, all else is computed again.

    The policy is a collection of FLAME's operator names (those of docs/ir.md, such as "matmul"), or a function of one.
    Raises FlameError for a name that is no operator's.

    >>> from flame.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts
    >>> products = lambda: create_selective_checkpoint_contexts(["matmul"])
    >>> w = flame.ones(2, 2, requires_grad=True)
    >>> checkpoint(lambda x: (x @ w).exp(), flame.zeros(1, 2), context_fn=products).sum().backward()
    >>> w.grad.tolist()
    [[0.0, 0.0], [0.0, 0.0]]
    """
    if callable(policy_fn_or_list):
        return policy_fn_or_list
    names = frozenset(policy_fn_or_list)
    unknown = sorted(names - OPS.keys())
    if unknown:
        raise FlameError(f"create_selective_checkpoint_contexts: {unknown[0]!r} is no operator; see docs/ir.md")
    return names.__contains__


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
    context_fn: Callable[[], Any] | None = None,
    determinism_check: str = "default",
    debug: bool = False,
    **kwargs: Any,
) -> Any:
    """`function(*args, **kwargs)`, whose inner values are not kept for gradients but computed again.

    The function runs once: its graph is what is computed again, random numbers included, so the other options of
    PyTorch's checkpoint are accepted and change nothing. Its results may be several, and checkpoints may be nested.
    `context_fn` may choose operators whose results are kept: see `create_selective_checkpoint_contexts`.

    >>> x = flame.tensor(2.0, requires_grad=True)
    >>> flame.checkpoint(lambda t: t.exp().sin(), x).backward()
    >>> round(x.grad.item(), 4)
    3.3129
    """
    return region(function, args, kwargs, keep=None if context_fn is None else context_fn())


def region(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], keep: Keep | None = None
) -> Any:
    """As `checkpoint`: what a module's call is under `apply_checkpointing`."""
    if not is_grad_enabled():
        return function(*args, **kwargs)
    outside = {t.node for t in leaves((args, kwargs)) if isinstance(t, Tensor)} | pending()
    here = Region(_open[-1] if _open else None)
    _open.append(here)
    try:
        out = function(*args, **kwargs)
    finally:
        _open.pop()
    results = {t.node for t in leaves(out) if isinstance(t, Tensor)} - outside
    for n in results:
        held(n).last[fresh()] = here.note
        regions[n] = here.outer
    for n in inside(results, outside):
        if not here.holds(regions.get(n)):  # what lies deeper is known already
            regions[n] = here.outer if keep is not None and keep(n.op.name) else here
    return out


def inside(results: Collection[Node], outside: Collection[Node]) -> list[Node]:
    """What a function computed on the way from values outside, parameters among them, to its results."""
    order = toposort(results, outside)
    begin = {*outside, *owned(order)}
    return [n for n in toposort(results, begin) if n not in begin and n not in results and n.src]


class Whole(Call):
    """What a function computed, differentiated in one piece: `given` are those of the inputs that are no parameters."""

    kind = 0

    def __init__(self, results: Sequence[Node], outside: Collection[Node]):
        self.results = tuple(results)
        order = [n for n in sources_first(results, outside) if isinstance(n, Node)]
        parameters = owned(order)
        self.inputs = tuple(n for n in order if n in outside or n in parameters)
        self.given = tuple(n for n in self.inputs if n not in parameters)

    def __str__(self) -> str:
        return "Checkpoint"

    def _pulled(self, given: Mapping[int, Node], sketch: bool) -> Partial:
        seeds: dict[Node, Node] = {}
        for i, g in given.items():
            n = self.results[i]
            seeds[n] = seeds[n] + g if n in seeds else g
        return pullback(seeds, self.inputs, stop=self.inputs, sketch=sketch)

    def gradients(self, given: Mapping[int, Node]) -> Partial:
        return self._pulled(given, False)

    def sketch(self, given: Mapping[int, Node]) -> Partial:
        return self._pulled(given, True)

    def reads(self) -> tuple[Node, ...]:
        return ()


Kind = TypeVar("Kind", bound=Whole)


def whole(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], kind: type[Kind]
) -> tuple[Any, Kind | None]:
    """As `checkpoint`, the results being those of one call of that kind; None where they have no gradient."""
    outside = {t.node for t in leaves((args, kwargs)) if isinstance(t, Tensor)} | pending()
    output = region(function, args, kwargs)
    found = list(leaves(output))
    which = [i for i, t in enumerate(found) if isinstance(t, Tensor) and t.requires_grad and t.node not in outside]
    if not which:
        return output, None
    call = kind([found[i].node for i in which], outside)
    for number, i in enumerate(which):
        node = hold(apply("result", found[i].node, uid=fresh()), Held(call, number))
        found[i] = Tensor(node, found[i].device, True, is_leaf=False)
    return filled(output, found), call


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, preserve_rng_state: bool = True
) -> Any:
    """A sequence of functions in so many segments, each but the last under `checkpoint`.

    `functions` is an nn.Sequential or a list. Raises FlameError where there are fewer functions than segments.
    """
    steps = list(functions.children()) if hasattr(functions, "children") else list(functions)
    if not 1 <= segments <= len(steps):
        raise FlameError(
            f"checkpoint_sequential: {segments} segments of {len(steps)} functions; choose 1 to {len(steps)}"
        )
    size = len(steps) // segments

    def run(part: Sequence[Callable[[Any], Any]]) -> Callable[[Any], Any]:
        def together(x: Any) -> Any:
            for step in part:
                x = step(x)
            return x

        return together

    for start in range(0, size * (segments - 1), size):
        input = checkpoint(run(steps[start : start + size]), input)
    return run(steps[size * (segments - 1) :])(input)
