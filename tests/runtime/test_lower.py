"""The printed language is lowered to what Numba would make of it: the same PTX but for loops, which only test less."""

import re

import numpy as np
import pytest

from flame.errors import CompileError
from flame.ir import dtype as dt
from flame.ir.plan import Code, Launch
from flame.ir.target import CPU, CUDA
from flame.runtime import cache, cpu_compile, cuda_compile
from flame.runtime.cuda_emit import targeting
from tests.runtime.printed import source
from tests.support import compiled
from tests.table import cases
from tests.workloads import EVERYTHING

pytestmark = pytest.mark.skipif(bool(why := cuda_compile.why_not()), reason=f"no CUDA compiler: {why}")
CC = (9, 0)
LEFT_TO_NUMBA = {"neg-uint8", "bitwise_not-uint8"}  # minus and not of what has no sign
K = "k", ("address",)


def lowered(text: str, name: str, signature: tuple[str, ...], bounds=256) -> str | None:
    with targeting(CC):
        return cuda_compile._by_lowering(text, name, signature, CC, bounds)


def by_numba(text: str, name: str, signature: tuple[str, ...], bounds=256) -> str:
    with targeting(CC):
        return cuda_compile._by_numba(cache.source_file(text, name), name, signature, CC, bounds)


def instructions(ptx: str) -> str:
    """The body of a PTX text, its registers, labels and symbols numbered as they appear."""
    seen: dict[str, str] = {}

    def renamed(found: re.Match) -> str:
        return seen.setdefault(found[0], f"{found[1] or 'name'}{len(seen)}")

    body = re.sub(r"//.*|\.reg [^\n]*\n", "", ptx[ptx.index(".entry") :]).split("{", 1)[1]
    body = re.sub(r"(%[a-z]+)\d+|\$L__BB\d+_\d+|[\w$]*_param_\d+|gathered[\w$]*", renamed, body)
    return " ".join(body.replace("div.approx.ftz.f32", "div.full.ftz.f32").split())


def same(code: Code) -> None:
    bounds = (code.threads, code.resident) if code.resident > 1 else code.threads
    here = lowered(code.source, code.name, code.signature, bounds)
    assert here is not None, f"left to Numba:\n{code.source}"
    if " for " not in code.source:
        there = by_numba(code.source, code.name, code.signature, bounds)
        assert instructions(here) == instructions(there), code.source


@pytest.mark.parametrize("name", ["softmax", "layer_norm_backward", "adam"])
def test_workloads_become_what_numba_makes_of_them(name):
    for dtype in (dt.float32, dt.bfloat16):
        for code in compiled(EVERYTHING[name]((333, 96), dtype).roots, CUDA).codes.values():
            same(code)


OPERATORS = cases(list(dt.BY_NAME.values()))


def test_no_operator_needs_numbas_inference():
    """All but a few: each of those costs a user a hundred times the compile time."""
    left = set()
    for c in list({str(c): c for c in OPERATORS}.values())[::7]:
        for code in compiled(c.roots, CUDA).codes.values():
            with targeting(CC):
                module = cuda_compile.lowered(code.source, code.name, code.signature)
            if module is None:
                left.add(str(c))
    assert left <= LEFT_TO_NUMBA


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(8))
def test_every_operator_becomes_what_numba_makes_of_it(shard):
    for c in list({str(c): c for c in OPERATORS}.values())[shard::8]:
        if str(c) not in LEFT_TO_NUMBA:
            for code in compiled(c.roots, CUDA).codes.values():
                same(code)


def text_of(body: str) -> str:
    """A file with a kernel of n and one address."""
    names = "int64, load1_float32, store1_float32, store1_int64"
    return f"from flame.runtime.prelude_cuda import {names}\n\n\ndef k(n, a0):\n{body}\n"


def test_a_loop_counts_its_rounds():
    """From a start, by a step: the branch compares with the stop, and what the loop changes is carried."""
    ptx = lowered(
        text_of("    x = 7\n    for i in range(2, n, 3):\n        x = x * n + i\n    store1_int64(a0, 0, x)"), *K
    )
    assert ptx is not None
    assert re.search(r"setp\.[lg][te]\.s64\s+\S+, \S+, [23];", ptx), "n is compared with the start"
    assert re.search(r"add\.s64\s+(\S+), \1, 3;|add\.s64\s+\S+, \S+, 3;", ptx), "the count goes on by the step"
    assert len(re.findall(r"\bbra\b", ptx)) >= 2


@pytest.mark.parametrize(
    "body",
    [
        "    x = load1_float32(a0, 0) * 2.0\n    store1_float32(a0, 0, x)",  # float32 beside float64
        "    x = n if n > 2 else 3\n    store1_int64(a0, 0, x)",
        "    for i in range(n, 0, -1):\n        store1_int64(a0, i, i)",
        "    for i in range(n):\n        store1_int64(a0, i, i)\n    store1_int64(a0, 0, i)",
    ],
)
def test_what_is_more_than_the_language_is_numbas(body):
    text = text_of(body)
    assert lowered(text, *K) is None
    assert ".entry k" in cuda_compile.ptx_cuda(text, *K, (("cc", CC),))


def test_an_error_of_an_emitter_names_the_kernels_file():
    with pytest.raises(CompileError, match=r"kernel k does not compile for compute capability 9\.0: .*k_\w+\.py"):
        cuda_compile.ptx_cuda(text_of("    store1_float32(a0, 0, n, n, n)"), *K, (("cc", CC),))


def test_conversions_are_numbas():
    """A float becomes an integer towards zero, a boolean 0 or 1, an integer a boolean by what it is not."""
    text = source("t0 = load1_float64(a0, 0)\nstore1_int64(a1, 0, to_int64(t0))\nstore1_int64(a1, 1, t0 < 3.0)", 2)
    here = lowered(text, "k", ("address", "address"))
    assert here is not None
    assert instructions(here) == instructions(by_numba(text, "k", ("address", "address")))


BRANCHES = """
def f(x, y):
    z = x * y
    return z, x - z

def k(n, p):
    i = 0
    s = 1.0
    while i < n:
        if i > 3:
            i += 2
            s = f(s, 2.0)[0]
        else:
            i += 1
        for j in range(2):
            s += 1.0
    store1_float64(p, i >> 1, s)
"""


def test_branches_loops_and_functions_of_the_file():
    head = "from flame.runtime.prelude_cuda import device, store1_float64\n"
    here = lowered(head + BRANCHES, *K)
    assert here is not None
    there = by_numba(head + BRANCHES.replace("\ndef f(", "\n@device\ndef f("), *K)
    for count in ("mul.f64", "st.global.f64", "shr"):  # loops are tested differently, what is done in them is not
        assert (count in here) == (count in there), count
    assert "call" not in here.split(".entry")[1]


@pytest.mark.parametrize("text", ["    if n:\n        p = 1\n", "    while n:\n        n -= 1\n", "    x = 1, 2.0\n"])
def test_what_is_no_truth_or_no_tuple_of_one_type_is_left_to_numba(text):
    assert lowered(f"def k(n, p):\n{text}    q = p\n", *K) is None


# --- the CPU: both ways run here --------------------------------------------------------------------------------------
def run_on_the_cpu(name: str, dtype: dt.DType, build) -> list[bytes]:
    """What the kernels of a workload leave in memory, compiled by `build`."""
    made = compiled(EVERYTHING[name]((48, 96), dtype).roots, CPU)
    rng, memory = np.random.default_rng(3), []
    for slot in made.plan.slots:
        values = rng.standard_normal(slot.nbytes // slot.dtype.size + 1)
        array = (
            np.abs(values).astype(slot.dtype.numpy) if slot.dtype.is_float else np.zeros(values.shape, slot.dtype.numpy)
        )
        memory.append(np.ascontiguousarray(array))
    for step in made.plan.steps:
        assert isinstance(step, Launch)
        code = made.codes[step.kernel]
        run = cpu_compile.load_cpu(
            cpu_compile._emit_object(build(code.source, code.name, code.signature)), code.name, code.signature
        )
        arguments = [
            float(memory[s][0]) if p.by_value else memory[s].ctypes.data
            for p, s in zip(step.kernel.params, step.slots, strict=True)
        ]
        run(0, code.extent, code.extent, *arguments)
    return [m.tobytes() for m in memory]


@pytest.mark.parametrize("name", EVERYTHING)
def test_on_the_cpu_it_computes_the_bits_that_numbas_way_does(name):
    for dtype in (dt.float32, dt.bfloat16):
        here, there = (run_on_the_cpu(name, dtype, build) for build in (cpu_compile.lowered, cpu_compile._by_numba))
        assert here == there


def test_on_the_cpu_what_is_more_than_the_language_is_numbas():
    text = (
        "from flame.runtime.prelude_cpu import store1_int64\n\n\ndef k(begin, end, n, a0):\n    x = n if n > 2 else 3\n"
    )
    text += "    store1_int64(a0, 0, x)\n"
    assert cpu_compile.lowered(text, "k", ("address",)) is None
    assert cpu_compile.compile_cpu(text, "k", ("address",))
