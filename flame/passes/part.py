"""Some results of a kernel alone: for one that runs again for what is needed again."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from flame.ir.graph import toposort
from flame.ir.loop import Loop, Statement, Store, scalars, statements
from flame.ir.node import Node
from flame.ir.plan import Launch
from flame.passes.naming import name_kernel


def part(launch: Launch, wanted: Collection[int]) -> Launch:
    """The launch without the results that nobody wants, where those that are left keep their bits; else as it is.

    A compiler contracts a product and a sum where nobody else reads the product, and orders a fold by what else its
    loop does. So nothing is left out of a kernel that folds, nor what shares a value with the rest, but for values that
    the rest loads or stores.
    """
    kernel = launch.kernel
    slots = {p.name: s for p, s in zip(kernel.params, launch.slots, strict=True)}
    body = list(statements(kernel.body))
    left = [s for s in body if not isinstance(s, Store) or slots[s.param] in wanted]
    if len(left) == len(body) or not all(isinstance(s, Loop | Store) for s in body):
        return launch
    gone = [s for s in body if s not in left]
    if _shared(left, gone):
        return launch
    used = {n["param"] for s in left for n in toposort(scalars(s)) if n.op.name == "load"}
    used |= {s.param for s in left if isinstance(s, Store)}
    params = tuple(p for p in kernel.params if p.name in used)
    (outer,) = _without(kernel.body, gone)
    assert isinstance(outer, Loop)
    made = name_kernel(replace(kernel, params=params, body=(outer,)))
    return replace(launch, kernel=made, slots=tuple(slots[p.name] for p in params))


def _shared(left: Sequence[Statement], gone: Sequence[Statement]) -> bool:
    """True if some arithmetic of what goes serves what is left."""
    kept = set(toposort(n for s in left for n in scalars(s)))
    free = {s.value for s in left if isinstance(s, Store)}
    other = [n for n in toposort(n for s in gone for n in scalars(s)) if n not in kept]
    reads = {m for n in other for m in n.src} | {s.value for s in gone if isinstance(s, Store)}
    return any(m in kept - free and _computed(m) for m in reads)


def _computed(n: Node) -> bool:
    return n.dtype.is_float and bool(n.src) and n.op.name != "load"


def _without(body: Sequence[Statement], gone: Sequence[Statement]) -> tuple[Statement, ...]:
    left = (s for s in body if s not in gone)
    return tuple(replace(s, body=_without(s.body, gone)) if isinstance(s, Loop) else s for s in left)
