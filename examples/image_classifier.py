"""A convolutional network reads handwritten digits: a DataLoader, batch norms, a rate that rises and falls.

python examples/image_classifier.py
python examples/image_classifier.py --checkpoint run      interrupt it, start it again: it goes on where it was
"""

import argparse

import numpy as np
from rich.progress import Progress
from sklearn.datasets import load_digits

import flame
from flame import nn, optim
from flame.data import DataLoader, TensorDataset, random_split
from flame.io import latest_checkpoint, load_checkpoint, save_checkpoint
from flame.nn import functional as F


class Net(nn.Module):
    """(N, 1, 8, 8) → (N, 10)."""

    def __init__(self, width):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, padding=1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(2 * width, 10))

    def forward(self, x):
        return self.head(self.features(x))


def digits(count, generator):
    """Real digits, 8×8 grey pixels in [-1, 1], four fifths of them to train on."""
    found = load_digits()
    images = flame.tensor((found.images[:count, None] / 8 - 1).astype(np.float32))
    labels = flame.tensor(found.target[:count])
    return random_split(TensorDataset(images, labels), [0.8, 0.2], generator=generator)


@flame.no_grad()
def accuracy(model, loader):
    model.eval()
    right = total = 0
    for images, labels in loader:
        right += (model(images).argmax(1) == labels).sum().item()
        total += len(labels)
    model.train()
    return right / total


def main(argv=None):
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--epochs", type=int, default=10)
    args.add_argument("--batch", type=int, default=64)
    args.add_argument("--width", type=int, default=32, help="channels of the first convolution")
    args.add_argument("--images", type=int, default=1797, help="use the first so many")
    args.add_argument("--lr", type=float, default=4e-3)
    args.add_argument("--seed", type=int, default=0)
    args.add_argument("--checkpoint", metavar="DIR", help="save there after each epoch, and resume from there")
    args = args.parse_args(argv)

    flame.manual_seed(args.seed)
    train, test = digits(args.images, flame.Generator().manual_seed(args.seed))
    loader = DataLoader(train, batch_size=args.batch, shuffle=True, drop_last=True)
    judged = DataLoader(test, batch_size=len(test))
    model = Net(args.width)
    optimizer = optim.AdamW(model.parameters(), lr=args.lr)
    scheduler = optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=args.lr, epochs=args.epochs, steps_per_epoch=len(loader)
    )
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    done, losses, found = 0, [], None
    if args.checkpoint and latest_checkpoint(args.checkpoint):
        resumed = load_checkpoint(args.checkpoint, **parts)
        done, losses, found = resumed.step, resumed.extra["losses"], resumed.extra["accuracy"]

    with Progress() as bar:
        task = bar.add_task("training", total=args.epochs * len(loader), completed=done * len(loader))
        for epoch in range(done, args.epochs):
            for images, labels in loader:
                loss = F.cross_entropy(model(images), labels, label_smoothing=0.05)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                scheduler.step()
                losses.append(loss.item())
                bar.update(task, advance=1, description=f"epoch {epoch + 1}  loss {losses[-1]:.3f}")
            found = accuracy(model, judged)
            bar.console.print(f"epoch {epoch + 1:2d}  loss {np.mean(losses[-len(loader) :]):.3f}  right {found:.1%}")
            if args.checkpoint:
                extra = {"losses": losses, "accuracy": found}
                save_checkpoint(args.checkpoint, step=epoch + 1, keep=2, extra=extra, **parts)
    return losses, found


if __name__ == "__main__":
    main()
