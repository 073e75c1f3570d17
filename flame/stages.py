"""A compiled program as text at any stage: what `flame dump` prints, and FLAME_SHOW while a program runs."""

import sys

from flame.compiler import Program
from flame.config import STAGES, config
from flame.ir import show
from flame.ir.library import FinishedSpec
from flame.ir.origins import origins
from flame.ir.plan import Call
from flame.runtime import choice
from flame.runtime.cuda_compile import ptx_cuda

_announced: dict[tuple[int, str], Program] = {}  # holds the programs, so that an id stays one program's


def text(program: Program, stage: str) -> str:
    """The stage as the text that golden files use too."""
    match stage:
        case "graph":
            return show.graph(*program.roots, origins=origins)
        case "optimized":
            return show.graph(*program.optimized, origins=origins)
        case "kernels":
            return "\n\n".join(show.kernel(kernel) + _timed(kernel.name) for kernel in program.codes)
        case "plan":
            return show.plan(program.plan)
        case "choices":
            return "\n\n".join(choices(program))
        case _:
            return "\n\n".join(texts(program, stage).values())


def choices(program: Program) -> list[str]:
    """For each call, the ways that were timed and the one that was chosen: a table that FLAME_CHOICES reads."""
    found = []
    for step in dict.fromkeys(s for s in program.plan.steps if isinstance(s, Call)):
        specs = (step.spec, *([step.spec.product] if isinstance(step.spec, FinishedSpec) else []))
        made = [(spec, *item) for spec in specs for item in choice.known(spec).items()]
        found += [f"{routine} {spec}\n{each.text()}" for spec, (_, routine), each in made]
        if not made:
            found.append(f"{step.routine} {step.spec}\n    # nothing to choose")
    return list(dict.fromkeys(found)) or ["# no library is called"]


def _timed(name: str) -> str:
    """The layouts among which config.tune chose this kernel's, with their times; nothing where it did not."""
    found = choice.known(name.removesuffix("_many")).values()
    return "".join(f"\n  tuned among\n{each.text()}" for each in found)


def texts(program: Program, stage: str) -> dict[str, str]:
    """The source or the PTX of each kernel, by its name."""
    if stage == "choices":
        return {text.partition("\n")[0]: text for text in choices(program)}
    if stage == "source":
        return {code.name: code.source.strip() for code in program.codes.values()}
    cc = program.target.cc
    return {
        code.name: ptx_cuda(code.source, code.name, code.signature, code.options(cc)).strip()
        for code in program.codes.values()
    }


def announce(program: Program, line: str = "") -> None:
    """Print the stages that `config.show` names to standard error, each once a program; `line` is the user's own."""
    for stage in STAGES:
        if stage not in config.show or (id(program), stage) in _announced:
            continue
        _announced[id(program), stage] = program
        shown = stage != "ptx" or program.target.name == "cuda"
        body = text(program, stage) if shown else "(none: this runs on the CPU)"
        sys.stderr.write(f"\n# {stage}{' for ' * bool(line)}{line}\n{body}\n")
