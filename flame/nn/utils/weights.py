"""weight_norm in its first form: parameters NAME_g and NAME_v, which many checkpoints hold."""

from typing import Any

from flame.errors import FlameError
from flame.nn.module import Module
from flame.nn.parameter import Parameter
from flame.nn.utils.parametrizations import norms
from flame.recording import no_grad


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """As `parametrizations.weight_norm`, which PyTorch recommends, with `NAME_g` and `NAME_v` in the state.

    The weight is computed when the module is called. Raises FlameError where the module has no such parameter.

    >>> list(flame.nn.utils.weight_norm(flame.nn.Linear(2, 3)).state_dict())
    ['bias', 'weight_g', 'weight_v']
    """
    weight = module._parameters.get(name)
    if weight is None:
        raise FlameError(f"weight_norm: {type(module).__name__} has no parameter {name!r}")
    delattr(module, name)
    with no_grad():
        module.register_parameter(f"{name}_g", Parameter(norms(weight, dim), weight.requires_grad))
        module.register_parameter(f"{name}_v", Parameter(weight, weight.requires_grad))

    def computed(module: Any, args: Any) -> None:
        g, v = module._parameters[f"{name}_g"], module._parameters[f"{name}_v"]
        setattr(module, name, v * (g / norms(v, dim)))

    computed(module, ())
    module.__dict__.setdefault("_weight_norms", {})[name] = module.register_forward_pre_hook(computed), computed
    return module


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """Let the weight be a parameter again, with its present value; raises FlameError where it has no weight_norm."""
    made = module.__dict__.get("_weight_norms", {}).pop(name, None)
    if made is None:
        raise FlameError(f"remove_weight_norm: {type(module).__name__} has no weight_norm of {name!r}")
    handle, computed = made
    handle.remove()
    with no_grad():
        computed(module, ())
    value, wanted = getattr(module, name).detach(), module._parameters[f"{name}_v"].requires_grad
    for part in ("", "_g", "_v"):
        delattr(module, name + part)
    module.register_parameter(name, Parameter(value, wanted))
    return module
