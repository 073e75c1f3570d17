"""Attention by cuDNN, forward and backward, beside the operator's own meaning in float64."""

from collections import Counter

import numpy as np
import pytest

import flame
from flame import compiler, nn
from flame.ir.interp import interpret
from flame.ir.plan import Call
from flame.nn import functional as F
from flame.runtime import cuda, lib_cudnn, lib_cudnn_attention

pytestmark = pytest.mark.gpu
ERROR = {"bfloat16": 2e-2, "float16": 3e-3}


@pytest.fixture(autouse=True)
def _library():
    if not lib_cudnn.available():
        pytest.skip(lib_cudnn.why_not())


def case(name: str):
    """(q, k, v) shapes, what else is given, and a mask as an array."""
    rng = np.random.default_rng(7)
    some = rng.random((2, 1, 40, 56)) < 0.7
    some[0, 0, 3] = False  # a query that sees nothing
    return {
        "self": ([(2, 4, 64, 64)] * 3, {}, None),
        "causal": ([(2, 4, 70, 64)] * 3, {"is_causal": True}, None),
        "cross": ([(2, 4, 40, 64), (2, 4, 77, 64), (2, 4, 77, 64)], {}, None),
        "values": ([(2, 4, 40, 64), (2, 4, 56, 64), (2, 4, 56, 32)], {"scale": 0.3}, None),
        "shared": ([(2, 8, 48, 64), (2, 2, 48, 64), (2, 2, 48, 64)], {"enable_gqa": True, "is_causal": True}, None),
        "narrow": ([(2, 3, 33, 40)] * 3, {}, None),
        "wide": ([(1, 2, 48, 128)] * 3, {"is_causal": True}, None),
        "boolean": ([(2, 4, 40, 64), (2, 4, 56, 64), (2, 4, 56, 64)], {}, some),
        "added": ([(2, 4, 40, 64), (2, 4, 56, 64), (2, 4, 56, 64)], {}, rng.standard_normal((4, 40, 56))),
        "keys": ([(2, 4, 40, 64), (2, 4, 56, 64), (2, 4, 56, 64)], {}, np.arange(56) < np.array([[[[20]]], [[[56]]]])),
        "three axes": ([(4, 64, 64)] * 3, {}, None),
    }[name]


CASES = (["self", "causal", "cross", "values", "shared", "narrow", "wide", "boolean", "added", "keys"]) + ["three axes"]


def pending(arrays, options, mask, device: str, kind) -> tuple[list[flame.Tensor], dict]:
    """The result and its gradients of a weighted sum, and the arrays behind its leaves."""
    leaves = [flame.tensor(a, device=device).to(kind).detach().requires_grad_() for a in arrays]
    weight = np.random.default_rng(1).standard_normal((*arrays[0].shape[:-1], arrays[2].shape[-1]))
    given = [None if a is None else flame.tensor(a, device=device) for a in (mask, weight)]
    given = [t.to(kind) if t is not None and t.dtype.is_float else t for t in given]
    y = F.scaled_dot_product_attention(*leaves, attn_mask=given[0], **options)
    (y * given[1]).sum().backward()
    known = zip((*leaves, *given), (*arrays, mask, weight), strict=True)
    return [y, *(t.grad for t in leaves)], {t.node: a for t, a in known if t is not None}


def rounded(arrays, kind) -> list[np.ndarray | None]:
    """Values that the dtype has, in float64."""
    floating = (a if a is None or a.dtype == bool else a.astype(kind.numpy).astype(np.float64) for a in arrays)
    return list(floating)


@pytest.mark.parametrize("dtype", list(ERROR))
def test_attention_and_gradients(dtype: str) -> None:
    """All cases in one plan."""
    kind, jobs = getattr(flame, dtype), {}
    for name in CASES if dtype == "bfloat16" else ("causal", "boolean"):
        shapes, options, mask = case(name)
        rng = np.random.default_rng(0)
        *arrays, mask = rounded([*(rng.standard_normal(s) for s in shapes), mask], kind)
        jobs[name] = pending(arrays, options, mask, "cuda", kind)[0], (arrays, options, mask)
    calls = counted(*(t for made, _ in jobs.values() for t in made))
    assert calls == {"attention": len(jobs), "attention_grad": len(jobs)}
    wrong = {}
    for name, (made, given) in jobs.items():
        wanted, values = pending(*given, "cpu", flame.float64)
        want = interpret(tuple(t.node for t in wanted), values)
        for what, a, b in zip(("out", "q", "k", "v"), (t.double().numpy() for t in made), want, strict=True):
            if not np.abs(a - b).max() <= ERROR[dtype] * np.abs(b).max():
                wrong[name, what] = np.abs(a - b).max(), np.abs(b).max()
    assert not wrong


def counted(*tensors: flame.Tensor) -> Counter:
    """Realize; how often each routine of a library is called."""
    seen: list[compiler.Program] = []
    compiler.listeners.append(seen.append)
    try:
        with flame.config(choices="first"):
            flame.realize(*tensors)
    finally:
        compiler.listeners.remove(seen.append)
    return Counter(s.routine for p in seen for s in p.plan.steps if isinstance(s, Call))


def bits(arrays, options) -> list[np.ndarray]:
    made = pending(arrays, options, None, "cuda", flame.bfloat16)[0]
    flame.realize(*made)
    return [t.double().numpy() for t in made]


def test_a_gradient_in_pieces_is_the_whole() -> None:
    arrays = [np.random.default_rng(i).standard_normal((2, h, 512, 64)) for i, h in enumerate((4, 2, 2))]
    found, limit = [], lib_cudnn_attention.PIECE
    for piece in (limit, 4 * 512 * 64 * 2 * 2):
        lib_cudnn_attention.PIECE = piece
        try:
            flame.values._ready.clear()
            found.append(bits(arrays, {"enable_gqa": True}))
        finally:
            lib_cudnn_attention.PIECE = limit
    for whole, pieces in zip(*found, strict=True):
        np.testing.assert_allclose(whole, pieces, rtol=1e-2, atol=1e-2)


def test_gradients_are_the_same_bits_every_time() -> None:
    arrays = [np.random.default_rng(i).standard_normal((2, 8, 1024, 64)) for i in range(3)]
    first, second = (bits(arrays, {"is_causal": True}) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_memory_grows_with_the_length_alone() -> None:
    x = flame.randn(1, 16, 8192, 64, device="cuda").bfloat16().realize()
    q, k, v = (x.clone().detach().requires_grad_() for _ in range(3))
    F.scaled_dot_product_attention(q, k, v, is_causal=True).sum().backward()
    flame.cuda.reset_peak_memory_stats()
    before = flame.cuda.memory_allocated()
    flame.realize(q.grad, k.grad, v.grad)
    most = lib_cudnn_attention.PIECE + 10 * x.nbytes  # the workspace of a piece, and values as large as x
    assert flame.cuda.max_memory_allocated() - before < most < 16 * 8192 * 8192, "less than a byte for each score"


def test_layers_reach_it() -> None:
    for layer, length in ((nn.MultiheadAttention, 32), (nn.FlashAttention, 48)):  # of one length they are one plan
        attend = layer(64, 4, batch_first=True, device="cuda").bfloat16()
        x = flame.randn(2, length, 64, device="cuda").bfloat16().detach().requires_grad_()
        attend(x, x, x, need_weights=False, is_causal=True)[0].sum().backward()
        calls = counted(x.grad, *(p.grad for p in attend.parameters()))
        assert calls["attention"] == calls["attention_grad"] == 1
        assert all(float(p.grad.float().abs().max()) > 0 for n, p in attend.named_parameters() if "bias" not in n)


def test_forward_and_backward_apart_attend_once() -> None:
    x = flame.randn(1, 4, 64, 64, device="cuda").bfloat16().detach().requires_grad_()
    seen: list[compiler.Program] = []
    compiler.listeners.append(seen.append)
    try:
        loss = F.scaled_dot_product_attention(x, x, x).float().square().sum()
        loss.item()
        loss.backward()
        x.grad.realize()
    finally:
        compiler.listeners.remove(seen.append)
    calls = [s.routine for p in seen for s in p.plan.steps if hasattr(s, "routine")]
    assert sorted(calls) == ["attention", "attention_grad"]


def test_calls_can_be_recorded() -> None:
    x = flame.randn(1, 4, 64, 64, device="cuda").bfloat16().detach().requires_grad_()
    w = flame.randn(8, 4, 3, 3, device="cuda").bfloat16()
    seen: list[compiler.Program] = []
    compiler.listeners.append(seen.append)
    try:
        y = F.scaled_dot_product_attention(x, x, x)
        F.conv2d(y, w, padding=1).sum().backward()
        x.grad.realize()
    finally:
        compiler.listeners.remove(seen.append)
    device = flame.device("cuda")
    program = seen[-1]
    executable = flame.runtime.execute.Executable(program.plan, program.codes, device)
    leaves = [flame.values.get(x.detach().node), flame.values.get(w.node)]
    if len(program.plan.leaves) != 2:
        pytest.skip("the plan has other leaves")
    sizes = [program.plan.slots[s].nbytes for s in program.plan.leaves]
    leaves = sorted(leaves, key=lambda b: sizes.index(b.nbytes))
    executable.run(leaves)
    device.synchronize()
    with cuda.record(device.stream) as graphs:
        out = executable.run(leaves)
    graphs[0].launch(device.stream)
    device.synchronize()
    assert out
