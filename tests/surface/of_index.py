"""Reading and writing at positions: keys of x[...] in every mixture, gather and its like, masks."""

from typing import Any

from tests.surface.case import ALL, FLOATS, Case, Misuse, Of, X, functional

BOOLS = ("float32", "int64", "bool")


def I(*shape: int, high: int = 3, low: int = 0, dtype: str = "int64") -> Of:  # noqa: E743  an index
    return Of(dtype, shape, low, high)


def get(label: str, key: Any, *operands: Any, **more: Any) -> Case:
    """x[key(lib, *indices)], compared with PyTorch's; the tensor is the first operand."""
    return Case(
        "Tensor.__getitem__", lambda lib, x, *i: x[key(lib, *i)], operands, label=label, **{"dtypes": BOOLS} | more
    )


def put(label: str, key: Any, value: Any, *operands: Any, **more: Any) -> Case:
    """y[key(lib, *indices)] = value on a copy; the last operand is the value, or `value` is a number."""

    def call(lib: Any, x: Any, *rest: Any) -> Any:
        y = x.clone()
        y[key(lib, *(rest if value is not None else rest[:-1]))] = rest[-1] if value is None else value
        return y

    return Case("Tensor.__setitem__", call, operands, label=label, **{"dtypes": BOOLS} | more)


def distinct(lib: Any, values: list[Any]) -> Any:
    return lib.tensor(values)


CUBE = X((4, 3, 5))
GETS = [
    get("integer", lambda lib: 1, CUBE, dtypes=ALL),
    get("negative", lambda lib: (-1, -2, -3), CUBE),
    get("slices", lambda lib: (slice(1, None), slice(None, -1), slice(None, None, 2)), CUBE, also=((X((2, 1, 1)),),)),
    get("slices outside", lambda lib: (slice(-9, 9), slice(2, 1), slice(7, 9)), CUBE, grad=False),
    get("None and ...", lambda lib: (None, ..., 0, None), CUBE),
    get("0-d", lambda lib: ..., X(())),
    get("0-d None", lambda lib: (None, None), X(())),
    get("True", lambda lib: True, CUBE, also=((X(()),),)),
    get("False", lambda lib: (slice(None), False), CUBE, grad=False),
    get("0-d mask", lambda lib: lib.tensor(True), CUBE),
    get("tensor", lambda lib, i: i, CUBE, I(6, low=-4, high=4), also=((CUBE, I(2, 3)), (CUBE, I(0)), (X((4,)), I(3)))),
    get("int32", lambda lib, i: (slice(None), i), CUBE, I(2, 2, dtype="int32"), dtypes=ALL),
    get("0-d tensor", lambda lib, i: i, CUBE, I(), also=((X((4,)), I()),)),
    get("0-d tensor between", lambda lib, i, j: (i, slice(None), j), CUBE, I(), I(4)),
    get("0-d tensors", lambda lib, i, j: (i, ..., j), CUBE, I(), I()),
    get("two tensors", lambda lib, i, j: (i, j), CUBE, I(4), I(4)),
    get("that broadcast", lambda lib, i, j: (slice(None), i, j), CUBE, I(2, 1), I(3)),
    get("set apart", lambda lib, i, j: (i, slice(None), j), CUBE, I(2), I(2)),
    get("set apart by None", lambda lib, i, j: (i, None, j), CUBE, I(2), I(2)),
    get("with an integer", lambda lib, i: (0, slice(None), i), CUBE, I(2, 2)),
    get("behind slices", lambda lib, i: (..., slice(None, None, 2), i), CUBE, I(2)),
    get("three", lambda lib, i, j, k: (i, j, k), CUBE, I(2), I(2), I(1)),
    get("list", lambda lib: ([0, -1, 2], [1, 1, 0]), CUBE),
    get("list of truths", lambda lib: [True, False, False, True], CUBE),
    get("empty list", lambda lib: [], CUBE, grad=False),
    get("mask", lambda lib, m: m, CUBE, Of("bool", (4, 3, 5)), also=((X((4,)), Of("bool", (4,))),), dtypes=ALL),
    get("mask of rows", lambda lib, m: m, CUBE, Of("bool", (4,))),
    get("mask of columns", lambda lib, m: (slice(1, None), m), CUBE, Of("bool", (3, 5))),
    get("mask and tensor", lambda lib, m, i: (m, slice(None), i), CUBE, Of("bool", (4,)), I(1)),
    get("nothing true", lambda lib: lib.tensor([False] * 4), CUBE, grad=False),
]
PUTS = [
    put("integer", lambda lib: 1, 7, CUBE, dtypes=ALL),
    put(
        "integer, tensor", lambda lib: (1, -1), None, CUBE, X((5,)), dtypes=ALL, also=((CUBE, X(())), (CUBE, X((1, 1))))
    ),
    put(
        "slices",
        lambda lib: (slice(1, 3), ..., slice(None, None, 2)),
        None,
        CUBE,
        X((3, 3)),
        also=((CUBE, X((2, 1, 3))), (CUBE, X((1, 2, 3, 3)))),
    ),
    put("all", lambda lib: ..., None, CUBE, X((5,))),
    put("everything", lambda lib: slice(None), 2.0, CUBE, dtypes=FLOATS),
    put("nothing", lambda lib: slice(2, 2), 2, CUBE),
    put("0-d", lambda lib: ..., None, X(()), X(())),
    put("None", lambda lib: (None, 0), None, CUBE, X((1, 3, 5))),
    put("True", lambda lib: True, None, CUBE, X((1, 4, 3, 5))),
    put("False", lambda lib: False, 1, CUBE),
    put("tensor", lambda lib: lib.tensor([2, 0]), None, CUBE, X((2, 3, 5)), also=((CUBE, X((5,))), (CUBE, X(())))),
    put("tensor, number", lambda lib, i: (slice(None), i), 3, CUBE, I(2, 2, low=-3), dtypes=ALL),
    put("0-d tensor", lambda lib, i: (i, 1), None, CUBE, I(), X((5,))),
    put("0-d tensor between", lambda lib, i: (i, slice(None), lib.tensor([1, 3])), None, CUBE, I(), X((3, 2))),
    put("two tensors", lambda lib: (lib.tensor([0, 3]), lib.tensor([1, 2])), None, CUBE, X((2, 5))),
    put("set apart", lambda lib: (lib.tensor([[0], [3]]), slice(None), lib.tensor([1, 2])), None, CUBE, X((2, 2, 3))),
    put("in a slice", lambda lib: (slice(1, None), slice(None, None, 2), lib.tensor([4, 0])), None, CUBE, X((3, 2, 2))),
    put("list", lambda lib: [0, -1], None, CUBE, X((2, 3, 5))),
    put("mask, number", lambda lib, m: m, 5, CUBE, Of("bool", (4, 3, 5)), dtypes=ALL),
    put("mask of rows, 0-d", lambda lib, m: m, None, CUBE, Of("bool", (4,)), X(())),
    put(
        "mask, tensor",
        lambda lib: lib.tensor([[True, False, True]] * 4),
        None,
        CUBE,
        X((8, 5)),
        also=((CUBE, X((5,))), (CUBE, X((1, 5))), (CUBE, X((8, 1)))),
    ),
    put("mask and slice", lambda lib: (slice(2), lib.tensor([True, False, True])), None, CUBE, X((2, 2, 5))),
]


def unique(lib: Any) -> Any:
    return lib.tensor([[2, 0, 1], [1, 3, 0]])


GATHERS = [
    Case(
        "gather",
        lambda lib, x, i: lib.gather(x, 0, i),
        (X((3, 4)), I(5, 4)),
        also=((X((3, 4)), I(2, 2)), (X(()), I(high=1)), (X((4,)), I(0)), (X((0, 3)), I(0, 3)), (X((3, 1)), I(3, 1))),
        dtypes=ALL,
    ),
    Case(
        "gather", lambda lib, x, i: x.gather(-1, i), (X((2, 3, 4)), I(2, 3, 2, dtype="int32")), label="last", dtypes=ALL
    ),
    Case(
        "index_select",
        lambda lib, x, i: lib.index_select(x, 1, i),
        (X((3, 4)), I(5)),
        also=((X((2, 3, 2)), I(2, dtype="int32")), (X((2, 3)), I()), (X((2, 3)), I(0))),
        dtypes=ALL,
    ),
    Case(
        "index_select",
        lambda lib, x, i: x.index_select(-2, i),
        (X((3, 4)), I(2)),
        label="negative",
        also=((X((3, 4, 2)), I(1)),),
    ),
    Case(
        "take",
        lambda lib, x, i: lib.take(x, i),
        (X((3, 4)), I(2, 3, low=-12, high=12)),
        also=((X(()), I(1, high=1)), (X((3,)), I(0))),
        dtypes=ALL,
    ),
    Case(
        "take_along_dim",
        lambda lib, x, i: lib.take_along_dim(x, i, 1),
        (X((3, 4)), I(3, 2, low=-4)),
        also=((X((3, 4)), I(1, 2)), (X((1, 4)), I(3, 2))),
        dtypes=ALL,
    ),
    Case("take_along_dim", lambda lib, x, i: x.take_along_dim(i), (X((3, 4)), I(2, 3, high=12)), label="flat"),
    Case(
        "masked_select",
        lambda lib, x, m: lib.masked_select(x, m),
        (X((3, 4)), Of("bool", (3, 4))),
        also=(
            (X((3, 4)), Of("bool", (4,))),
            (X((4,)), Of("bool", (3, 1))),
            (X(()), Of("bool", ())),
            (X((0, 3)), Of("bool", (3,))),
        ),
        dtypes=ALL,
    ),
    Case(
        "masked_scatter",
        lambda lib, x, m, s: lib.masked_scatter(x, m, s),
        (X((3, 4)), Of("bool", (3, 4)), X((13,))),
        also=((X((3, 4)), Of("bool", (4,)), X((3, 5))), (X((0, 3)), Of("bool", (3,)), X((1,)))),
        dtypes=ALL,
    ),
    Case(
        "Tensor.masked_scatter_",
        lambda lib, x, m, s: x.clone().masked_scatter_(m, s),
        (X((3, 4)), Of("bool", (3, 4)), X((12,))),
    ),
    Case(
        "nonzero",
        lambda lib, x: lib.nonzero(x),
        (Of("int64", (3, 4)),),
        also=((Of("bool", ()),), (Of("bool", (0, 3)),), (Of("float32", (2, 2, 2), -1, 1),), (Of("int64", (5,), 0, 1),)),
        grad=False,
        dtypes=("float32",),
    ),
    Case(
        "nonzero",
        lambda lib, x: x.nonzero(as_tuple=True),
        (Of("int64", (3, 4)),),
        also=((Of("bool", ()),), (Of("bool", (4,)),)),
        grad=False,
        dtypes=("float32",),
        label="as_tuple",
    ),
    Case(
        "nonzero_static",
        lambda lib, x: lib.nonzero_static(x, size=7),
        (Of("int64", (3, 4)),),
        also=((Of("bool", ()),), (Of("bool", (0, 3)),), (Of("int64", (5,), 0, 1),)),
        grad=False,
        dtypes=("float32",),
    ),
    Case(
        "nonzero_static",
        lambda lib, x: x.nonzero_static(size=2, fill_value=9),
        (Of("int64", (4,)),),
        grad=False,
        dtypes=("float32",),
        label="fill_value",
    ),
    Case(
        "unravel_index",
        lambda lib, i: lib.unravel_index(i, (2, 3, 4)),
        (I(5, high=24),),
        also=((I(high=24),), (I(0),)),
        grad=False,
        dtypes=("float32",),
    ),
    Case(
        "argwhere",
        lambda lib, x: lib.argwhere(x),
        (Of("int64", (3, 4)),),
        also=((Of("bool", ()),),),
        grad=False,
        dtypes=("float32",),
    ),
    Case(
        "embedding",
        lambda lib, w, i: lib.embedding(w, i),
        (X((5, 3)), I(2, 4, high=5)),
        also=((X((5, 3)), I(high=5)), (X((5, 3)), I(0))),
    ),
    Case(
        "nn.functional.embedding",
        lambda lib, w, i: functional(lib).embedding(i, w),
        (X((5, 3)), I(2, 4, high=5)),
        also=((X((1, 1)), I(3, high=1)),),
        dtypes=FLOATS,
    ),
    Case(
        "nn.functional.embedding",
        lambda lib, w, i: functional(lib).embedding(i, w, padding_idx=-5),
        (X((5, 3)), I(2, 4, low=1, high=5)),
        label="padding_idx",
    ),
    Case(
        "nn.functional.one_hot",
        lambda lib, i: functional(lib).one_hot(i, 6),
        (I(2, 3, high=6),),
        also=((I(high=6),), (I(0, high=6),)),
        grad=False,
        dtypes=("float32",),
    ),
    Case(
        "nn.functional.one_hot",
        lambda lib, i: functional(lib).one_hot(i),
        (I(2, 3, high=6),),
        grad=False,
        dtypes=("float32",),
        label="counted",
    ),
]


def bag(label: str, *operands: Any, **options: Any) -> Case:
    def call(lib: Any, w: Any, i: Any, *scale: Any) -> Any:
        more = {"offsets": lib.tensor([0, 2, 2, i.numel()][: 3 + last])} if i.ndim == 1 else {}
        more |= {"per_sample_weights": scale[0]} if scale else {}
        return functional(lib).embedding_bag(i, w, **more | options)

    last = options.get("include_last_offset", False)

    return Case("nn.functional.embedding_bag", call, operands, label=label)


TABLE = X((5, 3), apart=True)
BAGS = [
    *(
        bag(f"{mode}, {len(shape)}-d", TABLE, I(*shape, high=5), mode=mode)
        for mode in ("sum", "mean")
        for shape in ((4, 2), (6,))
    ),
    *(bag(f"max, {i.shape}", TABLE, i, mode="max") for i in (I(4, 1, high=5), Of("int64", (3,), 2, 3))),
    bag("padding", TABLE, I(4, 3, high=5), padding_idx=1),
    bag("padding, 1-d", TABLE, I(6, high=5), padding_idx=-4, mode="sum"),
    bag("weights", TABLE, I(6, high=5), X((6,)), mode="sum"),
    bag("last offset", TABLE, I(5, high=5), mode="sum", include_last_offset=True),
]

CASES = [*BAGS, *GETS, *PUTS, *GATHERS]

L = I(2, high=2)


def writes(name: str, key: Any, *operands: Any, value: Any = 0.0, says: str = "") -> Misuse:
    def call(lib: Any, x: Any, *rest: Any) -> Any:
        y = x.clone()
        y[key(lib)] = rest[0] if rest else value

    return Misuse(name, call, operands, says=says)


MISUSES = [
    Misuse("Tensor.__getitem__", lambda lib, x: x[4], (X((4, 3)),), says=r"4.*dimension 0.*size 4"),
    Misuse("Tensor.__getitem__", lambda lib, x: x[0, 0, 0], (X((4, 3)),), says=r"3 indices.*2 dimensions"),
    Misuse("Tensor.__getitem__", lambda lib, x: x[0], (X(()),)),
    Misuse("Tensor.__getitem__", lambda lib, x: x[1.0], (X((4, 3)),), says="float"),
    Misuse("Tensor.__getitem__", lambda lib, x: x["a"], (X((4, 3)),), says="'a'"),
    Misuse("Tensor.__getitem__", lambda lib, x: x[::0], (X((4, 3)),)),
    Misuse("Tensor.__getitem__", lambda lib, x: x[1.5:], (X((4, 3)),)),
    Misuse("Tensor.__getitem__", lambda lib, x: x[lib.tensor([0, 4])], (X((4, 3)),), says=r"4.*\[-4, 3\]"),
    Misuse("Tensor.__getitem__", lambda lib, x: x[:, lib.tensor([-4])], (X((4, 3)),), says=r"-4.*\[-3, 2\]"),
    Misuse("Tensor.__getitem__", lambda lib, x: x[lib.tensor(4)], (X((4, 3)),)),
    Misuse("Tensor.__getitem__", lambda lib, x: x[[0, 7]], (X((4, 3)),)),
    Misuse("Tensor.__getitem__", lambda lib, x: x[lib.tensor([1.0])], (X((4, 3)),), says="float32"),
    Misuse(
        "Tensor.__getitem__",
        lambda lib, x: x[lib.tensor([0, 1]), lib.tensor([0, 1, 2])],
        (X((4, 3)),),
        says=r"\(2,\), \(3,\)",
    ),
    Misuse("Tensor.__getitem__", lambda lib, x: x[lib.tensor([True, False])], (X((4, 3)),), says=r"\(2,\).*\(4, 3\)"),
    Misuse("Tensor.__getitem__", lambda lib, x: x[lib.tensor([1], dtype=lib.int16)], (X((4, 3)),), says="int16"),
    Misuse(
        "Tensor.__getitem__",
        lambda lib, x: x[lib.tensor([1], dtype=lib.uint8)],
        (X((1, 3)),),
        says="uint8.*mask",
        accepted=True,
    ),
    writes("Tensor.__setitem__", lambda lib: 4, X((4, 3))),
    writes("Tensor.__setitem__", lambda lib: lib.tensor([4]), X((4, 3)), says=r"4.*\[-4, 3\]"),
    writes("Tensor.__setitem__", lambda lib: 0, X((4, 3)), X((4,)), says=r"\(4,\).*\(3,\)"),
    writes("Tensor.__setitem__", lambda lib: lib.tensor([0, 1]), X((4, 3)), X((3, 3)), says=r"\(3, 3\).*\(2, 3\)"),
    writes(
        "Tensor.__setitem__", lambda lib: lib.tensor([0, 1]), X((4, 3)), Of("float64", (2, 3)), says="float64.*float32"
    ),
    writes("Tensor.__setitem__", lambda lib: lib.tensor([True, False]), X((4, 3))),
    writes(
        "Tensor.__setitem__",
        lambda lib: lib.tensor([True] * 3 + [False]),
        X((4, 3)),
        X((2, 3)),
        says=r"\(2, 3\).*\(3, 3\)",
    ),
    writes("Tensor.__setitem__", lambda lib: lib.tensor([True] * 4), X((4, 3)), Of("float64", (4, 3)), says="float64"),
    Misuse("Tensor.__setitem__", lambda lib, x: x.requires_grad_().__setitem__(0, 1.0), (X((4,)),), says="no_grad"),
    Misuse("gather", lambda lib, x, i: lib.gather(x, 0, i), (X((3, 4)), I(1, 4, low=3, high=4)), says=r"3.*\[0, 2\]"),
    Misuse("gather", lambda lib, x, i: lib.gather(x, 0, i), (X((3, 4)), I(1, 4, low=-1, high=0)), says=r"-1.*\[0, 2\]"),
    Misuse("gather", lambda lib, x, i: lib.gather(x, 2, i), (X((3, 4)), I(1, 4)), says="dim 2"),
    Misuse("gather", lambda lib, x, i: lib.gather(x, 0, i), (X((3, 4)), I(4)), says=r"\(4,\).*\(3, 4\)"),
    Misuse("gather", lambda lib, x, i: lib.gather(x, 0, i), (X((3, 4)), I(1, 5)), says=r"\(1, 5\).*dim 1"),
    Misuse("gather", lambda lib, x, i: lib.gather(x, 0, i), (X((3, 4)), X((3, 4))), says="float32"),
    Misuse(
        "index_select",
        lambda lib, x, i: lib.index_select(x, 0, i),
        (X((3, 4)), I(1, low=-1, high=0)),
        says=r"-1.*\[0, 2\]",
    ),
    Misuse("index_select", lambda lib, x, i: lib.index_select(x, 0, i), (X((3, 4)), I(1, 1)), says="1-d"),
    Misuse("index_select", lambda lib, x, i: lib.index_select(x, 0, i), (X((3, 4)), X((2,))), says="float32"),
    Misuse("take", lambda lib, x, i: lib.take(x, i), (X((3, 4)), I(1, low=12, high=13)), says=r"12.*\[-12, 11\]"),
    Misuse("take", lambda lib, x, i: lib.take(x, i), (X((3, 4)), X((2,))), says="float32"),
    Misuse(
        "take_along_dim",
        lambda lib, x, i: lib.take_along_dim(x, i, 0),
        (X((3, 4)), I(1, 4, low=3, high=4)),
        says=r"3.*\[-3, 2\]",
        accepted=True,
    ),  # PyTorch takes any number modulo the size
    Misuse("take_along_dim", lambda lib, x, i: lib.take_along_dim(x, i, 0), (X((3, 4)), I(4))),
    Misuse("nonzero_static", lambda lib, x: lib.nonzero_static(x, size=-1), (X((3,)),), says="-1"),
    Misuse("unravel_index", lambda lib, x: lib.unravel_index(x, (2, 3)), (X((3,)),), says="float32"),
    Misuse("masked_select", lambda lib, x, m: lib.masked_select(x, m), (X((3, 4)), X((3, 4))), says="bool"),
    Misuse(
        "masked_scatter", lambda lib, x, m, s: lib.masked_scatter(x, m, s), (X((3,)), X((3,)), X((3,))), says="bool"
    ),
    Misuse(
        "masked_scatter",
        lambda lib, x, s: lib.masked_scatter(x, lib.tensor([True] * 3), s),
        (X((3,)), X((2,))),
        says="2 elements.*3",
    ),
    Misuse("embedding", lambda lib, w, i: lib.embedding(w, i), (X((3, 4)), I(1, low=3, high=4)), says=r"3.*\[0, 2\]"),
    Misuse(
        "nn.functional.embedding",
        lambda lib, w, i: functional(lib).embedding(i, w),
        (X((3, 4)), I(1, low=-1, high=0)),
        says=r"-1.*\[0, 2\]",
    ),
    Misuse(
        "nn.functional.embedding",
        lambda lib, w, i: functional(lib).embedding(i, w),
        (X((3, 4)), X((2,))),
        says="float32",
    ),
    Misuse(
        "nn.functional.embedding",
        lambda lib, w, i: functional(lib).embedding(i, w, padding_idx=3),
        (X((3, 4)), I(2)),
        says="padding_idx 3",
        accepted=True,
    ),
    Misuse(
        "nn.functional.embedding",
        lambda lib, w, i: functional(lib).embedding(i, w, max_norm=1.0),
        (X((3, 4)), I(2)),
        says="max_norm",
        accepted=True,
    ),
    Misuse(
        "nn.functional.embedding_bag",
        lambda lib, w, i: functional(lib).embedding_bag(i, w, lib.tensor([1])),
        (X((3, 4)), I(2)),
        says=r"offsets\[0\] must be 0",
    ),
    Misuse(
        "nn.functional.embedding_bag",
        lambda lib, w, i: functional(lib).embedding_bag(i, w),
        (X((3, 4)), I(2)),
        says=r"\(2,\).*offsets",
    ),
    Misuse(
        "nn.functional.embedding_bag",
        lambda lib, w, i: functional(lib).embedding_bag(i, w, mode="min"),
        (X((3, 4)), I(2, 2)),
        says="'min'",
    ),
    Misuse(
        "nn.functional.one_hot",
        lambda lib, i: functional(lib).one_hot(i, 3),
        (I(1, low=3, high=4),),
        says=r"3.*\[0, 2\]",
    ),
    Misuse("nn.functional.one_hot", lambda lib, i: functional(lib).one_hot(i), (I(1, low=-2, high=-1),), says="-2"),
    Misuse("nn.functional.one_hot", lambda lib, i: functional(lib).one_hot(i), (I(0),), says="num_classes"),
]
