"""A user's own kernels on a GPU: CUDA C++ and numba.cuda, fused around, with gradients, under no_grad."""

import numpy as np
import pytest

import flame
from flame.errors import CompileError, DTypeError

pytestmark = pytest.mark.gpu

SCALE = """
extern "C" __global__ void scale(const float* x, const float* y, double by, float* out, long long n) {
    long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i < n) out[i] = x[i] * y[i] * (float)by;
}
"""
scale = flame.kernel.cuda_c(SCALE, "scale", backward=lambda g, r, x, y, by: (g * y * by, g * x * by, None))


@pytest.fixture
def operands():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 1000)).astype(np.float32)
    return x, y


def on_gpu(a, grad=False):
    return flame.tensor(a, device="cuda", requires_grad=grad)


def test_cuda_c_between_fused_kernels_with_gradients(operands):
    x, y = operands
    a, b = on_gpu(x, True), on_gpu(y, True)
    out = scale(a * 2, b + 1, 3.0).sin()
    np.testing.assert_allclose(out.detach().numpy(), np.sin(2 * x * (y + 1) * 3), rtol=1e-4, atol=1e-5)
    out.sum().backward()
    slope = np.cos(6 * x * (y + 1))
    np.testing.assert_allclose(a.grad.numpy(), slope * 6 * (y + 1), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(b.grad.numpy(), slope * 6 * x, rtol=1e-4, atol=1e-4)
    with flame.no_grad():
        assert not scale(a, b, 1.0).requires_grad


def test_views_are_contiguous_for_the_kernel(operands):
    x = operands[0]
    a = on_gpu(x.reshape(10, 100)).t()[:, ::2]
    got = scale(a, a, 1.0)
    np.testing.assert_allclose(got.numpy(), (x.reshape(10, 100).T[:, ::2]) ** 2, rtol=1e-6)


def test_numba_cuda(operands):
    import numba.cuda

    @flame.kernel.numba(device="cuda", grid=lambda x, k: (-(-x.shape[0] // 8), -(-x.shape[1] // 8)), block=(8, 8))
    def add(x, k, out):
        i, j = numba.cuda.grid(2)
        if i < x.shape[0] and j < x.shape[1]:
            out[i, j] = x[i, j] + k

    x = operands[0].reshape(20, 50)
    np.testing.assert_allclose((add(on_gpu(x) * 2, 0.5) - 1).numpy(), 2 * x - 0.5, rtol=1e-5, atol=1e-6)


def test_wrong_text_and_wrong_dtypes_are_errors_at_the_call(operands):
    a = on_gpu(operands[0])
    with pytest.raises(CompileError, match="missing"):
        flame.kernel.cuda_c(SCALE.replace("y[i]", "missing[i]"), "scale")(a, a, 1.0)
    with pytest.raises(DTypeError, match="points to float32, and is given float64"):
        scale(a, a.double(), 1.0)


def test_validation_warns_and_goes_on(operands):
    a = on_gpu(operands[0])
    with flame.config(validate=True), pytest.warns(UserWarning, match="no oracle checks"):
        np.testing.assert_allclose((scale(a, a, 2.0) + 1).numpy(), operands[0] ** 2 * 2 + 1, rtol=1e-5)


def test_checkpoints_on_a_gpu():
    rng = np.random.default_rng(0)
    x = on_gpu(rng.normal(size=(64, 64)).astype(np.float32), True)
    w = on_gpu(rng.normal(size=(64, 64)).astype(np.float32) / 8, True)
    found = []
    for wrap in (lambda f, t: f(t), flame.checkpoint):
        x.grad = w.grad = None
        wrap(lambda t: scale(t @ w, t, 0.5).tanh() @ w, x).square().mean().backward()
        found.append((x.grad.numpy(), w.grad.numpy()))
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)
