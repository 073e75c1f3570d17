"""The kernel report: what FLAME made of the demo, as JSON and as a page to read."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from flame import compiler


class Watch:
    """Every program that is compiled while it looks."""

    def __init__(self) -> None:
        self.programs: list[compiler.Program] = []

    def __enter__(self) -> "Watch":
        compiler.listeners.append(self.programs.append)
        return self

    def __exit__(self, *_: object) -> None:
        compiler.listeners.remove(self.programs.append)

    def summary(self) -> dict[str, Any]:
        """Numbers of all programs, and of the largest one: the training step."""
        steps = [describe(p) for p in self.programs]
        names = {kernel.name for p in self.programs for kernel in p.codes}
        return {
            "programs": len(self.programs),
            "kernels": len(names),
            "planning_seconds": sum(p.seconds for p in self.programs),
            "training_step": max(steps, key=lambda s: s["graph_nodes"], default=None),
        }


def describe(program: compiler.Program) -> dict[str, Any]:
    """One program: operations of its graph, and what they became."""
    steps: tuple[Any, ...] = program.plan.steps
    launches = Counter(step.kernel.name for step in steps if hasattr(step, "kernel"))
    calls = Counter(step.routine for step in steps if hasattr(step, "routine"))
    return {
        "graph_nodes": operations(program.roots),
        "kernels": len(launches),
        "launches": sum(launches.values()),
        "library_calls": dict(calls),
        "by_kernel": dict(launches.most_common()),
        "arena_bytes": program.plan.arena,
    }


def operations(roots: tuple[Any, ...]) -> int:
    """How many operations a graph holds; inputs and constants do not count."""
    seen: set[int] = set()
    stack, count = list(roots), 0
    while stack:
        node = stack.pop()
        if id(node) not in seen:
            seen.add(id(node))
            count += bool(node.src)
            stack += node.src
    return count


def write(folder: Path, report: dict[str, Any]) -> None:
    """report.json and report.md."""
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    (folder / "report.md").write_text(page(report))


def page(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    compiled = report["compiled"]
    step = compiled["training_step"]
    rows = [
        ("device", report["device"]),
        ("training", f"{report['steps']} steps of {report['batch']} images, {report['train_seconds']:.1f} s"),
        ("speed", f"{report['images_per_second']:,.0f} images/s"),
        ("loss at the end", f"{report['final_loss']:.4f}"),
        ("start to the first finished step", f"{report['start_seconds']:.1f} s"),
        ("kernels", f"{compiled['kernels']}, compiled or found in the cache in {report['compile_seconds']:.1f} s"),
        ("plans", f"{compiled['programs']}, made in {compiled['planning_seconds']:.1f} s"),
        ("peak memory", f"{report['peak_bytes'] / 2**20:.1f} MiB"),
        ("sampling", f"{report['samples']} images, {report['sample_seconds']:.1f} s"),
        ("recognised as the digit asked for", f"{report['recognised']:.1%}"),
        ("the judge itself, on real digits held out", f"{report['judge_on_real']:.1%}"),
    ]
    lines = ["# flame demo", "", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), ""]
    return "\n".join(lines + (step_section(step) if step else []))


def step_section(step: dict[str, Any]) -> list[str]:
    """The lines about the training step."""
    calls = " and ".join(f"{count} of {name}" for name, count in step["library_calls"].items())
    return [
        "## One training step",
        "",
        f"Forward pass, backward pass and optimizer: {step['graph_nodes']:,} operations of the graph became "
        f"{step['launches']} launches of {step['kernels']} different kernels, and library calls: {calls}.",
        "",
        "| kernel | launches |",
        "|---|---|",
        *(f"| `{name}` | {count} |" for name, count in step["by_kernel"].items()),
        "",
        "See the source of each with `FLAME_SHOW=source flame demo --steps 1`.",
        "",
    ]
