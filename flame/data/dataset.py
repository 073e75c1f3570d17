"""Datasets, with torch.utils.data's names: samples by number, or one after the other."""

import bisect
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from flame.data.sampler import stream
from flame.errors import DataError, IndexingError, ShapeError
from flame.ops.random import Generator
from flame.runtime import devices
from flame.tensor import Tensor, from_array


class Dataset:
    """Samples by number: subclasses define `__getitem__`, and `__len__` unless a sampler knows the numbers.

    `__getitems__(indices)`, where it is defined, gives the samples of a batch at once as a list; `get_batch(indices)`
    gives the batch itself, and then nothing is left to collate.
    """

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no __getitem__(); define it to give one sample")

    def __add__(self, other: "Dataset") -> "ConcatDataset":
        return ConcatDataset([self, other])


class IterableDataset(Dataset):
    """Samples one after the other: subclasses define `__iter__`.

    Every worker process iterates a copy of its own; `get_worker_info()` tells it which part to give.
    """

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} has no __iter__(); define it to give samples")

    def __add__(self, other: Dataset) -> "ChainDataset":
        return ChainDataset([self, other])


class TensorDataset(Dataset):
    """Rows of tensors of equal length: sample i is a tuple with row i of each, on the CPU.

    >>> flame.data.TensorDataset(flame.arange(3), flame.zeros(3, 2))[1]
    (tensor(1), tensor([0., 0.]))
    """

    def __init__(self, *tensors: Tensor) -> None:
        lengths = [tensor.shape[0] if tensor.ndim else 0 for tensor in tensors]
        if not tensors or len(set(lengths)) > 1 or not all(tensor.ndim for tensor in tensors):
            raise ShapeError(f"TensorDataset: shapes {[t.shape for t in tensors]} do not share their first length")
        self.arrays = tuple(tensor.numpy() for tensor in tensors)  # worker processes get these

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors, on the default device."""
        return tuple(from_array(array) for array in self.arrays)

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        cpu = devices.get("cpu")
        return tuple(from_array(np.asarray(array[index]), cpu) for array in self.arrays)

    def get_batch(self, indices: Sequence[int]) -> list[np.ndarray]:
        """Several rows of each at once."""
        return [array[np.asarray(indices, np.int64)] for array in self.arrays]

    def __len__(self) -> int:
        return len(self.arrays[0])


class StackDataset(Dataset):
    """Sample i is a tuple of sample i of each dataset, or a dict where they are given by name.

    >>> flame.data.StackDataset(x=[1, 2], y="ab")[1]
    {'x': 2, 'y': 'b'}
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if bool(args) == bool(kwargs):
            raise DataError("StackDataset: give datasets by position or by name, not both, and at least one")
        self.datasets: Any = args or kwargs
        parts = list(args or kwargs.values())
        if len({len(part) for part in parts}) > 1:
            raise DataError(f"StackDataset: datasets of {[len(part) for part in parts]} samples; they must be as many")
        self._length = len(parts[0])

    def __getitem__(self, index: Any) -> Any:
        if isinstance(self.datasets, dict):
            return {name: part[index] for name, part in self.datasets.items()}
        return tuple(part[index] for part in self.datasets)

    def __len__(self) -> int:
        return self._length


class Subset(Dataset):
    """Some samples of a dataset, by their numbers there."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __len__(self) -> int:
        return len(self.indices)


class ConcatDataset(Dataset):
    """Datasets one behind the other."""

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets or any(isinstance(one, IterableDataset) for one in self.datasets):
            raise DataError("ConcatDataset: give datasets that have lengths; ChainDataset joins iterable ones")
        self.cumulative_sizes = list(itertools.accumulate(len(one) for one in self.datasets))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> Any:
        size = len(self)
        if not -size <= index < size:
            raise IndexingError(f"ConcatDataset: index {index} is out of range for {size} samples")
        index %= size
        place = bisect.bisect_right(self.cumulative_sizes, index)
        return self.datasets[place][index - (self.cumulative_sizes[place - 1] if place else 0)]


class ChainDataset(IterableDataset):
    """Iterable datasets one after the other."""

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)

    def __iter__(self) -> Iterator[Any]:
        return itertools.chain.from_iterable(self.datasets)

    def __len__(self) -> int:
        return sum(len(one) for one in self.datasets)


def random_split(dataset: Any, lengths: Sequence[float], generator: Generator | None = None) -> list[Subset]:
    """Disjoint random parts of a dataset: lengths that add up to its own, or fractions that add up to 1."""
    size = len(dataset)
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1 + 1e-9:
        counts = [math.floor(size * part) for part in lengths]
        for i in range(size - sum(counts)):  # what rounding down left over, one each
            counts[i % len(counts)] += 1
    else:
        counts = [int(part) for part in lengths]
    if sum(counts) != size or min(counts, default=0) < 0:
        raise DataError(f"random_split: {list(lengths)} do not add up to the {size} samples of the dataset, nor to 1")
    order = stream(generator).permutation(size).tolist()
    ends = itertools.accumulate(counts)
    return [Subset(dataset, order[end - count : end]) for count, end in zip(counts, ends)]
