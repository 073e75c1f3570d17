"""What models are made of, under torch.nn's names."""

from flame.nn import functional, init, utils
from flame.nn.attention import MultiHeadAttention, MultiheadAttention
from flame.nn.containers import ModuleList, Sequential
from flame.nn.layers import GELU, Dropout, Embedding, LayerNorm, LeakyReLU, Linear, ReLU, SiLU
from flame.nn.loss import CrossEntropyLoss, MSELoss
from flame.nn.module import Module
from flame.nn.parameter import Parameter

__all__ = [
    "GELU",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "MSELoss",
    "Module",
    "ModuleList",
    "MultiHeadAttention",
    "MultiheadAttention",
    "Parameter",
    "ReLU",
    "Sequential",
    "SiLU",
    "functional",
    "init",
    "utils",
]
