"""What the wide surface costs beside torch eager: scans, sorting, scatters, convolutions, resampling, losses.

    python benchmarks/surface.py [--device cpu|cuda] [--small]

Wall time of a call with everything around it (building the graph, finding the plan, launching), synchronized; medians.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

import flame

Call = Callable[..., Any]


def functional(lib: Any) -> Any:
    return lib.nn.functional


def backward(f: Call) -> Call:
    """The gradient of the sum of squares of a call, of its first operand."""

    def run(lib: Any, x: Any, *rest: Any) -> Any:
        x = x.detach().requires_grad_()
        (f(lib, x, *rest) ** 2).sum().backward()
        return x.grad

    return run


def cases(n: int) -> dict[str, tuple[Call, list[Any]]]:
    """Calls and the shapes of their operands; ("index", shape, rows) are positions."""
    embed = lambda lib, w, i: functional(lib).embedding(i, w)  # noqa: E731
    conv = lambda lib, x, w: functional(lib).conv2d(x, w, padding=1)  # noqa: E731
    pool = lambda lib, x: functional(lib).max_pool2d(x, 2)  # noqa: E731
    larger = lambda lib, x: functional(lib).interpolate(x, scale_factor=2, mode="bilinear")  # noqa: E731
    group = lambda lib, x: functional(lib).group_norm(x, 8)  # noqa: E731
    lines, images = (n, 1024), (n // 32, 64, 32, 32)
    return {
        "cumsum, rows of 1024": (lambda lib, x: lib.cumsum(x, 1), [lines]),
        "cumsum, one row": (lambda lib, x: lib.cumsum(x.reshape(-1), 0), [lines]),
        "sort, rows of 1024": (lambda lib, x: lib.sort(x, 1)[0], [lines]),
        "sort, one row": (lambda lib, x: lib.sort(x.reshape(-1))[0], [(n // 4, 1024)]),
        "topk 5 of 1024": (lambda lib, x: lib.topk(x, 5, 1)[0], [lines]),
        "median of 1024": (lambda lib, x: lib.median(x, 1)[0], [lines]),
        "prod": (lambda lib, x: lib.prod(x, 1), [lines]),
        "argmax": (lambda lib, x: lib.argmax(x, 1), [lines]),
        "logsumexp": (lambda lib, x: lib.logsumexp(x, 1), [lines]),
        "x[mask]": (lambda lib, x: x[x > 0], [lines]),
        "embedding": (embed, [(50257, 768), ("index", (n,), 50257)]),
        "embedding gradient": (backward(embed), [(50257, 768), ("index", (n,), 50257)]),
        "index_add": (lambda lib, x, i, v: x.index_add(0, i, v), [(1024, 256), ("index", (n,), 1024), (n, 256)]),
        "bincount": (lambda lib, i: lib.bincount(i, minlength=1000), [("index", (n * 64,), 1000)]),
        "conv 3x3, 64 channels": (conv, [images, (64, 64, 3, 3)]),
        "conv 3x3, 64 channels, gradient": (backward(conv), [images, (64, 64, 3, 3)]),
        "max_pool 2x2": (pool, [images]),
        "max_pool 2x2, gradient": (backward(pool), [images]),
        "bilinear 2x": (larger, [images]),
        "bilinear 2x, gradient": (backward(larger), [images]),
        "group_norm": (group, [images]),
        "group_norm, gradient": (backward(group), [images]),
    }


def operand(lib: Any, given: Any, device: str) -> Any:
    rng = np.random.default_rng(0)
    if given[0] == "index":
        data = rng.integers(0, given[2], given[1])
    else:
        data = rng.standard_normal(given, np.float32)
    return flame.tensor(data, device=device) if lib is flame else torch.from_numpy(data).to(device)


def realized(call: Call, operands: list[Any]) -> None:
    call(flame, *operands).realize()


def milliseconds(run: Callable[[], Any], wait: Callable[[], Any], repeat: int) -> float:
    for _ in range(3):
        run()
    wait()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        wait()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--small", action="store_true", help="an eighth of the rows")
    given = parser.parse_args()
    gpu = given.device != "cpu"
    machine = torch.cuda.get_device_name() if gpu else platform.processor() or platform.machine()
    print(f"{time.strftime('%Y-%m-%d')} {machine}, Python {platform.python_version()}, torch {torch.__version__}")
    repeat, rows = (20, 16384) if gpu else (5, 2048)
    for name, (call, operands) in cases(rows // 8 if given.small else rows).items():
        ours = [operand(flame, o, given.device) for o in operands]
        theirs = [operand(torch, o, given.device) for o in operands]
        wait = torch.cuda.synchronize if gpu else lambda: None
        mine = milliseconds(partial(realized, call, ours), flame.device(given.device).synchronize, repeat)
        other = milliseconds(partial(call, torch, *theirs), wait, repeat)
        print(f"{name:34} flame {mine:9.3f} ms   torch {other:9.3f} ms   {other / mine:6.2f}x", flush=True)


if __name__ == "__main__":
    main()
