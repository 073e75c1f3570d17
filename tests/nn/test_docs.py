"""Every example in a docstring of nn and optim runs and gives what it shows."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import flame
from flame import nn

MODULES = [
    "flame.optim",
    *(m.name for m in pkgutil.walk_packages(nn.__path__, "flame.nn.")),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_true(name):
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, extraglobs={"flame": flame}, optionflags=doctest.ELLIPSIS)
    assert not failed


def test_the_public_functions_have_examples():
    for name, it in vars(nn.functional).items():
        if inspect.isfunction(it) and not name.startswith("_") and not name.endswith("_"):
            assert ">>>" in (it.__doc__ or ""), name
