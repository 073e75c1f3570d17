# pyright: reportAttributeAccessIssue=false, reportPrivateImportUsage=false
# Numba's internals are made at run time, where no type checker sees them.
"""Printed CUDA kernels to machine code, with no GPU needed: Numba's CUDA compiler to PTX, an assembler to a cubin.

The assembler is nvJitLink where it loads, else the driver's linker, else `ptxas` on the PATH.
"""

import contextlib
import functools
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from flame.errors import CompileError
from flame.runtime import cache

TYPES = {"address": "int64", "map": "int64", "bool": "boolean", "bfloat16": "float32", "float16": "float32"}
TYPES |= {"float8_e4m3fn": "float32", "float8_e5m2": "float32"}
ARCHITECTURES = [(7, 5), (8, 0), (8, 6), (8, 7), (8, 9), (9, 0), (10, 0), (10, 3), (12, 0), (12, 1)]

BOUND = re.compile(r"\.minnctapersm \d+\n")  # how many blocks must fit on a multiprocessor

_lock = threading.RLock()


def compile_cuda(source: str, name: str, signature: tuple[str, ...], options: tuple) -> bytes:
    """The cubin of kernel `name`; `options` are pairs: ("cc", (9, 0)), ("threads", 256), ("resident", 4).

    `threads` is the size of a block, `resident` how many blocks must fit on a multiprocessor: both bound the registers.
    `cluster` is how many neighbouring blocks run side by side and see each other's shared memory.
    """
    return assemble(ptx_cuda(source, name, signature, options), machine(signature, options))


def machine(signature: tuple[str, ...], options: tuple) -> tuple:
    """The compute capability to compile for: tensor maps come with what only (9, 0, "a") itself runs."""
    cc = tuple(dict(options)["cc"])
    return (*cc, "a") if "map" in signature else cc


def ptx_cuda(source: str, name: str, signature: tuple[str, ...], options: tuple) -> str:
    """The PTX of kernel `name`, whose arguments after n are `signature`: "address", "map" or a register type each."""
    from flame.runtime.cuda_emit import targeting

    chosen = dict(options)
    cc, threads, resident = machine(signature, options), chosen.get("threads"), chosen.get("resident", 1)
    bounds = (threads, resident) if threads and resident > 1 else threads
    path = cache.source_file(source, name)
    with _lock, targeting(cc):
        try:
            text = _by_lowering(source, name, signature, cc, bounds) or _by_numba(path, name, signature, cc, bounds)
        except Exception as problem:
            raise CompileError(_explain(path, name, cc, problem)) from problem
    text = text.replace("div.approx.ftz.f32", "div.full.ftz.f32")  # the former gives 0 for divisors above 2**126
    text = text.replace(entry(text), name)  # profilers and debuggers show the name without Numba's mangling
    for place in (k for k, kind in enumerate(signature, start=1) if kind == "map"):
        text = _by_value(text, f"{name}_param_{place}")
    if chosen.get("cluster", 1) > 1:
        text = re.sub(
            r"(\.maxntid[^\n]*\n)",
            rf"\1.explicitcluster\n.reqnctapercluster {chosen['cluster']}, 1, 1\n",
            text,
            count=1,
        )
    return text


def _by_value(ptx: str, parameter: str) -> str:
    """The parameter as the 128 bytes of a tensor map, whose address the kernel takes: Numba knows no such type."""
    declared = re.sub(rf"\.param \.[us]64 {parameter}\b", f".param .align 64 .b8 {parameter}[128]", ptx)
    address = rf"mov.b64 \1, {parameter};\n\tcvta.param.u64 \1, \1;"
    return re.sub(rf"ld\.param\.[bus]64\s+(%rd\d+), \[{parameter}\];", address, declared)


def lowered(source: str, name: str, signature: tuple[str, ...]):
    """The LLVM module of a text of the printed language, or None for one that only Numba can compile."""
    _numba()
    from flame.runtime import lower

    try:
        return lower.lower(source, name, _arguments(signature), *_prelude())
    except lower.UnsupportedError:
        return None


def _by_lowering(source: str, name: str, signature: tuple[str, ...], cc: tuple, bounds) -> str | None:
    module = lowered(source, name, signature)
    if module is None:
        return None
    from numba.cuda.cudadrv import nvrtc, nvvm

    module.triple, module.data_layout = "nvptx64-nvidia-cuda", nvvm.NVVM().data_layout
    nvvm.add_ir_version(module)
    function = module.get_global(name)
    nvvm.set_cuda_kernel(function)
    nvvm.set_launch_bounds(function, bounds)
    text = nvvm.compile_ir([str(module)], fastmath=True, opt=3, arch=nvrtc.get_arch_option(*cc))
    return text.decode().strip("\0\n ")


def _by_numba(path: Path, name: str, signature: tuple[str, ...], cc: tuple, bounds) -> str:
    from flame.runtime.cuda_emit import FAST

    cuda, types = _numba()
    kind = types.void(*_arguments(signature))
    function = getattr(_load(path), name)
    text, _ = cuda.compile(function, kind, cc=cc, device=False, abi="numba", fastmath=FAST, launch_bounds=bounds)
    return text


def _arguments(signature: tuple[str, ...]) -> list:
    """Numba's type of each argument, n the first."""
    _, types = _numba()
    return [types.int64, *(getattr(types, TYPES.get(each, each)) for each in signature)]


def _prelude() -> tuple:
    """What a name of the prelude stands for, and the rule of a name that is an intrinsic."""
    from flame.runtime import prelude_cuda

    def rule(name: str):
        getattr(prelude_cuda, name)  # families are made when they are asked for
        return prelude_cuda.EMITTERS.get(name)

    return partial(getattr, prelude_cuda), rule


def compile_user(function, arguments: tuple, cc: tuple[int, ...]) -> tuple[bytes, str]:
    """The cubin of a user's numba.cuda kernel, and its name there; an argument is (dtype, ndim), or a number's type.

    Nothing is printed: what he wrote is compiled as it is. No GPU is needed.
    """
    from flame.runtime.cuda_emit import targeting

    with _lock:
        cuda, types = _numba()
        kinds = {int: types.int64, float: types.float64, bool: types.boolean}
        signature = types.void(*[kinds[a] if isinstance(a, type) else _array(types, *a) for a in arguments])
        try:
            with targeting(cc):
                text, _ = cuda.compile(function, signature, cc=cc, device=False, abi="numba", fastmath=False)
        except Exception as problem:
            raise CompileError(f"{type(problem).__name__}: {problem}") from problem
    return assemble(text, cc), entry(text)


def _array(types, dtype: str, ndim: int):
    return types.Array(getattr(types, {"bool": "boolean"}.get(dtype, dtype)), ndim, "C")


@functools.cache
def why_not() -> str:
    """Why no kernel can be compiled for NVIDIA GPUs here; empty where one can. No GPU is needed."""
    try:
        _numba()
        from numba.cuda.cudadrv.nvvm import NVVM

        NVVM()
    except Exception as problem:  # noqa: BLE001  whatever the compiler lacks, it is the answer
        first = (str(problem).splitlines() or [""])[0]
        return f"{type(problem).__name__}: {first}; pip install 'numba-cuda[cu13]'"
    return ""


def entry(ptx: str) -> str:
    """The name of the one kernel in a PTX text."""
    found = re.search(r"\.entry\s+([\w$.]+)", ptx)
    if not found:
        raise CompileError("this PTX text has no kernel; it begins " + repr(ptx[:120]))
    return found[1]


def resources(ptx: str, cc: tuple[int, ...]) -> dict[str, int]:
    """Registers and spilled, local and shared bytes of the kernel, as the assembler reports them; {} without one."""
    report = _assembled(ptx, cc)[1]
    if not report:
        return {}

    def number(pattern: str) -> int:
        return sum(int(n) for n in re.findall(pattern, report))

    return {
        "registers": number(r"Used (\d+) registers"),
        "spills": _spilled(report),
        "local": number(r"(\d+) bytes stack frame"),
        "shared": number(r"(\d+) bytes smem"),
    }


def assemble(ptx: str, cc: tuple[int, ...]) -> bytes:
    """The cubin of a PTX text, by the first assembler of this machine that takes it."""
    return _assembled(ptx, cc)[0]


def _assembled(ptx: str, cc: tuple[int, ...]) -> tuple[bytes, str]:
    """A cubin and its assembler's report. Where the bound on registers would spill some, it is dropped."""
    cubin, report = _by_first(ptx, cc)
    if _spilled(report) and BOUND.search(ptx):
        return _by_first(BOUND.sub("", ptx), cc)
    return cubin, report


def _spilled(report: str) -> int:
    return sum(int(n) for n in re.findall(r"(\d+) bytes spill (?:stores|loads)", report))


def _by_first(ptx: str, cc: tuple[int, ...]) -> tuple[bytes, str]:
    missing, rejected = [], None
    for attempt in (_by_jitlink, _by_driver, _by_ptxas):
        try:
            return attempt(ptx, cc)
        except CompileError as problem:  # it may be older than the PTX; the next one may not
            rejected = rejected or problem
        except (ImportError, OSError, RuntimeError) as problem:
            missing.append(f"{attempt.__name__.removeprefix('_by_')}: {str(problem).splitlines()[0][:120]}")
    raise rejected or CompileError(
        "no assembler turns PTX into machine code here; install nvidia-nvjitlink or put ptxas on the PATH ("
        + "; ".join(missing)
        + ")"
    )


# --- Numba ----------------------------------------------------------------------------------------
@functools.cache
def _numba():
    """Numba's CUDA module and its types; where libnvrtc is missing, its list of architectures is ours."""
    try:
        from numba import cuda, types
        from numba.cuda import cuda_paths, dispatcher
        from numba.cuda.cudadrv import nvrtc

        from flame.runtime.cuda_emit import capability, targeted
    except ImportError as problem:
        raise CompileError("kernels for NVIDIA GPUs need numba-cuda: pip install 'numba-cuda[cu13]'") from problem
    try:
        known = nvrtc.get_supported_ccs()
    except Exception:  # noqa: BLE001  no libnvrtc: Numba asks it only for architectures, and for where it is
        known = ARCHITECTURES
        cuda_paths._get_nvrtc_path = lambda: cuda_paths._env_path_tuple("", None)
    nvrtc.get_supported_ccs = lambda: known
    asked = dispatcher.get_current_device  # Numba compiles functions that kernels call for the device it finds
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability()) if targeted() else asked()
    return cuda, types


def _load(path: Path):
    """The module of a printed file; it stands in sys.modules, because Numba looks up globals by module."""
    label = f"flame_kernel_{path.stem}"
    if label not in sys.modules:
        spec = importlib.util.spec_from_file_location(label, path)
        assert spec is not None and spec.loader is not None
        module = sys.modules[label] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[label]
            raise
    return sys.modules[label]


def _explain(path, name, cc, problem) -> str:
    lines = [line for line in str(problem).splitlines() if line.strip()]
    shown = "\n  ".join(lines[:12]) or type(problem).__name__
    target = ".".join(map(str, cc))
    return (
        f"kernel {name} does not compile for compute capability {target}: {path}\n  {type(problem).__name__}: {shown}"
    )


# --- assemblers -----------------------------------------------------------------------------------
def architecture(cc: tuple[int, ...]) -> str:
    """sm_90, or sm_90a for (9, 0, 'a')."""
    return "sm_" + "".join(str(part) for part in cc)


def _by_jitlink(ptx: str, cc: tuple[int, ...]) -> tuple[bytes, str]:
    from cuda.bindings import nvjitlink as link

    data = ptx.encode()
    handle = link.create(3, [f"-arch={architecture(cc)}", "-O3", "-Xptxas=-v"])
    try:
        try:
            link.add_data(handle, link.InputType.PTX, data, len(data), "kernel.ptx")
            link.complete(handle)
        except link.nvJitLinkError as problem:
            log = bytearray(max(link.get_error_log_size(handle), 1))
            link.get_error_log(handle, log)
            raise CompileError(_rejected(ptx, cc, "nvJitLink", log.decode(errors="replace"))) from problem
        cubin = bytearray(link.get_linked_cubin_size(handle))
        link.get_linked_cubin(handle, cubin)
        report = bytearray(max(link.get_info_log_size(handle), 1))
        link.get_info_log(handle, report)
        return bytes(cubin), report.decode(errors="replace")
    finally:
        link.destroy(handle)


def _by_driver(ptx: str, cc: tuple[int, ...]) -> tuple[bytes, str]:
    from flame.runtime import cuda

    return cuda.link(ptx, architecture(cc)), ""


@functools.cache
def _ptxas() -> str | None:
    return shutil.which("ptxas")


def _by_ptxas(ptx: str, cc: tuple[int, ...]) -> tuple[bytes, str]:
    program = _ptxas()
    if not program:
        raise RuntimeError("it is not on the PATH")
    with tempfile.TemporaryDirectory() as folder:
        text, cubin = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        text.write_text(ptx)
        done = subprocess.run(
            [program, "-v", "-O3", f"-arch={architecture(cc)}", str(text), "-o", str(cubin)],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise CompileError(_rejected(ptx, cc, "ptxas", done.stderr))
        return cubin.read_bytes(), done.stdout + done.stderr


def _rejected(ptx: str, cc: tuple[int, ...], who: str, log: str) -> str:
    name = "the kernel"
    with contextlib.suppress(CompileError):
        name = entry(ptx)
    return f"{who} rejects the PTX of {name} for {architecture(cc)}:\n  " + "\n  ".join(
        log.strip("\0\n ").splitlines()[:12]
    )
