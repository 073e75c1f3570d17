"""Training states: resumed to the bit, whole after a kill at any moment, and the newest few kept."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import flame
from flame.errors import CheckpointError, StateError
from flame.io import latest_checkpoint, load_checkpoint, save_checkpoint

ROOT = Path(__file__).resolve().parents[2]
RUN = Path(__file__).with_name("training_run.py")
ENV = {k: v for k, v in os.environ.items() if not k.startswith("FLAME_")} | {
    "PYTHONPATH": str(ROOT),
    "FLAME_DEVICE": "cpu",
}
STEPS = 12


# --- one process ------------------------------------------------------------------------------------------------------
class Counter:
    """A part of a training state that is no tensor: a scheduler, a scaler."""

    def __init__(self):
        self.count = 0

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def small():
    model = flame.nn.Linear(2, 2)
    return model, flame.optim.Adam(model.parameters(), lr=0.1)


def step(model, optimizer):
    optimizer.zero_grad()
    loss = (model(flame.rand(4, 2)) - random.random() - np.random.rand()).square().mean()  # noqa: NPY002
    loss.backward()
    optimizer.step()
    return loss.item()


def test_a_run_goes_on_as_if_it_had_not_stopped(tmp_path):
    model, optimizer = small()
    counter, stream = Counter(), flame.Generator(5)
    flame.rand(3, generator=stream)
    counter.count = 3
    step(model, optimizer)
    parts = {"model": model, "optimizer": optimizer, "scheduler": counter, "generator": stream}
    path = save_checkpoint(tmp_path / "a.pt", step=1, extra={"best": 0.5, "x": flame.ones(2)}, scaler=None, **parts)
    expected = [step(model, optimizer) for _ in range(3)]
    drawn = flame.rand(2, generator=stream).tolist()
    model, optimizer = small()
    fresh = {"model": model, "optimizer": optimizer, "scheduler": Counter(), "generator": flame.Generator(1)}
    found = load_checkpoint(path, scaler=None, **fresh)
    assert (found.step, found.extra["best"], found.extra["x"].tolist()) == (1, 0.5, [1, 1])
    assert fresh["scheduler"].count == 3
    assert [step(model, optimizer) for _ in range(3)] == expected
    assert flame.rand(2, generator=fresh["generator"]).tolist() == drawn


def test_a_part_of_a_state_is_enough(tmp_path):
    model, optimizer = small()
    save_checkpoint(tmp_path / "a.pt", model=model, optimizer=optimizer, rng=False)
    other, _ = small()
    load_checkpoint(tmp_path / "a.pt", model=other, rng=False)
    assert other.weight.tolist() == model.weight.tolist()
    with pytest.raises(CheckpointError, match="holds no 'random'; it holds model, optimizer"):
        load_checkpoint(tmp_path / "a.pt", model=other)
    with pytest.raises(CheckpointError, match="holds no 'ema'"):
        load_checkpoint(tmp_path / "a.pt", model=other, ema=other, rng=False)


def test_what_does_not_fit_changes_nothing(tmp_path):
    model, optimizer = small()
    save_checkpoint(tmp_path / "a.pt", model=model, optimizer=optimizer)
    step(model, optimizer)
    save_checkpoint(tmp_path / "trained.pt", model=model, optimizer=optimizer)
    other = flame.nn.Linear(3, 2)
    before = other.weight.tolist(), random.getstate()
    with pytest.raises(StateError, match="misshapen: weight"):
        load_checkpoint(tmp_path / "a.pt", model=other)
    assert (other.weight.tolist(), random.getstate()) == before
    three = flame.nn.Linear(2, 3), flame.nn.Linear(2, 2)
    before = three[1].weight.tolist()
    with pytest.raises(StateError, match=r"exp_avg has shape|exp_avg_sq has shape"):
        fits_not = flame.optim.Adam(three[0].parameters())
        load_checkpoint(tmp_path / "trained.pt", model=three[1], optimizer=fits_not)
    assert three[1].weight.tolist() == before
    (tmp_path / "nothing").mkdir()
    flame.save({"model": model.state_dict()}, tmp_path / "b.pt")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_checkpoint(tmp_path / "b.pt", model=model)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_checkpoint(tmp_path / "nothing", model=model)
    with pytest.raises(CheckpointError, match="without state_dict"):
        save_checkpoint(tmp_path / "c.pt", model=3)
    with pytest.raises(CheckpointError, match="cannot be called 'random'"):
        save_checkpoint(tmp_path / "c.pt", random=model)
    with pytest.raises(CheckpointError, match="keep=2 needs"):
        save_checkpoint(tmp_path / "c", model=model, keep=2)
    assert not (tmp_path / "c.pt").exists()


def test_the_newest_few_stay_and_what_killed_writers_left_goes(tmp_path):
    model, _ = small()
    folder = tmp_path / "run"
    assert latest_checkpoint(folder) is None
    for number in (1, 2, 10):
        save_checkpoint(folder, step=number, keep=2, model=model)
    assert sorted(p.name for p in folder.iterdir()) == ["step-000000002.pt", "step-000000010.pt"]
    (folder / ".step-000000011.pt.abcd.part").write_bytes(b"half of a file")
    (folder / "step-notes.pt").write_bytes(b"the user's own")
    assert latest_checkpoint(folder) == folder / "step-000000010.pt"
    assert load_checkpoint(folder, model=model).step == 10
    save_checkpoint(folder, step=12, keep=1, model=model)
    assert sorted(p.name for p in folder.iterdir()) == ["step-000000012.pt", "step-notes.pt"]


def test_a_link_stays_a_link_and_a_failed_save_leaves_the_old_file(tmp_path):
    model, _ = small()
    (tmp_path / "real").mkdir()
    (tmp_path / "link.pt").symlink_to(tmp_path / "real" / "a.pt")
    save_checkpoint(tmp_path / "link.pt", model=model, step=1)
    assert (tmp_path / "link.pt").is_symlink()
    with pytest.raises(CheckpointError, match="cannot be saved"):
        save_checkpoint(tmp_path / "link.pt", model=model, step=2, extra=object())
    assert load_checkpoint(tmp_path / "link.pt").step == 1
    assert [p.name for p in (tmp_path / "real").iterdir()] == ["a.pt"]


@pytest.mark.parity
def test_pytorch_reads_a_checkpoint(tmp_path):
    torch = pytest.importorskip("torch")
    model, optimizer = small()
    step(model, optimizer)
    save_checkpoint(tmp_path / "a.pt", model=model, optimizer=optimizer, step=3)
    found = torch.load(tmp_path / "a.pt", weights_only=True)
    theirs = torch.nn.Linear(2, 2)
    theirs.load_state_dict(found["model"])
    torch.optim.Adam(theirs.parameters()).load_state_dict(found["optimizer"])
    assert theirs.weight.tolist() == model.weight.tolist() and found["step"] == 3


# --- killed processes -------------------------------------------------------------------------------------------------
def lines(log: Path) -> dict[int, set[str]]:
    """Every loss that was written, by step; the last line may be half written."""
    found: dict[int, set[str]] = {}
    for line in log.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            number, rest = line.split(" ", 1)
            found.setdefault(int(number), set()).add(rest)
    return found


def start(folder: Path, log: Path) -> subprocess.Popen:
    log.touch()
    return subprocess.Popen([sys.executable, RUN, folder, str(STEPS), log], env=ENV, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[int, set[str]]:
    """The losses of a run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    assert start(folder / "run", folder / "log").wait(300) == 0
    return lines(folder / "log")


def killed_again_and_again(folder: Path, kills: int, rng: np.random.Generator) -> dict[int, set[str]]:
    """The losses of a run that was killed so many times, each time after some steps and a random moment."""
    log, run = folder / "log", folder / "run"
    for _ in range(kills):
        process = start(run, log)
        begun = log.stat().st_size
        goal = begun + int(rng.integers(0, 3)) * 30  # some steps of about 30 bytes a line
        while process.poll() is None and log.stat().st_size <= goal:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.01))  # of which saving takes about the half
        process.send_signal(signal.SIGKILL)
        process.wait()
        if (newest := latest_checkpoint(run)) is not None:
            flame.load(newest)  # whole, whatever was being written
            if newest.name == f"step-{STEPS:09}.pt":
                newest.unlink()  # the run is over: go back a step or two, so that there is something to kill
    assert start(run, log).wait(300) == 0
    return lines(log)


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_a_run_that_is_killed_and_resumed_has_the_losses_of_one_that_is_not(kills, whole, tmp_path):
    found = killed_again_and_again(tmp_path, kills, np.random.default_rng(kills))
    assert sorted(found) == sorted(whole) == list(range(1, STEPS + 1))
    assert found == whole


CALLS = ("write", "fsync", "replace", "fsync of the folder")
DYING = """
import os, signal, sys, zipfile
import flame
from flame.io import atomic
path, call = sys.argv[1:]
def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
sync = os.fsync
if call == "write": zipfile._ZipWriteFile.close = die
if call == "fsync": os.fsync = die
if call == "replace": os.replace = die
if call == "fsync of the folder": atomic.flush_folder = die
flame.io.save_checkpoint(path, step=2, model=flame.nn.Linear(2, 2))
"""


@pytest.mark.parametrize("call", CALLS)
def test_a_kill_inside_a_save_leaves_the_old_checkpoint_or_the_new_one(call, tmp_path):
    model, _ = small()
    save_checkpoint(tmp_path / "a.pt", step=1, model=model)
    done = subprocess.run([sys.executable, "-c", DYING, tmp_path / "a.pt", call], env=ENV)
    assert done.returncode == -signal.SIGKILL
    assert load_checkpoint(tmp_path / "a.pt", model=model).step == (2 if "folder" in call else 1)
    save_checkpoint(tmp_path / "a.pt", step=3, model=model)
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]
