"""The programs under examples/ run and reach what they promise."""

import importlib.util
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_perceptron_learns_a_sine(capsys):
    assert example("mlp_regression").main(steps=150) < 0.1
    assert "step  150  loss" in capsys.readouterr().out


def test_a_loop_of_ones_own_tells_spirals_apart(capsys):
    assert example("custom_loop").main(steps=120) > 0.95
    assert "right:" in capsys.readouterr().out


def test_every_example_is_tested():
    text = Path(__file__).read_text()
    assert all(f'example("{path.stem}")' in text for path in FOLDER.glob("*.py"))
