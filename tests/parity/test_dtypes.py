"""What dtype an operation has, conversions between dtypes, and answers that are Python's: beside PyTorch's."""

import itertools

import numpy as np
import pytest

import flame
from flame.errors import DTypeError, ShapeError
from tests.parity.both import ALL, name_of, ours, theirs, torch

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("left", ALL)
def test_result_types_and_casts(left):
    for right in ALL:
        a, b = getattr(torch, left), getattr(torch, right)
        c, d = getattr(flame, left), getattr(flame, right)
        assert flame.can_cast(c, d) == torch.can_cast(a, b), (left, right)
        for m, n in itertools.product((0, 1), repeat=2):
            x, y = ours(np.ones((1,) * m), left), ours(np.ones((1,) * n), right)
            u, v = theirs(np.ones((1,) * m), left), theirs(np.ones((1,) * n), right)
            assert str(flame.result_type(x, y)) == name_of(torch.result_type(u, v)), (left, right, m, n)
    for number in (True, 2, 2.5):
        x, u = ours(np.ones(1), left), theirs(np.ones(1), left)
        assert str(flame.result_type(x, number)) == name_of(torch.result_type(u, number))
        assert str(flame.result_type(number, x)) == name_of(torch.result_type(number, u))
    one = ours(np.ones(1), left)
    assert one.is_signed() == theirs(np.ones(1), left).is_signed() and not flame.is_complex(one) and one.is_nonzero()
    assert flame.is_floating_point(ours(np.ones(1), left)) == torch.is_floating_point(theirs(np.ones(1), left))


def test_to_takes_what_pytorchs_takes():
    x = flame.tensor([1.5, 2.5])
    assert x.to(flame.float32) is x and x.to("cpu") is x and x.to(x) is x and x.to() is x
    assert x.to(flame.float32, copy=True) is not x and x.to(flame.float32, False, True) is not x
    assert x.to("cpu", flame.int64, non_blocking=True).tolist() == [1, 2]
    assert x.to(None, flame.int8).dtype is flame.int8
    assert x.to(device="cpu", dtype=flame.float64).dtype is flame.float64
    assert x.type(flame.float16).dtype is flame.float16 and x.type() == "flame.float32"
    assert x.type_as(flame.tensor([1])).tolist() == [1, 2]
    with pytest.raises(DTypeError, match="type: 'torch.FloatTensor' is no dtype"):
        x.type("torch.FloatTensor")
    with pytest.raises(DTypeError, match="to: 3"):
        x.to(3)


def test_a_copy_carries_gradients():
    x = flame.tensor([1.5, 2.5], requires_grad=True)
    x.to(flame.float32, copy=True).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [1, 1]


@pytest.mark.parametrize("right", [[1.0, 2.0], [1.0, 2.00001], [1.0, float("nan")], [2.0, 1.0], [1.0, float("inf")]])
def test_equal_and_allclose(right):
    left = [1.0, 2.0]
    for a, b in ((left, right), (right, right), (right, left)):
        x, y, u, v = flame.tensor(a), flame.tensor(b), torch.tensor(a), torch.tensor(b)
        assert flame.equal(x, y) is torch.equal(u, v) and x.equal(y) is u.equal(v)
        for options in ({}, {"rtol": 0.0, "atol": 0.0}, {"equal_nan": True}, {"rtol": 1e-3, "atol": 1e-3}):
            assert flame.allclose(x, y, **options) is torch.allclose(u, v, **options), (a, b, options)
    assert flame.equal(flame.ones(2), flame.ones(3)) is False
    with pytest.raises(ShapeError):
        flame.allclose(flame.ones(2), flame.ones(3))


def test_divmod_is_pythons():
    for a, b in itertools.product((7, -7), (3, -3)):
        quotient, rest = divmod(flame.tensor(a), b)
        assert (quotient.item(), rest.item()) == divmod(a, b)
        quotient, rest = divmod(a, flame.tensor(b))
        assert (quotient.item(), rest.item()) == divmod(a, b)


def test_integers_by_zero_give_zero_on_the_device():
    x, zero = flame.tensor([7, -7, 0]), flame.tensor([0, 0, 0])
    for found in (x // zero, x % zero, flame.fmod(x, zero), flame.div(x, zero, rounding_mode="trunc")):
        assert found.tolist() == [0, 0, 0]
    for act in (lambda: x // 0, lambda: x % 0, lambda: flame.fmod(x, 0), lambda: divmod(x, False)):
        with pytest.raises(ZeroDivisionError, match="by 0"):
            act()


def test_where_alone_lists_the_true_places():
    c = np.array([[True, False], [True, True]])
    mine, other = flame.where(flame.tensor(c)), torch.where(torch.tensor(c))
    assert [t.tolist() for t in mine] == [t.tolist() for t in other]
