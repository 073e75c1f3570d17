"""A program at any stage as a networkx graph, and that graph as DOT, JSON or SVG."""

import json
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from typing import Any

import networkx as nx

from flame.errors import MissingError
from flame.ir import loop, show
from flame.ir.graph import toposort
from flame.ir.node import Node
from flame.ir.plan import Call, Plan, touched, written

COLOURS = {
    "LEAF": "#d9e8f6",
    "ELEMENTWISE": "#ffffff",
    "MOVEMENT": "#eeeeee",
    "REDUCE": "#fde2c8",
    "GATHER": "#e6dcf2",
    "CONTRACT": "#f8cfcf",
    "HOST": "#f8cfcf",
    "CALL": "#f8cfcf",
    "slot": "#d9e8f6",
    "launch": "#fde2c8",
    "call": "#f8cfcf",
    "loop": "#fde2c8",
    "text": "#fbfbf4",
}
GET_GRAPHVIZ = (
    "format svg needs the graphviz program `dot`, which is not installed; get it with `apt install graphviz` "
    "(or brew, dnf, conda), or use --format dot and draw the text elsewhere"
)


def of_nodes(roots: Iterable[Node], origins: show.Lines | None = None) -> nx.MultiDiGraph:
    """One vertex a node, an edge from each source to its reader; constants stand inside their readers' labels."""
    roots = tuple(roots)
    drawn, name = nx.MultiDiGraph(), dict[Node, str]()  # multi: mul(x, x) reads x twice
    for node in toposort(roots):
        if node.op.name == "const" and node not in roots:
            name[node] = node["text"]
            continue
        name[node] = f"n{len(drawn)}"
        operands = [name[s] if s.op.name == "const" else f"%{name[s][1:]}" for s in node.src]
        operands += [f"{key}={show_value(value)}" for key, value in node.attrs if key not in show.HIDDEN]
        kind, shape = node.op.kind.name, f"{node.dtype.name}{list(node.shape)}"
        where = origins.get(node, "") if origins else ""
        drawn.add_node(
            name[node],
            label=f"%{name[node][1:]} = {node.op.name}({', '.join(operands)})\n{shape}" + f"\n{where}" * bool(where),
            kind=kind,
            operator=node.op.name,
            dtype=node.dtype.name,
            shape=list(node.shape),
            origin=where,
            root=node in roots,
        )
        for place, source in enumerate(node.src):
            if name[source] in drawn:
                drawn.add_edge(name[source], name[node], operand=place)
    return drawn


def show_value(value: object) -> str:
    """An attribute as the text form shows it."""
    return getattr(value, "name", None) or str(value)


def of_kernels(kernels: Iterable[loop.Kernel]) -> nx.DiGraph:
    """Each kernel as a tree, read off the indentation of its text: the kernel, its loops, their statements in order."""
    drawn = nx.DiGraph(ordering="out")  # statements stay in their order when drawn
    for kernel in kernels:
        head, layout, *lines = show.kernel(kernel).splitlines()
        drawn.add_node(kernel.name, label=f"{head}\n{layout.strip()}", kind="launch")
        path = [kernel.name]  # the innermost parent at each depth
        for number, line in enumerate(lines):
            text = line.lstrip()
            depth = (len(line) - len(text)) // 2
            name = f"{kernel.name}.{number}"
            drawn.add_node(name, label=text, kind="loop" if text.startswith("for ") else "statement")
            drawn.add_edge(path[depth - 1], name)
            path[depth:] = [name]
    return drawn


def of_plan(plan: Plan) -> nx.DiGraph:
    """Slots and steps: an edge from what a step reads to the step, and from the step to what it writes."""
    drawn = nx.DiGraph()
    role = {**dict.fromkeys(plan.leaves, "leaf"), **dict.fromkeys(plan.outputs, "output")}
    offsets, donors = dict(plan.offsets), dict(plan.donated)
    for number, slot in enumerate(plan.slots):
        place = role.get(number, f"arena+{offsets.get(number, 0)}")
        place += f", memory of s{donors[number]}" if number in donors else ""
        label = f"s{number} {slot.dtype.name}{list(slot.shape)}\n{place}"
        drawn.add_node(f"s{number}", label=label, kind="slot", bytes=slot.nbytes, place=place)
    for number, step in enumerate(plan.steps):
        kind, name = ("call", step.routine) if isinstance(step, Call) else ("launch", step.kernel.name)
        drawn.add_node(f"step{number}", label=f"{number}: {kind} {name}", kind=kind, order=number)
        for slot in touched(step):
            reads = slot not in written(step)
            drawn.add_edge(*((f"s{slot}", f"step{number}") if reads else (f"step{number}", f"s{slot}")))
    return drawn


def of_texts(texts: Mapping[str, str]) -> nx.DiGraph:
    """One vertex a text (a source, PTX), in the order given."""
    drawn = nx.DiGraph()
    for name, text in texts.items():
        drawn.add_node(name, label=text, kind="text")
    return drawn


def to_json(programs: Mapping[str, nx.DiGraph]) -> str:
    """{program: {nodes, edges}}, what `networkx.node_link_graph(..., edges="edges")` reads back."""
    return json.dumps({title: nx.node_link_data(drawn, edges="edges") for title, drawn in programs.items()}, indent=1)


def to_dot(programs: Mapping[str, nx.DiGraph]) -> str:
    """All programs as one DOT text, a cluster each."""
    lines = ["digraph flame {", '  node [shape=box, style="rounded,filled", fontname=monospace, fontsize=10];']
    for number, (title, drawn) in enumerate(programs.items()):
        lines += [f"  subgraph cluster_{number} {{", f"    label={quoted(title)}; fontname=monospace;"]
        lines += [f"    {key}={quoted(value)};" for key, value in drawn.graph.items()]
        for name, about in drawn.nodes(data=True):
            thick = ", penwidth=2" if about.get("root") else ""
            colour = COLOURS.get(about["kind"], "#ffffff")
            label = quoted(about["label"], left=about["kind"] == "text")
            lines.append(f"    {quoted(f'{number}.{name}')} [label={label}, fillcolor={quoted(colour)}{thick}];")
        for source, goal in drawn.edges():
            lines.append(f"    {quoted(f'{number}.{source}')} -> {quoted(f'{number}.{goal}')};")
        lines.append("  }")
    return "\n".join([*lines, "}"])


def quoted(text: Any, left: bool = False) -> str:
    r"""A DOT string; `left` aligns its lines to the left with \l, as a source wants."""
    end = "\\l" if left else "\\n"
    inner = str(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", end)
    return f'"{inner}{end * left}"'


def to_svg(programs: Mapping[str, nx.DiGraph]) -> str:
    """The DOT text drawn by graphviz, or an error that says how to get it."""
    program = shutil.which("dot")
    if program is None:
        raise MissingError(GET_GRAPHVIZ)
    done = subprocess.run([program, "-Tsvg"], input=to_dot(programs), capture_output=True, text=True, check=False)
    if done.returncode:
        raise MissingError(f"{program} -Tsvg failed: {done.stderr.strip() or f'exit status {done.returncode}'}")
    return done.stdout
