"""Draws: what does not depend on chance, that is shapes, dtypes, and draws whose outcome is certain.

How they are distributed, and that streams repeat, is tested in tests/tensor/test_random.py.
"""

from collections.abc import Callable
from typing import Any

from tests.surface.case import ALL, FLOATS, NUMBERS, Case, Misuse, Of, X, functional

ONE = (X((3, 4)),)
SHAPES = ((X(()),), (X((0, 2)),), (X((2, 1, 3)),))


def drawn(name: str, call: Callable[..., Any], operands: tuple = ONE, also: tuple = (), **more: Any) -> Case:
    return Case(name, call, operands, also, **({"grad": False} | more))


def in_place(name: str, *args: Any, **more: Any) -> Case:
    """A method that fills a tensor: its shape and dtype, and that it is the tensor itself."""

    def call(lib: Any, x: Any) -> Any:
        y = x.clone()
        assert getattr(y, name)(*args) is y
        return (y == y) | (y != y), y.to(x.dtype) * 0

    return drawn(f"Tensor.{name}", call, also=SHAPES, **more)


def dropped(name: str, operands: tuple, also: tuple) -> list[Case]:
    """A dropout that does not train, one that keeps everything, and one that drops everything."""
    options = {"resting": (0.5, False), "none": (0.0, True), "all": (1.0, True)}
    return [
        Case(
            f"nn.functional.{name}",
            lambda lib, x, p=p, training=training: getattr(functional(lib), name)(x, p, training) * 1,
            operands,
            also,
            label=label,
        )
        for label, (p, training) in options.items()
    ]


CASES = [
    drawn("rand", lambda lib, x: lib.rand(2, 3, dtype=x.dtype) * 0, dtypes=FLOATS),
    drawn("randn", lambda lib, x: lib.randn((2, 3), dtype=x.dtype) * 0, dtypes=FLOATS),
    drawn("randint", lambda lib, x: lib.randint(4, 5, x.shape, dtype=x.dtype), also=SHAPES, dtypes=NUMBERS),
    drawn("randint", lambda lib, x: lib.randint(1, (2, 3)), label="to 1", dtypes=("float32",)),
    drawn("randperm", lambda lib, x: (lib.randperm(9).unsqueeze(1) == lib.arange(9)).sum(0), dtypes=("float32",)),
    drawn("rand_like", lambda lib, x: lib.rand_like(x) * 0, also=SHAPES, dtypes=FLOATS),
    drawn("randn_like", lambda lib, x: lib.randn_like(x) * 0, also=SHAPES, dtypes=FLOATS),
    drawn("randint_like", lambda lib, x: lib.randint_like(x, 3, 4), also=SHAPES, dtypes=NUMBERS),
    drawn("normal", lambda lib, x, y: lib.normal(x, y) * 0, (X((3, 1)), X((4,), 0.5, 1)), dtypes=FLOATS),
    drawn("normal", lambda lib, x: lib.normal(x, 0.0), also=SHAPES, label="certain", dtypes=FLOATS),
    drawn("bernoulli", lambda lib, x: lib.bernoulli((x > 0).to(x.dtype)), also=SHAPES, dtypes=FLOATS),
    drawn("bernoulli", lambda lib, x: lib.bernoulli(x, 1.0), label="a number", dtypes=FLOATS),
    drawn(
        "multinomial",
        lambda lib, p: lib.multinomial(lib.eye(4) + p * 0, 3, True),
        (Of("float32", (4,)),),
        dtypes=("float32",),
    ),
    drawn(
        "multinomial",
        lambda lib, p: (lib.multinomial(p, 4).unsqueeze(-1) == lib.arange(4)).sum(1),
        (X((2, 4), 0.5, 1),),
        label="all",
        dtypes=("float32", "float64"),
    ),
    drawn("poisson", lambda lib, x: lib.poisson(x * 0), also=SHAPES, dtypes=FLOATS),
    drawn(
        "binomial",
        lambda lib, n: lib.binomial(n.floor(), lib.ones_like(n)),
        (X((3, 4), 1, 1.5),),
        dtypes=("float32", "float64"),
    ),
    in_place("uniform_", -1.0, 2.0, dtypes=FLOATS),
    in_place("normal_", 1.0, 2.0, dtypes=FLOATS),
    in_place("log_normal_", 0.0, 0.5, dtypes=FLOATS),
    in_place("exponential_", 2.0, dtypes=FLOATS),
    in_place(
        "cauchy_", dtypes=("float32", "float64")
    ),  # of a half precision the tails are infinite, and 0 times it nan
    in_place("geometric_", 0.7, dtypes=NUMBERS),
    in_place("bernoulli_", 0.3, dtypes=NUMBERS),
    in_place("random_", 2, 5, dtypes=NUMBERS),
    drawn("Tensor.random_", lambda lib, x: x.clone().random_(1), label="to 1", dtypes=ALL),
    *dropped("dropout", ONE, SHAPES),
    *dropped("dropout1d", ONE, ((X((2, 3, 4)),), (X((2, 0, 3)),))),
    *dropped("dropout2d", (X((2, 3, 4, 4)),), ((X((2, 3, 4)),),)),
    *dropped("dropout3d", (X((2, 3, 2, 2, 2)),), ((X((2, 3, 2, 2)),),)),
    *dropped("alpha_dropout", ONE, SHAPES),
    *dropped("feature_alpha_dropout", (X((2, 3, 4)),), ((X((2, 3, 2, 2)),),)),
]


def refused(name: str, call: Callable[..., Any], *operands: Any, says: str = "", accepted: bool = False) -> Misuse:
    return Misuse(name, call, operands, says, accepted)


MISUSES = [
    refused("randint", lambda lib: lib.randint(3, 3, (2,)), says=r"\[3, 3\)"),
    refused("randint", lambda lib: lib.randint(0, 300, (2,), dtype=lib.uint8), says="beyond uint8", accepted=True),
    refused("randperm", lambda lib: lib.randperm(-1), says="n is -1"),
    refused("rand", lambda lib: lib.rand(2, dtype=lib.int64), says="floating"),
    refused("randn", lambda lib: lib.randn(2, dtype=lib.int64), says="floating"),
    refused("rand_like", lambda lib, x: lib.rand_like(x), Of("int64", (2,)), says="floating"),
    refused("normal", lambda lib, x: lib.normal(x, -1.0), X((2,)), says="std is -1"),
    refused("bernoulli", lambda lib, x: lib.bernoulli(x, 1.5), X((2,)), says="p is 1.5"),
    refused("bernoulli", lambda lib, x: lib.bernoulli(x), Of("int64", (2,)), says="floating"),
    refused("multinomial", lambda lib, x: lib.multinomial(x, 5), X((4,), 0.5, 1), says="at most 4"),
    refused("multinomial", lambda lib, x: lib.multinomial(x, 0), X((4,), 0.5, 1), says="at least 1"),
    refused("multinomial", lambda lib, x: lib.multinomial(x, 1), X((2, 2, 2), 0.5, 1), says=r"\(2, 2, 2\)"),
    refused("multinomial", lambda lib, x: lib.multinomial(x, 1), Of("int64", (4,)), says="floating"),
    refused("poisson", lambda lib, x: lib.poisson(x - 9), X((2,))),
    *(
        refused(name, lambda lib, x, name=name, args=args: getattr(x, name)(*args), X((2,)), says=says)
        for name, args, says in (
            ("uniform_", (2.0, 1.0), "empty"),
            ("normal_", (0.0, -1.0), "std is -1"),
            ("log_normal_", (0.0, -1.0), "std is -1"),
            ("exponential_", (-1.0,), "lambd is -1"),
            ("cauchy_", (0.0, -1.0), "sigma is -1"),
            ("geometric_", (1.5,), "p is 1.5"),
            ("bernoulli_", (1.5,), "p is 1.5"),
            ("random_", (3, 3), r"\[3, 3\)"),
        )
    ),
    *(
        refused(
            name, lambda lib, x, name=name: getattr(functional(lib), name)(x, 1.5, True), X((2, 3, 4)), says="p is 1.5"
        )
        for name in ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout")
    ),
    refused("dropout1d", lambda lib, x: functional(lib).dropout1d(x), X((4,)), says=r"\(4,\)"),
]
