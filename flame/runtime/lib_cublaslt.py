"""Matrix products by cuBLASLt, through raw pointers: transposes, leading dimensions and batches without a copy.

The row-major product out = a @ b is given to the library as the column-major out.T = b.T @ a.T. An operand may be a
row- or column-major matrix with any leading dimension; its batch strides are free, 0 repeats a matrix. float32 is
computed in float32 unless the spec allows tf32; float16 and bfloat16 accumulate in float32, also across splits of k.
The heuristics' first algorithms are ways to choose from (`choice.py`): the first is often not the fastest.
"""

import functools
import itertools
import threading
import warnings
from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from flame.errors import DeviceError
from flame.ir.library import MatmulSpec
from flame.ir.product import Product, orient, simplify
from flame.runtime import cuda
from flame.runtime.choice import Place, Way, choose, remembered

SIZE = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
KIND = {"float16": "CUDA_R_16F", "bfloat16": "CUDA_R_16BF", "float32": "CUDA_R_32F", "float64": "CUDA_R_64F"}
MIB = 2**20
MOST = 8  # algorithms of one product that are timed
TIMED_FROM = 1 << 24  # operations from which on a product is worth timing its algorithms

_lock = threading.RLock()


@functools.cache
def why_not() -> str:
    """Why cuBLASLt cannot be used here; empty where it can."""
    if not cuda.available():
        return cuda.why_not()
    try:
        with warnings.catch_warnings():  # what nvmath imports may warn about itself
            warnings.simplefilter("ignore")
            from nvmath.bindings import cublasLt
        cublasLt.get_version()
    except ImportError as problem:
        return f"nvmath.bindings does not import ({problem}); pip install nvmath-python nvidia-cublas"
    except Exception as problem:  # noqa: BLE001  whatever the library says, it is the answer
        return f"cuBLASLt does not load: {(str(problem).splitlines() or [''])[0]}; pip install nvidia-cublas"
    return ""


def available() -> bool:
    """Whether cuBLASLt can be used."""
    return not why_not()


def supports(spec: MatmulSpec) -> bool:
    """Whether a product can run as it is; what cannot has an operand without a unit stride, or another dtype."""
    if spec.dtype not in SIZE or min(spec.a.strides + spec.b.strides) < 0:
        return False
    return spec.a.readable((spec.m, spec.k)) and spec.b.readable((spec.k, spec.n))


def matmul(a: int, b: int, out: int, spec: MatmulSpec, stream: "cuda.Stream | None" = None) -> None:
    """Queue a product of the matrices at three addresses. The first call of a shape plans it."""
    bind(spec)(a, b, out, stream)


def bind(spec: MatmulSpec, place: Place | None = None) -> Callable:
    """A function `(a, b, out, stream)` of three addresses for one product, which does no work but the call.

    At a place, the fastest of the library's algorithms is chosen there.
    """
    return _bind(spec, cuda.current(), place)


@functools.lru_cache(4096)
def _bind(spec: MatmulSpec, ordinal: int, place: Place | None = None) -> Callable:
    if not supports(spec):
        raise DeviceError(f"cuBLASLt cannot run {spec}; copy the operand that has no unit stride, or decompose it")
    if prod(spec.batch) * spec.m * spec.n == 0:
        return lambda a, b, out, stream=None: None
    if spec.k == 0:
        zeros = prod(spec.batch) * spec.m * spec.n * SIZE[spec.dtype]
        return lambda a, b, out, stream=None: cuda.fill(out, 0, zeros, stream)
    size, starts = SIZE[spec.dtype], (spec.a.offset, spec.b.offset)
    inner, out_stride, turns = outer_loop(simplify(Product.of(spec)))
    offsets = [(a + size * starts[0], b + size * starts[1], out) for a, b, out in turns]
    plans: dict[tuple[int, int, int], Callable] = {}
    if place is not None and 2 * prod(spec.batch) * spec.m * spec.n * spec.k >= TIMED_FROM:
        a, b, out = (alignment(256 + o) for o in offsets[0])  # buffers begin at multiples of 256 bytes
        plans[a, b, out] = fastest(inner, out_stride, (a, b, out), place, spec)

    def run(a, b, out, stream=None):
        for da, db, do in offsets:
            at = a + da, b + db, out + do
            aligned = (alignment(at[0]), alignment(at[1]), alignment(at[2]))
            call = plans.get(aligned)
            if call is None:
                call = plans[aligned] = plan(inner, out_stride, aligned, ordinal)
            call(*at, stream)

    return run


# --- shapes ---------------------------------------------------------------------------------------
def outer_loop(spec: Product) -> tuple[Product, int, list[tuple[int, ...]]]:
    """A product of at most one batch dimension (the longest), its stride in out, byte offsets for the others."""
    if not spec.batch:
        return spec, 0, [(0, 0, 0)]
    outs = tuple(prod(spec.batch[d + 1 :]) * spec.m * spec.n for d in range(len(spec.batch)))
    longest = max(range(len(spec.batch)), key=lambda d: spec.batch[d])
    others = [d for d in range(len(spec.batch)) if d != longest]
    strides = spec.a_strides[2:], spec.b_strides[2:], outs
    offsets = []
    for place in itertools.product(*(range(spec.batch[d]) for d in others)):
        turn = list(zip(place, others, strict=True))
        offsets.append(tuple(SIZE[spec.dtype] * sum(i * each[d] for i, d in turn) for each in strides))
    a, b = ((*each[:2], each[2 + longest]) for each in (spec.a_strides, spec.b_strides))
    one = replace(spec, batch=(spec.batch[longest],), a_strides=a, b_strides=b)
    return one, outs[longest], offsets


# --- the library ----------------------------------------------------------------------------------
@functools.cache
def _library():
    """(cublasLt bindings, cublas enums, CUDA data types), or a DeviceError that says what is missing."""
    if why_not():
        raise DeviceError(f"no cuBLASLt: {why_not()}")
    from nvmath import CudaDataType
    from nvmath.bindings import cublas, cublasLt

    return cublasLt, cublas, CudaDataType


@functools.cache
def _handle(ordinal: int) -> int:
    """The library's handle on a device."""
    cuda.use(ordinal)
    return _library()[0].create()


def workspace_size(ordinal: int) -> int:
    """Bytes of scratch memory that algorithms may use."""
    return 64 * MIB if cuda.device(ordinal).cc[0] >= 9 else 32 * MIB


@functools.cache
def _workspace(ordinal: int, stream: int) -> int:
    """Scratch memory of one stream; products of a stream run in turn, so they may share it."""
    return cuda.allocate(workspace_size(ordinal))


def _set(setter, getter, target: int, attribute, value: int) -> None:
    """One attribute of a descriptor, in the integer type that the library reads."""
    holder = np.array([value], dtype=getter(int(attribute)))
    setter(target, int(attribute), holder.ctypes.data, holder.nbytes)


def _layout(dtype: str, rows: int, columns: int, leading: int, batch: tuple[int, ...], stride: int) -> int:
    """A column-major matrix as the library sees it."""
    lt, _, kinds = _library()
    layout = lt.matrix_layout_create(int(kinds[KIND[dtype]]), rows, columns, leading)
    if batch:
        set_, get, names = (
            lt.matrix_layout_set_attribute,
            lt.get_matrix_layout_attribute_dtype,
            lt.MatrixLayoutAttribute,
        )
        _set(set_, get, layout, names.BATCH_COUNT, batch[0])
        _set(set_, get, layout, names.STRIDED_BATCH_OFFSET, stride)
    return layout


def describe(spec: Product, out_stride: int) -> tuple[int, int, int, int]:
    """(operation, first, second, out) descriptors of a product of at most one batch dimension; operands swap places."""
    lt, cublas, kinds = _library()
    double = spec.dtype == "float64"
    kinds_of = cublas.ComputeType
    single = kinds_of.COMPUTE_32F_FAST_TF32 if spec.tf32 else kinds_of.COMPUTE_32F
    compute = kinds_of.COMPUTE_64F if double else single
    operation = lt.matmul_desc_create(int(compute), int(kinds.CUDA_R_64F if double else kinds.CUDA_R_32F))
    left = orient(spec.m, spec.k, *spec.a_strides[:2])
    right = orient(spec.k, spec.n, *spec.b_strides[:2])
    assert left is not None and right is not None, spec  # `supports` was asked before
    (a_turned, a_leading), (b_turned, b_leading) = left, right
    set_, get, names = lt.matmul_desc_set_attribute, lt.get_matmul_desc_attribute_dtype, lt.MatmulDescAttribute
    _set(set_, get, operation, names.TRANSA, int(cublas.Operation.T if b_turned else cublas.Operation.N))
    _set(set_, get, operation, names.TRANSB, int(cublas.Operation.T if a_turned else cublas.Operation.N))
    a_step, b_step = (each[2] if spec.batch else 0 for each in (spec.a_strides, spec.b_strides))
    first = _layout(spec.dtype, *((spec.k, spec.n) if b_turned else (spec.n, spec.k)), b_leading, spec.batch, b_step)
    second = _layout(spec.dtype, *((spec.m, spec.k) if a_turned else (spec.k, spec.m)), a_leading, spec.batch, a_step)
    return operation, first, second, _layout(spec.dtype, spec.n, spec.m, spec.n, spec.batch, out_stride)


def _preference(limit: int, aligned: tuple[int, int, int]) -> int:
    lt, _, _ = _library()
    preference, names = lt.matmul_preference_create(), lt.MatmulPreferenceAttribute
    a, b, out = aligned
    wanted = {names.MAX_WORKSPACE_BYTES: limit, names.REDUCTION_SCHEME_MASK: int(lt.ReductionScheme.COMPUTE_TYPE)}
    wanted |= {names.MIN_ALIGNMENT_A_BYTES: b, names.MIN_ALIGNMENT_B_BYTES: a}
    wanted |= {names.MIN_ALIGNMENT_C_BYTES: out, names.MIN_ALIGNMENT_D_BYTES: out}
    for name, value in wanted.items():
        set_, get = lt.matmul_preference_set_attribute, lt.get_matmul_preference_attribute_dtype
        _set(set_, get, preference, name, value)
    return preference


def _ranked(
    spec: Product, handle: int, described: tuple[int, ...], limit: int, aligned: tuple[int, int, int], most: int
) -> list[Any]:
    """The library's choices of algorithm as its records, the best first by its own judgement."""
    lt, _, _ = _library()
    operation, first, second, result = described
    preference, found = _preference(limit, aligned), np.zeros(1, np.int32)
    best: Any = np.zeros(most, dtype=lt.matmul_heuristic_result_dtype)
    args = handle, operation, first, second, result, result, preference, most, best.ctypes.data, found.ctypes.data
    try:
        lt.matmul_algo_get_heuristic(*args)
    except lt.cuBLASLtError as problem:
        raise DeviceError(f"cuBLASLt plans no product for {spec}: {problem}") from problem
    finally:
        lt.matmul_preference_destroy(preference)
    usable = [best[i : i + 1] for i in range(int(found[0])) if not int(best["state"][i])]
    if not usable:
        raise DeviceError(f"cuBLASLt has no algorithm for {spec}, addresses aligned to {aligned} bytes")
    return usable


def version() -> str:
    """What a choice among its algorithms depends on."""
    return f"cublaslt {_library()[0].get_version()}"


def plan(spec: Product, out_stride: int, aligned: tuple[int, int, int], ordinal: int) -> Callable:
    """A function `(a, b, out, stream)` with descriptors and the library's first algorithm kept."""
    return algorithms(spec, out_stride, aligned, ordinal, 1)[0]


def algorithms(
    spec: Product, out_stride: int, aligned: tuple[int, int, int], ordinal: int, most: int
) -> list[Callable]:
    """A function for each of the library's first algorithms.

    Descriptors live as long as the process: a plan is kept for each shape and alignment anyway.
    """
    with _lock:
        handle, limit = _handle(ordinal), workspace_size(ordinal)
        described = describe(spec, out_stride)
        ranked = _ranked(spec, handle, described, limit, aligned, most)
    return [_runner(spec, handle, described, best, ordinal) for best in ranked]


def alignment(address: int) -> int:
    """Bytes that an address is a multiple of, 256 at most."""
    return min(address & -address, 256) or 256


def fastest(spec: Product, out_stride: int, aligned: tuple[int, int, int], place: Place, of: MatmulSpec) -> Callable:
    """The fastest of the library's first algorithms, timed once for each product."""
    found = algorithms(spec, out_stride, aligned, place.ordinal, MOST)
    known = remembered(place, "matmul", of, version())
    named = {f"cublaslt heuristic {i}": each for i, each in enumerate(found)}
    if known is not None and known.best in named:
        return named[known.best]
    batch = max(spec.batch, default=1)
    reach = [
        1 + (m - 1) * s[0] + (n - 1) * s[1] + (batch - 1) * (s[2] if spec.batch else 0)
        for (m, n), s in (((spec.m, spec.k), spec.a_strides), ((spec.k, spec.n), spec.b_strides))
    ]
    out = 1 + (batch - 1) * out_stride + spec.m * spec.n
    sizes = [SIZE[spec.dtype] * n for n in (*reach, out)]
    ways = [Way(name, functools.partial(_on_stream, each, place.stream)) for name, each in named.items()]
    return named[choose(place, "matmul", of, version(), ways, sizes).name]


def _on_stream(run: Callable, stream: "cuda.Stream", a: int, b: int, out: int, workspace: int) -> None:
    run(a, b, out, stream)


def _runner(spec: Product, handle: int, described: tuple[int, ...], best: Any, ordinal: int) -> Callable:
    lt, _, _ = _library()
    operation, first, second, result = described
    limit = workspace_size(ordinal)
    scales = np.array([1, 0], np.float64 if spec.dtype == "float64" else np.float32)
    head, zero = (handle, operation, scales.ctypes.data), scales.ctypes.data + scales.itemsize
    fields = best.dtype.fields
    assert fields is not None
    algorithm, call = best.ctypes.data + fields["algo"][1], lt.matmul

    def run(a, b, out, stream=None, _keep=(best, scales)):
        queue = 0 if stream is None else int(stream)
        tail = out, result, out, result, algorithm, _workspace(ordinal, queue), limit, queue
        try:
            call(*head, b, first, a, second, zero, *tail)
        except lt.cuBLASLtError as problem:
            raise DeviceError(f"cuBLASLt failed on {spec}: {problem}") from problem

    return run
