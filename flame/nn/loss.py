"""Losses as modules."""

from flame.nn import functional as F
from flame.nn.module import Module
from flame.tensor import Tensor


class MSELoss(Module):
    """The mean of (input − target)²; see `functional.mse_loss`. (*), (*) → ()."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """(*), (*) → () or, for reduction="none", (*)."""
        return F.mse_loss(input, target, self.reduction)


class CrossEntropyLoss(Module):
    """−log softmax(logits)[target]; see `functional.cross_entropy`. (N, C), integers (N) → ()."""

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.ignore_index, self.reduction, self.label_smoothing = ignore_index, reduction, label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """(N, C, …), integers (N, …) → () or, for reduction="none", (N, …)."""
        return F.cross_entropy(input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing)
