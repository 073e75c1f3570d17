"""Text for humans and golden tests: a graph, a kernel, a plan."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from flame.ir import loop
from flame.ir.graph import toposort
from flame.ir.node import Node
from flame.ir.plan import Batch, Call, Launch, Plan


class Lines(Protocol):
    """Where nodes were made."""

    def get(self, node: Node, default: str, /) -> str: ...


HIDDEN = ("of", "as_", "host")


def graph(*roots: Node, origins: Lines | None = None) -> str:
    """One line a node; with `origins`, the user's line behind it."""
    number: dict[Node, str] = {}
    lines: list[str] = []
    count = 0
    for n in toposort(roots):
        if n.op.name == "const":
            number[n] = n["text"]
            continue
        number[n], count = f"%{count}", count + 1
        args = [number[s] for s in n.src] + [f"{k}={_value(v)}" for k, v in n.attrs if k not in HIDDEN]
        line = f"{number[n]:>4} = {n.op.name}({', '.join(args)}) : {n.dtype.name}{list(n.shape)}"
        where = origins.get(n, "") if origins else ""
        lines.append(f"{line:<72} # {where}" if where else line)
    return "\n".join([*lines, "return " + ", ".join(number[r] for r in roots)])


def _value(v: object) -> str:
    return getattr(v, "name", None) or str(v)


class _Scalars:
    """Scalar expressions as text; what a body reads twice gets a line of its own. Iterative, since chains are deep."""

    def __init__(self, outer: Mapping[Node, str], body: Sequence[loop.Statement], start: int):
        self.text: dict[Node, str] = dict(outer)
        roots = [v for s in body for v in loop.scalars(s)]
        self.reads = Counter(m for n in toposort(roots) for m in n.src)
        self.reads.update(roots)
        self.count = start
        self.lines: list[str] = []

    def __call__(self, root: Node) -> str:
        for n in toposort([root], self.text):
            if n in self.text:
                continue
            spelled = _scalar(n, [self.text[s] for s in n.src])
            if self.reads[n] > 1 and n.src and n.op.name != "load":
                self.lines.append(f"t{self.count} = {spelled}")
                spelled, self.count = f"t{self.count}", self.count + 1
            self.text[n] = spelled
        return self.text[root]

    def taken(self) -> list[str]:
        """The lines that must stand before the one just spelled."""
        lines, self.lines = self.lines, []
        return lines


def _scalar(n: Node, src: list[str]) -> str:
    match n.op.name:
        case "const":
            return n["text"]
        case "var":
            return n["name"]
        case "load":
            return n["param"] + (f"[{' if '.join(src)}]" if src else "")
        case _:
            return f"{n.op.name}({', '.join([*src, *(_value(v) for _, v in n.attrs)])})"


def layout(at: loop.Layout) -> str:
    """How a kernel lies on the machine, in one line."""
    marks = " across" * at.across + " kept" * at.kept + " ragged" * at.ragged
    marks += f" cluster={at.cluster}" * (at.cluster > 1) + f" ahead={at.ahead}" * (at.ahead > 0)
    return f"lanes={at.lanes} rows={at.rows} items={at.items} vector={at.vector}{marks}"


def kernel(k: loop.Kernel, sizes: bool = True) -> str:
    """A kernel as text; without `sizes`, the extent of the outer loop is `n`: it is an argument."""
    lines = [
        f"kernel {k.name}({', '.join(p.name + ': ' + p.dtype.name for p in k.params)})",
        f"  {layout(k.layout)}{' many' * k.many}",
    ]

    def walk(stmts: Sequence[loop.Statement], depth: int, outer: Mapping[Node, str], count: int) -> None:
        pad, spell = "  " * depth, _Scalars(outer, stmts, count)
        for s in stmts:
            if isinstance(s, loop.Loop):
                extent = s.extent if sizes or depth > 1 else "n"
                if s.bounds is not None:
                    extent = " to ".join(spell(b) for b in s.bounds)
                    lines.extend(pad + x for x in spell.taken())
                lines.append(f"{pad}for {s.var['name']} in {extent} [{s.role.value}]")
                walk(s.body, depth + 1, spell.text, spell.count)
            else:
                line = _statement(s, spell)
                lines.extend(pad + x for x in [*spell.taken(), line])

    walk(k.body, 1, {}, 0)
    return "\n".join(lines)


def _statement(s: loop.Statement, spell: _Scalars) -> str:
    match s:
        case loop.Init():
            return f"{s.acc['name']} = {spell(s.value)}"
        case loop.Fold():
            return f"{s.acc['name']} = fold {s.combine}({s.acc['name']}, {spell(s.value)})"
        case loop.Keep():
            return f"keep {s.var['name']} = {spell(s.value)}"
        case loop.Scan():
            way = " from the end" if s.reverse else ""
            return f"{s.acc['name']} = scan{way} {spell(s.both)} of {spell(s.value)}"
        case loop.Gather():
            return f"{s.acc['name']} = gather {s.combine}({s.acc['name']})"
        case loop.Store():
            where = f"{spell(s.index)} if {spell(s.guard)}" if s.guard is not None else spell(s.index)
            return f"{s.param}[{where}] = {spell(s.value)}"
        case loop.Stage():
            return f"stage {s.tile}[{spell(s.index)} of {s.size}] = {spell(s.value)}"
        case loop.Loop():
            raise AssertionError("loops are walked, not spelled")


def _slots(step: Launch) -> str:
    return ", ".join(f"s{i}" for i in step.slots)


def plan(p: Plan) -> str:
    """A plan as text: its slots and where they lie, then its steps."""
    offset, donor = dict(p.offsets), dict(p.donated)
    lines: list[str] = []
    for i, s in enumerate(p.slots):
        place = "leaf" if i in p.leaves else "output" if i in p.outputs else f"arena+{offset.get(i, 0)}"
        place += f" in the memory of slot {donor[i]}" if i in donor else ""
        lines.append(f"slot {i}: {s.dtype.name}{list(s.shape)} {'host ' if s.host else ''}{place}")
    for step in p.steps:
        match step:
            case Launch():
                lines.append(f"launch {step.kernel.name}({_slots(step)})")
            case Batch():
                lines.append(f"launch {step.kernel.name} over {len(step.members)} members")
                lines += [f"  of {m.kernel.outer.extent}: ({_slots(m)})" for m in step.members]
            case Call():
                outs = ", ".join(f"s{i}" for i in (step.out, *step.more))
                inputs = ", ".join(f"s{i}" for i in step.inputs)
                lines.append(f"call {step.routine} {outs} <- ({inputs}) {step.spec}")
    lines.append(f"arena {p.arena} bytes")
    return "\n".join([*lines, f"return {', '.join(f's{i}' for i in p.outputs)}"])
