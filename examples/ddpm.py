"""Diffusion: a small UNet learns to take noise off digits (Ho et al., arXiv:2006.11239), then draws some out of noise.

python examples/ddpm.py --epochs 200
python examples/ddpm.py --checkpoint run      interrupt it, start it again: it goes on where it was
"""

import argparse
import math

import numpy as np
from rich.progress import Progress, track
from sklearn.datasets import load_digits

import flame
from flame import nn, optim
from flame.data import DataLoader, TensorDataset
from flame.io import latest_checkpoint, load_checkpoint, save_checkpoint
from flame.nn import functional as F


class Block(nn.Module):
    """Two convolutions beside a residual; the time shifts each channel between them. (N, C, H, W) → (N, O, H, W)."""

    def __init__(self, channels, out, time):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(4, channels), nn.Conv2d(channels, out, 3, padding=1)
        self.time = nn.Linear(time, out)
        self.norm2, self.conv2 = nn.GroupNorm(4, out), nn.Conv2d(out, out, 3, padding=1)
        self.across = nn.Conv2d(channels, out, 1) if channels != out else nn.Identity()

    def forward(self, x, time):
        y = self.conv1(F.silu(self.norm1(x))) + self.time(time)[:, :, None, None]
        return self.across(x) + self.conv2(F.silu(self.norm2(y)))


class UNet(nn.Module):
    """Noisy images (N, 1, 8, 8) and their times (N) → the noise in them."""

    def __init__(self, width):
        super().__init__()
        self.width, time = width, 4 * width
        self.time = nn.Sequential(nn.Linear(width, time), nn.SiLU(), nn.Linear(time, time), nn.SiLU())
        self.enter = nn.Conv2d(1, width, 3, padding=1)
        self.down, self.smaller = Block(width, width, time), nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.middle = Block(width, 2 * width, time)
        self.larger, self.up = nn.Upsample(scale_factor=2), Block(3 * width, width, time)
        self.leave = nn.Sequential(nn.GroupNorm(4, width), nn.SiLU(), nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, x, t):
        waves = (flame.arange(self.width // 2) * (-math.log(1e4) * 2 / self.width)).exp() * t.float().unsqueeze(-1)
        time = self.time(flame.cat([waves.sin(), waves.cos()], -1))
        high = self.down(self.enter(x), time)
        low = self.middle(self.smaller(high), time)
        return self.leave(self.up(flame.cat([high, self.larger(low)], 1), time))


def schedule(times):
    """What each time leaves of the image before, and all times until then together: a cosine. (times, 2)

    Nichol and Dhariwal, arXiv:2102.09672.
    """
    share = np.cos((np.arange(times + 1) / times + 0.008) / 1.008 * math.pi / 2) ** 2
    each = np.maximum(share[1:] / share[:-1], 1e-3)
    return flame.tensor(np.stack([each, np.cumprod(each)], 1).astype(np.float32))


@flame.no_grad()
def sample(model, count, table):
    """Images out of noise, time after time backwards."""
    x = flame.randn(count, 1, 8, 8)
    for time in track(reversed(range(len(table))), "drawing", total=len(table)):
        t = flame.tensor([time] * count)  # data, not a number of the program: every time is the same kernels
        each, left = table[t].reshape(-1, 2, 1, 1, 1).unbind(1)
        before = left / each
        image = ((x - (1 - left).sqrt() * model(x, t)) / left.sqrt()).clamp(-1, 1)
        mean = (before.sqrt() * (1 - each) * image + each.sqrt() * (1 - before) * x) / (1 - left)
        x = (mean + flame.randn_like(x) * ((1 - each) * (1 - before) / (1 - left)).sqrt()).realize()
    return x.numpy().reshape(-1, 8, 8) / 2 + 0.5


def drawn(images):
    """Images (N, 8, 8) in [0, 1] beside each other, as text."""
    shades = np.array(list(" .:-=+*#%@"))
    rows = shades[(images.clip(0, 1) * 9.99).astype(int)].transpose(1, 0, 2)
    return "\n".join("  ".join("".join(pixel * 2 for pixel in image) for image in row) for row in rows)


def main(argv=None):
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--epochs", type=int, default=100)
    args.add_argument("--batch", type=int, default=128)
    args.add_argument("--images", type=int, default=1797, help="use the first so many")
    args.add_argument("--width", type=int, default=32)
    args.add_argument("--times", type=int, default=100, help="steps from image to noise")
    args.add_argument("--lr", type=float, default=2e-3)
    args.add_argument("--seed", type=int, default=0)
    args.add_argument("--checkpoint", metavar="DIR", help="save there after each epoch, and resume from there")
    args = args.parse_args(argv)

    flame.manual_seed(args.seed)
    images = flame.tensor((load_digits().images[: args.images, None] / 8 - 1).astype(np.float32))
    loader = DataLoader(TensorDataset(images), batch_size=args.batch, shuffle=True, drop_last=True)
    table = schedule(args.times)
    model = UNet(args.width)
    optimizer = optim.AdamW(model.parameters(), lr=args.lr)
    ema = optim.swa_utils.EMA(model.parameters(), decay=0.99)
    parts = {"model": model, "optimizer": optimizer, "ema": ema}
    losses = []  # of each epoch
    if args.checkpoint and latest_checkpoint(args.checkpoint):
        losses = load_checkpoint(args.checkpoint, **parts).extra

    with Progress() as bar:
        task = bar.add_task("training", total=args.epochs, completed=len(losses))
        for epoch in range(len(losses) + 1, args.epochs + 1):
            total = 0.0
            for (x,) in loader:
                t, noise = flame.randint(0, args.times, (len(x),)), flame.randn_like(x)
                left = table[t, 1].reshape(-1, 1, 1, 1)
                loss = F.mse_loss(model(left.sqrt() * x + (1 - left).sqrt() * noise, t), noise)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                ema.update()
                total += loss.item() / len(loader)
            losses.append(total)
            bar.update(task, advance=1, description=f"epoch {epoch}  loss {total:.3f}")
            if args.checkpoint:
                save_checkpoint(args.checkpoint, step=epoch, keep=2, extra=losses, **parts)
    with ema.average():
        pictures = sample(model, 6, table)
    print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}; out of noise:\n{drawn(pictures)}")
    return losses, pictures


if __name__ == "__main__":
    main()
