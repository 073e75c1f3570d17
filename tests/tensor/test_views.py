"""Views that PyTorch has not, and products of views."""

import numpy as np
import pytest

import flame
from tests.support import compiled


def data(*shape):
    return np.random.default_rng(shape).standard_normal(shape)


def test_slices_step_backwards_as_numpys():
    """PyTorch refuses negative steps; NumPy's meaning stands."""
    x = data(7, 5)
    mine = flame.tensor(x, requires_grad=True)
    for key in ((slice(None, None, -1),), (slice(5, 1, -2), slice(None, None, -3)), (slice(None), slice(1, None, -1))):
        np.testing.assert_array_equal(mine[key].detach().numpy(), x[key])
    (mine[::-2] * flame.arange(4).unsqueeze(1)).sum().backward()
    expected = np.zeros((7, 5))
    expected[::-2] += np.arange(4)[:, None]
    np.testing.assert_array_equal(mine.grad.numpy(), expected)


PRODUCTS = {
    "transposed": lambda x, y: x @ x.swapaxes(-1, -2),
    "both": lambda x, y: x.swapaxes(-1, -2) @ y.swapaxes(-1, -2),
    "sliced": lambda x, y: x[::2, 1:] @ y[1::2, :, :3],
    "flipped": lambda x, y: x[:, ::-1] @ y[:, :, ::-1],
    "expanded": lambda x, y: x[:1] @ y,
    "permuted": lambda x, y: x.swapaxes(0, 2) @ y.swapaxes(0, 1)[:4, :, :3],
    "twice": lambda x, y: (x @ y) @ (x @ y),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_of_views(name):
    x, y = data(6, 5, 4), data(6, 4, 5)
    found = PRODUCTS[name](flame.tensor(x), flame.tensor(y)).numpy()
    np.testing.assert_allclose(found, PRODUCTS[name](x, y), rtol=1e-12, atol=1e-12)


def test_a_contraction_of_any_labels_is_one_matrix_product():
    x, y = flame.tensor(data(2, 3, 4, 5)), flame.tensor(data(2, 5, 3, 6))
    made = flame.einsum("bhqd,bdhk->bqk", x, y)
    program = compiled((made.node,), flame.device("cpu").target)
    assert [s.routine for s in program.plan.steps if hasattr(s, "routine")] == ["matmul"]
    np.testing.assert_allclose(made.numpy(), np.einsum("bhqd,bdhk->bqk", x.numpy(), y.numpy()), rtol=1e-12)


def test_chains_are_multiplied_in_the_cheapest_order():
    a, b, c = (flame.tensor(data(*s)) for s in ((50, 2), (2, 50), (50, 2)))
    made = flame.linalg.multi_dot([a, b, c])
    shapes = [n.shape for n in made.node.src] if made.node.op.name == "matmul" else []
    assert shapes == [(50, 2), (2, 2)]


@pytest.mark.parametrize("name", ["diagonal", "reshape", "permute", "flip", "slice", "expand"])
def test_views_of_what_is_in_memory_are_no_kernels(name):
    """A product reads them in place: nothing is launched before it."""
    x = flame.tensor(data(6, 6))
    views = {
        "diagonal": lambda: x.diagonal(1).unsqueeze(1),
        "reshape": lambda: x.reshape(9, 4),
        "permute": lambda: x.T,
        "flip": lambda: x.flip(0).flip(0),
        "slice": lambda: x[1:3, ::2],
        "expand": lambda: x[:1].expand(4, 6),
    }
    view = views[name]()
    made = flame.matmul(view, flame.tensor(data(view.shape[1], 3)))
    program = compiled((made.node,), flame.device("cpu").target)
    copies = len(program.plan.steps) - 1
    assert copies == (1 if name in ("slice", "expand") else 0), program.plan.steps
