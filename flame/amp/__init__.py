"""Mixed precision under torch.amp's names: `autocast` regions."""

from flame.amp.autocast import (
    Surface,
    autocast,
    custom_bwd,
    custom_fwd,
    get_autocast_dtype,
    is_autocast_enabled,
)
from flame.nn import functional
from flame.ops import linalg
from flame.tensor import Tensor

__all__ = ["autocast", "custom_bwd", "custom_fwd", "get_autocast_dtype", "is_autocast_enabled"]


def _cover(package: dict[str, object]) -> None:
    """Give what stands in autocast's lists its public form, wherever a user finds it."""
    surface = Surface()
    surface.cover(package, package.__setitem__, "flame")
    surface.cover(vars(functional), vars(functional).__setitem__, functional.__name__)
    surface.cover(vars(linalg), vars(linalg).__setitem__, linalg.__name__, "linalg.")
    surface.cover(vars(Tensor), lambda name, function: setattr(Tensor, name, function), "flame")
