"""Cells of many blocks, in the order asked for, in one ragged buffer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scdata import _jit
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
    """Decode cells into one ragged buffer, in the order asked for.

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
    numbers, slot = np.unique(block, return_inverse=True)
    blocks = [get(number) for number in numbers.tolist()]
    gathered = {name: _column(blocks, name, slot, row) for name in columns}
    indptr = np.zeros(len(block) + 1, np.int64)
    np.cumsum(_taken(blocks, "", [stored.lengths for stored in blocks], slot, row), out=indptr[1:])
    n_tokens = int(indptr[-1])
    ids = allocate(n_tokens, np.int32)
    if token_of_code is not None:
        values = allocate(n_tokens, np.int32)
        coded = [stored.coded for stored in blocks if stored.coded is not None]
        decode_counts(coded, slot, row, token_of_code, indptr[:-1], ids, values)
        return GatheredCells(indptr, ids, values, gathered)
    first = blocks[0].values if blocks else None
    stored_values = None if first is None else allocate(n_tokens, np.float32 if first.dtype.kind == "f" else np.int32)
    for i, stored in enumerate(blocks):
        group = np.flatnonzero(slot == i)
        _copy_tokens(stored, row[group], indptr[group], ids, stored_values)
    return GatheredCells(indptr, ids, stored_values, gathered)


def gather_columns(get: Callable[[int], StoredBlock], block: I64, row: I64, columns: Sequence[str]) -> dict[str, Array]:
    """Stored per-cell columns of cells, in the order asked for, without decoding them; arguments as of `gather_cells`."""
    numbers, slot = np.unique(block, return_inverse=True)
    blocks = [get(number) for number in numbers.tolist()]
    return {name: _column(blocks, name, slot, row) for name in columns}


def _column(blocks: Sequence[StoredBlock], name: str, slot: I64, row: I64) -> Array:
    for stored in blocks:
        if name not in stored.columns:
            raise CorruptShardError(f"a block lacks the column {name!r}")
    return _taken(blocks, name, [stored.columns[name] for stored in blocks], slot, row)


def _taken(blocks: Sequence[StoredBlock], name: str, arrays: Sequence[Array], slot: I64, row: I64) -> Array:
    """Entry ``row[i]`` of ``arrays[slot[i]]``; these are what `blocks` have under a name."""
    if not arrays:
        return np.empty(0, np.int64)
    out = np.empty(len(row), arrays[0].dtype)
    if _jit.available() and {array.dtype for array in arrays} == {out.dtype}:
        addresses = [stored.addresses.get(name) for stored in blocks]
        if None not in addresses:
            from scdata.shard.memory_jit import take_jit

            take_jit(np.array(addresses, np.int64), slot, row, out)
            return out
    n = np.array([len(array) for array in arrays])
    return np.concatenate(arrays)[(np.cumsum(n) - n)[slot] + row]


def _copy_tokens(stored: StoredBlock, rows: I64, out_start: I64, ids: I32, values: Array | None) -> None:
    assert stored.offsets is not None  # the encoding is TOKENS
    assert stored.tokens is not None
    own, take = ragged_rows(stored.offsets, rows)
    to = np.arange(own[-1]) + np.repeat(out_start - own[:-1], np.diff(own))
    ids[to] = stored.tokens[take]
    if values is not None and stored.values is not None:
        values[to] = stored.values[take]
