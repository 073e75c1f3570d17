"""A tiny training run that saves after every step and can be killed: `python training_run.py FOLDER STEPS LOG`.

It continues from the newest checkpoint. For each step LOG gets a line: the loss to the bit, and a number drawn.
"""

import random
import sys

import numpy as np

import flame
from flame import nn

folder, steps, log = sys.argv[1], int(sys.argv[2]), sys.argv[3]
flame.manual_seed(7)
random.seed(7)
np.random.seed(7)  # noqa: NPY002
rng = np.random.default_rng(7)
x, y = rng.normal(size=(16, 4)).astype("float32"), rng.normal(size=(16, 2)).astype("float32")

model = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Dropout(0.5), nn.Linear(8, 2))
optimizer = flame.optim.AdamW(model.parameters(), lr=0.01)
stream = flame.Generator(3)
parts = {"model": model, "optimizer": optimizer, "generator": stream}
begin = 0
if flame.io.latest_checkpoint(folder):
    found = flame.io.load_checkpoint(folder, **parts)
    begin = found.step
    assert found.extra == {"steps": begin}
for step in range(begin + 1, steps + 1):
    rows = np.random.permutation(16)[:8]  # noqa: NPY002
    noise = flame.randn(8, 4, generator=stream) * random.random()
    loss = (model(flame.tensor(x[rows]) + noise) - flame.tensor(y[rows])).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with open(log, "a") as file:
        file.write(f"{step} {loss.item().hex()} {rows[0]}\n")
    flame.io.save_checkpoint(folder, step=step, extra={"steps": step}, keep=2, **parts)
print("done")
