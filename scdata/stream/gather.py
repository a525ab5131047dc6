"""Cells of many blocks, in the order asked for, in one ragged buffer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scdata._blocks import I32, I64, Array
from scdata._errors import CorruptShardError
from scdata.counts.csr import ragged_rows
from scdata.shard.block import StoredBlock
from scdata.shard.codes import decode_counts

# (number of elements, dtype) → an array to write to
Allocate = Callable[[int, npt.DTypeLike], Array]


@dataclass(frozen=True)
class GatheredCells:
    """C cells.

    Parameters
    ----------
    indptr
        int64 (C+1,).
    ids
        int32 (T,): token ids, or what the gene codes were turned into.
    values
        int32 or float32 (T,), or None.
    columns
        Per-cell columns by name.
    """

    indptr: I64
    ids: I32
    values: Array | None
    columns: dict[str, Array]


def gather_cells(
    get: Callable[[int], StoredBlock],
    block: I64,
    row: I64,
    token_of_code: I32 | None,
    columns: Sequence[str],
    allocate: Allocate,
) -> GatheredCells:
    """Decode cells, block by block, to where the order wants them.

    Parameters
    ----------
    get
        Number of a block → the block.
    block, row
        int64 (C,): where each cell stands.
    token_of_code
        What to write for each gene code of a counts set; None for a set of tokens.
    columns
        Stored per-cell columns to bring along.
    allocate
        Where buffers come from.
    """
    order = np.argsort(block, kind="stable")
    numbers, first = np.unique(block[order], return_index=True)
    groups = np.split(order, first[1:])
    blocks = [get(int(number)) for number in numbers]
    lengths = np.empty(len(block), np.int64)
    gathered: dict[str, Array] = {}
    for stored, group in zip(blocks, groups, strict=True):
        rows = row[group]
        lengths[group] = stored.lengths[rows]
        for name in columns:
            if name not in stored.columns:
                raise CorruptShardError(f"a block lacks the column {name!r}")
            source = stored.columns[name]
            if name not in gathered:
                gathered[name] = np.empty(len(block), source.dtype)
            gathered[name][group] = source[rows]
    indptr = np.zeros(len(block) + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
    ids = allocate(int(indptr[-1]), np.int32)
    has_values = token_of_code is not None or (bool(blocks) and blocks[0].values is not None)
    kind = (
        np.float32
        if has_values and blocks and blocks[0].values is not None and blocks[0].values.dtype.kind == "f"
        else np.int32
    )
    values = allocate(int(indptr[-1]), kind) if has_values else None
    for stored, group in zip(blocks, groups, strict=True):
        if stored.coded is not None and token_of_code is not None:
            assert values is not None  # counts sets have values
            decode_counts(stored.coded, row[group], token_of_code, indptr[group], ids, values)
        else:
            _copy_tokens(stored, row[group], indptr[group], ids, values)
    return GatheredCells(indptr, ids, values, gathered)


def _copy_tokens(stored: StoredBlock, rows: I64, out_start: I64, ids: I32, values: Array | None) -> None:
    assert stored.offsets is not None  # the encoding is TOKENS
    assert stored.tokens is not None
    own, take = ragged_rows(stored.offsets, rows)
    to = np.arange(own[-1]) + np.repeat(out_start - own[:-1], np.diff(own))
    ids[to] = stored.tokens[take]
    if values is not None and stored.values is not None:
        values[to] = stored.values[take]
