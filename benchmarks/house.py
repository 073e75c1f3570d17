"""What the house costs beside its kernels: launches, nodes, and products through the libraries.

    python benchmarks/house.py [--device cpu|cuda] [--json FILE]

Kernels are measured by kernels.py, compiling by compile.py.
"""

import argparse
import json
import sys
import time
import timeit
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

import flame
from benchmarks import timing
from flame import compiler, values
from flame.ir.graph import toposort
from flame.runtime.execute import Executable

ROWS: list[dict[str, Any]] = []
PRODUCTS = {"cuda": [(8192, "bfloat16"), (4096, "bfloat16"), (4096, "float32")], "cpu": [(1024, "float32")]}


def report(case: str, who: str, ms: float, note: str = "") -> None:
    ROWS.append({"case": case, "who": who, "ms": round(ms, 4), "note": note})
    print(f"{case:34} {who:16} {ms:9.4f} ms  {note}", flush=True)


def replayed(*tensors: flame.Tensor) -> tuple[Executable, list[Any]]:
    """The plan of pending tensors, and the memory of its leaves."""
    seen: list[compiler.Program] = []
    inputs = [n for n in toposort([t.node for t in tensors], values.COMPUTED) if n in values.COMPUTED]
    memory = [values.get(n) for n in inputs]
    compiler.listeners.append(seen.append)
    try:
        flame.realize(*tensors)
    finally:
        compiler.listeners.remove(seen.append)
    (program,) = seen
    order = [-1 - program.values[s]["uid"] for s in program.plan.leaves]  # a compiled graph's leaves are numbered so
    return Executable(program.plan, program.codes, tensors[0].device), [memory[i] for i in order]


def products(device: str) -> None:
    for n, dtype in PRODUCTS[device]:
        kind = getattr(torch, dtype)
        ta, tb = (torch.randn(n, n, device=device).to(kind) for _ in range(2))
        a, b = flame.from_dlpack(ta), flame.from_dlpack(tb)
        executable, leaves = replayed(a @ b)
        gpu = device != "cpu"
        mine = torch.cuda.ExternalStream(int(a.device.stream)) if gpu else None
        theirs = torch.cuda.current_stream() if gpu else None
        for who, run, stream in (
            ("flame", lambda: executable.run(leaves), mine),  # noqa: B023  called at once
            ("torch", lambda: ta @ tb, theirs),  # noqa: B023
        ):
            ms = timing.milliseconds(run, stream)
            report(f"matmul {n} {dtype}", who, ms, f"{2 * n**3 / ms / 1e9:.1f} TFLOP/s")


def launches(device: str) -> None:
    """Host time of a launch in a replayed plan of 200."""
    x = flame.tensor(np.ones(64, np.float32), device=device)
    y = x
    with flame.config(fuse=False):
        for _ in range(100):
            y = (y + 1.0).exp()
        executable, leaves = replayed(y)
    count = len(executable.plan.steps)
    for _ in range(3):
        executable.run(leaves)
    x.device.synchronize()
    start = time.perf_counter()
    for _ in range(20):
        executable.run(leaves)
    host = (time.perf_counter() - start) / 20 / count * 1e6
    x.device.synchronize()
    report("launch in a replayed plan", "flame", host / 1e3, f"{host:.2f} us of {count} launches")


def nodes(device: str) -> None:
    """Host time of one new node and its handle."""
    a, b = (flame.tensor(np.ones(4, np.float32), device=device) for _ in range(2))

    def build() -> None:
        last = a
        for _ in range(100):
            last = last + b  # the whole chain dies with the function: each call makes every node anew

    us = min(timeit.repeat(build, number=10, repeat=5)) / 1000 * 1e6
    report("a + b: one node and its handle", "flame", us / 1e3, f"{us:.2f} us")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=PRODUCTS)
    parser.add_argument("--json")
    given = parser.parse_args()
    print(timing.machine(given.device != "cpu"))
    launches(given.device)
    nodes(given.device)
    products(given.device)
    if given.json:
        Path(given.json).write_text(json.dumps(ROWS, indent=1))


if __name__ == "__main__":
    main()
