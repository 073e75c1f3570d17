"""Dropout in its forms; each is the function of nn.functional that it names."""

from flame.errors import FlameError
from flame.nn.plain import Plain


class _Dropout(Plain):
    """A share `p` of elements, in training."""

    options, shown, trains = {"p": 0.5, "inplace": False}, ("p", "inplace"), True

    def check(self) -> None:
        """Raise FlameError unless p is a probability."""
        if not 0 <= self.p <= 1:
            raise FlameError(f"{type(self).__name__}: p is {self.p}, but a probability lies between 0 and 1")


class Dropout(_Dropout):
    """In training, zero each element with probability `p` and scale the rest by 1/(1−p). (*) → (*).

    >>> flame.nn.Dropout(0.1).eval()(flame.ones(2)).numpy().tolist()
    [1.0, 1.0]
    """

    function = "dropout"


class Dropout1d(_Dropout):
    """Dropout of whole channels of (N, C, L) or (C, L)."""

    function = "dropout1d"


class Dropout2d(_Dropout):
    """Dropout of whole channels of (N, C, H, W) or (C, H, W)."""

    function = "dropout2d"


class Dropout3d(_Dropout):
    """Dropout of whole channels of (N, C, D, H, W) or (C, D, H, W)."""

    function = "dropout3d"


class AlphaDropout(_Dropout):
    """Dropout that keeps mean and variance of SELU's outputs (Klambauer et al., arXiv:1706.02515)."""

    function = "alpha_dropout"


class FeatureAlphaDropout(_Dropout):
    """AlphaDropout of whole channels."""

    function = "feature_alpha_dropout"
