"""Some cells of a block, without decoding them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from scdata._blocks import I64, Array
from scdata.shard.block import StoredBlock
from scdata.shard.codes import Bytes, CodedCounts


def kept_cells(stored: StoredBlock, keep: Array) -> StoredBlock:
    """The cells at which `keep`, bool (C,), is True, in their order, in memory of their own.

    A reader that holds many blocks for a few cells of each holds these cells only.
    """
    mask = pa.array(keep)
    lengths = stored.lengths[keep]
    found = replace(stored, lengths=lengths, columns={name: column[keep] for name, column in stored.columns.items()})
    if stored.coded is not None:
        own = stored.coded
        parts = (own.codes, own.gap_at, own.gap_more, own.count_at, own.count_more)
        return replace(found, coded=CodedCounts(own.gap_bits, *(_kept_bytes(part, mask) for part in parts)))
    assert stored.offsets is not None  # the encoding is TOKENS
    assert stored.tokens is not None
    return replace(
        found,
        offsets=np.concatenate(([0], np.cumsum(lengths))),
        tokens=_kept_rows(stored.offsets, stored.tokens, mask),
        values=None if stored.values is None else _kept_rows(stored.offsets, stored.values, mask),
    )


def _kept_bytes(part: Bytes, mask: pa.Array) -> Bytes:
    offsets = np.ascontiguousarray(part.offsets, np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(part.data)]
    found: Any = pa.Array.from_buffers(pa.binary(), len(offsets) - 1, buffers).filter(mask)
    own = np.zeros(1, np.int32) if len(found) == 0 else np.frombuffer(found.buffers()[1], np.int32, len(found) + 1)
    data = found.buffers()[2]
    return Bytes(own, np.empty(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)[: own[-1]])


def _kept_rows(offsets: I64, flat: Array, mask: pa.Array) -> Array:
    found: Any = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(flat)).filter(mask)
    return np.asarray(found.flatten().to_numpy(zero_copy_only=True))
