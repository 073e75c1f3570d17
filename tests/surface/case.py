"""What a family of operations says of itself for its tests: calls that PyTorch understands too, and their operands.

A family is a file `tests/surface/of_NAME.py` with a list `CASES` and a list `MISUSES`. Everything else (values in every
dtype, layouts, gradients, second gradients, errors, docs/operators.md) follows from them: see test_surface.py.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Shape = tuple[int, ...]
FLOATS = ("float32", "float64", "bfloat16", "float16")
INTS = ("int64", "int32", "int16", "int8", "uint8")
NUMBERS = (*FLOATS, *INTS)
ALL = (*NUMBERS, "bool")


@dataclass(frozen=True)
class X:
    """An operand of the dtype under test: random numbers in [low, high), distinct and off the kinks where `apart`."""

    shape: Shape
    low: float = -3.0
    high: float = 3.0
    apart: bool = False


@dataclass(frozen=True)
class Of:
    """An operand of a dtype of its own: booleans, integers in [low, high), or floats that get no gradient."""

    dtype: str
    shape: Shape
    low: float = 0
    high: float = 2


@dataclass(frozen=True)
class Case:
    """One way to call one public operation.

    `call(lib, *operands)` runs with `flame` and with `torch`; inside, `functional(lib)` is `lib.nn.functional`. It
    returns a tensor or a tuple of tensors. `operands` are those of the usual size; each entry of `also` is another set
    (0-d, empty, size 1, odd, broadcasting ...).
    """

    name: str  # the row of docs/operators.md: "cumsum", "nn.functional.conv2d", "Tensor.__getitem__"
    call: Callable[..., Any]
    operands: tuple[X | Of, ...]
    also: tuple[tuple[X | Of, ...], ...] = ()
    dtypes: tuple[str, ...] = FLOATS
    grad: bool = True  # gradients are compared with PyTorch's and with finite differences
    second: bool = True  # and gradients of gradients
    special: bool = False  # elementwise: nan, inf, -0.0, denormals, the extremes of integers are compared too
    label: str = ""  # tells several cases of one name apart
    loose: float = 1  # times the usual tolerance, where the operation itself is ill-conditioned: say why beside it
    dtype: bool = True  # results must have PyTorch's dtypes
    raises: tuple[str, ...] = ()  # dtypes that PyTorch takes and FLAME refuses: say why beside it

    def __str__(self) -> str:
        return f"{self.name}{f'[{self.label}]' if self.label else ''}"


@dataclass(frozen=True)
class Misuse:
    """A call that PyTorch refuses: FLAME refuses it at the call, names the operation, and says the way out."""

    name: str
    call: Callable[..., Any]
    operands: tuple[X | Of, ...] = ()
    says: str = ""  # a regular expression that the message must match
    accepted: bool = field(default=False)  # PyTorch takes it; the refusal is FLAME's own (a documented difference)

    def __str__(self) -> str:
        return f"{self.name}: {self.says or 'refused'}"


def functional(lib: Any) -> Any:
    return lib.nn.functional


def families() -> dict[str, Any]:
    """Every family's module by name."""
    here = Path(__file__).parent
    names = sorted(p.stem.removeprefix("of_") for p in here.glob("of_*.py"))
    return {name: importlib.import_module(f"tests.surface.of_{name}") for name in names}


def cases() -> list[Case]:
    return [c for family in families().values() for c in family.CASES]


def misuses() -> list[Misuse]:
    return [m for family in families().values() for m in family.MISUSES]
