"""Adam and AdamW."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Unpack

from flame.optim.base import Group, Half, Optimizer, State, check, check_betas, only_plain
from flame.optim.moments import averages, decayed
from flame.tensor import Tensor


class Adam(Optimizer):
    """Adam, as torch.optim.Adam (Kingma and Ba, arXiv:1412.6980), at step t = 1, 2, …

    g ← grad + weight_decay · p; m ← β₁ m + (1 − β₁) g; v ← β₂ v + (1 − β₂) g²;
    p ← p − lr / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + eps). With `amsgrad` the largest v so far replaces v
    (Reddi et al., arXiv:1904.09237); with `decoupled_weight_decay` it is AdamW. `foreach`, `capturable`,
    `differentiable` and `fused` are PyTorch's; here every step is one plan.

    >>> w = flame.tensor([1.0], requires_grad=True)
    >>> optimizer = flame.optim.Adam([w], lr=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> round(w.item(), 4)
    0.5
    """

    names = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        **half: Unpack[Half],
    ) -> None:
        name = type(self).__name__
        check(name, lr=lr, eps=eps, weight_decay=weight_decay)
        check_betas(name, betas)
        only_plain(name, differentiable)
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        defaults |= {"maximize": maximize, "foreach": foreach, "capturable": capturable}
        defaults |= {"differentiable": differentiable, "fused": fused}
        super().__init__(params, defaults | {"decoupled_weight_decay": decoupled_weight_decay}, half)

    def state_names(self, group: Group) -> tuple[str, ...]:
        return (*self.names, "max_exp_avg_sq") if group["amsgrad"] else self.names

    def update(
        self, group: Group, state: State, param: Tensor, grad: Tensor, number: Callable[[float], Tensor]
    ) -> dict[str, Tensor]:
        """See the class."""
        (beta1, beta2), lr, step = group["betas"], group["lr"], state["step"] + 1
        param, grad = decayed(group, param, grad, number)
        mean, square = averages(group, state, grad, number)
        new = {"exp_avg": mean, "exp_avg_sq": square}
        if group["amsgrad"]:
            square = new["max_exp_avg_sq"] = square.maximum(state["max_exp_avg_sq"])
        # Corrections as factors: a division by a number that kernels do not know is dear.
        spread = square.sqrt() * number(1 / math.sqrt(1 - beta2**step)) + number(group["eps"])
        return {"param": param - number(lr / (1 - beta1**step)) * (mean / spread), **new}


class AdamW(Adam):
    """Adam with decoupled weight decay, as torch.optim.AdamW (Loshchilov and Hutter, arXiv:1711.05101).

    p ← p − lr · weight_decay · p, then Adam's step without decay in the gradient.

    >>> net = flame.nn.Linear(2, 1)
    >>> optimizer = flame.optim.AdamW(net.parameters(), lr=1e-2)
    >>> net(flame.ones(3, 2)).sum().backward()
    >>> optimizer.step()
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        **half: Unpack[Half],
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
            **half,
        )
