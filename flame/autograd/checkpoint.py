"""checkpoint: forget what a function computes on the way, and compute it again when gradients are asked for.

The region of the graph between arguments and results is what its gradient is made of: made anew on arguments that are
not there before the gradient of the results is (`after`), so that it is another value, computed late. The same random
keys are read again, so the same numbers are drawn. What a policy keeps is read, not made anew: its gradient flows to
what it would have been made of.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from flame.autograd.tree import filled, leaves
from flame.errors import FlameError
from flame.ir.held import Call, Held, Partial
from flame.ir.node import Node, apply, fresh, hold
from flame.ir.op import OPS
from flame.passes.grad import pullback, sources_first
from flame.passes.recompute import remade
from flame.recording import is_grad_enabled
from flame.tensor import Tensor, owned, pending


class Region(Call):
    """What a function computed: `results` from `inputs`, those in `late` as they are when the gradients come."""

    kind = 0
    opaque = False

    def __init__(
        self, inputs: Sequence[Node], late: Iterable[Node], results: Sequence[Node], kept: Iterable[Node] = ()
    ):
        self.inputs, self.late, self.results = tuple(inputs), frozenset(late), tuple(results)
        self.kept = frozenset(kept)

    def __str__(self) -> str:
        return "Checkpoint"

    def _pulled(self, given: Mapping[int, Node], sketch: bool) -> Partial:
        order = [g for g in given.values() if 0 not in g.shape]
        known = {n: apply("after", n, *order, uid=fresh()) if n in self.late else n for n in self.inputs}
        again = remade(self.results, known, lambda old, new: _read(old, new) if old in self.kept else new)
        seeds: dict[Node, Node] = {}
        for i, g in given.items():
            seeds[again[i]] = seeds[again[i]] + g if again[i] in seeds else g
        wanted = [known[n] for n in self.inputs]
        return pullback(seeds, wanted, stop=wanted, sketch=sketch)

    def gradients(self, given: Mapping[int, Node]) -> Partial:
        return self._pulled(given, False)

    def sketch(self, given: Mapping[int, Node]) -> Partial:
        return self._pulled(given, True)

    def moved(self, move: Callable[[Node], Node]) -> Call:
        late = [move(n) for n in self.late]
        return Region([move(n) for n in self.inputs], late, [move(n) for n in self.results], map(move, self.kept))

    def reads(self) -> tuple[Node, ...]:
        return tuple(self.kept)

    def inside(self) -> tuple[Node, ...]:
        return self.results


class Kept(Call):
    """A value that is read where it would have been made anew: gradients go to what it would have been."""

    kind = -1
    opaque = False

    def __init__(self, anew: Node):
        self.inputs = (anew,)

    def __str__(self) -> str:
        return "Kept"

    def gradients(self, given: Mapping[int, Node]) -> Partial:
        return (given[0],)

    sketch = gradients

    def moved(self, move: Callable[[Node], Node]) -> Call:
        return Kept(move(self.inputs[0]))

    def reads(self) -> tuple[Node, ...]:
        return ()


def _read(value: Node, anew: Node) -> Node:
    """A value in the place of what was made anew."""
    if value is anew:
        return value
    return hold(apply("result", value, uid=fresh()), Held(Kept(anew), 0))


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
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    keep: Keep | None = None,
    kind: type[Region] = Region,
) -> Any:
    """As `checkpoint`: what a module's call is under `apply_checkpointing`."""
    if not is_grad_enabled():
        return function(*args, **kwargs)
    given = {t.node for t in leaves((args, kwargs)) if isinstance(t, Tensor)}
    outside = given | pending()
    out = function(*args, **kwargs)
    found = list(leaves(out))
    which = [i for i, t in enumerate(found) if isinstance(t, Tensor) and t.requires_grad and t.node not in outside]
    if not which:
        return out
    results = [found[i].node for i in which]
    inputs, late = _frontier(results, given, outside)
    kept = [] if keep is None else _chosen(results, inputs, keep)
    call = kind(inputs, late, results, kept)
    for number, i in enumerate(which):
        node = hold(apply("result", results[number], uid=fresh()), Held(call, number))
        found[i] = Tensor(node, found[i].device, True, is_leaf=False)
    return filled(out, found)


def _frontier(results: Sequence[Node], given: set[Node], outside: set[Node]) -> tuple[list[Node], list[Node]]:
    """What the region begins with: all that comes from outside, and which of it is computed again, late."""
    order = [n for n in sources_first(results, outside) if isinstance(n, Node)]
    begin = [n for n in order if n in outside or (not n.src and n.op.name == "leaf") or n in owned([n])]
    late = [n for n in begin if n in given or (n in outside and n not in owned([n]))]
    return begin, late


def _chosen(results: Sequence[Node], inputs: Collection[Node], keep: Keep) -> list[Node]:
    """The nodes between that a policy keeps."""
    begin = set(inputs)
    between = [n for n in sources_first(results, begin) if isinstance(n, Node) and n not in begin]
    return [n for n in between if n.src and keep(n.op.name)]


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
