"""The pool: sizes, reuse, exact accounting, exhaustion, and garbage collected in the middle of it."""

import ctypes
import gc
import itertools
import random
import threading

import pytest

from flame.config import config
from flame.errors import FreedError, OutOfMemoryError
from flame.runtime import pool as module
from flame.runtime.pool import LARGE, LEAST, PAGE, Pool, host_pool, size_class

MIB = 2**20


class Driver:
    """A device of `capacity` bytes that checks what is given back."""

    def __init__(self, capacity=2**40):
        self.capacity, self.blocks, self.next, self.calls = capacity, {}, 4096, 0

    def allocate(self, nbytes):
        self.calls += 1
        if sum(self.blocks.values()) + nbytes > self.capacity:
            raise MemoryError
        address, self.next = self.next, self.next + nbytes
        self.blocks[address] = nbytes
        return address

    def release(self, address):
        del self.blocks[address]


@pytest.fixture
def driver():
    return Driver()


@pytest.fixture
def pool(driver):
    return Pool(driver.allocate, driver.release, "test")


def test_sizes_waste_at_most_a_quarter():
    sizes = [*range(1, 5000), *(random.Random(0).randrange(1, 2**36) for _ in range(5000)), LARGE - 1, LARGE, LARGE + 1]
    for nbytes in sizes:
        block = size_class(nbytes)
        assert block >= max(nbytes, LEAST)
        assert block % 64 == 0
        assert block <= max(LEAST, nbytes * 1.25 + 128)
        assert size_class(block) == block
        if nbytes >= LARGE:
            assert block - nbytes < PAGE
    assert size_class(0) == LEAST
    assert len({size_class(n) for n in range(2**19, 2**20)}) <= 5


def test_a_freed_block_serves_again(pool, driver):
    first = pool.buffer(1000)
    address = first.address
    first.free()
    second = pool.buffer(1020)
    assert second.address == address
    assert second.nbytes == 1020
    stats = pool.stats()
    assert (driver.calls, stats.hits, stats.allocations) == (1, 1, 2)
    assert pool.buffer(1020).address != address


def test_forgetting_is_freeing_and_accounting_returns_to_zero(pool, driver):
    held = [pool.buffer(n, f"train.py:{n % 3}") for n in range(0, 100_000, 1777)]
    stats = pool.stats()
    assert stats.in_use == sum(size_class(b.nbytes) for b in held) == sum(stats.lines.values())
    assert stats.buffers == len(held)
    del held
    stats = pool.stats()
    assert (stats.in_use, stats.buffers, dict(stats.lines)) == (0, 0, {})
    assert stats.cached == stats.reserved == sum(driver.blocks.values()) > 0
    assert pool.trim() == stats.reserved
    assert pool.stats().reserved == 0
    assert driver.blocks == {}


def test_freeing_twice_is_harmless_and_use_after_it_is_not(pool):
    buffer = pool.buffer(100, "train.py:7")
    buffer.free()
    buffer.free()
    stats = pool.stats()
    assert (stats.in_use, stats.buffers) == (0, 0)
    with pytest.raises(FreedError, match="freed"):
        _ = buffer.address


def test_live_blocks_never_overlap():
    driver, rng = Driver(), random.Random(1)
    pool = Pool(driver.allocate, driver.release, "test")
    held = []
    for _ in range(3000):
        if held and rng.random() < 0.5:
            held.pop(rng.randrange(len(held)))
        else:
            held.append(pool.buffer(int(2 ** rng.uniform(0, 30))))
        if rng.random() < 0.01:
            pool.trim()
    spans = sorted((b.address, b.address + b.nbytes) for b in held)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    assert sum(b.nbytes for b in held) <= pool.stats().in_use <= sum(driver.blocks.values()) == pool.stats().reserved
    held.clear()
    pool.trim()
    assert pool.stats().in_use == pool.stats().reserved == 0


def test_a_large_block_may_be_a_little_too_large(pool, driver):
    pool.buffer(100 * MIB).free()
    small = pool.buffer(95 * MIB)
    assert driver.calls == 1
    assert pool.stats().in_use == 100 * MIB, "the whole block is held"
    pool.buffer(60 * MIB)
    assert driver.calls == 2
    del small
    assert pool.stats().in_use == 0


def test_peak(pool):
    first = pool.buffer(1024)
    pool.buffer(4096).free()
    assert pool.stats().peak == 5120
    pool.reset_peak()
    assert pool.stats().peak == 1024
    del first
    assert pool.stats().peak == 1024


def test_exhaustion_releases_the_cache_first():
    driver = Driver(capacity=10 * MIB)
    pool = Pool(driver.allocate, driver.release, "test")
    pool.buffer(8 * MIB).free()
    assert pool.buffer(4 * MIB).nbytes == 4 * MIB
    assert sum(driver.blocks.values()) == 4 * MIB


def test_exhaustion_collects_garbage_first():
    driver = Driver(capacity=10 * MIB)
    pool = Pool(driver.allocate, driver.release, "test")
    gc.disable()
    try:
        cycle = [pool.buffer(8 * MIB)]
        cycle.append(cycle)
        del cycle
        assert pool.buffer(8 * MIB).nbytes == 8 * MIB
    finally:
        gc.enable()


def test_the_error_says_who_holds_what():
    driver = Driver(capacity=64 * MIB)
    pool = Pool(driver.allocate, driver.release, "cuda:0")
    held = [pool.buffer((k + 1) * MIB, f"train.py:{k}") for k in range(7)] + [pool.buffer(MIB)]
    with pytest.raises(OutOfMemoryError) as caught:
        pool.buffer(50 * MIB, "train.py:99")
    message = str(caught.value)
    for part in (
        "cuda:0",
        "50.0 MiB at train.py:99",
        "29.0 MiB in use",
        "0 B cached",
        "7.0 MiB in 1 buffers  train.py:6",
    ):
        assert part in message
    assert "FLAME_MEMORY_LIMIT" in message
    assert message.index("train.py:6") < message.index("train.py:5") < message.index("train.py:2")
    assert "train.py:1\n" not in message, "the five largest only"
    assert pool.stats().in_use == 29 * MIB, "a failure changes nothing"
    del held
    assert pool.buffer(50 * MIB).nbytes
    assert pool.stats().in_use == 0


def test_the_limit_of_config(pool, driver):
    with config(memory_limit=10 * MIB):
        held = pool.buffer(8 * MIB)
        with pytest.raises(OutOfMemoryError, match=r"FLAME_MEMORY_LIMIT 10.0 MiB"):
            pool.buffer(4 * MIB)
        held.free()
        assert pool.buffer(4 * MIB).nbytes
        assert pool.stats().reserved <= 10 * MIB
    assert pool.buffer(100 * MIB).nbytes


def test_an_address_of_zero_means_no_memory():
    with pytest.raises(OutOfMemoryError):
        Pool(lambda nbytes: 0, lambda address: None, "test").buffer(1)


def test_garbage_in_the_middle_of_an_allocation(pool, driver, monkeypatch):
    """A collection inside the pool, in the same thread, must not disturb it."""
    victims = [pool.buffer(1000) for _ in range(100)]
    take = Pool._take

    def disturbed(self, size):
        if victims:
            victims.pop()
        return take(self, size)

    monkeypatch.setattr(Pool, "_take", disturbed)
    held = [pool.buffer(1000) for _ in range(100)]
    assert len({b.address for b in held}) == 100
    held.clear()
    assert pool.stats().in_use == 0


def test_many_threads(pool, driver):
    def work(seed):
        rng, held = random.Random(seed), []
        for _ in range(2000):
            held.append(pool.buffer(rng.randrange(1, 10**6), f"line:{seed}"))
            if len(held) > 10:
                held.pop(rng.randrange(10))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    stats = pool.stats()
    assert (stats.in_use, stats.buffers, stats.allocations) == (0, 0, 8000)
    assert stats.reserved == sum(driver.blocks.values())


def test_poison_marks_new_and_freed_memory():
    fills = []
    driver = Driver()
    pool = Pool(driver.allocate, driver.release, "test", lambda address, nbytes: fills.append((address, nbytes)))
    pool.buffer(1000).free()
    pool.stats()
    assert fills == []
    with config(poison=True):
        buffer = pool.buffer(1000)
        address = buffer.address
        buffer.free()
        pool.stats()
    assert fills == [(address, 1024)] * 2


def test_host_memory():
    pool = host_pool()
    before = pool.stats().in_use
    with config(poison=True):
        buffers = [pool.buffer(n) for n in (1, 1000, 3 * MIB, LARGE)]
    for b in buffers:
        assert b.address % 64 == 0
        assert ctypes.string_at(b.address, 1) == ctypes.string_at(b.address + b.nbytes - 1, 1) == b"\xff"
    del buffers, b
    assert pool.stats().in_use == before
    with pytest.raises(OutOfMemoryError):
        pool.buffer(2**62)
    with pytest.raises(ValueError, match="-1 bytes"):
        pool.buffer(-1)


def test_readable():
    assert [module.readable(n) for n in (0, 512, 1536, 3 * 2**30)] == ["0 B", "512 B", "1.5 KiB", "3.0 GiB"]
