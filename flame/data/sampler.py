"""Samplers: in which order a loader takes samples, with torch.utils.data's names.

An order at random is drawn from a seed when the iteration starts, and the seed is the sampler's state: a resumed epoch
has the same order.
"""

from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any

import numpy as np

from flame.errors import DataError
from flame.ops.random import Generator, default_generator


def draw_seed(generator: Generator | None) -> int:
    """A seed from a generator, the default one unless told otherwise."""
    source = generator or default_generator
    drawn = np.random.Philox(key=source.initial_seed(), counter=source.take(4))
    return int(drawn.random_raw() >> 1)


def stream(generator: Generator | None) -> np.random.Generator:
    """NumPy's random numbers from a seed drawn from a generator."""
    return seeded(draw_seed(generator))


def seeded(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


class Sampler:
    """Numbers of samples, or lists of them: subclasses define `__iter__`, and `__len__` where it is known."""

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} has no __iter__(); define it to give numbers of samples")


class SequentialSampler(Sampler):
    """0, 1, 2, …"""

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class Drawn(Sampler):
    """A sampler at random: subclasses define `order`, the numbers that a stream of random numbers gives."""

    def __init__(self, generator: Generator | None) -> None:
        self.generator = generator
        self._seed: int | None = None  # of the iteration that began last
        self._next: int | None = None  # of the one to come, where it was set

    def order(self, numbers: np.random.Generator) -> np.ndarray:
        """The numbers of one iteration."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[int]:
        self._seed = draw_seed(self.generator) if self._next is None else self._next
        self._next = None
        return iter(self.order(seeded(self._seed)).tolist())

    def state_dict(self) -> dict[str, Any]:
        """The seed of the iteration that began last."""
        return {"seed": self._seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iteration be the one whose state was saved."""
        self._next = state["seed"]


class RandomSampler(Drawn):
    """All numbers in random order, or `num_samples` of them; with `replacement` each drawn from all."""

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(generator)
        if num_samples is not None and num_samples <= 0:
            raise DataError(f"RandomSampler: num_samples is {num_samples}; give 1 or more")
        self.data_source, self.replacement, self._count = data_source, replacement, num_samples

    @property
    def num_samples(self) -> int:
        return len(self.data_source) if self._count is None else self._count

    def order(self, numbers: np.random.Generator) -> np.ndarray:
        size, count = len(self.data_source), self.num_samples
        if self.replacement:
            return numbers.integers(0, size, count)
        rounds = [numbers.permutation(size) for _ in range(-(-count // max(size, 1)))]
        return np.concatenate([np.zeros(0, np.int64), *rounds])[:count]

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Drawn):
    """The given numbers in random order."""

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        super().__init__(generator)
        self.indices = indices

    def order(self, numbers: np.random.Generator) -> np.ndarray:
        return numbers.permutation(np.asarray(self.indices, np.int64))

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Drawn):
    """`num_samples` numbers, each as often as its weight says; without `replacement` each at most once."""

    def __init__(
        self, weights: Sequence[float], num_samples: int, replacement: bool = True, generator: Generator | None = None
    ) -> None:
        super().__init__(generator)
        self.weights = np.asarray(weights, np.float64)
        if self.weights.ndim != 1 or not (self.weights >= 0).all() or not self.weights.sum() > 0:
            raise DataError("WeightedRandomSampler: weights must be a list of numbers from 0 up, not all 0")
        if num_samples <= 0 or (not replacement and num_samples > np.count_nonzero(self.weights)):
            raise DataError(f"WeightedRandomSampler: cannot draw {num_samples} of {len(self.weights)} samples")
        self.num_samples, self.replacement = num_samples, replacement

    def order(self, numbers: np.random.Generator) -> np.ndarray:
        share = self.weights / self.weights.sum()
        return numbers.choice(len(share), self.num_samples, replace=self.replacement, p=share)

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler):
    """Lists of `batch_size` numbers of another sampler; `drop_last` leaves out a shorter last one."""

    def __init__(self, sampler: Iterable[Any], batch_size: int, drop_last: bool) -> None:
        if type(batch_size) is not int or batch_size < 1:
            raise DataError(f"BatchSampler: batch_size is {batch_size!r}; give 1 or more")
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def __iter__(self) -> Iterator[list[Any]]:
        return self._batches(iter(self.sampler))

    def _batches(self, numbers: Iterator[Any]) -> Iterator[list[Any]]:
        batch: list[Any] = []
        for number in numbers:
            batch.append(number)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self.drop_last:
            yield batch

    def __len__(self) -> int:
        inside: Any = self.sampler
        count = len(inside)
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    def state_dict(self) -> Any:
        """The state of the sampler inside, where it has one."""
        inside: Any = self.sampler
        return inside.state_dict() if hasattr(inside, "state_dict") else None

    def load_state_dict(self, state: Any) -> None:
        """Give the sampler inside its state back."""
        inside: Any = self.sampler
        if state is not None and hasattr(inside, "load_state_dict"):
            inside.load_state_dict(state)


class DistributedSampler(Sampler):
    """The part of a dataset that one of several processes takes: each sample once, the numbers interleaved.

    `num_replicas` and `rank` are given, since FLAME has no process groups. The last samples are made up from the first
    ones, or with `drop_last` left out, so that all parts are equally long. Shuffled by `seed` and the epoch that
    `set_epoch` tells, alike in all processes.

    >>> list(flame.data.DistributedSampler(range(5), num_replicas=2, rank=1, shuffle=False))
    [1, 3, 0]
    """

    def __init__(
        self,
        dataset: Sized,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        if num_replicas is None or rank is None:
            raise DataError("DistributedSampler: FLAME has no process groups; give num_replicas= and rank=")
        if not 0 <= rank < num_replicas:
            raise DataError(f"DistributedSampler: rank is {rank}, but ranks of {num_replicas} replicas begin with 0")
        self.dataset, self.num_replicas, self.rank, self.epoch = dataset, num_replicas, rank, 0
        self.shuffle, self.seed, self.drop_last = shuffle, seed, drop_last
        whole, rest = divmod(len(dataset), num_replicas)
        self.num_samples = whole + (rest > 0 and not drop_last)
        self.total_size = self.num_samples * num_replicas

    def __iter__(self) -> Iterator[int]:
        count = len(self.dataset)
        order = seeded(self.seed + self.epoch).permutation(count) if self.shuffle else np.arange(count)
        places = np.arange(self.rank, self.total_size, self.num_replicas)
        return iter(order[places % max(count, 1)].tolist())

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration be shuffled as that epoch's."""
        self.epoch = epoch
