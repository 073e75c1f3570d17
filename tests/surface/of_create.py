"""Tensors from data and from nothing."""

import numpy as np

from tests.surface.case import ALL, FLOATS, NUMBERS, Case, Misuse, X


def of(lib, names, make):
    """One tensor for each dtype."""
    return tuple(make(getattr(lib, name)) for name in names)


def made(name, call, dtypes=("float32",), label="", operands=()):
    """A case without gradients: nothing comes from an operand's values."""
    return Case(name, call, operands, dtypes=dtypes, grad=False, label=label)


CASES = [
    made(
        "tensor",
        lambda lib: (
            lib.tensor([[1, 2], [3, 4]]),
            lib.tensor([1.0, 2]),
            lib.tensor([True, False]),
            lib.tensor([True, 2, 0.5]),
            lib.tensor(3),
            lib.tensor(True),
            lib.tensor(2.5),
            lib.tensor([]),
            lib.tensor([[], []]),
            lib.tensor(((1, 2), (3, 4)), dtype=lib.float64),
            lib.tensor([1.7, -2.3], dtype=lib.int32),
            lib.tensor([0, 3], dtype=lib.bool),
            lib.tensor(-3, dtype=lib.uint8),
            lib.tensor([float("nan"), float("inf"), -0.0]),
            lib.tensor([1e300, 1e-300], dtype=lib.float64),
            lib.tensor([lib.tensor(1), lib.tensor(2)]),
            lib.tensor([[lib.tensor(1.5), 2], [3, lib.tensor(4)]]),
            lib.tensor(np.float64(1.5)),
            lib.tensor(np.arange(3, dtype=np.int16)),
            lib.tensor(np.arange(4.0).reshape(2, 2).T),
            lib.tensor([np.float32(1), np.float32(2)]),
        ),
    ),
    made(
        "as_tensor",
        lambda lib: (
            lib.as_tensor([1, 2]),
            lib.as_tensor(np.ones(2), dtype=lib.float16),
            lib.as_tensor(lib.ones(2), dtype=lib.int8),
            lib.as_tensor(data=1.5, device="cpu"),
        ),
    ),
    made("from_numpy", lambda lib: (lib.from_numpy(np.ones((2, 0))), lib.from_numpy(np.array([True]))), label="kinds"),
    made(
        "from_numpy", lambda lib: tuple(lib.from_numpy(np.arange(3).astype(k)) for k in ("f2", "f4", "i1", "u1", "i8"))
    ),
    *(
        made(
            name,
            lambda lib, name=name: (
                getattr(lib, name)(2, 3),
                getattr(lib, name)((2, 0)),
                getattr(lib, name)([4]),
                getattr(lib, name)(()),
                getattr(lib, name)(size=(1, 2)),
                getattr(lib, name)(lib.tensor([5]).tolist(), dtype=lib.int64),
                *of(lib, ALL, lambda d: getattr(lib, name)(2, dtype=d, device="cpu")),
            ),
        )
        for name in ("zeros", "ones")
    ),
    *(
        made(
            f"{name}_like",
            lambda lib, x, name=name: (
                getattr(lib, f"{name}_like")(x),
                getattr(lib, f"{name}_like")(x, dtype=lib.int16),
                getattr(x, f"new_{name}")(2, 3),
                getattr(x, f"new_{name}")((2,), dtype=lib.float64),
                getattr(x, f"new_{name}")(size=[1, 2]),
                getattr(x, f"new_{name}")(()),
            ),
            dtypes=ALL,
            operands=(X((2, 3)),),
        )
        for name in ("zeros", "ones")
    ),
    made(
        "empty",
        lambda lib, x: (
            lib.empty(2, 3) * 0 == 0,
            lib.empty((2,), dtype=lib.int8) * 0,
            lib.empty_like(x) == lib.empty_like(x),
            x.new_empty(2, 1) == x.new_empty((2, 1)),
        )[1:2],
        operands=(X((2,)),),
    ),
    made(
        "full",
        lambda lib: (
            lib.full((2, 2), 7),
            lib.full((3,), 0.5),
            lib.full([2], True),
            lib.full((), 1.5),
            lib.full((0, 2), 1),
            lib.full(size=(2,), fill_value=3, dtype=lib.float16),
            lib.full((2,), float("nan")),
            lib.full((2,), float("-inf"), dtype=lib.bfloat16),
            lib.full((2,), -0.0),
            *of(lib, NUMBERS, lambda d: lib.full((2,), 100, dtype=d)),
        ),
    ),
    made(
        "full_like",
        lambda lib, x: (
            lib.full_like(x, 1),
            lib.full_like(x, fill_value=2.0, dtype=lib.float64),
            x.new_full((2,), 1),
            x.new_full(size=(1, 2), fill_value=3, dtype=lib.int64),
            x.new_tensor([1, 0]),
            x.new_tensor(1.0, dtype=lib.float64),
        ),
        dtypes=ALL,
        operands=(X((2, 3)),),
    ),
    made("scalar_tensor", lambda lib: (lib.scalar_tensor(3), lib.scalar_tensor(1.5, dtype=lib.float64))),
    made(
        "arange",
        lambda lib: (
            lib.arange(5),
            lib.arange(5.0),
            lib.arange(1, 10, 3),
            lib.arange(5, -2, -2),
            lib.arange(0, 1, 0.1),
            lib.arange(1, 2.5),
            lib.arange(0),
            lib.arange(3, 3),
            lib.arange(end=4),
            lib.arange(start=1, end=4, step=2),
            lib.arange(2, 9, dtype=lib.float64),
            lib.arange(1, 2, 0.25, dtype=lib.float64),
            lib.arange(0.5, 4.5, dtype=lib.int64),
            lib.arange(0, 5.5, dtype=lib.int32),
            lib.arange(1.9, 9.9, 2.9, dtype=lib.int32),
            lib.arange(-1.5, 1.5, 0.5, dtype=lib.bfloat16),
            lib.arange(2**40, 2**40 + 3),
            lib.arange(np.int64(3), np.int64(6)),
            lib.arange(lib.tensor(3).item()),
            *of(lib, NUMBERS, lambda d: lib.arange(3, dtype=d)),
        ),
    ),
    made(
        "linspace",
        lambda lib: (
            lib.linspace(-1, 2, 7),
            lib.linspace(3, 4, 1),
            lib.linspace(3, 4, 0),
            lib.linspace(0.1, 0.7, 5, dtype=lib.float64),
            lib.linspace(5, -5, steps=4),
            lib.linspace(start=0, end=10, steps=5, dtype=lib.int64),
            lib.linspace(1, 1, 3),
            *of(lib, FLOATS, lambda d: lib.linspace(-1, 1, 6, dtype=d)),
        ),
    ),
    made(
        "logspace",
        lambda lib: (
            lib.logspace(-1, 2, 7),
            lib.logspace(0, 3, 4, base=2.0, dtype=lib.float64),
            lib.logspace(2, 1, 1),
            lib.logspace(start=0, end=1, steps=0),
        ),
    ),
    made(
        "eye",
        lambda lib: (
            lib.eye(3),
            lib.eye(2, 4),
            lib.eye(3, 1),
            lib.eye(0),
            lib.eye(2, 0),
            *of(lib, ALL, lambda d: lib.eye(2, dtype=d)),
        ),
    ),
    made(
        "hann_window",
        lambda lib: tuple(
            window(*args)
            for window in (lib.hann_window, lib.hamming_window, lib.blackman_window, lib.bartlett_window)
            for args in ((5,), (4, False), (1,), (0,), (2,))
        ),
    ),
    made(
        "hamming_window",
        lambda lib: (lib.hamming_window(4, True, 0.6, 0.4), lib.hamming_window(3, True, 0.5, dtype=lib.float64)),
    ),
    made("blackman_window", lambda lib: lib.blackman_window(6, dtype=lib.float64)),
    made("bartlett_window", lambda lib: lib.bartlett_window(6, periodic=False)),
    made(
        "tril_indices",
        lambda lib: (
            lib.tril_indices(3, 4),
            lib.tril_indices(3, 3, 1),
            lib.tril_indices(3, 2, offset=-1, dtype=lib.int32),
            lib.tril_indices(0, 3),
        ),
    ),
    made(
        "triu_indices",
        lambda lib: (lib.triu_indices(3, 4), lib.triu_indices(3, 3, -1), lib.triu_indices(3, 2, offset=5)),
    ),
    Case("Tensor.fill_", lambda lib, x: (x.clone().fill_(2), (x * 1).zero_()), (X((2, 3)),), dtypes=ALL, grad=False),
]

MISUSES = [
    Misuse("tensor", lambda lib: lib.tensor([[1], [1, 2]])),
    Misuse("tensor", lambda lib: lib.tensor("abc")),
    Misuse("tensor", lambda lib: lib.tensor([None])),
    Misuse("tensor", lambda lib: lib.tensor([1, 2], requires_grad=True), says="floating"),
    Misuse("tensor", lambda lib: lib.tensor(300, dtype=lib.uint8), says="255"),
    Misuse("tensor", lambda lib: lib.tensor([1, -129], dtype=lib.int8), says="127"),
    Misuse("zeros", lambda lib: lib.zeros(-1), says="-1"),
    Misuse("ones", lambda lib: lib.ones(2, -1), says="-1"),
    Misuse("empty", lambda lib: lib.empty((2, -1)), says="-1"),
    Misuse("full", lambda lib: lib.full((-2,), 1), says="-2"),
    Misuse("sizes", lambda lib: lib.zeros(1.5)),
    Misuse("arange", lambda lib: lib.arange(0, 5, 0)),
    Misuse("arange", lambda lib: lib.arange(0, 5, -1)),
    Misuse("arange", lambda lib: lib.arange(0, float("nan"))),
    Misuse("arange", lambda lib: lib.arange(0.0, float("inf"))),
    Misuse("linspace", lambda lib: lib.linspace(0, 1, -1)),
    Misuse("logspace", lambda lib: lib.logspace(0, 1, -1)),
    Misuse("hann_window", lambda lib: lib.hann_window(-1)),
    Misuse("hamming_window", lambda lib: lib.hamming_window(3, dtype=lib.int64)),
    Misuse("eye", lambda lib: lib.eye(-1)),
    Misuse("eye", lambda lib: lib.eye(2, -1)),
    Misuse("tril_indices", lambda lib: lib.tril_indices(-1, 2)),
    Misuse("default", lambda lib: lib.set_default_dtype(lib.int32), says="floating"),
]
