"""A module called with other parameters than its own: what transformations of functions differentiate."""

from collections.abc import Mapping
from typing import Any

from flame.errors import StateError
from flame.nn.module import Module
from flame.tensor import Tensor

__all__ = ["functional_call"]


def functional_call(
    module: Module,
    parameters_and_buffers: Any,
    args: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """What the module returns when its parameters and buffers are those given, by dotted name; the others are its own.

    One dict, or several of which the last wins; `args` is a tuple of arguments, or one. A parameter that the module has
    under several names changes under all, if `tie_weights`. The module is as before afterwards. Raises StateError for a
    name that it does not have, and with `strict` for one that is not given.

    >>> net = flame.nn.Linear(2, 1)
    >>> given = {"weight": flame.tensor([[1.0, 2.0]]), "bias": flame.tensor([3.0])}
    >>> flame.func.functional_call(net, given, (flame.tensor([1.0, 1.0]),)).tolist()
    [6.0]
    """
    given: dict[str, Tensor] = {}
    for each in (parameters_and_buffers,) if isinstance(parameters_and_buffers, Mapping) else parameters_and_buffers:
        given.update(each)
    places = _places(module)
    if (unknown := sorted(given.keys() - places.keys())) or (strict and given.keys() != places.keys()):
        wrong = (
            f"has no {', '.join(unknown)}" if unknown else f"needs {', '.join(sorted(places.keys() - given.keys()))}"
        )
        raise StateError(f"functional_call: {type(module).__name__} {wrong}; its names are {', '.join(places)}")
    before = [(table, name, table[name]) for table, name in places.values()]
    shared = {id(places[n][0][places[n][1]]): value for n, value in given.items()} if tie_weights else {}
    try:
        for path, (table, name) in places.items():
            table[name] = given.get(path, shared.get(id(table[name]), table[name]))
        passed = () if args is None else args if isinstance(args, tuple) else (args,)
        return module(*passed, **(kwargs or {}))
    finally:
        for table, name, value in before:
            table[name] = value


def _places(module: Module) -> dict[str, tuple[dict[str, Any], str]]:
    """The table that holds each parameter and buffer, and its name there, by dotted name."""
    found: dict[str, tuple[dict[str, Any], str]] = {}
    for path, inner in module.named_modules():
        for table in (inner._parameters, inner._buffers):
            for name, value in table.items():
                if value is not None:
                    found[f"{path}.{name}" if path else name] = table, name
    return found
