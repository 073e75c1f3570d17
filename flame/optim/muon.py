"""Muon: momentum whose matrix is made orthogonal before it is applied."""

import math
from collections.abc import Callable, Iterable
from typing import Any

from flame.errors import FlameError, ShapeError
from flame.optim.base import Group, Optimizer, State, check
from flame.tensor import Tensor

Number = Callable[[float], Tensor]
RATES: dict[str | None, Callable[[int, int], float]] = {
    None: lambda rows, columns: math.sqrt(max(1, rows / columns)),
    "original": lambda rows, columns: math.sqrt(max(1, rows / columns)),
    "match_rms_adamw": lambda rows, columns: 0.2 * math.sqrt(max(rows, columns)),
}


class Muon(Optimizer):
    """Muon, as torch.optim.Muon (Jordan et al., 2024), for the matrices of hidden layers.

    m ← m + (1 − momentum) (g − m); u = g + momentum (m − g) if nesterov else m; p ← (1 − lr · weight_decay) p − r · O,
    where O is u with its singular values near 1, by `ns_steps` Newton-Schulz steps in bfloat16, and r is lr times
    √max(1, rows / columns), or with adjust_lr_fn="match_rms_adamw" 0.2 √max(rows, columns) (Liu et al.,
    arXiv:2502.16982). Raises ShapeError for a parameter that is no matrix: train those with AdamW beside it.
    """

    names = ("momentum_buffer",)
    counted = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        check("Muon", lr=lr, weight_decay=weight_decay, momentum=momentum, eps=eps)
        check("Muon", below=100, ns_steps=ns_steps)
        if adjust_lr_fn not in RATES:
            raise FlameError(f"Muon: adjust_lr_fn is {adjust_lr_fn!r}; choose 'original', 'match_rms_adamw' or None")
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov}
        defaults |= {"ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps}
        super().__init__(params, defaults | {"adjust_lr_fn": adjust_lr_fn})

    def add_param_group(self, param_group: Group) -> None:
        """Train more matrices."""
        super().add_param_group(param_group)
        for param in self.param_groups[-1]["params"]:
            if param.ndim != 2:
                self.param_groups.pop()
                raise ShapeError(f"Muon: a parameter has shape {tuple(param.shape)}; it trains matrices, not others")

    def update(self, group: Group, state: State, param: Tensor, grad: Tensor, number: Number) -> dict[str, Tensor]:
        """See the class."""
        momentum = number(group["momentum"])
        mean = state["momentum_buffer"] + number(1 - group["momentum"]) * (grad - state["momentum_buffer"])
        step = grad + momentum * (mean - grad) if group["nesterov"] else mean
        turned = orthogonal(step, group["ns_coefficients"], group["ns_steps"], group["eps"]).to(param.dtype)
        rate = group["lr"] * RATES[group["adjust_lr_fn"]](*param.shape)
        kept = number(1 - group["lr"] * group["weight_decay"]) * param
        return {"param": kept - number(rate) * turned, "momentum_buffer": mean}


def orthogonal(matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """The matrix in bfloat16 with its singular values near 1: x ← a x + (b A + c A²) x with A = x xᵀ, so many times."""
    a, b, c = coefficients
    x = matrix.bfloat16()
    tall = matrix.shape[0] > matrix.shape[1]
    x = x.t() if tall else x
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        square = x @ x.t()
        x = a * x + (b * square + c * (square @ square)) @ x
    return x.t() if tall else x
