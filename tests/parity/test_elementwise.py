"""Promotion, exhaustively; casts; and views of operands. Values, gradients and errors are in tests/surface."""

import itertools
import operator
from functools import partial

import numpy as np
import pytest

import flame
from tests.parity.both import ALL, FLOATS, Ledger, check, data, name_of, ours, theirs, torch

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("left", ALL)
@pytest.mark.parametrize("name", ["add", "mul", "maximum", "eq", "lt", "div"])
def test_two_operands_of_every_pair_of_dtypes(name, left):
    ledger = Ledger()
    for right in ALL:
        other = data((3, 4), right, seed=3)
        arrays = [data((3, 4), left), other | True if right == "bool" else np.where(other == 0, 1, other)]
        check(
            ledger, f"{name} {left} {right}", lambda lib, a, b: getattr(lib, name)(a, b), arrays, [left, right], False
        )
    ledger.close()


OPERATORS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
    "<": operator.lt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
SCALARS = (True, 2, 2.5)


def agree(mine, other, label):
    """The same dtype; what PyTorch refuses may have a meaning here."""
    try:
        expected = name_of(other().dtype)
    except (TypeError, RuntimeError, NotImplementedError):
        return
    assert str(mine().dtype) == expected, label


@pytest.mark.parametrize("left", ALL)
def test_promotion_is_pytorchs(left):
    """Every pair of dtypes, of ranks 0 and 1, and every kind of Python number, on both sides."""
    for right, (m, n) in itertools.product(ALL, itertools.product((0, 1), repeat=2)):
        x, y = (ours(np.ones((1,) * k), d) for d, k in ((left, m), (right, n)))
        a, b = (theirs(np.ones((1,) * k), d) for d, k in ((left, m), (right, n)))
        assert str((x + y).dtype) == name_of(torch.result_type(a, b)), (left, right, m, n)
        assert str(flame.promote_types(x.dtype, y.dtype)) == name_of(torch.promote_types(a.dtype, b.dtype))
    for number, rank, (sign, act) in itertools.product(SCALARS, (0, 1), OPERATORS.items()):
        x, a = ours(np.ones((1,) * rank), left), theirs(np.ones((1,) * rank), left)
        if (left, sign, number) == ("bool", "**", True):
            continue  # a truth value to the power of one: refused
        agree(partial(act, x, number), partial(act, a, number), f"{left}[{rank}] {sign} {number}")
        agree(partial(act, number, x), partial(act, number, a), f"{number} {sign} {left}[{rank}]")


@pytest.mark.parametrize(
    "name", ["sum", "mean", "amax", "argmax", "exp", "floor", "neg", "abs", "relu", "square", "var"]
)
def test_results_have_pytorchs_dtype(name):
    for dtype in ALL:
        x, a = ours(np.ones(2), dtype), theirs(np.ones(2), dtype)
        agree(partial(getattr(flame, name), x), partial(getattr(torch, name), a), dtype)


VIEWS = {
    "permuted": lambda x: x.permute(1, 2, 0),
    "transposed": lambda x: x.transpose(0, 2),
    "sliced": lambda x: x[1:, :3, 1::2],
    "stepped": lambda x: x[:, 1::2, -3:],
    "expanded": lambda x: x[:, :1, :1].expand(3, 6, 2),
    "flipped": lambda x: x.flip(0, 2),
    "0-d": lambda x: x[1, 2, 0],
    "empty": lambda x: x[:, 3:3],
    "size 1": lambda x: x[1:2, 1:2, 1:2],
    "row": lambda x: x[2],
    "flat": lambda x: x.reshape(-1)[5:29],
}


@pytest.mark.parametrize("view", VIEWS)
def test_views_of_operands(view):
    """Each layout under a smooth function, a comparison, a product of two views, and a reduction."""
    ledger = Ledger()
    x = data((3, 6, 5))
    for name, call in {
        "exp": lambda lib, x: lib.exp(x),
        "where": lambda lib, x: lib.where(x > 0, x, x * 2),
        "product": lambda lib, x: x * x.flip(0) if x.ndim else x * x,
        "sum": lambda lib, x: (x * x).sum(),
        "softmax": lambda lib, x: lib.softmax(x, -1) if x.ndim else x,
    }.items():
        check(ledger, f"{name} {view}", call, [x], ["float32"], views=VIEWS[view])
    ledger.close()


def test_where_guards_a_function_without_value():
    """DESIGN 7.15: the gradient of a branch that was not chosen must not be nan where a safe form exists."""
    x = flame.tensor([-1.0, 0.0, 4.0], requires_grad=True)
    safe = flame.where(x > 0, x, 1.0)
    flame.where(x > 0, safe.sqrt(), 0.0).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [0, 0, 0.25])


@pytest.mark.parametrize("source", ALL)
def test_casts(source):
    ledger = Ledger()
    x = data((3, 5), source, low=0.0 if source in FLOATS else -3.0, high=100.0)
    for target in ALL:
        check(ledger, target, lambda lib, x, t=target: x.to(getattr(lib, t)), [x], [source])
    for method in ("float", "double", "half", "bfloat16", "long", "int", "short", "char", "byte", "bool"):
        check(ledger, method, lambda lib, x, m=method: getattr(x, m)(), [x], [source])
    ledger.close()


def test_numbers_wrap_in_the_dtype_of_the_integers_they_meet():
    ledger = Ledger()
    x = np.array([1, 100, 200])
    check(ledger, "uint8 + 300", lambda lib, x: x + 300, [x], ["uint8"])
    check(ledger, "uint8 - (-1)", lambda lib, x: x - -1, [x], ["uint8"])
    check(ledger, "uint8 == 300", lambda lib, x: x == 300, [np.array([44])], ["uint8"])
    check(ledger, "int8 * 1000", lambda lib, x: x * 1000, [np.array([1, 2])], ["int8"])
    ledger.close()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("goal", [0.0, -0.0, 3.0, float("inf"), -float("inf"), float("nan")])
def test_next_after_every_half(dtype, goal):
    kind = getattr(torch, dtype)
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(kind)
    mine = flame.tensor(every.float().numpy()).to(getattr(flame, dtype))
    found = flame.nextafter(mine, flame.full((2**16,), goal, dtype=mine.dtype))
    wanted = torch.nextafter(every, torch.full_like(every, goal)).float().numpy()
    assert found.dtype is mine.dtype
    np.testing.assert_array_equal(found.float().numpy(), wanted)
    there = ~np.isnan(wanted)
    np.testing.assert_array_equal(np.signbit(found.float().numpy())[there], np.signbit(wanted)[there])
