"""What one lane computed for a row stays in a tile of its cache until a later loop over the row asks for it.

A lane that visits rows in plain loops has no registers for them. A later loop would compute an exponential again, or
draw a random number again; reading it back from the nearest cache takes a fraction of that. What is cheap is computed
again, and what lies in memory is read again: it is still in the cache.
"""

from dataclasses import replace

from flame.ir.graph import substitute, toposort
from flame.ir.loop import Kernel, Loop, Role, Stage, Statement, Store, scalars
from flame.ir.node import Node, apply
from flame.ir.op import Kind
from flame.ir.plan import Plan, map_kernels
from flame.ir.target import Target

SHORT = 16  # a row of fewer elements is unrolled, and its values are in registers
ROOM = 1 << 17  # bytes of all tiles of a kernel: they must stay near


def stage_rows(plan: Plan, target: Target) -> Plan:
    """On one lane, no loop over a row computes anew what is dear and an earlier loop over that row has computed."""
    return plan if target.max_lanes > 1 else map_kernels(plan, staged)


def staged(kernel: Kernel) -> Kernel:
    """The kernel with dear values in tiles: staged where they are made first, loaded by name in later loops."""
    outer = kernel.outer
    loops = [s for s in outer.body if isinstance(s, Loop)]
    plain = outer.role is Role.GRID and kernel.layout.span == 1 and all(_plain(s) for s in loops)
    if not plain or len(loops) < 2 or len({(s.var, s.extent) for s in loops}) > 1 or loops[0].extent < SHORT:
        return kernel
    made = [_dear(s) for s in loops]
    tiles: dict[Node, tuple[int, str]] = {}  # value -> the loop that makes it first, and its tile
    for i, s in enumerate(loops):
        for n in _met(s, set[Node]().union(*made[:i])):
            if n not in tiles:
                tiles[n] = next(j for j, found in enumerate(made) if n in found), f"tile{len(tiles)}"
    if not tiles or sum(n.dtype.register.size for n in tiles) * loops[0].extent > ROOM:
        return kernel
    done = iter([_rewritten(s, i, tiles) for i, s in enumerate(loops)])
    return replace(
        kernel, body=(replace(outer, body=tuple(next(done) if isinstance(s, Loop) else s for s in outer.body)),)
    )


def _plain(s: Loop) -> bool:
    return s.role is Role.ROW and not any(isinstance(inner, (Loop, Stage)) for inner in s.body)


def _values(s: Loop) -> list[Node]:
    return [v for inner in s.body for v in ((inner.value,) if isinstance(inner, Store) else scalars(inner))]


def _dear(s: Loop) -> set[Node]:
    """The values of elements that take longer to compute than to read back."""
    moves, found = {s.var}, set[Node]()
    for n in toposort(_values(s)):
        if any(m in moves for m in n.src):
            moves.add(n)
            if n.op.kind is Kind.ELEMENTWISE and (n.op.costly or any(m in found for m in n.src)):
                found.add(n)
    return found


def _met(s: Loop, earlier: set[Node]) -> list[Node]:
    """What an earlier loop has made, where walking down from the values of a loop meets it first."""
    found: list[Node] = []
    seen: set[Node] = set()
    pending = _values(s)
    while pending:
        n = pending.pop()
        if n not in seen:
            seen.add(n)
            if n in earlier:
                found.append(n)
            else:
                pending.extend(n.src)
    return found


def _rewritten(s: Loop, number: int, tiles: dict[Node, tuple[int, str]]) -> Loop:
    """A loop that stages what it makes first, and reads what earlier ones staged."""
    known = {n: apply("load", s.var, param=tile, as_=n.dtype) for n, (maker, tile) in tiles.items() if maker < number}
    mine = [(n, tile) for n, (maker, tile) in tiles.items() if maker == number]
    body: list[Statement] = [Stage(tile, s.extent, s.var, _known(n, known)) for n, tile in mine]
    for inner in s.body:
        assert not isinstance(inner, Loop) and hasattr(inner, "value")
        body.append(replace(inner, value=_known(inner.value, known)))  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]
    return replace(s, body=tuple(body))


def _known(root: Node, known: dict[Node, Node]) -> Node:
    return substitute((root,), known)[0]
