"""Reductions over one dimension, several, or all; norms."""

import warnings
from collections.abc import Callable
from typing import Any

from tests.surface.case import ALL, FLOATS, INTS, NUMBERS, Case, Misuse, Of, X, functional

A = X((3, 4, 2), apart=True)
ODD = (X((1, 1), apart=True), X((7,), apart=True), X((2, 1, 5), apart=True))
NONE = (X((0, 3)), X((2, 0, 3)), X((0,)))
SCALAR = X((), apart=True)


def of(name: str, **options: Any) -> Callable[..., Any]:
    return lambda lib, x: getattr(lib, name)(x, **options)


def at(name: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
    return lambda lib, x: getattr(x, name)(*arguments, **options)


def sets(*operands: X) -> tuple[tuple[X], ...]:
    return tuple((o,) for o in operands)


def over_dims(name: str, dtypes: tuple[str, ...], *, empty: bool = True, **more: Any) -> list[Case]:
    """All elements, one dimension from the back, several, and the method with keepdim."""
    rest = NONE if empty else ()
    return [
        Case(name, of(name), (A,), sets(SCALAR, *ODD, *rest), dtypes, label="all", **more),
        Case(name, of(name, dim=-1), (A,), sets(SCALAR, *ODD, *rest[:1]), dtypes, label="last", **more),
        Case(name, of(name, dim=(0, -1)), (A,), sets(*rest[1:2]), dtypes, label="several", **more),
        Case(name, at(name, 1, True), (A,), sets(X((2, 3))), dtypes, label="keepdim", **more),
    ]


def places(name: str) -> list[Case]:
    return [
        Case(name, of(name), (A,), sets(SCALAR, *ODD), NUMBERS, False, label="all"),
        Case(name, at(name, keepdim=True), (A,), sets(SCALAR), FLOATS, False, label="all, keepdim"),
        Case(name, of(name, dim=1), (A,), sets(X((0, 3))), NUMBERS, False, label="dim"),
        Case(name, at(name, -1, True), (A,), sets(SCALAR, *ODD), FLOATS, False, label="keepdim"),
    ]


def extremes(name: str) -> list[Case]:
    return [
        Case(name, of(name), (A,), sets(SCALAR, *ODD), ALL, label="all"),
        Case(name, lambda lib, x: tuple(getattr(lib, name)(x, 1)), (A,), (), ALL, label="dim"),
        Case(name, lambda lib, x: tuple(getattr(x, name)(-1, True)), (A,), sets(SCALAR, *ODD), ALL, label="keepdim"),
        Case(name, lambda lib, x: getattr(lib, name)(x, 0).values, (A,), label="values"),
        Case(name, lambda lib, x, y: getattr(lib, name)(x, y), (A, X((4, 1))), (), ALL, label="of two"),
    ]


def spreads(name: str) -> list[Case]:
    def call(*arguments: Any, **options: Any) -> Callable[..., Any]:
        def quietly(lib: Any, x: Any) -> Any:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # PyTorch warns of too few elements
                return getattr(lib, name)(x, *arguments, **options)

        return quietly

    return [
        Case(name, call(), (A,), sets(X((7,)), X((2, 3))), FLOATS, label="all"),
        Case(name, call(dim=1), (A,), sets(X((2, 3))), FLOATS, label="dim"),
        Case(name, call((0, 2), keepdim=True, correction=0), (A,), sets(X((1, 3, 1))), FLOATS, label="population"),
        Case(name, call(1, correction=2.5), (A,), (), FLOATS, label="correction"),
        Case(name, call(False), (A,), (), FLOATS, label="biased"),
        Case(name, call(1, True, True), (A,), (), FLOATS, label="unbiased"),
        Case(name, call(dim=None, unbiased=False), (A,), (), FLOATS, label="biased by name"),
        Case(name, call(), (X((1,)),), sets(X((0,)), X(())), FLOATS, grad=False, label="too few"),
        Case(name, call(dim=-1), (X((3, 1)),), sets(X((3, 0))), FLOATS, grad=False, label="too few in a dimension"),
    ]


def normed(p: Any) -> list[Case]:
    """vector_norm of several orders; operands away from 0 where PyTorch's second gradient has a kink there."""
    name, label = "norm", f"p={p}"
    return [
        Case(name, lambda lib, x: lib.norm(x, p), (A,), sets(SCALAR, *ODD), FLOATS, label=label, loose=4),
        Case(name, lambda lib, x: x.norm(p, 1, True), (A,), sets(X((2, 3))), FLOATS, label=f"{label}, dim", loose=4),
    ]


def holes(lib: Any, x: Any) -> Any:
    """Some elements as nan."""
    return lib.where(x > 1, float("nan"), x) if x.is_floating_point() else x


CASES = [
    *over_dims("sum", ALL),
    Case("sum", lambda lib, x: lib.sum(x, 0, dtype=lib.float64), (A,), (), ALL, label="dtype"),
    Case("sum", lambda lib, x: lib.sum(x, 0, dtype=lib.bool), (A,), sets(X((0, 2))), ALL, False, label="truth"),
    Case("prod", lambda lib, x: lib.prod(x, 0, dtype=lib.bool), (A,), sets(X((0, 2))), ALL, False, label="truth"),
    Case("sum", lambda lib, x: x.sum(dim=[]), (A,), label="no dim"),
    *over_dims("mean", FLOATS),
    Case("mean", lambda lib, x: lib.mean(x, dtype=lib.float64), (A,), (), ALL, label="dtype"),
    *over_dims("nansum", ALL),
    Case("nansum", lambda lib, x: lib.nansum(holes(lib, x), 1), (A,), label="nan"),
    *over_dims("nanmean", FLOATS),
    Case("nanmean", lambda lib, x: lib.nanmean(holes(lib, x), 1), (X((3, 4), -3, 2),), label="nan"),
    Case("prod", of("prod"), (A,), sets(SCALAR, *ODD, *NONE), ALL, label="all", loose=8),
    Case("prod", of("prod", dim=1), (A,), sets(X((2, 0))), ALL, label="dim", loose=4),
    Case("prod", lambda lib, x: x.prod(-1, keepdim=True, dtype=lib.float64), (A,), sets(SCALAR), ALL, label="dtype"),
    Case("prod", lambda lib, x: lib.prod(x * (x > 0), 1), (A,), label="zeros", loose=4),
    Case("prod", lambda lib, x, z: lib.prod(x * z, 1), (X((3, 4)), Of("bool", (3, 4))), label="one zero or more"),
    *[c for name in ("amax", "amin") for c in over_dims(name, ALL, empty=False)],
    Case("amax", of("amax", dim=1), (X((0, 3)),), (), ALL, False, label="beside nothing"),
    Case("amax", lambda lib, x: lib.amax(x.round(), 1), (X((3, 5), 0, 2),), label="ties", second=False),
    Case("amin", lambda lib, x: lib.amin(x.round(), 1), (X((3, 5), 0, 2),), label="ties", second=False),
    Case("aminmax", lambda lib, x: tuple(lib.aminmax(x)), (A,), sets(SCALAR), ALL, label="all"),
    Case("aminmax", lambda lib, x: tuple(x.aminmax(dim=1, keepdim=True)), (A,), (), ALL, label="dim"),
    Case("aminmax", lambda lib, x: (lib.aminmax(x, dim=0).min, lib.aminmax(x, dim=0).max), (A,), label="names"),
    *[c for name in ("max", "min") for c in extremes(name)],
    *[c for name in ("argmax", "argmin") for c in places(name)],
    *[c for name in ("any", "all") for c in over_dims(name, ALL, grad=False)],
    Case("any", lambda lib, x: lib.any(x > 2.5, 0), (A,), grad=False, label="of few"),
    Case("all", lambda lib, x: lib.all(x > -2.5, 0), (A,), grad=False, label="of most"),
    *[c for name in ("var", "std", "var_mean", "std_mean") for c in spreads(name)],
    Case("std", lambda lib, x: lib.std(x * 0 + 1, 1), (X((2, 3)),), label="of equal ones", second=False),
    Case("count_nonzero", of("count_nonzero"), (A,), sets(SCALAR, *NONE), ALL, False, label="all"),
    Case("count_nonzero", lambda lib, x: lib.count_nonzero(x > 0, (0, 2)), (A,), (), ALL, False, label="dims"),
    Case("logsumexp", of("logsumexp", dim=1), (A,), sets(X((2, 3))), (*FLOATS, *INTS), label="dim"),
    Case("logsumexp", of("logsumexp", dim=-1), (A,), sets(SCALAR, X((0, 3)), X((3, 0))), label="last"),
    Case("logsumexp", at("logsumexp", (0, 2), True), (A,), (), label="keepdim"),
    *[c for p in (2, 1, 3, 2.5, 0.5, float("inf"), float("-inf"), "fro", -1.5) for c in normed(p)],
    Case("norm", lambda lib, x: lib.norm(x, 0), (A,), (), FLOATS, label="p=0", second=False),
    Case("norm", lambda lib, x: lib.norm(x * 0, 2, 1), (A,), label="2 of nothing but 0", second=False),
    Case("norm", lambda lib, x: lib.norm(x * 0, 3, 1), (A,), label="3 of nothing but 0", second=False),
    Case("norm", lambda lib, x: lib.norm(x * (x > 0), 1.5, 1), (A,), label="some 0", loose=4),
    Case("norm", lambda lib, x: lib.norm(x, dtype=lib.float64), (A,), (), ("float32", "bfloat16"), label="dtype"),
    Case("dist", lambda lib, x, y: lib.dist(x, y), (A, X((4, 1))), label="2"),
    Case("dist", lambda lib, x, y: x.dist(y, p=1.0), (A, X((4, 1))), label="1"),
    Case("nn.functional.normalize", lambda lib, x: functional(lib).normalize(x), (A,), label="2"),
    Case("nn.functional.normalize", lambda lib, x: functional(lib).normalize(x, 1.0, dim=-1), (A,), label="1"),
    Case(
        "nn.functional.normalize", lambda lib, x: functional(lib).normalize(x * 0, dim=0), (A,), label="0", second=False
    ),
    Case(
        "nn.functional.pairwise_distance",
        lambda lib, x, y: functional(lib).pairwise_distance(x, y),
        (X((3, 4)), X((3, 4))),
        also=((X((4,)), X((4,))), (X((2, 3, 5)), X((3, 5))), (X((1, 1)), X((1, 1)))),
    ),
    Case(
        "nn.functional.pairwise_distance",
        lambda lib, x, y: functional(lib).pairwise_distance(x, y, p=1.0, eps=0.1, keepdim=True),
        (X((3, 4)), X((3, 4))),
        label="p=1",
        second=False,  # the second derivative of |x| is 0: nothing to compare
    ),
    Case(
        "nn.functional.cosine_similarity",
        lambda lib, x, y: functional(lib).cosine_similarity(x, y),
        (A, X((3, 4, 2))),
        ((A, X((4, 1))),),
        label="dim 1",
    ),
    Case(
        "nn.functional.cosine_similarity",
        lambda lib, x, y: functional(lib).cosine_similarity(x, y, dim=-1, eps=1.0),
        (X((5,), -0.5, 0.5), X((5,))),
        grad=False,  # PyTorch clamps the norms where its gradient does not see it: no difference quotient agrees
        label="large eps",
    ),
]

MISUSES = [
    *[
        Misuse(name, of(name, dim=3), (A,), says=r"dim 3.*\[-3, 2\]")
        for name in (
            "sum",
            "mean",
            "prod",
            "amax",
            "amin",
            "argmax",
            "argmin",
            "any",
            "all",
            "var",
            "std",
            "logsumexp",
            "nansum",
            "count_nonzero",
            "max",
            "min",
            "aminmax",
            "var_mean",
            "std_mean",
            "nanmean",
        )
    ],
    *[Misuse(name, of(name, dim=(0, -3)), (A,), says="twice") for name in ("sum", "mean", "amax", "var", "logsumexp")],
    *[Misuse(name, of(name), (X((0,)),), says=r"\(0,\)") for name in ("max", "min", "argmax", "aminmax", "amax")],
    *[Misuse(name, of(name, dim=0), (X((0, 3)),), says=r"\(0, 3\)") for name in ("max", "argmin", "amin", "amax")],
    *[Misuse(name, of(name), (Of("int64", (3,)),), says="floating") for name in ("mean", "var", "std", "std_mean")],
    Misuse("sum", of("sum", dim=1.5), (A,), says="integer"),
    Misuse("sum", lambda lib: lib.sum([1.0]), says="Tensor"),
    Misuse("argmax", of("argmax", dim="a"), (A,), says="integer"),
    Misuse("var", of("var", correction="a"), (A,), says="number"),
    Misuse("norm", of("norm"), (Of("int64", (3,)),), says="floating"),
    Misuse("norm", lambda lib, x: lib.norm(x, "max"), (A,)),
    Misuse("norm", lambda lib, x: lib.norm(x, float("inf")), (X((0,)),)),
]
