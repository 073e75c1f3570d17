"""The demo's training loop: ordinary PyTorch-shaped code on FLAME."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

import flame
from flame import optim
from flame.demo.data import CLASSES, Digits
from flame.demo.model import NOBODY, DiffusionTransformer, flow_loss

BATCH, RATE, WARM_UP, FORGET = 128, 4e-3, 30, 0.1


@dataclass
class History:
    """What training left behind."""

    losses: list[float] = field(default_factory=list)
    first_step: float = 0.0  # seconds, compilation included
    seconds: float = 0.0  # of all steps

    @property
    def images_per_second(self) -> float:
        """Without the first step, which compiles."""
        later = len(self.losses) - 1
        return BATCH * later / (self.seconds - self.first_step) if later > 0 else 0.0


def rate(step: int, steps: int) -> float:
    """The learning rate: a warm-up, then half a cosine."""
    return RATE * min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))


def batches(digits: Digits, steps: int, seed: int):
    """(tokens, labels) at random; one label in ten is hidden, so that the model learns digits in general too."""
    random = np.random.default_rng(seed)
    for _ in range(steps):
        chosen = random.integers(0, len(digits.train), BATCH)
        labels = np.where(random.random(BATCH) < FORGET, NOBODY, digits.train_labels[chosen])
        yield flame.tensor(digits.train[chosen]), flame.tensor(labels)


def train(
    digits: Digits, steps: int, seed: int, on_step: Callable[[History], None] = lambda history: None
) -> tuple[DiffusionTransformer, History]:
    """A trained model; `on_step` is told after every step."""
    flame.manual_seed(seed)
    model = DiffusionTransformer()
    optimizer = optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.0)
    history, start = History(), time.perf_counter()
    for step, (tokens, labels) in enumerate(batches(digits, steps, seed)):
        optimizer.param_groups[0]["lr"] = rate(step, steps)
        loss = flow_loss(model, tokens, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.losses.append(loss.item())
        history.seconds = time.perf_counter() - start
        history.first_step = history.first_step or history.seconds
        on_step(history)
    return model, history


def every_digit(rows: int = 10) -> np.ndarray:
    """Each digit `rows` times: 0 0 … 1 1 …"""
    return np.repeat(np.arange(CLASSES), rows)
