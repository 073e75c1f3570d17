"""Rprop and ASGD: the sign of a gradient with steps of its own, and the average of all that was."""

from collections.abc import Callable, Iterable
from typing import Any, Unpack

from flame.errors import FlameError
from flame.ops.create import zeros_like
from flame.ops.elementwise import where
from flame.optim.base import Blank, Due, Group, Half, Optimizer, State, check, only_plain
from flame.tensor import Tensor

Number = Callable[[float], Tensor]


class Rprop(Optimizer):
    """Resilient backpropagation, as torch.optim.Rprop (Riedmiller and Braun, ICNN 1993).

    Each number has a step size: times etas[1] where its gradient kept its sign, times etas[0] where it changed, within
    `step_sizes`. p ← p − sign(g) · size, but where the sign changed, which counts as a gradient of 0.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        **half: Unpack[Half],
    ) -> None:
        check("Rprop", lr=lr)
        only_plain("Rprop", differentiable)
        if not 0 < etas[0] < 1 < etas[1]:
            raise FlameError(f"Rprop: etas are {etas}; the first lies between 0 and 1, the second is above 1")
        defaults = {"lr": lr, "etas": etas, "step_sizes": step_sizes, "foreach": foreach, "maximize": maximize}
        super().__init__(params, defaults | {"differentiable": differentiable, "capturable": capturable}, half)

    def initial(self, group: Group, param: Tensor) -> dict[str, Blank]:
        """No gradient before the first, and steps of the learning rate."""
        return {"prev": (param.shape, param.dtype, 0.0), "step_size": (param.shape, param.dtype, group["lr"])}

    def update(self, group: Group, state: State, param: Tensor, grad: Tensor, number: Number) -> dict[str, Tensor]:
        """See the class."""
        (slower, faster), (least, most) = map(number, group["etas"]), map(number, group["step_sizes"])
        agrees = grad * state["prev"]
        factor = where(agrees > 0, faster, where(agrees < 0, slower, number(1.0)))
        size = (state["step_size"] * factor).maximum(least).minimum(most)
        kept = where(agrees < 0, zeros_like(grad), grad)
        return {"param": param - kept.sign() * size, "prev": kept, "step_size": size}


class ASGD(Optimizer):
    """Averaged stochastic gradient descent, as torch.optim.ASGD (Polyak and Juditsky, SIAM J. Control Optim. 1992).

    p ← (1 − λη) p − η g with η = lr / (1 + λ · lr · t)^alpha; the state's `ax` averages p from step `t0` on.
    """

    names = ("ax",)
    numbers = ("eta", "mu")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
        **half: Unpack[Half],
    ) -> None:
        check("ASGD", lr=lr, weight_decay=weight_decay)
        only_plain("ASGD", differentiable)
        defaults = {"lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay}
        defaults |= {"foreach": foreach, "maximize": maximize, "differentiable": differentiable}
        super().__init__(params, defaults | {"capturable": capturable}, half)

    def _start(self, due: Due) -> None:
        for group, param in due:
            self.state[param].setdefault("eta", group["lr"])
        super()._start(due)

    def update(self, group: Group, state: State, param: Tensor, grad: Tensor, number: Number) -> dict[str, Tensor]:
        """See the class."""
        if group["weight_decay"]:
            grad = grad + number(group["weight_decay"]) * param
        new = number(1 - group["lambd"] * state["eta"]) * param - number(state["eta"]) * grad
        average = new if state["mu"] == 1 else state["ax"] + (new - state["ax"]) * number(state["mu"])
        return {"param": new, "ax": average}

    def count(self, group: Group, state: State) -> None:
        """The next step's rate and weight."""
        super().count(group, state)
        state["eta"] = group["lr"] / (1 + group["lambd"] * group["lr"] * state["step"]) ** group["alpha"]
        state["mu"] = 1 / max(1.0, state["step"] - group["t0"])
