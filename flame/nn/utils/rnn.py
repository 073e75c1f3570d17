"""Sequences of different lengths in one tensor, with torch.nn.utils.rnn's names."""

from collections.abc import Sequence

from flame.errors import FlameError
from flame.nn import functional as F
from flame.ops.join import stack
from flame.tensor import Tensor

__all__ = ["pad_sequence", "unpad_sequence"]


def pad_sequence(
    sequences: Sequence[Tensor], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Sequences (Tᵢ, *) as (T, B, *), or (B, T, *) if batch_first, padded to the longest on one side.

    >>> pad_sequence([flame.tensor([1, 2]), flame.tensor([3])], batch_first=True).tolist()
    [[1, 2], [3, 0]]
    """
    if padding_side not in ("left", "right"):
        raise FlameError(f"pad_sequence: padding_side is {padding_side!r}; choose 'left' or 'right'")
    if not len(sequences):
        raise FlameError("pad_sequence: there are no sequences")
    longest = max(t.shape[0] for t in sequences)
    padded: list[Tensor] = []
    for t in sequences:
        more = longest - t.shape[0]
        ends = (0, more) if padding_side == "right" else (more, 0)
        padded.append(F.pad(t, (*(0, 0) * (t.ndim - 1), *ends), value=padding_value))
    return stack(padded, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False) -> list[Tensor]:
    """The sequences (Tᵢ, *) of a batch that was padded on the right; reads the lengths.

    >>> [t.tolist() for t in unpad_sequence(flame.tensor([[1, 2], [3, 0]]), flame.tensor([2, 1]), batch_first=True)]
    [[1, 2], [3]]
    """
    rows = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [rows[i, :length] for i, length in enumerate(lengths.tolist())]
