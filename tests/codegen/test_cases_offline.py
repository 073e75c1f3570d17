"""The kernels of benchmarks/kernels.py as machine code, without a GPU: no spills, no local memory, wide accesses."""

import functools
import re
from dataclasses import replace

import pytest

from benchmarks import peers
from benchmarks.cases import Case, every
from flame.ir.loop import Kernel
from flame.ir.plan import Code
from flame.ir.target import CUDA
from flame.runtime import cuda_compile

pytestmark = pytest.mark.skipif(bool(why := cuda_compile.why_not()), reason=f"no CUDA compiler: {why}")
HOPPER = (9, 0, "a")
OTHERS = [(7, 5), (8, 0), (8, 9), (10, 0), (12, 0)]
SHARDS = 8
SAMPLE = 6  # of so many kernels CI compiles one

# Local memory that is meant: libdevice reduces large arguments of sin and cos through a table on the stack.
BY_TABLE = re.compile(r"^transcendental ")
FEW = 32  # bytes that may spill where 1024 lanes hold a row in their 64 registers each: an address or two


@functools.cache
def kernels(cc: tuple[int, int]) -> list[tuple[str, Kernel, Code]]:
    """Every different kernel of the cases on a GPU, with the first case that it serves."""
    target, found = replace(CUDA, cc=cc), {}
    for case in every():
        for kernel, code in peers.program(case, target).codes.items():
            found.setdefault(code.source, (case.name, kernel, code))
    return list(found.values())


def expect(case: str, kernel: Kernel, code: Code, cc: tuple) -> None:
    ptx = cuda_compile.ptx_cuda(code.source, code.name, code.signature, code.options(cc))
    used = cuda_compile.resources(ptx, cc)
    said = f"{case}: {code.name} {kernel.layout} on {cc}: {used}"
    full = kernel.layout.kept and code.threads == 1024
    assert used.get("spills", 0) <= (FEW if full else 0), said
    if not full and not BY_TABLE.search(case):
        assert used.get("local", 0) == 0 and ".local" not in ptx, said
    if kernel.layout.vector >= 4:
        assert re.search(r"(ld|st)\.global\S*\.(v4|v2)\.", ptx), said


def first_of_each_kind() -> list[Case]:
    """For each family, what it computes first in float32 and bfloat16."""
    found: dict[tuple[str, str], Case] = {}
    for case in every():
        found.setdefault((case.family, case.dtype), case)
    return list(found.values())


@pytest.mark.parametrize("shard", range(SHARDS))
def test_kernels_on_hopper(shard):
    for each in kernels((9, 0))[::SAMPLE][shard::SHARDS]:
        expect(*each, HOPPER)


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
def test_every_kernel_on_hopper(shard):
    for each in kernels((9, 0))[shard::SHARDS]:
        expect(*each, HOPPER)


@pytest.mark.parametrize("cc", OTHERS, ids=lambda cc: f"sm_{cc[0]}{cc[1]}")
def test_a_sample_of_each_family(cc):
    for case in first_of_each_kind():
        if case.family != "optimizer":
            for kernel, code in peers.program(case, replace(CUDA, cc=cc)).codes.items():
                expect(case.name, kernel, code, cc)


@pytest.mark.slow
@pytest.mark.parametrize("cc", OTHERS, ids=lambda cc: f"sm_{cc[0]}{cc[1]}")
def test_every_kernel_on_other_machines(cc):
    for each in kernels(cc):
        expect(*each, cc)


def test_cases_have_names_of_their_own():
    """One line of the table is one case; each dtype and each family is there."""
    names = [case.name for case in every()]
    assert len(names) == len(set(names)) > 500
    assert {case.dtype for case in every()} == {"float32", "bfloat16", "float16"}
