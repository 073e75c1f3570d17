"""spectral_norm in its first form: a parameter NAME_orig and vectors NAME_u and NAME_v, which many checkpoints hold."""

import math
from typing import Any

from flame.errors import FlameError
from flame.nn.conv import _Transposed
from flame.nn.functional import normalize
from flame.nn.module import Module
from flame.ops.random import randn
from flame.recording import no_grad
from flame.tensor import Tensor


class _Spectral:
    """What runs before each call of the module."""

    def __init__(self, name: str, times: int, dim: int, eps: float) -> None:
        self.name, self.times, self.dim, self.eps = name, times, dim, eps

    def __call__(self, module: Module, args: Any) -> None:
        setattr(module, self.name, self.weight(module, module.training))

    def weight(self, module: Module, iterate: bool) -> Tensor:
        """The original over its largest singular value, by the vectors, which move on first if so asked."""
        original = getattr(module, f"{self.name}_orig")
        matrix = original.movedim(self.dim, 0).flatten(1)
        u, v = getattr(module, f"{self.name}_u"), getattr(module, f"{self.name}_v")
        if iterate:
            with no_grad():
                for _ in range(self.times):
                    v = normalize(matrix.T.mv(u), dim=0, eps=self.eps)
                    u = normalize(matrix.mv(v), dim=0, eps=self.eps)
                u, v = u.detach().realize(), v.detach().realize()
            setattr(module, f"{self.name}_u", u)
            setattr(module, f"{self.name}_v", v)
        return original / u.dot(matrix.mv(v))


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """As `parametrizations.spectral_norm`, which PyTorch recommends, with `NAME_orig`, `NAME_u`, `NAME_v` in the state.

    The weight is computed when the module is called. Raises FlameError where the module has no such parameter.

    >>> list(flame.nn.utils.spectral_norm(flame.nn.Linear(2, 3)).state_dict())
    ['bias', 'weight_orig', 'weight_u', 'weight_v']
    """
    weight = module._parameters.get(name)
    if weight is None or n_power_iterations < 1:
        fault = f"has no parameter {name!r}" if weight is None else f"{n_power_iterations} power iterations are too few"
        raise FlameError(f"spectral_norm: {type(module).__name__}: {fault}")
    made = _Spectral(name, n_power_iterations, int(isinstance(module, _Transposed)) if dim is None else dim, eps)
    rows, like = weight.shape[made.dim], {"dtype": weight.dtype, "device": weight.device}
    delattr(module, name)
    module.register_parameter(f"{name}_orig", weight)
    setattr(module, name, weight.detach())
    module.register_buffer(f"{name}_u", normalize(randn(rows, **like), dim=0, eps=eps))
    module.register_buffer(f"{name}_v", normalize(randn(math.prod(weight.shape) // rows, **like), dim=0, eps=eps))
    module.__dict__.setdefault("_spectral_norms", {})[name] = module.register_forward_pre_hook(made), made
    return module


def remove_spectral_norm(module: Module, name: str = "weight") -> Module:
    """Let the weight be a parameter again, with its present value; raises FlameError where it has no spectral_norm."""
    found = module.__dict__.get("_spectral_norms", {}).pop(name, None)
    if found is None:
        raise FlameError(f"remove_spectral_norm: {type(module).__name__} has no spectral_norm of {name!r}")
    handle, made = found
    handle.remove()
    with no_grad():
        value = made.weight(module, False).detach()
    kept = module._parameters[f"{name}_orig"]
    for part in ("", "_orig", "_u", "_v"):
        delattr(module, name + part)
    assert kept is not None
    kept.data = value
    module.register_parameter(name, kept)
    return module


def skip_init(module_cls: type[Module], *args: Any, **kwargs: Any) -> Module:
    """`module_cls(*args, **kwargs)`: starting values are lazy, and those that are replaced are never computed."""
    return module_cls(*args, **kwargs)
