"""Layouts beside the schedule's own: which there are, that any of them gives the same numbers, who chooses."""

from dataclasses import replace

import numpy as np
import pytest

from flame import compiler
from flame.codegen.candidates import candidates
from flame.codegen.schedule import layout
from flame.config import config
from flame.errors import ConfigError
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir import show
from flame.ir.loop import Kernel, Loop, Role, statements
from flame.ir.node import apply
from flame.ir.plan import Batch, Launch
from flame.ir.target import CPU, CUDA
from flame.runtime import cuda_compile
from tests.support import check, compiled, offline, run_cuda_on_numpy
from tests.workloads import EVERYTHING

SHAPES = [(96, 1152), (7, 64), (33, 77), (3, 12000), (2048, 40), (63, 131)]


def laid_out(name: str, shape: tuple[int, ...], dtype: dt.DType = dt.float32) -> list[Kernel]:
    """The kernels of a workload before anything asked for another layout."""
    seen: list[Kernel] = []

    def note(questions):
        return [0] * len(questions)

    def spy(plan, target, judge):
        seen.extend(s.kernel for s in plan.steps if isinstance(s, Launch))
        return plan

    original, compiler.tune = compiler.tune, spy
    try:
        compiler.compile_graph(EVERYTHING[name](shape, dtype).roots, CUDA, judge=note)
    finally:
        compiler.tune = original
    return seen


def row_of(k: Kernel) -> Loop:
    return next(s for s in statements(k.body) if isinstance(s, Loop) and s.role in (Role.ROW, Role.SPREAD))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", EVERYTHING)
def test_the_default_is_first_and_every_other_fits_a_block(name, shape):
    for dtype in (dt.float32, dt.bfloat16):
        for k in laid_out(name, shape, dtype):
            found = candidates(k, CUDA)
            assert found[0] == layout(k, CUDA) == k.layout
            assert len(set(found)) == len(found) <= 24
            for at in found[1:]:
                assert at.lanes * at.rows <= 1024 and (at.lanes * at.rows) % 32 == 0
                assert at.lanes % 32 == 0 or at.lanes & (at.lanes - 1) == 0
                assert at.vector == found[0].vector and at.across == found[0].across
                if at.kept and not at.across:
                    assert at.span >= row_of(k).extent, "a row that is kept is held as a whole"


def test_a_row_may_be_a_warps_or_a_blocks_kept_or_read_again():
    (k,) = laid_out("softmax", (4096, 1152))
    found = candidates(k, CUDA)
    assert {at.lanes <= 32 for at in found} == {True, False}
    assert {at.kept for at in found} == {True, False}


def test_one_lane_has_one_layout():
    for name in EVERYTHING:
        for k in laid_out(name, (8, 64)):
            assert candidates(k, CPU) == (layout(k, CPU),)


@pytest.mark.parametrize("number", [1, 2, 3, 5, 8, 11])
@pytest.mark.parametrize("name", ["softmax", "layer_norm_backward", "adam", "cross_entropy"])
def test_numbers_are_those_of_any_candidate(name, number):
    for shape in [(96, 1152), (33, 77)]:
        work = EVERYTHING[name](shape, dt.float32)
        values = work.values()
        with config(tune=f"#{number}"):
            check(work.roots, run_cuda_on_numpy(work.roots, values), values, 100, relative_to_all=True)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1, 16))
def test_numbers_of_every_workload_in_any_layout(number):
    for name, work_of in EVERYTHING.items():
        for shape in SHAPES:
            for dtype in (dt.float32, dt.bfloat16):
                work = work_of(shape, dtype)
                values = work.values()
                with config(tune=f"#{number}"):
                    got = run_cuda_on_numpy(work.roots, values)
                check(work.roots, got, values, {"float32": 100, "bfloat16": 4}[dtype.name], relative_to_all=True), name


@pytest.mark.slow
@pytest.mark.skipif(bool(cuda_compile.why_not()), reason=cuda_compile.why_not() or "compiles")
@pytest.mark.parametrize("number", range(1, 16))
def test_any_candidate_compiles(number):
    with config(tune=f"#{number}"):
        for name in EVERYTHING:
            offline(compiled(EVERYTHING[name]((512, 1152), dt.bfloat16).roots, CUDA))


# --- who chooses ------------------------------------------------------------------------------------------------------
def test_a_judge_is_asked_once_a_plan_and_obeyed():
    asked = []

    def last(questions):
        asked.append(questions)
        return [len(forms) - 1 for forms, _ in questions]

    work = EVERYTHING["softmax"]((4096, 1152), dt.float32)
    plain = compiled(work.roots, CUDA)
    with config(tune=True):
        tuned = compiler.compile_graph(work.roots, CUDA, judge=last)
    (questions,) = asked
    forms, slots = questions[0]
    texts = {code.source for code in plain.codes.values()}
    assert all(forms[0][1].source in texts for forms, _ in questions), "the first form is what runs untuned"
    assert {code.source for code in tuned.codes.values()} == {forms[-1][1].source for forms, _ in questions}
    for kernel in tuned.codes:
        assert show.layout(kernel.layout) in {forms[-1][0] for forms, _ in questions}
    assert [s.nbytes for s in slots] and len(slots) == len(forms[0][1].signature)


def test_launches_of_one_text_get_one_layout_that_of_the_largest():
    """Else an optimizer's batch would fall apart into as many launches as there are sizes."""
    asked = []

    def second(questions):
        asked.extend(questions)
        return [min(1, len(forms) - 1) for forms, _ in questions]

    x, y = nd.leaf(901, (4096, 64), dt.float32), nd.leaf(902, (512, 64), dt.float32)
    roots = tuple(apply("exp", n) for n in (y, x))
    with config(tune=True):
        made = compiler.compile_graph(roots, CUDA, judge=second)
    ((_, slots),) = asked
    assert {s.shape for s in slots} == {x.shape}
    (step,) = made.plan.steps
    assert isinstance(step, Batch)


def test_without_tune_no_judge_is_asked():
    def never(questions):
        raise AssertionError

    work = EVERYTHING["softmax"]((64, 64), dt.float32)
    assert compiler.compile_graph(work.roots, CUDA, judge=never).codes == compiled(work.roots, CUDA).codes
    with config(tune=True):  # no device to time on: the default
        assert compiled(work.roots, CUDA).codes == compiled(replace(work).roots, CUDA).codes


@pytest.mark.parametrize(("given", "value"), [(True, "measure"), ("on", "measure"), (False, "off"), ("#3", 3)])
def test_the_knob(given, value):
    with config(tune=given):
        assert config.tune == value


def test_what_the_knob_is_not():
    with pytest.raises(ConfigError, match="tune"), config(tune="third"):
        pass


def test_a_position_may_come_from_a_value_that_is_kept():
    """Loads come before the names of what is kept: a load at a place that a kept value tells must not read its name."""
    x = nd.leaf(903, (3, 4), dt.float32)
    top = nd.expand(nd.reshape(apply("max", x, axes=(1,)), (3, 1)), (3, 4))
    total = apply("sum", apply("exp", x - top), axes=(1,))
    whole = nd.cast(x, dt.int64)
    place = apply("minimum", apply("maximum", whole, nd.like(whole, 0)), nd.like(whole, 2))
    roots = (total, apply("gather", x, place, axis=0))
    values = {x: np.arange(12, dtype=np.float32).reshape(3, 4) - 5}
    check(roots, run_cuda_on_numpy(roots, values), values, 10)
