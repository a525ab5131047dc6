"""From a chunk of cells to the arrays of its batches."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from scdata._blocks import Array
from scdata.batch.buffers import BufferPool
from scdata.batch.cell_tokens import CellTokens
from scdata.batch.collate import dense_rows, pad_rows, ranks_from_top, width_of
from scdata.batch.loader import Chunk
from scdata.batch.options import Options
from scdata.shard.block import StoredBlock
from scdata.stream.gather import gather_cells
from scdata.tokens.sequence import Ragged

ALWAYS = ("cell_id", "dataset")
OF_OURS = ("total_counts", "vocab_counts")  # columns that every set has, on request
MEASURED = "measured"


class BatchMaker:
    """Makes batches; has no state that changes, so threads may share it.

    Parameters
    ----------
    tokens
        How cells become tokens.
    options
        What the loader was asked for.
    columns
        Keys of a batch and the stored columns behind them.
    dtype
        Type of ids (padded, packed) or values (dense); None: int32 ids, values as they are.
    """

    def __init__(
        self, tokens: CellTokens, options: Options, columns: Mapping[str, str], dtype: npt.DTypeLike | None
    ) -> None:
        self._tokens, self._options, self._columns = tokens, options, columns
        self._dtype = None if dtype is None else np.dtype(dtype)

    def make(
        self, chunk: Chunk, get: Callable[[int], StoredBlock], pool: BufferPool, epoch: int
    ) -> list[dict[str, Any]]:
        """The batches of a chunk, as arrays.

        Parameters
        ----------
        get
            Number of a block → the block.
        pool
            Where large arrays come from.
        epoch
            For random cuts and ties.
        """
        columns = tuple(dict.fromkeys([*ALWAYS, *self._tokens.columns, *self._columns.values()]))
        cells = gather_cells(get, chunk.block, chunk.row, self._tokens.table, columns, pool.take)
        ragged = self._tokens.tokens(cells, epoch)
        batches, low = [], 0
        for size in chunk.sizes:
            part = slice(low, low + size)
            batch = self._collate(_rows(ragged, part), pool)
            for key, stored in [*zip(ALWAYS, ALWAYS, strict=True), *self._columns.items()]:
                # a copy: a view would keep the columns of the whole chunk in memory
                batch[key] = cells.columns[stored][part].copy()
            if MEASURED in self._options.columns:
                batch[MEASURED] = self._tokens.measured[batch["dataset"]]
            batches.append(batch)
            low += size
        return batches

    def _collate(self, ragged: Ragged, pool: BufferPool) -> dict[str, Any]:
        if self._options.output == "dense":
            return {"values": self._dense(ragged, pool)}
        lengths = np.diff(ragged.indptr)
        if self._options.output == "packed":
            return {
                "token_ids": ragged.token_ids.astype(self._dtype or np.int32, copy=False),
                **({} if ragged.values is None else {"values": ragged.values}),
                "cu_seqlens": ragged.indptr.astype(np.int32),
                "max_seqlen": int(lengths.max(initial=0)),
            }
        shape = (len(lengths), width_of(lengths, self._options.pad_to, self._tokens.limit))
        ids, mask = pool.take(shape, self._dtype or np.int32), pool.take(shape, np.bool_)
        values = None if ragged.values is None else pool.take(shape, ragged.values.dtype)
        pad_rows(ragged, ids, values, mask, self._tokens.pad_id, self._tokens.tokenizer.preset.value.pad)
        return {
            "token_ids": ids,
            **({} if values is None else {"values": values}),
            "attention_mask": mask,
            "n_tokens": lengths,
        }

    def _dense(self, ragged: Ragged, pool: BufferPool) -> Array:
        values = ragged.values
        if values is None:
            before = len(self._tokens.tokenizer.preset.genes.prepend) if self._tokens.stored else 0
            values = ranks_from_top(ragged.indptr) - np.int32(before)
        out = pool.take((len(ragged.indptr) - 1, len(self._tokens.dense_tokens)), self._dtype or values.dtype)
        dense_rows(Ragged(ragged.indptr, ragged.token_ids, values), self._tokens.column_of_token, out)
        return out


def _rows(ragged: Ragged, part: slice) -> Ragged:
    """Some rows, without copying."""
    start, stop = ragged.indptr[part.start], ragged.indptr[part.stop]
    values = None if ragged.values is None else ragged.values[start:stop]
    return Ragged(ragged.indptr[part.start : part.stop + 1] - start, ragged.token_ids[start:stop], values)
