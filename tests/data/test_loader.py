"""DataLoader: batches in order, whoever makes them; positions that resume; workers that die, hang, are interrupted."""

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import flame
from flame.data import DataLoader, TensorDataset
from flame.errors import DataError, ShapeError, WorkerError
from tests.data.sets import Count, Failing, Noisy, Squares, Told, Writing, bfloats, pairs

ROOT = Path(__file__).resolve().parents[2]
WAYS = [
    {},
    {"num_workers": 2},
    {"num_workers": 2, "threads": True},
    {"num_workers": 3, "multiprocessing_context": "fork"},
]
NAMES = ["alone", "processes", "threads", "forks"]
ways = pytest.mark.parametrize("way", WAYS, ids=NAMES)


def numbers(loader) -> list:
    return [batch["index"].tolist() for batch in loader]


# --- batches ----------------------------------------------------------------------------------------------------------
@ways
def test_batches_come_in_order_whoever_makes_them(way):
    loader = DataLoader(Squares(11), batch_size=3, **way)
    found = list(loader)
    assert len(found) == len(loader) == 4
    assert [b["index"].tolist() for b in found] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10]]
    assert [b["name"] for b in found][-1] == ["n9", "n10"]
    for batch in found:
        assert isinstance(batch["square"], flame.Tensor) and batch["square"].shape[1:] == (3, 700)
        assert batch["square"][:, 2, 5].tolist() == [i * i for i in batch["index"].tolist()]


@ways
def test_the_order_at_random_depends_on_the_seed_and_not_on_the_workers(way):
    def order(seed: int) -> list:
        loader = DataLoader(Squares(10), 4, shuffle=True, generator=flame.Generator(seed), **way)
        return numbers(loader) + numbers(loader)

    expected = DataLoader(Squares(10), 4, shuffle=True, generator=flame.Generator(1))
    assert order(1) == numbers(expected) + numbers(expected)
    assert sorted(itertools.chain(*order(1)[:3])) == list(range(10))
    assert order(1)[:3] != order(1)[3:] and order(1) != order(2)


@ways
def test_options_of_batches(way):
    assert numbers(DataLoader(Squares(5), 2, drop_last=True, **way)) == [[0, 1], [2, 3]]
    assert numbers(DataLoader(Squares(5), 2, sampler=[4, 0, 2], **way)) == [[4, 0], [2]]
    assert numbers(DataLoader(Squares(5), batch_sampler=[[4], [0, 2]], **way)) == [[4], [0, 2]]
    first, second = DataLoader(Squares(2), batch_size=None, **way)
    assert (first["index"], second["index"]) == (0, 1)
    assert first["name"] == "n0" and first["square"].shape == (3, 700) and isinstance(first["square"], flame.Tensor)


@ways
def test_a_collate_fn_may_give_anything(way):
    tensor, array, text = next(iter(DataLoader(Squares(4), 2, collate_fn=pairs, **way)))
    assert isinstance(tensor, flame.Tensor) and tensor.tolist() == [0, 1]
    assert isinstance(array, np.ndarray) and array.tolist() == [0, 1]
    assert text == ["n0", "n1"]
    big = list(DataLoader(Squares(4), 1, collate_fn=bfloats, **way))[3]
    assert big.dtype is flame.bfloat16 and big.tolist() == [[3.0] * 200] * 200


@ways
def test_rows_of_tensors_and_parts_of_them(way):
    rows = TensorDataset(flame.arange(20), flame.arange(40).reshape(20, 2).bfloat16())
    part = flame.data.Subset(rows, [3, 1, 4, 1, 5])
    found = list(DataLoader(part, 3, **way))
    assert [b[0].tolist() for b in found] == [[3, 1, 4], [1, 5]]
    assert found[0][1].dtype is flame.bfloat16 and found[0][1].tolist() == [[6, 7], [2, 3], [8, 9]]


@pytest.mark.parametrize("way", [WAYS[0], WAYS[1], WAYS[3]], ids=["alone", "processes", "forks"])
def test_iterable_datasets(way):
    found = [b.tolist() for b in DataLoader(Count(11), batch_size=2, **way)]
    assert sorted(itertools.chain(*found)) == list(range(11))
    if not way:
        assert found == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10]]
    assert [b.tolist() for b in DataLoader(Count(11), batch_size=2, **way)] == found
    assert sum(len(b) for b in DataLoader(Count(11), 4, drop_last=True, **way)) <= 8
    with pytest.raises(TypeError):
        len(DataLoader(Count(11), 2, **way))


def test_workers_share_the_memory_of_a_dataset(tmp_path):
    """Two workers have one copy of 64 MB, and what one writes the other does not see."""
    dataset = Writing(np.zeros((16, 1 << 20), np.float32))
    loader = DataLoader(dataset, None, num_workers=2, persistent_workers=True, prefetch_factor=1)
    assert [batch.tolist() for batch in loader] == [[0.0, 1.0]] * 16
    maps = [line.split() for pid in children() for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    assert len({inode for *_, inode, name, _ in (m for m in maps if len(m) == 7) if "flame.data" in name}) == 1


def test_many_samples_in_one_job():
    loader = DataLoader(TensorDataset(flame.arange(50_000)), 20_000, num_workers=2)
    assert [len(b[0]) for b in loader] == [20_000, 20_000, 10_000]


@ways
def test_batches_that_are_sent_ahead_are_the_same(way):
    loader = DataLoader(Squares(7), 2, pin_memory=True, **way)
    epoch = iter(loader)
    assert next(epoch)["index"].tolist() == [0, 1]
    assert loader.state_dict()["position"] == 1
    assert numbers(epoch) == [[2, 3], [4, 5], [6]]
    assert numbers(DataLoader(Squares(0), 2, pin_memory=True, **way)) == []
    epoch = iter(DataLoader(Failing(8, 5, "raise"), 2, pin_memory=True, **way))
    assert [next(epoch).tolist(), next(epoch).tolist()] == [[0, 1], [2, 3]]
    with pytest.raises(KeyError, match="sample five"):
        next(epoch)


# --- random numbers ---------------------------------------------------------------------------------------------------
def test_random_numbers_in_processes_depend_on_the_seed_alone():
    def drawn(workers: int) -> list:
        loader = DataLoader(Noisy(6), 2, num_workers=workers, generator=flame.Generator(1), persistent_workers=True)
        return [[x.tolist() for x in batch] for _ in range(2) for batch in loader]

    one, three = drawn(1), drawn(3)
    assert one == three
    assert len({str(batch) for batch in one}) == 6


# --- resuming ---------------------------------------------------------------------------------------------------------
@ways
@pytest.mark.parametrize("stop", [0, 1, 3, 4])
def test_a_resumed_epoch_gives_exactly_the_remaining_batches_and_so_do_later_ones(way, stop):
    def loader(seed: int) -> DataLoader:
        return DataLoader(Squares(7), 2, shuffle=True, generator=flame.Generator(seed), **way)

    one = loader(1)
    numbers(one)
    epoch = iter(one)
    for _ in range(stop):
        next(epoch)
    state = one.state_dict()
    expected = numbers(epoch) + numbers(one)
    two = loader(2)
    two.load_state_dict(state)
    assert two.state_dict()["position"] == stop
    assert numbers(two) + numbers(two) == expected


def test_a_state_after_an_epoch_begins_the_next():
    one = DataLoader(Squares(4), 2, shuffle=True)
    assert len(numbers(one)) == 2
    assert one.state_dict() == {"position": 0, "seed": None, "order": None}
    two = DataLoader(Squares(4), 2, shuffle=True)
    two.load_state_dict(one.state_dict())
    assert len(numbers(two)) == 2


def test_the_default_generator_is_resumed_with_the_checkpoint_and_not_disturbed(tmp_path):
    """The order of a resumed epoch comes from the loader's state: what dropout draws goes on as if nothing had been."""
    flame.manual_seed(3)
    one = DataLoader(Squares(8), 2, shuffle=True)
    epoch = iter(one)
    next(epoch)
    flame.io.save_checkpoint(tmp_path / "a.pt", loader=one, step=1)
    expected = flame.rand(2).tolist(), numbers(epoch), numbers(one), flame.rand(2).tolist()
    two = DataLoader(Squares(8), 2, shuffle=True)
    flame.manual_seed(4)
    flame.io.load_checkpoint(tmp_path / "a.pt", loader=two)
    assert (flame.rand(2).tolist(), numbers(two), numbers(two), flame.rand(2).tolist()) == expected


@pytest.mark.parametrize("way", [WAYS[0], WAYS[1]], ids=["alone", "processes"])
def test_iterable_datasets_resume_by_skipping(way):
    one = DataLoader(Count(12), 2, **way)
    epoch = iter(one)
    for _ in range(2):
        next(epoch)
    two = DataLoader(Count(12), 2, **way)
    two.load_state_dict(one.state_dict())
    assert [b.tolist() for b in two] == [b.tolist() for b in epoch]


# --- trouble ----------------------------------------------------------------------------------------------------------
@ways
def test_an_exception_arrives_as_itself_and_says_where_it_was(way):
    loader = DataLoader(Failing(8, 5, "raise"), 2, **way)
    epoch = iter(loader)
    next(epoch), next(epoch)
    with pytest.raises(KeyError, match="sample five is bad") as found:
        next(epoch)
    if way.get("num_workers") and not way.get("threads"):
        assert "batch 2" in found.value.__notes__[0] and "__getitem__" in found.value.__notes__[0]


def test_an_exception_that_cannot_travel_is_told_as_text():
    with pytest.raises(WorkerError, match=r"(?s)worker 0, batch 0.*odd 1 2"):
        list(DataLoader(Failing(8, 0, "odd"), 2, num_workers=1))


@pytest.mark.parametrize(("how", "says"), [("kill", "killed by signal 9"), ("exit", "ended with code 3")])
def test_a_worker_that_dies_is_named(how, says):
    loader = DataLoader(Failing(8, 5, how), 2, num_workers=2)
    epoch = iter(loader)
    next(epoch), next(epoch)
    with pytest.raises(WorkerError, match=rf"worker 0 \(pid \d+\) .*{says} while it made batch 2"):
        next(epoch)
    assert children() == []


@pytest.mark.parametrize("way", [WAYS[1], WAYS[3]], ids=["processes", "forks"])
def test_a_batch_that_does_not_come_in_time_is_an_error(way):
    start = time.monotonic()
    with pytest.raises(WorkerError, match="batch 0 within 3"):
        list(DataLoader(Failing(2, 0, "sleep"), 1, timeout=3, **way))
    assert time.monotonic() - start < 30
    assert children() == []


def test_what_cannot_be_pickled_is_refused_before_a_process_starts():
    with pytest.raises(DataError, match="threads=True"):
        list(DataLoader(Squares(2), 1, collate_fn=lambda samples: samples, num_workers=1))
    assert len(list(DataLoader(Squares(2), 1, collate_fn=lambda samples: 0, num_workers=1, threads=True))) == 2


OPTIONS = [
    ({"batch_size": 0}, "batch_size is 0"),
    ({"batch_size": 2.0}, "batch_size is 2.0"),
    ({"shuffle": True, "sampler": [0]}, "exclude each other"),
    ({"batch_sampler": [[0]], "batch_size": 2}, "batch_sampler excludes"),
    ({"batch_sampler": [[0]], "shuffle": True}, "batch_sampler excludes"),
    ({"batch_size": None, "drop_last": True}, "drop_last needs"),
    ({"num_workers": -1}, "negative"),
    ({"timeout": -1}, "negative"),
    ({"prefetch_factor": 2}, "need num_workers"),
    ({"persistent_workers": True}, "need num_workers"),
    ({"num_workers": 1, "prefetch_factor": 0}, "prefetch_factor is 0"),
    ({"num_workers": 1, "multiprocessing_context": "clone"}, "choose of"),
]


@pytest.mark.parametrize(("options", "says"), OPTIONS)
def test_options_that_contradict_each_other_are_refused(options, says):
    with pytest.raises(DataError, match=says):
        DataLoader(Squares(2), **options)


def test_iterable_datasets_refuse_an_order_and_threads():
    for options in ({"shuffle": True}, {"sampler": [0]}, {"batch_sampler": [[0]]}):
        with pytest.raises(DataError, match="IterableDataset"):
            DataLoader(Count(2), **options)
    with pytest.raises(DataError, match="IterableDataset"):
        list(DataLoader(Count(2), num_workers=1, threads=True))


def test_samples_that_do_not_fit_together_are_refused():
    with pytest.raises(ShapeError, match="make them equal"):
        list(DataLoader([np.zeros(2), np.zeros(3)], 2))


# --- processes come and go --------------------------------------------------------------------------------------------
def parent_of(pid: int) -> int:
    """The parent of a running process; 0 for one that has ended."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return 0
    return 0 if state == "Z" else int(parent)


def children() -> list[int]:
    """The workers of this process: children of the server that it started."""
    pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [pid for pid in pids if (server := parent_of(pid)) and parent_of(server) == os.getpid()]


def gone(deadline: float = 10) -> bool:
    """True once no worker is left."""
    end = time.monotonic() + deadline
    while children() and time.monotonic() < end:
        time.sleep(0.05)
    return not children()


def test_workers_leave_with_the_loop_and_with_the_loader():
    loader = DataLoader(Squares(40), 1, num_workers=2)
    for _ in loader:
        assert len(children()) == 2
        break
    assert gone()
    loader = DataLoader(Squares(4), 1, num_workers=2, persistent_workers=True)
    numbers(loader)
    stayed = set(children())
    assert len(stayed) == 2
    for _ in loader:
        break
    assert numbers(loader) == [[0], [1], [2], [3]] and set(children()) == stayed
    del loader
    assert gone()


def test_a_worker_init_fn_runs_once_in_each_worker(tmp_path):
    loader = DataLoader(Squares(4), 1, num_workers=2, worker_init_fn=Told(tmp_path), persistent_workers=True)
    numbers(loader), numbers(loader)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0 of 2", "1 of 2"]


SCRIPT = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
import flame
from flame.data import DataLoader
from tests.data.sets import Squares, Told
from pathlib import Path
if __name__ == "__main__":
    loader = DataLoader(Squares(10**9), 1, num_workers=2, worker_init_fn=Told(Path(sys.argv[1])))
    for number, batch in enumerate(loader):
        if number == 2:
            print("begun", flush=True)
        time.sleep(0.01)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_or_killed_program_leaves_nothing_behind(how, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    (tmp_path / "ids").mkdir()
    before = set(Path("/dev/shm").iterdir())
    env = os.environ | {"PYTHONPATH": str(ROOT), "FLAME_DEVICE": "cpu"}
    process = subprocess.Popen(
        [sys.executable, script, tmp_path / "ids"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout.readline() == b"begun\n"
    workers = [int(path.read_text()) for path in (tmp_path / "ids").iterdir()]
    assert len(workers) == 2
    if how is signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does: all of them
    else:
        process.send_signal(how)
    error = process.communicate(timeout=60)[1].decode()
    end = time.monotonic() + 30
    while any(parent_of(worker) for worker in workers) and time.monotonic() < end:
        time.sleep(0.05)
    assert not [worker for worker in workers if parent_of(worker)]
    assert set(Path("/dev/shm").iterdir()) - before == set()
    if how is signal.SIGINT:
        assert error.count("Traceback") == 1 and "KeyboardInterrupt" in error
