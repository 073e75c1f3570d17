"""torch.utils.checkpoint's names, and checkpoints by module."""

from flame.autograd.checkpoint import checkpoint, checkpoint_sequential, create_selective_checkpoint_contexts
from flame.memory.checkpointing import apply_checkpointing, checkpoint_module, remove_checkpointing

__all__ = [
    "apply_checkpointing",
    "checkpoint",
    "checkpoint_module",
    "checkpoint_sequential",
    "create_selective_checkpoint_contexts",
    "remove_checkpointing",
]
