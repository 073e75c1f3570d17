"""Random numbers from a counter: the same seed gives the same numbers on every device.

Philox4x32-10 (Salmon et al. 2011) turns (seed, position) into 32 random bits; a generator only remembers its position.
The key and the position are numbers passed to kernels by value, so a new draw compiles nothing.
"""

import math
import secrets
from typing import Any

import numpy as np

from flame.errors import ShapeError
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir.dtype import DType
from flame.ir.node import apply
from flame.ops.create import Where, _where, iota
from flame.ops.elementwise import to_dtype
from flame.ops.method import sizes
from flame.tensor import Tensor, from_array, new, scalar

__all__ = [
    "Generator",
    "default_generator",
    "manual_seed",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
    "randperm",
]


class Generator:
    """A stream of random numbers: a seed and how many were drawn."""

    def __init__(self, seed: int = 0):
        self.manual_seed(seed)

    def manual_seed(self, seed: int) -> "Generator":
        """Start the stream of a seed."""
        self.seed_, self.offset = int(seed) % (1 << 63), 0
        return self

    def initial_seed(self) -> int:
        return self.seed_

    def get_state(self) -> tuple[int, int]:
        """(seed, position), to be set again later."""
        return self.seed_, self.offset

    def set_state(self, state: tuple[int, int]) -> None:
        self.seed_, self.offset = state

    def take(self, count: int) -> int:
        """The position of the next `count` numbers, which nobody draws again."""
        start, self.offset = self.offset, self.offset + -(-count // 4) * 4
        return start


default_generator = Generator(secrets.randbits(48))


def manual_seed(seed: int) -> Generator:
    """Seed the default generator."""
    return default_generator.manual_seed(seed)


def _bits(count: int, generator: Generator | None, device: Where) -> Tensor:
    """`count` int64 values of 32 random bits."""
    source, where = generator or default_generator, _where(device)
    key = scalar(source.seed_, dt.int64, where)
    start = scalar(source.take(count), dt.int64, where)
    place = new(nd.binary("add", iota(count), start.node), where)
    return new(apply("philox", nd.expand(key.node, (count,)), place.node), where)


def _unit(bits: Tensor) -> Tensor:
    """float32 in [0, 1) from the upper 24 bits."""
    return to_dtype(bits // 256, dt.float32) * 2.0**-24


def rand(
    *size: Any,
    dtype: DType = dt.float32,
    device: Where = None,
    generator: Generator | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform in [0, 1)."""
    shape = sizes(size)
    made = to_dtype(_unit(_bits(math.prod(shape), generator, device)), dtype).reshape(shape)
    return made.requires_grad_() if requires_grad else made


def randn(
    *size: Any,
    dtype: DType = dt.float32,
    device: Where = None,
    generator: Generator | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Normal with mean 0 and variance 1 (Box and Muller 1958)."""
    shape = sizes(size)
    count = math.prod(shape)
    bits = _bits(2 * count, generator, device)
    radius = ((_unit(bits[:count]) + 2.0**-24).log() * -2.0).sqrt()
    made = to_dtype(radius * (_unit(bits[count:]) * (2 * math.pi)).cos(), dtype).reshape(shape)
    return made.requires_grad_() if requires_grad else made


def randint(
    low: int, high: Any = None, size: Any = None, *, dtype: DType = dt.int64, device: Where = None,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Integers in [low, high), or in [0, low) where the second argument is the shape."""
    if size is None:
        low, high, size = 0, low, high
    if high <= low or high - low > 1 << 31:
        raise ShapeError(f"randint: [{low}, {high}) must hold 1 to 2**31 integers")
    shape = sizes((size,) if isinstance(size, int) else tuple(size))
    bits = _bits(math.prod(shape), generator, device)
    return to_dtype(bits * (high - low) // (1 << 32) + low, dtype).reshape(shape)


def randperm(n: int, *, device: Where = None, generator: Generator | None = None) -> Tensor:
    """A random order of 0 ... n - 1, drawn on the host."""
    source = generator or default_generator
    drawn = np.random.Generator(np.random.Philox(key=source.seed_, counter=source.take(4 * n)))
    return from_array(drawn.permutation(n), _where(device))


def rand_like(input: Tensor, *, generator: Generator | None = None) -> Tensor:
    """Uniform in [0, 1), in the shape, dtype and device of a tensor."""
    return rand(input.shape, dtype=input.dtype, device=input.device, generator=generator)


def randn_like(input: Tensor, *, generator: Generator | None = None) -> Tensor:
    """Normal, in the shape, dtype and device of a tensor."""
    return randn(input.shape, dtype=input.dtype, device=input.device, generator=generator)
