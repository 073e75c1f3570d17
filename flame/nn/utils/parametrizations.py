"""weight_norm, spectral_norm and orthogonal as parametrizations, with PyTorch's names and state_dict keys."""

import math
from typing import Any

from flame.errors import ShapeError
from flame.nn.conv import _Transposed
from flame.nn.functional import normalize
from flame.nn.module import Module
from flame.nn.utils.orthogonal import orthogonal
from flame.nn.utils.parametrize import register_parametrization
from flame.ops.random import randn
from flame.recording import no_grad
from flame.tensor import Tensor

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


def norms(weight: Tensor, dim: int | None) -> Tensor:
    """The length of each slice along `dim`, to be broadcast with the weight; of all of it for None or -1."""
    if dim is None or dim == -1:
        return weight.square().sum().sqrt()
    others = [d for d in range(weight.ndim) if d != dim % weight.ndim]
    return weight.square().sum(others, keepdim=True).sqrt() if others else weight.abs()


class _WeightNorm(Module):
    """g · v / ‖v‖."""

    def __init__(self, dim: int | None) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, g: Tensor, v: Tensor) -> Tensor:
        return v * (g / norms(v, self.dim))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Length and direction of a weight."""
        return norms(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Train the length and the direction of a weight apart (Salimans and Kingma, arXiv:1602.07868): w = g · v / ‖v‖.

    g has a length for each slice along `dim`, one for all of it where dim is None or, as in PyTorch, -1. The state has
    `parametrizations.NAME.original0` (g) and `original1` (v); one with `NAME_g` and `NAME_v` is loaded too.

    >>> layer = flame.nn.utils.parametrizations.weight_norm(flame.nn.Linear(2, 3))
    >>> list(layer.state_dict())
    ['bias', 'parametrizations.weight.original0', 'parametrizations.weight.original1']
    """
    register_parametrization(module, name, _WeightNorm(dim))

    def renamed(module: Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        for old, new in ((f"{name}_g", "original0"), (f"{name}_v", "original1")):
            if prefix + old in state:
                state[f"{prefix}parametrizations.{name}.{new}"] = state.pop(prefix + old)

    module.register_load_state_dict_pre_hook(renamed)
    return module


class _SpectralNorm(Module):
    """A weight over its largest singular value, which power iterations follow while training."""

    def __init__(self, weight: Tensor, n_power_iterations: int, dim: int, eps: float) -> None:
        super().__init__()
        if n_power_iterations < 1:
            raise ShapeError(f"spectral_norm: n_power_iterations is {n_power_iterations}; it must be 1 or more")
        self.n_power_iterations, self.eps = n_power_iterations, eps
        self.dim = dim % weight.ndim if weight.ndim else 0
        if weight.ndim > 1:
            rows = weight.shape[self.dim]
            made: dict[str, Any] = {"dtype": weight.dtype, "device": weight.device}
            self.register_buffer("_u", normalize(randn(rows, **made), dim=0, eps=eps))
            self.register_buffer("_v", normalize(randn(math.prod(weight.shape) // rows, **made), dim=0, eps=eps))
            self._iterate(self._matrix(weight.detach()), 15)

    def _matrix(self, weight: Tensor) -> Tensor:
        return weight.movedim(self.dim, 0).flatten(1)

    def _iterate(self, matrix: Tensor, times: int) -> None:
        with no_grad():
            u, v = self._u, self._v
            for _ in range(times):
                u = normalize(matrix.mv(v), dim=0, eps=self.eps)
                v = normalize(matrix.T.mv(u), dim=0, eps=self.eps)
            self._u, self._v = u.detach().realize(), v.detach().realize()

    def forward(self, weight: Tensor) -> Tensor:
        if weight.ndim == 1:
            return normalize(weight, dim=0, eps=self.eps)
        matrix = self._matrix(weight)
        if self.training:
            self._iterate(matrix.detach(), self.n_power_iterations)
        return weight / self._u.dot(matrix.mv(self._v))

    def right_inverse(self, value: Tensor) -> Tensor:
        """The value itself, as PyTorch takes it."""
        return value


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """Divide a weight by its largest singular value (Miyato et al., arXiv:1802.05957).

    Power iterations estimate it, some more each time that the weight is read while training. `dim` counts the outputs:
    0, or 1 of transposed convolutions, unless given. The state has `parametrizations.NAME.original` and the vectors
    `parametrizations.NAME.0._u`, `_v`.
    """
    weight = getattr(module, name)
    where = (1 if isinstance(module, _Transposed) else 0) if dim is None else dim
    return register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, where, eps))
