"""Convolutions and their gradients by cuDNN, beside the operator's own meaning in float64."""

import numpy as np
import pytest

import flame
from flame import compiler
from flame.ir.graph import toposort
from flame.ir.interp import interpret
from flame.nn import functional as F
from flame.runtime import choice, lib_cudnn

pytestmark = pytest.mark.gpu

CASES = {
    "3x3": ("conv2d", (4, 16, 12, 14), (24, 16, 3, 3), {"padding": 1}),
    "stride": ("conv2d", (4, 16, 13, 14), (24, 16, 3, 3), {"padding": 1, "stride": 2}),
    "dilated": ("conv2d", (2, 8, 15, 16), (8, 8, 3, 3), {"padding": 2, "dilation": 2}),
    "grouped": ("conv2d", (2, 16, 9, 9), (32, 4, 3, 3), {"padding": 1, "groups": 4}),
    "depthwise": ("conv2d", (2, 16, 9, 9), (16, 1, 3, 3), {"padding": 1, "groups": 16}),
    "odd": ("conv2d", (3, 5, 7, 9), (3, 5, 2, 4), {"padding": (2, 1), "stride": (2, 3)}),
    "same": ("conv2d", (2, 8, 9, 9), (8, 8, 4, 4), {"padding": "same"}),
    "1x1": ("conv2d", (2, 16, 9, 9), (32, 16, 1, 1), {}),
    "1d": ("conv1d", (2, 8, 33), (16, 8, 5), {"padding": 2, "stride": 2}),
    "3d": ("conv3d", (2, 8, 5, 6, 7), (16, 8, 3, 3, 3), {"padding": 1}),
    "transposed": ("conv_transpose2d", (2, 16, 6, 7), (16, 8, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    "transposed1d": ("conv_transpose1d", (2, 16, 9), (16, 8, 4), {"stride": 3, "dilation": 2}),
    "transposed groups": ("conv_transpose2d", (2, 16, 6, 7), (16, 4, 3, 3), {"stride": 2, "groups": 4}),
}
ERROR = {"float64": 1e-12, "float32": 1e-5, "bfloat16": 2e-2, "float16": 3e-3}


@pytest.fixture(autouse=True)
def _library():
    if not lib_cudnn.available():
        pytest.skip(lib_cudnn.why_not())


def loss_of(name: str, x: flame.Tensor, w: flame.Tensor, options) -> flame.Tensor:
    y = getattr(F, name)(x, w, **options)
    return (y.float() if y.dtype.size < 4 else y).square().mean()


def performed(name: str, x: np.ndarray, w: np.ndarray, options, kind) -> list[flame.Tensor]:
    """The result and both gradients of its square's mean, pending."""
    tx, tw = (flame.tensor(a, device="cuda").to(kind).detach().requires_grad_() for a in (x, w))
    loss_of(name, tx, tw, options).backward()
    return [getattr(F, name)(tx, tw, **options), tx.grad, tw.grad]


def meant(name: str, x: np.ndarray, w: np.ndarray, options) -> list[np.ndarray]:
    """The same by the oracle."""
    tx, tw = (flame.tensor(a, device="cpu").requires_grad_() for a in (x, w))
    loss_of(name, tx, tw, options).backward()
    roots = [getattr(F, name)(tx, tw, **options).node, tx.grad.node, tw.grad.node]
    return list(interpret(tuple(roots), {tx.node: x, tw.node: w}))


@pytest.mark.parametrize("dtype", list(ERROR))
def test_convolutions_and_gradients(dtype: str) -> None:
    """All cases in one plan: their kernels compile side by side."""
    kind, jobs = getattr(flame, dtype), {}
    for case, (name, x_shape, w_shape, options) in CASES.items():
        rng = np.random.default_rng(0)
        x, w = (rng.standard_normal(s).astype(kind.numpy).astype(np.float64) for s in (x_shape, w_shape))
        jobs[case] = performed(name, x, w, options, kind), (name, x, w, options)
    seen: list[compiler.Program] = []
    compiler.listeners.append(seen.append)
    try:
        with flame.config(choices="first"):
            flame.realize(*(t for made, _ in jobs.values() for t in made))
    finally:
        compiler.listeners.remove(seen.append)
    assert {n["routine"] for p in seen for n in toposort(p.optimized) if n.op.name == "call"} == {"convolution"}
    wrong = {}
    for case, (made, given) in jobs.items():
        for what, a, b in zip(("y", "x", "w"), (t.double().numpy() for t in made), meant(*given), strict=True):
            if not np.abs(a - b).max() <= ERROR[dtype] * np.abs(b).max():
                wrong[case, what] = np.abs(a - b).max(), np.abs(b).max()
    assert not wrong


def test_what_cudnn_declines_runs_decomposed() -> None:
    x, w = flame.randn(2, 4, 8, 8, device="cuda"), flame.randn(4, 4, 3, 3, device="cuda")
    device = flame.device("cuda")
    before, calls = device.target, lib_cudnn._planned
    try:

        def refuse(spec, *rest):
            raise choice.DeclinedError(spec, "no")

        lib_cudnn._planned = refuse
        with flame.config(reuse=False):
            got = F.conv2d(x, w).numpy()
        assert len(device.target.declined) == len(before.declined) + 1
    finally:
        lib_cudnn._planned, device.target = calls, before
    np.testing.assert_allclose(got, F.conv2d(x.cpu(), w.cpu()).numpy(), rtol=1e-4, atol=1e-4)


def test_a_choice_is_made_once_and_remembered() -> None:
    x, w = flame.randn(2, 32, 16, 16, device="cuda"), flame.randn(32, 32, 3, 3, device="cuda")
    F.conv2d(x.half(), w.half()).realize()
    made = [c for (device, routine, _), c in choice._known.items() if routine == "convolution"]
    assert made
    assert any(len(c.times) > 1 and c.best == min(c.times, key=c.times.get) for c in made)


def test_tf32_is_coarser_and_asked_for() -> None:
    rng = np.random.default_rng(0)
    x, w = (
        rng.standard_normal((4, 64, 16, 16)).astype(np.float32),
        rng.standard_normal((64, 64, 3, 3)).astype(np.float32),
    )
    exact = F.conv2d(flame.tensor(x, device="cpu").double(), flame.tensor(w, device="cpu").double()).numpy()
    errors = {}
    for tf32 in (False, True):
        with flame.config(tf32=tf32):
            got = F.conv2d(flame.tensor(x, device="cuda"), flame.tensor(w, device="cuda")).numpy()
        errors[tf32] = np.abs(got - exact).max() / np.abs(exact).max()
    assert errors[False] < 1e-5 < errors[True] < 1e-2
