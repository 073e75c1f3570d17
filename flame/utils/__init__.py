"""torch.utils' names."""

from flame.utils import checkpoint, data

__all__ = ["checkpoint", "data"]
