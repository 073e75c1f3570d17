"""For large models and large batches: Lion, Adafactor, LAMB."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Unpack

from flame.ops.elementwise import where
from flame.optim.base import Blank, Group, Half, Optimizer, State, check, check_betas
from flame.optim.moments import averages
from flame.tensor import Tensor

Number = Callable[[float], Tensor]


class Lion(Optimizer):
    """Lion: the sign of a momentum (Chen et al., arXiv:2302.06675). PyTorch has none.

    u = sign(β₁ m + (1 − β₁) g); m ← β₂ m + (1 − β₂) g; p ← (1 − lr · weight_decay) p − lr · u.
    """

    names = ("exp_avg",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        **half: Unpack[Half],
    ) -> None:
        check("Lion", lr=lr, weight_decay=weight_decay)
        check_betas("Lion", betas)
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize}, half)

    def update(self, group: Group, state: State, param: Tensor, grad: Tensor, number: Number) -> dict[str, Tensor]:
        """See the class."""
        (beta1, beta2), mean = group["betas"], state["exp_avg"]
        move = (number(beta1) * mean + number(1 - beta1) * grad).sign()
        kept = param * number(1 - group["lr"] * group["weight_decay"]) if group["weight_decay"] else param
        return {
            "param": kept - number(group["lr"]) * move,
            "exp_avg": number(beta2) * mean + number(1 - beta2) * grad,
        }


class Adafactor(Optimizer):
    """Adafactor, as torch.optim.Adafactor (Shazeer and Stern, arXiv:1804.04235): the second moment of a matrix is kept
    as the means of its rows and columns.

    With ω = t^beta2_decay each mean moves by ω towards the new squares; the step is clipped to a root mean square of
    `d`, and scaled by max(eps[1], rms(p)) · min(lr, 1/√t).
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        **half: Unpack[Half],
    ) -> None:
        check("Adafactor", lr=lr, weight_decay=weight_decay)
        check("Adafactor", **{"-beta2_decay": -beta2_decay, "eps[0]": eps[0] or 0.0, "eps[1]": eps[1], "d - 1": d - 1})
        defaults = {"lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d, "weight_decay": weight_decay}
        super().__init__(params, defaults | {"foreach": foreach, "maximize": maximize}, half)

    def initial(self, group: Group, param: Tensor) -> dict[str, Blank]:
        """Means of rows and columns over the last two dimensions; the whole variance of a vector."""
        shape = param.shape
        if len(shape) < 2:
            return {"variance": (shape, param.dtype, 0.0)}
        rows, columns = (*shape[:-1], 1), (*shape[:-2], 1, shape[-1])
        return {"row_var": (rows, param.dtype, 0.0), "col_var": (columns, param.dtype, 0.0)}

    def update(self, group: Group, state: State, param: Tensor, grad: Tensor, number: Number) -> dict[str, Tensor]:
        """See the class."""
        step = state["step"] + 1
        least = group["eps"][0] if group["eps"][0] is not None else param.dtype.epsilon
        size = math.sqrt(param.numel())
        rate = _norm(param) * (1 / size)
        rate = rate.maximum(number(group["eps"][1])) * number(min(group["lr"], 1 / math.sqrt(step)))
        if group["weight_decay"]:
            param = param * number(1 - group["lr"] * group["weight_decay"])
        new = self._moments(state, grad, number(step ** group["beta2_decay"]))
        if "variance" in new:
            estimate = new["variance"]
        else:
            mean = new["row_var"].mean(-2, keepdim=True).maximum(number(least))
            estimate = new["row_var"] * new["col_var"] / mean
        move = estimate.maximum(number(least * least)).rsqrt() * grad
        limit = (_norm(move) * number(1 / (size * group["d"]))).maximum(number(1.0))
        return {"param": param - rate / limit * move, **new}

    @staticmethod
    def _moments(state: State, grad: Tensor, weight: Tensor) -> dict[str, Tensor]:
        """The squares moved towards the new gradient's by a weight."""
        square = grad * grad
        if grad.ndim < 2:
            return {"variance": state["variance"] + weight * (square - state["variance"])}
        row, column = square.mean(-1, keepdim=True), square.mean(-2, keepdim=True)
        return {
            "row_var": state["row_var"] + weight * (row - state["row_var"]),
            "col_var": state["col_var"] + weight * (column - state["col_var"]),
        }


class LAMB(Optimizer):
    """LAMB: Adam's step, scaled to each parameter's own size (You et al., arXiv:1904.00962). PyTorch has none.

    u = m̂ / (√v̂ + eps) + weight_decay · p; p ← p − lr · (‖p‖ / ‖u‖) · u, the ratio 1 where a norm is 0.
    """

    names = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 1e-2,
        *,
        maximize: bool = False,
        **half: Unpack[Half],
    ) -> None:
        check("LAMB", lr=lr, eps=eps, weight_decay=weight_decay)
        check_betas("LAMB", betas)
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, defaults, half)

    def update(self, group: Group, state: State, param: Tensor, grad: Tensor, number: Number) -> dict[str, Tensor]:
        """See the class."""
        (beta1, beta2), step = group["betas"], state["step"] + 1
        mean, square = averages(group, state, grad, number)
        spread = square.sqrt() * number(1 / math.sqrt(1 - beta2**step)) + number(group["eps"])
        move = number(1 / (1 - beta1**step)) * mean / spread
        if group["weight_decay"]:
            move = move + number(group["weight_decay"]) * param
        own, its = _norm(param), _norm(move)
        known = (own > 0) & (its > 0)
        trust = where(known, own / where(known, its, 1.0), 1.0)
        return {"param": param - number(group["lr"]) * trust * move, "exp_avg": mean, "exp_avg_sq": square}


def _norm(x: Tensor) -> Tensor:
    return (x * x).sum().sqrt()
