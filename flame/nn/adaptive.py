"""Adaptive softmax, with PyTorch's parameters."""

from collections.abc import Sequence
from typing import NamedTuple

from flame.errors import ShapeError
from flame.ir.dtype import DType
from flame.nn.containers import ModuleList, Sequential
from flame.nn.layers import Linear
from flame.nn.module import Module
from flame.ops.join import cat
from flame.tensor import Tensor


class ASMoutput(NamedTuple):
    """The log probability of each target, and the mean of their negatives."""

    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """Log probabilities of many classes of which few are frequent (Grave et al., arXiv:1609.04309).

    Classes are sorted by frequency and cut at `cutoffs`: those below the first have a row each in `head.weight`, the
    others belong to clusters, whose own softmax reads an input made `div_value` times narrower from cluster to cluster.
    (N, in_features) or (in_features), classes (N) or () → ASMoutput((N) or (), ()). Every cluster is computed for every
    row, since shapes do not depend on values: parameters are saved, and products only as far as clusters are narrower.
    Raises ShapeError for cutoffs that do not rise between 1 and n_classes − 1, and for a shape that does not fit.

    >>> layer = flame.nn.AdaptiveLogSoftmaxWithLoss(8, 10, [4])
    >>> layer.log_prob(flame.ones(3, 8)).exp().sum(1).round(decimals=4).tolist()
    [1.0, 1.0, 1.0]
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: str | None = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        cuts = [int(c) for c in cutoffs]
        if not cuts or cuts != sorted(set(cuts)) or not 0 < cuts[0] <= cuts[-1] < n_classes:
            raise ShapeError(f"AdaptiveLogSoftmaxWithLoss: cutoffs {cuts} must rise between 1 and {n_classes - 1}")
        self.in_features, self.n_classes, self.cutoffs = in_features, n_classes, [*cuts, n_classes]
        self.div_value, self.head_bias, self.n_clusters, self.shortlist_size = div_value, head_bias, len(cuts), cuts[0]
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, head_bias, device, dtype)
        self.tail = ModuleList()
        for i, (low, high) in enumerate(zip(self.cutoffs, self.cutoffs[1:])):
            width = int(in_features // div_value ** (i + 1))
            made = Linear(in_features, width, False, device, dtype), Linear(width, high - low, False, device, dtype)
            self.tail.append(Sequential(*made))

    def reset_parameters(self) -> None:
        """Draw new starting values."""
        for layer in (self.head, *(layer for pair in self.tail for layer in pair.children())):
            layer.reset_parameters()

    def forward(self, input: Tensor, target: Tensor) -> ASMoutput:
        """See the class."""
        if target.ndim > 1 or tuple(input.shape) != (*target.shape, self.in_features):
            raise ShapeError(
                f"AdaptiveLogSoftmaxWithLoss: input {tuple(input.shape)} and target {tuple(target.shape)}; give "
                f"(N, {self.in_features}) and (N), or ({self.in_features},) and ()"
            )
        output = self.log_prob(input).gather(-1, target.long().unsqueeze(-1)).squeeze(-1)
        return ASMoutput(output, -output.mean())

    def log_prob(self, input: Tensor) -> Tensor:
        """(*, in_features) → log probabilities of all classes (*, n_classes)."""
        head = self.head(input).log_softmax(-1)
        parts = [head[..., : self.shortlist_size]]
        for i, cluster in enumerate(self.tail):
            parts.append(cluster(input).log_softmax(-1) + head[..., self.shortlist_size + i].unsqueeze(-1))
        return cat(parts, -1)

    def predict(self, input: Tensor) -> Tensor:
        """(*, in_features) → the most probable class of each (*)."""
        return self.log_prob(input).argmax(-1)
