"""DataLoader: a dataset as batches, with torch.utils.data's names, in an order that can be resumed."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from flame.data.collate import Host, default_collate, default_convert, to_tensors, walk
from flame.data.crew import Processes, Threads, context_of
from flame.data.dataset import IterableDataset
from flame.data.fetch import END, Fetch
from flame.data.sampler import BatchSampler, RandomSampler, SequentialSampler, draw_seed
from flame.errors import DataError
from flame.ops.create import Where, _where
from flame.ops.random import Generator
from flame.runtime.device import Device
from flame.tensor import Tensor, send_array


class DataLoader:
    """Iterates a dataset in batches; options, defaults and meaning are those of torch.utils.data.DataLoader.

    Batches are tensors on `device`, by default where new tensors go; with `pin_memory` each is copied there, through
    pinned memory, while the one before is in use. With `num_workers`, processes (threads with `threads=True`) make
    `prefetch_factor` batches each ahead; the order of the batches does not depend on their number, nor do random
    numbers drawn in worker processes, which are seeded for each batch. `state_dict` tells the position; after
    `load_state_dict` the next iteration gives exactly the remaining batches. `in_order` and `pin_memory_device` are
    PyTorch's: batches always come in order, and to `device`.

    >>> rows = flame.data.TensorDataset(flame.arange(5))
    >>> [batch[0].tolist() for batch in flame.data.DataLoader(rows, batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], Any] | None = None,
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
        device: Where = None,
        threads: bool = False,
    ) -> None:
        _check_order(dataset, batch_size, bool(shuffle), sampler, batch_sampler, drop_last)
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        self.dataset, self.num_workers, self.pin_memory, self.timeout = dataset, num_workers, pin_memory, timeout
        self.worker_init_fn, self.generator, self.device, self.threads = worker_init_fn, generator, device, threads
        self.persistent_workers, self.prefetch_factor = persistent_workers, prefetch_factor or 2
        self.batch_size, self.drop_last = (None if batch_sampler is not None else batch_size), drop_last
        self.collate_fn = collate_fn or (
            default_collate if batch_size is not None or batch_sampler is not None else default_convert
        )
        if sampler is None and not isinstance(dataset, IterableDataset):
            sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        if batch_sampler is None and sampler is not None and batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.sampler, self.batch_sampler = sampler, batch_sampler
        self._order: Any = batch_sampler if batch_sampler is not None else sampler
        own = None if self.collate_fn in (default_collate, default_convert) else collate_fn
        self._fetch = Fetch(dataset, own, batch_size, drop_last)
        self._context = context_of(multiprocessing_context) if num_workers and not threads else None
        self._crew: Processes | Threads | None = None
        self._position = Position()
        self._resumed: dict[str, Any] | None = None

    def __len__(self) -> int:
        """How many batches an epoch has; raises TypeError where the dataset has no length."""
        if self._order is not None:
            return len(self._order)
        count = len(self.dataset)
        if self.batch_size is None:
            return count
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    def __iter__(self) -> "Epoch":
        state, self._resumed = self._resumed, None
        return Epoch(self, state or {})

    def state_dict(self) -> dict[str, Any]:
        """Where the iteration that began last stands: its seeds, and how many batches it has given."""
        state = self._position.state_dict() if self._resumed is None else self._resumed
        if self.generator is not None:
            state["generator"] = self.generator.get_state()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Let the next iteration go on where the saved one stood; the dataset and the options must be the same."""
        if self.generator is not None and "generator" in state_dict:
            self.generator.set_state(state_dict["generator"])
        self._resumed = {key: value for key, value in state_dict.items() if key != "generator"}

    # --- workers ---------------------------------------------------------------------------------------------------
    def _hire(self) -> "Processes | Threads":
        """The workers of an epoch: those of the one before, where they stay."""
        if self._crew is not None and self.persistent_workers and not self._crew.closed:
            return self._crew
        if self._context is None:
            made = Threads(self._fetch, self.num_workers, self.worker_init_fn, self.timeout)
        else:
            made = Processes(self._fetch, self.num_workers, self.worker_init_fn, self._context, self.timeout)
        if self.persistent_workers:
            self._crew = made
        return made

    def __del__(self) -> None:
        crew = getattr(self, "_crew", None)
        if crew is not None:
            crew.close()


@dataclass(slots=True)
class Position:
    """How far an iteration is: a loader knows it, and does not keep the iteration alive with it."""

    count: int = 0  # batches handed out
    seed: int | None = None
    order: Any = None  # the state of the sampler

    def state_dict(self) -> dict[str, Any]:
        """What `DataLoader.load_state_dict` needs to give the remaining batches."""
        return {"position": self.count, "seed": self.seed, "order": self.order}


class Epoch:
    """One iteration over a loader's batches. Its workers end with it, also when a loop is left early."""

    def __init__(self, loader: DataLoader, state: dict[str, Any]) -> None:
        self._loader = loader
        order = loader._order
        if state.get("order") is not None and hasattr(order, "load_state_dict"):
            order.load_state_dict(state["order"])
        jobs = itertools.repeat(None) if order is None else iter(order)  # here a sampler draws its seed
        seed = state["seed"] if state.get("seed") is not None else draw_seed(loader.generator)
        drawn: Any = order.state_dict() if order is not None and hasattr(order, "state_dict") else None
        self._position = loader._position = Position(state.get("position", 0), seed, drawn)
        made, device = batches(loader, jobs, seed, self._position.count), _where(loader.device)
        self._batches = ahead(made, device) if loader.pin_memory else (to_tensors(batch, device) for batch in made)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            batch = next(self._batches)
        except StopIteration:
            if self._loader._position is self._position:
                self._loader._position = Position()  # what is resumed from here on is the next epoch
            raise
        self._position.count += 1
        return batch


def ahead(made: Iterator[Any], device: Device) -> Iterator[Any]:
    """Each batch as tensors, whose copies to the device run while the batch before is in use."""
    waiting: list[Any] = []

    def send(one: Any) -> Any:
        return Sent(*send_array(one.array, device)) if isinstance(one, Host) else one

    try:
        for batch in made:
            waiting.append(walk(batch, send))
            if len(waiting) > 1:
                yield arrived(waiting.pop(0))
    except Exception:
        yield from map(arrived, waiting)  # what went wrong is in a later batch
        raise
    yield from map(arrived, waiting)


@dataclass(frozen=True, slots=True)
class Sent:
    """A tensor on its way to a device."""

    tensor: Tensor
    arrive: Callable[[], None]


def arrived(batch: Any) -> Any:
    """The tensors of a batch that was sent ahead; later work waits for them."""

    def take(one: Any) -> Any:
        if not isinstance(one, Sent):
            return one
        one.arrive()
        return one.tensor

    return walk(batch, take)


def batches(loader: DataLoader, jobs: Iterator[Any], seed: int, skip: int) -> Iterator[Any]:
    """The batches of an epoch but for the first `skip`, as arrays.

    It knows the loader and not the epoch: an epoch that is left early must end at once, and so must be in no circle.
    """
    if not loader.num_workers:
        yield from alone(loader._fetch, jobs, skip)
        return
    crew = loader._hire()
    try:
        yield from crew.batches(jobs, seed, skip, loader.prefetch_factor)
    finally:
        if not loader.persistent_workers:
            crew.close()


def alone(fetch: Fetch, jobs: Iterator[Any], skip: int) -> Iterator[Any]:
    """The batches of a loader without workers, but for the first `skip`."""
    if not fetch.iterable:
        yield from map(fetch.numbered, itertools.islice(jobs, skip, None))
        return
    samples = iter(fetch.dataset)
    for number in itertools.count():
        batch = fetch.following(samples)
        if batch is END:
            return
        if number >= skip:
            yield batch


def _check_order(
    dataset: Any, batch_size: int | None, shuffle: bool, sampler: Any, batch_sampler: Any, drop_last: bool
) -> None:
    """Raise DataError for options that contradict each other."""
    problem = ""
    if isinstance(dataset, IterableDataset) and (shuffle or sampler is not None or batch_sampler is not None):
        problem = "an IterableDataset has its own order; shuffle, sampler and batch_sampler are for numbered samples"
    elif sampler is not None and shuffle:
        problem = "sampler and shuffle exclude each other"
    elif batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
        problem = "batch_sampler excludes batch_size, shuffle, sampler and drop_last"
    elif batch_size is None and drop_last:
        problem = "drop_last needs a batch_size"
    elif batch_size is not None and (type(batch_size) is not int or batch_size < 1):
        problem = f"batch_size is {batch_size!r}; give 1 or more, or None for single samples"
    if problem:
        raise DataError(f"DataLoader: {problem}")


def _check_workers(num_workers: int, timeout: float, prefetch_factor: int | None, persistent_workers: bool) -> None:
    """Raise DataError for options of workers that make no sense."""
    problem = ""
    if num_workers < 0 or timeout < 0:
        problem = f"num_workers is {num_workers} and timeout {timeout}; neither can be negative"
    elif not num_workers and (prefetch_factor is not None or persistent_workers):
        problem = "prefetch_factor and persistent_workers need num_workers of 1 or more"
    elif prefetch_factor is not None and prefetch_factor < 1:
        problem = f"prefetch_factor is {prefetch_factor}; give 1 or more"
    if problem:
        raise DataError(f"DataLoader: {problem}")
