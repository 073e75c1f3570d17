"""Gradients of gradients: autograd's create_graph beside PyTorch's, and flame.grad nested."""

import numpy as np
import pytest

import flame
from tests.parity.both import Ledger, data, ours, theirs, torch

pytestmark = pytest.mark.parity

FUNCTIONS = {
    "exp": lambda lib, x: lib.exp(x * x),
    "tanh": lambda lib, x: lib.tanh(x),
    "sigmoid": lambda lib, x: lib.sigmoid(x) * x,
    "div": lambda lib, x: x / (1 + x * x),
    "power": lambda lib, x: x**3,
    "rsqrt": lambda lib, x: lib.rsqrt(1 + x * x),
    "erf": lambda lib, x: lib.erf(x),
    "where": lambda lib, x: lib.where(x > 0, x * x, -x * x * x),
    "softmax": lambda lib, x: lib.softmax(x, -1) ** 2,
    "log_softmax": lambda lib, x: lib.log_softmax(x, 0) * x,
    "logsumexp": lambda lib, x: lib.logsumexp(x, 1),
    "var": lambda lib, x: lib.var(x, 1),
    "norm": lambda lib, x: (x - x.mean(-1, keepdim=True)) * lib.rsqrt(lib.var(x, -1, keepdim=True) + 1e-3),
    "matmul": lambda lib, x: (x @ x.mT) ** 2,
    "batched": lambda lib, x: lib.tanh(x.reshape(2, 2, 3) @ x.reshape(2, 3, 2)),
    "gather": lambda lib, x: x[[0, 1, 1]] ** 3,
    "slice": lambda lib, x: x[1:, ::2] ** 3,
    "cat": lambda lib, x: lib.cat([x * x, x], 1) ** 2,
    "amax": lambda lib, x: lib.amax(x, 1) ** 3,
    "maximum": lambda lib, x: lib.maximum(x, x * x) ** 2,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_gradient_of_a_gradient(name):
    call, array = FUNCTIONS[name], data((4, 3), "float64", low=-1.5, high=1.5)
    ledger = Ledger()
    x, z = ours(array, "float64", True), theirs(array, "float64", True)
    call(flame, x).sum().backward(create_graph=True)
    first = x.grad
    (g,) = torch.autograd.grad(call(torch, z).sum(), z, create_graph=True)
    ledger.add("first", first, g)
    x.grad = None
    (first * first).sum().backward()
    (second,) = torch.autograd.grad((g * g).sum(), z)
    ledger.add("second", x.grad, second)
    nested = flame.grad(lambda t: (flame.grad(lambda s: call(flame, s).sum())(t) ** 2).sum())
    ledger.add("nested", nested(ours(array, "float64")), second)
    ledger.close()


def test_values_and_gradients_of_several_arguments():
    a, b = data((3, 4), "float64"), data((4,), "float64", seed=1)
    value, (left, right) = flame.value_and_grad(lambda x, y: (x * y).sin().sum(), (0, 1))(
        ours(a, "float64"), ours(b, "float64")
    )
    np.testing.assert_allclose(value.item(), np.sin(a * b).sum())
    np.testing.assert_allclose(left.numpy(), np.cos(a * b) * b)
    np.testing.assert_allclose(right.numpy(), (np.cos(a * b) * a).sum(0))
