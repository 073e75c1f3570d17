"""Long folds that look twice at each element: part by part they give what whole ones give, gradients included."""

import numpy as np
import pytest

import flame
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ops.nested import in_parts
from flame.tensor import new
from tests.support import kernels

SHAPES = [((2048, 24), 0), ((3, 1024, 9), 1), ((1 << 17,), 0), ((2, 1 << 17), 1), ((6, 5, 16, 16), (0, 2, 3))]
WHOLE = [((2039, 24), 0), ((70001,), 0), ((64, 512), 1), ((4096, 64), 1)]


def tensor(shape, grad=False):
    data = np.random.default_rng(0).standard_normal(shape) + 100
    return data, flame.tensor(data, requires_grad=grad)


@pytest.mark.parametrize(("shape", "dim"), SHAPES, ids=str)
def test_parts_exist_and_variances_agree(shape, dim):
    data, x = tensor(shape, grad=True)
    over = dim if isinstance(dim, tuple) else (dim,)
    assert in_parts(x, over) is not None
    spread = x.var(dim)
    np.testing.assert_allclose(spread.detach().numpy(), data.var(over, ddof=1), rtol=1e-12)
    spread.sum().backward()
    n = np.prod([shape[a] for a in over])
    np.testing.assert_allclose(x.grad.numpy(), 2 * (data - data.mean(over, keepdims=True)) / (n - 1), atol=1e-12)
    assert x.std(dim, keepdim=True).shape == data.std(over, keepdims=True).shape


@pytest.mark.parametrize(("shape", "dim"), WHOLE, ids=str)
def test_short_folds_and_those_without_equal_parts_are_whole(shape, dim):
    data, x = tensor(shape)
    assert in_parts(x, (dim,)) is None
    np.testing.assert_allclose(x.var(dim).numpy(), data.var(dim, ddof=1), rtol=1e-12)
    np.testing.assert_array_equal(x.argmax(dim).numpy(), data.argmax(dim))


@pytest.mark.parametrize(("shape", "dim"), SHAPES[:4], ids=str)
def test_positions_are_the_first_of_all_parts(shape, dim):
    data = np.random.default_rng(0).integers(0, 50, shape).astype(np.float32)  # many are equal
    x = flame.tensor(data)
    np.testing.assert_array_equal(x.argmax(dim).numpy(), data.argmax(dim))
    np.testing.assert_array_equal(x.argmin(dim, keepdim=True).numpy(), np.expand_dims(data.argmin(dim), dim))
    data.flat[[5, data.size // 2, -1]] = np.nan
    np.testing.assert_array_equal(flame.tensor(data).argmax(dim).numpy(), data.argmax(dim))


@pytest.mark.parametrize(("shape", "dim"), SHAPES[:4], ids=str)
def test_logsumexp_of_parts(shape, dim):
    data, x = tensor(shape, grad=True)
    top = data.max(dim, keepdims=True)
    want = np.log(np.exp(data - top).sum(dim, keepdims=True)) + top
    got = x.logsumexp(dim, keepdim=True)
    np.testing.assert_allclose(got.detach().numpy(), want, rtol=1e-12)
    got.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.exp(data - want), rtol=1e-9)


def test_logsumexp_of_parts_with_infinities():
    data = np.full((2048, 4), -np.inf, np.float32)
    data[5, 1], data[1700, 2], data[900, 3] = -1000, np.inf, np.nan
    got = flame.tensor(data).logsumexp(0).numpy()
    np.testing.assert_array_equal(got, np.array([-np.inf, -1000, np.inf, np.nan], np.float32))


@pytest.mark.parametrize("name", ["var", "argmax", "logsumexp"])
@pytest.mark.parametrize(("shape", "dim"), [((16384, 4096), 0), ((1 << 24,), 0), ((64, 2048, 64), 1)], ids=str)
def test_long_folds_read_memory_once(name, shape, dim):
    x = new(nd.leaf(0, shape, dt.float32), flame.device("cpu"))
    first, *rest = kernels((getattr(x, name)(dim).node,))
    assert first.layout.kept and len(rest) == 1, "a part stays in registers; what the parts come to is one more kernel"
