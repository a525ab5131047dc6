"""Which tokens of a cell are hidden: a pure function of (seed, epoch, cell, token), so training resumes exactly.

The random numbers are SplitMix64 of a counter (Steele, Lea and Flood, OOPSLA 2014), as in the loader: they do not depend
on the batch a cell is in, on the number of workers, or on the device. Shapes: B cells, L tokens of the longest.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

MASK_VALUE = -1
_PURPOSE = 7  # keeps these draws apart from the loader's own, which use other numbers
_ALL = (1 << 64) - 1


class Hidden(NamedTuple):
    """A batch with some values hidden.

    ``token_ids`` int32 (B, L); ``values`` float32 (B, L), −1 where hidden; ``truth`` float32 (B, L), nothing hidden;
    ``hidden`` and ``visible`` bool (B, L), genes only: special tokens and padding are neither; ``attention_mask`` bool (B, L).
    """

    token_ids: Tensor
    values: Tensor
    truth: Tensor
    hidden: Tensor
    visible: Tensor
    attention_mask: Tensor

    def to(self, device: torch.device) -> "Hidden":
        return Hidden(*(part.to(device) for part in self))


def _mix(z: np.ndarray) -> np.ndarray:
    """splitmix64 of uint64, element by element."""
    with np.errstate(over="ignore"):
        z = z + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniform(seed: int, epoch: int, cell_id: np.ndarray, token_ids: np.ndarray) -> np.ndarray:
    """float64 (B, L) in [0, 1): one number for each token of each cell in an epoch of a seed."""
    stream = np.zeros(1, np.uint64)
    for part in (_PURPOSE, seed, epoch):
        stream = _mix(stream ^ _mix(np.array([part & _ALL], np.uint64)))
    with np.errstate(over="ignore"):
        of_cell = _mix(cell_id.astype(np.uint64) + stream)
        key = _mix(of_cell[:, None] + token_ids.astype(np.uint64))
    return (key >> np.uint64(11)) * 2.0**-53


def hide(batch: dict[str, Any], is_gene: Tensor, fraction: float, seed: int, epoch: int) -> Hidden:
    """Hide each gene's value with probability `fraction`.

    Parameters
    ----------
    batch
        A padded batch of `scdata.ShardDataset`.
    is_gene
        bool (V,): which token ids are genes.
    fraction, seed, epoch
        What the draws are a function of, beside ``cell_id`` and ``token_ids``.
    """
    token_ids, truth = batch["token_ids"], batch["values"].float()
    drawn = torch.from_numpy(uniform(seed, epoch, batch["cell_id"].numpy(), token_ids.numpy()) < fraction)
    genes = batch["attention_mask"] & is_gene[token_ids]
    hidden = genes & drawn
    values = truth.masked_fill(hidden, MASK_VALUE)
    return Hidden(token_ids, values, truth, hidden, genes & ~drawn, batch["attention_mask"])
