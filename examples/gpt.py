"""A GPT of characters learns a text: causal attention, AdamW, warm-up and a cosine, clipped gradients; then it writes.

python examples/gpt.py shakespeare.txt --steps 2000       any text; without one, the programs beside this one
python examples/gpt.py --checkpoint run                   interrupt it, start it again: it goes on where it was
"""

import argparse
from pathlib import Path

import numpy as np
from rich.progress import Progress

import flame
from flame import nn, optim
from flame.io import latest_checkpoint, load_checkpoint, save_checkpoint
from flame.nn import functional as F


class Block(nn.Module):
    """Attention to what came before, then a perceptron, each beside a residual. (B, T, E) → the same."""

    def __init__(self, width, heads, dropout):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        b, t, e = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(b, t, 3, self.heads, e // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(b, t, e))
        return x + F.dropout(self.mlp(self.norm2(x)), self.dropout, self.training)


class GPT(nn.Module):
    """Characters (B, T) → scores of the character that follows each (B, T, characters)."""

    def __init__(self, characters, length, width, heads, layers, dropout):
        super().__init__()
        self.embed, self.places = nn.Embedding(characters, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*[Block(width, heads, dropout) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, characters, bias=False)
        self.apply(self.start)
        self.head.weight = self.embed.weight

    def start(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)

    def forward(self, tokens):
        x = self.embed(tokens) + self.places(flame.arange(tokens.shape[1]))
        return self.head(self.norm(self.blocks(x)))


@flame.no_grad()
def write(model, tokens, count, temperature=0.8):
    """So many characters after `tokens` (T), of which each follows from the T before it."""
    model.eval()
    written = []
    for _ in range(count):
        scores = model(tokens.unsqueeze(0))[0, -1] / temperature
        token = flame.multinomial(scores.softmax(-1), 1)
        tokens = flame.cat([tokens[1:], token]).realize()
        written.append(token.item())
    model.train()
    return written


def main(argv=None):
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("text", nargs="?", type=Path)
    args.add_argument("--steps", type=int, default=500)
    args.add_argument("--batch", type=int, default=32)
    args.add_argument("--length", type=int, default=64, help="characters of a context")
    args.add_argument("--width", type=int, default=128)
    args.add_argument("--heads", type=int, default=4)
    args.add_argument("--layers", type=int, default=4)
    args.add_argument("--dropout", type=float, default=0.1)
    args.add_argument("--lr", type=float, default=2e-3)
    args.add_argument("--sample", type=int, default=300, help="characters to write in the end")
    args.add_argument("--seed", type=int, default=0)
    args.add_argument("--every", type=int, default=100, help="steps between checkpoints")
    args.add_argument("--checkpoint", metavar="DIR", help="save there, and resume from there")
    args = args.parse_args(argv)

    flame.manual_seed(args.seed)
    files = [args.text] if args.text else sorted(Path(__file__).parent.glob("*.py"))
    text = "\n".join(file.read_text() for file in files)
    alphabet = sorted(set(text))
    data = flame.tensor(np.array([alphabet.index(c) for c in text]))
    model = GPT(len(alphabet), args.length, args.width, args.heads, args.layers, args.dropout)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    optimizer = optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.95), weight_decay=0.1)
    scheduler = optim.lr_scheduler.WarmupCosineLR(optimizer, args.steps // 10, args.steps, min_ratio=0.1)
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    losses = []
    if args.checkpoint and latest_checkpoint(args.checkpoint):
        losses = load_checkpoint(args.checkpoint, **parts).extra

    with Progress() as bar:
        task = bar.add_task("training", total=args.steps, completed=len(losses))
        for step in range(len(losses) + 1, args.steps + 1):
            starts = flame.randint(0, len(data) - args.length - 1, (args.batch, 1))
            window = data[starts + flame.arange(args.length + 1)]
            loss = F.cross_entropy(model(window[:, :-1]).flatten(0, 1), window[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
            bar.update(task, advance=1, description=f"step {step}  loss {losses[-1]:.3f}")
            if args.checkpoint and (step % args.every == 0 or step == args.steps):
                save_checkpoint(args.checkpoint, step=step, keep=2, extra=losses, **parts)
    written = "".join(alphabet[i] for i in write(model, data[: args.length], args.sample))
    print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f} nats a character; it writes:\n{written}")
    return losses, written


if __name__ == "__main__":
    main()
