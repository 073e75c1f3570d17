"""Where a nan was made: after a plan whose results hold one, its graph is computed again by numpy, node by node.

Only a nan that reaches a result is looked for: one that `where` leaves out harms nobody.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from flame.errors import AnomalyError, LinAlgError, ValidationError
from flame.ir.graph import toposort
from flame.ir.interp import perform
from flame.ir.node import Node
from flame.ir.origins import gradient_of, origins


def check(results: Sequence[Node], given: Sequence[Node], read: Callable[[Node], Any]) -> None:
    """Raise AnomalyError where a result holds a nan, naming the operation that made it and the user's line."""
    bad = next((n for n in results if has_nan(read(n))), None)
    if bad is None:
        return
    values = {n: read(n) for n in given}
    unknown: Node | None = None
    with np.errstate(all="ignore"):
        for n in toposort([bad], values):
            if n not in values:
                try:
                    values[n] = perform(n, [values[s] for s in n.src])
                except ValidationError:  # a kernel of which NumPy does not know what it computes
                    unknown = unknown or n
                    values[n] = np.zeros(n.shape, n.dtype.numpy)
    raise AnomalyError(_said(bad, values, set(given), unknown))


def located(problem: LinAlgError, results: Sequence[Node], given: Collection[Node]) -> LinAlgError:
    """The error with the lines of the operators in a graph that may have found it."""
    made = (n for n in toposort(results, given) if n.op.name == problem.operation)
    lines = dict.fromkeys(origins.get(n, "an unknown line") for n in made)
    return LinAlgError(f"{problem}; made at {', or at '.join(lines)}")


def has_nan(value: Any) -> bool:
    """True if there is a nan among floating values."""
    array = np.asarray(value)
    return array.dtype.kind not in "biu" and bool(np.isnan(array.astype(np.float64)).any())


def _said(bad: Node, values: Mapping[Node, Any], given: set[Node], unknown: Node | None) -> str:
    """The way down from a result along nans, to where one is and none comes in."""
    path = [bad]
    while path[-1] not in given:
        source = next((s for s in path[-1].src if has_nan(values[s])), None)
        if source is None:
            break
        path.append(source)
    culprit = path[-1]
    line = next((origins[n] for n in reversed(path) if n in origins), "an unknown line")
    of = next((gradient_of[n] for n in reversed(path[-3:]) if n in gradient_of), None)
    if not has_nan(values[culprit]):
        name = unknown.op.name if unknown is not None else bad.op.name
        return f"anomaly: {bad!r} holds a nan that {name} made, which the oracle cannot follow; made at {line}"
    at = tuple(int(i) for i in np.argwhere(np.isnan(np.asarray(values[culprit]).astype(np.float64)))[0])
    if culprit in given:
        return f"anomaly: a nan was in the data: {culprit!r} holds one at {at}; made at {line}"
    who = f"the gradient of {of}" if of else culprit.op.name
    return f"anomaly: {who} gives nan at {at} of {culprit!r}, from {_operands(culprit, at, values)}; made at {line}"


def _operands(n: Node, at: tuple[int, ...], values: Mapping[Node, Any]) -> str:
    """The operation on the elements that gave the nan, where it works on elements; else on shapes."""
    if n.src and all(s.shape == n.shape for s in n.src):
        return f"{n.op.name}({', '.join(f'{np.asarray(values[s])[at]:g}' for s in n.src)})"
    return f"{n.op.name}({', '.join(map(repr, n.src))})"
