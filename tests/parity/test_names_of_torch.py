"""Public names of torch.nn, torch.optim, torch.utils.data and torch.amp: here, or named on the page with what to do."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

import flame

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity
PAGE = Path(__file__).resolve().parents[2] / "docs" / "migrating_from_pytorch.md"
ROOMS = {
    **{f"torch.{name}": f"flame.{name}" for name in ("nn", "optim", "amp")},
    **{f"torch.nn.{name}": f"flame.nn.{name}" for name in ("functional", "init", "utils", "parameter")},
    **{f"torch.nn.utils.{name}": f"flame.nn.utils.{name}" for name in ("rnn", "parametrize", "parametrizations")},
    **{f"torch.optim.{name}": f"flame.optim.{name}" for name in ("lr_scheduler", "swa_utils")},
    "torch.utils.data": "flame.data",
}
IMPORTED = {"Tensor", "Optimizer", "LRScheduler", "Module"}  # what a file of PyTorch's has from another


def section():
    """The names in the page's table of what is not here."""
    text = PAGE.read_text().partition("## Names of torch.nn")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {name.rpartition(".")[2] for row in rows for name in re.findall(r"`([\w.]+)`", row)}


def lacking(theirs, ours):
    for name, value in vars(theirs).items():
        made_there = (getattr(value, "__module__", None) or "").startswith("torch")
        callable_there = inspect.isroutine(value) or inspect.isclass(value)
        if made_there and callable_there and not (name.startswith("_") or name in IMPORTED or hasattr(ours, name)):
            yield name


def test_every_name_is_here_or_on_the_page():
    missing = {
        name
        for theirs, ours in ROOMS.items()
        for name in lacking(importlib.import_module(theirs), importlib.import_module(ours))
    }
    for kind in ("nn.Module", "optim.Optimizer"):
        room, last = kind.split(".")
        theirs, ours = (getattr(getattr(library, room), last) for library in (torch, flame))
        missing |= {name for name in dir(theirs) if not (name.startswith("_") or hasattr(ours, name))}
    written = section()
    assert missing - written == set(), "not on the page"
    assert written - missing == set(), "on the page, but here by now"
