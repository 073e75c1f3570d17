"""Gradients where there is no derivative: at kinks, steps, ties, poles and nan they are PyTorch's choice."""

from math import inf, nan
from typing import Any

import pytest

import flame
from tests.parity.both import Ledger, ours, theirs, torch
from tests.surface.case import functional

pytestmark = pytest.mark.parity

POINTS = [
    -7.0,
    -6.0,
    -3.0,
    -2.5,
    -2.0,
    -1.0,
    -0.5,
    -0.0,
    0.0,
    0.5,
    1.0,
    1.5,
    2.0,
    2.5,
    3.0,
    6.0,
    20.0,
    100.0,
    1e4,
    -1e4,
]
UNARY = {
    "abs", "sign", "sgn", "floor", "ceil", "trunc", "round", "frac", "relu", "sqrt", "rsqrt", "log", "log1p", "log10",
    "reciprocal", "square", "asin", "acos", "atanh", "acosh", "tan", "sinh", "cosh", "tanh", "asinh", "atan", "erf",
    "erfc", "erfinv", "exp", "exp2", "expm1", "sigmoid", "sinc", "nan_to_num", "deg2rad", "neg",
}  # fmt: skip
ACTIVATIONS: dict[str, tuple[Any, ...]] = {
    "relu": (), "relu6": (), "leaky_relu": (0.2,), "elu": (0.5,), "selu": (), "celu": (2.0,), "silu": (), "mish": (),
    "gelu": (), "hardswish": (), "hardsigmoid": (), "hardtanh": (), "hardshrink": (), "softshrink": (),
    "tanhshrink": (), "softsign": (), "softplus": (), "logsigmoid": (), "threshold": (0.5, 2.0), "rrelu": (),
}  # fmt: skip
LIMITS = {
    "clamp": lambda lib, x: lib.clamp(x, -1, 2),
    "clamp crossed": lambda lib, x: lib.clamp(x, 2, -1),
    "clamp min": lambda lib, x: lib.clamp_min(x, 0.5),
    "logit": lambda lib, x: lib.logit(x + 0.0),  # at -0.0 PyTorch's float32 and float64 differ
    "logit eps": lambda lib, x: lib.logit(x, 0.1),
    "power 0": lambda lib, x: x**0,
    "power 1": lambda lib, x: x**1,
    "power half": lambda lib, x: x**0.5,
    "power -1": lambda lib, x: x**-1,
    "power 3": lambda lib, x: x**3,
    "mod": lambda lib, x: x % 2,
    "fmod": lambda lib, x: lib.fmod(x, 2),
}


def gradients(ledger: Ledger, label: str, call: Any, *points: Any, dtype: str = "float64") -> None:
    """Of the sum, on both sides."""
    mine, other = [ours(p, dtype, True) for p in points], [theirs(p, dtype, True) for p in points]
    call(flame, *mine).sum().backward()
    call(torch, *other).sum().backward()
    for i, (a, b) in enumerate(zip(mine, other, strict=True)):
        ledger.add(f"{label} gradient {i}", a.grad, b.grad)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_of_one_number(dtype):
    ledger = Ledger({"float64": 1e-6})  # PyTorch divides hardsigmoid's gradient by 6.0f
    for name in sorted(UNARY):
        gradients(ledger, name, lambda lib, x, n=name: getattr(lib, n)(x), POINTS, dtype=dtype)
    for name, more in ACTIVATIONS.items():
        call = lambda lib, x, n=name, m=more: getattr(functional(lib), n)(x, *m)  # noqa: E731
        gradients(ledger, name, call, POINTS, dtype=dtype)
    for name, call in LIMITS.items():
        gradients(ledger, name, call, POINTS, dtype=dtype)
    ledger.close()


BINARY = ("maximum", "minimum", "fmax", "fmin", "hypot", "atan2", "copysign", "logaddexp", "logaddexp2", "xlogy")


@pytest.mark.parametrize("name", [*BINARY, "remainder", "fmod", "pow", "div", "mul", "clamp_min", "clamp_max"])
def test_of_two_numbers(name):
    values = [0.0, 1.0, -1.0, 2.0, -2.0, 0.5, inf, nan] if name in ("maximum", "minimum", "fmax", "fmin") else [
        0.0, 1.0, -1.0, 2.0, -2.0, 0.5]  # fmt: skip
    pairs = [(a, b) for a in values for b in values]
    ledger = Ledger()
    gradients(ledger, name, lambda lib, a, b: getattr(lib, name)(a, b), *zip(*pairs, strict=True))
    ledger.close()


def test_of_limits_that_are_tensors():
    values = [0.0, 1.0, -1.0, 2.0]
    triples = [(x, a, b) for x in values for a in values for b in values]
    ledger = Ledger()
    gradients(ledger, "clamp", lambda lib, x, a, b: lib.clamp(x, a, b), *zip(*triples, strict=True))
    ledger.close()
