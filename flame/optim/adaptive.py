"""Rates from accumulated squares: Adagrad, RMSprop, Adadelta."""

from collections.abc import Callable, Iterable
from typing import Any, Unpack

from flame.optim.base import Blank, Group, Half, Optimizer, State, check, only_plain
from flame.optim.moments import decayed
from flame.tensor import Tensor

Number = Callable[[float], Tensor]


class Adagrad(Optimizer):
    """Adagrad, as torch.optim.Adagrad (Duchi, Hazan and Singer, JMLR 2011).

    s ← s + g²; p ← p − lr / (1 + (t − 1) · lr_decay) · g / (√s + eps); s begins at `initial_accumulator_value`.
    """

    names = ("sum",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        **half: Unpack[Half],
    ) -> None:
        check("Adagrad", lr=lr, lr_decay=lr_decay, weight_decay=weight_decay, eps=eps)
        check("Adagrad", initial_accumulator_value=initial_accumulator_value)
        only_plain("Adagrad", differentiable)
        defaults = {"lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay}
        defaults |= {"initial_accumulator_value": initial_accumulator_value, "foreach": foreach, "maximize": maximize}
        super().__init__(params, defaults | {"differentiable": differentiable, "fused": fused}, half)

    def initial(self, group: Group, param: Tensor) -> dict[str, Blank]:
        """A sum that begins at the group's value."""
        return {"sum": (param.shape, param.dtype, group["initial_accumulator_value"])}

    def update(self, group: Group, state: State, param: Tensor, grad: Tensor, number: Number) -> dict[str, Tensor]:
        """See the class."""
        param, grad = decayed(group, param, grad, number)
        total = state["sum"] + grad * grad
        rate = group["lr"] / (1 + state["step"] * group["lr_decay"])
        return {"param": param - number(rate) * (grad / (total.sqrt() + number(group["eps"]))), "sum": total}


class RMSprop(Optimizer):
    """RMSprop, as torch.optim.RMSprop (Hinton, lecture 6e of "Neural networks for machine learning", 2012).

    v ← α v + (1 − α) g²; centred: the variance v − (mean of g)² instead of v (Graves, arXiv:1308.0850);
    p ← p − lr · g / (√v + eps), or by a momentum buffer of that quotient.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        **half: Unpack[Half],
    ) -> None:
        check("RMSprop", lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum)
        only_plain("RMSprop", differentiable)
        defaults = {"lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered}
        defaults |= {"weight_decay": weight_decay, "capturable": capturable, "foreach": foreach}
        super().__init__(params, defaults | {"maximize": maximize, "differentiable": differentiable}, half)

    def state_names(self, group: Group) -> tuple[str, ...]:
        """One square, and what the options ask for."""
        extra = (("momentum_buffer", group["momentum"] > 0), ("grad_avg", group["centered"]))
        return ("square_avg", *(name for name, needed in extra if needed))

    def update(self, group: Group, state: State, param: Tensor, grad: Tensor, number: Number) -> dict[str, Tensor]:
        """See the class."""
        alpha = group["alpha"]
        param, grad = decayed(group, param, grad, number)
        square = number(alpha) * state["square_avg"] + number(1 - alpha) * (grad * grad)
        new = {"square_avg": square}
        if group["centered"]:
            mean = new["grad_avg"] = state["grad_avg"] + number(1 - alpha) * (grad - state["grad_avg"])
            square = square - mean * mean
        move = grad / (square.sqrt() + number(group["eps"]))
        if group["momentum"] > 0:
            move = new["momentum_buffer"] = number(group["momentum"]) * state["momentum_buffer"] + move
        return {"param": param - number(group["lr"]) * move, **new}


class Adadelta(Optimizer):
    """Adadelta, as torch.optim.Adadelta (Zeiler, arXiv:1212.5701).

    v ← ρ v + (1 − ρ) g²; Δ = √(u + eps) / √(v + eps) · g; u ← ρ u + (1 − ρ) Δ²; p ← p − lr · Δ.
    """

    names = ("square_avg", "acc_delta")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
        **half: Unpack[Half],
    ) -> None:
        check("Adadelta", lr=lr, eps=eps, weight_decay=weight_decay)
        check("Adadelta", below=1.0 + 1e-12, rho=rho)
        only_plain("Adadelta", differentiable)
        defaults = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        defaults |= {"capturable": capturable, "foreach": foreach, "differentiable": differentiable}
        super().__init__(params, defaults, half)

    def update(self, group: Group, state: State, param: Tensor, grad: Tensor, number: Number) -> dict[str, Tensor]:
        """See the class."""
        rho, eps = number(group["rho"]), number(group["eps"])
        rest = number(1 - group["rho"])
        param, grad = decayed(group, param, grad, number)
        square = rho * state["square_avg"] + rest * (grad * grad)
        delta = (state["acc_delta"] + eps).sqrt() / (square + eps).sqrt() * grad
        moved = rho * state["acc_delta"] + rest * (delta * delta)
        return {"param": param - number(group["lr"]) * delta, "square_avg": square, "acc_delta": moved}
