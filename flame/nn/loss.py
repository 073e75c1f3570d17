"""Losses as modules; each is the function of nn.functional that it names."""

from typing import Any

from flame.nn import functional as F
from flame.nn.module import Module
from flame.nn.plain import Plain
from flame.tensor import Tensor

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CTCLoss",
    "CosineEmbeddingLoss",
    "CrossEntropyLoss",
    "GaussianNLLLoss",
    "HingeEmbeddingLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "MSELoss",
    "MarginRankingLoss",
    "MultiLabelMarginLoss",
    "MultiLabelSoftMarginLoss",
    "MultiMarginLoss",
    "NLLLoss",
    "PoissonNLLLoss",
    "SmoothL1Loss",
    "SoftMarginLoss",
    "TripletMarginLoss",
    "TripletMarginWithDistanceLoss",
]

MEAN = {"reduction": "mean"}


class _Loss(Plain):
    """(input, target) → () or, for reduction="none", a cost for each."""

    options, shown = MEAN, ()


class L1Loss(_Loss):
    """The mean of |input − target|."""

    function = "l1_loss"


class MSELoss(_Loss):
    """The mean of (input − target)²."""

    function = "mse_loss"


class SmoothL1Loss(_Loss):
    """Quadratic below `beta`, linear above."""

    function, options = "smooth_l1_loss", MEAN | {"beta": 1.0}


class HuberLoss(_Loss):
    """Quadratic below `delta`, linear with that slope above."""

    function, options = "huber_loss", MEAN | {"delta": 1.0}


class CrossEntropyLoss(_Loss):
    """−log softmax(logits)[target]; see `functional.cross_entropy`. (N, C, *), integers (N, *) → ()."""

    function, buffers_of = "cross_entropy", ("weight",)
    options = {"weight": None, "ignore_index": -100, **MEAN, "label_smoothing": 0.0}


class NLLLoss(_Loss):
    """−input[target] of log probabilities."""

    function, buffers_of, options = "nll_loss", ("weight",), {"weight": None, "ignore_index": -100, **MEAN}


class BCELoss(_Loss):
    """Binary cross entropy of probabilities."""

    function, buffers_of, options = "binary_cross_entropy", ("weight",), {"weight": None, **MEAN}


class BCEWithLogitsLoss(_Loss):
    """Binary cross entropy of logits."""

    function, buffers_of = "binary_cross_entropy_with_logits", ("weight", "pos_weight")
    options = {"weight": None, **MEAN, "pos_weight": None}


class KLDivLoss(_Loss):
    """The Kullback-Leibler divergence of the target's distribution from the input's log probabilities."""

    function, options = "kl_div", MEAN | {"log_target": False}


class PoissonNLLLoss(_Loss):
    """−log of Poisson's probability of the target."""

    function, options = "poisson_nll_loss", {"log_input": True, "full": False, "eps": 1e-8, **MEAN}


class GaussianNLLLoss(_Loss):
    """−log of the normal density of the target; forward(input, target, var)."""

    function, options = "gaussian_nll_loss", {"full": False, "eps": 1e-6, **MEAN}


class HingeEmbeddingLoss(_Loss):
    """x where the target is 1, max(0, margin − x) where it is −1."""

    function, options = "hinge_embedding_loss", {"margin": 1.0, **MEAN}


class CosineEmbeddingLoss(_Loss):
    """1 − cosine where the target is 1, max(0, cosine − margin) where it is −1; forward(a, b, target)."""

    function, options = "cosine_embedding_loss", {"margin": 0.0, **MEAN}


class MarginRankingLoss(_Loss):
    """max(0, −target · (a − b) + margin); forward(a, b, target)."""

    function, options = "margin_ranking_loss", {"margin": 0.0, **MEAN}


class SoftMarginLoss(_Loss):
    """log(1 + e^(−target · input))."""

    function = "soft_margin_loss"


class MultiMarginLoss(_Loss):
    """The hinge between the target's score and all others."""

    function, buffers_of = "multi_margin_loss", ("weight",)
    options = {"p": 1, "margin": 1.0, "weight": None, **MEAN}


class MultiLabelMarginLoss(_Loss):
    """The hinge between the scores of several targets and all others."""

    function = "multilabel_margin_loss"


class MultiLabelSoftMarginLoss(_Loss):
    """Binary cross entropy over the classes, averaged."""

    function, buffers_of, options = "multilabel_soft_margin_loss", ("weight",), {"weight": None, **MEAN}


class TripletMarginLoss(_Loss):
    """max(0, d(anchor, positive) − d(anchor, negative) + margin)."""

    function, options = "triplet_margin_loss", {"margin": 1.0, "p": 2.0, "eps": 1e-6, "swap": False, **MEAN}


class TripletMarginWithDistanceLoss(_Loss):
    """TripletMarginLoss with a distance of your own."""

    function = "triplet_margin_with_distance_loss"
    options = {"distance_function": None, "margin": 1.0, "swap": False, **MEAN}


class CTCLoss(Module):
    """Connectionist temporal classification; see `functional.ctc_loss`.

    forward(log_probs (T, N, C), targets, input_lengths, target_lengths).
    """

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False) -> None:
        super().__init__()
        self.blank, self.reduction, self.zero_infinity = blank, reduction, zero_infinity

    def forward(self, log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any) -> Tensor:
        """See the class."""
        options = (self.blank, self.reduction, self.zero_infinity)
        return F.ctc_loss(log_probs, targets, input_lengths, target_lengths, *options)
