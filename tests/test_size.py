"""Nothing in the house is too long to read: 500 lines a file, 50 lines a function.

Complexity (10 at most) is ruff's C901, set in pyproject.toml.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "flame").rglob("*.py"))
FILE_LINES, FUNCTION_LINES = 500, 50


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_and_its_functions_are_short(path: Path):
    text = path.read_text()
    lines, allowed = len(text.splitlines()), FILE_LINES
    assert lines <= allowed, f"{path.name} has {lines} lines, {allowed} are allowed: split it by responsibility"
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = [
        f"{node.name} at line {node.lineno}: {length} lines"
        for node in functions
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES
    ]
    assert not long, f"{path.name}: functions of more than {FUNCTION_LINES} lines: " + "; ".join(long)
