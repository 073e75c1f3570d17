"""Every kind of kernel against a copy of its bytes, torch eager, torch.compile and JAX: one run, one table.

    python benchmarks/kernels.py [--device cpu|cuda] [--only PATTERN] [--peers flame,copy,torch,compile,autotune,jax]
                                 [--seconds 500] [--small] [--json FILE] [--plot FILE]

FLAME's time is that of its plan replayed, a peer's that of its queued calls (timing.py says how); JAX's includes the
dispatch of its calls, which cannot be queued ahead. `wall` is a user's whole call of FLAME: building the graph, finding
the plan, launching, waiting. Each result is compared with torch's in float64 before anything is timed. `copy` is the
time in which torch's `copy_` moves as many bytes as the case must move: each operand and each result once.

The quick peers come first for all cases; the compilers take what is left of the seconds, in the order of the peers.
"""

import argparse
import fnmatch
import importlib.util
import json
import math
import os
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import torch

import flame
from benchmarks import ahead, peers, timing
from benchmarks.cases import Case, Operand, every
from flame.ir.plan import Launch

QUICK = ("flame", "copy", "torch")
ALL = (*QUICK, "compile", "jax", "autotune")
SHARE = {"compile": 0.6, "jax": 0.6, "autotune": 1.0}  # of the seconds that are left when its turn comes
COUNTED = 64e6  # bytes from which a case counts in the summary: below, launching decides
TOLERANCE = {"float64": 1e-9, "float32": 2e-5, "float16": 2e-3, "bfloat16": 1.6e-2}
MUCH = 20e9  # bytes of a GPU that torch may keep for later
Record = dict[str, Any]


class Bench:
    """One device, the cases chosen, and what was measured of each."""

    def __init__(self, device: str, cases: list[Case], seconds: float):
        self.gpu = device != "cpu"
        self.name, self.device = device, flame.device(device)
        self.cases, self.ends = cases, time.time() + seconds
        self.records: dict[str, Record] = {}
        self.copies: dict[int, float] = {}
        self.mine = torch.cuda.ExternalStream(int(self.device.stream)) if self.gpu else None  # type: ignore[attr-defined]
        self.theirs = torch.cuda.current_stream() if self.gpu else None

    def left(self) -> float:
        return self.ends - time.time()

    def tensors(self, case: Case, count: int) -> list[list[Any]]:
        """`count` sets of a case's operands, in torch's hands."""
        own = [(o, o.shape, o.of(case.dtype)) for o in case.operands]
        given = [*own, *((Operand(()), shape, name) for shape, name in peers.operands(case)[len(own) :])]
        return [[self._tensor(o, shape, name) for o, shape, name in given] for _ in range(count)]

    def _tensor(self, o: Operand, shape: tuple[int, ...], dtype: str) -> Any:
        more = {"device": self.name}
        match o.kind:
            case "index":
                return torch.randint(0, o.high, shape, **more)
            case "frequent":  # a rank's frequency falls with the rank, as that of words does
                return (o.high ** torch.rand(shape, **more) - 1).long().clamp(0, o.high - 1)
            case "bool":
                return torch.rand(shape, **more) < 0.7
            case "positive":
                return torch.rand(shape, dtype=getattr(torch, dtype), **more)
        return torch.randn(shape, dtype=getattr(torch, dtype), **more)

    # --- FLAME, a copy, torch ---------------------------------------------------------------------------------------
    def ahead(self) -> float:
        """Compile the kernels of all cases side by side; returns the seconds it took."""
        start = time.time()
        codes = []
        for case in self.cases:
            made = peers.program(case, self.device.target, self.device)
            codes += [made.codes[s.kernel] for s in made.plan.steps if isinstance(s, Launch)]
        self.device.kernels(codes)
        return time.time() - start

    def quick(self, case: Case, who: Iterable[str]) -> None:
        """FLAME's record of a case, with the quick peers."""
        flames = peers.Flame(case, self.device)
        plan = flames.program.plan
        nbytes = case.moved or sum(plan.slots[s].nbytes for s in {*plan.leaves, *plan.outputs})
        given = self.tensors(case, timing.sets(nbytes, self.gpu))
        self._settle()
        record: Record = {"case": case.name, "family": case.family, "dtype": case.dtype, "bytes": nbytes}
        self.records[case.name] = record
        record["launches"] = flames.launches
        record["error"] = self._error(case, flames, given[0])
        run = timing.turns(flames.call(given), len(given))
        record["flame"] = timing.milliseconds(run, self.mine, flames.launches)
        record["wall"] = timing.wall(flames.whole(given[0]), self.device.synchronize)
        if "copy" in who:
            record["copy"] = self._copy(nbytes)
        if "torch" in who:
            eager = peers.adamw_of_torch(case, given) if case.family == "optimizer" else None
            call = eager or peers.of_torch(case, lambda f: f, given)
            record["torch"] = self._timed(call, len(given))

    def _settle(self) -> None:
        """The operands are there; nobody keeps memory that another could use."""
        if self.gpu:
            torch.cuda.synchronize()
            if torch.cuda.memory_reserved() > MUCH:
                self.forget()

    def forget(self) -> None:
        """Give back what torch and FLAME keep for later."""
        if self.gpu:
            torch.cuda.empty_cache()
            flame.cuda.empty_cache()

    def _copy(self, nbytes: int) -> float:
        half = max(1, nbytes // 2)
        if half not in self.copies:
            count = timing.sets(nbytes, self.gpu)
            pairs = [[torch.zeros(half, dtype=torch.uint8, device=self.name) for _ in range(2)] for _ in range(count)]
            run = timing.turns(lambda turn: pairs[turn][0].copy_(pairs[turn][1]), count)
            self.copies[half] = timing.milliseconds(run, self.theirs)
        return self.copies[half]

    def _error(self, case: Case, flames: peers.Flame, tensors: list[Any]) -> float:
        """The largest difference from float64, in units of what the dtype is allowed; above 1 is wrong."""
        results, worst = flames.results(tensors, torch), 0.0
        wanted = peers.reference(case, tensors)
        for want in wanted:
            got = results.pop(0)
            if case.compare is not None:
                got, want = (case.compare(peers.torch_names(), t, *tensors[: len(case.operands)]) for t in (got, want))
            worst = max(worst, difference(got, want.to(torch.float64)) / case.loose)
        return worst

    # --- compilers ----------------------------------------------------------------------------------------------------
    def compiler(self, who: str) -> None:
        """The times of one compiler for the cases that it takes, until its share of the seconds is spent."""
        until = time.time() + self.left() * SHARE[who]
        mixed = random.Random(0).sample(self.cases, len(self.cases))  # if time ends, it ends for all families
        for case in sorted(mixed, key=lambda c: len(c.operands)):  # 1200 operands take a compiler minutes
            if not case.compiled or case.name not in self.records or (who == "autotune" and not case.tuned):
                continue
            if time.time() > until:
                missing = sum(c.compiled and who not in self.records.get(c.name, {who: 0}) for c in self.cases)
                print(f"{who}: no time left for {missing} cases", flush=True)
                return
            record = self.records[case.name]
            given = self.tensors(case, timing.sets(record["bytes"], self.gpu))
            self._settle()
            try:
                call = self.peer(who, case, given)
                record[who] = self._dispatched(call, len(given)) if who == "jax" else self._timed(call, len(given))
            except Exception as problem:  # noqa: BLE001  a peer that cannot is no reason to stop
                print(f"{who} {case.name}: {type(problem).__name__}: {str(problem).splitlines()[:1]}", flush=True)

    def peer(self, who: str, case: Case, given: list[list[Any]]) -> Callable[[int], Any]:
        """A compiler's call of each set of operands."""
        if who == "jax":
            return peers.of_jax(case, given)
        torch._dynamo.reset()
        mode = "max-autotune-no-cudagraphs" if who == "autotune" else None
        return peers.of_torch(case, lambda f: torch.compile(f, dynamic=False, mode=mode), given)

    def _timed(self, call: Callable[[int], Any], count: int) -> float:
        return timing.milliseconds(timing.turns(call, count), self.theirs)

    def _dispatched(self, call: Callable[[int], Any], count: int) -> float:
        """JAX has its own stream: enough calls, and a wait for the last."""
        import jax

        each = 20 if self.gpu else 3

        def several() -> None:
            jax.block_until_ready([call(i % count) for i in range(each)][-1])

        return timing.milliseconds(several) / each


def difference(got: Any, want: Any) -> float:
    """How far a result is off, as a part of what rounding in its dtype may do; `want` is float64."""
    if got.shape != want.shape:
        return math.inf
    if not got.dtype.is_floating_point:
        return 0.0 if torch.equal(got.to(torch.float64), want) else math.inf
    scale = float(want.square().mean().sqrt())
    allowed = TOLERANCE[str(got.dtype).removeprefix("torch.")]
    return float(((got.to(torch.float64) - want).abs() / (want.abs() + scale + 1e-30)).max()) / allowed


# --- the table --------------------------------------------------------------------------------------------------------
def finish(record: Record) -> None:
    """Derived columns: the fraction of the copy's bandwidth, and the ratio to the best compiler."""
    if "copy" in record:
        record["fraction"] = record["copy"] / record["flame"]
    best = min((record[who] for who in ("compile", "autotune", "jax") if who in record), default=None)
    record["best"] = best
    record["ratio"] = None if best is None else best / record["flame"]
    record["eager"] = record["torch"] / record["flame"] if "torch" in record else None


COLUMNS = {"MB": 8, "flame": 9, "GB/s": 7, "of copy": 8, "wall": 9}
COLUMNS |= {"torch": 9, "compile": 9, "tuned": 9, "jax": 9, "ratio": 7}
HEAD = f"{'case':52}" + "".join(f"{name:>{width}}" for name, width in COLUMNS.items()) + "  launches, error"


def line(r: Record) -> str:
    def number(name: str) -> str:
        return f"{r[name]:9.4f}" if r.get(name) is not None else "        -"

    rate, fraction = r["bytes"] / r["flame"] / 1e6, r.get("fraction")
    part = f"{fraction:8.2f}" if fraction is not None else "       -"
    ratio = f"{r['ratio']:7.2f}" if r.get("ratio") is not None else "      -"
    times = "".join(map(number, ("wall", "torch", "compile", "autotune", "jax")))
    wrong = "" if r["error"] <= 1 else "  WRONG"
    error = f"{r['launches']}, {r['error']:.2f}{wrong}"
    return f"{r['case']:52}{r['bytes'] / 1e6:8.1f}{r['flame']:9.4f}{rate:7.0f}{part}{times}{ratio}  {error}"


def geometric(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def summary(records: list[Record]) -> list[str]:
    """Medians of the families, geometric means against the peers, and the cases below the aims."""
    lines = ["", f"cases of at least {COUNTED / 1e6:.0f} MB: median fraction of the copy (least), cases below 0.70"]
    large = [r for r in records if r["bytes"] >= COUNTED and "fraction" in r]
    for family in dict.fromkeys(r["family"] for r in large):
        parts = [r["fraction"] for r in large if r["family"] == family]
        count = sum(p < 0.7 for p in parts)
        lines.append(f"  {family:16}{statistics.median(parts):6.3f} ({min(parts):.2f}) {count:4} of {len(parts)}")
    for who in ("best", "compile", "autotune", "jax", "torch"):
        both = [r[who] / r["flame"] for r in records if r.get(who)]
        if both:
            slower = sum(b < 0.95 for b in both)
            title = "the best compiler" if who == "best" else who
            lines.append(f"  against {title}: {geometric(both):.3f} of {len(both)} cases; {slower} below 0.95")
    lines += ["", "below 0.70 of the copy:"]
    low = sorted((r for r in large if r["fraction"] < 0.7), key=lambda r: r["fraction"])
    lines += [f"  {r['fraction']:.2f} {r['case']}" for r in low]
    lines += ["", "below 0.95 of the best compiler:"]
    behind = sorted((r for r in records if (r["ratio"] or 1) < 0.95), key=lambda r: r["ratio"])
    lines += [f"  {r['ratio']:.2f} {r['case']}" for r in behind]
    wrong = [r["case"] for r in records if r["error"] > 1]
    return [*lines, "", f"wrong: {', '.join(wrong) or 'none'}"]


def plot(records: list[Record], path: str, title: str) -> None:
    """Each case's fraction of the copy's bandwidth, by family and bytes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    families = list(dict.fromkeys(r["family"] for r in records))
    figure, axes = pyplot.subplots(1, len(families), figsize=(3.2 * len(families), 4), sharey=True, squeeze=False)
    for axis, family in zip(axes[0], families, strict=True):
        for who, color in (("flame", "tab:red"), ("torch", "tab:gray"), ("compile", "tab:blue"), ("jax", "tab:green")):
            points = [(r["bytes"], r["copy"] / r[who]) for r in records if r["family"] == family and r.get(who)]
            if points:
                axis.plot(*zip(*points, strict=True), "o", ms=3, alpha=0.7, color=color, label=who)
        axis.axhline(1.0, color="black", lw=0.5)
        axis.set(title=family, xscale="log", xlabel="bytes", ylim=(0, 1.6))
    axes[0][0].set_ylabel("fraction of the copy's bandwidth")
    axes[0][0].legend()
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def chosen(cases: list[Case], pattern: str | None) -> list[Case]:
    """The cases whose family or name has the pattern: a regular expression, or a glob over the whole name."""
    if not pattern:
        return cases
    found = [c for c in cases if re.search(pattern, f"{c.family}: {c.name}")]
    return found or [c for c in cases if fnmatch.fnmatch(c.name, pattern)]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", metavar="PATTERN", help="cases whose 'family: name' matches")
    parser.add_argument("--peers", default=",".join(ALL), help="a comma list (default: all)")
    parser.add_argument("--seconds", type=float, default=500)
    parser.add_argument("--small", action="store_true", help="a 64th of the rows")
    parser.add_argument("--json", default="kernels.json")
    parser.add_argument("--plot", default="kernels.png")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    who = given.peers.split(",")
    scale = 64 if given.small else 1 if given.device != "cpu" else 16
    bench = Bench(given.device, chosen(every(scale), given.only), given.seconds)
    title = timing.machine(bench.gpu)
    print(title)
    print(f"{len(bench.cases)} cases; FLAME's kernels compiled in {bench.ahead():.1f} s\n{HEAD}", flush=True)
    measure(bench, who)
    write(list(bench.records.values()), title, given.json)
    compilers = [each for each in ALL if each in who and each not in QUICK]
    if "jax" in compilers and importlib.util.find_spec("jax") is None:
        print("jax: not installed")
        compilers.remove("jax")
    if compilers:
        with tempfile.TemporaryDirectory() as folder:
            compared(bench, compilers, scale, given.only, Path(folder))
    report(list(bench.records.values()), title, given)


def measure(bench: Bench, who: list[str]) -> None:
    """FLAME and the quick peers."""
    for case in bench.cases:
        if bench.left() < 0:
            print(f"no time left for {case.name} and what follows")
            return
        try:
            bench.quick(case, who)
        except Exception as problem:  # noqa: BLE001  one case that fails must not cost the others their figures
            bench.records.pop(case.name, None)
            print(f"{case.name}: {type(problem).__name__}: {str(problem)[:300]}", flush=True)
            continue
        finish(bench.records[case.name])
        print(line(bench.records[case.name]), flush=True)


def compared(bench: Bench, compilers: list[str], scale: int, pattern: str | None, folder: Path) -> None:
    """The compilers, whose work is done ahead where there are cores for it."""
    ahead.caches(folder)
    early = [each for each in compilers if each != "autotune"]
    if early and bench.gpu:
        bench.forget()
        took = ahead.compile_ahead(early, bench.name, scale, pattern, bench.left() * 0.5)
        print(f"{', '.join(early)}: compiled ahead in {took:.1f} s", flush=True)
    for each in compilers:
        bench.compiler(each)


def write(records: list[Record], title: str, path: str) -> None:
    Path(path).write_text(json.dumps({"machine": title, "records": records}, indent=1))


def report(records: list[Record], title: str, given: argparse.Namespace) -> None:
    for record in records:
        finish(record)
    print("\n".join(["", HEAD, *map(line, records), *summary(records)]))
    write(records, title, given.json)
    if any("fraction" in r for r in records):
        try:
            plot(records, given.plot, title)
        except ImportError:
            print("no plot: matplotlib is not installed")


if __name__ == "__main__":
    main()
