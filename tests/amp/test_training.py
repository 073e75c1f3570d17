"""Twenty steps in mixed precision beside PyTorch's: a small convolutional net and a small transformer.

The loss curves track: in bfloat16 PyTorch's own under its autocast, in float16 with scaled losses its float32 one. Run
by the oracle, and compiled in the slow ring.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

import flame
from tests.surface.sides import interpreted, torch

pytestmark = pytest.mark.parity
STEPS = 20


def convnet(lib: Any) -> Any:
    nn = lib.nn
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1),
        nn.GroupNorm(4, 16), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4),
    )  # fmt: skip


def images(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A bright quarter tells the class."""
    labels = rng.integers(0, 4, 16)
    x = rng.normal(size=(16, 1, 8, 8)).astype(np.float32) * 0.3
    for i, k in enumerate(labels):
        x[i, 0, 4 * (k // 2) : 4 * (k // 2) + 4, 4 * (k % 2) : 4 * (k % 2) + 4] += 1 + k
    return x, labels


def transformer(lib: Any) -> Any:
    nn = lib.nn
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True, norm_first=True)
    return nn.Sequential(nn.Embedding(12, 16), layer, nn.LayerNorm(16), nn.Linear(16, 12))


def tokens(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The answer is the token itself, and one more."""
    x = rng.integers(0, 11, (8, 6))
    return x, x + 1


CASES = {"convnet": (convnet, images), "transformer": (transformer, tokens)}


def start(make: Callable[[Any], Any]) -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    return {k: v.numpy().copy() for k, v in make(torch).state_dict().items()}


def losses(lib: Any, make: Callable[[Any], Any], batch: Any, state: dict[str, Any], dtype: str) -> list[float]:
    """The loss of each step in mixed precision, or in float32."""
    model = make(lib)
    model.load_state_dict({k: lib.tensor(v) for k, v in state.items()})
    optimizer = lib.optim.AdamW(model.parameters(), lr=5e-3)
    scaler = lib.amp.GradScaler("cpu", init_scale=2.0**12, enabled=dtype == "float16")
    rng, found = np.random.default_rng(7), []
    for _ in range(STEPS):
        x, y = (lib.tensor(a) for a in batch(rng))
        region = nullcontext() if dtype == "float32" else lib.autocast("cpu", dtype=getattr(lib, dtype))
        optimizer.zero_grad()
        with region:
            out = model(x)
            loss = lib.nn.functional.cross_entropy(out.reshape(-1, out.shape[-1]), y.reshape(-1))
        assert str(out.dtype).endswith(dtype)
        assert str(loss.dtype).endswith("float32")
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        lib.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        scaler.step(optimizer)
        scaler.update()
        found.append(loss.item())
        assert all(
            str(p.dtype).endswith("float32") and str(p.grad.dtype).endswith("float32") for p in model.parameters()
        )
    return found


@pytest.mark.parametrize("how", ["oracle", pytest.param("compiled", marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", CASES)
def test_loss_curves_track_pytorchs(case: str, how: str):
    make, batch = CASES[case]
    state = start(make)
    theirs = {dtype: losses(torch, make, batch, state, dtype) for dtype in ("bfloat16", "float32")}
    with interpreted() if how == "oracle" else nullcontext():
        ours = {dtype: losses(flame, make, batch, state, dtype) for dtype in ("bfloat16", "float16")}
    noise = max(abs(np.array(theirs["bfloat16"]) - theirs["float32"]))  # of bfloat16 itself
    assert max(abs(np.array(ours["bfloat16"]) - theirs["bfloat16"])) < 2 * noise + 0.002, (ours, theirs)
    np.testing.assert_allclose(ours["float16"], theirs["float32"], rtol=0.02, atol=0.02)
    assert ours["bfloat16"][-1] < 0.7 * ours["bfloat16"][0]
