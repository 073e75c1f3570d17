"""samples.png and loss.png."""

from pathlib import Path

import numpy as np

from flame.demo.data import CLASSES, to_images

INK, PAPER, FLAME, WRONG = "#1c1c1e", "#ffffff", "#e4572e", "#d62839"


def figure(width: float, height: float):
    """A white page and its one pair of axes; matplotlib without a window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    page = Figure(figsize=(width, height), facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(page)
    return page, page.subplots()


def draw_samples(path: Path, tokens: np.ndarray, asked: np.ndarray, seen: np.ndarray) -> None:
    """A row for each digit; those that the judge reads otherwise are framed in red."""
    images, columns, gap = to_images(tokens.clip(-1, 1)), len(tokens) // CLASSES, 1
    step = images.shape[1] + gap
    wall = np.full((CLASSES * step - gap, columns * step - gap), np.nan)
    page, axes = figure(0.6 * columns + 0.5, 0.6 * CLASSES)
    for number, image in enumerate(images):
        top, left = asked[number] * step, (number % columns) * step
        wall[top : top + 8, left : left + 8] = image
        if seen[number] != asked[number]:
            axes.plot(*_frame(left, top), color=WRONG, linewidth=1.5)
    axes.imshow(wall, cmap="gray_r", vmin=-1, vmax=1, interpolation="nearest")
    axes.set_yticks([digit * step + 3.5 for digit in range(CLASSES)], [str(d) for d in range(CLASSES)], fontsize=12)
    axes.set_xticks([])
    axes.tick_params(length=0, colors=INK)
    axes.spines[:].set_visible(False)
    page.savefig(path, dpi=150)


def _frame(left: int, top: int) -> tuple[list[float], list[float]]:
    """The corners of the square around an image, as x and y."""
    low, high = -0.8, 7.8
    return [left + i for i in (low, high, high, low, low)], [top + i for i in (low, low, high, high, low)]


def draw_losses(path: Path, losses: list[float]) -> None:
    """Each step's loss, and their moving average."""
    page, axes = figure(7, 4)
    window = max(1, len(losses) // 20)
    smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
    axes.plot(range(1, len(losses) + 1), losses, color=FLAME, alpha=0.3, linewidth=1)
    axes.plot(np.arange(len(smooth)) + (window + 1) / 2, smooth, color=FLAME, linewidth=2)
    axes.set(xlabel="step", ylabel="loss", ylim=(0, 1.05 * max(losses)), xlim=(0, len(losses) + 1))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.2)
    page.savefig(path, dpi=120)
