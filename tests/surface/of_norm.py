"""Normalisations by batch, image, group, neighbouring channels and root mean square."""

from collections.abc import Callable
from typing import Any

from tests.surface.case import FLOATS, Case, Misuse, Of, X, functional


def norm(name: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
    """A call with (input, weight, bias), the last two by name."""

    def call(lib: Any, x: Any, *rest: Any) -> Any:
        named = dict(zip(("weight", "bias"), rest))
        return getattr(functional(lib), name)(x, *arguments, **named, **options)

    return call


def case(name: str, label: str, call: Any, *operands: X, also: Any = (), **more: Any) -> Case:
    return Case(f"nn.functional.{name}", call, operands, also, FLOATS, label=label, **more)


def running(name: str, **options: Any) -> Callable[..., Any]:
    """A call whose running statistics are compared too, after two steps."""

    def call(lib: Any, x: Any, mean: Any, var: Any, w: Any, b: Any) -> Any:
        mean, var = mean.detach().clone(), var.detach().clone()
        f = getattr(functional(lib), name)
        first = f(x, mean, var, w, b, **options)
        second = f(x * 2, mean, var, w, b, **options)
        return first, second, mean, var

    return call


def evaluated(name: str, **options: Any) -> Callable[..., Any]:
    """A call with given statistics."""

    def call(lib: Any, x: Any, *rest: Any) -> Any:
        mean, var = (lib.tensor(v, dtype=x.dtype) for v in ([0.5, -1.0, 0.25], [0.5, 2.0, 1.0]))
        return norm(name, mean, var, **options)(lib, x, *rest)

    return call


SHAPES = (X((2, 3, 4)), X((3,)), X((3,)))
STATS = (X((2, 3, 4)), X((3,)), X((3,), 0.5, 2.0), X((3,)), X((3,)))
PLAIN = Of("float32", (3,), 0.5, 2.0)

CASES = [
    case(
        "batch_norm",
        "training",
        norm("batch_norm", None, None, training=True),
        *SHAPES,
        also=(
            (X((4, 2)), X((2,)), X((2,))),
            (X((2, 2, 2, 3)), X((2,))),
            (X((2, 1, 1, 2, 2)),),
            (X((1, 3, 2)),),
        ),
    ),
    case("batch_norm", "running statistics", running("batch_norm", training=True, momentum=0.3), *STATS, grad=False),
    case("batch_norm", "evaluation", evaluated("batch_norm"), *SHAPES, also=((X((0, 3, 4)),), (X((1, 3)), X((3,))))),
    Case(
        "nn.functional.batch_norm",
        lambda lib, x, mean, var, w: functional(lib).batch_norm(x, mean, var, w, training=True),
        (X((2, 3, 4)), PLAIN, PLAIN, PLAIN),
        dtypes=("float32", "float16", "bfloat16"),
        label="float32 statistics and weights",
    ),
    case("instance_norm", "plain", norm("instance_norm"), *SHAPES, also=((X((2, 2, 2, 3)),), (X((0, 3, 4)),))),
    case("instance_norm", "running statistics", running("instance_norm", momentum=0.3, eps=0.1), *STATS, grad=False),
    case("instance_norm", "evaluation", evaluated("instance_norm", use_input_stats=False), *SHAPES),
    case(
        "group_norm",
        "plain",
        norm("group_norm", 2),
        X((2, 4, 3)),
        X((4,)),
        X((4,)),
        also=((X((2, 6)),), (X((1, 2, 2, 3)),), (X((0, 4, 3)), X((4,)))),
    ),
    case("group_norm", "one group", norm("group_norm", 1, eps=0.1), X((2, 4, 3)), X((4,)), X((4,))),
    case("group_norm", "a channel each", norm("group_norm", 4), X((2, 4, 3))),
    Case("group_norm", lambda lib, x, w, b: lib.group_norm(x, 2, w, b, 1e-3), (X((2, 4, 3)), X((4,)), X((4,)))),
    case("rms_norm", "plain", norm("rms_norm", (4,)), X((3, 4)), X((4,)), also=((X((4,)),), (X((2, 0, 4)),))),
    case("rms_norm", "two dimensions", norm("rms_norm", [3, 4], eps=0.1), X((2, 3, 4)), X((3, 4))),
    Case(
        "nn.functional.rms_norm",
        lambda lib, x: functional(lib).rms_norm(x * 1e-3, (4,)),
        (X((3, 4)),),
        label="the default eps matters",
    ),
    Case("rms_norm", lambda lib, x, w: lib.rms_norm(x, (4,), w), (X((2, 4)), X((4,)))),
    case(
        "local_response_norm",
        "odd",
        norm("local_response_norm", 3, 0.5, k=2.0),
        X((2, 5, 3)),
        also=((X((1, 2, 2, 3)),),),
    ),
    case("local_response_norm", "even", norm("local_response_norm", 4, 0.7, 1.5), X((2, 5, 3))),
    case("local_response_norm", "one", norm("local_response_norm", 1), X((2, 3, 2, 1, 2)), also=((X((0, 3, 2)),),)),
]


def misuse(name: str, says: str, shape: Any, *arguments: Any, **options: Any) -> Misuse:
    return Misuse(f"nn.functional.{name}", norm(name, *arguments, **options), (X(shape),), says)


def sized(name: str, n: int, **options: Any) -> Misuse:
    """Per-channel operands of n elements for three channels."""

    def call(lib: Any, x: Any, t: Any) -> Any:
        f = getattr(functional(lib), name)
        return f(x, t, t, **options) if options else f(x, 3, t) if name == "group_norm" else f(x, weight=t)

    return Misuse(f"nn.functional.{name}", call, (X((2, 3, 4)), X((n,))), rf"\({n},\).* 3 channels")


MISUSES = [
    misuse("batch_norm", "one value a channel", (1, 3, 1), None, None, training=True),
    misuse("batch_norm", "needed where training is False", (2, 3, 4), None, None),
    misuse("batch_norm", r"\(3,\)", (3,), None, None, training=True),
    Misuse(
        "nn.functional.batch_norm",
        lambda lib, x, m: functional(lib).batch_norm(x, m, None, training=True),
        (X((2, 3, 4)), X((3,))),
        "both running_mean and running_var",
    ),
    Misuse(
        "nn.functional.batch_norm",
        lambda lib, x: functional(lib).batch_norm(x, None, None, training=True),
        (Of("int64", (2, 3, 4)),),
        "floating",
    ),
    sized("batch_norm", 2, training=True),
    sized("instance_norm", 2, use_input_stats=True),
    sized("group_norm", 2),
    misuse("instance_norm", "one position", (2, 3, 1)),
    misuse("instance_norm", "one position", (2, 3)),
    misuse("instance_norm", "needed where use_input_stats is False", (2, 3, 4), use_input_stats=False),
    misuse("group_norm", r"3 groups .*\(2, 4, 3\)", (2, 4, 3), 3),
    Misuse("nn.functional.group_norm", norm("group_norm", 0), (X((2, 4)),), "0 groups", accepted=True),  # divides by 0
    misuse("group_norm", "one value a group", (1, 4, 1), 4),
    misuse("group_norm", r"\(4,\)", (4,), 2),
    misuse("rms_norm", r"\(2, 3, 4\).*\(3,\)", (2, 3, 4), (3,)),
    misuse("rms_norm", "does not end in", (2, 3, 4), ()),
    misuse("rms_norm", "is 4; give a sequence", (2, 3, 4), 4),
    Misuse(
        "nn.functional.rms_norm",
        lambda lib, x, w: functional(lib).rms_norm(x, (4,), w),
        (X((3, 4)), X((3,))),
        r"weight has shape \(3,\)",
    ),
    misuse("local_response_norm", r"\(3, 4\)", (3, 4), 2),
    misuse("local_response_norm", "size is 0", (3, 4, 2), 0),
]
