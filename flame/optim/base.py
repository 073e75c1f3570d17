"""What all optimizers share: groups, state, and a step that is one plan.

`step()` builds the new parameters and the new state lazily from `.grad`, whatever the user made of it, and realizes all
in one plan, so gradients, their edits and the update fuse. What changes from step to step (learning rate, bias
corrections) reaches the kernels as numbers, so nothing compiles twice.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict

import numpy as np

from flame.config import config
from flame.errors import FlameError, ShapeError, StateError
from flame.ir.dtype import DType, float32, float64
from flame.nn.state import as_constant
from flame.ops.create import tensor, zeros_like
from flame.ops.rounding import stochastic_round
from flame.optim.hooks import Hooked
from flame.optim.recipe import Recipe, perform, recipe
from flame.recording import no_grad
from flame.tensor import Tensor, assign, from_array, realize, scalar, stand_in

Group = dict[str, Any]
State = dict[str, Any]
Due = list[tuple[Group, Tensor]]  # parameters that a step updates
Blank = tuple[tuple[int, ...], DType, float]  # of a tensor of state that is made: shape, dtype, its one value


class Half(TypedDict, total=False):
    """What every optimizer takes for parameters of half precision; PyTorch has neither.

    With `stochastic_rounding`, new parameters and states become one of their two neighbours by chance, such that the
    mean is right (flame.amp.stochastic_round): no update is too small to count. With `master_weights`, the state keeps
    a float32 copy of each parameter, which is trained, and the parameter is its rounding.
    """

    stochastic_rounding: bool
    master_weights: bool


class Optimizer(Hooked):
    """Base class: parameter groups, state, and a step that is one plan.

    `params` is an iterable of tensors, or of dicts {"params": tensors, option: value, …} that override the defaults.
    Subclasses define `names` (the state's tensors) and `update`.
    """

    names: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()  # state that is one float for each parameter, kept on the host; it begins with 1
    counted = True  # whether state_dict tells how many steps each parameter has seen

    def __init__(self, params: Iterable[Any], defaults: Mapping[str, Any], half: Half | None = None) -> None:
        self.defaults = {**defaults, **(half or {})}
        for name in self.defaults.keys() - defaults.keys() - Half.__annotations__.keys():
            raise TypeError(f"{type(self).__name__}() got an unexpected keyword argument {name!r}")
        self.param_groups: list[Group] = []
        self.state: defaultdict[Tensor, State] = defaultdict(dict)
        self.offload: Any = None  # the Offload that keeps the state on the host between steps
        given: list[Any] = [params] if isinstance(params, (Tensor, dict)) else list(params)
        if not given or isinstance(params, Tensor):
            raise FlameError(f"{type(self).__name__}: give a list of parameters, such as model.parameters()")
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)
        realize(*self._params())  # starting values that are still pending: all in one plan

    def add_param_group(self, param_group: Group) -> None:
        """Train more parameters, with options of their own. Raises FlameError for one that is already trained.

        Given as (name, parameter), as of `named_parameters()`, the group keeps the names as `param_names`.
        """
        params = param_group["params"]
        given = [params] if isinstance(params, Tensor) else list(params)
        group = {**param_group, "params": [one[1] if isinstance(one, tuple) else one for one in given]}
        if names := [one[0] for one in given if isinstance(one, tuple)]:
            group["param_names"] = names
        if len(names) not in (0, len(given)) or any(
            bool(names) != ("param_names" in g) for g in self.param_groups if g["params"] and given
        ):
            raise FlameError(f"{type(self).__name__}: name all parameters, or none")
        known = {id(param) for other in self.param_groups for param in other["params"]}
        for param in group["params"]:
            if not isinstance(param, Tensor):
                raise FlameError(f"{type(self).__name__}: can train tensors only, not a {type(param).__name__}")
            if id(param) in known:
                raise FlameError(f"{type(self).__name__}: a parameter of shape {tuple(param.shape)} is given twice")
            known.add(id(param))
        merged = {**self.defaults, **group}
        if merged.get("stochastic_rounding") and merged.get("master_weights"):
            raise FlameError(
                f"{type(self).__name__}: stochastic_rounding and master_weights both keep small updates; choose one"
            )
        self.param_groups.append(merged)

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
            due = self._due()
            for _, param in due:
                if param.grad is not None and param.grad.shape != param.shape:
                    raise ShapeError(
                        f"{type(self).__name__}.step: a gradient of shape {tuple(param.grad.shape)} for a parameter of "
                        f"shape {tuple(param.shape)}; p.grad must keep its parameter's shape"
                    )
            (self._update if self.offload is None else self.offload.update)(due)
        return loss

    def _update(self, due: Due) -> None:
        """New parameters and state, in one plan."""
        self._start(due)
        numbers = Numbers()
        steps = self._steps(due, numbers)
        if steps:
            perform(steps)
        else:
            assign(self._all_pairs(due))
        for group, param in due:
            self.count(group, self.state[param])

    def prepare(self) -> None:
        """Make the state now that first steps would make, but for an offloaded optimizer's."""
        if self.offload is None:
            self._start(
                [(group, param) for group in self.param_groups for param in group["params"] if param.requires_grad]
            )

    def pairs(self) -> list[tuple[Tensor, Tensor]]:
        """Each parameter and tensor of state with what a step would make of it now; nothing is computed."""
        with no_grad():
            return self._all_pairs(self._due())

    def _due(self) -> Due:
        return [(group, param) for group in self.param_groups for param in group["params"] if param.grad is not None]

    def _all_pairs(self, due: Due) -> list[tuple[Tensor, Tensor]]:
        numbers = Numbers()
        return [pair for group, param in due for pair in self._pairs(group, param, numbers)]

    def _steps(self, due: Due, numbers: "Numbers") -> list[tuple[Recipe, list[Tensor]]]:
        """A recipe for each parameter, one for all that are alike; none at all where one needs a graph of its own."""
        found: dict[Any, Recipe | None] = {}
        steps: list[tuple[Recipe, list[Tensor]]] = []
        if config.anomaly:
            return []
        for group, param in due:
            like: list[Any] = [id(group)]
            given = [param, param.grad]
            for name, value in self.state[param].items():
                like.append(name)
                (given if isinstance(value, Tensor) else like).append(value)
            like += [(t.node.shape, t.node.dtype) for t in given]
            key = tuple(like)
            if key not in found:
                found[key] = self._recipe(group, param, given, numbers)
            made = found[key]
            if made is None:
                return []
            steps.append((made, given))
        return steps

    def _recipe(self, group: Group, param: Tensor, given: list[Tensor], numbers: "Numbers") -> Recipe | None:
        """What a step makes of parameters like this one; None where each must be built by itself."""
        if group.get("stochastic_rounding") or not param.numel():
            return None
        old = self.state[param]
        stands = [stand_in(t) for t in given]
        place = {id(t): s for t, s in zip(given, stands, strict=True)}
        alike = stands[0]
        alike.grad = stands[1]
        self.state[alike] = {name: place.get(id(value), value) for name, value in old.items()}
        try:
            return recipe(stands, self._pairs(group, alike, numbers), numbers.made)
        finally:
            del self.state[alike]

    def _pairs(self, group: Group, param: Tensor, numbers: "Numbers") -> list[tuple[Tensor, Tensor]]:
        """What becomes of one parameter and its state, in the dtypes they have; half precisions are computed wider."""
        master: Tensor | None = self.state[param].get("master")
        trained = param if master is None else master
        wide = float32 if trained.dtype.size < 4 else trained.dtype
        old = {name: value for name, value in self.state[param].items() if isinstance(value, Tensor)}
        seen = {name: value.to(wide) if value.is_floating_point() else value for name, value in old.items()}
        state = {**self.state[param], **seen}
        grad = param.grad.detach().to(wide)  # pyright: ignore[reportOptionalMemberAccess]
        grad = -grad if group.get("maximize") else grad
        new = self.update(group, state, trained.detach().to(wide), grad, numbers.of(wide, param.device))
        targets = {"param": trained, **old}
        pairs = [(targets[name], _rounded(group, value, targets[name].dtype)) for name, value in new.items()]
        return pairs if master is None else [*pairs, (param, new["param"].to(param.dtype))]

    def update(
        self, group: Group, state: State, param: Tensor, grad: Tensor, number: Callable[[float], Tensor]
    ) -> dict[str, Tensor]:
        """The new values of "param" and of each of the state's tensors; `number` makes kernel arguments of floats."""
        raise NotImplementedError

    def count(self, group: Group, state: State) -> None:
        """What changes on the host once a step is done."""
        state["step"] += 1

    def initial(self, group: Group, param: Tensor) -> dict[str, Blank]:
        """The state's tensors of a parameter that is trained for the first time: shape, dtype, one value."""
        return dict.fromkeys(self.state_names(group), (param.shape, param.dtype, 0.0))

    def state_names(self, group: Group) -> tuple[str, ...]:
        """The state's tensors that this group needs."""
        return self.names

    def state_sizes(self, group: Group, param: Tensor) -> list[int]:
        """Bytes of each of the state's tensors of a parameter."""
        trained = _trained(group, param)
        sizes = [math.prod(shape) * dtype.size for shape, dtype, _ in self.initial(group, trained).values()]
        return sizes if trained is param else [trained.numel() * trained.dtype.size, *sizes]

    def _start(self, due: Due) -> None:
        """Give parameters that are trained for the first time their state."""
        for group, param in due:
            state = self.state[param]
            state.setdefault("step", 0)
            for name in self.numbers:
                state.setdefault(name, 1.0)
            trained = _trained(group, param)
            if trained is not param and "master" not in state:
                state["master"] = trained
            for name, (shape, dtype, value) in self.initial(group, trained).items():
                if name not in state:
                    state[name] = from_array(np.full(shape, value, dtype.numpy), param.device)

    def _params(self) -> list[Tensor]:
        return [param for group in self.param_groups for param in group["params"]]

    def state_dict(self) -> dict[str, Any]:
        """PyTorch's: {"state": {number: {name: value}}, "param_groups": [{option: value, "params": [number, …]}]}."""
        numbers = {id(param): number for number, param in enumerate(self._params())}
        state = {
            numbers[id(param)]: {
                name: value.detach() if isinstance(value, Tensor) else self._saved(name, value)
                for name, value in values.items()
                if name != "step" or self.counted
            }
            for param, values in self.state.items()
        }
        groups = [{**group, "params": [numbers[id(param)] for param in group["params"]]} for group in self.param_groups]
        return {"state": state, "param_groups": groups}

    def _saved(self, name: str, value: float) -> Tensor:
        """A number of the host as PyTorch has it: a count in float32; what is multiplied each step loses no bit."""
        return tensor(float(value), dtype=float64 if name in self.numbers else float32)

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
        options = {id(param): group for group, other in zip(own, groups) for param in group["params"]}
        state: defaultdict[Tensor, State] = defaultdict(dict)
        for number, values in state_dict["state"].items():
            param = params[number]
            trained = _trained(options[id(param)], param)
            state[param] = self._loaded(trained, values, self.initial(options[id(param)], trained))
        self.state = state
        for group, other in zip(own, groups):
            group.update({name: value for name, value in other.items() if name != "params"})

    def _loaded(self, param: Tensor, values: Mapping[str, Any], initial: Mapping[str, Blank]) -> State:
        """The state of one parameter, from FLAME's or PyTorch's; raises StateError where a shape differs."""
        state: State = {"step": int(values.get("step", 1))}
        for key, value in values.items():
            if key in self.numbers:
                state[key] = float(value)
            elif value is not None and key != "step":
                shape, dtype, _ = initial.get(key, (param.shape, param.dtype, 0.0))
                if tuple(value.shape) != shape:
                    raise StateError(
                        f"{type(self).__name__}.load_state_dict: {key} has shape {tuple(value.shape)}, "
                        f"its parameter {tuple(param.shape)} needs {shape}"
                    )
                state[key] = as_constant(value).to("cpu" if self.offload else param.device, dtype)
        return state

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return "\n".join([*lines, ")"])


def _trained(group: Group, param: Tensor) -> Tensor:
    """What is trained in place of a parameter: a float32 copy, where the group keeps one of half precisions."""
    return param.detach().float() if group.get("master_weights") and param.dtype.size < 4 else param


def _rounded(group: Group, value: Tensor, dtype: DType) -> Tensor:
    """A new value in the dtype that it is kept in."""
    half = dtype.is_float and dtype.size < 4
    return stochastic_round(value, dtype) if half and group.get("stochastic_rounding") else value.to(dtype)


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


def check(name: str, least: float = 0.0, below: float = math.inf, **options: Any) -> None:
    """Raise FlameError for an option outside [least, below)."""
    for option, value in options.items():
        if not least <= value < below:
            limit = f" and below {below}" if below < math.inf else ""
            raise FlameError(f"{name}: {option} is {value}, but must be at least {least}{limit}")


def check_betas(name: str, betas: tuple[float, float]) -> None:
    """Raise FlameError for a decay rate of a running mean outside [0, 1)."""
    check(name, below=1.0, **{"betas[0]": betas[0], "betas[1]": betas[1]})


def only_plain(name: str, differentiable: bool) -> None:
    """Raise FlameError for a step that should itself be differentiated."""
    if differentiable:
        raise FlameError(
            f"{name}: differentiable=True is not supported; to differentiate through updates, write them with "
            "flame.grad(…, create_graph=True) and ordinary tensors"
        )
