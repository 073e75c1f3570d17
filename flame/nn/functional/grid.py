"""Images read at given places (Jaderberg et al., arXiv:1506.02025)."""

from collections.abc import Callable, Sequence
from math import prod

from flame.errors import DTypeError, FlameError, ShapeError
from flame.ir import dtype as dt
from flame.ir.node import apply
from flame.ops.create import arange, ones_like, zeros_like
from flame.ops.elementwise import to_dtype, where
from flame.ops.join import stack
from flame.tensor import Tensor, new, same_device

__all__ = ["affine_grid", "grid_sample"]

MODES = ("bilinear", "nearest", "bicubic")
PADDINGS = ("zeros", "border", "reflection")
Near = tuple[Tensor, Tensor]  # along one axis, the whole positions near each place, behind it, and their weights


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """The input at the places of a grid. (N, C, H, W), (N, H', W', 2) → (N, C, H', W'), or with a D each and 3.

    A place is (x, y) or (x, y, z) between -1 and 1, the edges of the image or, with `align_corners`, the centres of its
    outermost elements. Between elements: "bilinear", "nearest" (halves to even) or, for images, "bicubic". Outside:
    "zeros", "border" (the nearest element) or "reflection". Half precisions are computed in float32.
    Raises ShapeError, DTypeError or FlameError for what does not fit.

    >>> grid_sample(flame.tensor([[[[1.0, 3.0]]]]), flame.zeros(1, 1, 1, 2), align_corners=False).item()
    2.0
    """
    _check(input, grid, mode, padding_mode)
    align = bool(align_corners)
    size = input.shape[2:]
    wide = to_dtype(grid, dt.float32) if grid.dtype.size == 2 else grid
    places = [_scaled(wide[..., len(size) - 1 - a], n, align) for a, n in enumerate(size)]  # x is the last axis
    inner = _inner(padding_mode, align)
    if mode == "bicubic":
        near = [(inner(p, n), w) for (p, w), n in zip(map(_cubic, places), size, strict=True)]
    else:
        near = [NEAR[mode](inner(at, n)) for at, n in zip(places, size, strict=True)]
    x = to_dtype(input, wide.dtype).reshape(*input.shape[:2], prod(size))
    return to_dtype(_read(x, size, near), input.dtype)


def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """The grid that turns an image by affine maps. (N, 2, 3) and size (N, C, H, W) → (N, H, W, 2), or (N, 3, 4) and
    (N, C, D, H, W) → (N, D, H, W, 3); for `grid_sample` with the same `align_corners`.

    Raises ShapeError where theta and size do not fit.

    >>> affine_grid(flame.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]), (1, 1, 1, 2), False).numpy().tolist()
    [[[[-0.5, 0.0], [0.5, 0.0]]]]
    """
    if not theta.dtype.is_float:
        raise DTypeError(f"affine_grid: theta must be floating, got {theta.dtype}; cast it first, e.g. .float()")
    rank = len(size) - 2
    if rank not in (2, 3) or tuple(theta.shape[1:]) != (rank, rank + 1) or theta.ndim != 3:
        raise ShapeError(
            f"affine_grid: theta has shape {tuple(theta.shape)} and size is {tuple(size)}; give (N, 2, 3) and "
            "(N, C, H, W), or (N, 3, 4) and (N, C, D, H, W)"
        )
    if min(size) < 1 or theta.shape[0] != size[0]:
        raise ShapeError(f"affine_grid: size {tuple(size)} must be positive and begin with theta's {theta.shape[0]}")
    align = bool(align_corners)
    spatial = tuple(size[2:])
    wide = to_dtype(theta, dt.float32) if theta.dtype.size == 2 else theta
    axes: list[Tensor] = []
    for a, n in enumerate(spatial):
        steps = to_dtype(arange(n, device=theta.device), wide.dtype)
        line = steps * (2 / max(1, n - 1)) - (1 if n > 1 else 0)
        line = line if align else line * ((n - 1) / n)
        axes.insert(0, line.reshape(*(n if b == a else 1 for b in range(rank))).expand(*spatial))
    base = stack([*axes, ones_like(axes[0])], -1).reshape(1, prod(spatial), rank + 1)
    found = base.expand(size[0], -1, -1) @ wide.transpose(1, 2)
    return to_dtype(found.reshape(size[0], *spatial, rank), theta.dtype)


# --- below ------------------------------------------------------------------------------------------------------------
def _check(input: Tensor, grid: Tensor, mode: str, padding_mode: str) -> None:
    shapes = f"the input has shape {tuple(input.shape)} and the grid {tuple(grid.shape)}"
    if mode not in MODES:
        raise FlameError(f"grid_sample: mode is {mode!r}; choose from {', '.join(MODES)}")
    if padding_mode not in PADDINGS:
        raise FlameError(f"grid_sample: padding_mode is {padding_mode!r}; choose from {', '.join(PADDINGS)}")
    if input.ndim not in (4, 5) or grid.ndim != input.ndim or grid.shape[-1] != input.ndim - 2:
        raise ShapeError(f"grid_sample: {shapes}; give (N, C, H, W) and (N, H', W', 2), or a D each and 3")
    if grid.shape[0] != input.shape[0]:
        raise ShapeError(f"grid_sample: {shapes}; their batches must agree")
    if 0 in input.shape[1:]:
        raise ShapeError(f"grid_sample: {shapes}; only the batch may be empty")
    if mode == "bicubic" and input.ndim == 5:
        raise FlameError("grid_sample: mode 'bicubic' is for (N, C, H, W); use 'bilinear' or 'nearest' for volumes")
    same_device("grid_sample", input, grid)
    if not input.dtype.is_float or grid.dtype is not input.dtype:
        raise DTypeError(
            f"grid_sample: input is {input.dtype} and grid {grid.dtype}; both must have one floating dtype"
        )


def _scaled(at: Tensor, n: int, align: bool) -> Tensor:
    """From -1 … 1 to positions of an axis."""
    return (at + 1) * ((n - 1) / 2) if align else ((at + 1) * n - 1) / 2


def _inner(padding: str, align: bool) -> Callable[[Tensor, int], Tensor]:
    """What brings positions outside an axis of n inside, if anything does."""

    def border(at: Tensor, n: int) -> Tensor:
        return at.clamp(0, n - 1)

    def reflection(at: Tensor, n: int) -> Tensor:
        low, span = (0.0, float(n - 1)) if align else (-0.5, float(n))
        if not span:
            return zeros_like(at)
        away = (at - low).abs()
        turns = (away / span).floor()
        extra = away - turns.detach() * span
        return border(where((turns % 2).eq(0), extra + low, span - extra + low), n)

    return {"zeros": lambda at, n: at, "border": border, "reflection": reflection}[padding]


def _taps(like: Tensor, count: int) -> Tensor:
    """0, 1, … along a new last axis."""
    return to_dtype(arange(count, device=like.device), like.dtype)


def _linear(at: Tensor) -> Near:
    at, taps = at.unsqueeze(-1), _taps(at, 2)
    low = at.detach().floor()
    return low + taps, where(taps.eq(0), (low + 1) - at, at - low)


def _nearest(at: Tensor) -> Near:
    whole = at.detach().round().unsqueeze(-1)
    return whole, ones_like(whole)


def _cubic(at: Tensor) -> Near:
    """Four neighbours, weighted by cubic convolution of their distance (Keys, 1981, with a = -0.75)."""
    at, a = at.unsqueeze(-1), -0.75
    place = at.detach().floor() + (_taps(at, 4) - 1)
    x = (at - place).abs()
    close = ((a + 2) * x - (a + 3)) * x * x + 1
    return place, where(x <= 1, close, ((x - 5) * x + 8) * x * a - 4 * a)


NEAR = {"bilinear": _linear, "nearest": _nearest}


def _read(x: Tensor, size: Sequence[int], near: Sequence[Near]) -> Tensor:
    """The weighted sum of the neighbours of every place; nothing outside counts. x (N, C, prod(size)) → (N, C, …)."""
    flat: Tensor | None = None
    inside: Tensor | None = None
    weight: Tensor | None = None
    for a, (n, (at, w)) in enumerate(zip(size, near, strict=True)):
        later = (1,) * (len(size) - 1 - a)
        at, w = (t.reshape(*t.shape[:-1], *(1,) * a, t.shape[-1], *later) for t in (at, w))
        here = (at >= 0) & (at <= n - 1)
        place = where(here, at, 0).long()
        flat = place if flat is None else flat * n + place
        inside = here if inside is None else inside & here
        weight = w if weight is None else weight * w
    assert flat is not None and inside is not None and weight is not None
    places, taps = flat.shape[1 : 1 + len(size)], prod(flat.shape[1 + len(size) :])
    batch, channels = x.shape[:2]
    index = flat.reshape(batch, 1, prod(places) * taps).expand(batch, channels, prod(places) * taps)
    found = new(apply("gather", x.node, index.node, axis=2), x.device, x).reshape(batch, channels, *places, taps)
    weight, inside = (t.reshape(batch, 1, *places, taps) for t in (weight, inside))
    return where(inside, found * where(inside, weight, 0), 0).sum(-1)  # a weight far outside is no number
