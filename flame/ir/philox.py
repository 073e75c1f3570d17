"""Philox4x32-10 in numpy: the meaning of the random operator.

Reference: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

import numpy as np
from numpy.typing import NDArray

ROUNDS = 10
MULTIPLY = (0xD2511F53, 0xCD9E8D57)
BUMP = (0x9E3779B9, 0xBB67AE85)
LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)


def philox(key: NDArray[np.int64], counter: NDArray[np.int64]) -> NDArray[np.int64]:
    """Word `counter & 3` of block `counter >> 2` of the stream `key`, as an int64 in [0, 2**32)."""
    key, counter = np.broadcast_arrays(key, counter)
    block, k = counter.astype(np.uint64) >> np.uint64(2), key.astype(np.uint64)
    words = [block & LOW, block >> HALF, np.zeros_like(block), np.zeros_like(block)]
    keys = [k & LOW, k >> HALF]
    for _ in range(ROUNDS):
        first, second = np.uint64(MULTIPLY[0]) * words[0], np.uint64(MULTIPLY[1]) * words[2]
        words = [
            (second >> HALF) ^ words[1] ^ keys[0],
            second & LOW,
            (first >> HALF) ^ words[3] ^ keys[1],
            first & LOW,
        ]
        keys = [(keys[0] + np.uint64(BUMP[0])) & LOW, (keys[1] + np.uint64(BUMP[1])) & LOW]
    return np.choose(counter & 3, words).astype(np.int64)
