"""What a loader yields: a dict of tensors."""

from typing import Any

import numpy as np
import torch


class Batch(dict[str, Any]):
    """A batch: a dict of torch tensors, and ``state``. A type of its own so that collating it again is an error."""


def to_batch(arrays: dict[str, Any]) -> Batch:
    """A batch over the memory of NumPy arrays; what is none of them stays as it is."""
    return Batch({k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in arrays.items()})


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
