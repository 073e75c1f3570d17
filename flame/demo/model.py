"""A small diffusion transformer: adaLN-zero blocks (Peebles and Xie, arXiv:2212.09748) and rectified flow.

Shape suffixes: B batch, T tokens, P pixels of a token, E width, H heads, D = E / H.
"""

import math

import numpy as np

import flame
from flame import Tensor, nn
from flame.demo.data import CLASSES, PIXELS, TOKENS
from flame.nn import functional as F

NOBODY = CLASSES  # the label that asks for no digit in particular
FASTEST = 1000.0  # radians over the whole time, of the quickest wave that tells the time


class Block(nn.Module):
    """Attention and a two-layer perceptron, each scaled, shifted and gated by what the image should be."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.modulation = nn.Linear(width, 6 * width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        silent(self.modulation)  # adaLN-zero: at first a block does nothing

    def forward(self, x_BTE: Tensor, condition_BE: Tensor) -> Tensor:
        """(B, T, E), (B, E) → (B, T, E)."""
        width = x_BTE.shape[-1]
        parts = self.modulation(condition_BE).reshape(-1, 6, 1, width)
        shift1, scale1, gate1, shift2, scale2, gate2 = (parts[:, i] for i in range(6))
        x_BTE = x_BTE + gate1 * self.attend(modulated(x_BTE, scale1, shift1))
        hidden = F.gelu(self.up(modulated(x_BTE, scale2, shift2)), approximate="tanh")
        return x_BTE + gate2 * self.down(hidden)

    def attend(self, x_BTE: Tensor) -> Tensor:
        """(B, T, E) → (B, T, E)."""
        B, T, E = x_BTE.shape
        qkv = self.qkv(x_BTE).reshape(B, T, 3, self.heads, E // self.heads).permute(2, 0, 3, 1, 4)
        mixed_BHTD = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        return self.out(mixed_BHTD.transpose(1, 2).reshape(B, T, E))


class DiffusionTransformer(nn.Module):
    """The velocity that carries noise to a digit, at every time, for every label."""

    def __init__(self, width: int = 64, depth: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.read = nn.Linear(PIXELS, width)
        self.place = nn.Parameter(flame.randn(TOKENS, width) * 0.1)
        self.label = nn.Embedding(CLASSES + 1, width)
        self.time1 = nn.Linear(width, width)
        self.time2 = nn.Linear(width, width)
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(depth)])
        self.modulation = nn.Linear(width, 2 * width)
        self.write = nn.Linear(width, PIXELS)
        waves = np.exp(np.linspace(0, math.log(FASTEST), width // 2))
        self.register_buffer("waves", flame.tensor(waves.astype(np.float32)), persistent=False)
        silent(self.modulation)
        silent(self.write)

    def forward(self, x_BTP: Tensor, time_B: Tensor, label_B: Tensor) -> Tensor:
        """(B, T, P), (B), integers (B) → (B, T, P)."""
        angle = time_B.unsqueeze(-1) * self.waves
        time_BE = self.time2(F.silu(self.time1(flame.cat([angle.sin(), angle.cos()], dim=-1))))
        condition_BE = F.silu(time_BE + self.label(label_B))
        x_BTE = self.read(x_BTP) + self.place
        for block in self.blocks:
            x_BTE = block(x_BTE, condition_BE)
        parts = self.modulation(condition_BE).reshape(-1, 2, 1, x_BTE.shape[-1])
        return self.write(modulated(x_BTE, parts[:, 1], parts[:, 0]))


def modulated(x_BTE: Tensor, scale_B1E: Tensor, shift_B1E: Tensor) -> Tensor:
    """A layer norm whose scale and shift the condition sets."""
    return F.layer_norm(x_BTE, (x_BTE.shape[-1],)) * (1 + scale_B1E) + shift_B1E


def silent(layer: nn.Linear) -> None:
    """Let a layer answer 0 until it has learnt better."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


def flow_loss(model: DiffusionTransformer, x_BTP: Tensor, label_B: Tensor) -> Tensor:
    """How far the model's velocity is from noise − image, on the straight line between (Liu et al., arXiv:2209.03003).

    Times are drawn from a logistic normal: the middle of the way is the hardest (Esser et al., arXiv:2403.03206).
    """
    noise_BTP = flame.randn(*x_BTP.shape)
    time_B = flame.randn(x_BTP.shape[0]).sigmoid()
    t = time_B.reshape(-1, 1, 1)
    return F.mse_loss(model((1 - t) * x_BTP + t * noise_BTP, time_B, label_B), noise_BTP - x_BTP)


def sample(model: DiffusionTransformer, labels: np.ndarray, steps: int = 20, guidance: float = 2.0) -> np.ndarray:
    """Draw an image (16, 4) for each label: Euler's steps, with classifier-free guidance (arXiv:2207.12598)."""
    count = len(labels)
    asked = flame.tensor(np.concatenate([labels, np.full(count, NOBODY)]))
    with flame.no_grad():
        x = flame.randn(count, TOKENS, PIXELS)
        for step in range(steps):
            time = flame.scalar(1 - step / steps).expand(2 * count)
            velocity = model(flame.cat([x, x]), time, asked)
            free, led = velocity[count:], velocity[:count]
            x = x - (free + guidance * (led - free)) * (1 / steps)
            x.realize()  # each step is one plan, and always the same one
    return x.numpy()
