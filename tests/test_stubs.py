"""flame/methods.pyi tells editors and type checkers of the methods that flame.ops installs on Tensor.

`python tests/test_stubs.py` writes it anew; the test fails when it is stale.
"""

import inspect
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STUB = ROOT / "flame" / "methods.pyi"
HEAD = '''\
"""The methods that flame.ops installs on Tensor. Written by `python tests/test_stubs.py`: do not edit."""

from collections.abc import *
from typing import Any

import numpy
from flame.ir.dtype import DType
from flame.ops.random import Generator
from flame.runtime.device import Device
from flame.tensor import Tensor

class Methods:
    """Base of Tensor for type checkers alone."""
'''
SHORT = {"typing.": "", "collections.abc.": "", "flame.tensor.Tensor": "Tensor", "flame.ir.dtype.DType": "DType"}
SHORT |= {"flame.runtime.device.Device": "Device", "flame.ops.random.Generator": "Generator", "builtins.": ""}
FROM = ("flame.ops", "flame.autograd")
BUILTIN = ("bool", "int", "float", "max", "min", "sum", "all", "any", "abs", "round")


def annotation(value: Any) -> str:
    """An annotation as the stub writes it; builtins whose names are also methods are looked up in `builtins`."""
    if value is inspect.Signature.empty:
        return "Any"
    text = value if isinstance(value, str) else inspect.formatannotation(value)
    for long, short in SHORT.items():
        text = text.replace(long, short)
    return re.sub(rf"\b({'|'.join(BUILTIN)})\b", r"_\1", text).strip("'\"")


def parameter(it: inspect.Parameter, first: bool) -> str:
    """One parameter; the tensor itself is `self`."""
    if first:
        return "self"
    stars = {it.VAR_POSITIONAL: "*", it.VAR_KEYWORD: "**"}.get(it.kind, "")
    return f"{stars}{it.name}: {annotation(it.annotation)}" + " = ..." * (it.default is not it.empty)


def method(name: str, function: Any) -> str:
    """The lines of one method."""
    signature = inspect.signature(function)
    parts, starred = [], False
    for number, it in enumerate(signature.parameters.values()):
        if it.kind is it.KEYWORD_ONLY and not starred:
            parts.append("*")
        starred = starred or it.kind in (it.KEYWORD_ONLY, it.VAR_POSITIONAL)
        parts.append(parameter(it, number == 0))
    given = signature.return_annotation
    result = "Tensor" if given is inspect.Signature.empty else annotation(given)
    doc = " ".join(inspect.cleandoc(function.__doc__ or "").partition("\n\n")[0].split())
    head = f"    def {name}({', '.join(parts)}) -> {result}:"
    return f'{head}\n        """{doc}"""' if doc else f"{head} ..."


def home(function: Any) -> str:
    """The module that a function was written in, under what autocast wraps around it."""
    return getattr(inspect.unwrap(function), "__module__", "") if callable(function) else ""


def stub() -> str:
    """The text of flame/methods.pyi."""
    import flame

    installed = [(n, f) for n, f in vars(flame.Tensor).items() if home(f).startswith(FROM)]
    functions = [(n, f) for n, f in sorted(installed) if inspect.isfunction(f)]
    properties = [
        f"    @property\n    def {n}(self) -> {annotation(inspect.signature(p.fget).return_annotation)}: ..."
        for n, p in sorted(vars(flame.Tensor).items())
        if isinstance(p, property) and p.fget and p.fget.__module__.startswith(FROM)
    ]
    methods = [method(name, function) for name, function in functions]
    text = "\n".join([*properties, *methods])
    aliases = sorted({name for name in BUILTIN if re.search(rf"\b_{name}\b", text)})
    lines = "".join(f"from builtins import {name} as _{name}\n" for name in aliases)
    head = HEAD.replace("from collections.abc import *\n", lines + "from collections.abc import *\n")
    modules = sorted(set(re.findall(r"-> (flame(?:\.[a-z_]+)+)\.[A-Z]", text)))  # of named tuples that methods return
    imports = "".join(f"import {name}\n" for name in modules)
    return head.replace("import numpy\n", imports + "import numpy\n") + text + "\n"


def test_the_stub_is_up_to_date():
    assert STUB.read_text() == stub(), "Tensor's methods changed: python tests/test_stubs.py"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    STUB.write_text(stub())
