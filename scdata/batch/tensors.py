"""What a loader yields: a dict of tensors."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch


class Batch(dict[str, Any]):
    """A batch: a dict of torch tensors, and ``state``. A type of its own so that collating it again is an error."""


def to_batch(tensors: dict[str, Any], transform: Callable[[dict[str, Any]], Mapping[str, Any]] | None) -> Batch:
    """A batch of tensors, and what `transform` makes of it.

    Raises
    ------
    TypeError
        If `transform` does not give a mapping.
    """
    batch = Batch(tensors)
    if transform is None:
        return batch
    found = transform(batch)
    if not isinstance(found, Mapping):
        raise TypeError(f"transform gave {type(found).__name__}: return the batch, or another dict")
    return Batch(found)


def tensors_in(batch: Mapping[str, Any]) -> Iterator[torch.Tensor]:
    """The tensors of a batch, and of its controls."""
    for value in batch.values():
        if isinstance(value, Mapping):
            yield from tensors_in(value)
        elif isinstance(value, torch.Tensor):
            yield value


def numpy_type(dtype: torch.dtype | None, output: str) -> np.dtype[Any] | None:
    """The NumPy type of a torch type that batches of an output can have."""
    if dtype is None:
        return None
    ids = (torch.int32, torch.int64)
    known = ids if output != "dense" else (*ids, torch.float32, torch.float64)
    if dtype not in known:
        raise ValueError(f"dtype = {dtype}: for output={output!r} one of {', '.join(map(str, known))}")
    return torch.empty(0, dtype=dtype).numpy().dtype


def _refuse_collate(batch: Any, *, collate_fn_map: Any = None) -> Any:
    raise ValueError("ShardDataset yields whole batches: use DataLoader(ds, batch_size=None)")


torch.utils.data._utils.collate.default_collate_fn_map[Batch] = _refuse_collate
