"""Every example in a docstring runs and gives what it says."""

import doctest
import importlib
import pkgutil

import pytest

import flame

NEEDS = ("flame.runtime.cuda", "flame.runtime.prelude_cuda", "flame.runtime.lib_cu", "flame.__main__", "flame.demo")
MODULES = [m.name for m in pkgutil.walk_packages(flame.__path__, "flame.") if not m.name.startswith(NEEDS)]


@pytest.mark.parametrize("name", ["flame", *MODULES])
def test_examples(name):
    module = importlib.import_module(name)
    finder = doctest.DocTestFinder(exclude_empty=True)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in finder.find(module, name, globs={**vars(module), "flame": flame}):
        runner.run(test)
    assert not runner.failures, f"{runner.failures} of {runner.tries} examples of {name} differ, see above"
