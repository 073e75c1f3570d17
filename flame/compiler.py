"""The corridor: the one module that knows the order of the rooms.

graph --optimize()--> graph --schedule()--> plan --code()--> text --runtime--> numbers
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from flame.codegen.candidates import candidates
from flame.codegen.lower import lower
from flame.codegen.print_cpu import CPUPrinter
from flame.codegen.print_cuda import CUDAPrinter
from flame.codegen.print_product import codes as product_codes
from flame.codegen.schedule import geometry, lay_out, resident, share
from flame.config import config
from flame.ir import show
from flame.ir.ahead import ring
from flame.ir.loop import Kernel, Loop, Statement
from flame.ir.node import Node
from flame.ir.plan import Call, Code, Launch, Plan, Printed, Recipe, Slot, Step, touched
from flame.ir.region import NOTHING, Again
from flame.ir.target import Target
from flame.passes.finish import TENSOR_CORES, finish
from flame.passes.fuse import groups
from flame.passes.keep import keep, keep_rows
from flame.passes.layout import layouts
from flame.passes.library import libraries
from flame.passes.memory import place
from flame.passes.naming import name_kernel, name_kernels
from flame.passes.nest import nest
from flame.passes.orders import orders
from flame.passes.pieces import pieces
from flame.passes.recompute import recompute
from flame.passes.scans import scans
from flame.passes.segments import segments
from flame.passes.simplify import Scalars, simplify, simplify_kernels
from flame.passes.split import split
from flame.passes.stage import stage_rows
from flame.passes.taps import taps
from flame.passes.tile import tile
from flame.passes.together import together

PRINTERS = {"cpu": CPUPrinter(), "cuda": CUDAPrinter()}


@dataclass(frozen=True, slots=True)
class Program:
    """One compiled graph, at every level: what `flame dump` shows and listeners receive."""

    roots: tuple[Node, ...]
    optimized: tuple[Node, ...]
    plan: Plan
    values: tuple[Node, ...]  # what each slot of the plan holds
    codes: dict[Kernel, Code]
    target: Target
    seconds: float  # planning and printing, without the compilation of kernels
    recipe: Recipe | None = None  # how to make the roots that the plan does not keep


listeners: list[Callable[[Program], None]] = []

Options = tuple[tuple[str, Code], ...]  # what one kernel may become, by layout, the schedule's choice first
Judge = Callable[[Sequence[tuple[Options, tuple[Slot, ...]]]], list[int]]  # the fastest of each, on operands like those


def optimize(roots: tuple[Node, ...], target: Target, simple: Scalars, followed: int = 0) -> tuple[Node, ...]:
    """The graph in which fusion works; the last so many roots are only followed: they change nothing in it."""
    count = len(roots) - followed
    roots = simplify(roots)  # no operator changes nothing, none computes with constants only
    roots = orders(roots[:count], roots[count:])  # no order is made for the elements in it alone
    roots = libraries(roots, target, simple)  # no contraction is left: a library's call, or simpler operators
    roots = layouts(roots, simple)  # no fold walks across a library's result that it could walk along
    roots = scans(roots, target)  # no scan walks equal elements side by side, or a long line alone
    roots = segments(roots, target)  # no lane folds most of the values that a scatter sorted
    roots = taps(roots)  # no sum of few overlapping windows passes through memory between its axes
    return split(roots, target)  # no fold leaves most of the machine idle


def schedule(
    optimized: tuple[Node, ...],
    target: Target,
    simple: Scalars,
    donatable: frozenset[Node] = frozenset(),
    judge: Judge | None = None,
    again: Again = NOTHING,
) -> tuple[Plan, tuple[Node, ...], Recipe | None]:
    """What the runtime does, step by step, which value each slot holds, and how to make what does not stay."""
    made = groups(optimized, target, simple, config.fuse)  # every stored value belongs to one kernel or call
    plan, values = lower(optimized, made, simple)  # each group is one kernel, written for one element
    plan = simplify_kernels(plan, simple)  # no index arithmetic is left that bounds make needless
    plan = pieces(plan, target, simple)  # no element asks for pieces that it is not in
    plan = tile(plan, target, simple)  # on many lanes, what lies across its result is read through shared memory
    plan = nest(plan, target, simple)  # on one lane, free elements are rows whose indices need no division
    plan = lay_out(plan, target)  # every kernel knows its lanes, items and vectors
    plan = tune(plan, target, judge)  # those that config.tune asks for, where it does
    plan = keep_rows(plan)  # a row that fits in registers is read once
    plan = stage_rows(plan, target)  # on one lane, what is dear to compute is computed once for its row
    plan = name_kernels(plan)  # equal kernels have equal names
    donated = frozenset(s for s in plan.leaves if values[s] in donatable)
    plan = finish(plan, target, simple, donated)  # what reads a product alone, element by element, is its epilogue
    plan, values, recipe = recompute(plan, values, optimized, again)  # no value of a checkpoint waits to be read late
    plan = together(plan, config.fuse)  # tensors that equal kernels work on share a launch
    donated = frozenset(s for s in plan.leaves if values[s] in donatable)
    return place(plan, donated, config.reuse), values, recipe  # every slot has memory


def tune(plan: Plan, target: Target, judge: Judge | None) -> Plan:
    """The same plan with the layouts that `judge` finds fastest, or with each kernel's candidate of a number."""
    wanted = config.tune
    if wanted == "off" or (wanted == "measure" and judge is None):
        return plan
    launches = [s for s in plan.steps if isinstance(s, Launch)]
    laid = [tuple(replace(s.kernel, layout=at) for at in candidates(s.kernel, target)) for s in launches]
    if isinstance(wanted, int):
        chosen = iter([options[wanted % len(options)] for options in laid])
    else:
        chosen = iter(_fastest(plan, launches, laid, target, judge))
    steps = (replace(s, kernel=next(chosen)) if isinstance(s, Launch) else s for s in plan.steps)
    return replace(plan, steps=tuple(steps))


def _fastest(
    plan: Plan, launches: list[Launch], laid: list[tuple[Kernel, ...]], target: Target, judge: Judge | None
) -> list[Kernel]:
    """The layouts found best; launches of one text have that of the largest, so that they can still be one batch."""
    assert judge is not None
    form = lambda k: code(name_kernel(keep(k) if k.layout.kept else k), target)  # noqa: E731  as the passes to come do
    codes = [tuple((show.layout(k.layout), form(k)) for k in options) for options in laid]
    slots = [tuple(plan.slots[i] for i in s.slots) for s in launches]
    largest: dict[str, int] = {}
    for i, options in enumerate(codes):
        before = largest.setdefault(options[0][1].source, i)
        if sum(s.nbytes for s in slots[i]) > sum(s.nbytes for s in slots[before]):
            largest[options[0][1].source] = i
    answers = judge([(codes[i], slots[i]) for i in largest.values()])
    best = {source: laid[i][answer].layout for (source, i), answer in zip(largest.items(), answers, strict=True)}
    return [replace(options[0], layout=best[made[0][1].source]) for options, made in zip(laid, codes, strict=True)]


def code(kernel: Kernel, target: Target) -> Code:
    """The text of a kernel, and how to run it."""
    blocks, threads = geometry(kernel)
    arguments = tuple(p.dtype.register.name if p.by_value else "address" for p in kernel.params)
    signature = PRINTERS[target.name].tables if kernel.many else arguments
    source = PRINTERS[target.name].kernel(kernel)
    return Code(
        kernel.name,
        source,
        signature,
        kernel.outer.extent,
        blocks,
        threads,
        work(kernel.body),
        share(kernel),
        resident(kernel),
        ring(kernel).nbytes,
        kernel.layout.cluster,
    )


def products(plan: Plan, target: Target) -> Plan:
    """The same plan, in which every product has the texts of the kernels that can do it."""
    if target.cc != TENSOR_CORES:
        return plan

    def printed(step: Step) -> Step:
        if not isinstance(step, Call) or step.routine not in ("matmul", "finished"):
            return step
        alone = code(step.spec.kernel, target) if step.routine == "finished" else None
        sizes = tuple(plan.slots[s].nbytes for s in touched(step))
        tiles = product_codes(step.spec)
        return replace(step, printed=Printed(tiles, alone, sizes)) if tiles else step

    return replace(plan, steps=tuple(map(printed, plan.steps)))


def work(body: tuple[Statement, ...]) -> int:
    """Elements that the loops visit."""
    inner = [s for s in body if isinstance(s, Loop)]
    return max(1, sum(s.extent * work(s.body) for s in inner))


def compile_graph(
    roots: tuple[Node, ...],
    target: Target,
    donatable: frozenset[Node] = frozenset(),
    judge: Judge | None = None,
    again: Again = NOTHING,
) -> Program:
    """A graph as a program for one target; listeners see it. `judge` times layouts where config.tune asks for it."""
    start, simple = time.perf_counter(), Scalars()
    optimized, again = followed(roots, again, target, simple)
    made, values, recipe = schedule(optimized, target, simple, donatable, judge, again)
    made = products(made, target)
    codes: dict[Kernel, Code] = {}
    for step in made.steps:
        if not isinstance(step, Call) and step.kernel not in codes:
            codes[step.kernel] = code(step.kernel, target)
    program = Program(roots, optimized, made, values, codes, target, time.perf_counter() - start, recipe)
    for listener in listeners:
        listener(program)
    return program


def plan(
    roots: tuple[Node, ...], target: Target, donatable: frozenset[Node] = frozenset(), again: Again = NOTHING
) -> tuple[Plan, tuple[Node, ...], Recipe | None]:
    """What computing a graph would take, without the text of a kernel; else as `schedule`."""
    simple = Scalars()
    optimized, again = followed(roots, again, target, simple)
    return schedule(optimized, target, simple, donatable, again=again)


def followed(roots: tuple[Node, ...], again: Again, target: Target, simple: Scalars) -> tuple[tuple[Node, ...], Again]:
    """The optimized graph, and what the nodes inside checkpoints have become in it: they are optimized alike."""
    followed = again.regions.nodes
    found = optimize((*roots, *followed), target, simple, len(followed))
    return found[: len(roots)], again.moved(found[len(roots) :])
