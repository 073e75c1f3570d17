"""Rounding to few digits by chance, so that the mean is right: updates too small for a half precision are not lost."""

from flame.errors import DTypeError
from flame.ir import dtype as dt
from flame.ir.dtype import DType
from flame.ops.elementwise import TABLE, in_table, to_dtype, where
from flame.ops.random import Generator, rand
from flame.tensor import Tensor

__all__ = ["stochastic_round"]

_nextafter = TABLE["nextafter"]
LEAST = {dt.float16: 2.0**-24, dt.bfloat16: 2.0**-133}  # the step between denormal numbers


def stochastic_round(input: Tensor, dtype: DType, generator: Generator | None = None) -> Tensor:
    """Each element becomes one of its two neighbours in `dtype`, the nearer one more likely: the mean is the element.

    A value that `dtype` holds keeps it. Numbers are drawn in the kernel that rounds, from the default generator unless
    another is given. No gradient flows through. Raises DTypeError unless the input is floating and `dtype` a half
    precision (Gupta et al., arXiv:1502.02551; for weights in bfloat16, Zamirai et al., arXiv:2010.06192).

    >>> x = flame.full((1000,), 1.0 + 2.0**-10)  # bfloat16 goes from 1 to 1 + 2**-7 in one step
    >>> y = flame.amp.stochastic_round(x, flame.bfloat16, flame.Generator(0))
    >>> y.unique().tolist(), 90 < (y > 1).sum().item() < 160
    ([1.0, 1.0078125], True)
    """
    if not input.dtype.is_float or dtype not in LEAST:
        raise DTypeError(
            f"stochastic_round: cannot round {input.dtype} to {dtype}; give floats, and float16 or bfloat16 as dtype"
        )
    x = to_dtype(input.detach(), dt.float32)
    size = TABLE["abs"](x)
    near = to_dtype(to_dtype(size, dtype), dt.float32)
    # From there, a little more than half a step towards the element, the neighbour on its other side is the nearest: a
    # step is between half an epsilon and one epsilon of a number, and at least that between denormal numbers.
    move = TABLE["maximum"](near * (0.508 * dtype.epsilon), 0.508 * LEAST[dtype])
    far = to_dtype(to_dtype(near + where(size > near, move, -move), dtype), dt.float32)
    drawn = rand(x.shape, dtype=dt.float32, device=x.device, generator=generator)
    other = drawn * TABLE["abs"](far - near) < TABLE["abs"](size - near)  # never of infinities: nan, or an endless step
    return to_dtype(TABLE["copysign"](where(other, far, near), x), dtype)


@in_table
def nextafter(input: Tensor, other: Tensor) -> Tensor:
    """The number next to the first in the direction of the second, in the dtype in which both meet.

    Of half precisions no gradient flows through.
    """
    kind = dt.result_type([(t.dtype, t.ndim) for t in (input, other)], [])
    if kind not in LEAST:
        return _nextafter(input, other)
    x, goal = (to_dtype(to_dtype(t.detach(), kind), dt.float32) for t in (input, other))
    size = TABLE["abs"](x)
    # A little more than half a step, as above: what is nearest there is the neighbour.
    move = TABLE["maximum"](size * (0.508 * kind.epsilon), 0.508 * LEAST[kind])
    moved = to_dtype(to_dtype(x + TABLE["sign"](goal - x) * move, kind), dt.float32)
    moved = where(size == float("inf"), TABLE["copysign"](-kind.lowest, x), moved)
    moved = where(x == goal, goal, where(x.isnan() | goal.isnan(), float("nan"), moved))
    return to_dtype(moved, kind)
