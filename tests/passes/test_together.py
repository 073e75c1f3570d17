"""Launches with one text become one: which may meet, in which order they stand then, and what that may cost."""

from math import prod

import numpy as np
import pytest

from flame.ir import dtype as dt
from flame.ir import show
from flame.ir.loop import Kernel, Loop, Param, Role, Store
from flame.ir.node import Node, apply, fresh, leaf, var
from flame.ir.plan import Batch, Launch, Plan, Slot, touched, written
from flame.ir.target import CPU, CUDA
from flame.passes import together as passes
from tests.support import check, compiled, launches, run_cpu, run_cuda_on_numpy

RNG = np.random.default_rng(3)


def tensor(*shape: int) -> Node:
    return leaf(fresh(), shape, dt.float32)


def some(*nodes: Node) -> dict[Node, np.ndarray]:
    return {n: RNG.standard_normal(n.shape).astype(np.float32) for n in nodes}


def updates(sizes, rates):
    """Parameters less their gradients times a rate: (roots, values, what may be overwritten)."""
    rate = [leaf(fresh(), (), dt.float32, host=True) for _ in rates]
    values: dict[Node, np.ndarray] = {r: np.float32(v) for r, v in zip(rate, rates, strict=True)}
    roots, old = [], []
    for k, size in enumerate(sizes):
        p, g = tensor(*size), tensor(*size)
        values |= some(p, g)
        roots.append(p - g * rate[k % len(rate)])
        old.append(p)
    return tuple(roots), values, old


CUT = {"start": (0,), "stop": (40,), "step": (1,)}
SIZES = [(4,), (300,), (32, 32), (5000,), (7,), (77,), (16, 3)]


@pytest.mark.parametrize("target", [CPU, CUDA])
def test_an_update_of_many_sizes_is_a_launch_for_each_width_of_access(target):
    roots, values, old = updates(SIZES, [0.5, 0.25])
    program = compiled(roots, target, old)
    steps = launches(program)
    assert len(steps) == (1 if target is CPU else 2) and all(isinstance(s, Batch) for s in steps)
    assert len(program.plan.donated) == len(SIZES)
    run = run_cpu if target is CPU else run_cuda_on_numpy
    check(roots, run(roots, values, donatable=old), values)


def test_a_plan_shows_its_batches():
    roots, _, _ = updates([(8,), (16,)], [0.5])
    lines = show.plan(compiled(roots, CPU).plan).splitlines()
    (at,) = (i for i, line in enumerate(lines) if line.startswith("launch "))
    assert lines[at].endswith("_many over 2 members")
    assert lines[at + 1].startswith("  of 8: (s0, ") and lines[at + 2].startswith("  of 16: (")


def test_what_reads_another_member_is_no_member():
    x = tensor(64)
    a = apply("sum", x, axes=(0,))
    b = apply("sum", tensor(64) * a, axes=(0,))
    c = apply("sum", tensor(64) * b, axes=(0,))  # the texts of b and c are equal, and c reads b
    found = launches(compiled((a, b, c), CPU))
    assert not any(isinstance(s, Batch) for s in found)


def launch(name: str, read: int, write: int) -> Launch:
    r = var("r", extent=8)
    body = Store("out0", r, apply("load", r, param="a0", as_=dt.float32))
    params = (Param("a0", dt.float32), Param("out0", dt.float32, written=True))
    return Launch(Kernel(name, params, (Loop(r, 8, Role.SPREAD, (body,)),)), (read, write))


def test_two_batches_never_wait_for_each_other():
    """b reads a in one pair, a reads b in the other: both pairs as batches would wait for ever."""
    steps = (launch("a", 0, 2), launch("b", 2, 3), launch("b", 1, 4), launch("a", 4, 5))
    plan = Plan((Slot((8,), dt.float32),) * 6, (0, 1), steps, (2, 3, 4, 5))
    made = passes.together(plan).steps
    assert [len(s.members) for s in made if isinstance(s, Batch)] == [2]
    ready = {0, 1}
    for step in made:
        assert set(touched(step)) - set(written(step)) <= ready
        ready |= set(written(step))


def test_every_step_comes_after_what_it_reads(monkeypatch):
    monkeypatch.setattr(passes, "SHARE", 1)  # whatever memory they need
    layers: list[Node] = []
    for rows in (5, 16, 24, 32):
        x = tensor(rows, 8)
        for _ in range(3):
            total = apply("reshape", apply("sum", x, axes=(0,)), to=(1, 8))
            x = apply("tanh", x * tensor(rows, 8)) * apply("expand", total, to=(rows, 8))
        layers.append(apply("sum", apply("exp", x), axes=(1,)))
    plan = compiled(tuple(layers), CUDA).plan
    assert any(isinstance(s, Batch) for s in plan.steps)
    ready = set(plan.leaves)
    for step in plan.steps:
        assert set(touched(step)) - set(written(step)) <= ready
        ready |= set(written(step))


def test_large_values_do_not_wait_for_a_batch():
    """Each product of a chain is read by one fold: together the folds would keep all products."""
    size = (512, 1024)
    assert prod(size) * 4 > passes.SMALL
    x, roots = tensor(*size), []
    for _ in range(4):
        x = apply("cumsum", x, axis=1, reverse=False)
        roots.append(apply("sum", apply("exp", x), axes=(0, 1)))
    steps = launches(compiled(tuple(roots), CPU))
    folds = [s for s in steps if not (isinstance(s, Launch) and "cumsum" in s.kernel.name)]
    assert sum(isinstance(s, Batch) for s in folds) <= 1  # only what is small: the ends of the folds


def test_without_fusion_nothing_is_joined():
    from flame.config import config

    roots, _, _ = updates([(8,), (16,)], [0.5])
    with config(fuse=False):
        assert not any(isinstance(s, Batch) for s in launches(compiled(roots, CPU)))


def test_a_leaf_that_another_member_reads_is_not_overwritten():
    leaves = (tensor(40), tensor(72))
    values = some(*leaves)
    roots = (apply("exp", leaves[0]), apply("exp", leaves[1]), apply("exp", apply("slice", leaves[1], **CUT)))
    (step,) = launches(compiled(roots, CUDA, leaves))
    assert isinstance(step, Batch)
    for run in (run_cpu, run_cuda_on_numpy):
        check(roots, run(roots, values, donatable=leaves), values)
