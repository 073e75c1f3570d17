"""A variational autoencoder of handwritten digits (Kingma and Welling, arXiv:1312.6114), which then draws some.

python examples/vae.py
python examples/vae.py --checkpoint run      interrupt it, start it again: it goes on where it was
"""

import argparse

import numpy as np
from rich.progress import Progress
from sklearn.datasets import load_digits

import flame
from flame import nn, optim
from flame.data import DataLoader, TensorDataset
from flame.io import latest_checkpoint, load_checkpoint, save_checkpoint
from flame.nn import functional as F


class VAE(nn.Module):
    """Images (N, 64) → (scores of each pixel, mean and log-variance of what was encoded)."""

    def __init__(self, width, latent):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, 2 * latent))
        self.decoder = nn.Sequential(nn.Linear(latent, width), nn.SiLU(), nn.Linear(width, 64))

    def forward(self, x):
        mean, log_variance = self.encoder(x).chunk(2, dim=-1)
        code = mean + flame.randn_like(mean) * (0.5 * log_variance).exp()
        return self.decoder(code), mean, log_variance


def elbo(scores, x, mean, log_variance):
    """What an image costs in nats: (its pixels given the code, the code)."""
    pixels = F.binary_cross_entropy_with_logits(scores, x, reduction="sum") / len(x)
    code = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum() / len(x)
    return pixels, code


def drawn(images):
    """Images (N, 8, 8) in [0, 1] beside each other, as text."""
    shades = np.array(list(" .:-=+*#%@"))
    rows = shades[(images.clip(0, 1) * 9.99).astype(int)].transpose(1, 0, 2)
    return "\n".join("  ".join("".join(pixel * 2 for pixel in image) for image in row) for row in rows)


def main(argv=None):
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--epochs", type=int, default=60)
    args.add_argument("--batch", type=int, default=128)
    args.add_argument("--width", type=int, default=256)
    args.add_argument("--latent", type=int, default=8, help="numbers of a code")
    args.add_argument("--lr", type=float, default=2e-3)
    args.add_argument("--seed", type=int, default=0)
    args.add_argument("--checkpoint", metavar="DIR", help="save there after each epoch, and resume from there")
    args = args.parse_args(argv)

    flame.manual_seed(args.seed)
    images = flame.tensor((load_digits().data / 16).astype(np.float32))
    loader = DataLoader(TensorDataset(images), batch_size=args.batch, shuffle=True, drop_last=True)
    model = VAE(args.width, args.latent)
    optimizer = optim.Adam(model.parameters(), lr=args.lr)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs)
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    losses = []  # of each epoch
    if args.checkpoint and latest_checkpoint(args.checkpoint):
        losses = load_checkpoint(args.checkpoint, **parts).extra

    with Progress() as bar:
        task = bar.add_task("training", total=args.epochs, completed=len(losses))
        for epoch in range(len(losses) + 1, args.epochs + 1):
            pixels = codes = 0.0
            for (x,) in loader:
                pixel, code = elbo(*((out := model(x))[0], x), *out[1:])
                optimizer.zero_grad()
                (pixel + code).backward()
                optimizer.step()
                pixels += pixel.item() / len(loader)
                codes += code.item() / len(loader)
            scheduler.step()
            losses.append(pixels + codes)
            bar.update(task, advance=1, description=f"epoch {epoch}  pixels {pixels:.2f}  code {codes:.2f}")
            if args.checkpoint:
                save_checkpoint(args.checkpoint, step=epoch, keep=2, extra=losses, **parts)
    with flame.no_grad():
        pictures = model.decoder(flame.randn(6, args.latent)).sigmoid().reshape(6, 8, 8).numpy()
    print(f"{losses[0]:.2f} -> {losses[-1]:.2f} nats an image; from six random codes:\n{drawn(pictures)}")
    return losses, pictures


if __name__ == "__main__":
    main()
