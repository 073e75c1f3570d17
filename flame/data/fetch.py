"""From the numbers of samples to a batch: what a loader does itself, or what its workers do for it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from flame.data.collate import Host, collate, convert, to_host, walk
from flame.data.dataset import IterableDataset, Subset

END = object()


@dataclass(frozen=True)
class Fetch:
    """A dataset and how its samples become batches; without a `collate_fn` by the default rules."""

    dataset: Any
    collate_fn: Callable[[Any], Any] | None
    batch_size: int | None
    drop_last: bool

    @property
    def iterable(self) -> bool:
        return isinstance(self.dataset, IterableDataset)

    def numbered(self, indices: Any) -> Any:
        """The batch of these samples, or the one sample where nothing is batched."""
        if self.batch_size is None:
            return self._single(self.dataset[indices])
        batch = None if self.collate_fn else whole_batch(self.dataset)
        if batch is not None:
            return [Host(array) for array in batch(indices)]
        if hasattr(self.dataset, "__getitems__"):
            return self._together(self.dataset.__getitems__(indices))
        return self._together([self.dataset[index] for index in indices])

    def following(self, samples: Iterator[Any]) -> Any:
        """The next batch of an iteration over the dataset; END where there is none."""
        if self.batch_size is None:
            found = next(samples, END)
            return END if found is END else self._single(found)
        batch = list(islice(samples, self.batch_size))
        if not batch or (self.drop_last and len(batch) < self.batch_size):
            return END
        return self._together(batch)

    def _together(self, samples: Sequence[Any]) -> Any:
        return walk(self.collate_fn(samples), to_host) if self.collate_fn else collate(samples)

    def _single(self, sample: Any) -> Any:
        return walk(self.collate_fn(sample), to_host) if self.collate_fn else convert(sample)


def whole_batch(dataset: Any) -> Callable[[Sequence[int]], Any] | None:
    """How a dataset gives a batch at once, where it can; a part of it can as well."""
    if isinstance(dataset, Subset):
        inner, indices = whole_batch(dataset.dataset), dataset.indices
        return None if inner is None else lambda numbers: inner([indices[number] for number in numbers])
    return getattr(dataset, "get_batch", None)
