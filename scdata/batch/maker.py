"""From a chunk of cells to the arrays of its batches."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from scdata._blocks import I32, Array
from scdata.batch.cell_tokens import CellTokens, Tokens
from scdata.batch.collate import dense_rows, pad_flat, pad_rows, ranks_from_top, width_of
from scdata.batch.loader import Chunk
from scdata.batch.options import Options
from scdata.batch.task import task_of
from scdata.shard.block import StoredBlock
from scdata.shard.cells import OBS
from scdata.stream.buffers import BufferPool
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
        self._task = task_of(options, tokens)

    def make(
        self, chunk: Chunk, get: Callable[[int], StoredBlock], pool: BufferPool, epoch: int, before: int = 0
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
        before
            Global batches of the epoch before the first one of the plan.
        """
        columns = tuple(dict.fromkeys([*ALWAYS, *self._tokens.columns, *self._columns.values()]))
        places = chunk.cells
        cells = gather_cells(get, places.block, places.row, self._tokens.table, columns, pool.take)
        draws = self._tokens.draws(cells, epoch, places.occurrence)
        tokens = self._tokens.tokens(cells, draws)
        batches, low = [], 0
        for number, size in zip(chunk.numbers, chunk.sizes, strict=True):
            part = slice(low, low + size)
            batch = self._collate(tokens, part, cells.columns["dataset"][part], draws.part(part), before + number, pool)
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
        self, tokens: Tokens, part: slice, dataset: I32, draws: Draws, number: int, pool: BufferPool
    ) -> dict[str, Any]:
        ragged = _rows(tokens.ragged, part)
        targets = None if tokens.targets is None else _rows(tokens.targets, part)
        if self._options.output == "dense":
            depths = {} if tokens.depths is None else {"depths": tokens.depths[part].copy()}
            return {**self._dense_batch(ragged, targets, dataset, draws, number, pool), **depths}
        batch = (
            self._packed(ragged, targets) if self._options.output == "packed" else self._padded(ragged, targets, pool)
        )
        if self._task is not None:
            added = self._task.of_tokens(ragged, draws, number, self._dtype, pool)
            batch |= self._task.new_keys(batch, added)
        return batch

    def _packed(self, ragged: Ragged, targets: Ragged | None) -> dict[str, Any]:
        own = {"values": ragged.values, "targets": None if targets is None else targets.values}
        return {
            "token_ids": ragged.token_ids.astype(self._dtype or np.int32, copy=False),
            **{key: array for key, array in own.items() if array is not None},
            "cu_seqlens": ragged.indptr.astype(np.int32),
            "max_seqlen": int(np.diff(ragged.indptr).max(initial=0)),
        }

    def _padded(self, ragged: Ragged, targets: Ragged | None, pool: BufferPool) -> dict[str, Any]:
        lengths = np.diff(ragged.indptr)
        shape = (len(lengths), width_of(lengths, self._options.pad_to, self._tokens.limit))
        batch: dict[str, Any] = {"token_ids": pool.take(shape, self._dtype or np.int32)}
        mask, pad = pool.take(shape, np.bool_), self._preset.value.pad
        values = None if ragged.values is None else pool.take(shape, ragged.values.dtype)
        pad_rows(ragged, batch["token_ids"], values, mask, self._tokens.pad_id, pad)
        if values is not None:
            batch["values"] = values
        if targets is not None and targets.values is not None:
            batch["targets"] = pool.take(shape, targets.values.dtype)
            pad_flat(ragged.indptr, targets.values, batch["targets"], pad)
        return {**batch, "attention_mask": mask, "n_tokens": lengths}

    def _dense_batch(
        self, ragged: Ragged, targets: Ragged | None, dataset: I32, draws: Draws, number: int, pool: BufferPool
    ) -> dict[str, Any]:
        values = self._dense(ragged, pool)
        missing = self._preset.value.missing
        measured = self._tokens.measured[dataset] if missing is not None or self._task is not None else None
        batch = {"values": values}
        if targets is not None:
            batch["targets"] = self._dense(targets, pool)
        if missing is not None and measured is not None:
            for array in batch.values():
                array[~measured] = missing
        if self._task is not None and measured is not None:
            added = self._task.of_columns(values, self._tokens.map.dense_tokens, measured, draws, number)
            batch |= self._task.new_keys(batch, added)
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
