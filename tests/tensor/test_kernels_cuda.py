"""A user's own kernels for a GPU, as far as they go without one: compiled, and given the parameters they expect."""

import struct
from pathlib import Path
from types import SimpleNamespace

import pytest

import flame
from flame.errors import CompileError, DeviceError, DTypeError, ShapeError
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir.library import KernelSpec
from flame.ir.node import apply
from flame.ir.plan import Call
from flame.ir.target import CUDA
from flame.runtime import cache, cuda_compile, nvrtc, user_cuda
from tests.support import compiled

CC = (9, 0)
numba_cuda = pytest.mark.skipif(bool(cuda_compile.why_not()), reason=cuda_compile.why_not() or "it compiles")
with_nvrtc = pytest.mark.skipif(bool(nvrtc.why_not()), reason=nvrtc.why_not() or "it compiles")

SCALE = """
extern "C" __global__ void scale(const float* x, const float* __restrict__ y, double by, float* out, long long n) {
    long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i < n) out[i] = x[i] * y[i] * (float)by;
}
"""
TEMPLATE = """
#include <cuda_fp16.h>
template <class T> __global__ void twice(const T* x, T* out, long long n) {
    long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i < n) out[i] = x[i] + x[i];
}
"""
WRONG = """
extern "C" __global__ void wrong(const float* x, float* out, long long n) {
    out[0] = missing[0];
}
"""
scale = flame.kernel.cuda_c(SCALE, "scale")


@pytest.fixture(autouse=True)
def own_cache(tmp_path):
    with flame.config(cache_dir=tmp_path):
        yield


def spec_of(kernel, *arguments, shape=(300,), dtype=dt.float32):
    """The kernel for operands given as (shape, dtype) and numbers."""
    given = tuple((a[0], a[1].name) if isinstance(a, tuple) else a for a in arguments)
    stand_ins = [SimpleNamespace(shape=a[0], dtype=a[1]) if isinstance(a, tuple) else a for a in arguments]
    return kernel.spec(stand_ins, given, shape, dtype)


ROW = ((300,), dt.float32)


# --- CUDA C++ ---------------------------------------------------------------------------------------------------------
@with_nvrtc
def test_cuda_c_compiles_once_and_is_cached_on_disk(monkeypatch):
    spec = spec_of(scale, ROW, ROW, 2.0)
    cubin, name = user_cuda.machine_code(spec, CC)
    assert (cubin[:4], name) == (b"\x7fELF", "scale")
    assert cache.stats().entries >= 1
    monkeypatch.setattr(nvrtc, "_compile", None)
    assert user_cuda.machine_code(spec, CC) == (cubin, name)


@with_nvrtc
@pytest.mark.parametrize(("kind", "dtype"), [("float", dt.float32), ("__half", dt.float16), ("long long", dt.int64)])
def test_an_instance_of_a_template(kind, dtype):
    kernel = flame.kernel.cuda_c(TEMPLATE, f"twice<{kind}>")
    cubin, name = user_cuda.machine_code(spec_of(kernel, ((300,), dtype), dtype=dtype), CC)
    assert "twice" in name and name.encode() in cubin


@with_nvrtc
def test_wrong_text_is_reported_by_the_file_and_line_where_it_stands():
    kernel = flame.kernel.cuda_c(WRONG, "wrong")
    line = 1 + Path(__file__).read_text().splitlines().index("    out[0] = missing[0];")
    with pytest.raises(
        CompileError, match=rf'test_kernels_cuda.py\({line}\): error: identifier "missing" is undefined'
    ):
        user_cuda.machine_code(spec_of(kernel, ROW), CC)


@with_nvrtc
def test_a_file_of_its_own_is_reported_by_its_lines(tmp_path):
    path = tmp_path / "mine.cu"
    path.write_text(WRONG)
    kernel = flame.kernel.cuda_c(path, "wrong")
    with pytest.raises(CompileError, match=rf"{path}\(3\): error"):
        user_cuda.machine_code(spec_of(kernel, ROW), CC)
    made = flame.kernel.cuda_c(WRONG.replace("missing", "x").strip() + "\n// made here", "wrong")
    assert user_cuda.machine_code(spec_of(made, ROW), CC)[1] == "wrong"
    with pytest.raises(CompileError, match="NVRTC says"):
        user_cuda.machine_code(spec_of(flame.kernel.cuda_c(SCALE, "other"), ROW), CC)


def test_pointers_and_numbers_come_as_they_are_given_then_the_result_then_sizes():
    words, places = user_cuda.parameters(spec_of(scale, ROW, ROW, 2.5))
    by = int.from_bytes(struct.pack("<d", 2.5), "little", signed=True)
    assert (words, places) == ([0, 0, by, 0, 300], [(0, 0), (1, 1), (3, 2)])


@pytest.mark.parametrize(
    ("arguments", "dtype", "message"),
    [
        ((ROW, ((300,), dt.float64), 2.0), dt.float32, "parameter 1 points to float32, and is given float64"),
        ((ROW, ROW, 2.0), dt.float64, "parameter 3 points to float32, and is given float64"),
        ((ROW, ROW), dt.float32, "takes 5 parameters; 2 arguments, the result and 1 sizes are 4"),
        ((ROW, 2.0, ROW), dt.float32, "parameter 1 is a pointer, and is given a number"),
    ],
)
def test_operands_that_the_parameter_list_contradicts(arguments, dtype, message):
    with pytest.raises(DTypeError, match=message):
        spec_of(scale, *arguments, dtype=dtype)


def test_a_number_must_be_eight_bytes():
    kernel = flame.kernel.cuda_c("__global__ void f(float* out, int n) {}", "f", out=lambda: ((1,), dt.float32))
    with pytest.raises(DTypeError, match="parameter 1 must be long long or double"):
        spec_of(kernel)


def test_blocks_and_threads():
    assert (spec_of(scale, ROW, ROW, 1.0).grid, spec_of(scale, ROW, ROW, 1.0).block) == ((2, 1, 1), (256, 1, 1))
    own = flame.kernel.cuda_c(SCALE, "scale", grid=lambda x, y, by: (x.shape[0], 2), block=(8, 4))
    assert (spec_of(own, ROW, ROW, 1.0).grid, spec_of(own, ROW, ROW, 1.0).block) == ((300, 2, 1), (8, 4, 1))
    with pytest.raises(ShapeError, match="a block of 2048 threads"):
        spec_of(flame.kernel.cuda_c(SCALE, "scale", block=2048), ROW, ROW, 1.0)
    with pytest.raises(ShapeError, match=r"block is \(0,\)"):
        spec_of(flame.kernel.cuda_c(SCALE, "scale", block=0), ROW, ROW, 1.0)


def test_operands_on_the_cpu_are_refused():
    x = flame.ones(3, device="cpu")
    with pytest.raises(DeviceError, match="kernel scale is for a GPU, its operands are on cpu"):
        scale(x, x, 2.0)


# --- numba.cuda -------------------------------------------------------------------------------------------------------
def broken(x, out):
    out[0] = nothing_here(x)  # noqa: F821


@numba_cuda
def test_a_numba_cuda_kernel_compiles_without_a_gpu():
    import numba.cuda

    def add(x, k, out):
        i, j = numba.cuda.grid(2)
        if i < x.shape[0] and j < x.shape[1]:
            out[i, j] = x[i, j] + k

    kernel = flame.kernel.numba(device="cuda", grid=(4, 4), block=(8, 8))(add)
    spec = spec_of(kernel, ((3, 5), dt.float32), 2.0, shape=(3, 5))
    cubin, name = user_cuda.machine_code(spec, CC)
    assert cubin[:4] == b"\x7fELF" and name.encode() in cubin
    words, places = user_cuda.parameters(spec)
    by = int.from_bytes(struct.pack("<d", 2.0), "little", signed=True)
    array = [0, 0, 15, 4, 0, 3, 5, 20, 4]
    assert (words, places) == ([*array, by, *array], [(4, 0), (14, 1)])


@numba_cuda
def test_the_parameters_are_those_of_the_compiled_kernel():
    """As many words as the PTX has parameters: Numba's layout of an array is not ours to choose."""
    import re

    import numba.cuda

    def add(x, k, out):
        i = numba.cuda.grid(1)
        if i < out.size:
            out[i] = x[i, 0] + k

    from numba import types

    arguments = types.void(types.Array(types.float32, 2, "C"), types.int64, types.Array(types.float32, 1, "C"))
    ptx, _ = numba.cuda.compile(add, arguments, cc=CC, device=False, abi="numba")
    spec = KernelSpec("numba.cuda", "add", add, (((3, 5), "float32"), 4), (3,), "float32")
    assert len(re.findall(r"\.param \.\w+ ", ptx)) == len(user_cuda.parameters(spec)[0])


@numba_cuda
def test_a_numba_cuda_kernel_that_does_not_compile():
    kernel = flame.kernel.numba(device="cuda")(broken)
    line = broken.__code__.co_firstlineno
    with pytest.raises(CompileError, match=rf"kernel broken \(.*test_kernels_cuda.py:{line}\) does not compile"):
        user_cuda.machine_code(spec_of(kernel, ROW), CC)


# --- in a graph -------------------------------------------------------------------------------------------------------
def test_a_plan_calls_it_between_fused_kernels():
    x = nd.leaf(0, (300,), dt.float32)
    y = apply("exp", x * x)
    made = apply("call", y, y, routine="kernel", spec=spec_of(scale, ROW, ROW, 2.0), of=(300,), as_=dt.float32)
    program = compiled((apply("sin", made),), CUDA)
    assert [type(s).__name__ for s in program.plan.steps] == ["Launch", "Call", "Launch"]
    (step,) = (s for s in program.plan.steps if isinstance(s, Call))
    assert step.routine == "kernel" and len(step.inputs) == 2


def test_validation_says_what_it_cannot_check():
    from flame.validate import observer

    x = nd.leaf(0, (300,), dt.float32)
    spec = spec_of(scale, ROW, ROW, 2.0)
    program = compiled((apply("call", x, x, routine="kernel", spec=spec, of=(300,), as_=dt.float32),), CUDA)
    ran = []
    with pytest.warns(UserWarning, match="kernel scale is for a GPU; no oracle checks"):
        observer(program)(program.plan.steps[0], lambda: ran.append(1), lambda slot: None)
    assert ran == [1]
    with pytest.raises(flame.FlameError, match="kernel scale is for a GPU"):
        spec.numpy()
