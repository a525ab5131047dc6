"""From cells to the arrays of a batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from scdata._blocks import Array
from scdata._cached import cached_property
from scdata.batch.cell_tokens import CellTokens
from scdata.batch.collate import dense_rows, pad_flat, pad_rows, ranks_from_top, width_of
from scdata.batch.made_cells import MadeCells
from scdata.batch.options import Options
from scdata.batch.task import task_of
from scdata.stream.buffers import BufferPool
from scdata.tokens.preset import Preset
from scdata.tokens.sequence import Ragged

OF_OURS = ("total_counts", "vocab_counts")  # columns that every set has, on request
MEASURED = "measured"


class BatchMaker:
    """Makes batches of cells; has no state that changes, so threads may share it.

    Parameters
    ----------
    tokens
        How the cells of each set became tokens: of one vocabulary.
    options
        What the loader was asked for.
    dtype
        Type of ids (padded, packed) or values (dense); None: int32 ids, values as they are.
    """

    def __init__(self, tokens: Sequence[CellTokens], options: Options, dtype: npt.DTypeLike | None) -> None:
        self._tokens, self._all, self._options = tokens[0], tuple(tokens), options
        self._dtype = None if dtype is None else np.dtype(dtype)
        self._task = task_of(options, tokens[0])

    @cached_property
    def _measured(self) -> Array:
        """bool (D, G): which columns of a dense batch each dataset measured; datasets of all sets, one after the other."""
        return np.concatenate([own.measured for own in self._all])

    def make(self, cells: MadeCells, number: int, pool: BufferPool) -> dict[str, Any]:
        """The batch of some cells, as arrays.

        Parameters
        ----------
        number
            Number of the global batch in its epoch.
        pool
            Where large arrays come from.
        """
        batch = self._collate(cells, number, pool)
        # copies: views would keep the columns of a whole chunk in memory
        batch |= {key: column.copy() for key, column in cells.columns.items()}
        if MEASURED in self._options.columns:
            batch[MEASURED] = self._measured[batch["dataset"]]
        return batch

    @property
    def _preset(self) -> Preset:
        return self._tokens.tokenizer.preset

    def _collate(self, cells: MadeCells, number: int, pool: BufferPool) -> dict[str, Any]:
        ragged, targets, depths = cells.tokens.ragged, cells.tokens.targets, cells.tokens.depths
        if self._options.output == "dense":
            own = {} if depths is None else {"depths": depths.copy()}
            return {**self._dense_batch(ragged, targets, cells, number, pool), **own}
        batch = (
            self._packed(ragged, targets) if self._options.output == "packed" else self._padded(ragged, targets, pool)
        )
        if self._task is not None:
            added = self._task.of_tokens(ragged, cells.draws, number, self._dtype, pool.take)
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
        self, ragged: Ragged, targets: Ragged | None, cells: MadeCells, number: int, pool: BufferPool
    ) -> dict[str, Any]:
        values = self._dense(ragged, pool)
        missing = self._preset.value.missing
        measured = self._measured[cells.columns["dataset"]] if missing is not None or self._task is not None else None
        batch = {"values": values}
        if targets is not None:
            batch["targets"] = self._dense(targets, pool)
        if missing is not None and measured is not None:
            for array in batch.values():
                array[~measured] = missing
        if self._task is not None and measured is not None:
            added = self._task.of_columns(values, self._tokens.map.dense_tokens, measured, cells.draws, number)
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
