"""`flame demo`: its files, its figures, its errors; in the slow ring, that it draws digits which are recognised."""

import json

import numpy as np
import pytest

from flame.errors import FlameError, MissingError

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

from flame import demo
from flame.demo import data, report, training

FILES = {"samples.png", "loss.png", "report.md", "report.json"}


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """What three steps leave behind."""
    out = tmp_path_factory.mktemp("demo") / "flame-demo"
    assert demo.main(["--steps", "3", "--out", str(out), "--seed", "1"]) == 0
    return out


def test_it_writes_its_files(short):
    assert {path.name for path in short.iterdir()} == FILES
    for name in ("samples.png", "loss.png"):
        assert (short / name).read_bytes().startswith(b"\x89PNG")


def test_its_report_counts_what_was_compiled(short):
    found = json.loads((short / "report.json").read_text())
    step = found["compiled"]["training_step"]
    assert found["steps"] == 3
    assert step["graph_nodes"] > 1000
    assert 0 < step["kernels"] <= step["launches"] < step["graph_nodes"] / 5
    assert found["compiled"]["kernels"] >= step["kernels"]
    assert found["peak_bytes"] > 0
    assert found["judge_on_real"] > 0.98
    assert 0 <= found["recognised"] <= 1
    page = (short / "report.md").read_text()
    assert "| peak memory |" in page
    assert next(iter(step["by_kernel"])) in page


def test_a_second_run_learns_alike_and_says_where_its_files_are(short, tmp_path, capsys):
    demo.main(["--steps", "3", "--out", str(tmp_path), "--seed", "1"])
    one, two = (json.loads((folder / "report.json").read_text()) for folder in (short, tmp_path))
    assert one["final_loss"] == two["final_loss"]
    said = capsys.readouterr().out
    assert all(name in said for name in FILES)
    assert "are recognised" in said


def test_no_steps_is_an_error(tmp_path):
    with pytest.raises(FlameError, match="--steps is 0"):
        demo.main(["--steps", "0", "--out", str(tmp_path)])


def test_missing_packages_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(demo.importlib.util, "find_spec", lambda name: None if name == "sklearn" else object())
    with pytest.raises(MissingError, match=r"needs scikit-learn: pip install scikit-learn"):
        demo.main(["--steps", "1", "--out", str(tmp_path / "none")])
    assert not (tmp_path / "none").exists()


def test_control_c_ends_it_quietly(monkeypatch, tmp_path, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "flow_loss", interrupt)
    assert demo.main(["--steps", "5", "--out", str(tmp_path)]) == 130
    assert "Stopped" in capsys.readouterr().out


def test_the_data_is_split_and_goes_round():
    digits = data.load()
    assert digits.train.shape == (1437, 16, 4)
    assert digits.test.shape == (360, 16, 4)
    assert -1 <= digits.train.min() < digits.train.max() <= 1
    images = np.random.default_rng(0).random((5, 8, 8))
    assert np.array_equal(data.to_images(data.to_tokens(images)), images)
    assert np.array_equal(data.to_tokens(images)[0, 0], images[0, :2, :2].reshape(-1))


def test_a_watch_sees_only_while_it_looks():
    with report.Watch() as watch:
        pass
    assert watch.summary()["programs"] == 0


@pytest.mark.slow
def test_drawn_digits_are_recognised(tmp_path):
    demo.main(["--out", str(tmp_path)])
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["recognised"] >= 0.95
    assert found["total_seconds"] < 180
