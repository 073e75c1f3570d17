"""Sorting, selecting, medians and quantiles."""

from collections.abc import Callable
from typing import Any

from tests.surface.case import ALL, FLOATS, NUMBERS, Case, Misuse, Of, X

A = X((3, 5, 2), apart=True)
SHAPES = ((X((), apart=True),), (X((1, 1), apart=True),), (X((33,), apart=True),), (X((2, 0)),), (X((0, 2)),))
SOME = SHAPES[:3]
WIDE = ("float32", "float64")
LINEAR = ("linear", "lower", "higher", "nearest", "midpoint")


def pair(name: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
    return lambda lib, x: tuple(getattr(lib, name)(x, *arguments, **options))


def values(name: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
    return lambda lib, x: getattr(lib, name)(x, *arguments, **options)[0]


def of(name: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
    return lambda lib, x: getattr(lib, name)(x, *arguments, **options)


def holes(lib: Any, x: Any) -> Any:
    return lib.where(x > 1, float("nan"), x)


def quantiles(name: str) -> list[Case]:
    few = lambda lib, x: lib.tensor([0.0, 0.3, 0.5, 1.0], dtype=x.dtype)  # noqa: E731
    f = lambda lib: getattr(lib, name)  # noqa: E731
    return [
        Case(name, lambda lib, x: f(lib)(x, 0.4), (A,), SOME, WIDE, label="all"),
        Case(name, lambda lib, x: f(lib)(x, 0.4, keepdim=True), (A,), (), WIDE, label="all, keepdim"),
        Case(name, lambda lib, x: f(lib)(x, few(lib, x), 1), (A,), (), WIDE, label="several"),
        Case(name, lambda lib, x: f(lib)(x, few(lib, x), -1, True), (A,), SOME, WIDE, label="keepdim"),
        *[
            Case(name, lambda lib, x, k=k: f(lib)(x, few(lib, x), 1, interpolation=k), (A,), (), WIDE, label=k)
            for k in LINEAR
        ],
        Case(
            name,
            lambda lib, x: f(lib)(holes(lib, x), 0.7, 1),
            (X((4, 5), apart=True),),
            (),
            WIDE,
            name == "nanquantile",
            label="nan",
        ),
    ]


CASES = [
    Case("sort", pair("sort"), (A,), SHAPES, FLOATS, label="last"),
    Case("sort", pair("sort", stable=True, dim=0), (A,), (), ALL, label="first"),
    Case("sort", pair("sort", stable=True, dim=1, descending=True), (A,), SHAPES[1:2], ALL, label="descending"),
    Case("sort", lambda lib, x: x.sort(1).values, (A,), (), label="names"),
    Case("sort", pair("sort", stable=True), (X((5,)),), (), ALL, False, special=True, label="special"),
    Case("sort", pair("sort", stable=True, descending=True), (X((5,)),), (), ALL, False, special=True, label="back"),
    Case("argsort", of("argsort", stable=True), (A,), SHAPES, ALL, False, label="last"),
    Case("argsort", lambda lib, x: x.argsort(0, True), (A,), (), FLOATS, False, label="first"),
    Case("msort", of("msort"), (A,), SHAPES[1:], ALL, label="first"),
    Case("topk", pair("topk", 2, 1), (A,), (), NUMBERS[:4], label="largest"),
    Case("topk", pair("topk", 1), (A,), SOME, FLOATS, label="last"),
    Case("topk", pair("topk", 3, 1, False), (A,), (), FLOATS, label="smallest"),
    Case("topk", lambda lib, x: x.topk(2, dim=0, largest=True, sorted=True)[0], (A,), (), NUMBERS, label="values"),
    Case("topk", pair("topk", 0), (A,), (), FLOATS, False, label="none"),
    Case("kthvalue", pair("kthvalue", 2, 1), (A,), (), FLOATS, label="dim"),
    Case("kthvalue", pair("kthvalue", 1, keepdim=True), (A,), SOME, FLOATS, label="keepdim"),
    Case("kthvalue", values("kthvalue", 3, 0), (A,), (), NUMBERS, label="values"),
    Case("median", of("median"), (A,), SOME, NUMBERS, label="all"),
    Case("median", of("median"), (X((0,)),), (), FLOATS, False, label="none"),
    Case("median", pair("median", 1), (A,), (), FLOATS, label="dim"),
    Case("median", pair("median", -1, True), (A,), SOME, FLOATS, label="keepdim"),
    Case("median", values("median", 0), (A,), (), NUMBERS, label="values"),
    Case("median", lambda lib, x: lib.median(holes(lib, x), 1)[0], (A,), (), FLOATS, False, label="nan"),
    Case("nanmedian", of("nanmedian"), (A,), SOME, NUMBERS, label="all"),
    Case("nanmedian", pair("nanmedian", 1), (A,), SHAPES[1:3], FLOATS, label="dim"),
    Case("nanmedian", lambda lib, x: lib.nanmedian(holes(lib, x), 1)[0], (A,), (), FLOATS, label="nan"),
    Case("nanmedian", lambda lib, x: lib.nanmedian(holes(lib, x)), (A,), (), FLOATS, label="nan of all"),
    Case("median", lambda lib, x: lib.median((x * 0.7).round()), (X((9,)),), (), FLOATS, label="ties", second=False),
    Case("mode", lambda lib, x: lib.mode(x.round(), 1)[0], (X((4, 7), 0, 3),), (), ALL, False, label="values"),
    Case("mode", pair("mode"), (A,), SOME, FLOATS, label="apart"),
    Case("mode", pair("mode", 0, True), (X((5, 3), 0, 2),), (), ("int64", "uint8"), False, label="keepdim"),
    *[c for name in ("quantile", "nanquantile") for c in quantiles(name)],
    Case("unique", of("unique"), (X((4, 6), 0, 3),), ((X(()),), (X((0,)),), (X((1,)),)), ALL, False, label="sorted"),
    Case(
        "unique",
        lambda lib, x: lib.unique(x, return_inverse=True, return_counts=True),
        (X((4, 6), 0, 3),),
        ((X(()),), (X((0,)),)),
        ALL,
        False,
        label="inverse and counts",
    ),
    Case("unique", lambda lib, x: x.unique(True, False, True, 0), (X((6, 2), 0, 2),), (), NUMBERS, False, label="dim"),
    Case(
        "unique",
        lambda lib, x: x.unique(dim=1, return_inverse=True),
        (X((2, 6), 0, 2),),
        (),
        NUMBERS,
        False,
        label="rows",
    ),
    Case(
        "unique_consecutive",
        of("unique_consecutive"),
        (X((20,), 0, 2),),
        ((X(()),), (X((0,)),), (X((3, 3)),)),
        ALL,
        False,
        label="all",
    ),
    Case(
        "unique_consecutive",
        lambda lib, x: x.unique_consecutive(True, True),
        (X((20,), 0, 2),),
        ((X(()),), (X((0,)),), (X((3, 3)),)),
        ALL,
        False,
        label="inverse and counts",
    ),
    Case(
        "unique_consecutive",
        lambda lib, x: x.unique_consecutive(True, True, dim=0),
        (X((9, 2), 0, 2),),
        (),
        ALL,
        False,
        label="dim",
    ),
]

MISUSES = [
    *[
        Misuse(name, of(name, dim=3), (A,), says=r"dim 3.*\[-3, 2\]")
        for name in ("sort", "argsort", "median", "nanmedian", "mode")
    ],
    Misuse("topk", of("topk", 6, 1), (A,), says="k=6.*size 5"),
    Misuse("topk", of("topk", -1, 1), (A,)),
    Misuse("topk", of("topk", 1.5), (A,), says="integer"),
    Misuse("sort", of("sort", 1.5), (A,), says="integer"),
    Misuse("sort", lambda lib: lib.sort(3.0), says="Tensor"),
    Misuse("median", of("median", (0, 1)), (A,), says="integer"),
    Misuse("quantile", of("quantile", "a"), (A,), says="number"),
    Misuse("unique", lambda lib: lib.unique(3), says="Tensor"),
    Misuse("kthvalue", of("kthvalue", 0, 1), (A,), says="k=0.*size 5"),
    Misuse("kthvalue", of("kthvalue", 6, 1), (A,)),
    Misuse("median", of("median", 0), (X((0, 3)),)),
    Misuse("mode", of("mode", 0), (X((0, 3)),)),
    Misuse("quantile", of("quantile", 1.5), (A,), says=r"\[0, 1\]"),
    Misuse("quantile", of("quantile", 0.5), (X((0,)),)),
    Misuse("quantile", of("quantile", 0.5), (Of("int64", (3,)),), says="float32"),
    Misuse("quantile", of("quantile", 0.5, interpolation="cubic"), (A,), says="cubic"),
    Misuse("quantile", lambda lib, x: lib.quantile(x, lib.ones(2, 2)), (A,)),
]
