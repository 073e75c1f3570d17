"""CUDA C++ kernels compiled by g++ and run on the host, one block after another: `cuda_on_host.h` is what they see."""

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

HEADER = Path(__file__).with_suffix(".h")


def why_not() -> str:
    return "" if shutil.which("g++") else "no g++"


def compiled(source: Path, kernels: Sequence[str]) -> dict[str, Callable[..., None]]:
    """Each kernel (an expression that names it) as `run(blocks, threads, *operands)`: arrays, or integers."""
    text = [f'#include "{HEADER}"', f'#include "{source}"']
    text += [
        f'extern "C" void k{i}(int blocks, int threads, long long* words) {{\n'
        f"  host::launch(&{name}, blocks, threads, words);\n}}"
        for i, name in enumerate(kernels)
    ]
    with tempfile.TemporaryDirectory() as folder:
        made, library = Path(folder, "kernels.cpp"), Path(folder, "kernels.so")
        made.write_text("\n".join(text))
        flags = ["-std=c++17", "-O1", "-w", "-fno-strict-aliasing", "-shared", "-fPIC"]
        subprocess.run(["g++", *flags, str(made), "-o", str(library)], check=True)
        loaded = ctypes.CDLL(str(library))
    return {name: _runner(loaded[f"k{i}"]) for i, name in enumerate(kernels)}


def _runner(function: Callable[..., None]) -> Callable[..., None]:
    def run(blocks: int, threads: int, *operands: np.ndarray | int) -> None:
        words = [o.ctypes.data if isinstance(o, np.ndarray) else int(o) for o in operands]
        function(blocks, threads, (ctypes.c_longlong * len(words))(*words))

    return run
