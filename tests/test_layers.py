"""The rooms of the house and which doors are open between them (docs/index.md, DESIGN section 1), from one table.

A room is a file or a folder directly under flame/. Imports point downwards only; imports inside functions, under
`TYPE_CHECKING` and through `importlib.import_module("...")` count like any other.
"""

import ast
import sys
from dataclasses import dataclass, field
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).resolve().parent.parent / "flame"

GROUND = frozenset({"errors", "config"})
THREE = frozenset({"passes", "codegen", "runtime"})
DOOR = frozenset({"ir", "compiler", "tensor", "recording", "bounds"})  # what builds on tensors may know of these
CORRIDOR = frozenset({"compiler", "stages", "validate", "values"})
ARRAYS = frozenset({"numpy", "ml_dtypes"})
CUDA = frozenset({"cuda", "nvmath", "cudnn"})


@dataclass(frozen=True)
class Room:
    """What one room may import: other rooms of FLAME, and packages from outside (the standard library always)."""

    below: frozenset[str] = frozenset()
    outside: frozenset[str] = frozenset()
    only_here: dict[str, frozenset[str]] = field(default_factory=dict)  # package -> the room's only files for it


HOUSE = {
    # the ground
    "errors": Room(),
    "config": Room(frozenset({"errors"})),
    # every noun. networkx exports what a person looks at; building and fingerprinting nodes walks tuples
    "ir": Room(GROUND, ARRAYS | {"networkx"}, {"networkx": frozenset({"show.py", "export.py"})}),
    # three rooms that do not know each other
    "passes": Room(GROUND | {"ir"}, ARRAYS | {"networkx"}),
    "codegen": Room(GROUND | {"ir"}, ARRAYS),
    "runtime": Room(
        GROUND | {"ir"},
        ARRAYS | CUDA | {"numba", "llvmlite"},
        # numba-cuda takes only critical fixes: whatever names it must stay replaceable in an afternoon
        {"numba.cuda": frozenset({"cuda_compile.py", "prelude_cuda.py"})},
    ),
    # the corridor
    "compiler": Room(GROUND | THREE | {"ir"}, frozenset({"numpy"})),
    "stages": Room(GROUND | {"ir", "runtime", "compiler"}),
    "validate": Room(GROUND | {"ir", "passes", "compiler"}, frozenset({"numpy"})),
    "anomaly": Room(GROUND | {"ir"}, frozenset({"numpy"})),
    "past": Room(frozenset({"ir", "runtime"})),  # what stands where a value is not
    "positions": Room(GROUND | {"ir", "runtime"}, frozenset({"numpy"})),  # those that are not known yet
    "values": Room(
        GROUND | {"ir", "passes", "runtime", "compiler", "validate", "stages", "anomaly", "past", "positions"},
        frozenset({"numpy"}),
    ),
    "bounds": Room(GROUND | {"ir", "runtime", "values", "positions", "tensor"}, frozenset({"numpy"})),
    "handles": Room(frozenset({"ir"})),
    "printing": Room(GROUND, frozenset({"numpy"})),  # arrays as text
    "reading": Room(
        GROUND | {"ir", "runtime", "values", "positions", "printing"}, frozenset({"numpy"})
    ),  # what a tensor shows
    "recording": Room(),
    "batching": Room(GROUND | {"ir"}),
    "methods": Room(),  # a stub for type checkers: what ops installs on Tensor
    # the front door, and the functions on tensors in families
    "tensor": Room(
        GROUND | CORRIDOR | {"ir", "passes", "runtime", "handles", "methods", "reading", "recording"}, ARRAYS
    ),
    "autograd": Room(GROUND | DOOR | {"passes", "runtime", "batching", "values", "positions"}),
    "kernel": Room(GROUND | DOOR | {"autograd", "runtime"}, ARRAYS),
    "func": Room(frozenset({"autograd", "nn"})),
    "utils": Room(frozenset({"autograd", "data", "memory"})),
    "ops": Room(GROUND | DOOR | {"runtime", "batching"}, ARRAYS),  # creation puts values on devices
    # what people build with
    "special": Room(GROUND | DOOR | {"ops"}),
    "random": Room(GROUND | DOOR | {"ops"}, ARRAYS),
    "nn": Room(GROUND | DOOR | {"ops", "autograd", "random"}, ARRAYS),
    "optim": Room(GROUND | DOOR | {"ops", "autograd", "nn"}, ARRAYS),
    "memory": Room(GROUND | DOOR | CORRIDOR | {"ops", "autograd", "nn", "optim", "runtime"}, ARRAYS),
    "cuda": Room(frozenset({"errors", "memory", "runtime", "values", "positions"})),
    "jit": Room(GROUND | DOOR | {"ops", "autograd", "runtime"}, ARRAYS),
    "amp": Room(GROUND | DOOR | {"ops", "autograd", "nn", "runtime"}, ARRAYS),
    "io": Room(GROUND | DOOR | {"ops", "nn"}, ARRAYS),
    "data": Room(GROUND | DOOR | {"ops", "runtime"}, ARRAYS),
    "distributed": Room(GROUND | DOOR | {"ops", "autograd", "runtime"}, ARRAYS | CUDA),
}
ALL = frozenset(HOUSE)
HOUSE |= {
    # a user's program that ships with FLAME: the front door and nothing behind it
    "demo": Room(
        GROUND | {"__init__", "tensor", "ops", "nn", "optim", "random", "autograd", "recording", "jit", "compiler"},
        ARRAYS | {"rich", "sklearn", "matplotlib"},
    ),
    "cli": Room(ALL | {"__init__", "demo"}, frozenset({"networkx", "rich"})),
    "__main__": Room(frozenset({"cli"})),
    "__init__": Room(ALL),
}

FILES = sorted(ROOT.rglob("*.py"))


def room_of(path: Path) -> str:
    """The room a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def package_of(path: Path) -> str:
    """The dotted package that relative imports of this file start from."""
    return ".".join(["flame", *path.relative_to(ROOT).parent.parts])


def imports(tree: ast.AST, package: str = "flame", types_too: bool = True) -> list[tuple[int, str]]:
    """(line, dotted name) of every import in a file, wherever it stands; those for type checkers only, if wanted."""
    found: list[tuple[int, str]] = []
    guarded = [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test)]
    for_types = set() if types_too else {inner for block in guarded for inner in ast.walk(block)}
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*start, *filter(None, [node.module])])
            found += [(node.lineno, f"{module}.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            found += [(node.lineno, a.value) for a in node.args[:1] if isinstance(a, ast.Constant)]
    return found


def complaints(path: Path, tree: ast.AST) -> list[str]:
    """What this file imports that its room may not, as sentences."""
    name = room_of(path)
    room = HOUSE[name]
    problems = []
    for line, target in imports(tree, package_of(path)):
        top, _, rest = target.partition(".")
        where = f"{path.relative_to(ROOT.parent)}:{line}"
        if top == "flame":
            goal = rest.split(".")[0] if rest.split(".")[0] in HOUSE else "__init__"
            if goal not in room.below | {name}:
                problems.append(f"{where}: {name} may not import {target}; it may import {sorted(room.below)}")
        elif top not in sys.stdlib_module_names and top not in room.outside:
            problems.append(
                f"{where}: {name} may not import {target}; from outside it may import {sorted(room.outside)}"
            )
        for package, files in room.only_here.items():
            if f"{target}.".startswith(f"{package}.") and path.name not in files:
                problems.append(f"{where}: within {name} only {sorted(files)} may import {package}")
    return problems


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_rooms_below_its_own(path: Path):
    assert room_of(path) in HOUSE, f"{path} is a room that the table does not know: say here what it may import"
    found = complaints(path, ast.parse(path.read_text()))
    assert not found, "\n".join(found)


def test_the_table_has_no_circle():
    below = {name: set(room.below) for name, room in HOUSE.items()}
    for _ in HOUSE:  # transitive closure
        below = {name: reach.union(*(below[other] for other in reach)) for name, reach in below.items()}
    circles = sorted(name for name, reach in below.items() if name in reach)
    assert not circles, circles


def test_no_two_files_import_each_other():
    """A circle of files is an import error waiting for another order; `from flame.x import y` names file or folder."""
    names = {".".join(["flame", *path.relative_to(ROOT).with_suffix("").parts]): path for path in FILES}
    house = nx.DiGraph()
    for name, path in names.items():
        for _, target in imports(ast.parse(path.read_text()), package_of(path), types_too=False):
            goals = [goal for goal in (target, target.rpartition(".")[0]) if goal in names]
            house.add_edges_from((name, goal) for goal in goals[:1] if goal != name)
    circles = [sorted(circle) for circle in nx.strongly_connected_components(house) if len(circle) > 1]
    assert not circles, f"these files import each other in a circle: {circles}"


@pytest.mark.parametrize(
    ("room", "text"),
    [
        ("ir/x.py", "from flame.tensor import Tensor"),
        ("passes/x.py", "def f():\n    from flame.codegen import lower"),
        ("passes/x.py", "from ..runtime import pool"),
        ("codegen/x.py", "import numba"),
        ("runtime/x.py", "from numba import cuda"),
        ("runtime/x.py", "import flame.passes.fuse as fuse"),
        ("nn/x.py", "import torch"),
        ("ir/node.py", "import networkx as nx"),
        ("tensor.py", "import importlib\nimportlib.import_module('flame.nn')"),
        ("ops/x.py", "from flame import nn"),
    ],
)
def test_a_closed_door_is_noticed(room: str, text: str):
    assert complaints(ROOT / room, ast.parse(text))


@pytest.mark.parametrize(
    ("room", "text"),
    [
        ("ir/x.py", "import math, numpy\nfrom flame.ir.node import Node\nfrom .dtype import float32"),
        ("runtime/cuda_compile.py", "from numba import cuda\nfrom cuda.bindings import driver"),
        ("passes/fuse.py", "import networkx\nfrom flame.ir import Node"),
    ],
)
def test_an_open_door_is_open(room: str, text: str):
    assert not complaints(ROOT / room, ast.parse(text))
