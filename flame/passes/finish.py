"""What reads a product element by element, and alone, becomes its epilogue: the product itself is never stored."""

from dataclasses import replace
from math import prod

from flame.ir.graph import toposort
from flame.ir.library import FinishedSpec, MatmulSpec
from flame.ir.loop import Kernel, Loop, free_stores, scalars
from flame.ir.node import Node
from flame.ir.plan import Call, Launch, Plan, Step, touched
from flame.ir.target import Target
from flame.ir.tile import shape
from flame.passes.nest import with_rows
from flame.passes.simplify import Scalars

TENSOR_CORES = (9, 0)  # compute capability whose matrix instructions are printed


def finish(plan: Plan, target: Target, simple: Scalars, donatable: frozenset[int]) -> Plan:
    """Every product that one kernel alone reads, at its own element, is made by one call with that kernel.

    What may be written over a leaf stays a kernel: a call never writes over what it reads.
    """
    if target.cc != TENSOR_CORES:
        return plan
    steps: list[Step | None] = list(plan.steps)
    readers: dict[int, list[int]] = {}
    for i, step in enumerate(plan.steps):
        for s in set(touched(step)):
            readers.setdefault(s, []).append(i)
    for i, step in enumerate(plan.steps):
        if not isinstance(step, Call) or step.routine != "matmul" or step.out in plan.outputs:
            continue
        at = [j for j in readers[step.out] if j != i]
        last = steps[at[0]] if len(at) == 1 else None
        if isinstance(last, Launch) and not donatable & set(last.slots):
            made = _finished(step, last, simple)
            if made is not None:
                steps[i], steps[at[0]] = None, made
    return replace(plan, steps=tuple(s for s in steps if s is not None))


def _finished(call: Call, launch: Launch, simple: Scalars) -> Call | None:
    kernel, spec = launch.kernel, call.spec
    if not _elementwise(kernel, spec) or launch.slots.count(call.out) != 1:
        return None
    place = launch.slots.index(call.out)
    name = kernel.params[place].name
    reads = _loads(kernel.outer, name)
    if any(n.src != (kernel.outer.var,) for n in reads):
        return None
    rows = with_rows(kernel, kernel.outer, spec.n, simple)
    (inner,) = rows.outer.body
    assert isinstance(inner, Loop)
    (value,) = _loads(inner, name)
    rest = [(p, s) for k, (p, s) in enumerate(zip(kernel.params, launch.slots, strict=True)) if k != place]
    rows = replace(rows, params=tuple(p for p, _ in rest))
    inputs = tuple(s for p, s in rest if not p.written)
    out, *more = (s for p, s in rest if p.written)
    finished = FinishedSpec(spec, kernel, place, rows, value)
    return Call("finished", finished, out, (*call.inputs, *inputs), tuple(more))


def _elementwise(kernel: Kernel, spec: MatmulSpec) -> bool:
    """True if the kernel visits each element of the product once, and folds nothing."""
    outer = kernel.outer
    stores = free_stores(kernel)
    free = bool(stores) and all(s.guard is None for s in stores)
    ordered = [p.written for p in kernel.params] == sorted(p.written for p in kernel.params)
    whole = outer.extent == prod((*spec.batch, spec.m, spec.n)) and spec.n > 1
    return free and ordered and whole and shape(spec) is not None


def _loads(loop: Loop, name: str) -> list[Node]:
    """What a loop reads of a parameter."""
    found = toposort(v for s in loop.body for v in scalars(s))
    return [n for n in found if n.op.name == "load" and n["param"] == name]
