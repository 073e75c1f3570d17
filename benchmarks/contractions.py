"""Products, convolutions and attention: FLAME as it chooses, torch eager, torch.compile, JAX; TFLOP/s and errors.

    python benchmarks/contractions.py [--device cpu|cuda] [--only PATTERN | --quick] [--scale N] [--json FILE]
                                      [--peers flame,torch,compile,autotune,jax] [--seconds 300]

Times are those of queued work (timing.py says how). `of best` is a case's rate as a part of the best product's that
was measured in the run, by anybody. `error` is the largest difference from float64 in units of what rounding in the
result's dtype may do, FLAME's and torch's own; where no float64 reference fits in memory it is that between the two.
torch has `cudnn.benchmark` on, and its images channels last.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks import peers, timing
from benchmarks.contraction_cases import QUICK, Contraction, every
from benchmarks.kernels import Bench, chosen, difference, geometric

PEERS = ("torch", "compile", "autotune", "jax")


# --- one vocabulary ---------------------------------------------------------------------------------------------------
def teach() -> None:
    """Let each library's names have a convolution and an attention."""
    for lib in (peers.FLAME, peers.torch_names()):
        lib.conv = _convolution_of(lib)
        lib.attention = _attention_of(lib)


def _convolution_of(lib: Any) -> Callable[..., Any]:
    by_rank = {3: lib.conv1d, 4: lib.conv2d, 5: lib.conv3d}
    return lambda x, w, stride, padding, groups: by_rank[x.ndim](x, w, None, stride, padding, 1, groups)


def _attention_of(lib: Any) -> Callable[..., Any]:
    function = lib.scaled_dot_product_attention
    return lambda q, k, v, mask, causal: function(q, k, v, attn_mask=mask, is_causal=causal)


def teach_jax() -> None:
    import jax
    import jax.numpy as jnp

    def conv(x: Any, w: Any, stride: int, padding: int, groups: int) -> Any:
        rank = x.ndim - 2
        sides = [(padding, padding)] * rank
        return jax.lax.conv_general_dilated(x, w, (stride,) * rank, sides, feature_group_count=groups)

    def attention(q: Any, k: Any, v: Any, mask: Any, causal: bool) -> Any:
        laid = [jnp.swapaxes(x, 1, 2) for x in (q, k, v)]
        fits = q.dtype == jnp.bfloat16 and mask is None
        how = "cudnn" if fits and jax.default_backend() == "gpu" else "xla"
        y = jax.nn.dot_product_attention(*laid, mask=mask, is_causal=causal, implementation=how)
        return jnp.swapaxes(y, 1, 2)

    names = peers.jax_names()
    names.conv, names.attention, names.relu = conv, attention, jax.nn.relu


# --- measuring --------------------------------------------------------------------------------------------------------
class Contractions(Bench):
    """FLAME's and the peers' figures of each case."""

    def figures(self, case: Contraction, who: list[str]) -> dict[str, Any]:
        flames = peers.Flame(case, self.device)
        plan = flames.program.plan
        nbytes = sum(plan.slots[s].nbytes for s in {*plan.leaves, *plan.outputs})
        given = self.tensors(case, min(3, timing.sets(nbytes, self.gpu)))
        self._settle()
        record: dict[str, Any] = {"case": case.name, "family": case.family, "flops": case.flops}
        record["steps"], record["bytes"] = flames.launches, nbytes
        record["error"], record["torch error"] = self.errors(case, flames, given[0])
        record["flame"] = timing.milliseconds(timing.turns(flames.call(given), len(given)), self.mine, flames.launches)
        if "torch" in who:
            record["torch"] = self._timed(peers.of_torch(case, lambda f: f, given), len(given))
        return record

    def errors(self, case: Contraction, flames: peers.Flame, tensors: list[Any]) -> tuple[float, float]:
        """Of FLAME and of torch."""
        ours = flames.results(tensors, torch)
        theirs = [t.detach() for t in peers.listed(peers.of_torch(case, lambda f: f, [tensors])(0))]
        if not case.exact:
            return max(difference(a, b.double()) for a, b in zip(ours, theirs, strict=True)), math.nan
        wanted = [t.detach() for t in peers.reference(case, tensors)]
        found = []
        for made in (ours, theirs):
            found.append(max(difference(a, b) for a, b in zip(made, wanted, strict=True)))
        return found[0], found[1]


def rate(record: dict[str, Any], who: str = "flame") -> float:
    """TFLOP/s."""
    return record["flops"] / record[who] / 1e9


def table(records: list[dict[str, Any]]) -> list[str]:
    best = max(rate(r, who) for r in records for who in ("flame", *PEERS) if r.get(who))
    lines = [
        f"{'case':48}{'flame ms':>10}{'TFLOP/s':>9}{'of best':>8}{'torch':>9}{'compile':>9}{'autotune':>9}{'jax':>9}"
        f"{'ratio':>7}  steps, error (torch's)"
    ]
    for r in records:
        others = [r[who] for who in PEERS if r.get(who)]
        times = "".join(f"{r[who]:9.4f}" if r.get(who) else "        -" for who in PEERS)
        ratio = f"{min(others) / r['flame']:7.2f}" if others else "      -"
        wrong = "  WRONG" if r["error"] > 1 else ""
        lines.append(
            f"{r['family'][:5] + ' ' + r['case']:48}{r['flame']:10.4f}{rate(r):9.1f}{rate(r) / best:8.2f}{times}{ratio}"
            f"  {r['steps']}, {r['error']:.2f} ({r['torch error']:.2f}){wrong}"
        )
    return [*lines, "", *summary(records)]


def summary(records: list[dict[str, Any]]) -> list[str]:
    """Geometric means of the peers' times over FLAME's, by family."""
    lines = []
    for family in dict.fromkeys(r["family"] for r in records):
        parts = []
        for who in PEERS:
            both = [r[who] / r["flame"] for r in records if r["family"] == family and r.get(who)]
            if both:
                parts.append(f"{who} {geometric(both):.3f} (least {min(both):.2f} of {len(both)})")
        lines.append(f"{family}: times of {'; '.join(parts)}")
    return lines


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", metavar="PATTERN", help="cases whose 'family: name' matches")
    parser.add_argument("--quick", action="store_true", help="some of each family")
    parser.add_argument("--scale", type=int, default=0, help="divide sizes by it (default: 1, on a CPU 16)")
    parser.add_argument("--peers", default="flame,torch", help=f"of flame, {', '.join(PEERS)}")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--json", default="contractions.json")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    who, scale = given.peers.split(","), given.scale or (16 if given.device == "cpu" else 1)
    torch.backends.cudnn.benchmark = True
    teach()
    if "jax" in who:
        teach_jax()
    cases = chosen(every(scale), QUICK if given.quick else given.only)
    bench = Contractions(given.device, cases, given.seconds)
    print(timing.machine(bench.gpu), f"{len(cases)} cases", flush=True)
    records = bench.records
    for case in cases:
        if bench.left() < 0:
            print(f"no time left for {case.name} and what follows")
            break
        start = time.time()
        try:
            records[case.name] = bench.figures(case, who)
        except Exception as problem:  # noqa: BLE001  one case that fails must not cost the others their figures
            print(f"{case.name}: {type(problem).__name__}: {str(problem)[:300]}", flush=True)
            continue
        r = records[case.name]
        print(
            f"{time.time() - start:5.1f} s  {case.family} {case.name}: {r['flame']:.4f} ms {rate(r):.1f} TFLOP/s",
            flush=True,
        )
    for each in PEERS[1:]:
        if each in who:
            bench.compiler(each)
    print("\n".join(["", *table(list(records.values()))]))
    Path(given.json).write_text(json.dumps({"machine": timing.machine(bench.gpu), "records": list(records.values())}))


if __name__ == "__main__":
    main()
