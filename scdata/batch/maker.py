"""From a chunk of cells to the arrays of its batches."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from scdata._blocks import I32, Array
from scdata.batch.buffers import BufferPool
from scdata.batch.cell_tokens import CellTokens, Tokens
from scdata.batch.collate import dense_rows, pad_flat, pad_rows, ranks_from_top, width_of
from scdata.batch.hidden import hidden_columns, hidden_view
from scdata.batch.loader import Chunk
from scdata.batch.options import Options
from scdata.shard.block import StoredBlock
from scdata.shard.cells import OBS
from scdata.stream.gather import gather_cells
from scdata.tokens.preset import Preset
from scdata.tokens.sequence import Draws, Ragged

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
        tokens = self._tokens.tokens(cells, epoch)
        draws = self._tokens.draws(cells, epoch) if self._preset.mask is not None else None
        batches, low = [], 0
        for size in chunk.sizes:
            part = slice(low, low + size)
            batch = self._collate(tokens, part, cells.columns["dataset"][part], draws, pool)
            for key, stored in [*zip(ALWAYS, ALWAYS, strict=True), *self._columns.items()]:
                # a copy: a view would keep the columns of the whole chunk in memory
                batch[key] = cells.columns[stored][part].copy()
            if MEASURED in self._options.columns:
                batch[MEASURED] = self._tokens.measured[batch["dataset"]]
            if self._tokens.aux_column is not None:
                batch["aux_token_ids"] = self._tokens.aux_of_code[cells.columns[OBS + self._tokens.aux_column][part]]
            batches.append(batch)
            low += size
        return batches

    @property
    def _preset(self) -> Preset:
        return self._tokens.tokenizer.preset

    def _collate(
        self, tokens: Tokens, part: slice, dataset: I32, draws: Draws | None, pool: BufferPool
    ) -> dict[str, Any]:
        ragged = _rows(tokens.ragged, part)
        targets = None if tokens.targets is None else _rows(tokens.targets, part)
        target_values = None if targets is None else targets.values
        if draws is not None:
            draws = Draws(draws.seed, draws.epoch, draws.cell_id[part])
        if self._options.output == "dense":
            depths = {} if tokens.depths is None else {"depths": tokens.depths[part].copy()}
            return {**self._dense_batch(ragged, targets, dataset, draws, pool), **depths}
        lengths = np.diff(ragged.indptr)
        hidden, masked = None, None
        if draws is not None and ragged.values is not None:
            hidden, masked = hidden_view(self._tokens.tokenizer, ragged, draws)
        if self._options.output == "packed":
            own = {"targets": target_values, "masked_values": masked, "masked": hidden}
            return {
                "token_ids": ragged.token_ids.astype(self._dtype or np.int32, copy=False),
                **({} if ragged.values is None else {"values": ragged.values}),
                **{key: array for key, array in own.items() if array is not None},
                "cu_seqlens": ragged.indptr.astype(np.int32),
                "max_seqlen": int(lengths.max(initial=0)),
            }
        shape = (len(lengths), width_of(lengths, self._options.pad_to, self._tokens.limit))
        batch: dict[str, Any] = {"token_ids": pool.take(shape, self._dtype or np.int32)}
        mask, pad = pool.take(shape, np.bool_), self._preset.value.pad
        values = None if ragged.values is None else pool.take(shape, ragged.values.dtype)
        pad_rows(ragged, batch["token_ids"], values, mask, self._tokens.pad_id, pad)
        flat = {"targets": (target_values, pad), "masked_values": (masked, pad), "masked": (hidden, 0)}
        if values is not None:
            batch["values"] = values
        for key, (array, behind) in flat.items():
            if array is not None:
                batch[key] = pool.take(shape, array.dtype)
                pad_flat(ragged.indptr, array, batch[key], mask, behind)
        return {**batch, "attention_mask": mask, "n_tokens": lengths}

    def _dense_batch(
        self, ragged: Ragged, targets: Ragged | None, dataset: I32, draws: Draws | None, pool: BufferPool
    ) -> dict[str, Any]:
        values = self._dense(ragged, pool)
        missing = self._preset.value.missing
        unmeasured = ~self._tokens.measured[dataset] if missing is not None or draws is not None else None
        batch = {"values": values}
        if targets is not None:
            batch["targets"] = self._dense(targets, pool)
        if missing is not None:
            for array in batch.values():
                array[unmeasured] = missing
        if draws is not None:
            batch["masked_values"], batch["masked"] = hidden_columns(
                self._preset, values, self._tokens.map.dense_tokens, unmeasured, draws
            )
        return batch

    def _dense(self, ragged: Ragged, pool: BufferPool) -> Array:
        values = ragged.values
        if values is None:
            before = len(self._preset.genes.prepend) if self._tokens.stored else 0
            values = ranks_from_top(ragged.indptr) - np.int32(before)
        out = pool.take((len(ragged.indptr) - 1, len(self._tokens.map.dense_tokens)), self._dtype or values.dtype)
        dense_rows(Ragged(ragged.indptr, ragged.token_ids, values), self._tokens.map.column_of_token, out)
        return out


def _rows(ragged: Ragged, part: slice) -> Ragged:
    """Some rows, without copying."""
    start, stop = ragged.indptr[part.start], ragged.indptr[part.stop]
    values = None if ragged.values is None else ragged.values[start:stop]
    return Ragged(ragged.indptr[part.start : part.stop + 1] - start, ragged.token_ids[start:stop], values)
