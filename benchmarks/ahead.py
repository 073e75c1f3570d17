"""Compile for the peers ahead, in processes of their own: what they leave on disk is found when the peers are timed.

    python benchmarks/ahead.py PEERS DEVICE SCALE PART PARTS [PATTERN]      what one of them runs

torch.compile chooses among some forms of a kernel by timing them, which processes that share a GPU disturb: those
choices are removed again, so that the process that measures makes them alone.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
MANY = 100  # operands of a case that would keep its process busy when all others are done
PARTS = min(12, os.cpu_count() or 1)


def caches(folder: Path) -> None:
    """The compilers of this process and of its children keep what they made in a folder."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor")
    os.environ["TRITON_CACHE_DIR"] = str(folder / "triton")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder / "jax")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def compile_ahead(who: Sequence[str], device: str, scale: int, pattern: str | None, seconds: float) -> float:
    """Let processes compile every case for the peers, for so many seconds at most; returns how many it took."""
    start, folder = time.time(), Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    more = [pattern] if pattern else []
    command = [sys.executable, __file__, ",".join(who), device, str(scale)]
    environment = {**os.environ, "TORCHINDUCTOR_COMPILE_THREADS": "1", "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen([*command, str(part), str(PARTS), *more], env=environment, stderr=subprocess.DEVNULL)
        for part in range(PARTS)
    ]
    for each in running:
        try:
            each.wait(max(1.0, start + seconds - time.time()))
        except subprocess.TimeoutExpired:
            each.kill()
            each.wait()
    for choice in folder.rglob("*.best_config"):
        choice.unlink(missing_ok=True)
    return time.time() - start


def main() -> None:
    who, device, scale, part, parts, *pattern = sys.argv[1:]
    from benchmarks.cases import every
    from benchmarks.kernels import Bench, chosen

    wanted = chosen(every(int(scale)), pattern[0] if pattern else None)
    cases = [c for c in wanted if c.compiled and len(c.operands) < MANY]
    bench = Bench(device, cases, 1e6)
    for case in cases[int(part) :: int(parts)]:
        given = bench.tensors(case, 1)
        for peer in who.split(","):
            try:
                bench.peer(peer, case, given)(0)
            except Exception as problem:  # noqa: BLE001  the process that measures meets it again, and says so
                print(f"{peer} {case.name}: {type(problem).__name__}", flush=True)
        del given
        bench.forget()


if __name__ == "__main__":
    main()
