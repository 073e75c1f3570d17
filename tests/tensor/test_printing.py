"""repr and format of tensors, letter by letter PyTorch's."""

import math

import numpy as np
import pytest

import flame
from flame.errors import ConfigError

torch = pytest.importorskip("torch", reason="parity needs torch==2.13.0: pip install -e '.[parity]'")
pytestmark = pytest.mark.parity

NAN, INF = math.nan, math.inf
rng = np.random.default_rng(3)
VALUES = {
    "0-d": 1.5,
    "0-d whole": 3.0,
    "0-d integer": -7,
    "0-d truth": True,
    "fractions": [0.1, -2.25, 30.5],
    "whole": [1.0, -20.0, 300.0],
    "whole and not finite": [1.0, NAN, INF, -INF],
    "only nan": [NAN, NAN],
    "nan and zero": [[NAN, 0.0], [-0.0, INF]],
    "large and small": [1e-5, 1.0],
    "large": [2.5e8, 1.0, -3.0],
    "whole, scientific": [1e9, 1.0],
    "small": [1e-5, 2e-5],
    "a thousand": [1.0, 1000.0],
    "beyond a thousand": [1.5, 1600.0],
    "zeros": [0.0, 0.0],
    "integers": [[1, -200], [3, 4]],
    "truths": [[True, False], [False, True]],
    "three dimensions": np.arange(24).reshape(2, 3, 4) / 7,
    "four dimensions": np.arange(24).reshape(2, 1, 3, 4),
    "long rows": rng.normal(size=40),
    "long rows of a matrix": rng.normal(size=(3, 25)),
    "long integers": np.arange(100) * 1000,
    "as many as the threshold": np.arange(1000.0),
    "beyond the threshold": np.arange(1001.0),
    "cut matrix": np.arange(2000.0).reshape(40, 50) / 3,
    "cut in one dimension": np.arange(2000).reshape(5, 400),
    "cut cube": rng.normal(size=(11, 12, 13)),
    "narrow and long": np.arange(3000).reshape(1500, 2),
    "empty": np.zeros(0),
    "empty matrix": np.zeros((0, 3)),
    "empty in the middle": np.zeros((2, 0, 3)),
}
OPTIONS = [
    {},
    {"precision": 2},
    {"precision": 8, "linewidth": 50},
    {"threshold": 5},
    {"threshold": 5, "edgeitems": 1},
    {"sci_mode": True},
    {"sci_mode": False},
    {"profile": "short"},
    {"profile": "full"},
    {"linewidth": 200},
]


def twins(values, dtype: str = ""):
    """The same tensor on both sides."""
    array = np.asarray(values)
    kind = dtype or {"f": "float32", "i": "int64", "b": "bool"}[array.dtype.kind]
    other = torch.tensor(array).to(getattr(torch, kind))
    mine = flame.tensor(np.asarray(other.double() if other.is_floating_point() else other), dtype=getattr(flame, kind))
    return mine, other


def expected(other) -> str:
    return repr(other).replace("torch.", "flame.")


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_repr(values, options):
    mine, other = twins(values)
    torch.set_printoptions(**options)
    try:
        with flame.printoptions(**options):
            assert repr(mine) == expected(other)
            assert str(mine) == expected(other)
    finally:
        torch.set_printoptions(profile="default")


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int16", "int32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (30,), (1200,), (0,), (0, 2)])
def test_repr_of_every_dtype(dtype, shape):
    mine, other = twins(rng.integers(0, 100, shape) if shape != (30,) else rng.normal(size=30) * 5 + 10, dtype)
    assert repr(mine) == expected(other)


def test_what_is_said_behind_the_numbers():
    x = flame.tensor([1.0, 2.0], requires_grad=True)
    assert repr(x) == "tensor([1., 2.], requires_grad=True)"
    assert repr(x * 2) == "tensor([2., 4.], grad_fn=<MulBackward0>)"
    assert repr((x * 2).detach()) == "tensor([2., 4.])"
    assert repr(flame.nn.Parameter(flame.zeros(1))) == "Parameter containing:\ntensor([0.], requires_grad=True)"
    mine, other = twins(np.full((1, 9), 1 / 3))
    assert repr(mine.requires_grad_()) == expected(other.requires_grad_())  # a note that needs a line of its own
    wide = np.full(7, 1 / 3)
    assert repr(twins(wide, "float64")[0]) == expected(twins(wide, "float64")[1])


def test_no_edges_at_all():
    for shape in ((40, 50), (3000,)):
        other = torch.zeros(shape)
        torch.set_printoptions(edgeitems=0)
        try:
            with flame.printoptions(edgeitems=0):
                assert repr(flame.zeros(*shape)) == expected(other)
        finally:
            torch.set_printoptions(profile="default")


def test_options_are_kept_and_given_back():
    before = flame.get_printoptions()
    flame.set_printoptions(precision=2, sci_mode=True)
    assert flame.get_printoptions() == before | {"precision": 2, "sci_mode": True}
    flame.set_printoptions(profile="default")
    assert flame.get_printoptions() == before
    with pytest.raises(ConfigError, match="profile is 'tiny'"):
        flame.set_printoptions(profile="tiny")


def test_format():
    assert f"{flame.tensor(3.14159):.3f}" == "3.142"
    assert f"{flame.tensor(7):>4d}" == "   7"
    assert f"{flame.tensor([1.0])}" == "tensor([1.])"
    with pytest.raises(TypeError):
        format(flame.tensor([1.0, 2.0]), ".3f")
