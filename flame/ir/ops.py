# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# The entries of a table are lambdas, which cannot say their types.
"""The operator table: every primitive, each defined once and only here.

To add an operator, add one `define(...)`. The function and the Tensor method, the gradient, both code printers, the
numpy oracle, the gradient check and the fusion rules all read this table.
"""

import math
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from flame.ir import dtype as dt
from flame.ir import rules
from flame.ir.dtype import DType
from flame.ir.node import Node, Shape, apply, binary, cast, const, expand, like, reshape, where
from flame.ir.op import Kind, Op, define
from flame.ir.philox import philox

Index = tuple[Node, ...]
Grads = tuple[Node | None, ...]

# --- leaves -----------------------------------------------------------------------------------------------------------
define("leaf", Kind.LEAF, shape=rules.given, dtype=rules.declared, doc="A buffer from outside the graph.")
define("var", Kind.LEAF, shape=rules.scalar, dtype=rules.declared, doc="A loop variable or accumulator of a kernel.")
define("load", Kind.LEAF, shape=rules.scalar, dtype=rules.declared, doc="One element of a kernel parameter.")
define(
    "const",
    Kind.LEAF,
    shape=rules.scalar,
    dtype=rules.declared,
    numpy=lambda value, text, as_: np.asarray(value, as_.numpy),
    element=lambda at, value, text, as_: const(value, as_),
    doc="One number.",
)
define(
    "iota",
    Kind.LEAF,
    shape=lambda n: (n,),
    dtype=rules.integers,
    numpy=lambda n: np.arange(n),
    element=lambda at, n: at[0],
    examples=({"n": 5},),
    doc="0, 1, 2, ... n - 1.",
)


# --- elementwise ------------------------------------------------------------------------------------------------------
def elementwise(
    name: str, scalar: str, numpy: Callable[..., Any], grad: Callable[..., Grads] | None, **more: Any
) -> Op:
    rest = {"shape": rules.same, "dtype": rules.numeric} | more
    return define(name, Kind.ELEMENTWISE, scalar=scalar, numpy=numpy, grad=grad, **rest)


def nothing(g: Node, y: Node, *src: Node) -> Grads:
    """Constant almost everywhere: no gradient flows."""
    return (None,) * len(src)


def level(g: Node, y: Node, a: Node) -> Grads:
    """Steps: the gradient is 0, and there is one."""
    return (like(g, 0),)


def only(condition: Node, g: Node) -> Node:
    """`g` where the condition holds, else 0."""
    return where(condition, g, like(g, 0))


def share(loses: str) -> Callable[..., Grads]:
    """The larger (or smaller) operand gets the gradient; equal ones half of it each; beside nan both, as in PyTorch."""

    def grad(g: Node, y: Node, a: Node, b: Node) -> Grads:
        half = where(apply("eq", a, b), g * 0.5, g)
        return where(apply(loses, a, b), like(g, 0), half), where(apply(loses, b, a), like(g, 0), half)

    return grad


def power_grad(g: Node, y: Node, a: Node, b: Node) -> Grads:
    """d a**b: b * a**(b-1) and a**b * log(a); 0 where b is 0, and where a is 0 with b >= 0."""
    by_base = where(apply("eq", b, like(b, 0)), like(g, 0), g * b * apply("pow", a, b - 1))
    still = apply("eq", a, like(a, 0)) & (b >= 0)
    return by_base, where(still, like(g, 0), g * y * apply("log", a))


elementwise("add", "({0} + {1})", np.add, lambda g, y, a, b: (g, g), doc="Sum.")
elementwise("sub", "({0} - {1})", np.subtract, lambda g, y, a, b: (g, -g), doc="Difference.")
elementwise("mul", "({0} * {1})", np.multiply, lambda g, y, a, b: (g * b, g * a), doc="Product.")
elementwise(
    "div",
    "({0} / {1})",
    np.divide,
    lambda g, y, a, b: (g / b, -(g * y / b)),
    dtype=rules.floating,
    domain=(0.5, 2),
    doc="Quotient; integers are divided as float32.",
)
elementwise("neg", "(-{0})", np.negative, lambda g, y, a: (-g,), doc="The negative.")
elementwise(
    "floor_divide", "floordiv({0}, {1})", np.floor_divide, nothing, domain=(0.5, 2), doc="Quotient, rounded down."
)
elementwise(
    "remainder",
    "modulo({0}, {1})",
    np.mod,
    lambda g, y, a, b: (g, -(g * apply("floor_divide", a, b))),
    domain=(0.5, 2),
    doc="What floor division leaves; it has the sign of the divisor.",
)
elementwise(
    "pow",
    "power({0}, {1})",
    np.power,
    power_grad,
    dtype=rules.floating,
    domain=(0.5, 2),
    doc="a to the power of b.",
)
elementwise("maximum", "maximum({0}, {1})", np.maximum, share("lt"), dtype=rules.keep, doc="The larger; nan wins.")
elementwise("minimum", "minimum({0}, {1})", np.minimum, share("gt"), dtype=rules.keep, doc="The smaller; nan wins.")
elementwise(
    "relu",
    "maximum({0}, {T}(0))",
    lambda a: np.maximum(a, a.dtype.type(0)),
    lambda g, y, a: (only(a > 0, g),),
    doc="max(x, 0).",
)


def comparison(name: str, sign: str, numpy: Callable[..., Any], doc: str) -> None:
    elementwise(name, f"({{0}} {sign} {{1}})", numpy, nothing, dtype=rules.truth, doc=doc)


comparison("eq", "==", np.equal, "True where equal; nan is not equal to itself.")
comparison("ne", "!=", np.not_equal, "True where different.")
comparison("lt", "<", np.less, "True where the first is smaller.")
comparison("le", "<=", np.less_equal, "True where the first is smaller or equal.")
comparison("gt", ">", np.greater, "True where the first is larger.")
comparison("ge", ">=", np.greater_equal, "True where the first is larger or equal.")
elementwise("logical_and", "({0} & {1})", np.logical_and, nothing, dtype=rules.logical, doc="Both.")
elementwise("logical_or", "({0} | {1})", np.logical_or, nothing, dtype=rules.logical, doc="One or both.")
elementwise("logical_xor", "({0} ^ {1})", np.logical_xor, nothing, dtype=rules.logical, doc="Just one.")
elementwise("logical_not", "logical_not({0})", np.logical_not, nothing, dtype=rules.logical, doc="Not.")
elementwise("isnan", "({0} != {0})", np.isnan, nothing, dtype=rules.truth, doc="True where the value is nan.")
elementwise(
    "where",
    "select({0}, {1}, {2})",
    np.where,
    lambda g, y, c, a, b: (None, only(c, g), where(c, like(g, 0), g)),
    dtype=rules.second,
    public=False,
    doc="The second operand where the first is true, else the third.",
)


def smooth(name: str, numpy: Callable[..., Any], grad: Callable[..., Any], doc: str, **more: Any) -> None:
    """An operator of one float; `grad(g, y, a)` is one Node."""
    rule = lambda g, y, a: (grad(g, y, a),)  # noqa: E731  a table reads better in one line
    elementwise(name, f"{name}({{0}})", numpy, rule, dtype=rules.floating, doc=doc, **more)


smooth("exp", np.exp, lambda g, y, a: g * y, "e to the power of x.")
smooth("exp2", np.exp2, lambda g, y, a: g * y * math.log(2), "2 to the power of x.")
smooth("expm1", np.expm1, lambda g, y, a: g * (y + 1), "exp(x) - 1, exact for small x.")
smooth("log", np.log, lambda g, y, a: g / a, "Natural logarithm.", domain=(0.5, 2))
smooth("log2", np.log2, lambda g, y, a: g / (a * math.log(2)), "Logarithm to base 2.", domain=(0.5, 2))
smooth("log1p", np.log1p, lambda g, y, a: g / (a + 1), "log(1 + x), exact for small x.", domain=(-0.5, 2))
smooth("sqrt", np.sqrt, lambda g, y, a: g / (y + y), "Square root.", domain=(0.5, 2))
smooth("rsqrt", lambda a: 1 / np.sqrt(a), lambda g, y, a: g * y * y * y * -0.5, "1 / sqrt(x).", domain=(0.5, 2))
smooth("tanh", np.tanh, lambda g, y, a: g * (like(y, 1) - y * y), "Hyperbolic tangent.")
smooth("sigmoid", lambda a: 1 / (1 + np.exp(-a)), lambda g, y, a: g * y * (like(y, 1) - y), "1 / (1 + exp(-x)).")
smooth(
    "erf",
    lambda a: np.vectorize(math.erf, [np.float64])(a).astype(a.dtype),
    lambda g, y, a: g * apply("exp", -(a * a)) * (2 / math.sqrt(math.pi)),
    "Error function.",
)
smooth("sin", np.sin, lambda g, y, a: g * apply("cos", a), "Sine of x in radians.")
smooth("cos", np.cos, lambda g, y, a: -(g * apply("sin", a)), "Cosine of x in radians.")
elementwise(
    "abs",
    "absolute({0})",
    np.abs,
    lambda g, y, a: (where(a > 0, g, where(a < 0, -g, like(g, 0))),),
    doc="Absolute value.",
)
for _name, _numpy, _doc in (
    ("floor", np.floor, "Largest whole number below."),
    ("ceil", np.ceil, "Smallest whole number above."),
    ("round", np.round, "Nearest whole number, halves to even."),
    ("trunc", np.trunc, "Whole number next towards 0."),
):
    elementwise(_name, f"{_name}({{0}})", _numpy, level, dtype=rules.floating, doc=_doc)

elementwise(
    "cast",
    "to_{to}({0})",
    lambda a, to: a.astype(to.numpy),
    lambda g, y, a: (cast(g, a.dtype) if a.dtype.is_float else None,),
    dtype=rules.target,
    public=False,
    examples=tuple({"to": d} for d in dt.BY_NAME.values()),
    doc="The same values in another dtype.",
)
elementwise(
    "detach",
    "{0}",
    lambda a: a,
    nothing,
    dtype=rules.keep,
    transparent=True,
    public=False,
    doc="The same value; no gradient passes.",
)
elementwise(
    "mark",
    "{0}",
    lambda a, uid: a,
    lambda g, y, a: (g,),
    dtype=rules.keep,
    transparent=True,
    public=False,
    examples=({"uid": 0},),
    doc="The same value under a name of its own: gradients are asked for it, not for its source.",
)
elementwise(
    "philox",
    "philox({0}, {1})",
    philox,
    nothing,
    dtype=rules.integers,
    public=False,
    doc="Random 32 bits from (key, counter), the same on every device.",
)

# --- movement: only where the elements are read from changes ----------------------------------------------------------


def unflatten(flat: Node, shape: Shape) -> Index:
    """The index tuple of the flat position `flat` in `shape`. The first axis needs no `%`: flat is in range."""
    out: list[Node] = []
    for axis in reversed(range(len(shape))):
        if shape[axis] == 1:
            out.append(const(0))
            continue
        outermost = prod(shape[:axis]) == 1
        out.append(flat if outermost else flat % shape[axis])
        flat = flat if outermost else flat // shape[axis]
    return tuple(reversed(out))


def flatten(index: Index, shape: Shape) -> Node:
    """The flat position of `index` in row-major `shape`."""
    flat = const(0)
    for i, n in zip(index, shape, strict=True):
        flat = flat * n + i
    return flat


def sum_to(g: Node, shape: Shape) -> Node:
    """Undo a broadcast: sum `g` down to `shape`."""
    lead = len(g.shape) - len(shape)
    axes = tuple(a for a in range(len(g.shape)) if a < lead or (shape[a - lead] == 1 and g.shape[a] != 1))
    return reshape(apply("sum", g, axes=axes) if axes else g, shape)


def slice_index(at: Index, shape: Shape, start: Shape, stop: Shape, step: Shape) -> tuple[Index, None]:
    return tuple(i * by + lo for i, lo, by in zip(at, start, step, strict=True)), None


def slice_numpy(a: Any, start: Shape, stop: Shape, step: Shape) -> Any:
    return a[tuple(slice(lo, hi, by) for lo, hi, by in zip(start, stop, step, strict=True))]


def slice_grad(g: Node, y: Node, a: Node) -> Grads:
    start, step = y["start"], y["step"]
    ends = [lo + (n - 1) * by + 1 if n else lo for lo, n, by in zip(start, y.shape, step, strict=True)]
    high = tuple(n - end for n, end in zip(a.shape, ends, strict=True))
    return (apply("pad", g, low=start, high=high, step=step, fill=0),)


def pad_index(at: Index, shape: Shape, low: Shape, high: Shape, step: Shape, fill: float) -> tuple[Index, Node | None]:
    """Where the source lies below each element, and whether it lies there at all."""
    out: list[Node] = []
    inside: Node | None = None
    for i, n, lo, hi, by in zip(at, shape, low, high, step, strict=True):
        j = i - lo if lo else i
        tests = [j >= 0] if lo else []
        tests += [j < (n - 1) * by + 1] if hi else []
        tests += [apply("eq", j % by, const(0))] if by > 1 else []
        for t in tests:
            inside = t if inside is None else inside & t
        out.append(j // by if by > 1 else j)
    return tuple(out), inside


def pad_numpy(a: Any, low: Shape, high: Shape, step: Shape, fill: float) -> Any:
    out = np.full(rules.padded(a.shape, low=low, high=high, step=step, fill=fill), fill, a.dtype)
    if a.size:
        ends = (lo + (n - 1) * by + 1 for lo, n, by in zip(low, a.shape, step, strict=True))
        out[tuple(slice(lo, end, by) for lo, end, by in zip(low, ends, step, strict=True))] = a
    return out


def pad_grad(g: Node, y: Node, a: Node) -> Grads:
    low, step = y["low"], y["step"]
    stop = tuple(lo + max(0, (n - 1) * by + 1) for lo, n, by in zip(low, a.shape, step, strict=True))
    return (apply("slice", g, start=low, stop=stop, step=step),)


def movement(name: str, shape: Callable[..., Shape], numpy: Any, index: Any, grad: Any, **more: Any) -> Op:
    return define(
        name, Kind.MOVEMENT, shape=shape, dtype=rules.keep, numpy=numpy, index=index, grad=grad, public=False, **more
    )


movement(
    "expand",
    rules.to_shape,
    lambda a, to: np.broadcast_to(a, to),
    lambda at, shape, to: (
        tuple(const(0) if n == 1 else i for i, n in zip(at[len(at) - len(shape) :], shape, strict=True)),
        None,
    ),
    lambda g, y, a: (sum_to(g, a.shape),),
    examples=({"to": (2, 3, 4)},),
    doc="Axes of size 1, or missing in front, repeated.",
)
movement(
    "permute",
    rules.permuted,
    lambda a, order: np.transpose(a, order),
    lambda at, shape, order: (tuple(at[order.index(a)] for a in range(len(shape))), None),
    lambda g, y, a: (apply("permute", g, order=tuple(y["order"].index(a) for a in range(len(y["order"])))),),
    examples=({"order": (1, 0)},),
    doc="Axes in another order.",
)
movement(
    "reshape",
    rules.reshaped,
    lambda a, to: np.reshape(a, to),
    lambda at, shape, to: (unflatten(flatten(at, to), shape), None),
    lambda g, y, a: (reshape(g, a.shape),),
    examples=({"to": (4, 3)}, {"to": (2, 6)}),
    doc="The same elements in row-major order under another shape.",
)
movement(
    "slice",
    rules.sliced,
    slice_numpy,
    slice_index,
    slice_grad,
    examples=({"start": (0, 1), "stop": (3, 4), "step": (2, 1)}, {"start": (1, 0), "stop": (2, 4), "step": (1, 3)}),
    doc="Every step-th element from start to stop.",
)
movement(
    "flip",
    lambda shape, axes: (rules.reduced(shape, axes=axes) and shape) or shape,
    lambda a, axes: np.flip(a, axes),
    lambda at, shape, axes: (tuple(const(shape[a] - 1) - i if a in axes else i for a, i in enumerate(at)), None),
    lambda g, y, a: (apply("flip", g, axes=y["axes"]),),
    examples=({"axes": (1,)}, {"axes": (0, 1)}),
    doc="Axes read backwards.",
)
movement(
    "pad",
    rules.padded,
    pad_numpy,
    pad_index,
    pad_grad,
    examples=(
        {"low": (1, 0), "high": (0, 2), "step": (1, 1), "fill": 0},
        {"low": (0, 1), "high": (2, 0), "step": (2, 3), "fill": 1},
    ),
    doc="`fill` around the elements, and step - 1 of it between them.",
)


# --- reductions -------------------------------------------------------------------------------------------------------
def spread(g: Node, y: Node, a: Node) -> Node:
    """Give every element of `a` the value of `g` it was folded into."""
    kept = tuple(1 if i in y["axes"] else n for i, n in enumerate(a.shape))
    return expand(reshape(g, kept), a.shape)


def sum_numpy(a: Any, axes: tuple[int, ...]) -> Any:
    wide = a.astype(np.float32) if a.dtype.itemsize == 2 and a.dtype.kind not in "iu" else a
    return np.sum(wide, axes, dtype=wide.dtype).astype(a.dtype)


def extreme_grad(beats: str, sign: int) -> Callable[..., Grads]:
    """Equal extremes share the gradient evenly, as in torch.amax.

    Where `a` is computed again for the gradient, it need not be the extreme bit by bit: if nothing is equal, what
    rounding explains is.
    """

    def grad(g: Node, y: Node, a: Node) -> Grads:
        equal = apply("eq", a, spread(y, y, a))
        none = apply("eq", apply("sum", cast(equal, a.dtype), axes=y["axes"]), like(y, 0))
        near = y - apply("abs", y) * (2 * sign * a.dtype.epsilon)
        hit = apply("logical_or", equal, spread(none, y, a) & apply(beats, a, spread(near, y, a)))
        count = apply("sum", cast(hit, a.dtype), axes=y["axes"])
        return (only(hit, spread(g / count, y, a)),)

    return grad


def lowest(d: DType) -> Any:
    return -math.inf if d.is_float else False if d is dt.boolean else int(np.iinfo(d.numpy).min)


def highest(d: DType) -> Any:
    return math.inf if d.is_float else True if d is dt.boolean else int(np.iinfo(d.numpy).max)


def reduction(name: str, combine: str, identity: Any, numpy: Any, grad: Any, doc: str, **more: Any) -> Op:
    rest = {"shape": rules.reduced, "dtype": rules.keep} | more
    examples = ({"axes": (1,)}, {"axes": (0,)}, {"axes": (0, 1)})
    return define(
        name,
        Kind.REDUCE,
        combine=combine,
        identity=identity,
        numpy=numpy,
        grad=grad,
        doc=doc,
        public=False,
        examples=examples,
        **rest,
    )


reduction(
    "sum", "add", lambda d: 0, sum_numpy, lambda g, y, a: (spread(g, y, a),), "Sum over axes.", dtype=rules.numeric
)
reduction(
    "max",
    "maximum",
    lowest,
    lambda a, axes: np.max(a, axes),
    extreme_grad("ge", 1),
    "Largest; nan wins.",
    shape=rules.reduced_some,
)
reduction(
    "min",
    "minimum",
    highest,
    lambda a, axes: np.min(a, axes),
    extreme_grad("le", -1),
    "Smallest; nan wins.",
    shape=rules.reduced_some,
)


# --- where to read is a value -----------------------------------------------------------------------------------------
def inside(position: Node, size: int) -> Node:
    """Positions outside an axis mean its first or last element: nothing outside the tensor is ever touched."""
    return binary("minimum", binary("maximum", cast(position, dt.int64), const(0)), const(size - 1))


def gather_index(at: Index, position: Node, shape: Shape, axis: int) -> Index:
    safe = inside(position, shape[axis])
    return tuple(safe if a == axis else i for a, i in enumerate(at))


define(
    "gather",
    Kind.GATHER,
    shape=rules.gathered,
    dtype=rules.first_by_index,
    numpy=lambda a, index, axis: np.take_along_axis(a, np.clip(index.astype(np.int64), 0, a.shape[axis] - 1), axis),
    index=gather_index,
    grad=lambda g, y, a, index: (
        apply("scatter_add", index, g, axis=y["axis"], size=a.shape[y["axis"]]),
        None,
    ),
    examples=({"axis": 0}, {"axis": 1}),
    public=False,
    doc="Along one axis, the elements that an index tensor names.",
)


# --- contractions -----------------------------------------------------------------------------------------------------
def transpose(a: Node) -> Node:
    """The last two axes swapped."""
    n = len(a.shape)
    return apply("permute", a, order=(*range(n - 2), n - 1, n - 2))


def matmul_by_sum(node: Node) -> Node:
    a, b = node.src
    *lead, m, k = a.shape
    n = b.shape[-1]
    wide = dt.float32 if node.dtype.size == 2 else node.dtype
    left = expand(reshape(cast(a, wide), (*lead, m, 1, k)), (*lead, m, n, k))
    right = expand(reshape(cast(transpose(b), wide), (*lead, 1, n, k)), (*lead, m, n, k))
    return cast(apply("sum", left * right, axes=(len(lead) + 2,)), node.dtype)


def matmul_numpy(a: Any, b: Any) -> Any:
    if a.dtype.itemsize == 2 and a.dtype.kind not in "iu":
        return np.matmul(a.astype(np.float32), b.astype(np.float32)).astype(a.dtype)
    return np.matmul(a, b)


define(
    "matmul",
    Kind.CONTRACT,
    shape=rules.matmul,
    dtype=rules.numeric,
    numpy=matmul_numpy,
    grad=lambda g, y, a, b: (apply("matmul", g, transpose(b)), apply("matmul", transpose(a), g)),
    decompose=matmul_by_sum,
    public=False,
    doc="Matrix product over the last two axes; half precisions are summed in float32.",
)


def scatter_numpy(index: Any, value: Any, axis: int, size: int) -> Any:
    shape = tuple(size if a == axis else n for a, n in enumerate(value.shape))
    out = np.zeros(shape, np.float32 if value.dtype.itemsize == 2 else value.dtype)
    at = list(np.indices(index.shape))
    at[axis] = np.clip(index.astype(np.int64), 0, size - 1)
    np.add.at(out, tuple(at), value)
    return out.astype(value.dtype)


def scatter_by_product(node: Node) -> Node:
    """One-hot rows times values where one index serves whole rows; else a sum over the elements that match."""
    index, value = node.src
    axis, size, count = node["axis"], node["size"], value.shape[node["axis"]]
    if axis == 0 and len(value.shape) == 2 and value.dtype.is_float and shared_index(index, axis):
        rows = (reshape(cast_iota(size), (size, 1)), inside(row_index(index, axis), size))
        hot = apply("eq", *(expand(x, (size, count)) for x in rows))
        return apply("matmul", cast(hot, value.dtype), value)
    lead, rest = value.shape[:axis], value.shape[axis + 1 :]
    full = (*lead, size, count, *rest)
    place = expand(reshape(cast_iota(size), (size, 1, *(1,) * len(rest))), full)
    here = expand(reshape(inside(index, size), (*lead, 1, count, *rest)), full)
    picked = only(apply("eq", place, here), expand(reshape(value, (*lead, 1, count, *rest)), full))
    return apply("sum", picked, axes=(axis + 1,))


def cast_iota(n: int) -> Node:
    return apply("iota", n=n)


def shared_index(index: Node, axis: int) -> bool:
    """True if the index is the same along all axes but one."""
    source = index.src[0].shape if index.op.name == "expand" else index.shape
    lead = len(index.shape) - len(source)
    return all(a == axis or a < lead or source[a - lead] == 1 for a in range(len(index.shape)))


def row_index(index: Node, axis: int) -> Node:
    """The index along its axis, at the first position of all others."""
    stop = tuple(n if a == axis else min(n, 1) for a, n in enumerate(index.shape))
    first = apply("slice", index, start=(0,) * len(stop), stop=stop, step=(1,) * len(stop))
    return reshape(first, (1, index.shape[axis]))


define(
    "scatter_add",
    Kind.CONTRACT,
    shape=rules.scattered,
    dtype=rules.last_by_index,
    numpy=scatter_numpy,
    grad=lambda g, y, index, value: (None, apply("gather", g, index, axis=y["axis"])),
    decompose=scatter_by_product,
    examples=({"axis": 0, "size": 5}, {"axis": 1, "size": 3}),
    public=False,
    doc="Zeros, with each value added where its index says; in a fixed order.",
)
define(
    "call",
    Kind.CALL,
    shape=rules.given,
    dtype=rules.declared,
    numpy=lambda *arrays, routine, spec, of, as_: spec.numpy(*arrays),
    public=False,
    doc="A library does this: `routine` names it, `spec` is what it must know.",
)
