"""Samples put together to batches by torch.utils.data's rules; what will be tensors are arrays until the last step."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flame.errors import DataError, ShapeError
from flame.runtime import devices
from flame.runtime.device import Device
from flame.tensor import Tensor, from_array


@dataclass(frozen=True, slots=True)
class Host:
    """An array that becomes a tensor when the batch is handed out."""

    array: np.ndarray


def default_collate(batch: Sequence[Any]) -> Any:
    """One batch of several samples: arrays and tensors are stacked, numbers become a tensor, text stays as it is.

    Dictionaries, tuples and lists of such are collated entry by entry; tuples become lists, as in PyTorch. Floats
    become float64, ints int64. Raises ShapeError where shapes or lengths differ.
    """
    return to_tensors(collate(batch), devices.default())


def default_convert(data: Any) -> Any:
    """One sample as it is, with arrays made tensors and tuples made lists, as in PyTorch."""
    return to_tensors(convert(data), devices.default())


def collate(batch: Sequence[Any]) -> Any:
    """`default_collate` with arrays in place of tensors."""
    first = batch[0]
    if isinstance(first, (Tensor, np.ndarray, np.generic)):
        return Host(_stacked([one.numpy() if isinstance(one, Tensor) else np.asarray(one) for one in batch]))
    if isinstance(first, (bool, int, float)):
        return Host(np.asarray(batch, float if isinstance(first, float) else None))
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        return _like(first, {key: collate([one[key] for one in batch]) for key in first})
    if isinstance(first, Sequence):
        if len({len(one) for one in batch}) > 1:
            raise ShapeError(
                f"default_collate: samples have {sorted({len(one) for one in batch})} entries; make them equal"
            )
        parts = [collate(part) for part in zip(*batch)]
        return type(first)(*parts) if hasattr(first, "_fields") else parts
    raise DataError(
        f"default_collate: a batch cannot be made of {type(first).__name__}; give tensors, arrays, numbers, text, "
        "dictionaries or lists, or a collate_fn"
    )


def _stacked(arrays: list[np.ndarray]) -> np.ndarray:
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise ShapeError(f"default_collate: samples have shapes {sorted(shapes)}; make them equal or give a collate_fn")
    return np.stack(arrays)


def _like(first: Any, made: dict[Any, Any]) -> Any:
    """A dictionary of the class of the first sample's, where that can be made."""
    try:
        return type(first)(made)
    except TypeError:
        return made


def convert(data: Any) -> Any:
    """`default_convert` with arrays in place of tensors."""
    if isinstance(data, Mapping):
        return _like(data, {key: convert(one) for key, one in data.items()})
    if isinstance(data, (list, tuple)):
        parts = [convert(one) for one in data]
        return type(data)(*parts) if hasattr(data, "_fields") else parts
    return Host(np.asarray(data)) if isinstance(data, (np.ndarray, np.generic)) else to_host(data)


def to_host(value: Any) -> Any:
    """A tensor as the array it will be made of again; anything else as it is."""
    return Host(value.numpy()) if isinstance(value, Tensor) else value


def to_tensors(tree: Any, device: Device) -> Any:
    """A batch with tensors where it has arrays to be made tensors."""
    return walk(tree, lambda one: from_array(one.array, device) if isinstance(one, Host) else one)


def walk(tree: Any, change: Callable[[Any], Any]) -> Any:
    """The same dictionaries, lists and tuples with `change` of everything else."""
    if isinstance(tree, Mapping):
        return _like(tree, {key: walk(one, change) for key, one in tree.items()})
    if isinstance(tree, tuple):
        parts = [walk(one, change) for one in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    if isinstance(tree, list):
        return [walk(one, change) for one in tree]
    return change(tree)
