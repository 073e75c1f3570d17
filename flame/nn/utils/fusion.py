"""A batch norm that follows a layer put into its weight, for inference, with torch.nn.utils.fusion's names."""

import copy
from typing import Any

from flame.errors import FlameError
from flame.nn.module import Module
from flame.nn.parameter import Parameter
from flame.ops.create import zeros_like
from flame.recording import no_grad
from flame.tensor import Tensor

__all__ = ["fuse_conv_bn_eval", "fuse_conv_bn_weights", "fuse_linear_bn_eval", "fuse_linear_bn_weights"]


def fuse_conv_bn_eval(conv: Any, bn: Any, transpose: bool = False) -> Any:
    """A copy of a convolution that gives what `bn(conv(x))` gives in eval; `transpose` for transposed ones.

    Raises FlameError unless both are in eval and the norm has running statistics.

    >>> conv, norm = flame.nn.Conv1d(2, 3, 1).eval(), flame.nn.BatchNorm1d(3).eval()
    >>> type(flame.nn.utils.fusion.fuse_conv_bn_eval(conv, norm)).__name__
    'Conv1d'
    """
    return _fused("fuse_conv_bn_eval", conv, bn, transpose)


def fuse_linear_bn_eval(linear: Any, bn: Any) -> Any:
    """As `fuse_conv_bn_eval`, of a Linear and a BatchNorm1d."""
    return _fused("fuse_linear_bn_eval", linear, bn, False)


def fuse_conv_bn_weights(
    conv_w: Tensor,
    conv_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """Weight and bias of a convolution with a batch norm behind it: `rm`, `rv` are its running mean and variance."""
    with no_grad():
        scale = (bn_rv + bn_eps).rsqrt()
        scale = scale if bn_w is None else scale * bn_w
        shape = [1] * conv_w.ndim
        shape[1 if transpose else 0] = -1
        moved = ((zeros_like(bn_rm) if conv_b is None else conv_b) - bn_rm) * scale
        moved = moved if bn_b is None else moved + bn_b
        trains = conv_w.requires_grad
        return Parameter(conv_w * scale.reshape(shape), trains), Parameter(moved, trains)


def fuse_linear_bn_weights(
    linear_w: Tensor,
    linear_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
) -> tuple[Parameter, Parameter]:
    """As `fuse_conv_bn_weights`, of a Linear."""
    return fuse_conv_bn_weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b)


def _fused(name: str, layer: Module, norm: Module, transpose: bool) -> Module:
    if layer.training or norm.training or norm.running_var is None:
        raise FlameError(f"{name}: both modules must be in eval, and the norm have running statistics")
    made: Any = copy.deepcopy(layer)
    given = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
    made.weight, made.bias = fuse_conv_bn_weights(layer.weight, layer.bias, *given, transpose)
    return made
