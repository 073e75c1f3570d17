"""CUDA kernels compiled without a GPU: how many there are, how often and how wide they read, what they spill."""

import re
from dataclasses import replace
from math import prod

import pytest

from flame.compiler import Program
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir.loop import Loop, accesses
from flame.ir.node import Node, apply
from flame.ir.plan import Batch
from flame.ir.plan import launches as members
from flame.ir.target import CUDA
from flame.runtime import cuda_compile
from tests.support import Machine, compiled, kernels, launches, offline
from tests.workloads import EVERYTHING, ROW

needs_compiler = pytest.mark.skipif(bool(why := cuda_compile.why_not()), reason=f"no CUDA compiler: {why}")
WIDE = [(16384, 8192), (16384, 1152), (8, 2048, 768)]
TARGETS = {(8, 0): replace(CUDA, cc=(8, 0)), (9, 0): CUDA}


def program(name: str, shape: tuple[int, ...], dtype: dt.DType, cc: tuple[int, int] = (9, 0)) -> Program:
    return compiled(EVERYTHING[name](shape, dtype).roots, TARGETS[cc])


def passes_over(made: Program, leaf: Node) -> int:
    """How often the plan reads a leaf: loads of different indices in all kernels that have it."""
    count = 0
    for step, one in [(each, one) for each in launches(made) for one in members(each)]:
        names = {p.name for p, s in zip(one.kernel.params, one.slots, strict=True) if made.values[s] is leaf}
        if step.kernel.layout.kept or not names:
            count += len({at for p, at, written in accesses(step.kernel) if p in names and not written})
        else:
            count += sum(len(re.findall(rf"= load\d+_\w+\({n},", made.codes[step.kernel].source)) for n in names)
    return count


@needs_compiler
def test_a_kernel_for_many_tensors_reads_wide():
    made = [EVERYTHING["adam"](shape, dt.float32) for shape in ((768,), (768, 3072), (2304, 768))]
    program = compiled(tuple(r for work in made for r in work.roots), CUDA)
    (step,) = launches(program)
    assert isinstance(step, Batch) and len(step.members) == 3
    (machine,) = offline(program)
    assert len(re.findall(r"ld\.global[.\w]*\.v4\.[fub]32", machine.ptx)) == 5  # its place, p, g, m, v
    assert not machine.resources.get("spills", 0)


# --- how many kernels, how many passes over memory --------------------------------------------------------------------
@pytest.mark.parametrize("shape", WIDE, ids=str)
@pytest.mark.parametrize("name", [*ROW, "chain", "adam"])
def test_one_kernel(name, shape):
    for dtype in (dt.float32, dt.bfloat16):
        assert len(kernels(EVERYTHING[name](shape, dtype).roots)) == 1


def test_softmax_reads_once_and_writes_once():
    work = EVERYTHING["softmax"]((16384, 8192), dt.bfloat16)
    made = compiled(work.roots, CUDA)
    (step,) = launches(made)
    source, layout = made.codes[step.kernel].source, step.kernel.layout
    assert layout.kept and layout.vector == 8 and made.plan.arena == 0
    assert len(re.findall(r"load8_bfloat16\w*\(a0,", source)) == layout.items
    assert len(re.findall(r"store8_bfloat16\w*\(out0,", source)) == layout.items
    assert passes_over(made, work.leaves[0]) == 1


@pytest.mark.parametrize("shape", [*WIDE, (16384, 4096), (333, 4096), (64, 512)], ids=str)
@pytest.mark.parametrize("dtype", [dt.bfloat16, dt.float32], ids=str)
def test_layer_norm_backward_reads_its_inputs_at_most_twice(shape, dtype):
    work = EVERYTHING["layer_norm_backward"](shape, dtype)
    made = compiled(work.roots, CUDA)
    x, g = work.leaves[:2]
    assert 1 <= passes_over(made, x) <= 2 and 1 <= passes_over(made, g) <= 2
    largest = prod(x.shape)
    stored = [made.plan.slots[s].nbytes for s, _ in made.plan.offsets]
    assert max(stored, default=0) < largest * dtype.size, "a full-size value is stored"


@pytest.mark.parametrize("name", [n for n in EVERYTHING if n != "whole_numbers"])
def test_no_input_is_written_to_memory_again(name):
    """Whatever lies in the arena is smaller than the inputs: full-size values stay in registers."""
    work = EVERYTHING[name]((16384, 1024), dt.float32)
    made = compiled(work.roots, CUDA)
    assert all(made.plan.slots[s].nbytes <= 16384 * 1024 // 4 for s, _ in made.plan.offsets)


# --- what they become -------------------------------------------------------------------------------------------------
def expect(machine: Machine) -> None:
    """No spills, no local memory, and accesses as wide as the layout's vectors: 8 bytes of int8, else 16."""
    assert machine.resources.get("spills", 0) == 0 and machine.resources.get("local", 0) == 0, machine.resources
    assert ".local" not in machine.ptx
    if machine.layout.vector >= 4:
        assert re.search(r"(ld|st)\.global\S*\.(v4|v2)\.", machine.ptx)


@needs_compiler
@pytest.mark.parametrize("cc", TARGETS, ids=lambda cc: f"sm_{cc[0]}{cc[1]}")
@pytest.mark.parametrize("name", [*ROW, "layer_norm_backward", "adam"])
def test_row_kernels(name, cc):
    for machine in offline(program(name, (16384, 8192), dt.bfloat16, cc), cc):
        expect(machine)


@needs_compiler
@pytest.mark.parametrize("name", [n for n in EVERYTHING if n not in (*ROW, "layer_norm_backward", "adam")])
def test_other_kernels(name):
    for machine in offline(program(name, (2048, 1152), dt.float32)):
        expect(machine)


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("cc", TARGETS, ids=lambda cc: f"sm_{cc[0]}{cc[1]}")
@pytest.mark.parametrize("shape", [(16384, 1152), (16384, 8192), (77, 333), (4, 20000), (20000, 3)], ids=str)
@pytest.mark.parametrize("dtype", [dt.float32, dt.bfloat16], ids=str)
@pytest.mark.parametrize("name", EVERYTHING)
def test_every_kernel(name, dtype, shape, cc):
    for machine in offline(program(name, shape, dtype, cc), cc):
        expect(machine)


@needs_compiler
@pytest.mark.parametrize("shape", [(16384, 1024), (2048, 8192), (64, 32768), (1 << 24,)], ids=str)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
def test_scans_of_rows_read_and_write_wide(shape, reverse):
    x = nd.leaf(0, shape, dt.float32)
    program = compiled((apply("cumsum", x, axis=len(shape) - 1, reverse=reverse) * x,), CUDA)
    scanning = [m for m, k in zip(offline(program), program.codes, strict=True) if prod(shape) in sizes(k)]
    for machine in scanning:
        wide = re.findall(r"(ld|st)\.global[.\w]*\.v4\.[fub]32", machine.ptx)
        assert {"ld", "st"} >= set(wide) and "ld" in wide
        assert not machine.resources.get("spills", 0)
    assert len(program.codes) == (3 if shape[0] in (64, 1 << 24) else 1)


def sizes(k) -> set[int]:
    """How many elements the loops of a kernel visit."""
    return {k.outer.extent * s.extent for s in k.outer.body if isinstance(s, Loop)}
