"""Datasets that worker processes can import."""

import os
import random
import signal
import time

import numpy as np

import flame
from flame.data import Dataset, IterableDataset, get_worker_info


class Squares(Dataset):
    """Sample i is (i squared as an array, i, a name)."""

    def __init__(self, size: int):
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int):
        return {"square": np.full((3, 700), index * index, np.float32), "index": index, "name": f"n{index}"}


class Noisy(Squares):
    """Every sample is drawn at random, from each of the streams."""

    def __getitem__(self, index: int):
        return random.random(), np.random.rand(), flame.rand(()).item()  # noqa: NPY002


class Failing(Squares):
    """Sample `bad` does something that no sample should."""

    def __init__(self, size: int, bad: int, how: str):
        super().__init__(size)
        self.bad, self.how = bad, how

    def __getitem__(self, index: int):
        if index != self.bad:
            return index
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "exit":
            os._exit(3)
        if self.how == "sleep":
            time.sleep(60)
        if self.how == "odd":
            raise OddError(1, 2)
        raise KeyError("sample five is bad")


class Writing(Dataset):
    """Sample i is (what row i held, what it holds now that this worker wrote to it)."""

    def __init__(self, rows: np.ndarray):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int):
        before = float(self.rows[index].max())
        self.rows[:, 0] = 0
        self.rows[index, 0] = 1
        return np.array([before, self.rows[index, 0]])


class OddError(Exception):
    """An exception that does not survive pickling."""

    def __init__(self, a: int, b: int):
        super().__init__(f"odd {a} {b}")


class Count(IterableDataset):
    """The numbers below `size`, shared out among the workers."""

    def __init__(self, size: int):
        self.size = size

    def __iter__(self):
        info = get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        return iter(range(first, self.size, step))


def pairs(samples):
    """A collate_fn with tensors, arrays and text."""
    return (
        flame.tensor([s["index"] for s in samples]),
        np.array([s["index"] for s in samples]),
        [s["name"] for s in samples],
    )


def bfloats(samples):
    """A collate_fn with a dtype that NumPy itself does not have."""
    return flame.ones(200, 200, dtype=flame.bfloat16) * samples[0]["index"]


class Told:
    """A worker_init_fn that leaves a trace."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, id: int) -> None:
        info = get_worker_info()
        assert info is not None and info.id == id
        (self.folder / f"{id} of {info.num_workers}").write_text(str(os.getpid()))
