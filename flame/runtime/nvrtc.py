# pyright: reportAttributeAccessIssue=false
"""CUDA C++ to machine code by NVRTC, through cuda-python: without a GPU or nvcc. What compiles is cached on disk."""

import functools
import hashlib
import importlib.util
from pathlib import Path
from typing import Any

from flame.errors import CompileError, MissingError
from flame.runtime import cache


def compile_c(
    source: str, name: str, cc: tuple[int, ...], file: str, options: tuple[str, ...] = ()
) -> tuple[bytes, str]:
    """The cubin of a text, and what the kernel `name` is called in it; `file` is what errors call the text.

    Raises CompileError with the compiler's own words, MissingError where NVRTC is not installed.
    """
    arch = "".join(str(part) for part in cc)
    flags = (f"--gpu-architecture=sm_{arch}", "--std=c++17", "-default-device", *_includes(), *options)
    key = hashlib.sha256(repr((source, name, flags, _version())).encode()).hexdigest()
    found = cache.get("nvrtc", key)
    if found is None:
        found = _compile(source, name, flags, file)
        cache.put("nvrtc", key, found)
    lowered, _, cubin = found.partition(b"\0")
    return cubin, lowered.decode()


def _compile(source: str, name: str, flags: tuple[str, ...], file: str) -> bytes:
    nvrtc = _nvrtc()
    expression = name.encode()
    program = _checked(nvrtc, nvrtc.nvrtcCreateProgram(source.encode(), file.encode(), 0, [], []))
    try:
        _checked(nvrtc, nvrtc.nvrtcAddNameExpression(program, expression))
        (status,) = nvrtc.nvrtcCompileProgram(program, len(flags), [f.encode() for f in flags])
        if int(status):
            log = bytearray(_checked(nvrtc, nvrtc.nvrtcGetProgramLogSize(program)))
            nvrtc.nvrtcGetProgramLog(program, log)
            said = log.decode(errors="replace").strip("\0\n ")
            raise CompileError(f"kernel {name} does not compile; NVRTC says:\n{said}")
        lowered = _checked(nvrtc, nvrtc.nvrtcGetLoweredName(program, expression))
        cubin = bytearray(_checked(nvrtc, nvrtc.nvrtcGetCUBINSize(program)))
        _checked(nvrtc, nvrtc.nvrtcGetCUBIN(program, cubin))
        return bytes(lowered) + b"\0" + bytes(cubin)
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _checked(nvrtc: Any, answer: Any) -> Any:
    status, *rest = answer
    if int(status):
        raise CompileError(f"NVRTC fails: {nvrtc.nvrtcGetErrorString(status)[1].decode()}")
    return rest[0] if rest else None


@functools.cache
def _nvrtc():
    try:
        from cuda.bindings import nvrtc

        nvrtc.nvrtcVersion()
    except Exception as problem:
        raise MissingError(
            f"CUDA C++ kernels need NVRTC ({problem}): pip install cuda-python nvidia-cuda-nvrtc, or "
            "flame-compiler[cuda]"
        ) from problem
    return nvrtc


def _version() -> tuple[int, int]:
    _, major, minor = _nvrtc().nvrtcVersion()
    return major, minor


@functools.cache
def why_not() -> str:
    """Why no CUDA C++ can be compiled here; empty where it can."""
    try:
        _nvrtc()
    except MissingError as problem:
        return str(problem)
    return ""


@functools.cache
def _includes() -> tuple[str, ...]:
    """Where cuda_fp16.h and its like lie: with the toolkit's packages, or with numba-cuda."""
    places: list[Path] = []
    for package, inner in (("nvidia", "cu13/include"), ("nvidia", "cuda_runtime/include"), ("numba_cuda", _BUNDLED)):
        spec = importlib.util.find_spec(package)
        places += [Path(root, inner) for root in (spec.submodule_search_locations or ())] if spec else []
    found = [p for p in places if (p / "cuda_fp16.h").is_file()]
    return tuple(f"--include-path={p}" for p in found[:1])


_BUNDLED = "numba/cuda/include/13"
