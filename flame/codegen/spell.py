"""Scalars to text: what is read twice, or nested too deeply, gets a name; neighbouring loads become one access."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache

from flame.ir.dtype import DType, int64
from flame.ir.graph import toposort
from flame.ir.index import bounds, contiguous, walk
from flame.ir.loop import Kernel, Stage, statements
from flame.ir.node import Node
from flame.ir.op import OPS, Kind

DEEP = 6  # nested calls in one expression; Python itself gives up at 200 parentheses
SMALL = 1 << 31
Name = tuple[Node, int, int]  # a value, of which item, of which element of its vector; -1: the same for all


class Speller:
    """Names and expressions in the scopes we are in."""

    def __init__(self, kernel: Kernel, emit: Callable[[str], None], wide: bool):
        self.emit, self.at, self.wide = emit, kernel.layout, wide
        self.types = {p.name: p.dtype for p in kernel.params}
        self.values = {p.name for p in kernel.params if p.by_value}
        self.tiles = {s.tile: tile_name(s) for s in statements(kernel.body) if isinstance(s, Stage)}
        self.names: dict[Name, str] = {}
        self.varies: set[Node] = set()  # accumulators and kept values that every element has its own of
        self.ring: dict[tuple[Node, int], int] = {}  # where in a stage of shared memory the loads of an item wait
        self.row: Node | None = None
        self.guards: dict[int, str] = {}
        self.row_guard: str | None = None
        self.loop_guard: str | None = None  # whether this lane still takes part in a loop with bounds of its own
        self.reads: Counter[Node] = Counter()
        self.count = 0
        self._depends: dict[Node, int] = {}
        self._apart: dict[Node, int] = {}

    # --- scopes -------------------------------------------------------------------------------------------------------
    def enter(self, row: Node | None) -> None:
        self.row = row
        self._depends.clear()
        self._apart.clear()

    def vary(self, n: Node) -> None:
        self.varies.add(n)
        self._depends.clear()

    def count_reads(self, values: Iterable[Node]) -> None:
        roots = list(values)
        self.reads = Counter(n.src[k] for n in toposort(roots) for k in read_by(n))
        self.reads.update(roots)

    def depends(self, n: Node) -> int:
        """0: the same for all elements of a lane; 1: for the elements of one item; 2: each its own."""
        if self.row is None:
            return 0
        found = self._depends.get(n)
        if found is None:
            for m in toposort([n], self._depends):
                if m not in self._depends:
                    self._depends[m] = self._dependence(m)
            found = self._depends[n]
        return found

    def _dependence(self, n: Node) -> int:
        if n in self.varies or n is self.row:
            return 2
        if not n.src:
            return 0
        most = max(self._depends[s] for s in n.src)
        if most == 2 and n.dtype.category < 2 and n.op.name != "load":
            assert self.row is not None
            if walk(n, self.row, self.at.vector)[0] == 0:
                return 1
        return most

    def own(self, n: Node, i: int, v: int) -> str:
        return n["name"] if self.at.items * self.at.vector == 1 else f"{n['name']}_{i}_{v}"

    def fresh(self) -> str:
        self.count += 1
        return f"t{self.count - 1}"

    # --- expressions --------------------------------------------------------------------------------------------------
    def key(self, n: Node, i: int, v: int) -> Name:
        d = self.depends(n)
        return n, i if d else -1, v if d == 2 else -1

    def text(self, root: Node, i: int = 0, v: int = 0) -> str:
        """The expression of `root` at element (i, v)."""
        depth: dict[Node, int] = {}
        for n in toposort([root], _Named(self, i, v)):
            key = self.key(n, i, v)
            if key in self.names:
                continue
            spelled = self.spell(n, key, i, v)
            if key in self.names:  # a wide load named all its elements
                continue
            depth[n] = 1 + max((depth.get(s, 0) for s in n.src), default=0)
            if self._deserves_a_name(n, depth[n]):
                name = self.fresh()
                self.emit(f"{name} = {spelled}")
                spelled, depth[n] = name, 0
            self.names[key] = spelled
        return self.names[self.key(root, i, v)]

    def _deserves_a_name(self, n: Node, depth: int) -> bool:
        if not n.src:
            return False
        invariant = self.depends(n) == 0 and n.op.kind is Kind.ELEMENTWISE and n.dtype.is_float
        return n.op.name == "load" or self.reads[n] > 1 or depth > DEEP or invariant

    def spell(self, n: Node, key: Name, i: int, v: int) -> str:
        if v and (apart := self.apart(n)):
            return f"({self.text(n, i, 0)} + {v * apart})"
        match n.op.name:
            case "const":
                return number(n["value"], n.dtype)
            case "var" if n is self.row:
                return f"(r{i} + {v})" if v else f"r{i}"
            case "var":
                return self.own(n, i, v) if n in self.varies else n["name"]
            case "load":
                return n["param"] if n["param"] in self.values else self.load(n, key, i, v)
            case "floor_divide" | "remainder" if n.dtype.name == "int64":
                return self.divide(n, i, v)
        return self.operator(n, [self.names[self.key(s, i, v)] for s in n.src])

    def apart(self, n: Node) -> int:
        """How far the positions of neighbours in a vector lie from each other, if that is known; else 0."""
        if self.row is None or n is self.row or n.op.kind is not Kind.ELEMENTWISE or n.dtype is not int64:
            return 0
        if n not in self._apart:
            self._apart[n] = walk(n, self.row, self.at.vector)[0] or 0
        return self._apart[n]

    def divide(self, n: Node, i: int, v: int) -> str:
        """Divisions of indices are unsigned, and narrow where both sides are."""
        args = [self.names[self.key(s, i, v)] for s in n.src]
        found, divisor = bounds(n.src[0]), n.src[1]
        if found is None or found[0] < 0 or divisor.op.name != "const" or divisor["value"] <= 0:
            return self.operator(n, args)
        name = ("udiv" if n.op.name == "floor_divide" else "umod") + ("32" if found[1] < SMALL else "64")
        return f"{name}({args[0]}, {args[1]})"

    def operator(self, n: Node, args: list[str]) -> str:
        assert n.op.scalar is not None, n
        result = n.dtype.register
        operand = n.src[-1].dtype.register if n.src else result
        return typed(result, n.op.scalar.format(*args, T=operand.name, **dict(n.attrs)))

    def load(self, n: Node, key: Name, i: int, v: int) -> str:
        param, index, d = n["param"], n.src[0], self.depends(n)
        if param in self.tiles:
            return self.staged(n, i, v)
        if (n, i) in self.ring:
            return self.take(n, key, i)
        if d == 2 and all(self.depends(c) < 2 for c in n.src[1:]):
            if self.side_by_side(index):
                return self.load_wide(n, key, i, 0)
            if shift := self.shifted(index):
                return self.load_wide(n, key, i, shift)
        guard = self.guard(i, v if d == 2 else 0) if self.row is not None and d else self.row_guard
        ok = self.condition(n, i, v, guard)
        name = f"load1_{self.types[param]}{'_if' if ok else ''}"
        return f"{name}({param}, {self.names[self.key(index, i, v)]}{f', {ok}' if ok else ''})"

    def load_wide(self, n: Node, key: Name, i: int, shift: int) -> str:
        """One access brings all elements of the item; two do, where they begin `shift` behind an aligned one."""
        param, width, elements = n["param"], self.at.vector, list[str]()
        index = self.text(n.src[0], i, 0)
        edge = self.at.ragged or shift > 0  # an access may pass the end of the memory's elements
        for at in (0, width)[: 1 + (shift > 0)]:
            ok = self.condition(n, i, 0, self.guard(i, max(0, at - shift)))
            name = f"load{width}_{self.types[param]}{'_edge' if edge else '_if' if ok else ''}"
            where = f"{index} + {at - shift}" if at != shift else index
            tail = f", {ok or 'True'}" if ok or edge else ""
            pack = self.fresh()
            self.emit(f"{pack} = {name}({param}, {where}{tail})")
            elements += [f"{pack}[{j}]" for j in range(width)]
        for j in range(width):
            self.names[n, i, j] = elements[shift + j]
        return self.names[key]

    def take(self, n: Node, key: Name, i: int) -> str:
        """What was asked for ahead."""
        width = self.at.vector
        text = f"take{width}_{self.types[n['param']]}_{self.at.lanes * self.at.rows}(here + {self.ring[n, i]})"
        if width == 1:
            return text
        pack = self.fresh()
        self.emit(f"{pack} = {text}")
        for j in range(width):
            self.names[n, i, j] = f"{pack}[{j}]"
        return self.names[key]

    def staged(self, n: Node, i: int, v: int) -> str:
        """One element of a tile of the block."""
        ok = self.guards.get(i)
        where = self.names[self.key(n.src[0], i, v)]
        return f"get_{self.tiles[n['param']]}{f'_if({where}, {ok})' if ok else f'({where})'}"

    def side_by_side(self, index: Node) -> bool:
        """True if one wide access brings all elements of an item."""
        width = self.at.vector
        return self.wide and width > 1 and self.row is not None and contiguous(index, self.row, width)

    def shifted(self, index: Node) -> int:
        """How far behind an aligned access the elements of an item lie side by side; else 0."""
        width = self.at.vector
        if index.op.name != "add" or index.src[1].op.name != "const":
            return 0
        whole, shift = divmod(index.src[1]["value"], width)
        return shift if shift and self.side_by_side(index.src[0] + whole * width) else 0

    def guard(self, i: int, v: int) -> str | None:
        """Whether element v of item i exists; None where all do."""
        if self.at.ragged and v:
            return f"(r{i} + {v} < n)"
        return self.guards.get(i)

    def condition(self, n: Node, i: int, v: int, guard: str | None) -> str | None:
        """Under what condition the load may touch memory: its own, and that of its item."""
        own = [self.names[self.key(c, i, v)] for c in n.src[1:]]
        return " & ".join([*own, *(g for g in (guard, self.loop_guard) if g)]) or None


class _Named:
    """The values that have a name or an expression already, as element (i, v) has them."""

    def __init__(self, speller: Speller, i: int, v: int):
        self.speller, self.i, self.v = speller, i, v

    def __contains__(self, n: object) -> bool:
        return isinstance(n, Node) and self.speller.key(n, self.i, self.v) in self.speller.names


def tile_name(s: Stage) -> str:
    """A tile as the functions that reach it name it: which, of what, how many."""
    return f"{s.tile}_{s.value.dtype.register}_{s.size}"


def read_by(n: Node) -> Iterable[int]:
    """The operands as often as the text of the operator names them: what it names twice is computed once."""
    return range(len(n.src)) if n.op.scalar is None else named_by(n.op.scalar)


@lru_cache(1024)
def named_by(scalar: str) -> tuple[int, ...]:
    return tuple(int(k) for k in re.findall(r"{(\d)}", scalar))


def typed(dtype: DType, text: str) -> str:
    """Small integers wrap around: Numba and numpy would widen them."""
    return f"{dtype}({text})" if dtype.category == 1 and dtype.size < 8 else text


def combine(name: str, a: str, b: str, dtype: DType) -> str:
    scalar = OPS[name].scalar
    assert scalar is not None
    return typed(dtype, scalar.format(a, b, T=dtype.name))


def tree(name: str, values: list[str], dtype: DType) -> str:
    """All values combined, in pairs: independent operations run side by side."""
    while len(values) > 1:
        pairs = [values[i : i + 2] for i in range(0, len(values), 2)]
        values = [combine(name, p[0], p[1], dtype) if len(p) == 2 else p[0] for p in pairs]
    return values[0]


def number(value: object, dtype: DType) -> str:
    """A constant with its type: a bare float would be float64."""
    kind = dtype.register
    if kind.name in ("bool", "int64"):
        return repr(value)
    if not kind.is_float:
        return f"{kind}({value!r})"
    text = {"inf": "inf()", "-inf": "(-inf())", "nan": "nan()"}.get(repr(value), repr(value))
    return f"{kind}({text})"
