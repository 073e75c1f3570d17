"""Convolutions and transposed convolutions."""

import warnings
from collections.abc import Callable
from typing import Any

from tests.surface.case import FLOATS, NUMBERS, Case, Misuse, Of, X, functional

NAMES = ("conv1d", "conv2d", "conv3d")
TRANSPOSED = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")


def call(name: str, **options: Any) -> Callable[..., Any]:
    def run(lib: Any, x: Any, w: Any, *bias: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch warns that padding="same" may copy
            return getattr(functional(lib), name)(x, w, *bias, **options)

    return run


def case(name: str, label: str, *operands: X, also: Any = (), dtypes: Any = FLOATS, **options: Any) -> Case:
    return Case(f"nn.functional.{name}", call(name, **options), operands, also, dtypes, label=label)


CASES = [
    case(
        "conv1d",
        "plain",
        X((2, 3, 7)),
        X((4, 3, 2)),
        X((4,)),
        also=(
            (X((3, 5)), X((2, 3, 5)), X((2,))),  # unbatched; a window as long as the input
            (X((2, 1, 5)), X((1, 1, 1)), X((1,))),
            (X((0, 3, 7)), X((4, 3, 2)), X((4,))),
            (X((1, 1, 1)), X((1, 1, 1))),
        ),
        dtypes=NUMBERS,
    ),
    case("conv1d", "stride and padding", X((2, 3, 8)), X((2, 3, 3)), stride=3, padding=2),
    case("conv1d", "padding beyond the kernel", X((1, 2, 3)), X((2, 2, 2)), stride=2, padding=4),
    case("conv1d", "dilation", X((2, 2, 9)), X((3, 2, 3)), X((3,)), dilation=3, padding=1),
    case("conv1d", "same, even kernel", X((2, 2, 5)), X((3, 2, 4)), padding="same", dilation=(1,)),
    case("conv1d", "valid", X((2, 2, 5)), X((3, 2, 4)), padding="valid", stride=(2,)),
    case("conv1d", "groups", X((2, 4, 5)), X((6, 2, 2)), X((6,)), groups=2, stride=2),
    case("conv1d", "depthwise", X((2, 3, 6)), X((3, 1, 3)), X((3,)), groups=3, padding=1, stride=2, dilation=2),
    case("conv1d", "depthwise, two for each", X((2, 3, 6)), X((6, 1, 2)), groups=3),
    case(
        "conv2d",
        "plain",
        X((2, 2, 4, 3)),
        X((3, 2, 2, 3)),
        X((3,)),
        also=((X((2, 4, 3)), X((1, 2, 1, 1)), X((1,))), (X((1, 2, 5, 5)), X((1, 2, 3, 3)))),
        dtypes=NUMBERS,
    ),
    case(
        "conv2d", "each axis its own", X((1, 2, 5, 7)), X((2, 2, 2, 3)), stride=(1, 2), padding=(2, 0), dilation=(2, 3)
    ),
    case("conv2d", "same", X((1, 2, 4, 3)), X((2, 2, 2, 3)), padding="same", dilation=(1, 2)),
    case("conv2d", "pointwise", X((2, 3, 4, 5)), X((2, 3, 1, 1)), X((2,))),
    case("conv2d", "pointwise, strided", X((2, 4, 4, 5)), X((2, 2, 1, 1)), X((2,)), stride=2, groups=2, padding=1),
    case("conv2d", "groups", X((2, 4, 3, 3)), X((4, 2, 2, 2)), groups=2, padding=1),
    case("conv2d", "depthwise", X((1, 3, 4, 4)), X((3, 1, 3, 3)), X((3,)), groups=3, padding=1, stride=(2, 1)),
    case(
        "conv3d",
        "plain",
        X((1, 2, 3, 3, 2)),
        X((2, 2, 2, 2, 1)),
        X((2,)),
        also=((X((2, 3, 2, 3)), X((2, 2, 1, 2, 2)), X((2,))),),
        dtypes=NUMBERS,
    ),
    case(
        "conv3d",
        "all options",
        X((1, 2, 4, 3, 3)),
        X((4, 1, 2, 2, 2)),
        stride=(2, 1, 1),
        padding=(1, 0, 1),
        dilation=(1, 2, 1),
        groups=2,
    ),
    case(
        "conv_transpose1d",
        "plain",
        X((2, 3, 4)),
        X((3, 2, 3)),
        X((2,)),
        also=((X((3, 4)), X((3, 1, 1)), X((1,))), (X((0, 3, 4)), X((3, 2, 3))), (X((1, 1, 1)), X((1, 1, 1)))),
        dtypes=NUMBERS,
    ),
    case("conv_transpose1d", "strided", X((2, 2, 4)), X((2, 3, 3)), X((3,)), stride=3, padding=1, output_padding=2),
    case("conv_transpose1d", "dilated", X((2, 2, 4)), X((2, 3, 3)), stride=2, padding=2, output_padding=2, dilation=3),
    case("conv_transpose1d", "padding beyond the kernel", X((1, 1, 5)), X((1, 2, 2)), stride=2, padding=4),
    case("conv_transpose1d", "groups", X((2, 4, 3)), X((4, 3, 2)), X((6,)), stride=2, groups=2),
    case("conv_transpose1d", "depthwise", X((2, 3, 3)), X((3, 1, 3)), stride=2, groups=3),
    case(
        "conv_transpose2d", "plain", X((2, 2, 3, 2)), X((2, 2, 2, 3)), X((2,)), also=((X((2, 3, 2)), X((2, 2, 1, 3))),)
    ),
    case(
        "conv_transpose2d",
        "all options",
        X((1, 4, 2, 3)),
        X((4, 1, 3, 2)),
        X((2,)),
        stride=(1, 3),
        padding=(1, 0),
        output_padding=(1, 2),
        groups=2,
        dilation=(2, 1),
    ),
    case(
        "conv_transpose3d",
        "plain",
        X((1, 2, 2, 1, 2)),
        X((2, 2, 2, 2, 1)),
        X((2,)),
        also=((X((2, 2, 1, 2)), X((2, 1, 2, 2, 1))),),
    ),
    case(
        "conv_transpose3d",
        "all options",
        X((1, 2, 2, 1, 2)),
        X((2, 1, 2, 3, 2)),
        stride=(2, 1, 3),
        padding=(0, 1, 1),
        output_padding=(1, 0, 2),
        groups=2,
        dilation=(1, 2, 1),
    ),
    *(
        Case(name, lambda lib, x, w, n=name: getattr(lib, n)(x, w), (X((1, 2, *(3,) * rank)), X((2, 2, *(2,) * rank))))
        for rank, name in [*enumerate(NAMES, 1), *enumerate(TRANSPOSED, 1)]
    ),
]


def misuse(name: str, says: str, *operands: X | Of, **options: Any) -> Misuse:
    return Misuse(f"nn.functional.{name}", call(name, **options), operands, says)


MISUSES = [
    misuse("conv1d", r"\(5,\)", X((5,)), X((1, 1, 2))),
    misuse("conv1d", r"weight \(1, 2\)", X((1, 1, 5)), X((1, 2))),
    misuse("conv2d", r"\(2, 3, 4, 5, 6\).*\(N, C, H, W\)", X((2, 3, 4, 5, 6)), X((1, 3, 1, 1))),
    misuse("conv1d", "4 channels.* for 3 channels", X((1, 4, 5)), X((2, 3, 2))),
    misuse("conv1d", "groups is 3", X((1, 6, 5)), X((2, 2, 2)), groups=3),
    misuse("conv1d", "groups is 0", X((1, 2, 5)), X((2, 2, 2)), groups=0),
    misuse("conv1d", r"kernel of \(6,\).*\(5,\)", X((1, 2, 5)), X((2, 2, 6))),
    misuse("conv1d", "dilation", X((1, 2, 5)), X((2, 2, 3)), dilation=3),
    misuse("conv1d", "kernel", X((1, 2, 5)), X((2, 2, 0))),
    misuse("conv1d", "may be empty", X((1, 2, 0)), X((2, 2, 1)), padding=2),
    misuse("conv1d", "stride is 0", X((1, 2, 5)), X((2, 2, 3)), stride=0),
    misuse("conv1d", r"stride is \(1, 2\)", X((1, 2, 5)), X((2, 2, 3)), stride=(1, 2)),
    misuse("conv1d", "stride is 1.5", X((1, 2, 5)), X((2, 2, 3)), stride=1.5),
    misuse("conv1d", "padding is -1", X((1, 2, 5)), X((2, 2, 3)), padding=-1),
    misuse("conv1d", "dilation is 0", X((1, 2, 5)), X((2, 2, 3)), dilation=0),
    misuse("conv1d", "needs stride 1", X((1, 2, 5)), X((2, 2, 3)), padding="same", stride=2),
    misuse("conv1d", "'full'", X((1, 2, 5)), X((2, 2, 3)), padding="full"),
    misuse("conv1d", r"bias has shape \(3,\)", X((1, 2, 5)), X((2, 2, 3)), X((3,))),
    misuse("conv1d", "float32 and the weight .*float64", X((1, 2, 5)), Of("float64", (2, 2, 3))),
    misuse("conv1d", "bias .*float64", X((1, 2, 5)), X((2, 2, 3)), Of("float64", (2,))),
    misuse("conv1d", "bool", Of("bool", (1, 2, 5)), Of("bool", (2, 2, 3))),
    Misuse("nn.functional.conv1d", lambda lib, x: functional(lib).conv1d(x, 3), (X((1, 2, 5)),), "weight is a int"),
    misuse("conv_transpose1d", "output_padding", X((1, 2, 5)), X((2, 2, 3)), output_padding=1),
    misuse("conv_transpose1d", "output_padding is -1", X((1, 2, 5)), X((2, 2, 3)), output_padding=-1),
    misuse("conv_transpose1d", "3 channels", X((1, 3, 5)), X((2, 2, 3))),
    misuse("conv_transpose1d", "groups is 3", X((1, 2, 5)), X((2, 2, 3)), groups=3),
    misuse("conv_transpose1d", r"result of \(0,\)", X((1, 2, 1)), X((2, 2, 2)), padding=1),
    misuse("conv_transpose1d", r"bias has shape \(3,\)", X((1, 2, 1)), X((2, 2, 2)), X((3,))),
]
