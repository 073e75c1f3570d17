"""Optimizers with torch.optim's names, arguments, defaults, numbers and state_dict layout.

`step()` builds the new parameters and the new state lazily from `.grad`, whatever the user made of it, and realizes all
in one plan, so gradients, their edits and the update fuse. What changes from step to step (learning rate, bias
corrections) reaches the kernels as numbers, so nothing compiles twice.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from flame.errors import FlameError, ShapeError, StateError
from flame.ir.dtype import DType, float32
from flame.nn.module import as_constant
from flame.ops.create import tensor, zeros_like
from flame.recording import no_grad
from flame.tensor import Tensor, assign, from_array, realize, scalar

Group = dict[str, Any]
State = dict[str, Any]


class Optimizer:
    """Base class: parameter groups, state, and a step that is one plan.

    `params` is an iterable of tensors, or of dicts {"params": tensors, option: value, …} that override the defaults.
    Subclasses define `names` (the state's tensors) and `update`.
    """

    names: tuple[str, ...] = ()
    counted = True  # whether state_dict tells how many steps each parameter has seen

    def __init__(self, params: Iterable[Any], defaults: Mapping[str, Any]) -> None:
        self.defaults = dict(defaults)
        self.param_groups: list[Group] = []
        self.state: defaultdict[Tensor, State] = defaultdict(dict)
        given: list[Any] = [params] if isinstance(params, (Tensor, dict)) else list(params)
        if not given or isinstance(params, Tensor):
            raise FlameError(f"{type(self).__name__}: give a list of parameters, such as model.parameters()")
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)
        realize(*self._params())  # starting values that are still pending: all in one plan

    def add_param_group(self, param_group: Group) -> None:
        """Train more parameters, with options of their own. Raises FlameError for one that is already trained."""
        params = param_group["params"]
        group = {**param_group, "params": [params] if isinstance(params, Tensor) else list(params)}
        known = {id(param) for other in self.param_groups for param in other["params"]}
        for param in group["params"]:
            if not isinstance(param, Tensor):
                raise FlameError(f"{type(self).__name__}: can train tensors only, not a {type(param).__name__}")
            if id(param) in known:
                raise FlameError(f"{type(self).__name__}: a parameter of shape {tuple(param.shape)} is given twice")
            known.add(id(param))
        self.param_groups.append({**self.defaults, **group})

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, or make them zero."""
        for param in self._params():
            if param.grad is not None:
                param.grad = None if set_to_none else zeros_like(param)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient. `closure` computes the loss again and is called first.

        Raises ShapeError where a gradient has another shape than its parameter; nothing was changed then.
        """
        loss = closure() if closure is not None else None
        with no_grad():
            due = [(group, param) for group in self.param_groups for param in group["params"] if param.grad is not None]
            for _, param in due:
                if tuple(param.grad.shape) != tuple(param.shape):
                    raise ShapeError(
                        f"{type(self).__name__}.step: a gradient of shape {tuple(param.grad.shape)} for a parameter of "
                        f"shape {tuple(param.shape)}; p.grad must keep its parameter's shape"
                    )
            self._start(due)
            numbers = Numbers()
            assign([pair for group, param in due for pair in self._pairs(group, param, numbers)])
            for _, param in due:
                self.state[param]["step"] += 1
        return loss

    def _pairs(self, group: Group, param: Tensor, numbers: "Numbers") -> list[tuple[Tensor, Tensor]]:
        """What becomes of one parameter and its state, in the dtypes they have; half precisions are computed wider."""
        wide = float32 if param.dtype.size < 4 else param.dtype
        old = {name: value for name, value in self.state[param].items() if isinstance(value, Tensor)}
        state = {"step": self.state[param]["step"], **{name: value.to(wide) for name, value in old.items()}}
        grad = param.grad.detach().to(wide)  # pyright: ignore[reportOptionalMemberAccess]
        grad = -grad if group["maximize"] else grad
        new = self.update(group, state, param.detach().to(wide), grad, numbers.of(wide, param.device))
        return [({"param": param, **old}[name], value.to(param.dtype)) for name, value in new.items()]

    def update(
        self, group: Group, state: State, param: Tensor, grad: Tensor, number: Callable[[float], Tensor]
    ) -> dict[str, Tensor]:
        """The new values of "param" and of each of the state's tensors; `number` makes kernel arguments of floats."""
        raise NotImplementedError

    def _state_names(self, group: Group) -> tuple[str, ...]:
        """The state's tensors that this group needs."""
        return self.names

    def _start(self, due: list[tuple[Group, Tensor]]) -> None:
        """Give parameters that are trained for the first time a state of zeros."""
        for group, param in due:
            state = self.state[param]
            state.setdefault("step", 0)
            for name in self._state_names(group):
                if name not in state:
                    state[name] = from_array(np.zeros(param.shape, param.dtype.numpy), param.device)

    def _params(self) -> list[Tensor]:
        return [param for group in self.param_groups for param in group["params"]]

    def state_dict(self) -> dict[str, Any]:
        """PyTorch's: {"state": {number: {name: value}}, "param_groups": [{option: value, "params": [number, …]}]}."""
        numbers = {id(param): number for number, param in enumerate(self._params())}
        state = {
            numbers[id(param)]: {
                name: value.detach() if isinstance(value, Tensor) else tensor(float(value))
                for name, value in values.items()
                if name != "step" or self.counted
            }
            for param, values in self.state.items()
        }
        groups = [{**group, "params": [numbers[id(param)] for param in group["params"]]} for group in self.param_groups]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take state and options of a `state_dict`, of FLAME's optimizer or of PyTorch's.

        Raises StateError, and changes nothing, where groups or shapes differ from this optimizer's.
        """
        groups, own = state_dict["param_groups"], self.param_groups
        sizes, wanted = [len(g["params"]) for g in groups], [len(g["params"]) for g in own]
        if sizes != wanted:
            raise StateError(
                f"{type(self).__name__}.load_state_dict: the state has groups of {sizes} parameters, "
                f"the optimizer of {wanted}"
            )
        numbers = [number for group in groups for number in group["params"]]
        params = dict(zip(numbers, self._params()))
        state: defaultdict[Tensor, State] = defaultdict(dict)
        for number, values in state_dict["state"].items():
            state[params[number]] = _loaded(type(self).__name__, params[number], values)
        self.state = state
        for group, other in zip(own, groups):
            group.update({name: value for name, value in other.items() if name != "params"})

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return "\n".join([*lines, ")"])


class Numbers:
    """Floats as arguments of kernels; the same float is the same argument."""

    def __init__(self) -> None:
        self.made: dict[tuple[Any, ...], Tensor] = {}

    def of(self, dtype: DType, device: Any) -> Callable[[float], Tensor]:
        """A maker of numbers for parameters of one dtype on one device."""

        def number(value: float) -> Tensor:
            key = (float(value), dtype, device)
            if key not in self.made:
                self.made[key] = scalar(float(value), dtype, device)
            return self.made[key]

        return number


def _loaded(name: str, param: Tensor, values: Mapping[str, Any]) -> State:
    """The state of one parameter, from FLAME's or PyTorch's; raises StateError where a shape differs."""
    state: State = {"step": int(values.get("step", 1))}
    for key, value in values.items():
        if value is None or key == "step":
            continue
        if tuple(value.shape) != tuple(param.shape):
            raise StateError(
                f"{name}.load_state_dict: {key} has shape {tuple(value.shape)}, its parameter {tuple(param.shape)}"
            )
        state[key] = as_constant(value).to(param.dtype)
    return state


def _check(name: str, least: float = 0.0, below: float = math.inf, **options: Any) -> None:
    """Raise FlameError for an option outside [least, below)."""
    for option, value in options.items():
        if not least <= value < below:
            limit = f" and below {below}" if below < math.inf else ""
            raise FlameError(f"{name}: {option} is {value}, but must be at least {least}{limit}")


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
    ) -> None:
        _check("SGD", lr=lr, momentum=momentum, weight_decay=weight_decay)
        _only_plain("SGD", differentiable)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise FlameError(f"SGD: nesterov needs momentum > 0 and dampening 0, not {momentum} and {dampening}")
        defaults = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        defaults |= {"nesterov": nesterov, "maximize": maximize, "foreach": foreach}
        super().__init__(params, defaults | {"differentiable": differentiable, "fused": fused})

    def _state_names(self, group: Group) -> tuple[str, ...]:
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
    ) -> None:
        name = type(self).__name__
        _check(name, lr=lr, eps=eps, weight_decay=weight_decay)
        _check(name, below=1.0, **{"betas[0]": betas[0], "betas[1]": betas[1]})
        _only_plain(name, differentiable)
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        defaults |= {"maximize": maximize, "foreach": foreach, "capturable": capturable}
        defaults |= {"differentiable": differentiable, "fused": fused}
        super().__init__(params, defaults | {"decoupled_weight_decay": decoupled_weight_decay})

    def _state_names(self, group: Group) -> tuple[str, ...]:
        return (*self.names, "max_exp_avg_sq") if group["amsgrad"] else self.names

    def update(
        self, group: Group, state: State, param: Tensor, grad: Tensor, number: Callable[[float], Tensor]
    ) -> dict[str, Tensor]:
        """See the class."""
        (beta1, beta2), lr, decay, step = group["betas"], group["lr"], group["weight_decay"], state["step"] + 1
        if decay and group["decoupled_weight_decay"]:
            param = param * number(1 - lr * decay)
        elif decay:
            grad = grad + number(decay) * param
        mean = state["exp_avg"] + number(1 - beta1) * (grad - state["exp_avg"])
        square = number(beta2) * state["exp_avg_sq"] + number(1 - beta2) * (grad * grad)
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
        )


def _only_plain(name: str, differentiable: bool) -> None:
    """Raise FlameError for a step that should itself be differentiated."""
    if differentiable:
        raise FlameError(
            f"{name}: differentiable=True is not supported; to differentiate through updates, write them with "
            "flame.grad(…, create_graph=True) and ordinary tensors"
        )
