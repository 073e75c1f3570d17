"""docs/journey.md shows what really happens: every block under `<!-- journey: NAME -->` is produced here and compared.

`python tests/test_journey.py` writes the blocks anew, after a change of the compiler that is meant.
"""

import ast
import difflib
import json
import os
import re
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "journey.md"
BLOCK = re.compile(r"<!-- journey: (\w+) -->\n```(\w*)\n(.*?)```", re.DOTALL)
DOOR = re.compile(r"\[`(flame/[\w/]+\.py)`\]\(\.\./([\w/.]+)\)((?:,? (?:and )?`[\w.]+`)*)")

PROGRAM = """
rng = np.random.default_rng(0)
x = flame.tensor(rng.standard_normal((6, 4)).astype("float32"))
w = flame.tensor(rng.standard_normal((4, 5)).astype("float32"), requires_grad=True)
y = flame.tensor(rng.standard_normal((6, 5)).astype("float32"))
"""
LINE = "loss = ((x @ w).relu() - y).square().mean()"


def produce() -> dict[str, str]:
    """Every block of the page, from one run on the CPU; to be called in a fresh process, where leaves count from 0."""
    import numpy as np

    import flame
    from flame import compiler
    from flame.ir import show
    from flame.ir.graph import fingerprint, toposort
    from flame.ir.target import CPU, CUDA
    from flame.passes.simplify import Scalars

    programs: list[compiler.Program] = []
    compiler.listeners.append(programs.append)
    names = {"np": np, "flame": flame}
    exec(PROGRAM + LINE, names)
    x, w, y, loss = (names[n] for n in ("x", "w", "y", "loss"))
    out = {"graph": show.graph(loss.node)}
    loss.backward()
    out["backward"] = show.graph(w.grad.node)
    assert not programs, "nothing is computed before a value is read"
    order = toposort([w.grad.node])
    leaves = [n for n in order if n.op.name == "leaf"]
    out["fingerprint"] = spelled_key(fingerprint(order, [w.grad.node], set(leaves)))
    gradient = w.grad.numpy()
    (program,) = programs
    graph, simple = program.optimized, Scalars()
    out["kept"] = "\n".join(f"{n!r}" for n in program.roots)
    out["optimized"] = show.graph(*graph)
    out["groups"] = "\n".join(map(repr, compiler.groups(graph, CPU, simple)))
    out["kernel"] = "\n\n".join(map(show.kernel, program.codes))
    out["plan"] = show.plan(program.plan)
    out["source"] = "\n\n".join(c.source.strip() for c in program.codes.values())
    out["code"] = "\n".join(coded(c) for c in program.codes.values())
    there = compiler.compile_graph(program.roots, CUDA)
    out["cuda_kernel"] = "\n\n".join(map(show.kernel, there.codes))
    out["cuda_source"] = "\n\n".join(c.source.strip() for c in there.codes.values())
    out["cuda_code"] = "\n".join(coded(c) for c in there.codes.values())
    out["ptx"] = ptx(there)
    out["numbers"] = f"{np.array2string(gradient, precision=4, suppress_small=True)}\n{close(gradient, x, w, y)}"
    programs.clear()
    loss.item()
    (second,) = programs
    out["second"] = show.graph(*second.optimized) + "\n\n" + show.plan(second.plan)
    programs.clear()
    exec(PROGRAM + LINE + "\nloss.backward()\nw.grad.numpy()\nloss.item()", names)
    out["replay"] = f"{len(programs)} programs compiled, {sum(len(p.codes) for p in programs)} kernels printed"
    return out


def spelled_key(key) -> str:
    """A fingerprint, one part a line: shape and dtype of a leaf; operator, attributes and sources of any other node."""
    parts, roots = key
    lines = [f"{i:>3}  " + " ".join(str(p) for p in part if p != ()) for i, part in enumerate(parts, 1)]
    return "\n".join([*lines, f"roots {roots}"])


def coded(code) -> str:
    return (
        f"name={code.name!r} signature={code.signature} extent={code.extent} blocks={code.blocks} "
        f"threads={code.threads} work={code.work}"
    )


def close(gradient, x, w, y) -> str:
    """The error against the same formula written by hand in float64."""
    import numpy as np

    a, b, c = (t.detach().numpy().astype(np.float64) for t in (x, w, y))
    z = a @ b
    exact = a.T @ np.where(z > 0, 2 * (np.maximum(z, 0) - c) / c.size, 0)
    error = np.abs(gradient - exact).max()
    assert error < 1e-6, error
    return "largest error against float64: below 1e-6"


def ptx(program) -> str:
    """The instructions of the only CUDA kernel and who made them; empty where no CUDA compiler is installed."""
    from flame import stages
    from flame.runtime import cuda_compile

    if cuda_compile.why_not():
        return ""
    text = stages.text(program, "ptx")
    made = re.search(r"Cuda compilation tools.*", text)[0]
    body = text[text.index("{\n", text.index(".entry")) :].splitlines()
    kept = [x for x in body if x.strip() and not x.strip().startswith((".reg", "//", "{\n"))]
    return "\n".join([f"// {made}", *(x.expandtabs(4) for x in kept)])


@cache
def produced() -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        env = {k: v for k, v in os.environ.items() if not k.startswith("FLAME_")}
        env |= {"FLAME_CACHE": folder, "FLAME_DEVICE": "cpu", "PYTHONPATH": str(ROOT)}
        code = "import json\nfrom tests.test_journey import produce\nprint(json.dumps(produce()))"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


BLOCKS = {name: text for name, _, text in BLOCK.findall(PAGE.read_text())} if PAGE.exists() else {}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_is_what_happens(name: str):
    real, shown = produced()[name].strip() + "\n", BLOCKS[name]
    if name == "ptx" and real.splitlines()[0] != shown.splitlines()[0]:
        pytest.skip("the CUDA compiler of the page is not installed here: another one prints other instructions")
    diff = "".join(difflib.unified_diff(shown.splitlines(True), real.splitlines(True), "docs/journey.md", "this code"))
    assert not diff, f"if the change is meant: python tests/test_journey.py\n{diff}"


def test_every_block_is_shown_once():
    assert sorted(BLOCKS) == sorted(produced())
    assert len(BLOCK.findall(PAGE.read_text())) == len(BLOCKS)


def test_the_page_follows_the_line_that_is_run():
    text = PAGE.read_text()
    assert PROGRAM.strip() in text
    assert f"{LINE}\nloss.backward()\nw.grad" in text


def defined(path: Path) -> set[str]:
    """The functions, classes, methods and tables of a file."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.FunctionDef():
                found.add(node.name)
            case ast.ClassDef():
                found.add(node.name)
                found |= {f"{node.name}.{n.name}" for n in node.body if isinstance(n, ast.FunctionDef)}
            case ast.Assign():
                found |= {t.id for t in node.targets if isinstance(t, ast.Name)}
            case ast.AnnAssign():
                found |= {node.target.id} if isinstance(node.target, ast.Name) else set()
    return found


DOORS = [(m[1], m[2], re.findall(r"`([\w.]+)`", m[3])) for m in DOOR.finditer(PAGE.read_text())]


@pytest.mark.parametrize("door", DOORS, ids=lambda d: d[0])
def test_the_functions_named_are_where_the_page_says(door: tuple[str, str, list[str]]):
    shown, link, names = door
    assert shown == link
    missing = [n for n in names if n not in defined(ROOT / shown)]
    assert not missing, f"{shown} does not define {', '.join(missing)}"


if __name__ == "__main__":
    made = produced()
    old = PAGE.read_text()
    new = BLOCK.sub(lambda m: f"<!-- journey: {m[1]} -->\n```{m[2]}\n{made[m[1]].strip() or m[3].strip()}\n```", old)
    PAGE.write_text(new)
    sys.stdout.writelines(difflib.unified_diff(old.splitlines(True), new.splitlines(True), "before", "after"))
