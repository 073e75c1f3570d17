"""A small image classifier trained beside PyTorch: convolutions, batch norm, pools, resampling, several steps."""

from typing import Any

import numpy as np
import pytest

import flame

torch = pytest.importorskip("torch", reason="parity needs torch==2.13.0: pip install -e '.[parity]'")
pytestmark = pytest.mark.parity

SHAPES = {"first": (6, 3, 3, 3), "depth": (6, 1, 3, 3), "point": (8, 6, 1, 1), "up": (8, 4, 2, 2), "out": (5, 4)}
SCALES = {"gain": 6, "shift": 6}


def weights(rng: np.random.Generator) -> dict[str, np.ndarray]:
    made = {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in SHAPES.items()}
    return made | {name: rng.uniform(0.5, 1, n).astype(np.float32) for name, n in SCALES.items()}


def loss(lib: Any, w: dict[str, Any], stats: tuple[Any, Any], x: Any, y: Any) -> Any:
    F = lib.nn.functional
    h = F.conv2d(x, w["first"], stride=2, padding=1)
    h = F.batch_norm(h, *stats, w["gain"], w["shift"], training=True).relu()
    h = F.conv2d(h, w["depth"], padding="same", groups=6)
    h = F.max_pool2d(F.conv2d(h, w["point"]), 3, 2, 1)
    h = F.interpolate(F.conv_transpose2d(h, w["up"], stride=2), scale_factor=1.5, mode="bilinear")
    h = F.adaptive_avg_pool2d(F.group_norm(h, 2), 1).flatten(1)
    return F.cross_entropy(h @ w["out"].transpose(0, 1), y)


def train(lib: Any, made: dict[str, np.ndarray], batches: list[tuple[np.ndarray, np.ndarray]]) -> list[Any]:
    """Losses, then weights and running statistics."""
    w = {name: lib.tensor(value, requires_grad=True) for name, value in made.items()}
    stats = (lib.zeros(6), lib.ones(6))
    optimizer = lib.optim.SGD(list(w.values()), lr=0.1, momentum=0.9)
    losses = []
    for x, y in batches:
        cost = loss(lib, w, stats, lib.tensor(x), lib.tensor(y))
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        losses.append(cost.item())
    return [np.array(losses), *(t.detach().numpy() for t in (*w.values(), *stats))]


def test_training_is_pytorchs():
    rng = np.random.default_rng(0)
    made = weights(rng)
    batches = [(rng.normal(size=(4, 3, 9, 10)).astype(np.float32), rng.integers(0, 5, 4)) for _ in range(5)]
    for i, (mine, other) in enumerate(zip(train(flame, made, batches), train(torch, made, batches), strict=True)):
        np.testing.assert_allclose(mine, other, rtol=2e-4, atol=2e-5, err_msg=f"number {i}")


def test_running_statistics_do_not_pile_up():
    """A step computes them with the weights: no graph of earlier steps is left."""
    from flame.ir.graph import toposort

    rng = np.random.default_rng(0)
    w = {name: flame.tensor(value, requires_grad=True) for name, value in weights(rng).items()}
    stats = (flame.zeros(6), flame.ones(6))
    optimizer = flame.optim.SGD(list(w.values()), lr=0.1)
    sizes = []
    for _ in range(3):
        x, y = flame.tensor(rng.normal(size=(2, 3, 9, 10)).astype(np.float32)), flame.tensor(rng.integers(0, 5, 2))
        optimizer.zero_grad()
        loss(flame, w, stats, x, y).backward()
        optimizer.step()
        sizes.append(len(toposort([t.node for t in stats])))
    assert sizes[-1] <= sizes[0] <= 4, sizes
