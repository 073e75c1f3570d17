# pyright: reportAttributeAccessIssue=false
# Numba's internals are made at run time, where no type checker sees them.
"""Printed CPU kernels to machine code, and machine code to callables.

Compiling needs Numba; loading needs llvmlite only, because `import numba` takes as long as compiling many kernels.
The text is lowered by `lower.py`, or by Numba where it is more than the printed language. From there FLAME goes its
own way: it promises LLVM that rounds of a loop are independent, optimizes once for the host CPU and keeps the object.
"""

import ctypes
import ctypes.util
import functools
import hashlib
import itertools
import re
import threading
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm

from flame.errors import CompileError
from flame.runtime import cache
from flame.runtime.math_cpu import ACCESS_GROUP, TILE_GROUP

CTYPES = {"address": ctypes.c_int64, "int64": ctypes.c_int64, "int32": ctypes.c_int32, "int16": ctypes.c_int16,
          "int8": ctypes.c_int8, "uint8": ctypes.c_uint8, "float32": ctypes.c_float, "float64": ctypes.c_double,
          "boolean": ctypes.c_bool, "bool": ctypes.c_bool,
          "float16": ctypes.c_float, "bfloat16": ctypes.c_float,
          "float8_e4m3fn": ctypes.c_float, "float8_e5m2": ctypes.c_float}  # fmt: skip
FAST_MATH = {"contract", "arcp"}  # not nsz: -0.0 is a result like any other; folds carry their own flags
_loaded = itertools.count()
LOCK = threading.RLock()  # neither Numba's compiler nor LLVM's global state is safe between threads


@functools.cache
def host() -> tuple[str, str]:
    """(name, features) of this machine's CPU, as LLVM spells them."""
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


def key_cpu(source: str, name: str, signature: tuple[str, ...]) -> str:
    """What the object code depends on, but for FLAME and its compilers (the cache's own version has those)."""
    parts = "\0".join(("cpu", llvm.get_process_triple(), *host(), name, ",".join(signature), source))
    return hashlib.sha256(parts.encode()).hexdigest()


def compile_cpu(source: str, name: str, signature: tuple[str, ...]) -> bytes:
    """The kernel's object code for this machine: a C function `NAME(begin, end, n, *args)`."""
    path = cache.source_file(source, name)
    try:
        with LOCK:
            return _emit_object(_compiled(source, name, signature))
    except Exception as problem:
        raise CompileError(_message(problem, name, str(path))) from problem


def _function(source: str, name: str, path: str) -> Callable:
    """The Python function that the file defines."""
    scope: dict[str, Any] = {"__name__": f"flame.kernels.{name}", "__file__": path}
    exec(compile(source, path, "exec"), scope)
    return scope[name]


def _message(problem: Exception, name: str, path: str) -> str:
    """The kernel, the first line of Numba's message that says something, and the file."""
    noise = ("Failed in", "- ", "During: ", "File ", "During", "Use of unsupported", "<source", "[", "This error")
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in str(problem).splitlines()]
    useful = [line for line in lines if line and not line.startswith(noise)]
    at = re.search(re.escape(path) + r'"?[,)]? ?\(?(?:line )?(\d+)', re.sub(r"\x1b\[[0-9;]*m", "", str(problem)))
    where = f"{path}, line {at[1]}" if at else path
    why = useful[0] if useful else type(problem).__name__
    if (
        why.endswith(":") and len(useful) > 1
    ):  # "No implementation of function ... found for signature:" which comes next
        why = f"{why} {useful[1].removeprefix('>>> ')}"
    return f"kernel {name} did not compile: {why} ({where}); please report it with this file"


# To LLVM: straight from the text, or by Numba.


def _compiled(source: str, name: str, signature: tuple[str, ...]) -> tuple:
    """(The kernel's LLVM module, libraries that it calls)."""
    return lowered(source, name, signature) or _by_numba(source, name, signature)


def lowered(source: str, name: str, signature: tuple[str, ...]) -> tuple | None:
    """(The LLVM module of a text of the printed language, no libraries), or None for what only Numba can compile."""
    from numba.core import fastmathpass
    from numba.core.cpu_options import FastMathOptions
    from numba.core.errors import TypingError

    from flame.runtime import lower, prelude_cpu

    try:
        module = lower.lower(source, name, _arguments(signature), functools.partial(getattr, prelude_cpu), _rule)
    except (lower.UnsupportedError, TypingError):
        return None
    fastmathpass.rewrite_module(module, FastMathOptions(FAST_MATH))
    _mark_loops(module)
    return module, ()


def _rule(name: str) -> Callable | None:
    """How a call of an intrinsic is typed and emitted, as `lower` asks; None for a name that is none."""
    from numba.core.registry import cpu_target

    from flame.runtime import prelude_cpu

    typing = getattr(getattr(prelude_cpu, name), "_defn", None)
    if typing is None:
        return None

    def rule(*kinds: Any) -> tuple:
        signature, emit = typing(cpu_target.typing_context, *kinds)
        return signature.return_type, signature.args, lambda b, values, context, _: emit(context, b, signature, values)

    return rule


def _arguments(signature: tuple[str, ...]) -> list:
    """Numba's type of each argument, begin, end and n the first."""
    import numba

    narrow = ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
    kinds = {"address": numba.int64, "bool": numba.boolean, **dict.fromkeys(narrow, numba.float32)}
    return [numba.int64] * 3 + [kinds[s] if s in kinds else getattr(numba, s) for s in signature]


@functools.cache
def _library_class():
    """A code library that only catches the LLVM module which Numba writes."""
    from numba.core.codegen import JITCodeLibrary

    class CatchingLibrary(JITCodeLibrary):
        caught = None

        def add_ir_module(self, module):
            self.caught = module

        def finalize(self):
            self._finalized = True

    return CatchingLibrary


def _by_numba(source: str, name: str, signature: tuple[str, ...]) -> tuple:
    """(Numba's LLVM module with the kernel's C function added, libraries that it calls)."""
    from numba.core import compiler, types
    from numba.core.cpu_options import FastMathOptions
    from numba.core.registry import cpu_target

    function, arguments = _function(source, name, str(cache.source_file(source, name))), _arguments(signature)
    typing, target = cpu_target.typing_context, cpu_target.target_context
    typing.refresh()
    target.refresh()
    flags = compiler.Flags()
    flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    flags.nrt, flags.boundscheck = False, False
    flags.error_model, flags.fastmath = "numpy", FastMathOptions(FAST_MATH)
    library = _library_class()(target.codegen(), function.__name__)
    compiler.compile_extra(typing, target, function, arguments, types.none, flags, {}, library=library)
    if library.caught is None:
        raise RuntimeError("Numba lowered no LLVM module")
    _mark_loops(library.caught)
    _add_entry(library.caught, function.__name__)
    return library.caught, library._linking_libraries


def _add_entry(module, name: str) -> None:
    """A C function NAME around Numba's, which alone stays visible."""
    from llvmlite import ir

    (inner,) = [f for f in module.functions if f.blocks]
    inner.linkage = "internal"
    for variable in module.global_values:
        if isinstance(variable, ir.GlobalVariable) and variable.linkage == "common":  # Numba's environment
            variable.linkage, variable.initializer = "internal", ir.Constant(variable.value_type, None)
    _result, _error, *rest = inner.ftype.args
    entry = ir.Function(module, ir.FunctionType(ir.VoidType(), rest), name)
    builder = ir.IRBuilder(entry.append_basic_block("entry"))
    out = [builder.alloca(t.pointee) for t in inner.ftype.args[:2]]
    builder.call(inner, [*out, *entry.args])
    builder.ret_void()


def _mark_loops(module) -> None:
    """Every jump back to a loop's head says that the loop's rounds touch memory independently of one another; of tiles,
    which every round of an outer loop fills anew, only innermost loops say so.
    """
    from llvmlite import ir

    group, tiles = (module.add_metadata([name]) for name in (ACCESS_GROUP, TILE_GROUP))
    for function in module.functions:
        jumps = _jumps_back(function)
        for number, jump in enumerate(jumps):
            inner = not any(other is not jump and other in _loop(function, jump) for other in jumps)
            groups = [group, tiles] if inner else [group]
            accesses = module.add_metadata([ir.MetaDataString(module, "llvm.loop.parallel_accesses"), *groups])
            jump.set_metadata("llvm.loop", module.add_metadata([f"flame.loop.{number}", accesses]))


def _jumps_back(function) -> list:
    """Terminators with a successor that is still being visited by a depth-first walk."""
    if not function.blocks:
        return []
    jumps, state = [], {function.entry_basic_block: "open"}
    walk = [(function.entry_basic_block, iter(_successors(function.entry_basic_block)))]
    while walk:
        block, rest = walk[-1]
        after = next(rest, None)
        if after is None:
            state[block] = "done"
            walk.pop()
        elif after not in state:
            state[after] = "open"
            walk.append((after, iter(_successors(after))))
        elif state[after] == "open" and block.terminator not in jumps:
            jumps.append(block.terminator)
    return jumps


def _loop(function, jump) -> list:
    """The terminators of a loop: of all blocks from which its jump back is reached without passing its head."""
    (head,) = [b for b in _successors(jump.parent) if _dominates(function, b, jump.parent)]
    before: dict[Any, list] = {}
    for block in function.blocks:
        for after in _successors(block):
            before.setdefault(after, []).append(block)
    found, pending = {head}, [jump.parent]
    while pending:
        block = pending.pop()
        if block not in found:
            found.add(block)
            pending += before.get(block, [])
    return [block.terminator for block in found]


def _dominates(function, head, block) -> bool:
    """True if no way from the entry to `block` avoids `head`."""
    seen, pending = {head}, [function.entry_basic_block]
    while pending:
        at = pending.pop()
        if at not in seen:
            seen.add(at)
            pending += _successors(at)
    return head is block or block not in seen


def _successors(block) -> list:
    return [o for o in block.terminator.operands if hasattr(o, "instructions")]


def _text(module) -> str:
    """The module's text, with what llvmlite cannot spell.

    Where a CPU has vectors of 512 bits they are used: LLVM prefers 256, which old ones clock higher, but polynomials
    gain more (on a Xeon with AMX sin takes 1.2 ms for 2^20 elements instead of 2.1, erf 0.68 instead of 0.91).

    LLVM wants loops and access groups as distinct nodes. And x / sqrt(y) must not become an estimate, which is nan
    where y is 0 or infinite and wrong where it is denormal.
    """
    text = re.sub(
        r"^(define .*\))",
        r'\1 "reciprocal-estimates"="none" "prefer-vector-width"="512"',
        str(module),
        flags=re.MULTILINE,
    )
    text = re.sub(r'!\{ !"flame\.(?:access|tile)" \}', "distinct !{}", text)
    return re.sub(r'!(\d+) = !\{ !"flame\.loop\.\d+", (!\d+) \}', r"!\1 = distinct !{ !\1, \2 }", text)


# LLVM's part.


@functools.cache
def _machine():
    """The target machine that compiles."""
    return _new_machine()


def _new_machine():
    """LLVM's target machine for this CPU."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    cpu, features = host()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(cpu=cpu, features=features, opt=3, reloc="pic", codemodel="default")


def optimized(lowered: tuple):
    """Numba's module, linked and optimized for this machine."""
    caught, libraries = lowered
    module = llvm.parse_assembly(_text(caught))
    module.verify()
    for library in dict.fromkeys(libraries):
        module.link_in(library._get_module_for_linking(), preserve=True)
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = options.slp_vectorization = options.loop_interleaving = True
    builder = llvm.create_pass_builder(_machine(), options)
    builder.getModulePassManager().run(module, builder)
    return module


def _emit_object(lowered: tuple) -> bytes:
    module = optimized(lowered)
    for f in module.functions:
        if f.is_declaration and not f.name.startswith("llvm.") and not llvm.address_of_symbol(f.name):
            _libm()
            if not llvm.address_of_symbol(f.name):
                raise RuntimeError(f"it calls {f.name}, which no library here has")
    return _machine().emit_object(module)


def assembly(source: str, name: str, signature: tuple[str, ...]) -> str:
    """The kernel's assembly code, for people and tests."""
    with LOCK:
        return _machine().emit_assembly(optimized(_compiled(source, name, signature)))


@functools.cache
def _libm() -> None:
    """The C library's mathematics is among the symbols that LLVM finds."""
    llvm.load_library_permanently(ctypes.util.find_library("m") or "libm.so.6")


@functools.cache
def _linker():
    _libm()
    # A machine of its own: the linker takes it over. JITLink, since the older linker aborted beside a CUDA context on
    # an H200; the likely cause, not proven, is that code and the C library lay more than 2 GiB apart there.
    return llvm.create_lljit_compiler(_new_machine(), use_jit_link=True)


def load_cpu(object_code: bytes, name: str, signature: tuple[str, ...]) -> Callable[..., None]:
    """The kernel as a callable `(begin, end, n, *args)` that releases the GIL; it keeps its machine code alive."""
    with LOCK:
        code = (
            llvm.JITLibraryBuilder()
            .add_object_img(object_code)
            .add_current_process()
            .export_symbol(name)
            .link(_linker(), f"{name}.{next(_loaded)}")
        )
    kinds = [ctypes.c_int64] * 3 + [CTYPES[s] for s in signature]
    function = ctypes.CFUNCTYPE(None, *kinds)(code[name])
    function.code = code
    return function
