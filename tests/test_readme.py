"""README.md tells the truth: the kernel it shows is what its ten lines become, its lines and links exist.

`python tests/test_readme.py` writes the kernel into the README anew, after a change of the printer that is meant.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from flame.cli import main

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def block(mark: str, language: str) -> re.Match[str]:
    """The fenced block under an HTML comment; group 1 is its text."""
    found = re.search(rf"<!-- {mark} -->\n```{language}\n(.*?)```", README.read_text(), re.DOTALL)
    assert found, f"README.md has no {language} block under <!-- {mark} -->"
    return found


def printed(folder: Path) -> str:
    """What the command in the README prints for its ten lines, without the program's number."""
    (folder / "example.py").write_text(block("ten-lines", "python")[1])
    command = re.search(r"`flame dump example\.py(:\w+) (--stage source)`", README.read_text())
    assert command, "README.md does not say which command prints the kernel"
    out = folder / "kernel.txt"
    assert (
        main(["dump", f"{folder / 'example.py'}{command[1]}", *command[2].split(), "--target", "cpu", "-o", str(out)])
        == 0
    )
    return out.read_text().split("\n", 1)[1]


def test_the_kernel_shown_is_the_kernel_printed(tmp_path: Path):
    text = printed(tmp_path)
    assert text.count("\ndef ") == 1, "the ten lines become one kernel"
    assert block("kernel", "python")[1] == text, "if the change is meant: python tests/test_readme.py"


def test_the_ten_lines_are_ten():
    assert len([line for line in block("ten-lines", "python")[1].splitlines() if line]) <= 10


def test_ci_runs_the_readmes_test_line():
    script = (ROOT / ".ci" / "run").read_text()
    function = re.search(r"^readme_line\(\) \{.*?^\}", script, re.DOTALL | re.MULTILINE)
    assert function
    done = subprocess.run(["bash", "-c", f"{function[0]}\nreadme_line"], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == block("test-line", "bash")[1]
    assert len(done.stdout.splitlines()) == 1


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as here:
        where, text = block("kernel", "python"), printed(Path(here))
    old = README.read_text()
    README.write_text(old[: where.start(1)] + text + old[where.end(1) :])
    sys.stdout.write(text)
