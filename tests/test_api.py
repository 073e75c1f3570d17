"""What a user finds under `flame`: every public name says what it is."""

import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import flame
import flame.amp
import flame.data
import flame.io
import flame.nn
import flame.nn.functional
import flame.optim

ROOT = Path(__file__).resolve().parent.parent
ROOMS = [flame, flame.nn, flame.nn.functional, flame.optim, flame.amp, flame.io, flame.data]


def public(room: ModuleType) -> list[tuple[str, object]]:
    """The functions and classes of FLAME that a module offers."""
    found = [(name, value) for name, value in vars(room).items() if not name.startswith("_")]
    ours = [(name, it) for name, it in found if getattr(it, "__module__", "").startswith("flame")]
    return [(name, it) for name, it in ours if inspect.isfunction(it) or inspect.isclass(it)]


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.__name__)
def test_every_public_name_has_a_docstring(room: ModuleType):
    silent = [name for name, it in public(room) if not (it.__doc__ or "").strip()]
    assert not silent, f"{room.__name__}: no docstring on {', '.join(silent)}"


def test_every_method_of_a_tensor_has_a_docstring():
    names = [name for name, it in vars(flame.Tensor).items() if inspect.isfunction(it) and not name.startswith("_")]
    silent = [name for name in names if not (getattr(flame.Tensor, name).__doc__ or "").strip()]
    assert not silent, f"flame.Tensor: no docstring on {', '.join(silent)}"


def test_importing_flame_imports_nothing_heavy():
    """A script that only says `flame info` must not wait for what it does not use."""
    heavy = ("torch", "sklearn", "matplotlib", "nvmath", "numba")
    code = f"import sys, flame; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
