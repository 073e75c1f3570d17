"""A small perceptron learns sin(x): the usual loop, with a module, a loss and an optimizer.

python examples/mlp_regression.py
flame dump examples/mlp_regression.py:loss        the kernels that the loss becomes
"""

import math

import flame
from flame import nn, optim


def model():
    return nn.Sequential(nn.Linear(1, 32), nn.GELU(), nn.Linear(32, 32), nn.GELU(), nn.Linear(32, 1))


def data(count=256):
    x = flame.rand(count, 1) * (2 * math.pi) - math.pi
    return x, x.sin()


def loss():
    x, y = data()
    return nn.functional.mse_loss(model()(x), y)


def main(steps=300):
    flame.manual_seed(0)
    net = model()
    optimizer = optim.AdamW(net.parameters(), lr=1e-2)
    for step in range(1, steps + 1):
        x, y = data()
        error = nn.functional.mse_loss(net(x), y)
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        if step % 50 == 0 or step == 1:
            print(f"step {step:4d}  loss {error.item():.5f}")
    x, y = data()
    with flame.no_grad():
        worst = (net(x) - y).abs().max().item()
    print(f"farthest from sin(x): {worst:.3f}")
    return worst


if __name__ == "__main__":
    main()
