"""Mixed precision under torch.amp's names: `autocast` regions, loss scaling, rounding by chance, float8."""

from types import ModuleType

from flame.amp.autocast import (
    Surface,
    autocast,
    custom_bwd,
    custom_fwd,
    get_autocast_dtype,
    is_autocast_available,
    is_autocast_enabled,
)
from flame.amp.float8 import float8_dequantize, float8_quantize
from flame.amp.scaler import GradScaler
from flame.nn import functional
from flame.ops import linalg
from flame.ops.rounding import stochastic_round
from flame.tensor import Tensor

__all__ = [
    "GradScaler",
    "autocast",
    "custom_bwd",
    "custom_fwd",
    "float8_dequantize",
    "float8_quantize",
    "get_autocast_dtype",
    "is_autocast_available",
    "is_autocast_enabled",
    "stochastic_round",
]


def _cover(package: ModuleType) -> None:
    """Give what stands in autocast's lists its public form, wherever a user finds it."""
    surface = Surface()
    surface.cover(package)
    surface.cover(functional)
    surface.cover(linalg, "linalg.")
    surface.cover(Tensor)
