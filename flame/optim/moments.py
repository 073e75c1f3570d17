"""Relatives of Adam: Adamax, NAdam, RAdam."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Unpack

from flame.optim.base import Group, Half, Optimizer, State, check, check_betas, only_plain
from flame.tensor import Tensor

Number = Callable[[float], Tensor]


def averages(group: Group, state: State, grad: Tensor, number: Number) -> tuple[Tensor, Tensor]:
    """The running means of the gradient and of its square."""
    beta1, beta2 = group["betas"]
    mean = state["exp_avg"] + number(1 - beta1) * (grad - state["exp_avg"])
    return mean, number(beta2) * state["exp_avg_sq"] + number(1 - beta2) * (grad * grad)


def decayed(group: Group, param: Tensor, grad: Tensor, number: Number) -> tuple[Tensor, Tensor]:
    """Parameter and gradient after weight decay: of the parameter where it is decoupled, else in the gradient."""
    decay = group["weight_decay"]
    if not decay:
        return param, grad
    if group.get("decoupled_weight_decay"):
        return param * number(1 - group["lr"] * decay), grad
    return param, grad + number(decay) * param


class Adamax(Optimizer):
    """Adam with the infinity norm, as torch.optim.Adamax (Kingma and Ba, arXiv:1412.6980, section 7.1).

    m ← β₁ m + (1 − β₁) g; u ← max(β₂ u, |g| + eps); p ← p − lr / (1 − β₁ᵗ) · m / u.
    """

    names = ("exp_avg", "exp_inf")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
        **half: Unpack[Half],
    ) -> None:
        check("Adamax", lr=lr, eps=eps, weight_decay=weight_decay)
        check_betas("Adamax", betas)
        only_plain("Adamax", differentiable)
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "foreach": foreach}
        defaults |= {"maximize": maximize, "differentiable": differentiable, "capturable": capturable}
        super().__init__(params, defaults, half)

    def update(self, group: Group, state: State, param: Tensor, grad: Tensor, number: Number) -> dict[str, Tensor]:
        """See the class."""
        beta1, beta2 = group["betas"]
        param, grad = decayed(group, param, grad, number)
        mean = state["exp_avg"] + number(1 - beta1) * (grad - state["exp_avg"])
        largest = (number(beta2) * state["exp_inf"]).maximum(grad.abs() + number(group["eps"]))
        rate = group["lr"] / (1 - beta1 ** (state["step"] + 1))
        return {"param": param - number(rate) * (mean / largest), "exp_avg": mean, "exp_inf": largest}


class NAdam(Optimizer):
    """Adam with Nesterov's momentum, as torch.optim.NAdam (Dozat, ICLR workshop 2016).

    μₜ = β₁ (1 − 0.96^(t · momentum_decay) / 2); the step mixes the gradient by (1 − μₜ) / (1 − Πμ) and the mean by
    μₜ₊₁ / (1 − Πμ · μₜ₊₁), both over √(v / (1 − β₂ᵗ)) + eps.
    """

    names = ("exp_avg", "exp_avg_sq")
    numbers = ("mu_product",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        **half: Unpack[Half],
    ) -> None:
        check("NAdam", lr=lr, eps=eps, weight_decay=weight_decay, momentum_decay=momentum_decay)
        check_betas("NAdam", betas)
        only_plain("NAdam", differentiable)
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        defaults |= {"momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay}
        defaults |= {"maximize": maximize, "foreach": foreach, "capturable": capturable}
        super().__init__(params, defaults | {"differentiable": differentiable}, half)

    @staticmethod
    def mu(group: Group, step: int) -> float:
        """The momentum of a step."""
        return group["betas"][0] * (1 - 0.5 * 0.96 ** (step * group["momentum_decay"]))

    def count(self, group: Group, state: State) -> None:
        """The product of all momenta grows with each step."""
        super().count(group, state)
        state["mu_product"] *= self.mu(group, state["step"])

    def update(self, group: Group, state: State, param: Tensor, grad: Tensor, number: Number) -> dict[str, Tensor]:
        """See the class."""
        step = state["step"] + 1
        now, then = self.mu(group, step), self.mu(group, step + 1)
        product = state["mu_product"] * now
        param, grad = decayed(group, param, grad, number)
        mean, square = averages(group, state, grad, number)
        spread = square.sqrt() * number(1 / math.sqrt(1 - group["betas"][1] ** step)) + number(group["eps"])
        by_grad = number(group["lr"] * (1 - now) / (1 - product)) * grad
        by_mean = number(group["lr"] * then / (1 - product * then)) * mean
        return {"param": param - (by_grad + by_mean) / spread, "exp_avg": mean, "exp_avg_sq": square}


class RAdam(Optimizer):
    """Adam whose variance is rectified, as torch.optim.RAdam (Liu et al., arXiv:1908.03265).

    While the variance of the adaptive rate is unbounded (ρₜ ≤ 5, the first steps) the plain mean is followed.
    """

    names = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        **half: Unpack[Half],
    ) -> None:
        check("RAdam", lr=lr, eps=eps, weight_decay=weight_decay)
        check_betas("RAdam", betas)
        only_plain("RAdam", differentiable)
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        defaults |= {"foreach": foreach, "capturable": capturable, "decoupled_weight_decay": decoupled_weight_decay}
        super().__init__(params, defaults | {"differentiable": differentiable}, half)

    def update(self, group: Group, state: State, param: Tensor, grad: Tensor, number: Number) -> dict[str, Tensor]:
        """See the class."""
        (beta1, beta2), step = group["betas"], state["step"] + 1
        param, grad = decayed(group, param, grad, number)
        mean, square = averages(group, state, grad, number)
        rate, left = group["lr"] / (1 - beta1**step), 1 - beta2**step
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * step * beta2**step / left
        move = number(rate) * mean
        if length > 5:
            fraction = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            move = number(rate * math.sqrt(fraction * left)) * mean / (square.sqrt() + number(group["eps"]))
        return {"param": param - move, "exp_avg": mean, "exp_avg_sq": square}
