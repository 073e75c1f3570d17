"""FLAME_VALIDATE=1: every step of every plan is compared with the oracle, and every plan with itself."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from flame.compiler import Program
from flame.errors import ValidationError
from flame.ir import show
from flame.ir.graph import transform
from flame.ir.interp import interpret
from flame.ir.node import Node
from flame.ir.plan import Call, Plan, Step, touched, written
from flame.passes.memory import conflicts

LOOSE = {"float64": 1e-9, "float32": 2e-4, "bfloat16": 2e-2, "float16": 4e-3}


def check_plan(plan: Plan) -> None:
    """Raise ValidationError where two values share memory while both live."""
    found = conflicts(plan)
    if found:
        raise ValidationError("the plan's memory overlaps: " + "; ".join(found) + "\n" + show.plan(plan))


def observer(program: Program) -> Callable[[Step, Callable[[], None], Callable[[int], Any]], None]:
    """What an executable calls for each step: its inputs are read, it runs, its results are compared with numpy's."""
    nodes = transform(program.values, lambda n: n.src[0] if n.op.alias else n)  # an order of steps is no meaning

    def observe(step: Step, act: Callable[[], None], read: Callable[[int], Any]) -> None:
        results = written(step)
        if unknown := _unknown(step):
            warnings.warn(
                f"FLAME_VALIDATE: kernel {unknown} is for a GPU; no oracle checks what it gives", stacklevel=2
            )
            act()
            return
        if any(nodes[slot].op.name == "leaf" for slot in results):  # made again: it was compared when it ran first
            act()
            return
        inputs: dict[Node, Any] = {}
        for slot in touched(step):
            if slot not in results:
                inputs[nodes[slot]] = read(slot)
        act()
        noise = 4 * max((rounding(a) for a in inputs.values() if a.size), default=0.0)
        for slot, expected in zip(results, interpret(tuple(nodes[s] for s in results), inputs), strict=True):
            compare(step, nodes[slot], read(slot), expected, noise)

    return observe


def _unknown(step: Step) -> str:
    """The name of a user's kernel of which NumPy does not know what it computes, or nothing."""
    return step.spec.name if isinstance(step, Call) and not getattr(step.spec, "meaning", True) else ""


def rounding(a: Any) -> float:
    """What rounding may do to the largest of these numbers, and so to a sum in which they cancel."""
    if a.dtype.kind in "biu":
        return 0.0
    wide = np.abs(a.astype(np.float64))
    eps = np.finfo(np.float64 if a.dtype.itemsize == 8 else np.float32).eps
    return float(eps * np.max(wide, initial=0.0, where=np.isfinite(wide)))


def compare(step: Step, node: Node, got: Any, expected: Any, noise: float = 0.0) -> None:
    """Raise ValidationError where a result differs from the oracle's by more than rounding explains."""
    if node.dtype.is_float:
        a, b, loose = got.astype(np.float64), expected.astype(np.float64), LOOSE[node.dtype.name]
        with np.errstate(all="ignore"):
            scale = np.nanmax(np.abs(b[np.isfinite(b)]), initial=0.0)
            wrong = ~((np.abs(a - b) <= loose * (np.abs(b) + scale) + noise) | (a == b) | (np.isnan(a) & np.isnan(b)))
    else:
        a, b, wrong = got, expected, got != expected
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        who = f"routine {step.routine}" if isinstance(step, Call) else f"kernel {step.kernel.name}"
        raise ValidationError(
            f"{who} differs from the oracle in {int(wrong.sum())} of {wrong.size} elements of {node!r}: at {at} it "
            f"gives {a[at]!r} instead of {b[at]!r}; rerun with FLAME_FUSE=0 or FLAME_REUSE=0 to see which stage errs"
        )
