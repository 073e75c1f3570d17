"""Windows, and pools over them."""

from collections.abc import Callable
from typing import Any

from tests.surface.case import ALL, FLOATS, NUMBERS, Case, Misuse, Of, X, functional


def call(name: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
    return lambda lib, x: getattr(functional(lib), name)(x, *arguments, **options)


def case(
    name: str,
    label: str,
    shape: Any,
    *arguments: Any,
    also: Any = (),
    dtypes: Any = FLOATS,
    grad: bool = True,
    **options: Any,
) -> Case:
    x = [X(s, apart="max" in name) for s in (shape, *also)]
    rest = tuple((o,) for o in x[1:])
    return Case(f"nn.functional.{name}", call(name, *arguments, **options), (x[0],), rest, dtypes, grad, label=label)


def power(name: str, label: str, shape: Any, *arguments: Any, **options: Any) -> Case:
    x = X(shape, 0.5, 2.0)
    return Case(f"nn.functional.{name}", call(name, *arguments, **options), (x,), label=label)


def unpooled(lib: Any, rank: int, x: Any, *arguments: Any, **options: Any) -> Any:
    """A pool and its inverse."""
    value, index = getattr(functional(lib), f"max_pool{rank}d")(x, *arguments, return_indices=True)
    return getattr(functional(lib), f"max_unpool{rank}d")(value, index, *arguments, **options)


CASES = [
    Case(
        "Tensor.unfold",
        lambda lib, x: (x.unfold(-1, 3, 2), x.unfold(0, 2, 1), x.unfold(1, 2, 3).unfold(-2, 2, 1)),
        (X((3, 8)),),
        also=((X((2, 5, 4)),), (X((3, 8, 0)),)),
        dtypes=ALL,
    ),
    Case(
        "Tensor.unfold",
        lambda lib, x: (x.unfold(0, 0, 1), x.unfold(-1, 1, 2)),
        (X((5,)),),
        also=((X(()),), (X((3, 2)),)),
        label="size 0 and 1",
    ),
    # --- the largest
    case("max_pool1d", "plain", (2, 3, 7), 2, also=((3, 5), (0, 3, 5), (1, 1, 2)), dtypes=NUMBERS),
    case("max_pool1d", "indices", (2, 3, 7), 3, 2, 1, return_indices=True, also=((1, 5), (0, 3, 5))),
    case("max_pool1d", "dilated, ceil", (2, 9), 3, 4, 1, 2, ceil_mode=True, return_indices=True),
    case("max_pool2d", "plain", (2, 2, 5, 4), 2, also=((2, 4, 4), (0, 2, 4, 4)), dtypes=NUMBERS),
    case("max_pool2d", "all options", (2, 6, 7), (2, 3), (3, 2), (1, 1), (2, 1), True, True),
    case("max_pool2d", "overlapping", (1, 2, 4, 5), 3, 1, 1, return_indices=True),
    case("max_pool2d", "padded integers", (1, 2, 4, 5), 3, (1, 2), 1, dtypes=NUMBERS),
    case("max_pool2d", "stride of nothing", (1, 4, 4), (2, 1), stride=[]),
    case("max_pool3d", "plain", (1, 2, 3, 4, 2), 2, also=((1, 2, 2, 3),), dtypes=NUMBERS),
    case("max_pool3d", "all options", (1, 3, 4, 4), (2, 1, 3), (1, 2, 1), (1, 0, 1), (1, 1, 2), True, True),
    Case(
        "nn.functional.max_pool2d",
        lambda lib, x: functional(lib).max_pool2d(lib.round(x), 3, 2, 1, return_indices=True),
        (X((2, 2, 6, 5), -1, 1),),
        label="equal elements",
    ),
    *(
        Case(
            f"max_pool{rank}d",
            lambda lib, x, n=rank: getattr(lib, f"max_pool{n}d")(x, 2),
            (X((2, *(4,) * rank), apart=True),),
        )
        for rank in (1, 2, 3)
    ),
    case("adaptive_max_pool1d", "even", (2, 3, 6), 3, return_indices=True, also=((3, 6), (0, 3, 6))),
    case("adaptive_max_pool1d", "uneven", (2, 3, 7), 3, return_indices=True, also=((2, 2),)),
    case("adaptive_max_pool1d", "values", (2, 3, 7), (3,)),
    case("adaptive_max_pool2d", "even", (2, 4, 6), 2, return_indices=True),
    case("adaptive_max_pool2d", "uneven", (2, 5, 7), (3, 2), return_indices=True, also=((1, 2, 4, 4), (0, 2, 4, 4))),
    case("adaptive_max_pool2d", "None", (2, 4, 5), (None, 2)),
    case("adaptive_max_pool2d", "no bins", (2, 4, 5), (0, 2), grad=False, return_indices=True),
    case("adaptive_max_pool3d", "even", (2, 2, 4, 3), (1, 2, 3), return_indices=True),
    case("adaptive_max_pool3d", "uneven", (1, 3, 5, 4), (2, 3, 3), return_indices=True),
    Case(
        "nn.functional.adaptive_max_pool2d",
        lambda lib, x: functional(lib).adaptive_max_pool2d(lib.round(x), (3, 2), return_indices=True),
        (X((2, 2, 5, 7), -1, 1),),
        label="equal elements",
    ),
    # --- the mean
    case("avg_pool1d", "plain", (2, 3, 7), 2, also=((3, 5), (0, 3, 5), (1, 1, 2)), dtypes=NUMBERS),
    case("avg_pool1d", "padded, ceil", (2, 8), 3, 2, 1, True),
    case("avg_pool1d", "padding does not count", (2, 8), 3, 2, 1, True, False),
    case("avg_pool2d", "plain", (2, 2, 5, 4), 2, also=((2, 4, 4), (0, 2, 4, 4)), dtypes=NUMBERS),
    case("avg_pool2d", "padded", (1, 2, 4, 5), (3, 2), (2, 1), (1, 0), dtypes=NUMBERS),
    case("avg_pool2d", "padded, ceil", (2, 5, 6), (3, 4), (2, 3), (1, 2), True),
    case("avg_pool2d", "padding does not count", (2, 5, 6), (3, 4), (2, 3), (1, 2), True, False, dtypes=NUMBERS),
    case("avg_pool2d", "divisor", (2, 5, 6), 2, divisor_override=-3, dtypes=NUMBERS),
    case("avg_pool3d", "plain", (1, 2, 3, 4, 2), 2, also=((1, 2, 2, 3),), dtypes=NUMBERS),
    case("avg_pool3d", "all options", (1, 3, 4, 5), (2, 3, 2), (1, 2, 3), (1, 1, 0), True, False),
    case("avg_pool3d", "divisor", (1, 3, 4, 5), 2, ceil_mode=True, divisor_override=5),
    Case("avg_pool1d", lambda lib, x: lib.avg_pool1d(x, 2, 1), (X((2, 4)),)),
    case("adaptive_avg_pool1d", "even", (2, 3, 6), 3, also=((3, 6), (0, 3, 6))),
    case("adaptive_avg_pool1d", "uneven", (2, 3, 7), (3,), also=((2, 2),)),
    case("adaptive_avg_pool2d", "even", (2, 4, 6), 2, also=((0, 2, 4, 4), (2, 0, 4, 4))),
    case("adaptive_avg_pool2d", "uneven", (2, 5, 7), (3, 2), also=((1, 2, 4, 4),)),
    case("adaptive_avg_pool2d", "None", (2, 4, 5), (None, 2)),
    case("adaptive_avg_pool2d", "no bins", (2, 4, 5), (0, 2), grad=False),
    case("adaptive_avg_pool3d", "mixed", (1, 3, 5, 4), (3, 2, 2), also=((1, 2, 2, 4, 4),)),
    Case("adaptive_avg_pool1d", lambda lib, x: lib.adaptive_avg_pool1d(x, 2), (X((2, 4)),)),
    # --- the p-norm
    power("lp_pool1d", "plain", (2, 3, 7), 2, 2),
    power("lp_pool1d", "infinite", (2, 3, 7), float("inf"), 3, 2),
    power("lp_pool2d", "strided, ceil", (2, 5, 4), 3, (2, 3), (1, 2), True),
    power("lp_pool2d", "largest of the negatives", (2, 5, 4), -float("inf"), 2),
    power("lp_pool3d", "plain", (1, 2, 3, 4), 1.5, (2, 1, 2), 1),
    # --- what was largest, put back
    *(
        Case(
            f"nn.functional.max_unpool{rank}d",
            lambda lib, x, n=rank: unpooled(lib, n, x, 2),
            (X((2, *(4,) * rank), apart=True),),
            also=((X((1, 2, *(5,) * rank), apart=True),),) if rank < 3 else (),
        )
        for rank in (1, 2, 3)
    ),
    Case(
        "nn.functional.max_unpool2d",
        lambda lib, x: unpooled(lib, 2, x, (3, 2), (3, 3), (1, 0), output_size=(6, 7)),
        (X((2, 6, 7), apart=True),),
        label="all options",
    ),
    Case(
        "nn.functional.max_unpool1d",
        lambda lib, x: unpooled(lib, 1, x, 3, 1, 1, output_size=(2, 1, 6)),
        (X((2, 1, 6), apart=True),),
        grad=False,  # each of the equal values gets the gradient, as in PyTorch: no difference shows that
        label="one place for several",
    ),
    # --- columns
    case("unfold", "plain", (2, 2, 3, 4), 2, also=((2, 4, 3), (0, 2, 3, 3), (1, 1, 2, 2))),
    case("unfold", "all options", (1, 2, 5, 6), (2, 3), (2, 1), (1, 2), (2, 3)),
    case("fold", "plain", (2, 8, 6), (3, 4), 2, also=((4, 6), (0, 4, 6))),
    case("fold", "all options", (1, 12, 12), (5, 6), (2, 3), (2, 1), (1, 2), (2, 2)),
]


def misuse(
    name: str, says: str, shape: Any, *arguments: Any, dtype: str = "", accepted: bool = False, **options: Any
) -> Misuse:
    x = Of(dtype, shape) if dtype else X(shape)
    return Misuse(f"nn.functional.{name}", call(name, *arguments, **options), (x,), says, accepted)


def unpooling(says: str, shape: Any, index: Any, **options: Any) -> Misuse:
    return Misuse(
        "nn.functional.max_unpool2d",
        lambda lib, x, i: functional(lib).max_unpool2d(x, i, 2, **options),
        (X(shape), index),
        says,
    )


MISUSES = [
    unpooling("int32, but must be int64", (1, 2, 2), Of("int32", (1, 2, 2))),
    unpooling(r"\(1, 2, 3\)", (1, 2, 2), Of("int64", (1, 2, 3))),
    unpooling(r"output_size \(9, 4\)", (1, 2, 2), Of("int64", (1, 2, 2)), output_size=(9, 4)),
    unpooling("output_size", (1, 2, 2), Of("int64", (1, 2, 2)), output_size=(4, 4, 4)),
    unpooling("99", (1, 2, 2), Of("int64", (1, 2, 2), 99, 100)),
    Misuse("Tensor.unfold", lambda lib, x: x.unfold(0, 6, 1), (X((5,)),), says=r"windows of 6 .*\(5,\)"),
    Misuse("Tensor.unfold", lambda lib, x: x.unfold(0, -1, 1), (X((5,)),)),
    Misuse("Tensor.unfold", lambda lib, x: x.unfold(0, 2, 0), (X((5,)),), says="step is 0"),
    Misuse("Tensor.unfold", lambda lib, x: x.unfold(1, 1, 1), (X((5,)),), says="dim 1 is out of range"),
    misuse("max_pool1d", r"\(5,\)", (5,), 2),
    misuse("max_pool2d", r"\(N, C, H, W\)", (4, 5), 2),
    misuse("max_pool2d", r"windows of \(7, 7\).*\(4, 5\)", (1, 4, 5), 7),
    misuse("max_pool2d", "padding .* half", (1, 4, 5), 3, padding=2),
    misuse("max_pool2d", "stride is 0", (1, 4, 5), 2, stride=0),
    misuse("max_pool2d", "kernel_size is 0", (1, 4, 5), 0),
    misuse("max_pool2d", r"kernel_size is \(1, 2, 3\)", (1, 4, 5), (1, 2, 3)),
    misuse("max_pool2d", "kernel_size is 1.5", (1, 4, 5), 1.5),
    misuse("max_pool2d", "dilation is 0", (1, 4, 5), 2, dilation=0),
    misuse("max_pool2d", "padding is -1", (1, 4, 5), 2, padding=-1),
    misuse("max_pool2d", "bool", (1, 4, 5), 2, dtype="bool"),
    misuse("avg_pool2d", "padding .* half", (1, 4, 5), 3, padding=2),
    misuse("avg_pool2d", "divisor_override is 0", (1, 4, 5), 3, divisor_override=0),
    misuse("avg_pool2d", "do not fit", (1, 4, 5), 6),
    misuse("lp_pool2d", "order 0", (1, 4, 5), 0, 2, accepted=True),  # PyTorch divides by zero, in Python
    misuse("adaptive_avg_pool2d", r"bins", (1, 4, 5), -1),
    misuse("adaptive_avg_pool2d", r"\(1, 2, 3\)", (1, 4, 5), (1, 2, 3)),
    misuse("adaptive_avg_pool2d", r"\(4, 5\)", (4, 5), 2),
    misuse("adaptive_avg_pool2d", "1.5", (1, 4, 5), 1.5),
    misuse("adaptive_avg_pool2d", "floating", (1, 4, 4), 2, dtype="int64"),
    misuse("adaptive_max_pool2d", "bins", (1, 0, 5), 2),
    misuse("unfold", "do not fit", (1, 2, 3), 4),
    misuse("unfold", r"\(3,\)", (3,), 1),
    misuse("fold", "6 windows", (1, 4, 5), (3, 4), 2),
    misuse("fold", r"\(1, 5, 6\)", (1, 5, 6), (3, 4), 2),
    misuse("fold", "stride is 0", (1, 4, 6), (3, 4), 2, stride=0),
]
