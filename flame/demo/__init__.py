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
from flame.demo.train import BATCH, History, every_digit, train
from flame.errors import FlameError, MissingError

NEEDED = {"sklearn": "scikit-learn", "matplotlib": "matplotlib"}
ROUNDS = 5  # of a hundred samples, of which the first are drawn


def parser() -> argparse.ArgumentParser:
    """The options of `flame demo`."""
    made = argparse.ArgumentParser(
        prog="flame demo", description="Train a diffusion transformer on 8×8 handwritten digits, then draw every digit."
    )
    made.add_argument("--steps", type=int, default=400, metavar="N", help="training steps of 128 images (default: 400)")
    made.add_argument("--out", type=Path, default=Path("flame-demo"), metavar="DIR", help="default: flame-demo")
    made.add_argument("--seed", type=int, default=0, metavar="S", help="the same seed draws the same digits (default: 0)")
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
    missing = [name for module, name in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise MissingError(
            f"flame demo needs {' and '.join(missing)}: pip install {' '.join(missing)}, or install FLAME with its demo "
            "extra: pip install -e '.[demo]'"
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
