"""The plan: what the runtime does, step by step, over numbered slots of memory. Plain data: it prints and replays."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Union

from flame.ir.dtype import DType
from flame.ir.loop import Kernel
from flame.ir.tile import Tile


@dataclass(frozen=True, slots=True)
class Slot:
    """A value in memory; `host` ones are single numbers that kernels receive by value."""

    shape: tuple[int, ...]
    dtype: DType
    host: bool = False

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.size


@dataclass(frozen=True, slots=True)
class Launch:
    """Run a kernel on slots, one for each of its parameters; `again` where it makes anew what was made before."""

    kernel: Kernel
    slots: tuple[int, ...]
    again: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """Let a library routine write `out`, and `more` results, from `inputs`; `spec` is what the routine must know.

    Where kernels can do the same, `printed` has them, and the runtime takes what is fastest.
    """

    routine: str
    spec: Any
    out: int
    inputs: tuple[int, ...]
    more: tuple[int, ...] = ()
    printed: "Printed | None" = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Run one kernel text over many tensors in one launch: `kernel` finds its arguments in a table, by member.

    No member reads what another writes, and no two write the same slot.
    """

    kernel: Kernel
    members: tuple[Launch, ...]


Step = Union[Launch, Call, Batch]


@dataclass(frozen=True, slots=True)
class Plan:
    """`leaves` are filled by the caller, `outputs` belong to him; all else lives in one arena at `offsets`."""

    slots: tuple[Slot, ...]
    leaves: tuple[int, ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...] = ()  # (slot, byte offset in the arena)
    arena: int = 0  # bytes
    donated: tuple[tuple[int, int], ...] = ()  # (output slot, leaf slot whose memory it takes)


def map_kernels(plan: Plan, f: Callable[[Kernel], Kernel]) -> Plan:
    """The same plan with every kernel passed through `f`, before launches are batched."""
    steps = (replace(s, kernel=f(s.kernel)) if isinstance(s, Launch) else s for s in plan.steps)
    return replace(plan, steps=tuple(steps))


def launches(step: Step) -> tuple[Launch, ...]:
    """What a step launches, tensor by tensor; nothing for a call."""
    match step:
        case Launch():
            return (step,)
        case Batch():
            return step.members
        case Call():
            return ()


def touched(step: Step) -> tuple[int, ...]:
    """Every slot that a step reads or writes."""
    if isinstance(step, Call):
        return (*step.inputs, step.out, *step.more)
    return tuple(i for launch in launches(step) for i in launch.slots)


def written(step: Step) -> tuple[int, ...]:
    """Every slot that a step writes."""
    if isinstance(step, Call):
        return (step.out, *step.more)
    return tuple(i for s in launches(step) for p, i in zip(s.kernel.params, s.slots, strict=True) if p.written)


def read(step: Step) -> tuple[int, ...]:
    """Every slot that a step reads."""
    if isinstance(step, Call):
        return step.inputs
    return tuple(i for s in launches(step) for p, i in zip(s.kernel.params, s.slots, strict=True) if not p.written)


def map_slots(step: Step, new: Mapping[int, int]) -> Step:
    """The same step, before launches are batched, on other slots where they have a new number."""
    assert not isinstance(step, Batch)
    if isinstance(step, Launch):
        return replace(step, slots=tuple(new.get(s, s) for s in step.slots))
    inputs, more = (tuple(new.get(s, s) for s in some) for some in (step.inputs, step.more))
    return replace(step, out=new.get(step.out, step.out), inputs=inputs, more=more)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to make values that a plan did not keep, from those that stay. The slots are that plan's.

    `roots` are the values that were asked for; a root that stays is an output. `homes` are those of `flame.ir.region`.
    """

    uid: int
    slots: tuple[Slot, ...]
    homes: tuple[tuple[int, ...], ...]
    makers: tuple[tuple[int, Step], ...]  # (slot, what makes it)
    roots: tuple[int, ...]
    needs: tuple[tuple[int, tuple[int, ...]], ...]  # (root that does not stay, the slots that making it begins with)


@dataclass(frozen=True, slots=True)
class Code:
    """A printed kernel, ready for a compiler: text, argument types and how many blocks of how many threads run it."""

    name: str
    source: str
    signature: tuple[str, ...]  # of the parameters: "address", or the dtype of a number passed by value
    extent: int  # independent items or elements: the argument `n`
    blocks: int
    threads: int
    work: int  # elements visited, over all blocks: what decides whether threads share it
    share: int = 1  # items or elements of the outer loop that one block takes
    resident: int = 1  # blocks that must fit on a multiprocessor at once: it bounds the registers of a thread
    shared: int = 0  # bytes of shared memory that a launch must ask for
    cluster: int = 1  # neighbouring blocks that see each other's shared memory

    def options(self, cc: tuple[int, int]) -> tuple[tuple[str, Any], ...]:
        """What a compiler for a GPU of that compute capability must be told."""
        together = (("cluster", self.cluster),) if self.cluster > 1 else ()
        return (("cc", cc), ("threads", self.threads), ("resident", self.resident), *together)


@dataclass(frozen=True, slots=True)
class Printed:
    """Kernels that do a product: one for each tile; `alone` is the epilogue by itself, after a library's product."""

    tiles: tuple[tuple[Tile, Code], ...]
    alone: Code | None
    sizes: tuple[int, ...]  # bytes of the operands and results
