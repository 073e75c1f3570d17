"""Every elementwise method with an underscore: the handle takes the function's result, and no other handle changes."""

import operator
from typing import Any

import numpy as np
import pytest

import flame
from flame.errors import DTypeError, GradError, ShapeError
from flame.ops.place import ELEMENTWISE, SIGNS
from tests.surface.sides import interpreted

INTEGERS = ("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift", "gcd", "lcm")
TWO = (
    "add", "arctan2", "atan2", "copysign", "div", "divide", "eq", "floor_divide", "fmod", "ge", "greater", "le",
    "greater_equal", "gt", "heaviside", "hypot", "less", "less_equal", "logical_and", "logical_or", "logical_xor", "lt",
    "mul", "multiply", "ne", "nextafter", "not_equal", "pow", "remainder", "sub", "subtract", "true_divide", "xlogy",
    "ldexp", "float_power", *INTEGERS,
)  # fmt: skip
MORE: dict[str, tuple[Any, ...]] = {"clamp": (0.2, 0.6), "clip": (0.2, 0.6), "clamp_min": (0.4,), "clamp_max": (0.4,)}


def arguments(name: str) -> tuple[flame.Tensor, tuple[Any, ...]]:
    whole = name in INTEGERS or name == "bitwise_not"
    x = flame.tensor([3, 5, 6]) if whole else flame.tensor([0.25, 0.5, 0.75], dtype=flame.float64)
    other = flame.tensor([2, 1, 3]) if whole else flame.tensor([0.5, 0.25, 0.75], dtype=flame.float64)
    match name:
        case "addcdiv" | "addcmul":
            return x, (other, other)
        case "lerp":
            return x, (other, 0.25)
        case "masked_fill":
            return x, (flame.tensor([True, False, True]), 9.0)
    return x, MORE.get(name, (other,) if name in TWO else ())


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_the_handle_takes_the_result(name):
    x, more = arguments(name)
    before, kind = x.numpy(), x.dtype
    other = x.clone()
    with interpreted():
        want = getattr(x, name)(*more).numpy()
        assert getattr(x, f"{name}_")(*more) is x
        np.testing.assert_allclose(x.numpy(), want.astype(before.dtype), rtol=1e-15)
    assert x.dtype is kind
    np.testing.assert_array_equal(other.numpy(), before)


@pytest.mark.parametrize("name", SIGNS)
def test_augmented_assignments(name):
    x = y = flame.tensor([5, 6, 7]) if name.startswith("bitwise") else flame.tensor([5.0, 6.0, 7.0])
    operate = getattr(operator, SIGNS[name])
    with interpreted():
        want = getattr(x, name)(2).numpy()
        x = operate(x, 2)
        assert x is y
        np.testing.assert_array_equal(y.numpy(), want)


def test_a_result_that_does_not_fit_is_refused():
    x = flame.tensor([1, 2, 3])
    with pytest.raises(DTypeError, match=r"exp_\(\) gives float32, which int64 cannot hold"):
        x.exp_()
    with pytest.raises(ShapeError, match=r"add_\(\)"):
        x.add_(flame.ones(2, 3, dtype=flame.int64))
    with pytest.raises(GradError, match=r"sin_\(\) on a leaf"):
        flame.tensor([1.0], requires_grad=True).sin_()


def test_gradients_flow_through_what_is_changed_in_place():
    x = flame.tensor([1.0, 2.0], requires_grad=True)
    y = x * 3
    y.square_().mul_(2)
    y.sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), [36, 72])
