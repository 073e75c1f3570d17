"""What reads a product alone, element by element, is its epilogue; what must not be is left a kernel."""

import pytest

import flame
import flame.nn.functional as F
from flame import compiler
from flame.codegen.print_product import codes
from flame.ir.library import FinishedSpec
from flame.ir.plan import Call, Launch
from flame.ir.target import CPU, CUDA
from flame.runtime import cuda_compile

needs_compiler = pytest.mark.skipif(bool(why := cuda_compile.why_not()), reason=f"no CUDA compiler: {why}")


def values(*shapes, dtype=flame.bfloat16):
    return [flame.rand(*s, device="cpu").to(dtype).realize() for s in shapes]


def steps(*roots, target=CUDA):
    return compiler.plan(tuple(r.node for r in roots), target)[0].steps


def product():
    x, w, b, r = values((1024, 512), (768, 512), (768,), (1024, 768))
    return x @ w.T, b, r


def test_bias_activation_and_residual_are_one_call():
    p, b, r = product()
    (call,) = steps(F.gelu(p + b) * r)
    assert isinstance(call, Call) and call.routine == "finished" and len(call.inputs) == 4
    assert call.spec.staged is not None and call.spec.nbytes == 1024 * 768 * 2


def test_several_results_of_one_kernel():
    p, b, _ = product()
    y = p + b
    (call,) = steps(y.relu(), (y > 0).float())
    assert call.routine == "finished" and len(call.more) == 1


def test_a_float32_result_does_not_pass_through_shared_memory():
    p, b, _ = product()
    (call,) = steps(p.float() + b)
    assert call.routine == "finished" and call.spec.staged is None


@pytest.mark.parametrize(
    "finish",
    [
        lambda p, b, r: (p, p + b),  # the product itself is wanted
        lambda p, b, r: (p.softmax(-1),),  # it is folded
        lambda p, b, r: (p + p.T[:768, :768].sum(),),  # it is read elsewhere too
    ],
)
def test_what_stays_a_product(finish):
    p, b, r = product()
    assert [s.routine for s in steps(*finish(p, b, r)) if isinstance(s, Call)] == ["matmul"]


def test_other_machines_and_small_products_keep_their_kernels():
    p, b, _ = product()
    assert any(isinstance(s, Launch) for s in steps(p + b, target=CPU))
    x, w, b = values((64, 64), (64, 64), (64,))
    assert any(isinstance(s, Launch) for s in steps(x @ w + b))


def test_two_products_added():
    x, w, v = values((1024, 512), (768, 512), (768, 512))
    found = steps(x @ w.T + x @ v.T)
    assert sorted(s.routine for s in found) == ["finished", "matmul"]


@needs_compiler
def test_an_epilogue_compiles_without_spills():
    p, b, r = product()
    program = compiler.compile_graph(((F.silu(p + b) * r).node,), CUDA)
    (call,) = program.plan.steps
    assert isinstance(call.spec, FinishedSpec) and call.printed is not None and call.printed.alone is not None
    assert call.printed.sizes == (1024 * 512 * 2, 768 * 512 * 2, 768 * 2, 1024 * 768 * 2, 1024 * 768 * 2)
    code = next(c for t, c in codes(call.spec) if t.columns == 192)
    options = code.options((9, 0))
    ptx = cuda_compile.ptx_cuda(code.source, code.name, code.signature, options)
    used = cuda_compile.resources(ptx, cuda_compile.machine(code.signature, options))
    assert used["spills"] == used["local"] == 0
