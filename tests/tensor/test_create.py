"""Creation: what PyTorch has too is in tests/surface/of_create.py."""

import numpy as np
import pytest

import flame
from flame.errors import GradError


@pytest.fixture
def double():
    before = flame.get_default_dtype()
    flame.set_default_dtype(flame.float64)
    yield
    flame.set_default_dtype(before)


def test_the_default_dtype_is_that_of_what_says_none(double):
    assert flame.get_default_dtype() is flame.float64
    made = (
        flame.zeros(2), flame.ones(2), flame.empty(2), flame.tensor(1.5), flame.full((2,), 0.5), flame.arange(2.0),
        flame.linspace(0, 1, 3), flame.logspace(0, 1, 3), flame.eye(2), flame.scalar_tensor(1), flame.arange(3) * 0.5,
        flame.arange(3) / 2, flame.arange(3).sin(), flame.arange(1, 3).digamma(), flame.rand(2), flame.randn(2),
        flame.hann_window(3), flame.nn.Linear(2, 2).weight,
    )  # fmt: skip
    assert {t.dtype for t in made} == {flame.float64}
    assert flame.tensor(np.float32(1)).dtype is flame.float32
    assert (flame.zeros(2, dtype=flame.float32) * 0.5).dtype is flame.float32


def test_made_tensors_are_leaves_of_their_own():
    for make in (flame.zeros, flame.ones, flame.empty):
        a, b = make(2, requires_grad=True), make(2, requires_grad=True)
        (a * 2 + b * 3).sum().backward()
        assert a.grad.tolist() == [2, 2] and b.grad.tolist() == [3, 3]
    x = flame.zeros(2)
    for made in (
        flame.zeros_like(x, requires_grad=True), x.new_ones(2, requires_grad=True), flame.eye(2, requires_grad=True),
        flame.linspace(0, 1, 2, requires_grad=True), flame.arange(2.0, requires_grad=True),
    ):  # fmt: skip
        assert made.is_leaf and made.requires_grad
    with pytest.raises(GradError, match="floating"):
        flame.arange(3, requires_grad=True)


def test_a_copy_of_a_tensor_is_no_view_of_it():
    x = flame.tensor([1.0, 2.0])
    y = flame.tensor(x)
    x += 1
    assert y.tolist() == [1, 2] and flame.as_tensor(x) is not None


def test_ends_of_linspace_are_met_exactly():
    x = flame.linspace(0.1, 0.7, 7, dtype=flame.float64)
    assert (x[0].item(), x[-1].item()) == (0.1, 0.7)
