"""Run a plan: fill the addresses of this run, then do each step. The only loop of the runtime."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Union

import numpy as np

from flame.ir.loop import Kernel
from flame.ir.plan import Batch, Call, Code, Launch, Plan, Step
from flame.runtime.buffer import Buffer
from flame.runtime.device import Action, Device

Value = Union[Buffer, float]  # memory, or a number that kernels receive by value
Observer = Callable[[Step, Callable[[], None], Callable[[int], Any]], None]


class Executable:
    """A plan on a device, its kernels loaded and its launches packed; `run` replays it."""

    def __init__(self, plan: Plan, codes: Mapping[Kernel, Code], device: Device, progress: Any = None):
        self.plan, self.device = plan, device
        wanted = [codes[s.kernel] for s in plan.steps if not isinstance(s, Call)]
        kernels = iter(device.kernels(wanted, progress))
        self.table = device.addresses(len(plan.slots))
        self.shared = device.share(self.table) if any(isinstance(s, Batch) for s in plan.steps) else None
        self.actions: list[Action] = []
        for step in plan.steps:
            match step:
                case Call():
                    self.actions.append(device.call(step))
                case Launch():
                    self.actions.append(device.launch(next(kernels), codes[step.kernel], step.slots, self.table))
                case Batch():
                    assert self.shared is not None
                    self.actions.append(device.batch(next(kernels), codes[step.kernel], step.members, self.shared))
        given = set(plan.leaves)
        self.donor = dict(plan.donated)
        self.fresh = [s for s in dict.fromkeys(plan.outputs) if s not in given and s not in self.donor]
        self.lock = threading.Lock()

    def run(self, leaves: Sequence[Value], line: str | None = None, observe: Observer | None = None) -> list[Value]:
        """The outputs, given the leaves in the plan's order. A donated leaf's buffer becomes an output's."""
        plan, table = self.plan, self.table
        with self.lock:
            memory = self._memory(leaves, line)
            arena = self.device.pool.buffer(plan.arena, line) if plan.arena else None
            if arena is not None:
                base = arena.address
                for slot, offset in plan.offsets:
                    table[slot] = base + offset
            if self.shared is not None:
                self.shared.update()
            if observe is None:
                for act in self.actions:
                    act(table)
            else:
                self._observed(observe, memory)
        return [memory[s] for s in plan.outputs]

    def _memory(self, leaves: Sequence[Value], line: str | None) -> dict[int, Value]:
        plan, table, device = self.plan, self.table, self.device
        memory: dict[int, Value] = {}
        for slot, value in zip(plan.leaves, leaves, strict=True):
            memory[slot] = value
            if isinstance(value, Buffer):
                table[slot] = value.address
            else:
                device.set_value(table, slot, value, plan.slots[slot].dtype)
        for slot in self.fresh:
            made = device.pool.buffer(plan.slots[slot].nbytes, line)
            memory[slot], table[slot] = made, made.address
        for slot, leaf in self.donor.items():
            memory[slot], table[slot] = memory[leaf], table[leaf]
        return memory

    def _observed(self, observe: Observer, memory: Mapping[int, Value]) -> None:
        """Step by step, each seen before and after: `read(slot)` is the memory of a slot as a host array."""

        def read(slot: int) -> Any:
            s = self.plan.slots[slot]
            if s.host:
                return np.asarray(memory[slot], s.dtype.numpy)
            out = np.empty(s.shape, s.dtype.numpy)
            self.device.download_from(self.table[slot], out)
            return out

        for step, act in zip(self.plan.steps, self.actions, strict=True):
            observe(step, lambda act=act: act(self.table), read)
