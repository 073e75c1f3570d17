"""Writing at positions, sorted search and counting."""

from typing import Any

from tests.surface.case import ALL, FLOATS, NUMBERS, Case, Misuse, Of, X
from tests.surface.of_index import I

PLACES = [[2, 0, 1, 3], [1, 3, 0, 2]]  # no place twice along either dimension: PyTorch's gradient is right only then


def unique(lib: Any) -> Any:
    return lib.tensor(PLACES)


def reduces(name: str, how: str, include: bool, **more: Any) -> Case:
    """A scatter_reduce or index_reduce of several values a place; factors lie off 0, extremes apart."""
    slices = name == "index_reduce"
    low, apart = (0.5, False) if how == "prod" else (-3, how in ("amax", "amin"))

    def call(lib: Any, x: Any, i: Any, s: Any) -> Any:
        return getattr(lib, name)(x, 0, i, s, how, include_self=include)

    shapes = [((3, 4), (5, 4)), ((2, 3), (1, 3)), ((1, 1), (4, 1))]
    sets = [
        (X(a, low, 3, apart), I(b[0], high=a[0]) if slices else I(*b, high=a[0]), X(b, low, 3.1, apart))
        for a, b in shapes
    ]
    return Case(
        name,
        call,
        sets[0],
        also=tuple(sets[1:]),
        label=f"{how}{'' if include else ', without self'}",
        **{"dtypes": NUMBERS} | more,
    )


WRITES = [
    Case(
        "scatter",
        lambda lib, x, s: lib.scatter(x, 1, unique(lib), s),
        (X((3, 4)), X((2, 4))),
        also=((X((2, 5)), X((3, 4))), (X((2, 4)), X((2, 6)))),
        dtypes=ALL,
    ),
    Case(
        "scatter", lambda lib, x, s: x.scatter(-1, unique(lib)[:, :2].int(), s), (X((3, 4)), X((2, 4))), label="int32"
    ),
    Case(
        "scatter",
        lambda lib, x, i: lib.scatter(x, 0, i, 2),
        (X((3, 4)), I(5, 2)),
        also=((X(()), I(high=1)), (X((4,)), I(0))),
        label="number",
        dtypes=ALL,
    ),
    Case(
        "scatter", lambda lib, x, i: lib.scatter(x, 0, i, value=2.5), (X((3, 4)), I(2, 4)), label="value", dtypes=FLOATS
    ),
    Case(
        "scatter",
        lambda lib, x, i, s: lib.scatter(x, 0, i, s),
        (X((3, 4)), I(4, 4), X((5, 4))),
        label="repeated",
        grad=False,
    ),
    Case(
        "scatter",
        lambda lib, x, i, s: lib.scatter(x, 0, i, s, reduce="add"),
        (X((3, 4)), I(4, 4), X((5, 4))),
        label="add",
        grad=False,
        dtypes=NUMBERS,
    ),
    Case(
        "scatter",
        lambda lib, x, i: lib.scatter(x, 0, i, 2, reduce="multiply"),
        (X((3, 4)), I(2, 4)),
        label="multiply",
        grad=False,
        dtypes=NUMBERS,
    ),
    Case("Tensor.scatter_", lambda lib, x, s: x.clone().scatter_(1, unique(lib), s), (X((3, 4)), X((2, 4)))),
    Case(
        "scatter_add",
        lambda lib, x, i, s: lib.scatter_add(x, 0, i, s),
        (X((3, 4)), I(5, 4), X((5, 4))),
        also=(
            (X((3, 4)), I(2, 2), X((3, 3))),
            (X(()), I(high=1), X(())),
            (X((3, 4)), I(0, 4), X((2, 4))),
            (X((1,)), I(6, high=1), X((6,))),
        ),
        dtypes=NUMBERS,
    ),
    Case(
        "scatter_add",
        lambda lib, x, i, s: x.scatter_add(-2, i, s),
        (X((2, 3, 4)), I(2, 5, 4), X((2, 5, 4))),
        label="inner",
    ),
    Case("Tensor.scatter_add_", lambda lib, x, i, s: x.clone().scatter_add_(1, i, s), (X((3, 4)), I(3, 6), X((3, 6)))),
    *(
        reduces("scatter_reduce", how, include)
        for how in ("sum", "prod", "mean", "amax", "amin")
        for include in (True, False)
    ),
    Case(
        "Tensor.scatter_reduce_",
        lambda lib, x, i, s: x.clone().scatter_reduce_(0, i, s, "amax"),
        (X((3, 4), apart=True), I(5, 4), X((5, 4), -3.1, 3, True)),
    ),
    *(reduces("index_reduce", how, include) for how in ("prod", "mean", "amax", "amin") for include in (True, False)),
    Case(
        "Tensor.index_reduce_",
        lambda lib, x, i, s: x.clone().index_reduce_(1, i, s, "mean"),
        (X((3, 4)), I(5), X((3, 5))),
    ),
    Case(
        "index_add",
        lambda lib, x, i, s: lib.index_add(x, 0, i, s),
        (X((3, 4)), I(5), X((5, 4))),
        also=((X((3,)), I(5, dtype="int32"), X((5,))), (X((3, 4)), I(0), X((0, 4)))),
        dtypes=NUMBERS,
    ),
    Case(
        "index_add",
        lambda lib, x, i, s: x.index_add(-1, i, s, alpha=2),
        (X((2, 3)), I(4), X((2, 4))),
        label="alpha",
        dtypes=NUMBERS,
    ),
    Case(
        "Tensor.index_add_", lambda lib, x, i, s: x.clone().index_add_(0, i, s, alpha=0.5), (X((3, 4)), I(5), X((5, 4)))
    ),
    Case(
        "index_copy",
        lambda lib, x, s: lib.index_copy(x, 1, lib.tensor([3, 0]), s),
        (X((3, 4)), X((3, 2))),
        also=((X((1, 4)), X((1, 2))),),
        dtypes=ALL,
    ),
    Case(
        "Tensor.index_copy_", lambda lib, x, s: x.clone().index_copy_(0, lib.tensor([2, 0]), s), (X((3, 4)), X((2, 4)))
    ),
    Case(
        "index_fill",
        lambda lib, x, i: lib.index_fill(x, 1, i, 2),
        (X((3, 4)), I(2)),
        also=((X((3, 4)), I(2, low=-3, high=0)), (X((3, 4)), I(0)), (X((3, 4)), I())),
        dtypes=ALL,
    ),
    Case("index_fill", lambda lib, x, i, v: x.index_fill(0, i, v), (X((3, 4)), I(2), X(())), label="tensor"),
    Case("Tensor.index_fill_", lambda lib, x, i: x.clone().index_fill_(0, i, -1), (X((3, 4)), I(2))),
    Case(
        "index_put",
        lambda lib, x, s: lib.index_put(x, (lib.tensor([2, 0]),), s),
        (X((3, 4)), X((2, 4))),
        also=((X((3, 4)), X((4,))), (X((3, 1)), X(()))),
        dtypes=ALL,
    ),
    Case(
        "index_put",
        lambda lib, x, i, j, s: lib.index_put(x, (i, j), s, accumulate=True),
        (X((3, 4)), I(6, low=-3), I(6), X((6,))),
        also=((X((3, 4, 2)), I(2, 1), I(3), X((2, 3, 2))),),
        label="accumulate",
        dtypes=NUMBERS,
    ),
    Case(
        "Tensor.index_put_",
        lambda lib, x, i, s: x.clone().index_put_((i,), s, accumulate=True),
        (X((3, 4)), I(6), X((6, 4))),
    ),
    Case(
        "Tensor.index_put_",
        lambda lib, x, m: x.clone().index_put_((m,), lib.tensor(2.0, dtype=x.dtype)),
        (X((3, 4)), Of("bool", (3, 4))),
        label="mask",
        dtypes=FLOATS,
    ),
    Case(
        "Tensor.put",
        lambda lib, x, s: x.put(lib.tensor([[-1, 2], [0, 4]]), s),
        (X((3, 4)), X((2, 2))),
        also=((X((6,)), X((4,))),),
        dtypes=ALL,
    ),
    Case(
        "Tensor.put",
        lambda lib, x, i, s: x.put(i, s, accumulate=True),
        (X((3, 4)), I(7, low=-12, high=12), X((7,))),
        label="accumulate",
        dtypes=NUMBERS,
    ),
    Case("Tensor.put_", lambda lib, x, i, s: x.clone().put_(i, s, True), (X((3, 4)), I(7), X((7,)))),
]


def line(lib: Any, x: Any) -> Any:
    return lib.tensor([-2, -1, 0, 0, 0, 1, 1, 2]).to(x.dtype)


SEARCHES = [
    Case(
        "searchsorted",
        lambda lib, x: lib.searchsorted(line(lib, x), x),
        (X((3, 4)),),
        also=((X(()),), (X((0,)),)),
        dtypes=NUMBERS,
        grad=False,
    ),
    Case(
        "searchsorted",
        lambda lib, x: lib.searchsorted(line(lib, x), x, right=True, out_int32=True),
        (X((3, 4)),),
        dtypes=NUMBERS,
        grad=False,
        label="right",
    ),
    Case(
        "searchsorted",
        lambda lib, x: lib.searchsorted(line(lib, x).reshape(2, 4), x, side="right"),
        (X((2, 3)),),
        grad=False,
        label="lines",
    ),
    Case(
        "searchsorted",
        lambda lib, x: lib.searchsorted(
            lib.tensor([3.0, 1.0, 2.0]), lib.tensor([2.5, 0.0]), sorter=lib.tensor([1, 2, 0])
        ),
        (X(()),),
        dtypes=("float32",),
        grad=False,
        label="sorter",
    ),
    Case(
        "searchsorted",
        lambda lib, x: lib.searchsorted(x, 0.5),
        (X((1,)),),
        grad=False,
        label="number",
        also=((X((0,)),),),
    ),
    Case(
        "searchsorted",
        lambda lib, x: lib.searchsorted(line(lib, x), lib.tensor([float("nan"), float("inf")]).to(x.dtype)),
        (X(()),),
        grad=False,
        label="nan",
    ),
    Case(
        "bucketize",
        lambda lib, x: lib.bucketize(x, line(lib, x)),
        (X((3, 4)),),
        also=((X(()),),),
        dtypes=NUMBERS,
        grad=False,
    ),
    Case(
        "bucketize",
        lambda lib, x: lib.bucketize(x, line(lib, x), right=True, out_int32=True),
        (X((3, 4)),),
        grad=False,
        label="right",
    ),
    Case(
        "bincount",
        lambda lib, i: lib.bincount(i),
        (I(12, high=5),),
        also=((I(0),), (I(1, high=1),), (I(5, dtype="int32"),)),
        dtypes=("float32",),
        grad=False,
    ),
    Case(
        "bincount",
        lambda lib, i: i.bincount(minlength=9),
        (I(12, high=5),),
        also=((I(0),),),
        dtypes=("float32",),
        grad=False,
        label="minlength",
    ),
    Case(
        "bincount",
        lambda lib, x, i: lib.bincount(i, x),
        (X((12,)), I(12, high=5)),
        dtypes=("float32", "float64", "int32"),
        grad=False,
        label="weights",
    ),
    Case(
        "histc",
        lambda lib, x: lib.histc(x, 5),
        (X((3, 4)),),
        also=((X((1,)),), (X((0,)),), (X(()),)),
        dtypes=("float32", "float64"),
        grad=False,
    ),
    Case(
        "histc",
        lambda lib, x: x.histc(bins=4, min=-1, max=2),
        (X((3, 4)),),
        dtypes=("float32", "float64"),
        grad=False,
        label="range",
    ),
    Case(
        "histogram",
        lambda lib, x: tuple(lib.histogram(x, 5)),
        (X((3, 4)),),
        also=((X((1,)),), (X((0,)),)),
        dtypes=("float32", "float64"),
        grad=False,
    ),
    Case(
        "histogram",
        lambda lib, x, w: tuple(lib.histogram(x, 4, range=(-1.0, 2.0), weight=w, density=True)),
        (X((3, 4)), X((3, 4), 0.5)),
        dtypes=("float32", "float64"),
        grad=False,
        label="density",
    ),
    Case(
        "histogram",
        lambda lib, x: tuple(x.histogram(lib.tensor([-1.0, 0.0, 0.5, 2.0], dtype=x.dtype))),
        (X((3, 4)),),
        dtypes=("float32", "float64"),
        grad=False,
        label="edges",
    ),
    Case("tril_indices", lambda lib, x: lib.tril_indices(3, 4, -1), (X(()),), dtypes=("float32",), grad=False),
    Case(
        "triu_indices",
        lambda lib, x: lib.triu_indices(3, 4, 1, dtype=lib.int32),
        (X(()),),
        dtypes=("float32",),
        grad=False,
    ),
    Case(
        "triu_indices", lambda lib, x: lib.triu_indices(0, 4), (X(()),), dtypes=("float32",), grad=False, label="empty"
    ),
    Case(
        "cartesian_prod",
        lambda lib, a, b: lib.cartesian_prod(a, b),
        (X((3,)), X((2,))),
        also=((X((0,)), X((2,))),),
        dtypes=ALL,
    ),
    Case("cartesian_prod", lambda lib, a: lib.cartesian_prod(a), (X((3,)),), label="one"),
    Case("combinations", lambda lib, a: lib.combinations(a, 3), (X((5,)),), also=((X((2,)),),), dtypes=ALL),
    Case(
        "combinations", lambda lib, a: lib.combinations(a, with_replacement=True), (X((3,)),), label="with_replacement"
    ),
]

CASES = [*WRITES, *SEARCHES]

M, ROW = X((3, 4)), I(1, 4, low=3, high=4)

MISUSES = [
    Misuse("scatter", lambda lib, x, i, s: lib.scatter(x, 0, i, s), (M, ROW, M), says=r"3.*\[0, 2\]"),
    Misuse(
        "scatter", lambda lib, x, i, s: lib.scatter(x, 0, i, s), (M, I(1, 4, low=-1, high=0), M), says=r"-1.*\[0, 2\]"
    ),
    Misuse(
        "scatter",
        lambda lib, x, i, s: lib.scatter(x, 0, i, s),
        (M, I(1, 4), Of("float64", (3, 4))),
        says="float64.*float32",
    ),
    Misuse(
        "scatter", lambda lib, x, i, s: lib.scatter(x, 0, i, s), (M, I(1, 5), X((3, 5))), says=r"\(1, 5\).*\(3, 4\)"
    ),
    Misuse(
        "scatter", lambda lib, x, i, s: lib.scatter(x, 0, i, s), (M, I(2, 4), X((1, 4))), says=r"\(2, 4\).*\(1, 4\)"
    ),
    Misuse("scatter", lambda lib, x, i, s: lib.scatter(x, 0, i, s, reduce="mean"), (M, I(1, 4), M), says="'mean'"),
    Misuse("scatter", lambda lib, x, i, s: lib.scatter(x, 2, i, s), (M, I(1, 4), M), says="dim 2"),
    Misuse("scatter", lambda lib, x, s: lib.scatter(x, 0, x, s), (M, M), says="float32"),
    Misuse("scatter_add", lambda lib, x, i, s: lib.scatter_add(x, 0, i, s), (M, ROW, M), says=r"3.*\[0, 2\]"),
    Misuse(
        "scatter_add", lambda lib, x, i, s: lib.scatter_add(x, 0, i, s), (M, I(4), X((4,))), says=r"\(4,\).*\(3, 4\)"
    ),
    Misuse(
        "scatter_reduce", lambda lib, x, i, s: lib.scatter_reduce(x, 0, i, s, "amax"), (M, ROW, M), says=r"3.*\[0, 2\]"
    ),
    Misuse(
        "scatter_reduce",
        lambda lib, x, i, s: lib.scatter_reduce(x, 0, i, s, "median"),
        (M, I(1, 4), M),
        says="'median'",
    ),
    Misuse(
        "index_add",
        lambda lib, x, i, s: lib.index_add(x, 0, i, s),
        (M, I(1, low=3, high=4), X((1, 4))),
        says=r"3.*\[0, 2\]",
    ),
    Misuse(
        "index_add", lambda lib, x, i, s: lib.index_add(x, 0, i, s), (M, I(2), X((3, 4))), says=r"\(3, 4\).*\(2, 4\)"
    ),
    Misuse("index_add", lambda lib, x, i, s: lib.index_add(x, 0, i, s), (M, I(2, 2), X((2, 4))), says="1-d"),
    Misuse(
        "index_copy",
        lambda lib, x, i, s: lib.index_copy(x, 0, i, s),
        (M, I(1, low=-1, high=0), X((1, 4))),
        says=r"-1.*\[0, 2\]",
    ),
    Misuse("index_fill", lambda lib, x, i: lib.index_fill(x, 0, i, 1), (M, I(1, low=3, high=4)), says=r"3.*\[-3, 2\]"),
    Misuse("index_fill", lambda lib, x, i, v: lib.index_fill(x, 0, i, v), (M, I(1), X((4,))), says=r"0-d.*\(4,\)"),
    Misuse(
        "index_put",
        lambda lib, x, i, s: lib.index_put(x, (i,), s),
        (M, I(1, low=3, high=4), X((1, 4))),
        says=r"3.*\[-3, 2\]",
    ),
    Misuse(
        "index_put", lambda lib, x, i, s: lib.index_put(x, (i,), s), (M, I(2), Of("float64", (2, 4))), says="float64"
    ),
    Misuse(
        "index_put", lambda lib, x, i, s: lib.index_put(x, (i,), s), (M, I(2), X((3, 4))), says=r"\(3, 4\).*\(2, 4\)"
    ),
    Misuse(
        "index_reduce", lambda lib, x, i, s: lib.index_reduce(x, 0, i, s, "sum"), (M, I(1), X((1, 4))), says="'sum'"
    ),
    Misuse(
        "Tensor.put", lambda lib, x, i, s: x.put(i, s), (M, I(1, low=12, high=13), X((1,))), says=r"12.*\[-12, 11\]"
    ),
    Misuse("Tensor.put", lambda lib, x, i, s: x.put(i, s), (M, I(2), X((3,))), says="2 positions.*3"),
    Misuse(
        "searchsorted", lambda lib, x, v: lib.searchsorted(x, v), (X((2, 3)), X((3, 3))), says=r"\(2, 3\).*\(3, 3\)"
    ),
    Misuse(
        "searchsorted", lambda lib, x, v: lib.searchsorted(x, v, side="middle"), (X((3,)), X((3,))), says="'middle'"
    ),
    Misuse(
        "searchsorted",
        lambda lib, x, v: lib.searchsorted(x, v, right=True, side="left"),
        (X((3,)), X((3,))),
        says="contradicts",
    ),
    Misuse("bucketize", lambda lib, x: lib.bucketize(x, x), (X((2, 2)),), says="1-d"),
    Misuse("bincount", lambda lib, i: lib.bincount(i), (I(3, low=-3, high=-1),), says="-3|-2"),
    Misuse("bincount", lambda lib, x: lib.bincount(x), (X((3,)),), says="float32"),
    Misuse("bincount", lambda lib, i: lib.bincount(i), (I(2, 2),), says=r"\(2, 2\)"),
    Misuse("bincount", lambda lib, i, w: lib.bincount(i, w), (I(2), X((3,))), says=r"\(3,\).*\(2,\)"),
    Misuse("histc", lambda lib, x: lib.histc(x, 0), (M,), says="bins"),
    Misuse("histc", lambda lib, x: lib.histc(x, 5, 2, 1), (M,), says="max 1"),
    Misuse("histogram", lambda lib, x: lib.histogram(x, 0), (M,), says="bins"),
    Misuse("histogram", lambda lib, x, w: lib.histogram(x, 3, weight=w), (M, X((3,))), says=r"\(3,\).*\(3, 4\)"),
    Misuse("histogram", lambda lib, x: lib.histogram(x, 3, range=(2.0, 1.0)), (M,), says="range"),
    Misuse("tril_indices", lambda lib: lib.tril_indices(-1, 2), says="-1 rows"),
    Misuse("cartesian_prod", lambda lib, x: lib.cartesian_prod(x, x), (M,), says="1-d"),
    Misuse("combinations", lambda lib, x: lib.combinations(x), (M,), says="1-d"),
]
