"""docs/add_an_operator.md keeps its promise: its entry, put into one file of a copy of FLAME, is all there is to do."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BEFORE = "for _name, _numpy, _doc in ("  # the end of the elementwise part of the table

CHECK = """
import numpy as np
import flame
from flame import compiler
from flame.config import config
from flame.ir.target import CUDA

config.validate = True  # the oracle checks the kernel that the new entry became
data = np.array([-np.inf, -2.0, -0.0, 0.5, 3.0, np.nan], np.float32)
x = flame.tensor(data, requires_grad=True)
programs = []
compiler.listeners.append(programs.append)

y = x.softsign()
with np.errstate(all="ignore"):
    np.testing.assert_allclose(y.numpy(), data / (1 + np.abs(data)), rtol=1e-6)
np.testing.assert_array_equal(flame.softsign(x).numpy(), y.numpy())
assert "absolute" in next(iter(programs[0].codes.values())).source

x = flame.tensor([-2.0, 0.5, 3.0], requires_grad=True)
x.softsign().sum().backward()
np.testing.assert_allclose(x.grad.numpy(), [1 / 9, 1 / 2.25, 1 / 16], rtol=1e-6)

assert "absolute" in next(iter(compiler.compile_graph(programs[0].roots, CUDA).codes.values())).source
assert flame.softsign.__doc__.startswith("x / (1 + |x|).")
print("the operator works")
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "flame", folder / "flame", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_the_entry_of_the_docs_is_the_only_edit(copy: Path):
    page = (ROOT / "docs" / "add_an_operator.md").read_text()
    found = re.search(r"<!-- operator -->\n```python\n(.*?)```", page, re.DOTALL)
    assert found, "docs/add_an_operator.md has no block under <!-- operator -->"
    table = copy / "flame" / "ir" / "ops" / "elementwise.py"
    text = table.read_text()
    assert text.count(BEFORE) == 1, "the test looks for the end of the elementwise part of the table"
    table.write_text(text.replace(BEFORE, found[1] + BEFORE))
    done = subprocess.run([sys.executable, "-c", CHECK], cwd=copy, capture_output=True, text=True)
    assert done.stdout.strip() == "the operator works", done.stderr
    different = {
        path.relative_to(copy)
        for path in (copy / "flame").rglob("*.py")
        if path.read_text() != (ROOT / path.relative_to(copy)).read_text()
    }
    assert different == {Path("flame/ir/ops/elementwise.py")}
