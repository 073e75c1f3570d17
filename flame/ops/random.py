"""Random numbers from a counter: the same seed gives the same numbers on every device.

Philox4x32-10 (Salmon et al. 2011) turns (seed, position) into 32 random bits; a generator only remembers its position.
The key and the position are numbers passed to kernels by value, so a new draw compiles nothing.
"""

import contextlib
import math
import secrets
from collections.abc import Iterator
from typing import Any

import numpy as np

from flame.batching import drawn, drawn_once
from flame.errors import FlameError, ShapeError
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir.dtype import DType
from flame.ir.node import Node, apply
from flame.ir.philox import philox
from flame.ops.create import Where, _where, iota
from flame.ops.elementwise import to_dtype
from flame.ops.method import sizes, spread
from flame.runtime import devices
from flame.runtime.device import Device
from flame.tensor import Tensor, from_array, new, scalar

__all__ = [
    "Generator",
    "default_generator",
    "fork_rng",
    "get_rng_state",
    "initial_seed",
    "manual_seed",
    "rand",
    "rand_like",
    "randint",
    "randint_like",
    "randn",
    "randn_like",
    "randperm",
    "seed",
    "set_rng_state",
]

Shape = tuple[int, ...]
WORD = 1 << 32
DIGITS = {dt.bfloat16: 8, dt.float16: 11, dt.float32: 24, dt.float64: 53}  # of numbers in [0, 1) that are evenly apart
FIRST_SEED = 67280421310721  # PyTorch's seed of a new generator


class Generator:
    """A stream of random numbers: a seed, and how many were drawn.

    A stream is the same on every device; `device` is kept to be asked for, as in PyTorch. Generators pickle and copy.
    """

    def __init__(self, seed: int | str | Device | None = None, device: Where = None):
        if isinstance(seed, (str, Device)):  # PyTorch's first argument is the device
            seed, device = None, seed
        self.device = _where(device)
        self.manual_seed(FIRST_SEED if seed is None else seed)

    def manual_seed(self, seed: int) -> "Generator":
        """Start the stream of a seed; raises FlameError for one that 64 bits cannot hold."""
        if not -(1 << 63) <= int(seed) < 1 << 64:
            raise FlameError(f"manual_seed: {seed} does not fit 64 bits; choose from [-2**63, 2**64 - 1]")
        self.seed_, self.offset = int(seed) % (1 << 64), 0
        return self

    def seed(self) -> int:
        """Start the stream of a seed that nobody can foresee, and return it."""
        self.manual_seed(secrets.randbits(48))
        return self.seed_

    def initial_seed(self) -> int:
        """The seed of this stream."""
        return self.seed_

    def get_state(self) -> Tensor:
        """Seed and position as 16 bytes in a uint8 tensor on the CPU, to be set again later."""
        return from_array(np.array([self.seed_, self.offset], np.uint64).view(np.uint8), devices.get("cpu"))

    def set_state(self, state: Any) -> "Generator":
        """Go on from a state: what `get_state` gave, as a tensor or an array, or a pair (seed, position)."""
        if isinstance(state, (tuple, list)) and len(state) == 2:
            self.seed_, self.offset = int(state[0]) % (1 << 64), int(state[1])
            return self
        found = np.asarray(state)
        if found.dtype != np.uint8 or found.shape != (16,):
            raise FlameError(
                f"set_state: a state is 16 bytes, got {found.dtype} of shape {found.shape}; use what get_state() gave"
            )
        self.seed_, self.offset = (int(n) for n in np.frombuffer(found.tobytes(), np.uint64))
        return self

    def clone_state(self) -> "Generator":
        """Another generator that will draw the same numbers."""
        return Generator(device=self.device).set_state((self.seed_, self.offset))

    def take(self, count: int) -> int:
        """The position of the next `count` numbers, which nobody draws again."""
        start, self.offset = self.offset, self.offset + -(-count // 4) * 4
        return start

    @property
    def key(self) -> int:
        """The seed as a kernel takes it: 63 bits."""
        return self.seed_ % (1 << 63)

    def __getstate__(self) -> tuple[int, int, str]:
        return self.seed_, self.offset, self.device.name

    def __setstate__(self, state: tuple[int, int, str]) -> None:
        self.seed_, self.offset, self.device = state[0], state[1], devices.get(state[2])


default_generator = Generator.__new__(Generator)
default_generator.__setstate__((secrets.randbits(48), 0, "cpu"))


def manual_seed(seed: int) -> Generator:
    """Seed the default generator, which serves all devices."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Give the default generator a seed that nobody can foresee, and return it."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of the default generator."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """The state of the default generator: 16 bytes in a uint8 tensor."""
    return default_generator.get_state()


def set_rng_state(new_state: Any) -> None:
    """Let the default generator go on from a state that `get_rng_state` gave."""
    default_generator.set_state(new_state)


@contextlib.contextmanager
def fork_rng(devices: Any = None, enabled: bool = True) -> Iterator[None]:
    """What is drawn inside changes nothing outside: the default generator returns to its state.

    One stream serves all devices, so `devices` need not name them.
    """
    before = default_generator.seed_, default_generator.offset
    try:
        yield
    finally:
        if enabled:
            default_generator.set_state(before)


# --- bits -------------------------------------------------------------------------------------------------------------
def bits(count: int, generator: Generator | None, device: Where) -> Tensor:
    """`count` int64 values of 32 random bits, from positions that nobody draws again."""
    source, where = generator or default_generator, _where(device)

    def draw(n: int) -> Node:
        key = scalar(source.key, dt.int64, where).node
        start = scalar(source.take(n), dt.int64, where).node
        return apply("philox", nd.expand(key, (n,)), nd.binary("add", iota(n), start))

    return new(drawn(count, draw), where)


def host_bits(count: int, generator: Generator | None) -> np.ndarray:
    """What `bits` draws, as an array: the same for every example of a `vmap`."""
    drawn_once()
    source = generator or default_generator
    start = source.take(count)
    return philox(np.array(source.key), np.arange(start, start + count))


def unit(shape: Shape, dtype: DType, generator: Generator | None, device: Where, above: bool = False) -> Tensor:
    """Evenly apart numbers in [0, 1): as many as the dtype holds there. In (0, 1] instead where `above`."""
    count, digits = math.prod(shape), DIGITS[dtype]
    if digits <= 24:
        words = bits(count, generator, device)
        found = to_dtype(words + 1, dt.float32) * (1 / WORD) if above else _leading(words, digits, dt.float32)
        return to_dtype(found, dtype).reshape(shape)
    words = bits(2 * count, generator, device)
    fine = _leading(words[:count], 27, dt.float64) + _leading(words[count:], 26, dt.float64) * 2.0**-27
    return (fine + 2.0**-53 if above else fine).reshape(shape)


def _leading(words: Tensor, digits: int, dtype: DType) -> Tensor:
    """A number in [0, 1) of the first `digits` bits of each word."""
    return to_dtype(words // (1 << (32 - digits)), dtype) * 2.0**-digits


def floating(name: str, dtype: DType | None) -> DType:
    """The dtype of a draw, the default one where none is given; raises FlameError unless it is floating."""
    found = dtype or dt.default()
    if not found.is_float or found.stored:
        raise FlameError(f"{name}: draws floating numbers, but dtype is {found}; use randint, or cast the result")
    return found


def working(dtype: DType) -> DType:
    """The dtype in which a distribution is computed: half precisions in float32."""
    return dt.float32 if dtype.size == 2 else dtype


def normal_of(shape: Shape, dtype: DType, generator: Generator | None, device: Where) -> Tensor:
    """Normal with mean 0 and variance 1 (Box and Muller 1958)."""
    wide, count = working(dtype), math.prod(shape)
    both = unit((2 * count,), wide, generator, device, above=True)
    radius = (both[:count].log() * -2.0).sqrt()
    return to_dtype(radius * (both[count:] * (2 * math.pi)).cos(), dtype).reshape(shape)


def _finished(made: Tensor, requires_grad: bool) -> Tensor:
    return made.requires_grad_() if requires_grad else made


# --- draws ------------------------------------------------------------------------------------------------------------
@spread("size")
def rand(
    *size: Any,
    dtype: DType | None = None,
    device: Where = None,
    generator: Generator | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform in [0, 1), with all digits that the dtype has below 1; the default dtype unless told otherwise."""
    return _finished(unit(sizes(size), floating("rand", dtype), generator, device), requires_grad)


@spread("size")
def randn(
    *size: Any,
    dtype: DType | None = None,
    device: Where = None,
    generator: Generator | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Normal with mean 0 and variance 1; the default dtype unless told otherwise."""
    return _finished(normal_of(sizes(size), floating("randn", dtype), generator, device), requires_grad)


def integers(name: str, low: int, high: int, shape: Shape, dtype: DType, generator: Any, device: Where) -> Tensor:
    """Integers in [low, high); raises ShapeError where there are none, or the dtype cannot hold them."""
    span = high - low
    if not 0 < span <= 1 << 63:
        raise ShapeError(f"{name}: [{low}, {high}) must hold 1 to 2**63 integers")
    if not dtype.is_float and dtype is not dt.boolean:
        info = np.iinfo(dtype.numpy)
        if low < info.min or high - 1 > info.max:
            raise ShapeError(f"{name}: [{low}, {high}) is beyond {dtype}, which holds {info.min} to {info.max}")
    return to_dtype(_below(span, math.prod(shape), generator, device) + low, dtype).reshape(shape)


def _below(span: int, count: int, generator: Generator | None, device: Where) -> Tensor:
    """Integers in [0, span): the upper half of the product of random bits and the span (Lemire, 2019).

    Above 2^62, the span of a power of 2 has all its integers; another leaves out some, evenly.
    """
    if span <= 1 << 31:
        return bits(count, generator, device) * span // WORD
    both = bits(2 * count, generator, device)
    high, low = both[:count] // 2, both[count:]
    if span & (span - 1) == 0:
        drawn = high * WORD + low
        return drawn if span == 1 << 63 else drawn % span
    half = 1 << 31  # (high, low // 2) times (c, d), both in digits of 31 bits
    c, d, low = span // half, span % half, low // 2
    first, second = high * d + low * d // half, low * c
    return high * c + first // half + second // half + (first % half + second % half) // half


def randint(
    low: int, high: Any = None, size: Any = None, *, dtype: DType = dt.int64, device: Where = None,
    generator: Generator | None = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Integers in [low, high), or in [0, low) where the second argument is the shape.

    Raises ShapeError for an empty range, or one that the dtype cannot hold.
    """
    if size is None or not isinstance(high, (int, np.integer)):
        low, high, size = 0, low, high if size is None else size
    shape = sizes((size,) if isinstance(size, int) else tuple(size))
    return _finished(integers("randint", int(low), int(high), shape, dtype, generator, device), requires_grad)


def randperm(n: int, *, dtype: DType = dt.int64, device: Where = None, generator: Generator | None = None) -> Tensor:
    """A random order of 0 ... n - 1: the order of random numbers of 63 bits, sorted on the host."""
    if n < 0:
        raise ShapeError(f"randperm: n is {n}, but must be 0 or more")
    drawn = host_bits(2 * n, generator)
    keys = (drawn[:n] >> 1 << 32) + drawn[n:]
    return from_array(np.argsort(keys, kind="stable").astype(dtype.numpy), _where(device))


def rand_like(
    input: Tensor, *, dtype: DType | None = None, device: Where = None, generator: Generator | None = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Uniform in [0, 1), in the shape of a tensor, and in its dtype and on its device unless told otherwise."""
    kind, where = floating("rand_like", dtype or input.dtype), device or input.device
    return rand(input.shape, dtype=kind, device=where, generator=generator, requires_grad=requires_grad)


def randn_like(
    input: Tensor, *, dtype: DType | None = None, device: Where = None, generator: Generator | None = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Normal, in the shape of a tensor, and in its dtype and on its device unless told otherwise."""
    kind, where = floating("randn_like", dtype or input.dtype), device or input.device
    return randn(input.shape, dtype=kind, device=where, generator=generator, requires_grad=requires_grad)


def randint_like(
    input: Tensor, low: int, high: int | None = None, *, dtype: DType | None = None, device: Where = None,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Integers in [low, high), or in [0, low), in the shape of a tensor, and in its dtype unless told otherwise."""
    low, high = (0, low) if high is None else (low, high)
    kind, where = dtype or input.dtype, device or input.device
    return integers("randint_like", low, high, input.shape, kind, generator, where)
