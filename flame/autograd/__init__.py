"""Gradients: PyTorch's names for asking, and transformations of functions."""

from flame.autograd import functional
from flame.autograd.backward import backward, grad
from flame.recording import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled

__all__ = [
    "backward",
    "enable_grad",
    "functional",
    "grad",
    "inference_mode",
    "is_grad_enabled",
    "no_grad",
    "set_grad_enabled",
]
