"""The activations of torch.nn.functional, and softmax in its forms."""

from collections.abc import Callable
from typing import Any

from tests.surface.case import FLOATS, NUMBERS, Case, Misuse, Of, X, functional

SHAPES = ((), (0,), (1,), (7,), (2, 3, 4))


def activation(name: str, *arguments: Any, dtypes: tuple[str, ...] = FLOATS, **more: Any) -> Case:
    """An elementwise activation, given further arguments; `inplace` ones work on a copy and must equal the others."""
    spelled = ", ".join(map(str, arguments))
    label = more.pop("label", spelled)
    also = tuple((X(s, -7, 7, apart=True),) for s in SHAPES)

    def call(lib: Any, x: Any) -> Any:
        return getattr(functional(lib), name)(x, *arguments)

    return Case(f"nn.functional.{name}", call, (X((5, 7), -7, 7, apart=True),), also, dtypes, label=label,
                **{"special": True, **more})  # fmt: skip


def inplace(name: str, call: Callable[..., Any]) -> Case:
    return Case(f"nn.functional.{name}", lambda lib, x: call(functional(lib), x * 1), (X((3, 5), -3, 3, apart=True),),
                label="inplace")  # fmt: skip


def along(name: str) -> list[Case]:
    """softmax and its relatives along each kind of dimension."""
    shapes = ((4, 5), 1), ((2, 3, 4), -2), ((7,), 0), ((), 0), ((3, 1), -1)
    made = [
        Case(f"nn.functional.{name}", lambda lib, x, d=dim: getattr(functional(lib), name)(x, d), (X(shape, -9, 9),),
             also=((X((0,) * len(shape)),), (X((2,) * len(shape)),)),
             label=f"{shape} {dim}")
        for shape, dim in shapes
    ]  # fmt: skip
    wide = Case(f"nn.functional.{name}", lambda lib, x: getattr(functional(lib), name)(x, 1, dtype=lib.float64),
                (X((4, 5)),), dtypes=(*FLOATS, "int64"), label="dtype")  # fmt: skip
    return [*made, wide]


CASES = [
    activation("relu", dtypes=NUMBERS),
    activation("relu6", dtypes=NUMBERS),
    activation("leaky_relu"),
    activation("leaky_relu", 0.2),
    activation("rrelu"),
    activation("rrelu", 0.1, 0.3, False),
    activation("elu"),
    activation("elu", 0.5),
    activation("selu"),
    activation("celu"),
    activation("celu", 2.0),
    activation("gelu", special=False),  # infinity at infinity, where PyTorch's vectorised one is nan
    Case("nn.functional.gelu", lambda lib, x: functional(lib).gelu(x, approximate="tanh"), (X((5, 7)),), label="tanh"),
    activation("silu"),
    activation("mish"),
    activation("hardswish"),
    activation("hardsigmoid", dtypes=("float32", "bfloat16", "float16")),
    activation("hardsigmoid", dtypes=("float64",), loose=100, label="double"),  # PyTorch divides the gradient by 6.0f
    activation("hardtanh"),
    activation("hardtanh", -2.0, 3.0),
    activation("hardshrink"),
    activation("hardshrink", 1.5),
    activation("softshrink"),
    activation("softshrink", 1.5),
    activation("tanhshrink"),
    activation("softsign"),
    activation("softplus"),
    activation("softplus", 2.0, 3.0),
    activation("logsigmoid"),
    activation("threshold", 1, 9, dtypes=NUMBERS),
    activation("threshold", 0.5, 9.0, dtypes=NUMBERS),
    activation("tanh"),
    activation("sigmoid"),
    Case("nn.functional.prelu", lambda lib, x, w: functional(lib).prelu(x, w),
         (X((2, 3, 4), -3, 3, apart=True), X((3,))),
         also=((X((2, 3)), X((1,))), (X((5,)), X((1,))), (X(()), X((1,))), (X((0, 3)), X((3,))))),
    Case("nn.functional.glu", lambda lib, x: functional(lib).glu(x), (X((3, 8)),), also=((X((4,)),), (X((2, 3, 2)),))),
    Case("nn.functional.glu", lambda lib, x: functional(lib).glu(x, 0), (X((4, 3)),), label="0"),
    Case("Tensor.prelu", lambda lib, x, w: x.prelu(w), (X((2, 3), -3, 3, apart=True), X((3,)))),
    Case("Tensor.hardshrink", lambda lib, x: x.hardshrink(1.0), (X((2, 3), -3, 3, apart=True),)),
    *(
        Case(name, lambda lib, x, f=name: getattr(lib, f)(x), (X((3, 5), -3, 3, apart=True),))
        for name in ("selu", "celu", "rrelu", "hardshrink")
    ),
    Case("threshold", lambda lib, x: lib.threshold(x, 0.5, 9.0), (X((3, 5), -3, 3, apart=True),)),
    *(
        inplace(name, lambda F, x, f=name: getattr(F, f)(x, inplace=True))
        for name in ("relu", "relu6", "leaky_relu", "rrelu", "elu", "selu", "celu", "silu", "mish", "hardswish",
                     "hardtanh")
    ),
    *(
        inplace(name, lambda F, x, f=name: getattr(F, f)(x))
        for name in ("relu_", "leaky_relu_", "rrelu_", "elu_", "selu_", "celu_", "hardtanh_")
    ),
    inplace("threshold", lambda F, x: F.threshold(x, 0.5, 9.0, inplace=True)),
    inplace("threshold_", lambda F, x: F.threshold_(x, 0.5, 9.0)),
    *along("softmax"),
    *along("softmin"),
    *along("log_softmax"),
    Case("softmax", lambda lib, x: lib.softmax(x, -1), (X((4, 5)),)),
    Case("log_softmax", lambda lib, x: x.log_softmax(0), (X((4, 5)),)),
]  # fmt: skip

MISUSES = [
    Misuse("gelu", lambda lib, x: functional(lib).gelu(x, approximate="fast"), (X((3,)),), says="'fast'"),
    Misuse("glu", lambda lib, x: functional(lib).glu(x), (X((3,)),), says=r"\(3,\)"),
    Misuse("glu", lambda lib, x: functional(lib).glu(x, 2), (X((3, 4)),), says="dim 2"),
    Misuse("softmax", lambda lib, x: functional(lib).softmax(x, 2), (X((3, 4)),), says="dim 2"),
    Misuse("softmax", lambda lib, x: functional(lib).softmax(x, 0), (Of("int64", (3,)),), says="int64"),
    Misuse("log_softmax", lambda lib, x: functional(lib).log_softmax(x, -3), (X((3, 4)),), says="dim -3"),
    Misuse("prelu", lambda lib, x, w: functional(lib).prelu(x, w), (X((2, 3)), X((4,))), says=r"\(4,\).*\(2, 3\)"),
    Misuse("prelu", lambda lib, x, w: functional(lib).prelu(x, w), (X((2, 3)), Of("float64", (3,))), says="float64"),
    Misuse("celu", lambda lib, x: functional(lib).celu(x, 0.0), (X((3,)),), says="alpha is 0"),
    Misuse("softshrink", lambda lib, x: functional(lib).softshrink(x, -1.0), (X((3,)),), says="-1.0"),
    Misuse("rrelu", lambda lib, x: functional(lib).rrelu(x, 0.5, 0.2), (X((3,)),), says="0.5"),
    Misuse("hardtanh", lambda lib, x: functional(lib).hardtanh(x, 2.0, 1.0), (X((3,)),), says="2.0"),
    *(
        Misuse(name, lambda lib, x, f=name: getattr(functional(lib), f)(x), (Of("int64", (3,)),), says="int64")
        for name in ("leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish", "hardsigmoid",
                     "softplus", "logsigmoid", "hardshrink", "softshrink")
    ),
]  # fmt: skip
