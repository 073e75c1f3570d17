"""A user's own kernels on the CPU: as nodes, with gradients, and what goes wrong with them."""

import numpy as np
import pytest

import flame
from flame import compiler
from flame.errors import CompileError, DeviceError, DTypeError, GradError, ShapeError
from flame.ir.plan import Call, Launch


@flame.kernel.numba
def running(x, out):
    """The running sum."""
    total = 0.0
    for i in range(x.shape[0]):
        total += x[i]
        out[i] = total


def outer_shape(x, y, k):
    if x.dtype is not y.dtype:
        raise DTypeError(f"outer: {x.dtype} and {y.dtype}")
    return (x.shape[0], y.shape[0]), x.dtype


@flame.kernel.numba(out=outer_shape, backward=lambda g, r, x, y, k: ((g * y).sum(1) * k, (g.t() * x).sum(1) * k, None))
def outer(x, y, k, out):
    for i in range(x.shape[0]):
        for j in range(y.shape[0]):
            out[i, j] = x[i] * y[j] * k


def tensor(values, grad=False, dtype=flame.float32):
    return flame.tensor(values, dtype=dtype, requires_grad=grad)


def test_a_kernel_is_a_step_of_the_plan_with_fused_kernels_around_it():
    programs = []
    x = tensor([1.0, 2.0, 4.0])
    compiler.listeners.append(programs.append)
    try:
        for scale in (1.0, 2.0):
            y = running((x * x + 1).sqrt()).exp() * scale
            np.testing.assert_allclose(y.numpy(), np.exp(np.cumsum(np.sqrt(x.numpy() ** 2 + 1))) * scale, rtol=1e-5)
    finally:
        compiler.listeners.remove(programs.append)
    kinds = [type(s) for s in programs[0].plan.steps]
    assert kinds == [Launch, Call, Launch]
    assert running.__doc__ == "The running sum."


@pytest.mark.parametrize("dtype", [flame.float32, flame.float64, flame.int32, flame.int64, flame.int8, flame.uint8])
def test_dtypes(dtype):
    y = running(tensor([3, 1, 2], dtype=dtype))
    assert (y.tolist(), y.dtype) == ([3, 4, 6], dtype)


def test_views_numbers_and_single_elements():
    x = tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert running(x[:, 1]).tolist() == [2.0, 6.0, 12.0]
    assert outer(x[0], x.t()[0].flip(0), 2).tolist() == [[10.0, 6.0, 2.0], [20.0, 12.0, 4.0]]

    @flame.kernel.numba(out=lambda x, s: (x.shape, x.dtype))
    def scaled(x, s, out):
        for i in range(x.size):
            out[i] = x[i] * s[()]

    assert scaled(x[0], x.sum()).tolist() == [21.0, 42.0]
    assert scaled(x[0], flame.scalar(3.0)).tolist() == [3.0, 6.0]

    @flame.kernel.numba(out=lambda x: ((), x.dtype))
    def total(x, out):
        out[()] = x.sum()

    with flame.config(validate=True):
        assert (total(x[1] * 2), scaled(x[0], x.sum() + 1).tolist()) == (14.0, [22.0, 44.0])
    assert total(x[1]).item() == 7.0
    assert (total(x[1]) * 2).shape == ()
    assert running(x[0, :0]).tolist() == []


def test_gradients_and_their_gradients():
    x, y = tensor([1.0, 2.0], True, flame.float64), tensor([3.0, 4.0, 5.0], True, flame.float64)
    loss = (outer(x * 2, y, 3) ** 2).sum()
    gx, gy = flame.autograd.grad(loss, [x, y], create_graph=True)
    a, b = x.detach().numpy(), y.detach().numpy()
    np.testing.assert_allclose(loss.item(), 36 * (a**2).sum() * (b**2).sum())
    np.testing.assert_allclose(gx.detach().numpy(), 72 * a * (b**2).sum())
    np.testing.assert_allclose(gy.detach().numpy(), 72 * b * (a**2).sum())
    (second,) = flame.autograd.grad(gx.sum(), y)
    np.testing.assert_allclose(second.numpy(), 144 * a.sum() * b)


def test_without_a_gradient_asking_for_one_is_an_error_and_no_grad_is_none():
    x = tensor([1.0, 2.0], True)
    y = running(x)
    assert y.requires_grad
    assert y.tolist() == [1.0, 3.0]
    with pytest.raises(GradError, match="kernel running has no gradient; give it backward="):
        y.sum().backward()
    with flame.no_grad():
        assert not running(x).requires_grad
    assert not running(x.detach()).requires_grad


def test_inside_a_checkpoint_and_under_validation():
    x, y = tensor([1.0, 2.0], True), tensor([3.0, 4.0, 5.0])
    with flame.config(validate=True):
        flame.checkpoint(lambda t: outer(t.exp(), y, 1).sin(), x).sum().backward()
        got = x.grad.numpy()
    e = np.exp([1.0, 2.0])
    np.testing.assert_allclose(got, (np.cos(np.outer(e, [3, 4, 5])) * [3, 4, 5]).sum(1) * e, rtol=1e-4)


def test_vmap_says_that_it_cannot():
    with pytest.raises(GradError, match="call has no rule for a batch"):
        flame.vmap(running)(flame.ones(2, 3))


# --- what goes wrong --------------------------------------------------------------------------------------------------
def test_source_that_does_not_compile_is_reported_where_it_stands():
    @flame.kernel.numba
    def wrong(x, out):
        out[0] = undefined_name(x)  # noqa: F821

    line = wrong.function.__code__.co_firstlineno
    with pytest.raises(CompileError, match=rf"kernel wrong \(.*test_kernels.py:{line}\) does not compile") as caught:
        wrong(tensor([1.0]))
    assert "undefined_name" in str(caught.value)


def test_operands_cannot_be_written_to():
    @flame.kernel.numba
    def writes(x, out):
        x[0] = 1.0

    with pytest.raises(CompileError, match="readonly|Cannot modify"):
        writes(tensor([1.0]))


MISUSES = {
    "no tensor": (lambda: running(3.0), DTypeError, "needs at least one tensor"),
    "a list": (lambda: outer(tensor([1.0]), tensor([1.0]), [1]), DTypeError, r"argument 2 is \[1\]"),
    "bfloat16": (lambda: running(tensor([1.0], dtype=flame.bfloat16)), DTypeError, "unknown to numba"),
    "the rule's own error": (
        lambda: outer(tensor([1.0]), tensor([1.0], dtype=flame.float64), 1), DTypeError, "outer: float32 and float64"),
    "a rule that says nothing": (
        lambda: flame.kernel.numba(out=lambda x: x.shape)(lambda x, out: None)(tensor([1.0])), ShapeError, "out= must"),
    "another device": (lambda: flame.kernel.numba(device="tpu"), DTypeError, "choose 'cpu' or 'cuda'"),
    "a kernel for a GPU": (
        lambda: flame.kernel.numba(device="cuda")(lambda x, out: None)(tensor([1.0])), DeviceError, "is for a GPU"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISUSES)
def test_misuse_is_an_error_at_the_call(name):
    run, error, message = MISUSES[name]
    with pytest.raises(error, match=message):
        run()
