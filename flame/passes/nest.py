"""Free elements as rows, for machines with one lane: r becomes g * c + r, so that `r % c` and `r // c` vanish."""

from dataclasses import replace

from flame.ir.graph import substitute, toposort
from flame.ir.loop import Kernel, Loop, Role, map_scalars, scalars, statements
from flame.ir.node import Node, var
from flame.ir.plan import Plan, map_kernels
from flame.ir.target import Target
from flame.passes.simplify import Scalars

SHORT = 4  # a row of fewer elements is no loop worth having


def nest(plan: Plan, target: Target, simple: Scalars) -> Plan:
    """On one lane, no free element divides its position where a loop over rows can count instead."""
    if target.max_lanes > 1:
        return plan
    return map_kernels(plan, lambda k: nested(k, simple))


def nested(kernel: Kernel, simple: Scalars) -> Kernel:
    """The kernel with the rows that leave the fewest divisions inside, the longest of them."""
    outer = kernel.outer
    if outer.role is not Role.SPREAD:
        return kernel
    best, cost = kernel, _divisions(kernel, outer.var)
    if not cost:
        c = _line(outer) if any(isinstance(s, Loop) for s in outer.body) else 1
        return with_rows(kernel, outer, c, simple) if c > 1 else kernel
    for c in sorted(_divisors(kernel, outer), reverse=True):
        made = with_rows(kernel, outer, c, simple)
        left = _divisions(made, var("r", extent=c))
        if left < cost:
            best, cost = made, left
    return best


def _line(outer: Loop) -> int:
    """The length of rows in which elements that fold columns of their own stand side by side."""
    return next((c for c in (512, 256, 128, 64, 32, 16, 8, 4) if outer.extent % c == 0 and c < outer.extent), 1)


def _divisors(kernel: Kernel, outer: Loop) -> set[int]:
    """The lengths of rows at which some division vanishes."""
    found: set[int] = set()
    for n in _positions(kernel):
        if n.op.name in ("floor_divide", "remainder") and n.src[1].op.name == "const" and n.dtype.name == "int64":
            found.add(n.src[1]["value"])
    return {c for c in found if SHORT <= c < outer.extent and outer.extent % c == 0}


def _positions(kernel: Kernel) -> list[Node]:
    return toposort(v for s in statements(kernel.body) for v in scalars(s))


def _divisions(kernel: Kernel, row: Node) -> int:
    """Divisions that every element does anew."""
    moves: set[Node] = {row}
    count = 0
    for n in _positions(kernel):
        if any(s in moves for s in n.src):
            moves.add(n)
            count += n.op.name in ("floor_divide", "remainder") and n.dtype.name == "int64"
    return count


def with_rows(kernel: Kernel, outer: Loop, c: int, simple: Scalars) -> Kernel:
    """The same elements as rows of `c`."""
    g, r = var("g", extent=outer.extent // c), var("r", extent=c)
    place = {outer.var: g * c + r}
    made = map_scalars(kernel, lambda n: simple(substitute((n,), place)[0]))
    inner = Loop(r, c, Role.ROW, made.outer.body)
    return replace(made, body=(Loop(g, outer.extent // c, Role.GRID, (inner,)),))
