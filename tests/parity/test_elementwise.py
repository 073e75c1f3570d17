"""Elementwise functions: values and gradients over dtypes, layouts and special values; promotion, exhaustively."""

import itertools
import operator
from functools import partial

import numpy as np
import pytest

import flame
from flame.nn import functional as F
from tests.parity.both import ALL, FLOATS, INTS, SPECIAL, Ledger, check, data, name_of, ours, theirs, torch

pytestmark = pytest.mark.parity

SMOOTH = (
    "exp",
    "exp2",
    "expm1",
    "log",
    "log2",
    "log1p",
    "sqrt",
    "rsqrt",
    "tanh",
    "sigmoid",
    "erf",
    "sin",
    "cos",
    "reciprocal",
)
STEPPED = ("floor", "ceil", "round", "trunc", "sign")
ANY = ("abs", "neg", "square", "relu")
TESTS = ("isnan", "isinf", "isfinite", "logical_not")


FLAT = (*TESTS, "floor by 2", "sign")  # there is no derivative to compare: none there, or none here


def functional(library):
    return F if library is flame else torch.nn.functional


NAMED = {name: (lambda lib, x, name=name: getattr(lib, name)(x)) for name in (*SMOOTH, *STEPPED, *ANY, *TESTS)}
FLOATING = {
    "gelu": lambda lib, x: functional(lib).gelu(x),
    "gelu tanh": lambda lib, x: functional(lib).gelu(x, approximate="tanh"),
    "silu": lambda lib, x: functional(lib).silu(x),
    "leaky_relu": lambda lib, x: functional(lib).leaky_relu(x, 0.2),
    "clamp": lambda lib, x: x.clamp(-0.5, 1.5),
    "clamp min": lambda lib, x: lib.clamp(x, min=0.5),
    "clamp max": lambda lib, x: x.clamp(max=0.5),
    "clamp empty": lambda lib, x: x.clamp(1.0, -1.0),
    "power 2": lambda lib, x: x**2,
    "power 3": lambda lib, x: x**3,
    "power half": lambda lib, x: x**0.5,
    "power 0": lambda lib, x: x**0,
    "power -1": lambda lib, x: x**-1,
    "base": lambda lib, x: 2**x,
    "scalar": lambda lib, x: (1 - x) * 2 + 3 / (x - 0.25) - (-x),
    "mod": lambda lib, x: x % 3,
    "floor by 2": lambda lib, x: x // 2,
}


@pytest.mark.parametrize("dtype", FLOATS)
def test_one_operand(dtype):
    ledger = Ledger()
    for name, call in {**NAMED, **FLOATING}.items():
        low = 0.1 if name in ("log", "log2", "sqrt", "rsqrt", "power half", "log1p") else -3.0
        check(ledger, name, call, [data((3, 5), dtype, low=low)], [dtype], name not in FLAT)
    ledger.close()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_values(dtype):
    ledger = Ledger()
    for name, call in {**NAMED, **FLOATING}.items():
        at = SPECIAL[2:] if name == "gelu" or "clamp" in name or name == "relu" else SPECIAL
        check(ledger, name, call, [at], [dtype], name not in FLAT)
    ledger.close()


def test_extremes_of_nan_are_nan():
    x = ours(SPECIAL)
    for found in (x.relu(), x.clamp(-1, 1), x.clamp(min=0), F.gelu(x)):
        assert np.isnan(found.numpy()[0])


@pytest.mark.parametrize("dtype", INTS)
def test_one_operand_of_integers(dtype):
    ledger = Ledger()
    for name, call in NAMED.items():
        check(ledger, name, call, [data((3, 5), dtype)], [dtype])
    for name in ("clamp", "clamp min", "power 2", "power 3", "power 0", "power half", "mod", "floor by 2"):
        check(ledger, name, FLOATING[name], [data((3, 5), dtype)], [dtype])
    ledger.close()


def test_one_operand_of_truth_values():
    ledger = Ledger()
    for name in (*SMOOTH, *TESTS, "sign"):
        check(ledger, name, NAMED[name], [data((7,), "bool")], ["bool"])
    ledger.close()


ARITHMETIC = ("add", "sub", "mul", "div", "floor_divide", "remainder", "pow", "maximum", "minimum")
COMPARE = ("eq", "ne", "lt", "le", "gt", "ge")
LOGIC = ("logical_and", "logical_or", "logical_xor")
REFUSED = {
    ("sub", "bool", "bool"),
    ("floor_divide", "bool", "bool"),
    ("remainder", "bool", "bool"),
    ("pow", "bool", "bool"),
}


def second(name, shape, dtype):
    """A right operand that is no divisor 0, and no negative power of an integer."""
    found = data(shape, dtype, seed=3)
    if dtype == "bool":
        return found | (name in ("div", "floor_divide", "remainder"))
    if name == "pow":
        return np.abs(found) if dtype in INTS else found
    return np.where(found == 0, 1, found) if name in ("div", "floor_divide", "remainder") else found


@pytest.mark.parametrize("left", ALL)
@pytest.mark.parametrize("name", ["add", "mul", "maximum", "eq", "lt", "div"])
def test_two_operands_of_every_pair_of_dtypes(name, left):
    ledger = Ledger()
    for right in ALL:
        arrays = [data((3, 4), left), second(name, (3, 4), right)]
        check(
            ledger, f"{name} {left} {right}", lambda lib, a, b: getattr(lib, name)(a, b), arrays, [left, right], False
        )
    ledger.close()


@pytest.mark.parametrize("dtype", ALL)
def test_two_operands(dtype):
    ledger = Ledger()
    for name in (*ARITHMETIC, *COMPARE, *LOGIC):
        if (name, dtype, dtype) in REFUSED or (name == "pow" and dtype in INTS):
            continue
        low = 0.2 if name == "pow" else -3.0
        arrays = [data((3, 4), dtype, low=low), second(name, (3, 4), dtype)]
        check(
            ledger,
            name,
            lambda lib, a, b, name=name: getattr(lib, name)(a, b),
            arrays,
            [dtype] * 2,
            name != "floor_divide",
        )
    ledger.close()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_two_special_values(dtype):
    a, b = np.meshgrid(SPECIAL, SPECIAL)
    ledger = Ledger()
    for name in (*ARITHMETIC, *COMPARE, *LOGIC):
        check(
            ledger,
            name,
            lambda lib, a, b, name=name: getattr(lib, name)(a, b),
            [a, b],
            [dtype, dtype],
            name in GRADIENT,
        )
    ledger.close()


GRADIENT = ("add", "sub", "mul", "maximum", "minimum")  # of the others, those at inf, nan and 0 are nobody's business


def test_gradients_of_powers_at_zero():
    a, b = np.meshgrid([0.0, 0.5, 1.0, 2.0, -1.0, -2.0], [0.0, 1.0, 2.0, 3.0, 0.5])
    ledger = Ledger()
    check(ledger, "pow", lambda lib, a, b: a**b, [a, b], ["float64"] * 2)
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


SHAPES = [
    ((), (3,)),
    ((3, 1), (1, 4)),
    ((2, 1, 3), (5, 1)),
    ((0,), (1,)),
    ((2, 0), (1, 1)),
    ((1,), (7,)),
    ((13,), (1,)),
]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_operands_broadcast(shapes):
    ledger = Ledger()
    for name in ("add", "mul", "div", "maximum"):
        call = lambda lib, a, b, name=name: getattr(lib, name)(a, b)  # noqa: E731
        check(ledger, name, call, [data(s, seed=i) for i, s in enumerate(shapes)], ["float32"] * 2)
    ledger.close()


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


def test_where():
    ledger = Ledger()
    c, x, y = data((3, 4), "bool"), data((3, 4)), data((4,), seed=2)
    check(ledger, "tensors", lambda lib, c, x, y: lib.where(c, x, y), [c, x, y], ["bool", "float32", "float32"])
    check(ledger, "number", lambda lib, c, x: lib.where(c, x, 0.5), [c, x], ["bool", "float32"])
    check(ledger, "number left", lambda lib, c, x: lib.where(c, 2, x), [c, x], ["bool", "float16"])
    check(ledger, "numbers", lambda lib, c: lib.where(c, 1.0, 2), [c], ["bool"])
    check(ledger, "promoted", lambda lib, c, x: lib.where(c, x, 0.5), [c, data((3, 4), "int32")], ["bool", "int32"])
    check(ledger, "masked_fill", lambda lib, x, c: x.masked_fill(c, -1e9), [x, c], ["float32", "bool"])
    check(
        ledger, "masked_fill int", lambda lib, x, c: x.masked_fill(c, 3), [data((3, 4), "int64"), c], ["int64", "bool"]
    )
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


def test_integers_wrap_and_divide_as_pytorchs():
    ledger = Ledger()
    a, b = np.meshgrid([-7, -3, -1, 0, 1, 4, 9], [-4, -2, -1, 1, 3, 5])
    for name in ("floor_divide", "remainder", "div", "mul", "sub"):
        check(ledger, name, lambda lib, a, b, name=name: getattr(lib, name)(a, b), [a, b], ["int32", "int32"])
    x = np.array([1, 100, 200])
    check(ledger, "uint8 + 300", lambda lib, x: x + 300, [x], ["uint8"])
    check(ledger, "uint8 - (-1)", lambda lib, x: x - -1, [x], ["uint8"])
    check(ledger, "int8 * 1000", lambda lib, x: x * 1000, [np.array([1, 2])], ["int8"])
    ledger.close()
