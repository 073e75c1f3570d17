"""Running a graph without Tensor: compiled on the CPU, as CUDA kernels under numpy, by the oracle, or only to PTX."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from flame import compiler
from flame.compiler import Program
from flame.ir import ops  # noqa: F401  fills the operator table
from flame.ir.dtype import DType
from flame.ir.interp import interpret
from flame.ir.loop import Kernel
from flame.ir.node import Node
from flame.ir.op import Kind
from flame.ir.plan import Batch, Call, Launch, Plan
from flame.ir.region import NOTHING, Again
from flame.ir.target import CUDA, Target
from flame.passes.memory import conflicts
from flame.runtime import devices, prelude_numpy
from flame.runtime.device import Device
from flame.runtime.execute import Executable

Roots = tuple[Node, ...]
Values = Mapping[Node, Any]
RELATIVE = {"float64": 1e-11, "float32": 1e-5, "bfloat16": 2**-7, "float16": 2**-10}  # of one operator
RELATIVE |= {"float8_e4m3fn": 0.0, "float8_e5m2": 0.0}  # moved and cast, which is exact


# --- compiling --------------------------------------------------------------------------------------------------------
def compiled(roots: Roots, target: Target, donatable: Collection[Node] = (), again: Again = NOTHING) -> Program:
    """The program of a graph; its plan's memory is checked, and equal names are checked to mean equal text."""
    program = compiler.compile_graph(roots, target, frozenset(donatable), again=again)
    assert conflicts(program.plan) == []
    texts: dict[str, str] = {}
    for code in program.codes.values():
        assert texts.setdefault(code.name, code.source) == code.source, f"two kernels are called {code.name}"
    return program


def launches(program: Program) -> list[Launch | Batch]:
    return [s for s in program.plan.steps if not isinstance(s, Call)]


def kernels(roots: Roots, target: Target = CUDA) -> list[Kernel]:
    """The kernel of each launch of a graph's plan."""
    return [s.kernel for s in launches(compiled(roots, target))]


# --- running ----------------------------------------------------------------------------------------------------------
def oracle(roots: Roots, values: Values) -> list[np.ndarray]:
    return [np.asarray(v) for v in interpret(roots, values)]


def run_cpu(roots: Roots, values: Values, donatable: Collection[Node] = ()) -> list[np.ndarray]:
    """Every root, by compiled kernels on the CPU."""
    return run_on("cpu", roots, values, donatable)


def run_gpu(roots: Roots, values: Values, donatable: Collection[Node] = ()) -> list[np.ndarray]:
    """Every root, by compiled kernels on a GPU."""
    return run_on("cuda", roots, values, donatable)


def run_on(name: str, roots: Roots, values: Values, donatable: Collection[Node] = ()) -> list[np.ndarray]:
    """Every root, by compiled kernels on a device."""
    wanted = tuple(dict.fromkeys(r for r in roots if prod(r.shape)))
    found: dict[Node, np.ndarray] = {}
    if wanted:
        device = devices.get(name)
        program = compiled(wanted, device.target, donatable)
        given = [_on(device, n, values) for n in leaves(program)]
        outputs = Executable(program.plan, program.codes, device).run(given)
        found = {n: _read(device, n, v) for n, v in zip(wanted, outputs, strict=True)}
    return [found[r] if r in found else np.empty(r.shape, r.dtype.numpy) for r in roots]


def leaves(program: Program) -> list[Node]:
    """The leaves of a plan, in its order."""
    return [program.values[s] for s in program.plan.leaves]


def _on(where: Device, n: Node, values: Values) -> Any:
    if n["host"]:
        return values[n].item()
    array = np.ascontiguousarray(values[n], n.dtype.numpy)
    buffer = where.pool.buffer(array.nbytes, "test")
    where.upload(array, buffer)
    return buffer


def _read(where: Device, n: Node, value: Any) -> np.ndarray:
    if not hasattr(value, "address"):
        return np.asarray(value, n.dtype.numpy)
    out = np.empty(n.shape, n.dtype.numpy)
    where.download(value, out)
    return out


def run_cuda_on_numpy(
    roots: Roots, values: Values, target: Target = CUDA, donatable: Collection[Node] = (), again: Again = NOTHING
) -> list[np.ndarray]:
    """Every root, by the CUDA kernels under numpy, which checks bounds, alignment and races. Memory begins poisoned."""
    program = compiled(roots, target, donatable, again)
    plan = program.plan
    memory = _memory(plan, [values[n] for n in leaves(program)])
    for step in plan.steps:
        if isinstance(step, Call):
            found = step.spec.numpy(*[memory[i] for i in step.inputs])
            for slot, array in zip((step.out, *step.more), found if step.more else [found], strict=True):
                memory[slot][...] = array.reshape(-1)
        else:
            code = program.codes[step.kernel]
            if isinstance(step, Batch):
                shares = [-(-m.kernel.outer.extent // code.share) for m in step.members]
                sizes = [(m.kernel.outer.extent, *m.slots) for m in step.members]
                prelude_numpy.run_many(code.source, code.name, shares, code.threads, sizes, memory)
                continue
            args = [memory[i] for i in step.slots]
            prelude_numpy.run(code.source, code.name, code.blocks, code.threads, code.extent, args)
    return [np.array(memory[s]).reshape(r.shape) for s, r in zip(plan.outputs, roots, strict=True)]


def _memory(plan: Plan, given: list[Any]) -> dict[int, Any]:
    arena = np.full(plan.arena, 0xFF, np.uint8)
    memory: dict[int, Any] = {}
    for slot, value in zip(plan.leaves, given, strict=True):
        s = plan.slots[slot]
        memory[slot] = s.dtype.register.numpy.type(value) if s.host else np.array(value, s.dtype.numpy).reshape(-1)
    for slot, at in plan.offsets:
        s = plan.slots[slot]
        memory[slot] = arena[at : at + s.nbytes].view(s.dtype.numpy)
    for slot in plan.outputs:
        s = plan.slots[slot]
        donor = dict(plan.donated).get(slot)
        if donor is not None:
            memory[slot] = memory[donor].view(s.dtype.numpy)
        elif slot not in memory:
            memory[slot] = np.full(s.nbytes, 0xFF, np.uint8).view(s.dtype.numpy)
    return memory


# --- comparing --------------------------------------------------------------------------------------------------------
def assert_close(got: np.ndarray, want: np.ndarray, dtype: DType, loose: float = 1, scale: float = 0) -> None:
    """Equal up to rounding: `loose` times that of one operator, relative to each value, or to `scale` where larger."""
    assert got.shape == want.shape and got.dtype == want.dtype == dtype.numpy
    if not dtype.is_float:
        np.testing.assert_array_equal(got, want)
        return
    a, b = got.astype(np.float64), want.astype(np.float64)
    rtol = RELATIVE[dtype.name] * loose
    tiny = float(np.finfo(np.float32).tiny) if dtype.size == 4 else 6e-8 if dtype.name == "float16" else 1e-38
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale + tiny)


def check(roots: Roots, got: list[np.ndarray], values: Values, loose: float = 1, relative_to_all: bool = False) -> None:
    """Each root as the oracle has it; with `relative_to_all`, relative to its largest value.

    Where several products follow one another, also relative to the operands: what rounds in one cancels in the next.
    """
    for r, x, want in zip(roots, got, oracle(roots, values), strict=True):
        several = r.op.kind is Kind.CONTRACT and len(r.src) > 2
        arrays = [want, *values.values()] if several else [want]
        scale = max(map(_largest, arrays)) if relative_to_all and r.dtype.is_float else 0
        assert_close(x, want, r.dtype, loose, scale)


def _largest(a: np.ndarray) -> float:
    wide = np.abs(np.asarray(a).astype(np.float64))
    return float(np.max(wide[np.isfinite(wide)], initial=0))


# --- offline ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Machine:
    """What a kernel became: its PTX, and what ptxas says of it ({} without ptxas)."""

    ptx: str
    resources: dict[str, int]
    layout: Any


def offline(program: Program, cc: tuple[int, int] = (9, 0)) -> list[Machine]:
    """Every kernel of a CUDA program compiled to machine code, without a GPU."""
    from flame.runtime import cuda_compile

    made = []
    for kernel, code in program.codes.items():
        options = code.options(cc)
        ptx = cuda_compile.ptx_cuda(code.source, code.name, code.signature, options)
        cuda_compile.assemble(ptx, cc)
        made.append(Machine(ptx, cuda_compile.resources(ptx, cc), kernel.layout))
    return made
