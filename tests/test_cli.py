"""The command line: every stage in every format, what goes wrong, what `info` and `cache` say."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import networkx as nx
import pytest

from flame import stages
from flame.cli import dump as dumping
from flame.cli import export, info, main
from flame.config import KNOBS, STAGES, config

SCRIPT = """
import sys
import numpy as np
import flame

x = flame.tensor(np.arange(12, dtype=np.float32).reshape(4, 3))

def pieces():
    y = x.exp() * 2.0
    return {"rows": [y.sum(1)], "all": (y,)}

def pending():
    return x + 1.0

def needs(data):
    return data

def nothing():
    return 42

def broken():
    raise ValueError("on purpose")

class Model:
    pass

if __name__ == "__main__":
    print("the script speaks", *sys.argv[1:])
    if "exit" in sys.argv:
        sys.exit(3)
    (x * 3.0 + 1.0).realize()
    left = x - 5.0
"""
needs_numba_cuda = pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="ptx needs numba-cuda")
needs_graphviz = pytest.mark.skipif(shutil.which("dot") is None, reason="svg needs graphviz")
MARKS = {"ptx": [needs_numba_cuda], "svg": [needs_graphviz]}


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "script.py"
    path.write_text(SCRIPT)
    return path


@pytest.fixture(scope="module")
def programs(script: Path) -> list[dumping.Program]:
    return dumping.programs_of(f"{script}:pieces", [])


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flame", *map(str, arguments)]
    home = str(Path(__file__).resolve().parent.parent)
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": home, **environment}
    )


def marked(names: tuple[str, ...]) -> list:
    return [pytest.param(name, marks=MARKS.get(name, [])) for name in names]


# --- every stage in every format --------------------------------------------------------------------------------------
@pytest.mark.parametrize("stage", marked(STAGES))
def test_a_stage_as_text(programs: list[dumping.Program], stage: str):
    (program,) = [dumping.aimed(each, stage, None) for each in programs]
    text = stages.text(program, stage)
    (code,) = program.codes.values()
    expected = {
        "graph": ["exp(%0)", "return %"],
        "optimized": ["exp(%0)", "return %"],
        "kernels": [f"kernel {code.name}(", "fold add("],
        "plan": [f"launch {code.name}(", "arena"],
        "source": [f"def {code.name}("],
        "choices": ["# no library is called"],
        "ptx": [f".entry {code.name}(", ".target sm_90"],
    }
    for part in expected[stage]:
        assert part in text, text


@pytest.mark.parametrize("stage", marked(STAGES))
def test_a_stage_as_json_is_a_graph_that_networkx_reads(programs: list[dumping.Program], stage: str):
    drawn = dumping.graph(dumping.aimed(programs[0], stage, None), stage)
    data = json.loads(export.to_json({"p": drawn}))
    again = nx.node_link_graph(data["p"], edges="edges")
    assert set(again) == set(drawn)
    assert len(again.edges) == len(drawn.edges)
    assert all(about["label"] for _, about in again.nodes(data=True))


@pytest.mark.parametrize("stage", marked(STAGES))
@pytest.mark.parametrize("form", marked(("dot", "svg")))
def test_a_stage_as_a_picture(programs: list[dumping.Program], stage: str, form: str):
    drawn = dumping.graph(dumping.aimed(programs[0], stage, None), stage)
    text = {"dot": export.to_dot, "svg": export.to_svg}[form]({'a "title"': drawn})
    assert text.startswith("digraph flame {") if form == "dot" else "</svg>" in text
    assert text.count("fillcolor=") == len(drawn) if form == "dot" else text.count('class="node"') == len(drawn)


def test_a_graph_knows_operands_shapes_and_roots(programs: list[dumping.Program]):
    drawn = dumping.graph(programs[0], "graph")
    roots = [about for _, about in drawn.nodes(data=True) if about["root"]]
    assert sorted(about["shape"] for about in roots) == [[4], [4, 3]]
    assert {about["operator"] for _, about in drawn.nodes(data=True)} >= {"leaf", "exp", "mul", "sum"}
    product = next(name for name, about in drawn.nodes(data=True) if about["operator"] == "mul")
    assert [about["operand"] for *_, about in drawn.in_edges(product, data=True)]


def test_a_plan_joins_slots_by_steps(programs: list[dumping.Program]):
    drawn = dumping.graph(programs[0], "plan")
    assert list(drawn.predecessors("step0")) == ["s0"]
    assert len(list(drawn.successors("step0"))) == 2


def test_the_other_target_needs_no_device(programs: list[dumping.Program]):
    text = stages.text(dumping.aimed(programs[0], "source", "cuda"), "source")
    assert "prelude_cuda" in text
    assert "prelude_cpu" in stages.text(dumping.aimed(programs[0], "source", "cpu"), "source")


# --- running files ----------------------------------------------------------------------------------------------------
def test_a_script_runs_as_main_and_its_output_is_kept_apart(script: Path):
    done = run("dump", script, "--stage", "graph", "--", "hello", "--flag")
    assert done.returncode == 0, done.stderr
    assert "the script speaks hello --flag" in done.stderr
    assert "# program 1 of 2" in done.stdout, done.stdout  # the second: what its globals hold unrealized at the end
    assert "speaks" not in done.stdout


def test_a_function_of_a_file(script: Path, tmp_path: Path):
    target = tmp_path / "out.json"
    done = run("dump", f"{script}:pending", "--format", "json", "--stage", "plan", "-o", target)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "s0" in {node["id"] for node in json.loads(target.read_text())["program 1 of 1"]["nodes"]}


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("{dir}/absent.py", "there is no file"),
        ("{dir}/absent.py:f", "there is no file"),
        ("{file}:absent", "defines no function absent; it defines pieces, pending, needs, nothing, broken"),
        ("{file}:needs", "cannot be called without arguments (missing a required argument: 'data')"),
        ("{file}:nothing", "returned a int and no tensor"),
        ("{file}:broken", "failed with ValueError; its traceback stands above"),
        ("{empty}", "computed nothing with tensors"),
        ("{wrong}", "failed with SyntaxError"),
    ],
)
def test_what_cannot_be_shown_is_explained(script: Path, capsys: pytest.CaptureFixture[str], where: str, message: str):
    empty, wrong = script.with_name("empty.py"), script.with_name("wrong.py")
    empty.write_text("print('no tensors here')\n")
    wrong.write_text("def f(:\n")
    assert main(["dump", where.format(dir=script.parent, file=script, empty=empty, wrong=wrong)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.rstrip().splitlines()[-1].startswith("flame dump: ")
    assert message in told.err
    assert "Error" not in message or "Traceback" in told.err


def test_a_script_that_ends_badly_shows_nothing(script: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["dump", str(script), "--", "exit"]) == 1
    assert "ended with exit status 3" in capsys.readouterr().err


def test_listeners_and_the_scripts_world_are_put_back(script: Path, capsys: pytest.CaptureFixture[str]):
    before = sys.argv, list(sys.path), list(dumping.compiler.listeners), sys.stdout
    main(["dump", f"{script}:broken"])
    main(["dump", str(script)])
    capsys.readouterr()
    assert before == (sys.argv, sys.path, dumping.compiler.listeners, sys.stdout)


def test_without_graphviz_text_and_dot_work_and_svg_says_what_to_install(
    programs: list[dumping.Program], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(export.shutil, "which", lambda _: None)
    drawn = {"p": dumping.graph(programs[0], "graph")}
    assert export.to_dot(drawn)
    with pytest.raises(export.MissingError, match="apt install graphviz"):
        export.to_svg(drawn)


def test_an_output_that_cannot_be_written_is_an_error_of_one_line(script: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["dump", f"{script}:pending", "-o", str(script.parent)]) == 1
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["dump"], ["dump", "x.py", "--stage", "soup"], ["info", "--what"], ["fly"]])
def test_wrong_usage_ends_with_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: flame" in capsys.readouterr().err


# --- FLAME_SHOW -------------------------------------------------------------------------------------------------------
def test_stages_are_announced_in_their_order(programs: list[dumping.Program], capsys: pytest.CaptureFixture[str]):
    with config(show="source, graph"):
        stages.announce(programs[0], "user.py:3")
    told = capsys.readouterr().err
    assert 0 <= told.index("# graph for user.py:3\n") < told.index("# source for user.py:3\n")
    assert "# plan" not in told
    stages.announce(programs[0])
    assert capsys.readouterr().err == ""


def test_the_environment_shows_stages_while_a_script_runs(script: Path):
    code = f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"
    home = str(Path(__file__).resolve().parent.parent)
    shown = {**os.environ, "PYTHONPATH": home, "FLAME_SHOW": "plan,source"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=shown)
    assert done.stdout == "the script speaks\n", done.stderr
    assert "# plan" in done.stderr
    assert "\ndef " in done.stderr


# --- info and cache ---------------------------------------------------------------------------------------------------
def test_info_tells_versions_devices_cache_and_knobs(capsys: pytest.CaptureFixture[str]):
    assert main(["info"]) == 0
    told = capsys.readouterr().out
    for part in ("numba", "cpu", str(config.cache_dir), *(knob.variable for knob in KNOBS.values())):
        assert part in told


def test_info_says_how_to_get_what_is_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(info, "version", lambda name: None)
    monkeypatch.setattr(info.shutil, "which", lambda name: None)
    main(["info"])
    told = capsys.readouterr().out
    assert "pip install -e '.[cuda]'" in told
    assert "apt install graphviz" in told


def test_the_cache_is_told_of_and_emptied(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with config(cache_dir=tmp_path / "cache"):
        assert main(["cache"]) == 0
        assert "made when first needed" in capsys.readouterr().out
        info.disk_cache.put("test", "key", b"data")
        assert main(["cache"]) == 0
        assert "1 entries" in capsys.readouterr().out
        assert main(["cache", "--clear"]) == 0
        assert info.disk_cache.get("test", "key") is None
