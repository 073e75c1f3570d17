"""Stochastic gradient descent."""

from collections.abc import Callable, Iterable
from typing import Any, Unpack

from flame.errors import FlameError
from flame.optim.base import Group, Half, Optimizer, State, check, only_plain
from flame.tensor import Tensor


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as torch.optim.SGD.

    g ← grad + weight_decay · p; m ← momentum · m + (1 − dampening) · g (first step: m ← g);
    p ← p − lr · (g + momentum · m if nesterov else m). With `maximize` the gradient changes its sign first.
    (Sutskever et al., ICML 2013.) `foreach`, `differentiable` and `fused` are PyTorch's; here every step is one plan.

    >>> w = flame.tensor([1.0], requires_grad=True)
    >>> optimizer = flame.optim.SGD([w], lr=0.25)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.detach().numpy().tolist()
    [0.5]
    """

    names = ("momentum_buffer",)
    counted = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
        **half: Unpack[Half],
    ) -> None:
        check("SGD", lr=lr, momentum=momentum, weight_decay=weight_decay)
        only_plain("SGD", differentiable)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise FlameError(f"SGD: nesterov needs momentum > 0 and dampening 0, not {momentum} and {dampening}")
        defaults = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        defaults |= {"nesterov": nesterov, "maximize": maximize, "foreach": foreach}
        super().__init__(params, defaults | {"differentiable": differentiable, "fused": fused}, half)

    def state_names(self, group: Group) -> tuple[str, ...]:
        return self.names if group["momentum"] else ()

    def update(
        self, group: Group, state: State, param: Tensor, grad: Tensor, number: Callable[[float], Tensor]
    ) -> dict[str, Tensor]:
        """See the class."""
        new: dict[str, Tensor] = {}
        if group["weight_decay"]:
            grad = grad + number(group["weight_decay"]) * param
        if group["momentum"]:
            # The first step takes the gradient whole; with 0 and 1 as numbers it needs no kernel of its own.
            keep, take = (group["momentum"], 1 - group["dampening"]) if state["step"] else (0.0, 1.0)
            buffer = number(keep) * state["momentum_buffer"] + number(take) * grad
            grad = grad + number(group["momentum"]) * buffer if group["nesterov"] else buffer
            new["momentum_buffer"] = buffer
        return {"param": param - number(group["lr"]) * grad, **new}
