"""torch.nn.functional's names: layers and losses as functions of tensors, written in Tensor operations only."""

from flame.nn.functional.activation import dropout, gelu, leaky_relu, log_softmax, relu, silu, softmax
from flame.nn.functional.attention import scaled_dot_product_attention
from flame.nn.functional.layer import embedding, layer_norm, linear
from flame.nn.functional.loss import cross_entropy, mse_loss

__all__ = [
    "cross_entropy",
    "dropout",
    "embedding",
    "gelu",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "mse_loss",
    "relu",
    "scaled_dot_product_attention",
    "silu",
    "softmax",
]
