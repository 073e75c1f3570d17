"""Before and after of every pass, on small graphs and plans."""

from dataclasses import replace
from math import prod

import numpy as np
import pytest

from flame.config import config
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir import show
from flame.ir.graph import toposort
from flame.ir.interp import interpret
from flame.ir.library import MatmulSpec
from flame.ir.loop import Keep, Kernel, Layout, Loop, Role, Store, statements
from flame.ir.node import Node, apply, const, reshape, var
from flame.ir.op import Kind
from flame.ir.plan import Call, Launch, Plan, Slot, touched
from flame.ir.target import CPU, CUDA
from flame.passes.keep import keep
from flame.passes.library import libraries
from flame.passes.memory import conflicts, place
from flame.passes.naming import name_kernels
from flame.passes.nest import nested
from flame.passes.retain import retain
from flame.passes.simplify import Scalars, simplify
from flame.passes.split import split
from flame.passes.taps import taps
from tests.support import compiled, kernels, launches
from tests.workloads import EVERYTHING, softmax

X = nd.leaf(0, (4, 6), dt.float32)


# --- simplify ---------------------------------------------------------------------------------------------------------
def test_what_changes_nothing_is_gone():
    y = apply("permute", apply("permute", X, order=(1, 0)), order=(1, 0))
    y = reshape(reshape(y * 1, (24,)), (4, 6)) - 0
    assert simplify((apply("detach", apply("neg", apply("neg", y))),)) == (X,)


def test_nothing_is_computed_from_constants_or_for_no_element():
    (three,) = simplify((nd.like(X, 1) + nd.like(X, 2),))
    assert show.graph(three) == "  %0 = expand(3.0, to=(4, 6)) : float32[4, 6]\nreturn %0"
    none = nd.leaf(1, (0, 6), dt.float32)
    (zero,) = simplify((apply("sum", none, axes=(0,)),))
    assert show.graph(zero) == "  %0 = expand(0.0, to=(6,)) : float32[6]\nreturn %0"


def test_what_is_not_exact_stays():
    for y in (X + 0.0, X * 0.0, nd.binary("add", apply("add", X, nd.like(X, 0.1)), 0.2), X - X, X / 3.0):
        assert simplify((y,)) == (y,)


# --- split ------------------------------------------------------------------------------------------------------------
TALL = [((15000, 7), (0,)), ((1 << 18,), (0,)), ((3, 1 << 17), (1,)), ((24999, 3), (0,)), ((2, 262147), (1,))]
TALL += [((3, 2001, 40), (1,)), ((100003,), (0,)), ((1500, 4, 37), (0,)), ((20000, 1, 64), (0, 1))]


@pytest.mark.parametrize("target", [CPU, CUDA], ids=lambda t: t.name)
@pytest.mark.parametrize(("shape", "axes"), TALL, ids=str)
def test_tall_folds_are_split_and_give_the_same(shape, axes, target):
    x = nd.leaf(0, shape, dt.int64)
    for name in ("sum", "max", "min"):
        whole = apply(name, x, axes=axes)
        (parts,) = split((whole,), target)
        folds = [n for n in toposort((parts,)) if n.op.kind is Kind.REDUCE]
        in_front = prod(shape[: axes[0]]) > 1 and axes[-1] + 1 < len(shape)  # rows of several folds: enough for a CPU
        assert parts.shape == whole.shape and len(folds) >= (1 if target is CPU and in_front else 2)
        values = np.random.default_rng(0).integers(-99, 99, shape)
        assert np.array_equal(*interpret((whole, parts), {x: values}))


@pytest.mark.parametrize(("shape", "axes"), [*TALL, ((90, 6, 40, 64), (0, 2, 3)), ((6000, 40, 5), (0, 2))], ids=str)
def test_halves_are_folded_in_float32_from_stage_to_stage(shape, axes):
    (made,) = split((apply("sum", nd.leaf(0, shape, dt.bfloat16), axes=axes),), CUDA)
    folds = [n for n in toposort((made,)) if n.op.kind is Kind.REDUCE]
    assert len(folds) > 1 and all(n.dtype is dt.float32 for n in folds) and made.dtype is dt.bfloat16


def test_no_fold_of_several_axes_leaves_lanes_apart():
    """The batch axes of a norm: a trailing run first where it is long, else the leading ones."""
    for shape, axes, first in (((64, 64, 56, 56), (0, 2, 3), (2,)), ((9000, 40, 5), (0, 2), (1,))):
        (made,) = split((apply("sum", nd.leaf(0, shape, dt.float32), axes=axes),), CUDA)
        folds = [n for n in toposort((made,)) if n.op.kind is Kind.REDUCE]
        assert folds[0]["axes"] == first and len(folds) > 1


def test_what_a_row_kernel_carries_has_as_many_parts_as_its_siblings():
    x, g = (nd.leaf(i, (16384, 4096), dt.float32) for i in range(2))
    centred = x - nd.expand(reshape(apply("sum", x, axes=(1,)), (16384, 1)), x.shape)
    both = split((apply("sum", g * centred, axes=(0,)), apply("sum", g, axes=(0,))), CUDA)
    alone = split((apply("sum", g, axes=(0,)),), CUDA)
    shapes = [next(n for n in toposort((r,)) if n.op.kind is Kind.REDUCE and len(n.src[0].shape) == 3) for r in both]
    assert shapes[0].src[0].shape == shapes[1].src[0].shape == (256, 64, 4096)
    assert any(n.op.kind is Kind.REDUCE and n.src[0].shape == (128, 128, 4096) for n in toposort(alone))


def windows_of(g: Node, size: int) -> Node:
    """The gradient of windows of 2 over two axes of `size`, each 2 apart: (2, 2, n, n) to (size, size)."""
    rows = apply("unskew", g, axis=2, taps=0, stride=2, dilation=1, size=size, fill=0)
    rows = apply("sum", rows, axes=(0,))
    both = apply("unskew", rows, axis=2, taps=0, stride=2, dilation=1, size=size, fill=0)
    return apply("sum", both, axes=(0,))


def test_windows_over_two_axes_are_put_back_together():
    g = nd.leaf(0, (2, 2, 3, 3), dt.int64)
    y = windows_of(g, 6)
    (made,) = taps((y,))
    assert sum(n.op.kind is Kind.REDUCE for n in toposort((made,))) == 1 and made.shape == y.shape == (6, 6)
    values = {g: np.random.default_rng(0).integers(-9, 9, g.shape)}
    assert np.array_equal(*interpret((y, made), values))
    assert len(kernels((y,))) == 1


def test_short_folds_stay():
    for x, axes in ((nd.leaf(0, (8, 64), dt.float32), (0,)), (nd.leaf(0, (64, 512), dt.float32), (1,))):
        y = apply("sum", x, axes=axes)
        assert split((y,), CUDA) == (y,)


# --- library ----------------------------------------------------------------------------------------------------------
def call(a: Node, b: Node) -> Node:
    (made,) = libraries((apply("matmul", a, b),), CUDA, Scalars())
    return next(n for n in toposort((made,)) if n.op.kind is Kind.CALL)


def test_transposes_slices_and_broadcasts_are_strides():
    a, b = nd.leaf(0, (8, 6), dt.float32), nd.leaf(1, (8, 10), dt.float32)
    turned = apply("permute", a, order=(1, 0))
    part = apply("slice", b, start=(0, 2), stop=(8, 10), step=(1, 1))
    made = call(turned, part)
    spec: MatmulSpec = made["spec"]
    assert made.src == (a, b) and (spec.m, spec.n, spec.k) == (6, 8, 8)
    assert spec.a.strides == (1, 6) and spec.b.strides == (10, 1) and spec.b.offset == 2
    many = call(nd.expand(reshape(a, (1, 8, 6)), (5, 8, 6)), nd.leaf(2, (5, 6, 4), dt.float32))
    assert many.src[0] is a and many["spec"].a.strides[-3:] == (0, 6, 1)


@pytest.mark.parametrize("seed", range(40))
def test_views_read_what_the_movements_say(seed):
    """Random movements of an operand: what the product is told to read is the same elements."""
    rng = np.random.default_rng(seed)
    x = nd.leaf(0, (4, 6, 5), dt.float32)
    values = np.arange(120, dtype=np.float32).reshape(4, 6, 5)
    n = x
    for _ in range(rng.integers(1, 5)):
        n = _moved(n, rng)
    made = call(n, nd.leaf(1, (*n.shape[:-2], n.shape[-1], 2), dt.float32))
    memory, want = interpret((made.src[0], n), {x: values})
    assert np.array_equal(made["spec"].a.over(np.ascontiguousarray(memory), n.shape), want)


def _moved(n: Node, rng: np.random.Generator) -> Node:
    shape = n.shape
    match rng.integers(5):
        case 0:
            return apply("permute", n, order=tuple(int(a) for a in rng.permutation(len(shape))))
        case 1:
            start = tuple(int(rng.integers(0, s)) for s in shape)
            stop = tuple(int(rng.integers(lo + 1, s + 1)) for lo, s in zip(start, shape))
            return apply("slice", n, start=start, stop=stop, step=tuple(int(rng.integers(1, 3)) for _ in shape))
        case 2:
            return nd.expand(reshape(n, (1, *shape)), (2, *shape)) if len(shape) < 5 else n
        case 3:
            return reshape(n, (shape[0] * shape[1], *shape[2:])) if len(shape) > 2 else reshape(n, (*shape, 1))
        case _:
            return apply("flip", n, axes=(0,))


def test_what_no_library_takes_is_decomposed():
    a = nd.leaf(0, (3, 3), dt.int64)
    (made,) = libraries((apply("matmul", a, a),), CPU, Scalars())
    assert {n.op.kind for n in toposort((made,))} <= {Kind.LEAF, Kind.MOVEMENT, Kind.ELEMENTWISE, Kind.REDUCE}


# --- memory -----------------------------------------------------------------------------------------------------------
def step(*slots: int) -> Call:
    return Call("some", None, slots[-1], slots[:-1])


def row_of_calls(n: int) -> Plan:
    """0 -> 1 -> 2 ... -> n, each of 1 KiB."""
    return Plan((Slot((256,), dt.float32),) * (n + 1), (0,), tuple(step(i, i + 1) for i in range(n)), (n,))


def test_values_that_never_meet_share_memory():
    reused, own = place(row_of_calls(8)), place(row_of_calls(8), reuse=False)
    assert reused.arena == 2 * 1024 and own.arena == 7 * 1024
    assert conflicts(reused) == conflicts(own) == []


def test_conflicts_are_seen():
    made = place(row_of_calls(4))
    assert conflicts(replace(made, offsets=tuple((s, 0) for s, _ in made.offsets)))


@pytest.mark.parametrize("seed", range(30))
def test_random_plans_never_overlap(seed):
    rng = np.random.default_rng(seed)
    n = 30
    slots = tuple(
        Slot((int(rng.integers(1, 4000)),), dt.by_name(str(rng.choice(["int8", "float32"])))) for _ in range(n)
    )
    steps = tuple(step(*sorted(rng.choice(i, min(i, 3), replace=False).tolist()), i) for i in range(2, n))
    made = place(Plan(slots, (0, 1), steps, (n - 1,)))
    assert conflicts(made) == [] and all(at % 256 == 0 for _, at in made.offsets)
    assert {s for s, _ in made.offsets} == {s for t in steps for s in touched(t)} - {0, 1, n - 1}


def donated(root: Node, *leaves: Node) -> int:
    return len(compiled((root,), CUDA, leaves).plan.donated)


def test_memory_is_donated_only_where_that_is_safe():
    x, y = (nd.leaf(i, (6, 6), dt.float32) for i in range(2))
    assert donated(x + y, x) == 1 and donated(x * x, x) == 1
    assert donated(x + apply("permute", x, order=(1, 0)), x) == 0, "another element is read"
    assert donated(apply("sum", x, axes=(0,)), x) == 0, "another size"
    assert donated(softmax(x), x) == 0, "a lane may write before another reads"
    assert donated(nd.cast(x, dt.bfloat16), x) == 0
    late = compiled((x + 1, apply("flip", x + 1, axes=(0,)) * x), CUDA, (x,)).plan
    assert all(out != 0 for out, _ in late.donated)


# --- keep, nest, naming -----------------------------------------------------------------------------------------------
def test_a_kept_row_is_loaded_once():
    (k,) = kernels(EVERYTHING["softmax"]((64, 512), dt.float32).roots)
    loops = [s for s in k.outer.body if isinstance(s, Loop)]
    loads = [sum(n.op.name == "load" for s in loop.body for n in toposort([s.value])) for loop in loops]
    assert loads == [1, 0, 0] and sum(isinstance(s, Keep) for s in statements(k.body)) == 2
    assert keep(k) == k


def copy_of(index: Node, extent: int) -> Kernel:
    r = var("r", extent=extent)
    value = apply("load", index, param="a0", as_=dt.float32)
    return Kernel("k", (), (Loop(r, extent, Role.SPREAD, (Store("out0", r, value),)),), Layout())


def test_divisions_become_a_loop_over_rows():
    r = var("r", extent=24)
    made = nested(copy_of((r % 6) * 4 + r // 6, 24), Scalars())
    assert show.kernel(made).splitlines()[2:] == [
        "  for g in 4 [grid]",
        "    for r in 6 [row]",
        "      out0[add(mul(g, 6), r)] = a0[add(mul(r, 4), g)]",
    ]
    plain = copy_of(r, 24)
    assert nested(plain, Scalars()) is plain


def test_equal_kernels_have_equal_names_whatever_their_extent():
    plans = [Plan((), (), (Launch(copy_of(var("r", extent=n) * 2, n), ()),), ()) for n in (24, 48)] + [
        Plan((), (), (Launch(copy_of(var("r", extent=24) * 3, 24), ()),), ())
    ]
    names = [name_kernels(p).steps[0].kernel.name for p in plans]
    assert names[0] == names[1] != names[2]


# --- retain -----------------------------------------------------------------------------------------------------------
def test_every_contraction_is_computed_once():
    w = [nd.leaf(i + 1, (6, 6), dt.float32) for i in range(3)]
    hidden, y = [], X
    for each in w:
        y = apply("tanh", apply("matmul", y, each))
        hidden.append(y)
    loss = apply("sum", y, axes=(0, 1))
    order = toposort((loss,))
    given = {n for n in order if not n.src}
    kept = retain(order, given, {loss}, set(hidden))
    again = [n for n in toposort(hidden, {*kept, *given}) if n.op.kind is Kind.CONTRACT and n not in kept]
    assert again == [] and len(kept) == 3


def test_the_cheapest_values_are_kept():
    wide = nd.cast(X, dt.float64)
    total = apply("sum", wide, axes=(1,))
    later = apply("exp", nd.expand(reshape(total, (4, 1)), (4, 6)))
    order = toposort((later,))
    (kept,) = retain(order, {X}, set(), {later})
    assert kept.shape in ((4,), (4, 1)), "four numbers, not 24"
    assert retain(order, {X}, {total}, {later}) == [] and retain(order, {X, total}, set(), {later}) == []


# --- fuse -------------------------------------------------------------------------------------------------------------
def test_every_operator_is_a_kernel_of_its_own_without_fusion():
    root = apply("exp", X + 1) * 2
    assert len(kernels((root,))) == 1
    with config(fuse=False):
        assert len(kernels((root,))) == 3


def test_siblings_share_a_kernel():
    assert len(kernels((apply("exp", X), apply("sin", X), X * 2))) == 1
    y = nd.leaf(1, (5, 5), dt.float32)
    assert len(kernels((apply("exp", X), apply("exp", y)))) == 2


def test_a_result_that_is_read_elsewhere_is_not_computed_again():
    """y at another element would be computed a second time in y's own kernel."""
    y = apply("exp", X)
    assert len(kernels((y, y + 1))) == 1
    assert len(kernels((y, y + apply("flip", y, axes=(0,))))) == 2


def test_what_a_third_group_lies_between_stays_apart():
    """y = f(x); z = g(product of y); w = h(y, z): w cannot join y."""
    x = nd.leaf(0, (8, 8), dt.float32)
    y = apply("exp", x)
    z = apply("matmul", y, y)
    program = compiled((y, z + y), CUDA)
    assert len(launches(program)) == 2 and len(program.plan.steps) == 3


def test_a_constant_is_a_result_too():
    assert len(kernels((nd.like(X, 1),))) == 1 and const(1).op.name == "const"
