"""Normalisations: by the statistics of a batch, of each image, of groups of channels, of neighbouring channels.

Floating tensors; half precisions are computed in float32 and rounded once, at the end.
"""

from collections.abc import Sequence
from math import prod

from flame.errors import DTypeError, FlameError, ShapeError
from flame.ir import dtype as dt
from flame.ops.elementwise import to_dtype
from flame.ops.shape import padded
from flame.ops.window import window_axis
from flame.recording import no_grad
from flame.tensor import Tensor, new

__all__ = ["batch_norm", "group_norm", "instance_norm", "local_response_norm", "rms_norm"]


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """(x − mean) / √(var + eps) · weight + bias for each channel (Ioffe and Szegedy, arXiv:1502.03167).

    (N, C, *) → the same; the others (C). With `training`, mean and biased variance are those of the batch, and the
    running ones, where given, move towards them (the variance unbiased) by `momentum`: their handles take new values.
    Without it, the running ones are used. Raises ShapeError for sizes that do not fit and for a batch of one value a
    channel, FlameError where running statistics are needed and missing.

    >>> batch_norm(flame.tensor([[1.0], [3.0]]), None, None, training=True, eps=0.0).numpy().tolist()
    [[-1.0], [1.0]]
    """
    x = _checked("batch_norm", input)
    per_channel = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    _check_channels("batch_norm", input, per_channel)
    if (running_mean is None) != (running_var is None):
        raise FlameError("batch_norm: give both running_mean and running_var, or neither")
    if not training:
        if running_mean is None or running_var is None:
            raise FlameError("batch_norm: running_mean and running_var are needed where training is False")
        mean, var = (_along_channels(t, x) for t in (running_mean, running_var))
        return to_dtype(_scaled((x - mean) * (var + eps).rsqrt(), weight, bias), input.dtype)
    count = prod(x.shape) // max(1, x.shape[1])
    if count == 1:
        raise ShapeError(f"batch_norm: one value a channel has no variance; got shape {tuple(input.shape)} in training")
    axes = tuple(a for a in range(x.ndim) if a != 1)
    y, mean, var = _normalised(x, axes, eps)
    if running_mean is not None and running_var is not None:
        _move(running_mean, mean.reshape(-1), momentum)
        _move(running_var, var.reshape(-1) * (count / max(1, count - 1)), momentum)
    return to_dtype(_scaled(y, weight, bias), input.dtype)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """As `batch_norm`, with the statistics of each image by itself (Ulyanov et al., arXiv:1607.08022).

    (N, C, *) → the same; the others (C). Running statistics, where given, move towards the mean over the batch.
    Without `use_input_stats` they are used instead. Raises ShapeError for images of one position.

    >>> instance_norm(flame.tensor([[[1.0, 3.0]]]), eps=0.0).numpy().tolist()
    [[[-1.0, 1.0]]]
    """
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise FlameError("instance_norm: running_mean and running_var are needed where use_input_stats is False")
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    x = _checked("instance_norm", input)
    per_channel = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    _check_channels("instance_norm", input, per_channel)
    count = prod(x.shape[2:])
    if count == 1:
        raise ShapeError(f"instance_norm: one position has no variance; got shape {tuple(input.shape)}")
    y, mean, var = _normalised(x, tuple(range(2, x.ndim)), eps)
    channels = (x.shape[0], x.shape[1])
    if running_mean is not None:
        _move(running_mean, mean.reshape(*channels).mean(0), momentum)
    if running_var is not None:
        _move(running_var, var.reshape(*channels).mean(0) * (count / max(1, count - 1)), momentum)
    return to_dtype(_scaled(y, weight, bias), input.dtype)


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x − mean) / √(var + eps) · weight + bias over groups of channels of each image (Wu and He, arXiv:1803.08494).

    (N, C, *) → the same; weight and bias (C). Raises ShapeError where num_groups does not divide C.

    >>> group_norm(flame.tensor([[1.0, 3.0, 5.0, 9.0]]), 2, eps=0.0).numpy().tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """
    x = _checked("group_norm", input)
    _check_channels("group_norm", input, {"weight": weight, "bias": bias})
    n, channels = x.shape[:2]
    if num_groups < 1 or channels % num_groups:
        raise ShapeError(f"group_norm: {num_groups} groups do not divide the channels of shape {tuple(input.shape)}")
    if n * channels // num_groups * prod(x.shape[2:]) == 1:
        raise ShapeError(f"group_norm: one value a group has no variance; got shape {tuple(input.shape)}")
    grouped = x.reshape(n, num_groups, channels // num_groups, *x.shape[2:])
    y, _, _ = _normalised(grouped, tuple(range(2, grouped.ndim)), eps)
    return to_dtype(_scaled(y.reshape(*x.shape), weight, bias), input.dtype)


def rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """x / √(mean(x²) + eps) · weight over the last dimensions (Zhang and Sennrich, arXiv:1910.07467).

    (*, normalized_shape) → the same; `eps` is the step from 1 to the next number (of float32 for half precisions)
    unless given. Raises ShapeError when the input does not end in `normalized_shape`, or weight has another shape.

    >>> rms_norm(flame.tensor([3.0, -3.0]), (2,), eps=0.0).numpy().tolist()
    [1.0, -1.0]
    """
    if not isinstance(normalized_shape, (tuple, list)):
        raise DTypeError(f"rms_norm: normalized_shape is {normalized_shape!r}; give a sequence of integers")
    shape = tuple(normalized_shape)
    if weight is not None and tuple(weight.shape) != shape:
        raise ShapeError(f"rms_norm: weight has shape {tuple(weight.shape)}, but normalized_shape is {shape}")
    if not shape or tuple(input.shape[-len(shape) :]) != shape:
        raise ShapeError(f"rms_norm: the input's shape {tuple(input.shape)} does not end in normalized_shape {shape}")
    x = _floating("rms_norm", input)
    eps = x.dtype.epsilon if eps is None else eps
    y = x * ((x * x).mean(tuple(range(-len(shape), 0)), keepdim=True) + eps).rsqrt()
    return to_dtype(y if weight is None else y * weight, input.dtype)


def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """x / (k + alpha · mean of x² over `size` neighbouring channels) ** beta (Krizhevsky et al., 2012).

    (N, C, *) with at least three dimensions → the same; channels beyond the edges count as zeros.

    >>> local_response_norm(flame.tensor([[[3.0]]]), 1, alpha=1.0, beta=1.0, k=0.0).numpy().tolist()
    [[[0.3333333432674408]]]
    """
    if input.ndim < 3:
        raise ShapeError(f"local_response_norm: needs (N, C, *) of at least 3 dimensions, got {tuple(input.shape)}")
    if size < 1:
        raise ShapeError(f"local_response_norm: size is {size}, but a window has at least one channel")
    x = _floating("local_response_norm", input)
    low, high = ([n if a == 1 else 0 for a in range(x.ndim)] for n in (size // 2, (size - 1) // 2))
    square = padded(x * x, low, high)
    near = new(window_axis(square.node, 1, size, 1), square.device, square).mean(0)
    return to_dtype(x / (near * alpha + k) ** beta, input.dtype)


# --- below ------------------------------------------------------------------------------------------------------------
def _floating(name: str, input: Tensor) -> Tensor:
    """The input in the dtype in which statistics are computed."""
    if not input.dtype.is_float:
        raise DTypeError(f"{name}: needs a floating tensor, got {input.dtype}; cast it first, e.g. .float()")
    return to_dtype(input, dt.float32) if input.dtype.size == 2 else input


def _checked(name: str, input: Tensor) -> Tensor:
    if input.ndim < 2:
        raise ShapeError(f"{name}: needs (N, C, *) of at least 2 dimensions, got shape {tuple(input.shape)}")
    return _floating(name, input)


def _check_channels(name: str, input: Tensor, given: dict[str, Tensor | None]) -> None:
    for what, t in given.items():
        if t is not None and tuple(t.shape) != (input.shape[1],):
            raise ShapeError(
                f"{name}: {what} has shape {tuple(t.shape)}, but the input, {tuple(input.shape)}, has {input.shape[1]} "
                "channels (its second dimension)"
            )


def _normalised(x: Tensor, axes: tuple[int, ...], eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """(x − mean) / √(var + eps), the mean and the biased variance over some axes, which stay with size 1."""
    mean = x.mean(axes, keepdim=True)
    centred = x - mean
    var = (centred * centred).mean(axes, keepdim=True)
    return centred * (var + eps).rsqrt(), mean, var


def _along_channels(t: Tensor, like: Tensor) -> Tensor:
    return t.reshape(-1, *(1,) * (like.ndim - 2))


def _scaled(y: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    y = y if weight is None else y * _along_channels(weight, y)
    return y if bias is None else y + _along_channels(bias, y)


def _move(running: Tensor, now: Tensor, momentum: float) -> None:
    """Let a running statistic take a step towards the one of this batch."""
    with no_grad():
        running.copy_(running * (1 - momentum) + to_dtype(now.detach(), running.dtype) * momentum)
