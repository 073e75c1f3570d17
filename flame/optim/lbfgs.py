"""L-BFGS: steps by an approximate inverse Hessian, made of the last gradients' differences."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flame.errors import FlameError, StateError
from flame.nn.state import as_constant
from flame.ops.create import zeros
from flame.ops.join import cat
from flame.optim.base import Numbers, Optimizer, check
from flame.optim.line_search import Point, strong_wolfe
from flame.recording import enable_grad, no_grad
from flame.tensor import Tensor, assign, realize

LEAST_CURVATURE = 1e-10


class LBFGS(Optimizer):
    """L-BFGS, as torch.optim.LBFGS (Liu and Nocedal, Mathematical Programming 1989).

    `step(closure)` takes up to `max_iter` steps, and evaluates the loss up to `max_eval` times; `closure` clears the
    gradients, computes the loss, calls `backward()` and returns it. Memory: `history_size` pairs of all parameters.
    Each evaluation is one plan, each direction another. Raises FlameError for more than one group.

    >>> w = flame.tensor([3.0, -2.0], requires_grad=True)
    >>> optimizer = flame.optim.LBFGS([w], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (w - 1).square().sum()
    ...     loss.backward()
    ...     return loss
    >>> optimizer.step(closure).item(), w.detach().round(decimals=3).tolist()
    (13.0, [1.0, 1.0])
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        check("LBFGS", lr=lr)
        check("LBFGS", least=1, max_iter=max_iter, history_size=history_size)
        if line_search_fn not in (None, "strong_wolfe"):
            raise FlameError(f"LBFGS: line_search_fn is {line_search_fn!r}; choose 'strong_wolfe' or None")
        defaults = {"lr": lr, "max_iter": max_iter, "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval}
        defaults |= {"tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change}
        super().__init__(params, defaults | {"history_size": history_size, "line_search_fn": line_search_fn})
        if len(self.param_groups) != 1:
            raise FlameError(f"LBFGS: takes one group of parameters, not {len(self.param_groups)}; all step together")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Several steps; returns the loss before the first."""
        if closure is None:
            raise FlameError("LBFGS.step: needs a closure that clears gradients, computes the loss and its gradients")
        with no_grad():
            return self._steps(closure)

    def _steps(self, closure: Callable[[], Any]) -> Any:
        group, state = self.param_groups[0], self.state[self._params()[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        first, loss, gradient = self._evaluate(closure)
        evaluated, left = 1, group["max_iter"]
        flat = gradient.abs().max().item() <= group["tolerance_grad"]
        while left and not flat:
            left -= 1
            state["n_iter"] += 1
            slope, largest, total = self._turn(state, gradient, group["history_size"])
            length = min(1.0, 1.0 / total) * group["lr"] if state["n_iter"] == 1 else group["lr"]
            state.update(prev_flat_grad=gradient, prev_loss=loss, t=length)
            if slope > -group["tolerance_change"]:
                break
            here = Point(0.0, loss, gradient, slope)
            if group["line_search_fn"]:
                point, looks = self._search(closure, here, length, largest, group["max_eval"] - evaluated)
                loss, gradient, state["t"] = point.loss, point.gradient, point.length
                self._move(self._now(), point.length)
            else:
                self._move(self._now(), length)
                looks = 1 if left else 0  # behind the last step nothing is evaluated
                if looks:
                    _, loss, gradient = self._evaluate(closure)
            evaluated += looks
            state["func_evals"] += looks
            flat = gradient.abs().max().item() <= group["tolerance_grad"]
            still = largest * state["t"] <= group["tolerance_change"]
            if evaluated >= group["max_eval"] or still or abs(loss - here.loss) < group["tolerance_change"]:
                break
        state["func_evals"] += 1
        return first

    def _turn(self, state: dict[str, Any], gradient: Tensor, most: int) -> tuple[float, float, float]:
        """The next direction; its slope and largest number, and the sum of the gradient's sizes."""
        if state["n_iter"] == 1:
            state.update(d=-gradient, old_dirs=[], old_stps=[], ro=[], H_diag=1)
        else:
            moved, bent = state["d"] * self._number(state["t"]), gradient - state["prev_flat_grad"]
            curvature = bent.dot(moved)
            realize(moved, bent, curvature)
            if curvature.item() > LEAST_CURVATURE:
                kept = (("old_dirs", bent), ("old_stps", moved), ("ro", 1.0 / curvature))
                for name, value in kept:
                    state[name] = [*state[name], value][-most:]
                state["H_diag"] = curvature / bent.dot(bent)
            state["d"] = _two_loops(-gradient, state)
        slope, largest, total = gradient.dot(state["d"]), state["d"].abs().max(), gradient.abs().sum()
        realize(state["d"], slope, largest, total, *state["ro"])
        return slope.item(), largest.item(), total.item()

    def _search(self, closure: Callable[[], Any], here: Point, length: float, largest: float, most: int) -> Any:
        before, direction = self._now(), self.state[self._params()[0]]["d"]

        def look(length: float) -> Point:
            self._move(before, length)
            _, loss, gradient = self._evaluate(closure)
            slope = gradient.dot(direction).item()
            return Point(length, loss, gradient, slope)

        try:
            return strong_wolfe(look, here, length, largest, most)
        finally:
            assign(list(zip(self._params(), before, strict=True)))

    def _evaluate(self, closure: Callable[[], Any]) -> tuple[Any, float, Tensor]:
        """The loss, its value, and the gradients of all parameters as one vector."""
        with enable_grad():
            loss = closure()
        flat = [zeros(p.numel(), dtype=p.dtype, device=p.device) if p.grad is None else p.grad for p in self._params()]
        gradient = cat([part.detach().reshape(-1) for part in flat])
        realize(*([loss] if isinstance(loss, Tensor) else []), gradient)
        return loss, float(loss), gradient

    def _now(self) -> list[Tensor]:
        return [param.detach() for param in self._params()]

    def _move(self, before: list[Tensor], length: float) -> None:
        """Set the parameters a step of that length away from what they were."""
        direction, number, start = self.state[self._params()[0]]["d"], self._number(length), 0
        pairs: list[tuple[Tensor, Tensor]] = []
        for param, old in zip(self._params(), before, strict=True):
            part = direction[start : start + param.numel()].reshape(param.shape)
            pairs.append((param, old + number * part))
            start += param.numel()
        assign(pairs)

    def _number(self, value: float) -> Tensor:
        param = self._params()[0]
        return Numbers().of(param.dtype, param.device)(value)

    # --- state ---------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """PyTorch's: everything stands under the first parameter, the history as lists of vectors."""
        params = self._params()
        state = {0: dict(self.state[params[0]])} if params[0] in self.state else {}
        return {"state": state, "param_groups": [{**self.param_groups[0], "params": list(range(len(params)))}]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take a `state_dict`, of FLAME's LBFGS or of PyTorch's. Raises StateError where sizes differ."""
        params, (group,) = self._params(), state_dict["param_groups"]
        values = state_dict["state"].get(0, {})
        size, found = sum(p.numel() for p in params), values.get("d")
        if len(group["params"]) != len(params) or (found is not None and tuple(found.shape) != (size,)):
            raise StateError(
                f"LBFGS.load_state_dict: the state is of {len(group['params'])} parameters with "
                f"{0 if found is None else found.shape[0]} numbers, the optimizer's {len(params)} have {size}"
            )
        param = params[0]

        def mine(value: Any) -> Any:
            if isinstance(value, list):
                return [mine(one) for one in value if one is not None]
            return as_constant(value).to(param.device, param.dtype) if hasattr(value, "shape") else value

        self.state.clear()
        if values:
            self.state[param] = {name: mine(value) for name, value in values.items() if name != "al"}
            self.state[param]["t"] = float(self.state[param]["t"])
        self.param_groups[0].update({name: value for name, value in group.items() if name != "params"})


def _two_loops(q: Tensor, state: Mapping[str, Any]) -> Tensor:
    """The approximate inverse Hessian times a vector, by the pairs of the history."""
    history = list(zip(state["old_dirs"], state["old_stps"], state["ro"], strict=True))
    shares: list[Tensor] = []
    for bent, moved, inverse in reversed(history):
        shares.append(moved.dot(q) * inverse)
        q = q - shares[-1] * bent
    r = q * state["H_diag"]
    for (bent, moved, inverse), share in zip(history, reversed(shares), strict=True):
        r = r + moved * (share - bent.dot(r) * inverse)
    return r
