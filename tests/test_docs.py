"""docs/ and README.md tell the truth: examples run, links lead somewhere, docs/ir.md is what flame/ir says.

`python tests/test_docs.py` writes the blocks of docs/ir.md anew, after a change of flame/ir that is meant.
"""

import ast
import difflib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "ir.md"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
GENERATED = re.compile(r"<!-- ir: ([\w/.]+) -->\n(.*?)<!-- end -->", re.DOTALL)
MARKED = r"<!-- (?:kernel|operator|journey: \w+) -->\n"  # tests of their own compare or run these
EXAMPLE = re.compile(rf"({MARKED})?(?:<!-- [\w -]+ -->\n)?^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
GIVEN = """
import flame
weight = flame.ones(4, 2, requires_grad=True)
loss = (flame.ones(3, 4) @ weight).square().mean()
"""  # what every page's examples may use without saying so


# --- examples and links -----------------------------------------------------------------------------------------------
def examples(page: Path) -> list[str]:
    """The Python blocks of a page that are to run, in order."""
    return [text for mark, text in EXAMPLE.findall(page.read_text()) if not mark]


@pytest.mark.parametrize("page", [p for p in PAGES if examples(p)], ids=lambda p: str(p.relative_to(ROOT)))
def test_the_examples_of_a_page_run_one_after_the_other(page: Path, tmp_path: Path):
    env = {k: v for k, v in os.environ.items() if not k.startswith("FLAME_")}
    env |= {"PYTHONPATH": str(ROOT), "FLAME_DEVICE": "cpu"}
    script = "\n\n".join([GIVEN, *examples(page)])
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{script}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_and_their_anchors_exist(page: Path):
    text = re.sub(r"<!--.*?-->|^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for goal, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", text):
        if "://" in goal:
            continue
        target = (page.parent / goal).resolve() if goal else page
        assert target.exists(), f"{page.name} links to {goal}, which is not there"
        if anchor:
            assert anchor in anchors(target), f"{page.name} links to {goal}#{anchor}; {target.name} has no such heading"


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives a page's headings."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", h)).lower().replace(" ", "-") for h in heads
    }


# --- the page of nouns ------------------------------------------------------------------------------------------------
def nouns(path: Path) -> str:
    """Every dataclass and enumeration of a file, its sentence and its fields with the comments of the source."""
    source = path.read_text()
    lines, out = source.splitlines(), list[str]()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and (enumeration(node) or declared(node) or node.name == "Node"):
            said = (ast.get_docstring(node) or "").replace("\n", " ")
            out += [f"**{node.name}**" + (f": {said}" if said else ""), "", "| Field | Type | |", "|---|---|---|"]
            out += [field(n, lines) for n in node.body if isinstance(n, ast.AnnAssign | ast.Assign) and named(n)]
            out.append("")
        elif isinstance(node, ast.Assign) and "Union[" in (said := ast.unparse(node)):
            out += [f"`{said}`", ""]
    return "\n".join(out)


def declared(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(d) for d in node.decorator_list)


def enumeration(node: ast.ClassDef) -> bool:
    return any(ast.unparse(b) == "Enum" for b in node.bases)


def named(node: ast.AnnAssign | ast.Assign) -> str:
    target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
    return target.id if isinstance(target, ast.Name) and not target.id.startswith("__") else ""


def field(node: ast.AnnAssign | ast.Assign, lines: list[str]) -> str:
    kind = ast.unparse(node.annotation).replace("'", "") if isinstance(node, ast.AnnAssign) else ""
    value = (
        f" = {ast.unparse(node.value)}" if node.value is not None and "auto()" not in ast.unparse(node.value) else ""
    )
    _, _, comment = lines[node.end_lineno - 1].partition("  # ")
    spelled = f"{kind}{value}".strip()
    text = re.sub(r"([|*])", r"\\\1", comment)
    return f"| `{named(node)}` | {f'`{spelled}`'.replace('|', chr(92) + '|') if spelled else ''} | {text} |"


def operators() -> str:
    """The operator table, by kind."""
    from flame.ir.op import OPS, Kind
    from flame.ir.ops import elementwise

    out = ["| Operator | Gradient | |", "|---|---|---|"]
    for kind in Kind:
        out.append(f"| **{kind.name}** | | |")
        for op in (o for o in OPS.values() if o.kind is kind):
            flows = {None: "", elementwise.nothing: "none flows", elementwise.level: "0"}.get(op.grad, "yes")
            out.append(f"| `{op.name}` | {flows} | {op.doc.replace('|', chr(92) + '|')} |")
    return "\n".join([*out, ""])


def generated(name: str) -> str:
    return operators() if name == "operators" else nouns(ROOT / "flame" / "ir" / name)


PARTS = dict(GENERATED.findall(PAGE.read_text()))


@pytest.mark.parametrize("name", PARTS)
def test_the_page_of_nouns_is_what_the_source_says(name: str):
    shown, real = PARTS[name].strip(), generated(name).strip()
    diff = "\n".join(difflib.unified_diff(shown.splitlines(), real.splitlines(), "docs/ir.md", f"flame/ir/{name}"))
    assert not diff, f"if the change is meant: python tests/test_docs.py\n{diff}"


def test_every_file_with_nouns_is_on_the_page():
    files = [p.name for p in sorted((ROOT / "flame" / "ir").glob("*.py")) if "\n|" in nouns(p)]
    assert sorted([*files, "operators"]) == sorted(PARTS)


if __name__ == "__main__":
    old = PAGE.read_text()
    new = GENERATED.sub(lambda m: f"<!-- ir: {m[1]} -->\n\n{generated(m[1]).strip()}\n\n<!-- end -->", old)
    PAGE.write_text(new)
    sys.stdout.writelines(difflib.unified_diff(old.splitlines(True), new.splitlines(True), "before", "after"))
