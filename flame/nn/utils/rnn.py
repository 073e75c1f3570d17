"""Sequences of different lengths in one tensor, padded or packed, with torch.nn.utils.rnn's names.

Lengths are read on the host, once; packing and padding are each one gather, whose gradient is a scatter.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from flame.errors import FlameError, ShapeError
from flame.nn import functional as F
from flame.ops.create import Where, full_like, tensor
from flame.ops.elementwise import where
from flame.ops.join import stack
from flame.tensor import Tensor

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]


class _Packed(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Packed):
    """Sequences without padding, longest first: the first elements of all, the second ones of all that have one, …

    `data` is (sum of lengths, *), `batch_sizes` on the CPU says how many sequences have a t-th element. The indices
    lead from the order of the batch to that by length, and back; None where the batch was sorted.
    """

    __slots__ = ()

    def __new__(
        cls,
        data: Tensor,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> Self:
        if batch_sizes is None:
            raise FlameError("PackedSequence: needs batch_sizes; pack_padded_sequence and pack_sequence make them")
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> "PackedSequence":
        """On another device, or with data of another dtype: as Tensor.to."""
        data = self.data.to(*args, **kwargs)
        first, second = (None if i is None else i.to(data.device) for i in (self.sorted_indices, self.unsorted_indices))
        return PackedSequence(data, self.batch_sizes, first, second)

    def cuda(self, device: Where = None) -> "PackedSequence":
        """On a GPU."""
        return self.to("cuda" if device is None else device)

    def cpu(self) -> "PackedSequence":
        """In the CPU's memory."""
        return self.to("cpu")

    def float(self) -> "PackedSequence":
        """With data in float32."""
        return PackedSequence(self.data.float(), *self[1:])

    def double(self) -> "PackedSequence":
        """With data in float64."""
        return PackedSequence(self.data.double(), *self[1:])

    def half(self) -> "PackedSequence":
        """With data in float16."""
        return PackedSequence(self.data.half(), *self[1:])

    def bfloat16(self) -> "PackedSequence":
        """With data in bfloat16."""
        return PackedSequence(self.data.bfloat16(), *self[1:])

    @property
    def is_cuda(self) -> bool:
        """True where the data is on a GPU."""
        return self.data.is_cuda


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes one; None of None."""
    return None if permutation is None else permutation.argsort()


def pack_padded_sequence(
    input: Tensor, lengths: Tensor | Sequence[int], batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """(T, B, *), or (B, T, *) if batch_first, of which sequence i has lengths[i] elements, without the padding.

    With `enforce_sorted` lengths decrease; otherwise the batch is sorted by length, stably. Raises ShapeError for other
    lengths.

    >>> packed = pack_padded_sequence(flame.tensor([[1, 2], [3, 0]]), [2, 1], batch_first=True)
    >>> packed.data.tolist(), packed.batch_sizes.tolist()
    ([1, 3, 2], [2, 1])
    """
    steps_first = input.transpose(0, 1) if batch_first else input
    sizes = np.array(lengths.tolist() if isinstance(lengths, Tensor) else list(lengths), dtype=np.int64)
    most, batch = steps_first.shape[:2]
    if sizes.shape != (batch,) or (sizes.size and (sizes.min() < 1 or sizes.max() > most)):
        raise ShapeError(
            f"pack_padded_sequence: lengths are {sizes.tolist()}, but {batch} sequences of at most {most} elements "
            "need as many lengths, each 1 or more and no larger"
        )
    order = None
    if not enforce_sorted:
        order = np.argsort(-sizes, kind="stable")
        sizes = sizes[order]
    elif (np.diff(sizes) > 0).any():
        raise ShapeError(
            f"pack_padded_sequence: lengths {sizes.tolist()} do not decrease; sort the batch, or pass "
            "enforce_sorted=False"
        )
    steps, rows = _places(sizes)
    rows = rows if order is None else order[rows]
    flat = steps_first.reshape(most * batch, *steps_first.shape[2:])
    data = flat[tensor(steps * batch + rows, device=input.device)]
    counts = (sizes[None, :] > np.arange(int(sizes.max(initial=0)))[:, None]).sum(1)
    indices = None if order is None else tensor(order, device=input.device)
    return PackedSequence(data, tensor(counts, device="cpu"), indices)


def _places(sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(step, row) of each element of a packed sequence whose rows have these lengths, which decrease."""
    grid = np.arange(int(sizes.max(initial=0)))[:, None] < sizes[None, :]
    steps, rows = np.nonzero(grid)
    return steps, rows


def lengths_of(packed: PackedSequence) -> np.ndarray:
    """The length of each sequence, longest first."""
    counts = np.array(packed.batch_sizes.tolist())
    return (counts[:, None] > np.arange(counts[0])).sum(0)


def padded_sorted(packed: PackedSequence, lengths: np.ndarray, padding_value: float = 0.0, total: int | None = None):
    """(T, B, *) with the sequences by length, padded; and where they are, (T, B)."""
    steps = int(lengths[0]) if total is None else total
    inside = np.arange(steps)[:, None] < lengths[None, :]
    places = np.where(inside, np.cumsum(inside).reshape(inside.shape) - 1, 0)
    data = packed.data[tensor(places, device=packed.data.device)]
    mask = tensor(inside, device=packed.data.device)
    wide = mask.reshape(*mask.shape, *(1,) * (data.ndim - 2))
    return where(wide, data, full_like(data, padding_value)), mask


def packed_again(padded: Tensor, like: PackedSequence, lengths: np.ndarray) -> PackedSequence:
    """The elements of (T, B, *) that are no padding, packed as another sequence is."""
    steps, rows = _places(lengths)
    flat = padded.reshape(-1, *padded.shape[2:])
    return PackedSequence(flat[tensor(steps * padded.shape[1] + rows, device=padded.device)], *like[1:])


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """The padded batch (T, B, *), or (B, T, *) if batch_first, and the lengths; in the order before packing.

    `total_length` makes T larger than the longest. Raises ShapeError where it is smaller.

    >>> packed = pack_sequence([flame.tensor([3]), flame.tensor([1, 2])], enforce_sorted=False)
    >>> [t.tolist() for t in pad_packed_sequence(packed, batch_first=True)]
    [[[3, 0], [1, 2]], [1, 2]]
    """
    lengths = lengths_of(sequence)
    if total_length is not None and total_length < lengths[0]:
        raise ShapeError(f"pad_packed_sequence: total_length is {total_length}, the longest sequence has {lengths[0]}")
    padded, _ = padded_sorted(sequence, lengths, padding_value, total_length)
    if sequence.unsorted_indices is not None:
        padded = padded.index_select(1, sequence.unsorted_indices)
        lengths = lengths[np.array(sequence.unsorted_indices.tolist())]
    return padded.transpose(0, 1) if batch_first else padded, tensor(lengths, device="cpu")


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Sequences (Tᵢ, *) packed; longest first unless `enforce_sorted` is False."""
    return pack_padded_sequence(pad_sequence(sequences), [s.shape[0] for s in sequences], False, enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences (Tᵢ, *) that were packed."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)


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
