"""Which form of a printed kernel is fastest: timed once on memory of its own for each device, text and sizes.

The choice is kept like that of a library's algorithm (choice.py). A user's memory is never written: every operand is
scratch, numbers that may be positions are zero, so that they are inside whatever they index.
"""

import contextlib
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flame.ir.plan import Code, Slot
from flame.runtime.choice import FILL, Choice, DeclinedError, Way, choose, note, remembered

if TYPE_CHECKING:
    from flame.runtime.device_cuda import CUDADevice

Question = tuple[Sequence[tuple[str, Code]], Sequence[Slot]]  # a kernel's forms, the default first; its operands
ROUTINE = "kernel"


def fastest(device: "CUDADevice", questions: Sequence[Question]) -> list[int]:
    """Of each question, which form to take; those that were never timed here compile side by side."""
    fresh = [q for q in questions if len(q[0]) > 1 and _remembered(device, q) is None]
    device.kernels([code for forms, _ in fresh for _, code in forms])
    return [_answer(device, q) for q in questions]


def _answer(device: "CUDADevice", question: Question) -> int:
    forms, slots = question
    if len(forms) == 1:
        return 0
    found = _remembered(device, question)
    if found is None:
        sizes, fills = [s.nbytes for s in slots], [FILL if s.dtype.is_float else 0 for s in slots]
        with contextlib.suppress(DeclinedError):  # none runs: whatever is wrong, the plan's own launch will say
            choose(device.place, ROUTINE, fingerprint(question), "", _ways(device, question), sizes, fills)
        found = _remembered(device, question)
    at = next((i for i, form in enumerate(forms) if found is not None and _name(*form) == found.best), 0)
    if found is not None:
        note((device.place.device, ROUTINE, forms[at][1].name), found)  # what `flame dump` asks for
    return at


def _remembered(device: "CUDADevice", question: Question) -> Choice | None:
    return remembered(device.place, ROUTINE, fingerprint(question), "")


def _name(layout: str, code: Code) -> str:
    return f"{code.name}: {layout}"


def fingerprint(question: Question) -> str:
    """The default form's text, and the sizes of what it works on."""
    ((_, first), *_), slots = question
    parts = repr((first.source, first.extent, [(s.shape, s.dtype.name) for s in slots]))
    return hashlib.sha256(parts.encode()).hexdigest()[:32]


def _ways(device: "CUDADevice", question: Question) -> list[Way]:
    forms, slots = question
    kernels = device.kernels([code for _, code in forms])
    return [_way(device, kernel, form, slots) for kernel, form in zip(kernels, forms, strict=True)]


def _way(device: "CUDADevice", kernel: object, form: tuple[str, Code], slots: Sequence[Slot]) -> Way:
    """A launch whose operands are the addresses that it is given; a number passed by value is 1."""
    code = form[1]
    table = device.addresses(len(slots))
    launch = device.launch(kernel, code, tuple(range(len(slots))), table)

    def run(*addresses: int) -> None:
        for i, (slot, address) in enumerate(zip(slots, addresses, strict=False)):  # the last is a workspace
            if slot.host:
                device.set_value(table, i, 1, slot.dtype)
            else:
                table[i] = address
        launch(table)

    return Way(_name(*form), run)
