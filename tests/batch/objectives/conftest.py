"""What tests of objectives share: cells read out of batches, and shares compared with what they should be."""

import math

import pytest
import torch

_MASK_OF = {"input": "input_mask", "target": "input_mask", "pcpt": "pcpt_mask", "gen": "gen_mask"}
_SEQLENS_OF = {key: mask.replace("_mask", "_cu_seqlens") for key, mask in _MASK_OF.items()}


def _part(batch, key, i):
    """The numbers of one cell, without padding."""
    value, group = batch[key], key.split("_")[0]
    if "cu_seqlens" in batch:
        name = _SEQLENS_OF.get(group, "cu_seqlens")
        ends = batch[name if name in batch else "cu_seqlens"]
        if len(value) == ends[-1] and key not in ("cell_id", "dataset"):
            return value[ends[i] : ends[i + 1]].tolist()
    name = _MASK_OF.get(group, "attention_mask")
    mask = batch.get(name, batch.get("attention_mask"))
    if mask is not None and value.shape == mask.shape:
        return value[i][mask[i]].tolist()
    return value[i].tolist()


@pytest.fixture(scope="session")
def rows_of():
    """A function: cell_id → {key: the cell's part} of batches in any output, padding cut off."""

    def read(batches):
        out = {}
        for batch in batches:
            keys = [key for key, value in batch.items() if isinstance(value, torch.Tensor) and "seqlen" not in key]
            for i, cell in enumerate(batch["cell_id"].tolist()):
                out[cell] = {key: _part(batch, key, i) for key in keys}
        return out

    return read


@pytest.fixture(scope="session")
def is_share():
    """A function: an error unless `found` of `n` is a likely number where each has the chance `rate` (5 sigma)."""

    def check(found, n, rate):
        assert n * rate * (1 - rate) > 16, "too few to tell"
        assert abs(int(found) - n * rate) < 5 * math.sqrt(n * rate * (1 - rate)), (int(found), n, rate)

    return check


@pytest.fixture(scope="session")
def joined():
    """A function: one key of all batches, padding cut off, as one tensor."""

    def cat(batches, key):
        return torch.cat([b[key][b["attention_mask"]] if "attention_mask" in b else b[key].flatten() for b in batches])

    return cat
