"""The programs under examples/ run and reach what they promise; interrupted ones go on to the bit."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import flame
from flame.io import latest_checkpoint

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


def test_an_image_classifier_learns():
    options = ["--epochs", "2", "--images", "640", "--batch", "32", "--width", "8", "--lr", "0.02"]
    losses, right = example("image_classifier").main(options)
    assert losses[-1] < 0.8 * losses[0] and right > 0.4


GPT = ["--steps", "12", "--every", "4", "--batch", "8", "--length", "16", "--width", "16", "--heads", "2"]
GPT += ["--layers", "1", "--lr", "0.01", "--sample", "8"]


def test_a_gpt_learns():
    losses, written = example("gpt").main(GPT)
    assert losses[-1] < losses[0] - 0.3 and len(written) == 8


def test_a_vae_learns_and_draws():
    losses, pictures = example("vae").main(["--epochs", "4", "--width", "32", "--latent", "2"])
    assert losses[-1] < losses[0] - 3 and pictures.shape == (6, 8, 8)


def test_diffusion_learns_and_draws():
    options = ["--epochs", "2", "--images", "256", "--batch", "32", "--width", "4", "--times", "4", "--lr", "0.01"]
    losses, pictures = example("ddpm").main(options)
    assert losses[-1] < losses[0] and np.isfinite(pictures).all()


def test_lora_learns_beside_frozen_weights_and_merges(tmp_path):
    files = ["--base", str(tmp_path / "base.safetensors"), "--adapter", str(tmp_path / "adapter.safetensors")]
    losses, before, after, farthest = example("lora_finetune").main(
        [*files, "--epochs", "4", "--width", "32", "--rank", "4", "--lr", "0.01"]
    )
    assert losses[-1] < losses[0] and after > before + 0.2 and farthest < 1e-4


LORA = ["--epochs", "3", "--width", "16", "--rank", "2"]
RESUMED = {  # options, and the step in which the end comes: behind a checkpoint, in the middle of an epoch
    "image_classifier": (["--epochs", "3", "--images", "320", "--batch", "32", "--width", "4"], 11),
    "gpt": (GPT, 9),
    "ddpm": (["--epochs", "3", "--images", "128", "--batch", "32", "--width", "4", "--times", "3"], 9),
    "vae": (["--epochs", "3", "--width", "16", "--latent", "2"], 30),
    "lora_finetune": (LORA, 50),
}


def same(one, other):
    """Equal to the bit, arrays too."""
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return np.array_equal(one, other)


@pytest.mark.parametrize("name", RESUMED)
def test_an_example_goes_on_to_the_bit_where_it_was_interrupted(name, tmp_path, monkeypatch):
    options, steps = RESUMED[name]
    if name == "lora_finetune":
        options = [*options, "--base", str(tmp_path / "base.safetensors"), "--adapter", str(tmp_path / "adapter")]
        example(name).main(options)  # leaves the base, which takes random numbers and is no part of the checkpoint
    expected = example(name).main(options)

    backward, left = flame.Tensor.backward, iter(range(steps))

    def interrupted(loss):
        if next(left, None) is None:
            raise KeyboardInterrupt
        backward(loss)

    saving = [*options, "--checkpoint", str(tmp_path / "run")]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(flame.Tensor, "backward", interrupted)
        example(name).main(saving)
    assert latest_checkpoint(tmp_path / "run") is not None, "interrupted before the first checkpoint"
    flame.manual_seed(99)
    assert same(example(name).main(saving), expected)


def test_every_example_that_saves_is_resumed():
    assert {path.stem for path in FOLDER.glob("*.py") if "--checkpoint" in path.read_text()} == RESUMED.keys()


def test_every_example_is_tested():
    text = Path(__file__).read_text()
    assert all(f'example("{path.stem}")' in text for path in FOLDER.glob("*.py"))
