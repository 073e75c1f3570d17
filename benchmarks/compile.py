"""What compiling costs: a plan of many different kernels, cold and from the disk cache, and where the time goes.

    python benchmarks/compile.py [--target cuda|cpu] [--kernels 100] [--cc 9.0]

The kernels are those of kernels.py's cases, every so many of them. Each figure is of a new process that begins with the
plan (importing FLAME is not counted, importing Numba is); `cuda` needs no GPU. CPU seconds are told beside the wall's:
on a busy machine only they are comparable.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import peers
from benchmarks.cases import every
from flame.ir.plan import Code
from flame.ir.target import CPU, CUDA
from flame.runtime import workers
from flame.runtime.workers import Job

LIMITS = {"cold": 6.0, "disk": 0.3}  # seconds of a plan of 100 kernels on 2 cores
SLOWEST = 1.0  # seconds of one kernel


def codes(target: str, count: int) -> list[Code]:
    """Different kernels of all families, as many as asked for."""
    found: dict[str, Code] = {}
    for case in every():
        if case.family != "optimizer":
            made = peers.program(case, CUDA if target == "cuda" else CPU)
            found.update((c.source, c) for c in made.codes.values())
    step = max(1, len(found) // count)
    return list(found.values())[::step][:count]


def jobs(target: str, count: int, cc: tuple[int, ...]) -> list[Job]:
    """What a compiler must be told of each."""
    options = (lambda c: c.options(cc)) if target == "cuda" else (lambda c: ())
    return [Job(target, c.source, c.name, c.signature, options(c)) for c in codes(target, count)]


def timed(call: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall and CPU seconds of a call (children's too, where they ended), and what it gave."""
    wall, cpu = time.perf_counter(), time.process_time()
    made = call()
    return time.perf_counter() - wall, time.process_time() - cpu, made


# --- measured in a process of its own ---------------------------------------------------------------------------------
def whole(given: list[Job]) -> dict[str, Any]:
    """All kernels of a plan, as `Device.kernels` asks for them."""
    wall, cpu, _ = timed(lambda: workers.compile_all(given))
    return {"wall": wall, "cpu": cpu}


def each(given: list[Job]) -> dict[str, Any]:
    """One kernel after the other in this process: the first brings Numba along."""
    times = [timed(lambda job=job: workers.compile_here(job)) for job in given]
    cpu = [t[1] for t in times]
    return {"first": cpu[0], "median": statistics.median(cpu[1:]), "slowest": max(cpu[1:]), "cpu": sum(cpu[1:])}


def parts(given: list[Job]) -> dict[str, Any]:
    """CPU seconds of each step on the way to a cubin."""
    from flame.runtime import cuda_compile
    from flame.runtime.cuda_emit import targeting

    sums = {"lower to LLVM": 0.0, "LLVM to PTX (NVVM)": 0.0, "PTX to cubin": 0.0}
    workers.compile_here(given[0])
    for job in given[1:]:
        cc = dict(job.options)["cc"]
        with targeting(cc):
            lower = timed(lambda job=job: cuda_compile.lowered(job.source, job.name, job.signature))[1]
        whole, ptx = timed(lambda job=job: cuda_compile.ptx_cuda(job.source, job.name, job.signature, job.options))[1:]
        sums["lower to LLVM"] += lower
        sums["LLVM to PTX (NVVM)"] += whole - lower
        sums["PTX to cubin"] += timed(lambda ptx=ptx, cc=cc: cuda_compile.assemble(ptx, cc))[1]
    return sums


MEASURES = {"whole": whole, "each": each, "parts": parts}


def apart(measure: str, given: argparse.Namespace, cache: str, **environment: str) -> dict[str, Any]:
    """A measure in a new process whose disk cache is a directory."""
    command = [sys.executable, __file__, "--target", given.target, "--kernels", str(given.kernels)]
    done = subprocess.run(
        [*command, "--cc", given.cc, "--measure", measure],
        env={**os.environ, "FLAME_CACHE": cache, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--kernels", type=int, default=100)
    parser.add_argument("--cc", default="9.0")
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        cc = tuple(map(int, given.cc.split(".")))
        print(json.dumps(MEASURES[given.measure](jobs(given.target, given.kernels, cc))))
        return
    load = os.getloadavg()[0]
    print(
        f"{time.strftime('%Y-%m-%d')} {os.cpu_count()} cores, load {load:.1f}; {given.kernels} {given.target} kernels"
    )
    table(given)


def table(given: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as cache:
        cold = apart("whole", given, cache)
        disk = apart("whole", given, cache)
    for name, found in (("cold", cold), ("disk", disk)):
        limit = f"  (at most {LIMITS[name]} s)" if given.kernels == 100 else ""
        print(f"  {name}: {found['wall']:.2f} s, {found['cpu']:.2f} CPU s in this process{limit}")
    with tempfile.TemporaryDirectory() as cache:
        one = apart("each", given, cache)
        print(
            f"  in one process: {one['cpu']:.2f} CPU s; a kernel's median {one['median']:.3f}, slowest "
            f"{one['slowest']:.2f} (at most {SLOWEST}); the first, with Numba, {one['first']:.2f}"
        )
        if given.target == "cuda":
            print("  " + ", ".join(f"{name} {seconds:.2f}" for name, seconds in apart("parts", given, cache).items()))


if __name__ == "__main__":
    main()
