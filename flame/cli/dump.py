"""`flame dump FILE.py[:FUNCTION]`: run a script or call a function, and show every program it compiled at one stage."""

import contextlib
import importlib.util
import inspect
import runpy
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import networkx as nx

from flame import compiler, stages
from flame.cli import export
from flame.errors import FlameError
from flame.ir.origins import origins
from flame.ir.target import CPU, CUDA
from flame.tensor import Tensor, realize

FORMATS = ("text", "dot", "json", "svg")
TARGETS = {"cpu": CPU, "cuda": CUDA}
Program = compiler.Program


class DumpError(FlameError):
    """The file or function named has nothing to show."""


def dump(where: str, arguments: list[str], stage: str, form: str, target: str | None = None) -> str:
    """What `flame dump` prints: every program that `where` compiles, at one stage, in one format."""
    programs = [aimed(each, stage, target) for each in programs_of(where, arguments)]
    if not programs:
        raise DumpError(
            f"{where} computed nothing with tensors: name a function that returns some, as in FILE.py:FUNCTION, "
            "or realize them in the script (.realize(), .numpy(), print)"
        )
    titles = [f"program {number} of {len(programs)}" for number in range(1, len(programs) + 1)]
    if form == "text":
        return "\n\n".join(
            f"# {title}\n{stages.text(each, stage)}" for title, each in zip(titles, programs, strict=True)
        )
    drawn = {title: graph(each, stage) for title, each in zip(titles, programs, strict=True)}
    return {"dot": export.to_dot, "json": export.to_json, "svg": export.to_svg}[form](drawn)


# --- running the user's code ------------------------------------------------------------------------------------------
def programs_of(where: str, arguments: list[str]) -> list[Program]:
    """Every program compiled while the script runs, or while what the function returns is realized."""
    path, _, function = where.rpartition(":") if ".py:" in where else (where, "", "")
    if not Path(path).is_file():
        raise DumpError(f"there is no file {path}; give FILE.py or FILE.py:FUNCTION")
    with as_script(path, arguments):
        return programs_of_function(where, path, function) if function else programs_of_script(path)


def programs_of_script(path: str) -> list[Program]:
    """What the script compiles as `__main__`, and at its end for tensors that its globals still hold unrealized."""
    with listening() as programs:
        left = tensors_in(guarded(path, lambda: runpy.run_path(path, run_name="__main__")))
        guarded(path, lambda: realize(*left))
    return programs


def programs_of_function(where: str, path: str, name: str) -> list[Program]:
    """What the function compiles, and what it returns; importing its file does not count."""
    function = function_of(guarded(where, lambda: imported(path)), path, name)
    with listening() as programs:
        result = guarded(where, function)
        if not tensors_in(result):
            raise DumpError(f"{where} returned {describe(result)} and no tensor; return the tensors to be shown")
        guarded(where, lambda: realize(*tensors_in(result)))
    return programs


def imported(path: str) -> ModuleType:
    """The file as a module under a name that shadows none."""
    name = f"flame_dump_{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def listening() -> Iterator[list[Program]]:
    """A list that fills with every program compiled inside the block."""
    programs: list[Program] = []
    compiler.listeners.append(programs.append)
    try:
        yield programs
    finally:
        compiler.listeners.remove(programs.append)


@contextlib.contextmanager
def as_script(path: str, arguments: list[str]) -> Iterator[None]:
    """Inside, the world looks to the file as under `python FILE.py`, and what it prints goes to standard error."""
    saved = sys.argv, sys.path
    sys.argv, sys.path = [path, *arguments], [str(Path(path).resolve().parent), *sys.path]
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.argv, sys.path = saved


def guarded(where: str, action: Callable[[], Any]) -> Any:
    """The action's result; its own errors are shown with their traceback, and end the dump with a sentence."""
    try:
        return action()
    except SystemExit as stop:
        if stop.code in (None, 0):
            return {}
        raise DumpError(f"{where} ended with exit status {stop.code}, so there is nothing to show") from None
    except Exception as problem:
        traceback.print_exc()
        raise DumpError(f"{where} failed with {type(problem).__name__}; its traceback stands above") from problem


def function_of(module: ModuleType, path: str, name: str) -> Callable[[], Any]:
    """The file's function of that name, which must be callable without arguments."""
    names = vars(module)
    if not callable(names.get(name)):
        own = [key for key, it in names.items() if inspect.isfunction(it) and it.__module__ == module.__name__]
        raise DumpError(f"{path} defines no function {name}; it defines {', '.join(own) or 'none'}")
    try:
        inspect.signature(names[name]).bind()
    except TypeError as problem:
        raise DumpError(
            f"{path}:{name} cannot be called without arguments ({problem}); write a function that makes its inputs "
            f"and returns {name}(...), and name that"
        ) from None
    return names[name]


def tensors_in(value: Any) -> list[Tensor]:
    """Every tensor in a value: itself, or in tuples, lists and dicts of any depth."""
    match value:
        case Tensor():
            return [value]
        case dict():
            return [each for item in value.values() for each in tensors_in(item)]
        case tuple() | list():
            return [each for item in value for each in tensors_in(item)]
        case _:
            return []


def describe(value: Any) -> str:
    """What a function returned instead of tensors."""
    return "None" if value is None else f"a {type(value).__name__}"


# --- one program at one stage -----------------------------------------------------------------------------------------
def aimed(program: Program, stage: str, target: str | None) -> Program:
    """The program for the target asked for, which need not be here; PTX is always CUDA's, wherever the script ran."""
    wanted = target or ("cuda" if stage == "ptx" else program.target.name)
    return program if wanted == program.target.name else compiler.compile_graph(program.roots, TARGETS[wanted])


def graph(program: Program, stage: str) -> nx.DiGraph:
    """The stage as a networkx graph."""
    match stage:
        case "graph":
            return export.of_nodes(program.roots, origins)
        case "optimized":
            return export.of_nodes(program.optimized, origins)
        case "kernels":
            return export.of_kernels(program.codes)
        case "plan":
            return export.of_plan(program.plan)
        case _:
            return export.of_texts(stages.texts(program, stage))
