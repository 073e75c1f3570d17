"""A batch norm that follows a layer put into its weight, for inference, with torch.nn.utils.fusion's names."""

import copy
from typing import Any

from flame.errors import FlameError
from flame.nn.module import Module
from flame.nn.parameter import Parameter
from flame.ops.create import zeros_like
from flame.recording import no_grad

__all__ = ["fuse_conv_bn_eval", "fuse_linear_bn_eval"]


def fuse_conv_bn_eval(conv: Any, bn: Any, transpose: bool = False) -> Any:
    """A copy of a convolution that gives what `bn(conv(x))` gives in eval; `transpose` for transposed ones.

    Raises FlameError unless both are in eval and the norm has running statistics.

    >>> conv, norm = flame.nn.Conv1d(2, 3, 1).eval(), flame.nn.BatchNorm1d(3).eval()
    >>> type(flame.nn.utils.fusion.fuse_conv_bn_eval(conv, norm)).__name__
    'Conv1d'
    """
    return _fused("fuse_conv_bn_eval", conv, bn, 1 if transpose else 0)


def fuse_linear_bn_eval(linear: Any, bn: Any) -> Any:
    """As `fuse_conv_bn_eval`, of a Linear and a BatchNorm1d."""
    return _fused("fuse_linear_bn_eval", linear, bn, 0)


def _fused(name: str, layer: Module, norm: Module, dim: int) -> Module:
    if layer.training or norm.training or norm.running_var is None:
        raise FlameError(f"{name}: both modules must be in eval, and the norm have running statistics")
    made = copy.deepcopy(layer)
    with no_grad():
        scale = (norm.running_var + norm.eps).rsqrt()
        scale = scale if norm.weight is None else scale * norm.weight
        shape = [1] * layer.weight.ndim
        shape[dim] = -1
        bias = zeros_like(norm.running_mean) if layer.bias is None else layer.bias
        moved = (bias - norm.running_mean) * scale
        moved = moved if norm.bias is None else moved + norm.bias
        made.weight = Parameter(layer.weight * scale.reshape(shape), layer.weight.requires_grad)
        made.bias = Parameter(moved, layer.weight.requires_grad)
    return made
