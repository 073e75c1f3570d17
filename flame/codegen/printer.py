"""Kernel to Python source. A target subclasses `Printer` and overrides a few spellings.

The body of a ROW or SPREAD loop is printed once for each of the lane's items and each element of an item's vector:
straight-line code, in which `x_1_3` is element 3 of item 1. What does not depend on the element is printed once.
"""

import re
from itertools import groupby

from flame.codegen.scan import scan
from flame.codegen.spell import Speller, combine, number, tree
from flame.ir import loop
from flame.ir.ahead import ring, turns
from flame.ir.dtype import DType
from flame.ir.graph import substitute, toposort
from flame.ir.loop import Kernel, Role, scalars
from flame.ir.node import Node, var
from flame.ir.op import OPS, Kind

CROWDED = 512  # lanes beyond which no assembler has registers to interleave two rows, and to spill half of them


class Printer:
    """What a target spells in its own way. Each method returns text."""

    prelude: str  # the module that defines every function a kernel calls
    lanes_are_loops: bool  # one lane visits a row in an ordinary loop
    one_lane: str | None  # the condition under which a lane stores what all lanes know
    find: tuple[str, ...]  # of a kernel for many tensors: how it finds the `member` that it works on
    tables: tuple[str, ...]  # the types of its arguments
    head: tuple[str, ...]  # and what it reads from the member's row of `sizes` before the member's slots

    def kernel(self, k: Kernel) -> str:
        """The source of a module with one function."""
        return _Kernel(self, k).source()

    def enter(self, at: loop.Loop, k: Kernel) -> list[str]:
        """The head of a GRID or SPREAD loop; it defines `g`, or `tile`: where this block's elements begin."""
        raise NotImplementedError

    def arguments(self, k: Kernel) -> list[str]:
        return ["n", "where", "sizes", "table"] if k.many else ["n", *(p.name for p in k.params)]

    def gather(self, accs: list[str], at: loop.Gather, k: Kernel) -> list[str]:
        """Some accumulators combined over all lanes, as `at` is."""
        raise NotImplementedError

    def fold(self, at: loop.Fold, acc: str, value: str) -> str:
        return combine(at.combine, acc, value, at.acc.dtype)

    def again(self, k: Kernel) -> list[str]:
        """What must happen before the lanes gather anew in another round of a loop."""
        return []

    def leave(self, k: Kernel) -> list[str]:
        """What must happen before a lane ends."""
        return []


class _Kernel:
    """The state of printing one kernel."""

    def __init__(self, target: Printer, k: Kernel):
        self.target, self.k, self.at = target, k, k.layout
        self.lines: list[str] = []
        self.pad = 1
        self.speller = Speller(k, self.emit, wide=not target.lanes_are_loops)
        self.text = self.speller.text
        self.turns, self.ring = turns(k), ring(k)
        self.speller.ring = self.ring.places

    def source(self) -> str:
        if self.k.many:
            self.member()
        self.outer(self.k.outer)
        body = "\n".join(self.lines)
        used = sorted(set(re.findall(r"\b([a-z_]\w*)\(", body)) - {"range"})
        head = f"from {self.target.prelude} import {', '.join(used)}\n" if used else ""
        return f"{head}\n\ndef {self.k.name}({', '.join(self.target.arguments(self.k))}):\n{body}\n"

    def emit(self, *lines: str) -> None:
        self.lines += ["    " * self.pad + line for line in lines]

    def member(self) -> None:
        """The arguments of one tensor: what its slots hold in the table, addresses or numbers in 8 bytes."""
        head, params = self.target.head, self.k.params
        self.emit(*self.target.find)
        self.pad += self.target.find[-1].endswith(":")
        self.emit(f"row = member * {len(head) + len(params)}")
        self.emit(*(f"{name} = load1_int64(sizes, row + {i})" for i, name in enumerate(head)))
        for i, p in enumerate(params, len(head)):
            slot = f"load1_int64(sizes, row + {i})"
            if p.by_value and (each := 8 // p.dtype.register.size) > 1:
                slot = f"{slot} * {each}"
            self.emit(f"{p.name} = load1_{p.dtype.register if p.by_value else 'int64'}(table, {slot})")

    # --- loops --------------------------------------------------------------------------------------------------------
    def outer(self, s: loop.Loop) -> None:
        self.emit(*self.target.enter(s, self.k))
        depth = self.lines[-1].endswith(":")
        self.pad += depth
        if s.role is Role.SPREAD:
            self.speller.enter(s.var)
            if not self.target.lanes_are_loops:
                self.positions("tile + ", "n")
            self.hoist(s.body)
        elif self.at.rows > 1 and self.turns is None:
            self.speller.row_guard = f"({s.var['name']} < n)"
        self.block(s.body)
        self.emit(*self.target.leave(self.k))
        self.pad -= depth

    def positions(self, base: str, limit: str | int | None) -> None:
        """Define the positions of this lane's items, and their guards."""
        sp, step = self.speller, self.at.lanes * self.at.cluster * self.at.vector
        sp.guards = {}
        for i in range(self.at.items):
            lane = "" if self.at.lanes * self.at.cluster == 1 else f" + lane * {self.at.vector}"
            self.emit(f"r{i} = {base}{i * step}{lane}")
            inside = isinstance(limit, int) and base == "" and (i + 1) * step <= limit
            conditions = [f"(r{i} < {limit})"] if limit is not None and not inside else []
            conditions += [sp.row_guard] if sp.row_guard else []
            if conditions:
                sp.guards[i] = f"ok{i}"
                self.emit(f"ok{i} = {' & '.join(conditions)}")

    def row(self, s: loop.Loop) -> None:
        """The elements of a row: all at once where they are kept in registers, else span by span."""
        sp, outside = self.speller, dict(self.speller.names)
        sp.enter(s.var)
        self.hoist(s.body)
        looped = self.target.lanes_are_loops or s.extent > self.at.span
        if self.target.lanes_are_loops:
            self.emit(
                f"for r0 in range({s.extent}):"
                if self.at.span == 1
                else f"for r0 in range(0, {s.extent}, {self.at.span}):"
            )
        elif looped:
            ends = f"0, {s.extent}, {self.at.span}"
            if any(isinstance(inner, loop.Scan) and inner.reverse for inner in s.body):
                ends = f"{(s.extent - 1) // self.at.span * self.at.span}, -1, -{self.at.span}"
            self.emit(f"for c in range({ends}):")
        self.pad += looped
        if not self.target.lanes_are_loops:
            whole = s.extent % self.at.span == 0
            self.positions("c + " if looped else "", None if whole else s.extent)
        self.loads(s.body)
        self.block(s.body)
        if looped and any(isinstance(inner, loop.Scan) for inner in s.body):
            self.emit(*self.target.again(self.k))
        self.pad -= looped
        if not self.target.lanes_are_loops and any(isinstance(inner, loop.Stage) for inner in s.body):
            self.emit("barrier()")
        sp.enter(None)
        sp.names = outside | {key: t for key, t in sp.names.items() if key[0] in sp.varies}

    def serial(self, s: loop.Loop) -> None:
        if s is self.turns:
            self.in_turns(s)
            return
        sp = self.speller
        outside, reads, around = dict(sp.names), sp.reads, sp.loop_guard
        self.emit(f"for {s.var['name']} in range({self.limits(s)}):")
        self.pad += 1
        if sp.row is not None:
            sp.count_reads(v for inner in s.body for v in scalars(inner))
            self.loads(s.body)
        self.block(s.body)
        self.pad -= 1
        sp.names, sp.reads, sp.loop_guard = outside, reads, around

    def in_turns(self, s: loop.Loop) -> None:
        """Rows one after the other, those ahead asked for; of lanes side by side each takes every `rows`-th row."""
        sp, rows, k = self.speller, self.at.rows, s.var["name"]
        row = next(x for x in s.body if isinstance(x, loop.Loop) and x.role is Role.ROW)
        part, ahead, alike = " + part" if rows > 1 else "", self.ring.count - 1, s.bounds is None
        outside = dict(sp.names)
        limit = str(s.extent) if s.bounds is None else self.named("limit", s.bounds[1])
        for turn in range(ahead):
            self.emit(f"ahead = {turn * rows}{part}")
            self.ask(s, row, limit, str(turn * self.ring.stage))
        self.emit(*["turn = 0"] * (ahead > 0), *["at = 0"] * (not alike))
        self.emit(f"for at in range(0, {limit}, {rows}):" if alike else f"while some(at < {limit}):")
        self.pad += 1
        self.emit(f"{k} = at{part}")
        sp.row_guard = None if alike and s.extent % rows == 0 else f"({k} < {limit})"
        if ahead > 0:
            self.emit(f"awaited_{ahead - 1}()", f"ahead = {k} + {ahead * rows}", f"here = turn * {self.ring.stage}")
            self.ask(s, row, limit, f"umod32(turn + {ahead}, {ahead + 1}) * {self.ring.stage}")
            self.emit(f"turn = umod32(turn + 1, {ahead + 1})")
        self.block(s.body)
        meetings = sum(bool(meets) for meets, _ in groupby(s.body, _meets))
        if meetings == 1 or (meetings and self.at.lanes <= CROWDED):  # of two, who is at one has left the other
            self.emit(*self.target.again(self.k))
        self.emit(*[f"at = at + {rows}"] * (not alike))
        self.pad -= 1
        sp.names, sp.row_guard = outside, None
        if rows > 1:
            self.unite(s)
            sp.row_guard = "(part == 0)"

    def named(self, name: str, value: Node) -> str:
        self.emit(f"{name} = {self.text(value)}")
        return name

    def ask(self, s: loop.Loop, row: loop.Loop, limit: str, stage: str) -> None:
        """Ask for what the loads of row `ahead` bring."""
        sp, around, outside = self.speller, self.speller.row_guard, dict(self.speller.names)
        place = {s.var: var("ahead", extent=s.extent)}
        sp.row_guard = f"(ahead < {limit})"
        sp.enter(row.var)
        self.positions("", None if row.extent % self.at.span == 0 else row.extent)
        self.emit(f"there = {stage}")
        for (n, i), at in self.ring.places.items():
            index, *conditions = (self.text(e, i, 0) for e in substitute(n.src, place))
            name = f"fetch{self.at.vector}_{sp.types[n['param']]}_{self.at.lanes * self.at.rows}"
            ok = " & ".join([*conditions, sp.guards[i]])
            self.emit(f"{name}(there + {at}, {n['param']}, {index}, {ok})")
        self.emit("fetched()")
        sp.row_guard, sp.names = around, outside
        sp.enter(None)

    def unite(self, s: loop.Loop) -> None:
        """What lanes side by side folded of their rows becomes one."""
        sp, at = self.speller, self.at
        folds = [x for x in loop.statements(s.body) if isinstance(x, loop.Fold) and x.acc in sp.varies]
        for f in folds:
            name = f"unite_{f.combine}_{f.acc.dtype}_{at.rows}x{at.lanes}"
            for i, v in self.elements():
                self.emit(f"{sp.own(f.acc, i, v)} = {name}({sp.own(f.acc, i, v)})")

    def limits(self, s: loop.Loop) -> str:
        """Between what a serial loop counts. Where lanes go together, those that are through are masked."""
        if s.bounds is None:
            return str(s.extent)
        begin, end = map(self.text, s.bounds)
        if not self.target.lanes_are_loops:
            self.speller.loop_guard = f"({s.var['name']} < {end})"
        return f"{begin}, {end}"

    def hoist(self, stmts: tuple[loop.Statement, ...]) -> None:
        """Print what is the same for all elements before the loop."""
        sp = self.speller
        roots = [v for s in stmts if not isinstance(s, loop.Loop) for v in scalars(s)]
        sp.count_reads(v for s in loop.statements(stmts) for v in scalars(s))
        mine = {s.acc for s in loop.statements(stmts) if isinstance(s, loop.Init)}
        mine |= {s.var for s in stmts if isinstance(s, loop.Keep)} | _scanned(stmts)
        for n in toposort(roots):
            free = n.op.kind is Kind.ELEMENTWISE and n.dtype.is_float and sp.depends(n) == 0
            if free and not mine & set(toposort([n])):
                self.text(n)

    def loads(self, stmts: tuple[loop.Statement, ...]) -> None:
        """Ask for memory first: every load of the loop whose place is known, before anything is computed."""
        sp = self.speller
        mine = {s.acc for s in stmts if isinstance(s, loop.Init)} | _scanned(stmts)
        order = [n for n in toposort(v for s in stmts for v in scalars(s)) if not mine or not mine & set(toposort([n]))]
        for i in range(self.at.items):
            for n in order:
                if n.op.name == "load" and n.src and sp.depends(n):
                    for v in range(self.at.vector if sp.depends(n) == 2 else 1):
                        self.text(n, i, v)

    # --- statements ---------------------------------------------------------------------------------------------------
    def block(self, stmts: tuple[loop.Statement, ...]) -> None:
        for meets, run in groupby(stmts, _meets):
            if meets:
                gathers = [s for s in run if isinstance(s, loop.Gather)]
                self.emit(*self.target.gather([s.acc["name"] for s in gathers], gathers[0], self.k))
            else:
                for s in run:
                    self.statement(s)

    def statement(self, s: loop.Statement) -> None:
        match s:
            case loop.Loop():
                self.serial(s) if s.role is Role.SERIAL else self.row(s)
            case loop.Init():
                self.init(s)
            case loop.Scan():
                scan(s, self.speller, self.emit)
            case loop.Keep():
                self.keep(s)
            case loop.Fold():
                self.fold(s)
            case loop.Store():
                self.store(s)
            case loop.Stage():
                self.stage(s)
            case loop.Gather():
                raise AssertionError("gathers of one kind are printed together")

    def elements(self) -> list[tuple[int, int]]:
        return [(i, v) for i in range(self.at.items) for v in range(self.at.vector)]

    def init(self, s: loop.Init) -> None:
        if self.speller.row is None:
            self.emit(f"{s.acc['name']} = {self.text(s.value)}")
            return
        self.speller.vary(s.acc)
        for i, v in self.elements():
            self.emit(f"{self.speller.own(s.acc, i, v)} = {self.text(s.value, i, v)}")

    def keep(self, s: loop.Keep) -> None:
        sp = self.speller
        for i, v in self.elements():
            self.emit(f"{sp.own(s.var, i, v)} = {self.text(s.value, i, v)}")
        sp.vary(s.var)
        for i, v in self.elements():
            sp.names[s.var, i, v] = sp.own(s.var, i, v)

    def fold(self, s: loop.Fold) -> None:
        sp, dtype = self.speller, s.acc.dtype
        if s.acc in sp.varies:
            for i, v in self.elements():
                acc = sp.own(s.acc, i, v)
                more = combine(s.combine, acc, self.text(s.value, i, v), dtype)
                ok = sp.loop_guard or (sp.row_guard if self.turns else None)  # whether this turn, or row, still is one
                self.emit(f"{acc} = {f'select({ok}, {more}, {acc})' if ok else more}")
            return
        acc, parts = s.acc["name"], list[str]()
        for i in range(self.at.items):
            part = tree(s.combine, [self.text(s.value, i, v) for v in range(self.at.vector)], dtype)
            parts.append(f"select({sp.guards[i]}, {part}, {identity(s.combine, dtype)})" if i in sp.guards else part)
        if len(parts) > 1:
            for i, p in enumerate(parts):
                self.emit(f"p{i} = {p}")
            parts = [f"p{i}" for i in range(len(parts))]
        self.emit(f"{acc} = {self.target.fold(s, acc, tree(s.combine, parts, dtype))}")

    def store(self, s: loop.Store) -> None:
        sp, dtype, v = self.speller, self.speller.types[s.param], self.at.vector
        if sp.row is None:
            conditions = [f"({c})" for c in (self.target.one_lane, sp.row_guard) if c]
            self.write(s.param, dtype, self.text(s.index), [self.text(s.value)], " & ".join(conditions))
            return
        wide = sp.side_by_side(s.index) and (s.guard is None or sp.depends(s.guard) < 2)
        for i in range(self.at.items):
            values = [self.text(s.value, i, j) for j in range(v)]
            if wide and self.at.ragged:
                self.edge(s, i, values)
            elif wide:
                self.write(s.param, dtype, self.text(s.index, i, 0), values, self.exists(s, i, 0))
            else:
                for j, value in enumerate(values):
                    self.write(s.param, dtype, self.text(s.index, i, j), [value], self.exists(s, i, j))

    def edge(self, s: loop.Store, i: int, values: list[str]) -> None:
        """As many elements of the item as there are."""
        name = f"store{len(values)}_{self.speller.types[s.param]}_edge"
        self.emit(f"{name}({s.param}, {self.text(s.index, i, 0)}, {', '.join(values)}, n - r{i})")

    def exists(self, s: loop.Store, i: int, v: int) -> str:
        """The condition under which an element is stored, empty without one."""
        own = self.text(s.guard, i, v) if s.guard is not None else None
        return " & ".join(c for c in (own, self.speller.guard(i, v), self.speller.loop_guard) if c)

    def stage(self, s: loop.Stage) -> None:
        sp = self.speller
        for i, v in self.elements():
            args = [self.text(s.index, i, v), self.text(s.value, i, v)]
            args += [sp.guards[i]] if i in sp.guards else []
            self.emit(f"put_{sp.tiles[s.tile]}{'_if' if i in sp.guards else ''}({', '.join(args)})")

    def write(self, param: str, dtype: DType, index: str, values: list[str], ok: str) -> None:
        args = ", ".join([param, index, *values, *([ok] if ok else [])])
        self.emit(f"store{len(values)}_{dtype}{'_if' if ok else ''}({args})")


def _scanned(stmts: tuple[loop.Statement, ...]) -> set[Node]:
    """The accumulators that the scans among some statements make."""
    return {s.acc for s in stmts if isinstance(s, loop.Scan)}


def _meets(s: loop.Statement) -> tuple[str, DType] | None:
    """Gathers of one kind wait for each other: the lanes meet once for all of them."""
    return (s.combine, s.acc.dtype) if isinstance(s, loop.Gather) else None


def identity(name: str, dtype: DType) -> str:
    """The neutral value of a combining operator, as text."""
    neutral = next(o.identity for o in OPS.values() if o.combine == name and o.identity is not None)
    return number(neutral(dtype), dtype)
