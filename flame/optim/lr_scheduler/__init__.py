"""Learning rates over time, under torch.optim.lr_scheduler's names, arguments, numbers and state_dict.

A scheduler writes `group["lr"]`; rates reach kernels as numbers, so a new rate compiles nothing. Each is a function of
the rate before (chainable), as in PyTorch, so several may act on one optimizer.
"""

from flame.optim.lr_scheduler.base import LRScheduler
from flame.optim.lr_scheduler.combine import ChainedScheduler, SequentialLR
from flame.optim.lr_scheduler.cosine import CosineAnnealingLR, CosineAnnealingWarmRestarts, WarmupCosineLR
from flame.optim.lr_scheduler.cycles import CyclicLR, OneCycleLR
from flame.optim.lr_scheduler.decay import (
    ConstantLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from flame.optim.lr_scheduler.plateau import ReduceLROnPlateau

_LRScheduler = LRScheduler  # its name in many programs

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
    "WarmupCosineLR",
]
