"""Stable orders on CUDA by merging, in kernels of the printed kind: they run under numpy in the tests.

The first launch orders blocks of `BLOCK` elements by counting what comes before each; every further launch merges
neighbouring runs: an element finds by bisection how many of the other run come before it, and so its place. Equal
elements keep their order because those of the left run count as before those of the right.
"""

from dataclasses import dataclass
from string import Template

from flame.ir.dtype import by_name
from flame.ir.library import SortSpec
from flame.ir.plan import Code

BLOCK = 32  # elements that one launch orders by counting
THREADS = 256
ALIGN = 256  # bytes between workspaces

COUNT = Template("""\
from flame.runtime.prelude_cuda import $names


def $name(n, keys, keys_out, places_out, row):
    r = block() * $threads + thread()
    ok = r < n
    p = umod64(r, row)
    first = p - umod64(p, $block)
    start = r - p + first
    mine = load1_${dtype}_if(keys, r, ok)
    before = 0
    for j in range($block):
        inside = ok & (first + j < row)
        other = load1_${dtype}_if(keys, start + j, inside)
        level = logical_not($mine_first) & (first + j < p)
        before = before + select(inside & ($other_first | level), 1, 0)
    store1_${dtype}_if(keys_out, start + before, mine, ok)
    store1_int64_if(places_out, start + before, p, ok)
""")

MERGE = Template("""\
from flame.runtime.prelude_cuda import $names


def $name(n, keys, places, keys_out, places_out, row, run, steps):
    r = block() * $threads + thread()
    ok = r < n
    p = umod64(r, row)
    start = p - umod64(p, run * 2)
    middle = minimum(start + run, row)
    left = p < middle
    mine = load1_${dtype}_if(keys, r, ok)
    place = load1_int64_if(places, r, ok)
    low = select(left, middle, start)
    high = select(left, minimum(middle + run, row), middle)
    for step in range(steps):
        half = udiv64(low + high, 2)
        busy = ok & (low < high)
        other = load1_${dtype}_if(keys, r - p + half, busy)
        first = $other_first | (logical_not(left) & logical_not($mine_first))
        low = select(busy & first, half + 1, low)
        high = select(busy & logical_not(first), half, high)
    at = r + low - middle
    store1_${dtype}_if(keys_out, at, mine, ok)
    store1_int64_if(places_out, at, place, ok)
""")


@dataclass(frozen=True, slots=True)
class Pass:
    """One launch; `operands` names its parameters: memory, or numbers."""

    code: Code
    operands: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The launches of a sort from `keys` to `out`, and the bytes of each workspace."""

    passes: tuple[Pass, ...]
    workspaces: dict[str, int]


def plan(spec: SortSpec) -> Plan:
    """Every launch that orders `spec.rows` rows; the last writes its places to `out`."""
    runs = [BLOCK]
    while runs[-1] < spec.n:
        runs.append(runs[-1] * 2)
    merges = runs[:-1]
    names = [
        (("even", "odd")[(len(merges) - i) % 2], ("out", "spare")[(len(merges) - i) % 2]) for i in range(len(runs))
    ]
    passes = [Pass(_code(spec, "count"), ("keys", *names[0], spec.n))]
    for i, run in enumerate(merges):
        operands = (*names[i], *names[i + 1], spec.n, run, run.bit_length())
        passes.append(Pass(_code(spec, "merge"), operands))
    total = spec.rows * spec.n
    sizes = {"even": by_name(spec.dtype).size, "odd": by_name(spec.dtype).size, "spare": 8}
    used = {o for p in passes for o in p.operands}
    return Plan(tuple(passes), {name: _aligned(total * size) for name, size in sizes.items() if name in used})


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGN) * ALIGN


def _code(spec: SortSpec, kind: str) -> Code:
    """The kernel of a dtype and direction."""
    dtype, total = spec.dtype, spec.rows * spec.n
    name = f"sort_{kind}_{dtype}_{'down' if spec.descending else 'up'}"
    order = [_precedes(dtype, "other", "mine"), _precedes(dtype, "mine", "other")]
    names = ["block", f"load1_{dtype}_if", "logical_not", "select", f"store1_{dtype}_if", "store1_int64_if", "thread"]
    names += ["umod64"] if kind == "count" else ["load1_int64_if", "minimum", "udiv64", "umod64"]
    source = (COUNT if kind == "count" else MERGE).substitute(
        names=", ".join(dict.fromkeys(sorted(names))),
        name=name,
        dtype=dtype,
        threads=THREADS,
        block=BLOCK,
        other_first=order[spec.descending],
        mine_first=order[not spec.descending],
    )
    signature = ("address",) * (3 if kind == "count" else 4) + ("int64",) * (1 if kind == "count" else 3)
    return Code(name, source, signature, total, -(-total // THREADS), THREADS, total)


def _precedes(dtype: str, a: str, b: str) -> str:
    """a < b, where nan is the largest."""
    if dtype == "bool":
        return f"(logical_not({a}) & {b})"
    if by_name(dtype).is_float:
        return f"(({a} < {b}) | (({b} != {b}) & ({a} == {a})))"
    return f"({a} < {b})"
