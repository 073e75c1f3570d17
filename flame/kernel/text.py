"""CUDA C++ as text: where it stands in the user's files, and what its kernels take."""

import re
from pathlib import Path
from typing import Any

TYPES = {
    "float": "float32", "double": "float64", "int": "int32", "int32_t": "int32", "long long": "int64",
    "int64_t": "int64", "long long int": "int64", "short": "int16", "int16_t": "int16", "char": "int8",
    "signed char": "int8", "int8_t": "int8", "unsigned char": "uint8", "uint8_t": "uint8", "bool": "bool",
    "__half": "float16", "half": "float16", "__nv_bfloat16": "bfloat16", "nv_bfloat16": "bfloat16",
}  # fmt: skip
WORDS = re.compile(r"\b(const|volatile|__restrict__|__restrict|restrict)\b")
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)


def located(source: Any, name: str, caller: str) -> tuple[str, str]:
    """The text, and the file that errors in it name: its own, or that of the Python program in which it stands.

    Text that stands as it is in a Python file keeps the lines it has there.
    """
    if isinstance(source, Path) or (isinstance(source, str) and source.endswith((".cu", ".cuh", ".h"))):
        path = Path(source)
        return path.read_text(), str(path)
    try:
        whole = Path(caller).read_text()
    except OSError:
        return source, f"{name}.cu"
    at = whole.find(source)
    if at < 0 or not source.strip():
        return source, f"{name}.cu"
    line = whole.count("\n", 0, at) + 1
    return f'#line {line} "{caller}"\n{source}', caller


def parameters(source: str, name: str) -> list[tuple[str, bool]] | None:
    """(dtype or "" where it is unknown, whether it is a pointer) of each parameter of a kernel; None if unreadable."""
    plain = COMMENT.sub(" ", source)
    found = re.search(rf"__global__\b[^;{{(]*\b{re.escape(name.partition('<')[0])}\s*\(([^)]*)\)", plain)
    if not found or "<" in name:
        return None
    parts = [part.strip() for part in found[1].split(",")] if found[1].strip() else []
    return [_parameter(part) for part in parts]


def _parameter(text: str) -> tuple[str, bool]:
    pointer = "*" in text or "[" in text
    kind = " ".join(WORDS.sub(" ", text).replace("*", " ").partition("[")[0].split())
    kind = TYPES.get(kind) or TYPES.get(kind.rpartition(" ")[0]) or ""
    return kind, pointer
