"""Keep in registers what a later loop over the same row would read or compute again."""

from dataclasses import replace

from flame.ir.graph import substitute, toposort
from flame.ir.loop import Keep, Kernel, Loop, Role, Statement, Store, scalars
from flame.ir.node import Node, var
from flame.ir.op import Kind
from flame.ir.plan import Plan, map_kernels


def keep_rows(plan: Plan) -> Plan:
    """Where a row fits in registers, memory is read once."""
    return map_kernels(plan, lambda k: keep(k) if k.layout.kept else k)


def keep(kernel: Kernel) -> Kernel:
    """Each value of a row is loaded and computed once: `Keep` names it where it is made, its name is read later."""
    grid = kernel.outer
    outer = next((s for s in grid.body if isinstance(s, Loop) and s.role is Role.SERIAL), grid)
    loops = [s for s in outer.body if isinstance(s, Loop) and s.role is Role.ROW]
    made = [_made(loop) for loop in loops]
    early = _streams(outer, loops[1:])
    made[:1] = [m | early for m in made[:1]]  # ask for all of memory before the first fold waits for all lanes
    late = sorted(early - _made(loops[0]), key=_access) if loops else []
    named = {n: var(f"v{i}", n.dtype) for i, n in enumerate(late)}  # value -> its name
    for i, loop in enumerate(loops):
        earlier = set[Node]().union(*made[:i])
        for n in _frontier(loop, earlier):
            named.setdefault(n, var(f"v{len(named)}", n.dtype))
    if not named:
        return kernel
    body = iter(_rewritten(loops, made, named))
    inner = tuple(next(body) if isinstance(s, Loop) and s.role is Role.ROW else s for s in outer.body)
    new = replace(outer, body=inner)
    around = new if outer is grid else replace(grid, body=tuple(new if s is outer else s for s in grid.body))
    return replace(kernel, body=(around,))


def _access(n: Node) -> str:
    return f"{n['param']} {n.src[0]!r}"


def _values(s: Statement) -> tuple[Node, ...]:
    return (s.value,) if isinstance(s, Store) else scalars(s)


def _streams(outer: Loop, loops: list[Loop]) -> set[Node]:
    """The loads that bring another row for each grid item: they come from far away."""
    values = toposort(v for loop in loops for s in loop.body for v in _values(s))
    return {n for n in values if n.op.name == "load" and n.src and {outer.var, loops[0].var} <= set(toposort(n.src))}


def _made(loop: Loop) -> set[Node]:
    """The element values that a loop computes: all that depends on its row, but indices and the cheapest."""
    found: set[Node] = set()
    for n in toposort(v for s in loop.body for v in _values(s)):
        if n.op.name == "load" and n.src:
            if loop.var in toposort(n.src):
                found.add(n)
        elif n.op.kind is Kind.ELEMENTWISE and any(m in found for m in n.src):
            found.add(n)
    return found


def _frontier(loop: Loop, earlier: set[Node]) -> list[Node]:
    """The values a loop needs that an earlier one made: walking down, the first met."""
    out: list[Node] = []
    seen: set[Node] = set()
    pending = [v for s in loop.body for v in _values(s)]
    while pending:
        n = pending.pop()
        if n in seen:
            continue
        seen.add(n)
        if n in earlier:
            out.append(n)
        elif n.op.name != "load":
            pending.extend(n.src)
    return out


def _rewritten(loops: list[Loop], made: list[set[Node]], named: dict[Node, Node]) -> list[Loop]:
    out: list[Loop] = []
    ready: set[Node] = set()
    for loop, here in zip(loops, made, strict=True):
        needs = [v for s in loop.body for v in _values(s)] + [n for n in named if n in here and n.op.name == "load"]
        new = [n for n in toposort(needs) if n in named and n in here - ready]
        known = {n: named[n] for n in ready}
        body: list[Statement] = []
        places = _places(needs, set(new))
        for n in new:
            body.append(Keep(named[n], _substituted(n, {m: m for m in places - {n}} | known)))
            known[n] = named[n]
        for s in loop.body:
            assert not isinstance(s, Loop) and hasattr(s, "value")
            body.append(replace(s, value=_substituted(s.value, {m: m for m in places} | known)))  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]
        ready |= set(new)
        out.append(replace(loop, body=tuple(body)))
    return out


def _places(values: list[Node], new: set[Node]) -> set[Node]:
    """The loads whose index reads a value that this loop names: all loads of a loop come before its names."""
    loads = (n for n in toposort(values) if n.op.name == "load" and n.src)
    return {n for n in loads if not new.isdisjoint(toposort(n.src))}


def _substituted(root: Node, known: dict[Node, Node]) -> Node:
    return substitute((root,), known)[0]
