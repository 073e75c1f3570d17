"""Tensors in tuples, lists and dicts: taken out, and put back in their places."""

from collections.abc import Iterable, Iterator
from typing import Any


def leaves(value: Any) -> Iterator[Any]:
    """What lies in nested tuples, lists and dicts, in order; anything else is one leaf."""
    if isinstance(value, (tuple, list)):
        for part in value:
            yield from leaves(part)
    elif isinstance(value, dict):
        for part in value.values():
            yield from leaves(part)
    else:
        yield value


def filled(value: Any, new: Iterable[Any]) -> Any:
    """The same nesting with other leaves, in the order of `leaves`."""
    return _fill(value, iter(new))


def _fill(value: Any, rest: Iterator[Any]) -> Any:
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*[_fill(part, rest) for part in value])
    if isinstance(value, (tuple, list)):
        return type(value)([_fill(part, rest) for part in value])
    if isinstance(value, dict):
        return {key: _fill(part, rest) for key, part in value.items()}
    return next(rest)


def spread(name: str, given: Any, value: Any) -> list[Any]:
    """One entry of `given` for each leaf of `value`: `given` nests like it, or one entry stands for all below."""
    if isinstance(given, (tuple, list)) and isinstance(value, (tuple, list)):
        if len(given) != len(value):
            raise ValueError(f"{name} has {len(given)} entries for {len(value)} values; they must agree")
        return [x for g, v in zip(given, value) for x in spread(name, g, v)]
    if isinstance(given, dict) and isinstance(value, dict):
        if given.keys() != value.keys():
            raise ValueError(f"{name} has the keys {sorted(given)}, the value {sorted(value)}; they must agree")
        return [x for key, v in value.items() for x in spread(name, given[key], v)]
    return [given] * len(list(leaves(value)))
