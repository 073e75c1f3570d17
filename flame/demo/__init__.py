"""`flame demo`: a class-conditional diffusion transformer learns handwritten digits and draws them.

It is a user's program that ships with FLAME: ordinary PyTorch-shaped code, trained on the GPU where there is one.
"""

import argparse
import importlib.util
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from flame.demo import data, pictures
from flame.demo.model import DiffusionTransformer, sample
from flame.demo.report import Watch, write
from flame.demo.training import BATCH, History, every_digit, train
from flame.errors import FlameError, MissingError

NEEDED = {"sklearn": "scikit-learn", "matplotlib": "matplotlib"}
ROUNDS = 5  # of a hundred samples, of which the first are drawn


def parser() -> argparse.ArgumentParser:
    """The options of `flame demo`."""
    made = argparse.ArgumentParser(
        prog="flame demo", description="Train a diffusion transformer on 8x8 handwritten digits, then draw every digit."
    )
    made.add_argument("--steps", type=int, default=400, metavar="N", help="training steps of 128 images (default: 400)")
    made.add_argument("--out", type=Path, default=Path("flame-demo"), metavar="DIR", help="default: flame-demo")
    made.add_argument("--seed", type=int, default=0, metavar="S", help="default: 0")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit status: 0, or 130 after Ctrl-C."""
    options = parser().parse_args(arguments)
    if options.steps < 1:
        raise FlameError(f"--steps is {options.steps}, but the model needs at least 1 to learn something")
    check_packages()
    options.out.mkdir(parents=True, exist_ok=True)
    console = Console(highlight=False)
    try:
        run(options.steps, options.out, options.seed, console)
    except KeyboardInterrupt:
        console.print("\nStopped. Compiled kernels stay in the cache, so the next start is quick.")
        return 130
    return 0


def check_packages() -> None:
    """Raise MissingError, with the way out, where the demo extra is not installed."""
    lacking = [name for module, name in NEEDED.items() if importlib.util.find_spec(module) is None]
    if lacking:
        raise MissingError(
            f"flame demo needs {' and '.join(lacking)}: pip install {' '.join(lacking)}, "
            "or FLAME with its demo extra: pip install -e '.[demo]'"
        )


def run(steps: int, out: Path, seed: int, console: Console) -> dict[str, Any]:
    """Train, sample, judge, write everything to `out`; returns the report."""
    start = time.perf_counter()
    digits = data.load()
    console.print(f"{len(digits.train)} real digits to learn from, {len(digits.test)} kept aside.")
    with Watch() as watch:
        model, history, begun = watched_training(digits, steps, seed, console)
        device = model.place.device
        tokens, asked, sample_seconds = draw(model, console)
    judge = data.Judge(digits)
    seen = judge.reads(tokens)
    first = len(every_digit())
    pictures.draw_samples(out / "samples.png", tokens[:first], asked[:first], seen[:first])
    pictures.draw_losses(out / "loss.png", history.losses)
    report = {
        "device": device.name,
        "seed": seed,
        "steps": steps,
        "batch": BATCH,
        "start_seconds": begun - start,
        "train_seconds": history.seconds,
        "first_step_seconds": history.first_step,
        "compile_seconds": device.compile_seconds,
        "images_per_second": history.images_per_second,
        "final_loss": float(np.mean(history.losses[-20:])),
        "samples": len(tokens),
        "sample_seconds": sample_seconds,
        "recognised": float(np.mean(seen == asked)),
        "judge_on_real": judge.on_real,
        "peak_bytes": device.pool.stats().peak,
        "compiled": watch.summary(),
        "total_seconds": time.perf_counter() - start,
    }
    write(out, report)
    tell(report, out, console)
    return report


def watched_training(
    digits: data.Digits, steps: int, seed: int, console: Console
) -> tuple[DiffusionTransformer, History, float]:
    """Train under a progress bar; also says when the first step was done."""
    begun = 0.0
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}  {task.fields[speed]} images/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("compiling", total=steps, loss="-", speed="-")

        def on_step(history: History) -> None:
            nonlocal begun
            begun = begun or time.perf_counter()
            speed = f"{history.images_per_second:,.0f}"
            loss = f"{np.mean(history.losses[-20:]):.3f}"
            progress.update(task, advance=1, description="training", loss=loss, speed=speed)

        model, history = train(digits, steps, seed, on_step)
    return model, history, begun


def draw(model: DiffusionTransformer, console: Console) -> tuple[np.ndarray, np.ndarray, float]:
    """Samples, what they were asked to be, and the seconds they took."""
    start = time.perf_counter()
    with console.status("drawing digits"):
        asked = every_digit()
        tokens = np.concatenate([sample(model, asked) for _ in range(ROUNDS)])
    return tokens, np.tile(asked, ROUNDS), time.perf_counter() - start


def tell(report: dict[str, Any], out: Path, console: Console) -> None:
    """The results in a few lines."""
    console.print(
        f"\nTrained {report['steps']} steps on {report['device']} in {report['train_seconds']:.0f} s, "
        f"{report['images_per_second']:,.0f} images/s."
    )
    step = report["compiled"]["training_step"]
    if step:  # none was compiled where this process has run the demo before
        console.print(
            f"A step's {step['graph_nodes']:,} operations run as {step['launches']} kernel launches and "
            f"{sum(step['library_calls'].values())} matrix products."
        )
    console.print(
        f"[bold]{report['recognised']:.1%}[/bold] of {report['samples']} drawn digits are recognised as the digit "
        f"asked for, by a classifier that reads {report['judge_on_real']:.1%} of real digits it never saw."
    )
    for name, about in (
        ("samples.png", "the digits"),
        ("loss.png", "the loss"),
        ("report.md", "what was compiled, and what it cost"),
        ("report.json", "the same for programs"),
    ):
        console.print(f"  {out / name}  {about}", soft_wrap=True)
