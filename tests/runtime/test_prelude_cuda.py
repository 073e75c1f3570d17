"""Every name of the CUDA prelude compiles without a GPU: wide accesses stay wide, guards are predicates, no spills."""

import re

import pytest

from flame.errors import CompileError
from flame.runtime import cuda_compile
from tests.runtime.printed import (
    BINARY,
    COMBINES,
    DTYPES,
    INTEGERS,
    REGISTERS,
    SHAPES,
    UNARY,
    copy_body,
    gather_body,
    source,
    threads_of,
)

pytestmark = pytest.mark.skipif(bool(cuda_compile.why_not()), reason=cuda_compile.why_not() or "compiles")

CAPABILITIES = ((8, 0), (9, 0))
TWO = ("address", "address")


def compiled(body: str, signature=TWO, cc=(9, 0), threads: int = 256) -> str:
    """The PTX of a body, after it assembled without spills."""
    ptx = cuda_compile.ptx_cuda(source(body, len(signature)), "k", signature, (("cc", cc), ("threads", threads)))
    used = cuda_compile.resources(ptx, cc)
    assert not used or used["spills"] == 0, used
    return ptx


def every_width(dtype: str) -> str:
    """Every load and store of a dtype in one body."""
    lines = []
    for k, (width, guarded) in enumerate((w, g) for w in (1, 2, 4, 8, 16) for g in (False, True)):
        lines += [re.sub(r"\b([tv])0\b", rf"\g<1>{k}", line) for line in copy_body(width, dtype, guarded).splitlines()]
    return "\n".join(lines)


@pytest.mark.parametrize("cc", CAPABILITIES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_access_compiles(dtype, cc):
    compiled(every_width(dtype), cc=cc)


SIZES = {"bool": 1, "int8": 1, "uint8": 1, "int16": 2, "float16": 2, "bfloat16": 2, "int64": 8, "float64": 8}
SIZES |= {"float8_e4m3fn": 1, "float8_e5m2": 1}


@pytest.mark.parametrize("guarded", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sixteen_bytes_are_one_access(dtype, guarded):
    width = 16 // SIZES.get(dtype, 4)
    ptx = compiled(copy_body(width, dtype, guarded))
    assert len(re.findall(r"ld\.global\.v4\.b32", ptx)) == 1
    assert len(re.findall(r"st\.global\.v4\.b32", ptx)) == 1
    assert len(re.findall(r"(?:ld|st)\.global", ptx)) == 2


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64", "int8"])
def test_thirty_two_bytes_are_two_accesses(dtype):
    width = min(32 // SIZES.get(dtype, 4), 16)
    ptx = compiled(copy_body(width, dtype, True))
    assert len(re.findall(r"ld\.global\.v4\.b32", ptx)) == width * SIZES.get(dtype, 4) // 16


@pytest.mark.parametrize("width", [1, 2, 8])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_guard_is_a_predicate(dtype, width):
    ptx = compiled(copy_body(width, dtype, True))
    accesses = [line for line in ptx.splitlines() if re.search(r"(ld|st)\.global", line)]
    assert accesses and all("@q" in line for line in accesses), accesses
    assert " bra " not in ptx


def test_two_halves_are_rounded_by_one_instruction():
    assert compiled(copy_body(8, "bfloat16", False)).count("cvt.rn.bf16x2.f32") == 4
    assert compiled(copy_body(8, "float16", False)).count("cvt.rn.f16x2.f32") == 4


@pytest.mark.parametrize("combine", COMBINES)
@pytest.mark.parametrize("dtype", REGISTERS)
def test_every_gather_compiles(dtype, combine):
    lines = [f"i0 = thread()\nv0 = load1_{dtype}(a0, i0)"]
    lines += [f"store1_{dtype}(a1, i0, gather_{combine}_{dtype}_{shape}(v0))" for shape in SHAPES if "32x3" != shape]
    for cc in CAPABILITIES:
        compiled("\n".join(lines), cc=cc, threads=1024)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_gather_needs_a_barrier_only_beyond_a_warp(shape):
    ptx = compiled(gather_body("add", "float32", shape), threads=threads_of(shape))
    lanes, rows = (int(v) for v in f"{shape}x1".split("x")[:2])
    assert ptx.count("bar.sync") == (lanes * rows > 32)


def test_gathers_in_a_loop():
    body = "v0 = float32(0.0)\nfor k in range(n):\n    v1 = load1_float32(a0, k * 256 + thread())\n"
    body += "    v0 = v0 + gather_add_float32_256(v1) * gather_maximum_float32_256(v1)\n    barrier()\n"
    bars = compiled(body + "store1_float32_if(a1, block(), v0, thread() == 0)").count("bar.sync")
    assert bars and bars % 3 == 0  # two gathers and the end of the round; LLVM may unroll


@pytest.mark.parametrize("cc", CAPABILITIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_function_of_floats_compiles(dtype, cc):
    for function in UNARY:
        if (function, dtype) == ("lgamma", "float64"):  # libdevice keeps it as a function, which saves registers
            continue
        compiled(f"i0 = thread()\nstore1_{dtype}(a1, i0, {function}(load1_{dtype}(a0, i0)))", cc=cc)
    for function in BINARY:
        body = f"i0 = thread()\nv0 = load1_{dtype}(a0, i0)\nstore1_{dtype}(a1, i0, {function}(v0, {dtype}(2.0)))"
        compiled(body, cc=cc)


def test_float32_functions_use_the_hardware():
    for function, instruction in (("exp", "ex2.approx"), ("sqrt", "sqrt.approx"), ("rsqrt", "rsqrt.approx")):
        ptx = compiled(f"i0 = thread()\nstore1_float32(a1, i0, {function}(load1_float32(a0, i0)))")
        assert instruction in ptx and "f64" not in ptx.split("{", 1)[1]
    assert "max.NaN.f32" in compiled("store1_float32(a1, thread(), maximum(load1_float32(a0, thread()), float32(0.0)))")
    divided = compiled("store1_float32(a1, thread(), load1_float32(a0, thread()) / load1_float32(a0, n))")
    assert "div.full" in divided and "div.approx" not in divided


WHOLE = ("maximum", "minimum", "floordiv", "modulo", "trunc_divide", "fmod", "gcd", "shift_left", "shift_right")


@pytest.mark.parametrize("dtype", [*INTEGERS, "bool"])
def test_every_function_of_integers_compiles(dtype):
    for cc in CAPABILITIES:
        lines = [f"i0 = thread()\nv0 = load1_{dtype}(a0, i0)\nv1 = load1_{dtype}(a0, i0 + 1)"]
        for k, function in enumerate(WHOLE[: None if dtype != "bool" else 5]):
            lines.append(f"store1_{dtype}(a1, i0 + {k}, {function}(v0, v1))")
        lines.append(f"store1_{dtype}(a1, i0, sign(absolute(select(v0 == v1, v0, v1))))")
        compiled("\n".join(lines), cc=cc)


@pytest.mark.parametrize("dtype", REGISTERS)
def test_every_conversion_and_fold_compiles(dtype):
    lines = [f"i0 = thread()\nv0 = load1_{dtype}(a0, i0)"]
    lines += [f"store1_{to}(a1, i0 * 8, to_{to}(v0))" for to in DTYPES]
    lines += [f"store1_{dtype}(a1, i0 * 8, fold_{c}_{dtype}(v0, v0))" for c in COMBINES]
    lines += [f"store1_{dtype}(a1, i0, {'boolean' if dtype == 'bool' else dtype}(v0))"]
    for cc in CAPABILITIES:
        compiled("\n".join(lines), cc=cc)


def test_the_rest_compiles():
    numbers = "philox(n, i0) + udiv32(i0, n) + umod32(i0, n) + udiv64(i0, n) + umod64(i0, n)"
    compiled(f"i0 = thread() + block()\nstore1_int64(a1, i0, {numbers})")
    body = "v0 = select(isnan(a1) | logical_not(a1 > float32(inf())), float32(nan()), a1 + to_float32(a2))\n"
    body += "store1_float32(a0, thread(), select(a3, v0, to_float32(a4)))"
    compiled(body, ("address", "float32", "int64", "boolean", "float64"))


def test_older_machines_do_without_packed_conversion():
    ptx = compiled(
        every_width("bfloat16") + "\nstore1_float32(a1, n, maximum(load1_float32(a0, n), float32(1.0)))", cc=(7, 5)
    )
    assert "bf16x2" not in ptx and "max.NaN" not in ptx


def test_the_kernel_has_the_name_that_was_asked_for():
    ptx = compiled("store1_float32(a1, thread(), a0)", ("float32", "address"))
    assert cuda_compile.entry(ptx) == "k" and ".maxntid 256" in ptx


def test_a_wrong_kernel_says_which_file():
    with pytest.raises(CompileError, match=r"k does not compile .*8\.0: /.*k_\w+\.py"):
        compiled("store1_float32(a1, thread(), load1_float32(a0, a1, a1))", cc=(8, 0))
    with pytest.raises(CompileError, match="load3_float32"):
        compiled("load3_float32(a0, thread())")
    with pytest.raises(CompileError, match="rejects the PTX"):
        cuda_compile.assemble(".version 8.0\n.target sm_80\n.address_size 64\nnonsense;\n", (8, 0))


def test_an_assembler_that_is_too_old_is_passed_over(monkeypatch):
    ptx = compiled("store1_float32(a1, thread(), a0)", ("float32", "address"))

    def old(ptx, cc):
        raise CompileError("unsupported PTX version")

    monkeypatch.setattr(cuda_compile, "_by_jitlink", old)
    monkeypatch.setattr(cuda_compile, "_by_driver", old)
    if cuda_compile._ptxas():
        assert cuda_compile.assemble(ptx, (9, 0))[:4] == b"\x7fELF"
    monkeypatch.setattr(cuda_compile, "_by_ptxas", old)
    with pytest.raises(CompileError, match="unsupported PTX version"):
        cuda_compile.assemble(ptx, (9, 0))
