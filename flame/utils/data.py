"""torch.utils.data's place for `flame.data`."""

from flame.data import *  # noqa: F403  every name it has
from flame.data import __all__ as __all__
