"""Batches that are sent to a GPU while it works arrive whole, however their memory is reused."""

import numpy as np
import pytest

import flame
from flame.data import DataLoader, TensorDataset

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_sent_ahead_are_whole(workers):
    rows = np.arange(40 * 200_000, dtype=np.float32).reshape(40, -1)
    dataset = TensorDataset(flame.tensor(rows, device="cpu"), flame.arange(40, device="cpu"))
    loader = DataLoader(dataset, 4, num_workers=workers, pin_memory=True, device="cuda", persistent_workers=workers > 0)
    weight = flame.ones(200_000, 8, device="cuda")
    for _ in range(5):
        totals = []
        for values, numbers in loader:
            for _ in range(4):  # work that is still queued when the next batch is sent
                (values @ weight).realize()
            totals.append((values.double().sum(1), numbers))
            del values
        for total, numbers in totals:
            expected = rows[numbers.numpy()].astype(np.float64).sum(1)
            assert np.array_equal(total.numpy(), expected)


def test_a_batch_dropped_on_its_way_does_no_harm():
    dataset = TensorDataset(flame.ones(64, 500_000, device="cpu"))
    for _ in range(20):
        for (values,) in DataLoader(dataset, 8, pin_memory=True, device="cuda"):
            assert values.sum().item() == 8 * 500_000
            break
        fresh = flame.full((8, 500_000), 2.0, device="cuda").realize()
        assert fresh.sum().item() == 8 * 1_000_000
