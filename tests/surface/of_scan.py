"""Scans along a dimension; differences and integrals of samples."""

from collections.abc import Callable
from typing import Any

from tests.surface.case import ALL, FLOATS, NUMBERS, Case, Misuse, Of, X

A = X((3, 4, 2), apart=True)
SHAPES = ((X(()),), (X((1, 1)),), (X((7,)),), (X((2, 0)),), (X((0, 2)),))


def of(name: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
    return lambda lib, x: getattr(lib, name)(x, *arguments, **options)


def sums(name: str, loose: float) -> list[Case]:
    return [
        Case(name, of(name, -1), (A,), SHAPES, ALL, label="last", loose=loose),
        Case(name, lambda lib, x: getattr(x, name)(dim=0), (A,), (), ALL, label="first", loose=loose),
        Case(name, lambda lib, x: getattr(lib, name)(x, 1, dtype=lib.float64), (A,), (), ALL, label="dtype"),
        Case(
            name, lambda lib, x: getattr(lib, name)(x, 1, dtype=lib.int32), (A,), (), NUMBERS, False, label="integers"
        ),
        Case(name, lambda lib, x: getattr(lib, name)(x.expand(3, 5), 1), (X((3, 1)),), label="expanded", loose=loose),
    ]


def extremes(name: str) -> list[Case]:
    def call(dim: int, **options: Any) -> Callable[..., Any]:
        return lambda lib, x: tuple(getattr(lib, name)(x, dim, **options))

    return [
        Case(name, call(-1), (A,), SHAPES, ALL, label="last"),
        Case(name, call(0), (A,), (), ALL, label="first"),
        Case(
            name,
            lambda lib, x: tuple(getattr((x * 2).round(), name)(1)),
            (X((3, 6), -1, 1),),
            (),
            FLOATS,
            label="ties",
            second=False,
        ),
        Case(name, lambda lib, x: getattr(x, name)(0).values, (X((5,)),), special=True, label="special"),
        Case(
            name,
            lambda lib, x: getattr(x, name)(0).indices,
            (X((5,)),),
            (),
            ALL,
            False,
            special=True,
            label="special places",
        ),
    ]


CASES = [
    *sums("cumsum", 1),
    *sums("cumprod", 4),
    Case("cumprod", lambda lib, x: lib.cumprod(x * (x > 0), 1), (A,), label="zeros"),
    Case("cumprod", lambda lib, x, z: lib.cumprod(x * z, 1), (X((4, 5)), Of("bool", (4, 5))), label="some zeros"),
    Case("cumprod", lambda lib, x: lib.cumprod(x * 0, 0), (X((4,)),), label="only zeros"),
    Case("cumsum", of("cumsum", 0), (X((5,)),), grad=False, special=True, label="special"),
    Case("Tensor.cumsum_", lambda lib, x: (x * 1).cumsum_(1), (A,), (), FLOATS),
    Case("Tensor.cumprod_", lambda lib, x: (x * 1).cumprod_(dim=-1), (A,), (), FLOATS, loose=4),
    *[c for name in ("cummax", "cummin") for c in extremes(name)],
    Case("logcumsumexp", of("logcumsumexp", -1), (A,), SHAPES, label="last"),
    Case("logcumsumexp", lambda lib, x: x.logcumsumexp(0), (X((6, 2), -50, 50),), label="wide", loose=4),
    Case(
        "logcumsumexp",
        lambda lib, x: lib.logcumsumexp(x * 1000, 0),
        (X((6, 2)),),
        (),
        ("float32", "float64"),
        label="far apart",
        loose=100,
    ),
    Case("diff", of("diff"), (A,), ((X((1,)),), (X((2, 0)),), (X((7,)),)), ALL, label="last"),
    Case("diff", lambda lib, x: x.diff(2, 1), (A,), (), ALL, label="twice"),
    Case("diff", of("diff", 5, dim=0), (A,), (), FLOATS, False, label="too often"),
    Case("diff", lambda lib, x, y: lib.diff(x, dim=1, prepend=y, append=y), (A, X((3, 2, 2))), (), ALL, label="ends"),
    Case("trapezoid", of("trapezoid"), (A,), ((X((1,)),),), NUMBERS, label="last"),
    Case("trapezoid", of("trapezoid"), (X((2, 0)),), (), FLOATS, False, label="nothing"),
    Case("trapezoid", of("trapezoid", dx=0.5, dim=1), (A,), (), FLOATS, label="dx"),
    Case("trapezoid", lambda lib, y, x: lib.trapezoid(y, x, dim=1), (A, X((4,))), (), FLOATS, label="x"),
    Case("trapezoid", lambda lib, y, x: lib.trapezoid(y, x, dim=0), (A, X((3, 4, 2))), (), FLOATS, label="x of all"),
    Case("trapz", of("trapz"), (A,), (), FLOATS),
    Case("cumulative_trapezoid", of("cumulative_trapezoid", dx=2.0), (A,), (), FLOATS, label="last"),
    Case("cumulative_trapezoid", lambda lib, y, x: lib.cumulative_trapezoid(y, x, dim=1), (A, X((4,))), label="x"),
]

MISUSES = [
    *[
        Misuse(name, of(name, 3), (A,), says=r"dim 3.*\[-3, 2\]")
        for name in ("cumsum", "cumprod", "cummax", "cummin", "logcumsumexp")
    ],
    Misuse("cumsum", of("cumsum", 1), (X(()),), says="dim 1"),
    Misuse("logcumsumexp", of("logcumsumexp", 0), (Of("int64", (3,)),), says="floating"),
    Misuse("cumsum", of("cumsum", "a"), (A,), says="integer"),
    Misuse("cumprod", lambda lib: lib.cumprod([1.0, 2.0], 0), says="Tensor"),
    Misuse("diff", of("diff", -1), (A,)),
    Misuse("diff", of("diff", 1.5), (A,), says="integer"),
    Misuse("diff", of("diff"), (X(()),)),
    Misuse("diff", of("diff", dim=3), (A,)),
    Misuse("trapezoid", lambda lib, y, x: lib.trapezoid(y, x, dx=1.0), (A, X((2,)))),
]
