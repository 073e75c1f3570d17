"""A training loop of one's own: gradients of a function, clipped by their norm, and an update written by hand.

`flame.value_and_grad` differentiates an ordinary function of tensors. Gradients are tensors like any other, so clipping
them, adding noise or averaging them fuses into the kernels of the update.

python examples/custom_loop.py
"""

import numpy as np

import flame


def data(seed=0, count=400):
    """Two spirals, each a class."""
    random = np.random.default_rng(seed)
    turn = random.random(count) ** 0.5 * 2.5 * np.pi
    label = random.integers(0, 2, count)
    angle = turn + np.pi * label
    points = np.stack([turn * np.cos(angle), turn * np.sin(angle)], 1) / 4
    points += 0.05 * random.normal(size=points.shape)
    return flame.tensor(points.astype(np.float32)), flame.tensor(label)


def start(width=64):
    sizes = [(2, width), (width, width), (width, 2)]
    return [p for i, o in sizes for p in (flame.randn(i, o) * (1.5 / i) ** 0.5, flame.zeros(o))]


def scores(weights, x):
    w1, b1, w2, b2, w3, b3 = weights
    return ((x @ w1 + b1).tanh() @ w2 + b2).tanh() @ w3 + b3


def loss(weights, x, label):
    return flame.nn.functional.cross_entropy(scores(weights, x), label)


def clipped(gradients, most=1.0):
    """The gradients, shortened together to a length of at most `most`."""
    length = sum(g.square().sum() for g in gradients).sqrt()
    scale = (most / (length + 1e-6)).clamp(max=1.0)
    return [g * scale for g in gradients]


def main(steps=300, rate=0.3, momentum=0.9):
    flame.manual_seed(0)
    x, label = data()
    weights = start()
    speeds = [flame.zeros(*w.shape) for w in weights]
    flame.realize(*weights, *speeds)
    slope = flame.value_and_grad(lambda *weights: loss(weights, x, label), argnums=tuple(range(len(weights))))
    for step in range(1, steps + 1):
        value, gradients = slope(*weights)
        faster = [momentum * v - rate * g for v, g in zip(speeds, clipped(gradients))]
        moved = [w + v for w, v in zip(weights, faster)]
        flame.assign([*zip(weights, moved), *zip(speeds, faster)])  # one plan; the old memory is taken over
        if step % 50 == 0 or step == 1:
            print(f"step {step:4d}  loss {value.item():.4f}")
    right = (scores(weights, x).argmax(1) == label).float().mean().item()
    print(f"right: {right:.1%}")
    return right


if __name__ == "__main__":
    main()
