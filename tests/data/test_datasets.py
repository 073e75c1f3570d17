"""Datasets, samplers and the default collation: PyTorch's meaning."""

from collections import Counter, namedtuple

import numpy as np
import pytest

import flame
from flame.data import (
    BatchSampler,
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    default_convert,
    random_split,
)
from flame.errors import DataError, IndexingError, ShapeError
from tests.data.sets import Count, Squares


# --- datasets ---------------------------------------------------------------------------------------------------------
def test_tensor_dataset():
    rows = TensorDataset(flame.arange(4), flame.zeros(4, 2))
    assert len(rows) == 4
    assert [x.tolist() for x in rows[2]] == [2, [0, 0]]
    assert rows[-1][0].item() == 3 and rows[2][0].device.name == "cpu"
    assert rows.tensors[0].tolist() == [0, 1, 2, 3]
    for tensors in [(flame.zeros(2), flame.zeros(3)), (), (flame.zeros(()),)]:
        with pytest.raises(ShapeError, match="TensorDataset"):
            TensorDataset(*tensors)


def test_joined_datasets():
    both = TensorDataset(flame.arange(3)) + TensorDataset(flame.arange(10, 12))
    assert isinstance(both, ConcatDataset) and len(both) == 5 and both.cumulative_sizes == [3, 5]
    assert [both[i][0].item() for i in (0, 2, 3, 4, -1, -5)] == [0, 2, 10, 11, 11, 0]
    for index in (5, -6):
        with pytest.raises(IndexingError, match=f"index {index}"):
            both[index]
    chain = Count(2) + Count(3)
    assert isinstance(chain, ChainDataset) and list(chain) == [0, 1, 0, 1, 2]
    for wrong in ([], [Count(2)]):
        with pytest.raises(DataError, match="ConcatDataset"):
            ConcatDataset(wrong)
    with pytest.raises(NotImplementedError, match="__getitem__"):
        Dataset()[0]
    with pytest.raises(NotImplementedError, match="__iter__"):
        iter(IterableDataset())


@pytest.mark.parametrize(
    ("lengths", "expected"), [([7, 3], [7, 3]), ([0.5, 0.5], [5, 5]), ([0.35, 0.35, 0.3], [4, 3, 3]), ([1.0], [10])]
)
def test_random_split(lengths, expected):
    parts = random_split(Squares(10), lengths, generator=flame.Generator(1))
    assert [len(part) for part in parts] == expected
    assert sorted(i for part in parts for i in part.indices) == list(range(10))
    again = random_split(Squares(10), lengths, generator=flame.Generator(1))
    assert [part.indices for part in parts] == [part.indices for part in again]
    assert isinstance(parts[0], Subset) and parts[0][0]["index"] == parts[0].indices[0]


@pytest.mark.parametrize("lengths", [[1, 2], [0.5, 0.4], [11, -1], []])
def test_a_split_that_does_not_add_up_is_refused(lengths):
    with pytest.raises(DataError, match="random_split"):
        random_split(Squares(10), lengths)


# --- samplers ---------------------------------------------------------------------------------------------------------
def test_samplers():
    data = list(range(10))
    assert list(SequentialSampler(data)) == data
    order = list(RandomSampler(data, generator=flame.Generator(1)))
    assert sorted(order) == data != order
    assert order == list(RandomSampler(data, generator=flame.Generator(1)))
    long = Counter(RandomSampler(data, num_samples=25))
    assert sum(long.values()) == 25 and set(long.values()) == {2, 3}
    drawn = Counter(RandomSampler(data, replacement=True, num_samples=1000, generator=flame.Generator(0)))
    assert set(drawn) == set(data) and max(drawn.values()) < 160
    assert sorted(SubsetRandomSampler([3, 5, 8])) == [3, 5, 8]
    assert list(BatchSampler(SequentialSampler(data), 4, False)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert list(BatchSampler(range(10), 4, True)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert (len(BatchSampler(data, 4, True)), len(BatchSampler(data, 4, False))) == (2, 3)


def test_weights():
    weights = [0.0, 1.0, 3.0]
    drawn = Counter(WeightedRandomSampler(weights, 4000, generator=flame.Generator(0)))
    assert 0 not in drawn and 0.7 < drawn[2] / 4000 < 0.8
    assert sorted(WeightedRandomSampler(weights, 2, replacement=False)) == [1, 2]
    for args in [(weights, 3, False), (weights, 0), ([-1.0, 2.0], 1), ([0.0], 1), ([[1.0]], 1), ([float("nan")], 1)]:
        with pytest.raises(DataError, match="WeightedRandomSampler"):
            WeightedRandomSampler(*args)
    with pytest.raises(DataError, match="num_samples is 0"):
        RandomSampler([1], num_samples=0)
    with pytest.raises(DataError, match="batch_size is 0"):
        BatchSampler([1], 0, False)


def test_an_order_draws_from_the_default_generator_and_moves_it_on():
    flame.manual_seed(1)
    sampler = RandomSampler(range(50))
    one, two = list(sampler), list(sampler)
    flame.manual_seed(1)
    assert [list(sampler), list(sampler)] == [one, two] and one != two


# --- collation --------------------------------------------------------------------------------------------------------
Point = namedtuple("Point", "x y")
BATCHES = [
    [1, 2], [1.5, 2.0], [True, False], ["a", "b"], [b"a", b"b"],
    [np.float32(1), np.float32(2)], [np.zeros((2, 3), np.int16), np.ones((2, 3), np.int16)],
    [(1, "a"), (2, "b")], [[1, 2.0], [3, 4.0]], [{"a": 1, "b": [1, 2]}, {"a": 2, "b": [3, 4]}],
    [Point(1, 2.0), Point(3, 4.0)], [np.array(1.0), np.array(2.0)],
]  # fmt: skip


def plain(value):
    """The same containers with lists, dtypes and shapes in place of tensors."""
    if hasattr(value, "tolist"):
        return str(value.dtype).rpartition(".")[2], tuple(value.shape), value.tolist()
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return type(value)(*map(plain, value)) if hasattr(value, "_fields") else (
        type(value)(map(plain, value)) if isinstance(value, (list, tuple)) else value
    )  # fmt: skip


@pytest.mark.parity
@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_the_default_collation_is_pytorchs(batch):
    theirs = pytest.importorskip("torch.utils.data")
    assert plain(default_collate(batch)) == plain(theirs.default_collate(batch))
    assert plain(default_convert(batch)) == plain(theirs.default_convert(batch))


def test_tensors_are_stacked_and_what_does_not_fit_is_refused():
    found = default_collate([(flame.ones(2), flame.tensor(1)), (flame.zeros(2), flame.tensor(2))])
    assert [x.tolist() for x in found] == [[[1, 1], [0, 0]], [1, 2]]
    for batch in ([np.zeros(2), np.zeros(3)], [[1], [1, 2]]):
        with pytest.raises(ShapeError, match="make them equal"):
            default_collate(batch)
    with pytest.raises(DataError, match="batch cannot be made of object"):
        default_collate([object()])


@pytest.mark.parity
def test_the_loaders_of_both_give_the_same_batches():
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("torch.utils.data")
    x = np.arange(22, dtype=np.float32).reshape(11, 2)
    for options in ({}, {"batch_size": 4}, {"batch_size": 4, "drop_last": True}, {"batch_size": None}):
        a = flame.data.DataLoader(TensorDataset(flame.tensor(x)), **options)
        b = theirs.DataLoader(theirs.TensorDataset(torch.tensor(x)), **options)
        assert len(a) == len(b)
        assert [plain(batch) for batch in a] == [plain(batch) for batch in b]


def test_the_names_of_pytorchs_place():
    from flame.utils import data
    from flame.utils.data import DataLoader

    assert DataLoader is flame.data.DataLoader and data.Subset is Subset
