"""Every rewrite rule holds under numpy, bit for bit, and fires. The rules are data: this file names none of them."""

from itertools import product
from math import prod

import numpy as np
import pytest

from flame.errors import FlameError
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir import show
from flame.ir.dtype import DType
from flame.ir.graph import toposort
from flame.ir.index import bounds
from flame.ir.interp import interpret
from flame.ir.node import Node, apply
from flame.ir.op import OPS, Kind
from flame.passes import simplify
from flame.passes.pattern import Pattern, Rule
from tests.table import TABLE, attributes, signatures

TABLES = {name: table for name, table in vars(simplify).items() if name.isupper() and isinstance(table, tuple)}
CONSTANTS = (1, 2, 3, 4, 6, 8, 12)
FLOATS = [np.nan, np.inf, -np.inf, -0.0, 0.0, 1.0, -1.0, 1e-40, 3e38, -3e38, 0.1, 7.5]
N = len(FLOATS) ** 2


def rules_of(*names: str) -> list:
    made = [pytest.param(r, id=f"{n}-{i}-{r.left.op}") for n in names for i, r in enumerate(TABLES[n])]
    assert made
    return made


def test_every_table_is_tested():
    assert set(TABLES) == {"ALGEBRA", "INTEGER", "INDEX", "SHAPES"}


# --- one instance of a pattern ----------------------------------------------------------------------------------------
def build(p: Pattern, wilds: dict[str, Node], dtype: DType, shape: tuple[int, ...]) -> Node:
    """A node that looks like the pattern; a constant or wildcard without a value is taken from `wilds`."""
    if p.name:
        return nd.expand(wilds[p.name], shape) if p.op == "const" else wilds[p.name]
    if p.op == "const":
        return nd.expand(nd.const(p.value, dt.boolean if isinstance(p.value, bool) else dtype), shape)
    assert p.op is not None
    return apply(p.op, *(build(q, wilds, dtype, shape) for q in p.src))


def names_of(p: Pattern, constant: bool) -> list[str]:
    own = [p.name] if p.name and (p.op == "const") == constant else []
    return list(dict.fromkeys(own + [n for q in p.src for n in names_of(q, constant)]))


def same_bits(x: np.ndarray, y: np.ndarray) -> bool:
    """Equal in every bit; one nan is as good as another."""
    if x.dtype.kind == "f":
        nans = np.isnan(x) & np.isnan(y)
        return bool((nans | (x.view(f"u{x.itemsize}") == y.view(f"u{y.itemsize}"))).all())
    return np.array_equal(x, y)


def fill(n: Node, turn: int) -> np.ndarray:
    """Values of a leaf of N elements: two leaves meet in all pairs."""
    if n.dtype is dt.boolean:
        return np.arange(N) // (1 + turn) % 2 == 0
    if n.dtype.is_float:
        pairs = np.array(list(product(FLOATS, FLOATS)), n.dtype.numpy)
        return pairs[:, turn % 2].copy() if turn < 2 else np.random.default_rng(turn).permutation(pairs[:, 0])
    info = np.iinfo(n.dtype.numpy)
    some = [info.min, info.min + 1, -7, -1, 0, 1, 2, 3, 12, info.max - 1, info.max, 5]
    some = np.array([v for v in some if info.min <= v], n.dtype.numpy)
    return np.resize(np.repeat(some, len(FLOATS)) if turn % 2 else np.tile(some, len(FLOATS)), N)


def elementwise_instances(rule: Rule, dtype: DType):
    """(left, right, leaves) for each choice of constants and of boolean wildcards that the operators accept."""
    wilds, constants = names_of(rule.left, False), names_of(rule.left, True)
    for kinds in product((dtype, dt.boolean), repeat=len(wilds)):
        for chosen in product((2, 3, -5), repeat=len(constants)):
            made = {n: nd.leaf(i, (N,), d) for i, (n, d) in enumerate(zip(wilds, kinds, strict=True))}
            leaves = {n: fill(n, i) for i, n in enumerate(made.values())}
            try:
                made |= {n: nd.const(v, dtype) for n, v in zip(constants, chosen, strict=True)}
                left = build(rule.left, made, dtype, (N,))
            except (FlameError, OverflowError):
                continue
            right = rule(left)
            if right is not None and right is not left:
                yield left, right, leaves


@pytest.mark.parametrize("rule", rules_of("ALGEBRA", "INTEGER"))
def test_elementwise_rules(rule: Rule):
    fired = 0
    for dtype in (dt.float32, dt.float64, dt.int64, dt.int32, dt.int8, dt.uint8):
        for left, right, leaves in elementwise_instances(rule, dtype):
            fired += 1
            assert right.dtype is left.dtype and right.shape == left.shape
            want, got = interpret((left, right), leaves)
            assert same_bits(got, want), (left.dtype, got[got != want][:8], want[got != want][:8])
    assert fired, "this rule never fires"


# --- indices ----------------------------------------------------------------------------------------------------------
def over_all(root: Node, loops: list[Node]) -> np.ndarray:
    """An index expression at every position of the loop variables."""
    grids = np.meshgrid(*(np.arange(n["extent"]) for n in loops), indexing="ij")
    values: dict[Node, np.ndarray] = dict(zip(loops, grids, strict=True))
    for n in toposort([root]):
        if n not in values:
            assert n.op.numpy is not None
            values[n] = np.asarray(n.op.numpy(*[values[s] for s in n.src], **dict(n.attrs)))
    return np.broadcast_to(values[root], grids[0].shape if loops else ())


def loops_of(*roots: Node) -> list[Node]:
    return [n for n in toposort(roots) if n.op.name == "var"]


def equal_everywhere(left: Node, right: Node) -> bool:
    loops = loops_of(left, right)
    return np.array_equal(over_all(left, loops), over_all(right, loops))


def index_wilds():
    """What a wildcard of an index rule may be: loop variables, and small sums and products of them."""
    g, r, k = (nd.var(n, extent=e) for n, e in (("g", 5), ("r", 12), ("k", 3)))
    eight = nd.const(8)
    yield from ((r, g), (g, r), (k * 4, r), (r, k * 12), (g * 12, r), (eight - r, g), (r - 20, g - 2))
    yield from ((g * 24 + k * 8, nd.var("v", extent=8)), (r, nd.const(0)), (r + 12, nd.const(12)))
    yield from ((nd.const(12), r), (g * 2 + k, r // 4), (r, r), (k, nd.const(5) - g), (g * 8 + k * 2, nd.const(1)))


@pytest.mark.parametrize("rule", rules_of("INDEX"))
def test_index_rules(rule: Rule):
    fired, names, constants = 0, names_of(rule.left, False), names_of(rule.left, True)
    for pair in index_wilds():
        for chosen in product((*CONSTANTS, -3), repeat=len(constants)):
            made = dict(zip(names, pair, strict=False)) | {
                n: nd.const(v) for n, v in zip(constants, chosen, strict=True)
            }
            left = build(rule.left, made, dt.int64, ())
            right = rule(left)
            if right is not None and right is not left:
                fired += 1
                assert equal_everywhere(left, right), (show.graph(left), show.graph(right))
    assert fired, "this rule never fires"


def test_simplified_indices_are_the_same_and_within_their_bounds():
    """Random index expressions, through all rules at once."""
    rng, simple = np.random.default_rng(0), simplify.Scalars()
    for _ in range(400):
        n = random_index(rng)
        made = simple(n)
        want = over_all(n, loops_of(n))
        assert equal_everywhere(n, made), (show.graph(n), show.graph(made))
        found = bounds(made)
        assert found is None or (found[0] <= want.min() and want.max() <= found[1])


def random_index(rng: np.random.Generator) -> Node:
    pool = [nd.var(f"i{e}", extent=e) for e in (2, 3, 4, 6, 8)] + [nd.const(int(rng.integers(-3, 20)))]
    n = pool[rng.integers(len(pool))]
    for _ in range(rng.integers(2, 9)):
        other = pool[rng.integers(len(pool))]
        c = nd.const(int(rng.choice([1, 2, 3, 4, 6, 8, 12, 24])))
        op = rng.choice(["add", "sub", "mul", "floor_divide", "remainder", "add", "minimum", "maximum"])
        n = apply(str(op), n, other if op in ("add", "sub") else c)
    return n


def test_data_is_no_index():
    """Rules for indices do not touch 64-bit data, which may overflow, and take no time over what is read often."""
    x = apply("load", nd.var("r", extent=4), param="a0", as_=dt.int64)
    simple = simplify.Scalars()
    doubled = (x * 4) // 2
    assert simple(doubled) is doubled
    for _ in range(80):
        x = x + x
    assert bounds(simple(x)) is None


# --- shapes -----------------------------------------------------------------------------------------------------------
def shape_instances():
    """Movements and folds over movements, of many kinds: what the rules of shapes may meet."""
    moves = {
        "reshape": [{"to": (3, 4)}, {"to": (12,)}, {"to": (1, 3, 4)}],
        "expand": [{"to": (3, 4)}, {"to": (2, 3, 4)}],
        "permute": [
            {"order": (0, 1)},
            {"order": (1, 0)},
            {"order": (0, 2, 1)},
            {"order": (1, 0, 2)},
            {"order": (2, 0, 1)},
        ],
        "slice": [{"start": (0, 0), "stop": (3, 4), "step": (1, 1)}, {"start": (0, 1), "stop": (3, 4), "step": (2, 1)}],
        "pad": [
            {"low": (0, 0), "high": (0, 0), "step": (1, 1), "fill": 1},
            {"low": (1, 0), "high": (0, 2), "step": (1, 2), "fill": 1},
        ],
        "flip": [{"axes": (0,)}, {"axes": (1,)}, {"axes": (0, 1)}],
        "diagonal": [{"offset": 1}, {"offset": 0}],
        "on_diagonal": [{"offset": o, "rows": 4, "columns": 4 + o, "fill": 0} for o in (0, 1)],
        "cast": [{"to": d} for d in dt.BY_NAME.values()],
    }
    folds = {o.name: [{"axes": (0,)}, {"axes": (1,)}, {"axes": (0, 1)}] for o in OPS.values() if o.kind is Kind.REDUCE}
    for dtype, shape in product(
        (dt.float32, dt.bfloat16, dt.int8, dt.uint8, dt.boolean), ((3, 4), (1, 4), (1, 1), (1, 3, 4))
    ):
        x = nd.leaf(0, shape, dtype)
        steps = [(name, a) for name, many in (moves | folds).items() for a in many]
        for (first, a), (second, b) in product([("", {}), *steps], steps):
            try:
                inner = apply(first, x, **a) if first else x
                yield x, apply(second, inner, **b)
            except (FlameError, ValueError):
                continue


@pytest.mark.parametrize("rule", rules_of("SHAPES"))
def test_shape_rules(rule: Rule):
    fired = 0
    for x, left in shape_instances():
        if left.op.name != rule.left.op or (right := rule(left)) is None or right is left:
            continue
        fired += 1
        values = np.random.default_rng(0).integers(0, 2 if x.dtype is dt.boolean else 9, x.shape).astype(x.dtype.numpy)
        if x.dtype is dt.float32:
            values = values + np.float32(0.1)
        want, got = interpret((left, right), {x: values})
        assert got.dtype == want.dtype and got.shape == want.shape and prod(got.shape)
        assert np.array_equal(got, want)
    assert fired, "this rule never fires"


def test_constants_are_folded_with_their_own_meaning():
    for op in (o for o in TABLE if o.kind is Kind.ELEMENTWISE and not o.transparent):
        for value, dtype in product((0.5, -0.0, np.inf, np.nan), (dt.float32, dt.bfloat16)):
            for dtypes in signatures(op, dtype):
                n = apply(op, *(nd.const(value, d) for d in dtypes), **attributes(op)[0])
                (made,) = simplify.simplify((n,))
                want, got = interpret((n, made), {})
                assert made.op.name == "const" and np.array_equal(got, want, equal_nan=n.dtype.is_float), (op, value)
