"""The figures of the house, in one run: kernels against a copy and torch.compile, launches, node construction.

    python benchmarks/house.py [--device cpu|cuda] [--seconds 200] [--json FILE]

Every peer runs in the same process on the same data; times are medians. torch is needed for the peers only.
"""

import argparse
import json
import platform
import statistics
import time
import timeit
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import flame
from flame import compiler, values
from flame.runtime.buffer import Buffer
from flame.runtime.execute import Executable

ROWS: list[dict[str, Any]] = []


def report(case: str, who: str, ms: float, nbytes: float = 0.0, note: str = "") -> None:
    rate = nbytes / ms / 1e6 if nbytes else 0.0
    ROWS.append({"case": case, "who": who, "ms": round(ms, 4), "GB/s": round(rate), "note": note})
    print(f"{case:34} {who:16} {ms:9.4f} ms {rate:7.0f} GB/s  {note}", flush=True)


class Bench:
    """Times work on one device, FLAME's and torch's."""

    def __init__(self, device: str):
        self.name, self.gpu = device, device != "cpu"
        self.device = flame.device(device)

    def flame(self, *tensors: flame.Tensor, repeat: int = 30) -> tuple[float, compiler.Program]:
        """The median milliseconds of replaying the plan of some pending tensors, and its program."""
        seen: list[compiler.Program] = []
        compiler.listeners.append(seen.append)
        try:
            flame.realize(*tensors)
        finally:
            compiler.listeners.remove(seen.append)
        program = seen[-1]
        executable = Executable(program.plan, program.codes, self.device)
        leaves = [self._leaf(program.plan.slots[s]) for s in program.plan.leaves]
        return self._time(lambda: executable.run(leaves), repeat), program

    def _leaf(self, slot: Any) -> Any:
        if slot.host:
            return 1
        data = np.random.default_rng(0).standard_normal(slot.shape, np.float32).astype(slot.dtype.numpy)
        found = values.get(flame.tensor(data, device=self.name).node)
        assert isinstance(found, Buffer)
        return found

    def torch(self, f: Callable[[], Any], repeat: int = 30) -> float:
        return self._time_torch(f, repeat) if self.gpu else self._wall(f, repeat)

    def _time(self, f: Callable[[], Any], repeat: int) -> float:
        if not self.gpu:
            return self._wall(f, repeat)
        stream, times = getattr(self.device, "stream"), []  # noqa: B009  only a GPU has one
        for _ in range(5):
            f()
        for _ in range(repeat):
            self.device.synchronize()
            start = stream.record(timed=True)
            f()
            end = stream.record(timed=True)
            end.synchronize()
            times.append(end.since(start))
        return statistics.median(times)

    def _time_torch(self, f: Callable[[], Any], repeat: int) -> float:
        for _ in range(5):
            f()
        times = []
        for _ in range(repeat):
            torch.cuda.synchronize()
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            f()
            end.record()
            torch.cuda.synchronize()
            times.append(start.elapsed_time(end))
        return statistics.median(times)

    def _wall(self, f: Callable[[], Any], repeat: int) -> float:
        for _ in range(3):
            f()
        times = []
        for _ in range(repeat):
            start = time.perf_counter()
            f()
            times.append(time.perf_counter() - start)
        return statistics.median(times) * 1e3


def chain(x: Any, w: Any, b: Any, silu: Callable[[Any], Any]) -> Any:
    return silu(x.float() * w + b)


def layer_norm(x: flame.Tensor, w: flame.Tensor, b: flame.Tensor) -> flame.Tensor:
    d = x.float() - x.float().mean(-1, True)
    return d * (d.square().mean(-1, True) + 1e-5).rsqrt() * w + b


def row_cases(bench: Bench, shape: tuple[int, int], dtype: str, left: Callable[[], bool], peers: bool) -> None:
    """chain, softmax, layer_norm and its backward, beside a copy and torch.compile."""
    kind, torch_kind = getattr(flame, dtype), getattr(torch, dtype)
    rng = np.random.default_rng(0)
    data, grad = (rng.standard_normal(shape, np.float32) for _ in range(2))
    weight, bias = (rng.standard_normal(shape[1], np.float32) for _ in range(2))
    tx, tg, tw, tb = (torch.from_numpy(a).to(bench.name) for a in (data, grad, weight, bias))
    tx, tg = tx.to(torch_kind), tg.to(torch_kind)
    x, g, w, b = (flame.tensor(a, device=bench.name) for a in (data, grad, weight, bias))
    x, g = x.to(kind).realize(), g.to(kind).realize()
    tag, once = f"{shape[0]}x{shape[1]} {dtype}", x.numel() * kind.size
    out = torch.empty_like(tx)
    report(f"copy {tag}", "torch copy_", bench.torch(lambda: out.copy_(tx)), 2 * once)

    def ours(name: str, passes: int, *tensors: flame.Tensor) -> None:
        ms, program = bench.flame(*tensors)
        report(f"{name} {tag}", "flame", ms, passes * once, f"{len(program.plan.steps)} steps")

    def theirs(name: str, passes: int, f: Callable[..., Any], *args: Any) -> None:
        if peers and left():
            torch._dynamo.reset()
            made = torch.compile(f, dynamic=False)
            report(f"{name} {tag}", "torch.compile", bench.torch(lambda: made(*args)), passes * once)

    silu = lambda v: v * v.sigmoid()  # noqa: E731
    ours("chain", 2, chain(x, w, b, silu).to(kind))
    theirs("chain", 2, lambda a, c, d: chain(a, c, d, F.silu).to(a.dtype), tx, tw, tb)
    ours("softmax", 2, x.float().softmax(-1).to(kind))
    theirs("softmax", 2, lambda a: torch.softmax(a, -1), tx)
    ours("layer_norm", 2, layer_norm(x, w, b).to(kind))
    theirs("layer_norm", 2, lambda a, c, d: F.layer_norm(a.float(), a.shape[-1:], c, d).to(a.dtype), tx, tw, tb)
    xs, ws, bs = (t.detach().requires_grad_() for t in (x, w, b))
    (layer_norm(xs, ws, bs) * g.float()).sum().backward()
    ours("layer_norm backward", 3, xs.grad, ws.grad, bs.grad)
    if peers and left():
        _torch_backward(bench, tag, once, tx, tw, tb, tg)


def _torch_backward(bench: Bench, tag: str, once: int, tx: Any, tw: Any, tb: Any, tg: Any) -> None:
    torch._dynamo.reset()
    leaves = [t.clone().requires_grad_() for t in (tx, tw, tb)]
    made = torch.compile(lambda a, c, d: F.layer_norm(a.float(), a.shape[-1:], c, d).to(a.dtype), dynamic=False)
    out = made(*leaves)
    ms = bench.torch(lambda: torch.autograd.grad(out, leaves, tg, retain_graph=True))
    report(f"layer_norm backward {tag}", "torch.compile", ms, 3 * once)


def adam(bench: Bench, count: int, left: Callable[[], bool], peers: bool) -> None:
    def step(p: Any, g: Any, m: Any, v: Any) -> Any:
        m = m * 0.9 + g * 0.1
        v = v * 0.999 + g * g * 0.001
        return p - m * 0.001 / ((v * 1.5).sqrt() + 1e-8), m, v

    rng = np.random.default_rng(0)
    data = [rng.random(count, np.float32) for _ in range(4)]
    ms, program = bench.flame(*step(*(flame.tensor(a, device=bench.name) for a in data)))
    report(f"Adam {count}", "flame", ms, 7 * 4 * count, f"{len(program.plan.steps)} steps")
    if peers and left():
        given = [torch.from_numpy(a).to(bench.name) for a in data]
        made = torch.compile(step, dynamic=False)
        report(f"Adam {count}", "torch.compile", bench.torch(lambda: made(*given)), 7 * 4 * count)


def products(bench: Bench, sizes: list[tuple[int, str]]) -> None:
    for n, dtype in sizes:
        rng = np.random.default_rng(0)
        a, b = (flame.tensor(rng.standard_normal((n, n), np.float32), device=bench.name) for _ in range(2))
        a, b = a.to(getattr(flame, dtype)).realize(), b.to(getattr(flame, dtype)).realize()
        ms, _ = bench.flame(a @ b, repeat=10)
        ta, tb = (torch.randn(n, n, device=bench.name).to(getattr(torch, dtype)) for _ in range(2))
        theirs = bench.torch(lambda: ta @ tb, 10)  # noqa: B023  called at once
        report(f"matmul {n} {dtype}", "flame", ms, note=f"{2 * n**3 / ms / 1e9:.1f} TFLOP/s")
        report(f"matmul {n} {dtype}", "torch", theirs, note=f"{2 * n**3 / theirs / 1e9:.1f} TFLOP/s")


def overheads(bench: Bench) -> None:
    """Host time of a launch in a replayed plan, and of building a node."""
    x = flame.tensor(np.ones(64, np.float32), device=bench.name)
    y = x
    with flame.config(fuse=False):
        for _ in range(100):
            y = (y + 1.0).exp()
        seen: list[compiler.Program] = []
        compiler.listeners.append(seen.append)
        y.realize()
        compiler.listeners.remove(seen.append)
    executable = Executable(seen[-1].plan, seen[-1].codes, bench.device)
    leaves: list[Any] = [values.get(x.node)]
    count = len(seen[-1].plan.steps)
    for _ in range(3):
        executable.run(leaves)
    bench.device.synchronize()
    start = time.perf_counter()
    for _ in range(20):
        executable.run(leaves)
    host = (time.perf_counter() - start) / 20 / count * 1e6
    bench.device.synchronize()
    report("launch in a replayed plan", "flame", host / 1e3, note=f"{host:.2f} us of {count} launches")
    a, b = (flame.tensor(np.ones(4, np.float32), device=bench.name) for _ in range(2))

    def build() -> None:
        last = a
        for _ in range(100):
            last = last + b  # the whole chain dies with the function: each call makes every node anew

    us = min(timeit.repeat(build, number=10, repeat=5)) / 1000 * 1e6
    report("a + b: one node and its handle", "flame", us / 1e3, note=f"{us:.2f} us")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=200)
    parser.add_argument("--json")
    parser.add_argument("--no-peers", action="store_true")
    given = parser.parse_args()
    start, bench, peers = time.time(), Bench(given.device), not given.no_peers

    def left() -> bool:
        return time.time() - start < given.seconds

    machine = torch.cuda.get_device_name() if bench.gpu else platform.processor() or platform.machine()
    print(f"{time.strftime('%Y-%m-%d')} {machine}, Python {platform.python_version()}, torch {torch.__version__}")
    overheads(bench)
    if bench.gpu:
        products(bench, [(8192, "bfloat16"), (4096, "bfloat16"), (4096, "float32")])
        for dtype in ("bfloat16", "float32"):
            row_cases(bench, (16384, 8192), dtype, left, peers)
        row_cases(bench, (16384, 1152), "bfloat16", left, peers)
        adam(bench, 1 << 26, left, peers)
    else:
        row_cases(bench, (4096, 4096), "float32", left, peers)
        adam(bench, 1 << 24, left, peers)
        products(bench, [(1024, "float32")])
    if given.json:
        with open(given.json, "w") as f:
            json.dump(ROWS, f, indent=1)
    print(f"{time.time() - start:.0f} s")


if __name__ == "__main__":
    main()
