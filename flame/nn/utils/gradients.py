"""Gradients and parameters taken together: norms, clipping, noise, statistics, one vector of all.

All is lazy: norms, clipped gradients, noise and statistics are computed in the plan of `optimizer.step()`, or of what
reads them first.
"""

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from flame.errors import FlameError, ShapeError
from flame.ops.create import tensor
from flame.ops.join import cat, stack
from flame.ops.random import Generator, randn_like
from flame.recording import no_grad
from flame.tensor import Tensor

__all__ = [
    "add_grad_noise_",
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_grads_with_norm_",
    "get_total_norm",
    "grad_statistics",
    "normalize_grad_",
    "parameters_to_vector",
    "vector_to_parameters",
]

Parameters = Tensor | Iterable[Tensor]
FEW = 16  # numbers that one fold takes
MEET: dict[float, Callable[[Any, Any], Tensor]] = {  # how what two tensors add to a norm becomes what both add
    2.0: operator.add,
    math.inf: lambda a, b: a.maximum(b),
    -math.inf: lambda a, b: a.minimum(b),
}


def _many(parameters: Parameters) -> list[Tensor]:
    return [parameters] if isinstance(parameters, Tensor) else list(parameters)


def _with_grad(parameters: Parameters) -> list[Tensor]:
    return [p for p in _many(parameters) if p.grad is not None]


def _grads(parameters: Parameters) -> list[Tensor]:
    return [p.grad for p in _many(parameters) if p.grad is not None]


def _wide(t: Tensor) -> Tensor:
    return t.float() if t.dtype.size == 2 else t


def _norm(t: Tensor, norm_type: float) -> Tensor:
    """The p-norm of all elements; half precisions are summed in float32."""
    wide = _wide(t.detach())
    if not t.numel():
        return wide.sum()
    if norm_type == math.inf:
        return wide.abs().amax()
    if norm_type == -math.inf:
        return wide.abs().amin()
    if norm_type == 0:
        return (wide != 0).to(wide.dtype).sum()
    if norm_type == 2:
        return wide.square().sum().sqrt()
    return (wide.abs() ** norm_type).sum() ** (1 / norm_type)


def _part(t: Tensor, norm_type: float) -> Tensor:
    """What a tensor adds to the norm of many: its norm, or the square of it."""
    return _wide(t.detach()).square().sum() if norm_type == 2 else _norm(t, norm_type)


def _together(parts: list[Tensor], norm_type: float) -> Tensor:
    """The norm of many tensors from what each adds to it. Sums and extremes meet in pairs: a kernel or two for all."""
    meet = MEET.get(norm_type)
    if meet is None:
        return _norm(stack(parts), norm_type)
    while len(parts) > FEW:
        pairs = [parts[i : i + 2] for i in range(0, len(parts), 2)]
        parts = [meet(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
    rest = stack(parts)  # folded, so that it is in memory before all gradients read it
    return rest.sum().sqrt() if norm_type == 2 else rest.amax() if norm_type > 0 else rest.amin()


def _here(t: Tensor, device: Any) -> Tensor:
    return t if t.device is device else t.to(device)


def get_total_norm(
    tensors: Parameters, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Tensor:
    """The norm of the norms of all tensors, as if they were one vector.

    Raises FlameError where it is nan or infinite and `error_if_nonfinite` asks, which computes it now. `foreach` is
    accepted: fusion decides.

    >>> flame.nn.utils.get_total_norm([flame.tensor([3.0]), flame.tensor([[4.0]])]).item()
    5.0
    """
    p, given = float(norm_type), _many(tensors)
    if not given:
        return tensor(0.0)
    device = given[0].device
    with no_grad():
        total = _together([_here(_part(t, p), device) for t in given], p)
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise FlameError(
            f"get_total_norm: the norm of order {norm_type} is {total.item()}, and error_if_nonfinite=True; look "
            "for the cause with flame.autograd.detect_anomaly()"
        )
    return total


def clip_grads_with_norm_(
    parameters: Parameters, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale the gradients by max_norm / (total_norm + 1e-6), where that is below 1."""
    with no_grad():
        scale = (max_norm / (total_norm + 1e-6)).clamp(max=1.0)
        for p in _with_grad(parameters):
            g: Any = p.grad
            wide = _wide(g)
            p.grad = (wide * _here(scale, g.device).to(wide.dtype)).to(g.dtype)


def clip_grad_norm_(
    parameters: Parameters,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale all gradients so that their norm, taken over all parameters together, is `max_norm` at most.

    Returns the norm before, lazy like the rest: clipping fuses into the optimizer's kernels (Pascanu et al.,
    arXiv:1211.5063). Raises FlameError for a norm that is nan or infinite if `error_if_nonfinite`, which reads it now.

    >>> w = flame.tensor([3.0, 4.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> flame.nn.utils.clip_grad_norm_(w, 1.0).item(), [round(g, 4) for g in w.grad.tolist()]
    (10.0, [0.6, 0.8])
    """
    given = _many(parameters)
    total = get_total_norm(_grads(given), norm_type, error_if_nonfinite, foreach)
    clip_grads_with_norm_(given, max_norm, total, foreach)
    return total


def clip_grad_value_(parameters: Parameters, clip_value: float, foreach: bool | None = None) -> None:
    """Bring every element of every gradient into [-clip_value, clip_value]."""
    limit = float(clip_value)
    with no_grad():
        for p in _with_grad(parameters):
            g: Any = p.grad
            p.grad = g.clamp(-limit, limit)


def normalize_grad_(parameters: Parameters, norm_type: float = 2.0, eps: float = 1e-6, each: bool = False) -> Tensor:
    """Divide all gradients by their norm, taken together; with `each`, every parameter's by its own. Returns the norms.

    >>> w = flame.tensor([3.0, 4.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> norm = flame.nn.utils.normalize_grad_(w)
    >>> [round(g, 4) for g in w.grad.tolist()]
    [0.6, 0.8]
    """
    due = _with_grad(parameters)
    with no_grad():
        grads = _grads(due)
        norms = [_norm(g, float(norm_type)) for g in grads] if each else [get_total_norm(grads, norm_type)] * len(due)
        for p, g, norm in zip(due, grads, norms, strict=True):
            p.grad = (_wide(g) / (norm.to(_wide(g).dtype) + eps)).to(g.dtype)
        return stack(norms) if each and norms else get_total_norm(grads, norm_type)


def add_grad_noise_(parameters: Parameters, std: float = 1.0, generator: Generator | None = None) -> None:
    """Add normal noise to every gradient (Neelakantan et al., arXiv:1511.06807), drawn inside the kernels that read it.

    A schedule such as std = (eta / (1 + step) ** 0.55) ** 0.5 is the caller's.
    """
    if std < 0:
        raise FlameError(f"add_grad_noise_: std is {std}; it must be 0 or more")
    with no_grad():
        for p in _with_grad(parameters):
            g: Any = p.grad
            p.grad = g + randn_like(g, generator=generator) * std


def grad_statistics(parameters: Any) -> dict[str, dict[str, Tensor]]:
    """Mean, std, norm, largest magnitude and share of zeros of each parameter's gradient: numbers still to be computed.

    Takes a module, pairs (name, parameter), or parameters, which are named by their position.

    >>> w = flame.tensor([3.0, 4.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> found = flame.nn.utils.grad_statistics([("w", w)])
    >>> {name: value.item() for name, value in found["w"].items()}
    {'mean': 7.0, 'std': 1.0, 'norm': 10.0, 'max': 8.0, 'zeros': 0.0}
    """
    found: dict[str, dict[str, Tensor]] = {}
    with no_grad():
        for name, p in _named(parameters):
            if p.grad is None or not p.grad.numel():
                continue
            g = _wide(p.grad)
            mean = g.mean()
            found[name] = {
                "mean": mean,
                "std": ((g - mean).square().mean()).sqrt(),
                "norm": _norm(g, 2.0),
                "max": g.abs().amax(),
                "zeros": (g == 0).to(g.dtype).mean(),
            }
    return found


def _named(parameters: Any) -> list[tuple[str, Tensor]]:
    if hasattr(parameters, "named_parameters"):
        return list(parameters.named_parameters())
    given: list[Any] = _many(parameters)
    return [(str(i), p) if isinstance(p, Tensor) else p for i, p in enumerate(given)]


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements of all parameters as one vector, in order; gradients flow back."""
    return cat([p.reshape(-1) for p in _many(parameters)])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Give parameters the values of a vector, in order; raises ShapeError where it is too short."""
    given: Sequence[Tensor] = _many(parameters)
    need = sum(p.numel() for p in given)
    if vec.ndim != 1 or vec.numel() < need:
        raise ShapeError(f"vector_to_parameters: a vector of shape {vec.shape} for {need} elements; they must be there")
    start = 0
    with no_grad():
        for p in given:
            p.copy_(vec[start : start + p.numel()].reshape(p.shape))
            start += p.numel()
