"""cuDNN through its frontend's graphs, on raw pointers: plans in the order of its heuristics, as ways to choose from.

A plan is built once for a spec and runs on any memory aligned to 16 bytes. Deterministic algorithms only; float32 is
multiplied in float32 unless the spec allows tf32; half precisions accumulate in float32.
"""

import functools
import threading
import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from flame.config import config
from flame.errors import DeviceError
from flame.ir.dnn import ConvolutionSpec
from flame.runtime import cuda
from flame.runtime.choice import DeclinedError, Place, Way, choose, remembered

TYPES = {
    "float16": "HALF",
    "bfloat16": "BFLOAT16",
    "float32": "FLOAT",
    "float64": "DOUBLE",
    "int32": "INT32",
    "bool": "BOOLEAN",
}
MOST = 6  # plans of one spec that are timed: the heuristics' first is nearly always among the best
WORKSPACE = {"convolution": 2**30}  # bytes beyond which a plan is none of them; of attention, what it asks for
ALIGNED = 16  # bytes that addresses are multiples of

_lock = threading.RLock()


@functools.cache
def why_not() -> str:
    """Why cuDNN cannot be used here; empty where it can."""
    if not cuda.available():
        return cuda.why_not()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import cudnn
        version = cudnn.backend_version()
    except ImportError as problem:
        return f"cudnn does not import ({problem}); pip install nvidia-cudnn-frontend"
    except Exception as problem:  # noqa: BLE001  whatever the library says, it is the answer
        first = (str(problem).splitlines() or [""])[0]
        return f"cuDNN does not load: {first}; pip install nvidia-cudnn-cu13 (for CUDA 12: nvidia-cudnn-cu12)"
    return "" if version >= 90100 else f"cuDNN is {version}; version 9.1 or newer is needed"


def available() -> bool:
    """Whether cuDNN can be used."""
    return not why_not()


@functools.cache
def library() -> Any:
    """The frontend, or a DeviceError that says what is missing."""
    if why_not():
        raise DeviceError(f"no cuDNN: {why_not()}")
    import cudnn

    return cudnn


def version() -> str:
    """What a choice among its plans depends on."""
    return f"cudnn {library().backend_version()} frontend {library().__version__}"


@functools.cache
def _handle(ordinal: int, stream: int) -> Any:
    cuda.use(ordinal)
    handle = library().create_handle()
    library().set_stream(handle, stream)
    return handle


def kind(dtype: str) -> Any:
    """A dtype as the library names it."""
    return getattr(library().data_type, TYPES[dtype])


def tensor(graph: Any, shape: tuple[int, ...], strides: tuple[int, ...], dtype: str) -> Any:
    """An operand of a graph."""
    return graph.tensor(dim=list(shape), stride=list(strides), data_type=kind(dtype))


def result(made: Any, shape: tuple[int, ...], strides: tuple[int, ...], dtype: str) -> Any:
    """A result of a graph that is written to memory."""
    return made.set_output(True).set_data_type(kind(dtype)).set_dim(list(shape)).set_stride(list(strides))


Describe = Callable[[Any], list[Any]]  # fills a graph; its operands and results in the order of the addresses


def bind(
    routine: str, spec: Any, place: Place, describe: Describe, dtype: str, sizes: list[int], most: int = MOST
) -> Callable[..., None]:
    """The best plan for a spec as `run(*addresses)`, its workspace from the pool; DeclinedError where there is none."""
    limit = WORKSPACE.get(routine, 2**40)
    with _lock:
        graph, operands = _planned(spec, place, describe, dtype)
        known = remembered(place, routine, spec, version())
        way = next(_ways(graph, operands, place, limit, known.best), None) if known else None
        if way is None:
            ways = list(islice(_ways(graph, operands, place, limit), 1 if config.choices == "first" else most))
            way = choose(place, routine, spec, version(), ways, sizes)
    run, workspace, pool = way.run, max(way.workspace, 1), place.pool

    def perform(*addresses: int) -> None:
        scratch = pool.buffer(workspace, routine)
        run(*addresses, scratch.address)

    return perform


def _planned(spec: Any, place: Place, describe: Describe, dtype: str) -> tuple[Any, list[Any]]:
    """A graph with its plans ranked, none of them built; its operands and results."""
    lib = library()
    wide = kind("float64" if dtype == "float64" else "float32")
    handle = _handle(place.ordinal, int(place.stream))
    graph = lib.pygraph(io_data_type=kind(dtype), intermediate_data_type=wide, compute_data_type=wide, handle=handle)
    try:
        operands = describe(graph)
        graph.validate()
        graph.build_operation_graph()
        graph.create_execution_plans([lib.heur_mode.A, lib.heur_mode.FALLBACK])
        if unwanted := unwanted_notes(spec):
            graph.deselect_numeric_notes([getattr(lib.numerical_note, name) for name in unwanted])
        graph.check_support()
    except Exception as problem:
        raise DeclinedError(spec, f"cuDNN plans nothing for {spec}: {problem}") from problem
    return graph, operands


def unwanted_notes(spec: Any) -> list[str]:
    """What a plan must not say of its numbers. An attention says in its graph that its gradient is deterministic."""
    if not isinstance(spec, ConvolutionSpec):
        return []
    coarse = ["TENSOR_CORE", "DOWN_CONVERT_INPUTS"] if spec.dtype == "float32" and not spec.tf32 else []
    return ["NONDETERMINISTIC", *coarse]


def _ways(graph: Any, operands: list[Any], place: Place, limit: int, name: str = "") -> Iterator[Way]:
    """The plans that can be built, the heuristics' first choice first; of one name alone, where that is given."""
    handle = _handle(place.ordinal, int(place.stream))
    uids = [o.get_uid() for o in operands]
    for index in range(graph.get_execution_plan_count()):
        if name and graph.get_plan_name_at_index(index) != name:
            continue
        try:
            graph.build_plan_at_index(index)
            workspace = graph.get_workspace_size_plan_at_index(index)
        except Exception:  # noqa: BLE001  deselected, or not for this machine after all
            continue
        if workspace <= limit:
            yield Way(graph.get_plan_name_at_index(index), _runner(graph, index, uids, handle), workspace)


def _runner(graph: Any, index: int, uids: list[int], handle: Any) -> Callable[..., None]:
    execute = graph.execute_plan_at_index

    def run(*addresses: int) -> None:
        *operands, workspace = addresses
        try:
            execute(dict(zip(uids, operands, strict=True)), workspace, index, handle)
        except Exception as problem:
            raise DeviceError(f"cuDNN failed on plan {graph.get_plan_name_at_index(index)}: {problem}") from problem

    return run
