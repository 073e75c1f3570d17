"""LoRA: a saved model that reads digits learns to read them on their side, by a few numbers beside frozen weights.

python examples/lora_finetune.py                        trains base.safetensors first, where it is missing
python examples/lora_finetune.py --rank 2 --checkpoint run
"""

import argparse
from pathlib import Path

import numpy as np
from rich.progress import Progress
from sklearn.datasets import load_digits

import flame
from flame import io, nn, optim
from flame.data import DataLoader, TensorDataset
from flame.nn import functional as F
from flame.nn.adapters import LoRA, adapt, adapter_state_dict, merge


def network(width):
    """Pixels (N, 64) → scores of the digits (N, 10)."""
    return nn.Sequential(
        nn.Linear(64, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 10)
    )  # fmt: skip


def digits(lying):
    """(Training data, testing data) of upright digits, or of digits that lie on their side."""
    found = load_digits()
    images = np.rot90(found.images, axes=(1, 2)) if lying else found.images
    pixels = (images.reshape(-1, 64) / 8 - 1).astype(np.float32)
    return (pixels[:1437], found.target[:1437]), (pixels[1437:], found.target[1437:])


@flame.no_grad()
def accuracy(model, data):
    pixels, labels = map(flame.tensor, data)
    return (model(pixels).argmax(-1) == labels).float().mean().item()


def train(model, data, epochs, lr, name, checkpoint=None):
    """The loss of each epoch; only parameters that need gradients are trained."""
    loader = DataLoader(TensorDataset(*map(flame.tensor, data)), batch_size=64, shuffle=True, drop_last=True)
    optimizer = optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)
    losses = []
    if checkpoint and io.latest_checkpoint(checkpoint):
        losses = io.load_checkpoint(checkpoint, model=model, optimizer=optimizer).extra
    with Progress() as bar:
        task = bar.add_task(name, total=epochs, completed=len(losses))
        for epoch in range(len(losses) + 1, epochs + 1):
            total = 0.0
            for pixels, labels in loader:
                loss = F.cross_entropy(model(pixels), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() / len(loader)
            losses.append(total)
            bar.update(task, advance=1, description=f"{name}: epoch {epoch}  loss {total:.3f}")
            if checkpoint:
                io.save_checkpoint(checkpoint, step=epoch, keep=2, extra=losses, model=model, optimizer=optimizer)
    return losses


def main(argv=None):
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--base", type=Path, default=Path("base.safetensors"), help="the model to start from")
    args.add_argument("--adapter", type=Path, default=Path("adapter.safetensors"), help="what the fine-tune leaves")
    args.add_argument("--width", type=int, default=256)
    args.add_argument("--rank", type=int, default=8)
    args.add_argument("--epochs", type=int, default=15)
    args.add_argument("--lr", type=float, default=3e-3)
    args.add_argument("--seed", type=int, default=0)
    args.add_argument("--checkpoint", metavar="DIR", help="save the fine-tune there, and resume from there")
    args = args.parse_args(argv)

    flame.manual_seed(args.seed)
    (upright, judged), (lying, asked) = digits(lying=False), digits(lying=True)
    if not args.base.exists():
        base = network(args.width)
        train(base, upright, args.epochs, args.lr, "training the base")
        print(f"the base reads {accuracy(base, judged):.1%} of the upright digits")
        io.save_model(base, args.base)

    model = network(args.width)
    io.load_model(model, args.base)
    before = accuracy(model, asked)
    adapt(model, LoRA, rank=args.rank)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    share = trained / sum(p.numel() for p in model.parameters())
    losses = train(model, lying, args.epochs, args.lr, "fine-tuning", args.checkpoint)
    io.save_file(adapter_state_dict(model), args.adapter)

    # elsewhere, later: the same base, the small file, and one ordinary model of both
    merged = network(args.width)
    io.load_model(merged, args.base)
    merged = adapt(merged, LoRA, rank=args.rank)
    report = merged.load_state_dict(io.load_file(args.adapter), strict=False)
    assert not report.unexpected_keys
    merged = merge(merged)
    with flame.no_grad():
        farthest = (merged(flame.tensor(asked[0])) - model(flame.tensor(asked[0]))).abs().max().item()
    after = accuracy(merged, asked)
    print(f"lying digits read: {before:.1%} before, {after:.1%} after training {share:.1%} of the numbers")
    print(f"{args.adapter} has {args.adapter.stat().st_size:,} bytes, {args.base} {args.base.stat().st_size:,}")
    print(f"merged, the scores differ by {farthest:.1e} at most")
    return losses, before, after, farthest


if __name__ == "__main__":
    main()
