"""Gradients: PyTorch's names for asking, and transformations of functions."""

from flame.autograd import functional
from flame.autograd.anomaly import detect_anomaly, is_anomaly_enabled, set_detect_anomaly
from flame.autograd.backward import backward, grad
from flame.autograd.checkpoint import checkpoint, checkpoint_sequential
from flame.autograd.function import Function, FunctionCtx, custom_gradient, once_differentiable
from flame.recording import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled

__all__ = [
    "Function",
    "FunctionCtx",
    "backward",
    "checkpoint",
    "checkpoint_sequential",
    "custom_gradient",
    "detect_anomaly",
    "enable_grad",
    "functional",
    "grad",
    "inference_mode",
    "is_anomaly_enabled",
    "is_grad_enabled",
    "no_grad",
    "once_differentiable",
    "set_detect_anomaly",
    "set_grad_enabled",
]
