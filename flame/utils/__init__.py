"""torch.utils' names."""

from flame.utils import checkpoint

__all__ = ["checkpoint"]
