"""Tuning on a GPU: the numbers stay, donated memory survives, what was found is remembered on disk and shown."""

import subprocess
import sys

import numpy as np
import pytest

import flame
from flame import compiler, stages
from flame.runtime import choice

pytestmark = pytest.mark.gpu

STEP = """
import numpy as np, flame
from flame.runtime import choice
timed = []
original = choice.timed
choice.timed = lambda *given: timed.append(given) or original(*given)
with flame.config(tune=True):
    x = flame.tensor(np.arange(512 * 1152, dtype=np.float32).reshape(512, 1152), device="cuda")
    print(float(x.softmax(-1).sum().item()), len(timed))
"""


def in_a_process(cache) -> list[str]:
    import os

    done = subprocess.run(
        [sys.executable, "-c", STEP], env={**os.environ, "FLAME_CACHE": str(cache)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_what_was_timed_once_is_never_timed_again(tmp_path):
    total, times = in_a_process(tmp_path)
    assert abs(float(total) - 512) < 1e-2 and int(times) >= 1
    assert in_a_process(tmp_path) == [total, "0"]


def test_a_donated_parameter_is_updated_once():
    """Timing writes scratch memory: the weights are those of a run without it."""
    rng = np.random.default_rng(0)
    start, grad = rng.standard_normal((2, 700, 333)).astype(np.float32)

    def trained() -> np.ndarray:
        p = flame.nn.Parameter(flame.tensor(start, device="cuda"))
        optimizer = flame.optim.AdamW([p], lr=1e-2)
        for _ in range(3):
            p.grad = flame.tensor(grad, device="cuda")
            optimizer.step()
        return p.detach().numpy()

    plain = trained()
    with flame.config(tune=True):
        tuned = trained()
    np.testing.assert_allclose(tuned, plain, rtol=1e-6, atol=1e-7)


def test_positions_are_inside_while_kernels_are_timed():
    table = flame.randn(1000, 64, device="cuda")
    index = flame.tensor(np.array([5, 999, 0, 17] * 64), device="cuda")
    with flame.config(tune=True):
        got = flame.nn.functional.embedding(index, table).numpy()
    np.testing.assert_array_equal(got, table.numpy()[index.numpy()])


def test_dump_shows_what_was_chosen():
    seen: list[compiler.Program] = []
    compiler.listeners.append(seen.append)
    try:
        with flame.config(tune=True):
            flame.randn(300, 1152, device="cuda").realize().softmax(-1).realize()
    finally:
        compiler.listeners.remove(seen.append)
    text = stages.text(seen[-1], "kernels")
    assert "tuned among" in text and "lanes=" in text.split("tuned among")[1]
    assert any(choice.known(k.name) for k in seen[-1].codes)
