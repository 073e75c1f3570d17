"""Distributions: draws of uniform bits, transformed. No gradient flows into their parameters, as in PyTorch.

All are lazy and fuse into what reads them, but for `poisson` and `binomial`, which are drawn on the host.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from flame.errors import DTypeError, FlameError, ShapeError
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir.dtype import DType
from flame.ops.create import Where
from flame.ops.elementwise import to_dtype
from flame.ops.method import method, sizes
from flame.ops.random import Generator, default_generator, floating, integers, normal_of, unit, working
from flame.ops.search import searchsorted
from flame.ops.sort import order
from flame.tensor import Tensor, from_array, same_device

__all__ = ["bernoulli", "binomial", "multinomial", "normal", "poisson"]


# --- functions --------------------------------------------------------------------------------------------------------
def normal(
    mean: Any,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: DType | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """Normal with the given means and standard deviations: tensors that broadcast, or numbers and then a `size`.

    Raises FlameError for a negative number as std, ShapeError where neither tensors nor a size say the shape.
    """
    if not isinstance(std, Tensor) and std < 0:
        raise FlameError(f"normal: std is {std}, but must be 0 or more")
    tensors = [t.detach() for t in (mean, std) if isinstance(t, Tensor)]
    if not tensors:
        if size is None:
            raise ShapeError("normal: mean and std are numbers; give size= too")
        shape = sizes((size,) if isinstance(size, int) else tuple(size))
        drawn = normal_of(shape, floating("normal", dtype), generator, device) * std + mean
        return drawn.requires_grad_() if requires_grad else drawn
    if any(not t.dtype.is_float for t in tensors):
        raise DTypeError(f"normal: mean and std must be floating, not {tensors[0].dtype}; cast them, e.g. .float()")
    shape = tensors[0].shape if len(tensors) == 1 else nd.broadcast_shapes(tensors[0].shape, tensors[1].shape)
    kind = tensors[0].dtype if len(tensors) == 1 else dt.promote(tensors[0].dtype, tensors[1].dtype)
    z = normal_of(shape, kind, generator, same_device("normal", *tensors))
    mean, std = (t.detach() if isinstance(t, Tensor) else t for t in (mean, std))
    return z * std + mean


@method
def bernoulli(input: Tensor, p: float | None = None, *, generator: Generator | None = None) -> Tensor:
    """1 with the probability that each element says, else 0, in its dtype; with `p` that probability everywhere.

    A probability below 0 counts as 0 and one above 1 as 1. Raises DTypeError for an input that is not floating, unless
    `p` is given, and FlameError for a p outside [0, 1].
    """
    if p is not None:
        return _flipped(input.shape, _probability("bernoulli", p), input.dtype, generator, input.device)
    if not input.dtype.is_float:
        raise DTypeError(f"bernoulli: probabilities are floating, not {input.dtype}; cast them, or give p=")
    return _flipped(input.shape, input.detach(), input.dtype, generator, input.device)


def _flipped(shape: tuple[int, ...], p: Any, dtype: DType, generator: Generator | None, device: Where) -> Tensor:
    exact = dt.float64 if isinstance(p, Tensor) and p.dtype is dt.float64 else dt.float32
    return to_dtype(unit(shape, exact, generator, device) < p, dtype)


def _probability(name: str, p: float) -> float:
    if not 0 <= p <= 1:
        raise FlameError(f"{name}: p is {p}, but a probability lies between 0 and 1")
    return p


@method
def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Positions in the last dimension, drawn with the weights that stand there. (C) or (N, C) → (samples) or (N, …).

    With `replacement` by the inverse of the cumulated weights; without, the first of the order of exponential draws
    over weights (Efraimidis and Spirakis, 2006), where positions of weight 0 come last, also when they are not enough
    (PyTorch raises there). Raises DTypeError for weights that are not floating, ShapeError for other shapes, and
    FlameError for a number of samples that cannot be.
    """
    if not input.dtype.is_float:
        raise DTypeError(f"multinomial: weights are floating, not {input.dtype}; cast them, e.g. .float()")
    if input.ndim not in (1, 2) or not input.shape[-1]:
        raise ShapeError(f"multinomial: weights have shape {input.shape}; give (C) or (N, C) with C > 0")
    count = input.shape[-1]
    if num_samples <= 0 or (num_samples > count and not replacement):
        raise FlameError(
            f"multinomial: {num_samples} samples of {count}; draw at least 1 and, without replacement, at most {count}"
        )
    weights = to_dtype(input.detach(), dt.float64)
    if not replacement:
        waiting = -unit(input.shape, dt.float64, generator, input.device, above=True).log() / weights
        return order("multinomial", waiting, -1, False, (0, num_samples))
    edges = weights.cumsum(-1)
    shape = (*input.shape[:-1], num_samples)
    place = to_dtype(unit(shape, dt.float32, generator, input.device), dt.float64) * edges[..., -1:]
    return searchsorted(edges, place, right=True)


def _on_host(name: str, draw: Callable[[np.random.Generator], np.ndarray], count: int, given: Tensor,
             generator: Generator | None) -> Tensor:  # fmt: skip
    """A draw by NumPy, from a stream of its own that starts where the generator stands."""
    source = generator or default_generator
    stream = np.random.Generator(np.random.Philox(key=source.key, counter=[source.take(4 * count), 1, 0, 0]))
    try:
        found = draw(stream)
    except ValueError as problem:
        raise FlameError(f"{name}: {problem}") from None
    return from_array(np.asarray(found).astype(given.dtype.numpy), given.device)


def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Numbers of events at the rates in `input`, in its shape and dtype; drawn on the host, which reads the rates.

    Raises DTypeError for rates that are not floating and FlameError for a negative one.
    """
    if not input.dtype.is_float:
        raise DTypeError(f"poisson: rates are floating, not {input.dtype}; cast them, e.g. .float()")
    rates = input.numpy().astype(np.float64)
    return _on_host("poisson", lambda stream: stream.poisson(rates), input.numel(), input, generator)


def binomial(count: Tensor, prob: Tensor, generator: Generator | None = None) -> Tensor:
    """How many of `count` trials succeed with probability `prob`; drawn on the host, which reads both.

    They broadcast; the result has their dtype. Raises DTypeError unless both are floating, FlameError for a negative
    count or a probability outside [0, 1].
    """
    if not (count.dtype.is_float and prob.dtype.is_float):
        raise DTypeError(f"binomial: count and prob are floating, not {count.dtype} and {prob.dtype}; cast them")
    trials, chance = count.numpy().astype(np.int64), prob.numpy().astype(np.float64)
    size = math.prod(nd.broadcast_shapes(count.shape, prob.shape))
    return _on_host("binomial", lambda stream: stream.binomial(trials, chance), size, count + prob, generator)


# --- in place ---------------------------------------------------------------------------------------------------------
def _fill(self: Tensor, name: str, drawn: Tensor) -> Tensor:
    return self._become(to_dtype(drawn, self.dtype), name)


def _wide(self: Tensor, name: str, generator: Generator | None, above: bool = True) -> Tensor:
    """Uniform numbers for each element of a floating tensor, in the dtype in which a distribution is computed."""
    if not self.dtype.is_float:
        raise DTypeError(f"{name}: fills floating tensors, not {self.dtype}; use random_, or cast the tensor")
    return unit(self.shape, working(self.dtype), generator, self.device, above)


@method
def uniform_(self: Tensor, from_: float = 0.0, to: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Uniform in [from_, to), in place. Raises FlameError unless from_ ≤ to."""
    if not from_ <= to:
        raise FlameError(f"uniform_: [{from_}, {to}) is empty; the first must not exceed the second")
    low = float(self.dtype.numpy.type(from_)) if self.dtype.is_float else from_
    u = _wide(self, "uniform_", generator, above=False)
    drawn = to_dtype(u * (to - from_) + low, self.dtype)
    return _fill(self, "uniform_", drawn if from_ == to else drawn.minimum(_below(to, self.dtype)))


def _below(number: float, dtype: DType) -> float:
    """The largest number of a dtype below another: a draw that was rounded up comes back into the interval."""
    one = dtype.numpy.type(number)
    return float(np.nextafter(one, dtype.numpy.type(-math.inf))) if float(one) >= number else float(one)


@method
def normal_(self: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Normal with a mean and a standard deviation, in place. Raises FlameError for a negative std."""
    if not std >= 0:
        raise FlameError(f"normal_: std is {std}, but must be 0 or more")
    kind = floating("normal_", self.dtype)
    return _fill(self, "normal_", normal_of(self.shape, working(kind), generator, self.device) * std + mean)


@method
def log_normal_(self: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Generator | None = None) -> Tensor:
    """exp of a normal draw, in place. Raises FlameError unless std is positive."""
    if not std > 0:
        raise FlameError(f"log_normal_: std is {std}, but must be positive")
    z = normal_of(self.shape, working(floating("log_normal_", self.dtype)), generator, self.device)
    return _fill(self, "log_normal_", (z * std + mean).exp())


@method
def exponential_(self: Tensor, lambd: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Exponential with the rate `lambd`, and never 0, in place. Raises FlameError unless it is positive."""
    if not lambd > 0:
        raise FlameError(f"exponential_: lambd is {lambd}, but must be positive")
    u = _wide(self, "exponential_", generator)
    return _fill(self, "exponential_", -u.minimum(_below(1.0, u.dtype)).log() / lambd)


@method
def cauchy_(self: Tensor, median: float = 0.0, sigma: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Cauchy's distribution, in place. Raises FlameError unless sigma is positive."""
    if not sigma > 0:
        raise FlameError(f"cauchy_: sigma is {sigma}, but must be positive")
    turn = (_wide(self, "cauchy_", generator) - 0.5) * math.pi
    return _fill(self, "cauchy_", turn.sin() / turn.cos() * sigma + median)


@method
def geometric_(self: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """The number of the first success of trials with probability `p`, in place. Raises FlameError unless 0 < p < 1."""
    if not 0 < p < 1:
        raise FlameError(f"geometric_: p is {p}, but must lie between 0 and 1")
    u = unit(self.shape, working(self.dtype) if self.dtype.is_float else dt.float64, generator, self.device, True)
    return _fill(self, "geometric_", (u.log() / math.log1p(-p)).floor() + 1)


@method
def bernoulli_(self: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """1 with probability `p`, a number or a tensor that broadcasts, else 0, in place."""
    given = p.detach() if isinstance(p, Tensor) else _probability("bernoulli_", p)
    return _fill(self, "bernoulli_", _flipped(self.shape, given, self.dtype, generator, self.device))


@method
def random_(
    self: Tensor, from_: int | None = None, to: int | None = None, *, generator: Generator | None = None
) -> Tensor:
    """Integers in [from_, to), in [0, from_), or all that the dtype holds exactly from 0 on, in place."""
    if from_ is None:
        from_ = 0
        most = 2 if self.dtype is dt.boolean else _most(self.dtype)
        to = most if to is None else to
    elif to is None:
        from_, to = 0, from_
    return _fill(self, "random_", integers("random_", from_, to, self.shape, self.dtype, generator, self.device))


def _most(dtype: DType) -> int:
    """One more than the largest integer up to which a dtype holds every one."""
    return round(2 / dtype.epsilon) + 1 if dtype.is_float else int(np.iinfo(dtype.numpy).max) + 1
