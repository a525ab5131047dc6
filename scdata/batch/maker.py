"""From cells to the arrays of a batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from scdata._backend import backend, beside, longest_row
from scdata._blocks import Array
from scdata._cached import cached_property
from scdata.batch.cell_tokens import CellTokens
from scdata.batch.collate import dense_rows, lengths_of, pad_flat, pad_rows, ranks_from_top, width_of
from scdata.batch.machine import Memory
from scdata.batch.made_cells import MadeCells
from scdata.batch.options import Options
from scdata.batch.task import task_of
from scdata.tokens.preset import Preset
from scdata.tokens.sequence import Ragged

OF_OURS = ("total_counts", "vocab_counts")  # columns that every set has, on request
MEASURED, CONTROLS = "measured", "controls"


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
    asked
        True: cells are asked what the objective says. Not of controls, which are what a model is given.
    """

    def __init__(
        self, tokens: Sequence[CellTokens], options: Options, dtype: npt.DTypeLike | None, asked: bool = True
    ) -> None:
        self._tokens, self._all, self._options = tokens[0], tuple(tokens), options
        self._dtype = None if dtype is None else np.dtype(dtype)
        self._task = task_of(options, tokens[0]) if asked else None
        self._of_controls = BatchMaker(tokens, options, dtype, False) if asked and options.pair_controls else None

    @cached_property
    def _measured(self) -> Array:
        """bool (D, G): which columns of a dense batch each dataset measured; datasets of all sets, one after the other."""
        return np.concatenate([own.measured for own in self._all])

    def make(self, cells: MadeCells, number: int, memory: Memory) -> dict[str, Any]:
        """The batch of some cells, as arrays.

        Parameters
        ----------
        number
            Number of the global batch in its epoch.
        memory
            Where large arrays come from, on the machine of the cells.
        """
        batch = self._collate(cells, number, memory)
        batch |= {key: memory.apart(column) for key, column in cells.columns.items()}
        if MEASURED in self._options.columns:
            batch[MEASURED] = self._measured_by(cells)
        if self._of_controls is not None and cells.controls is not None:
            batch[CONTROLS] = self._of_controls.make(cells.controls, number, memory)
        return batch

    def _measured_by(self, cells: MadeCells) -> Array:
        dataset = cells.columns["dataset"]
        measured: Array = beside(dataset, self._measured)[dataset]
        return measured

    @property
    def _preset(self) -> Preset:
        return self._tokens.tokenizer.preset

    def _collate(self, cells: MadeCells, number: int, memory: Memory) -> dict[str, Any]:
        ragged, targets, depths = cells.tokens.ragged, cells.tokens.targets, cells.tokens.depths
        if self._options.output == "dense":
            own = {} if depths is None else {"depths": memory.apart(depths)}
            return {**self._dense_batch(ragged, targets, cells, number, memory), **own}
        packed = self._options.output == "packed"
        batch = self._packed(ragged, targets) if packed else self._padded(ragged, targets, memory)
        if self._task is not None:
            added = self._task.of_tokens(ragged, cells.draws, number, self._dtype, memory.take)
            batch |= self._task.new_keys(batch, added)
        return batch

    def _packed(self, ragged: Ragged, targets: Ragged | None) -> dict[str, Any]:
        own = {"values": ragged.values, "targets": None if targets is None else targets.values}
        return {
            "token_ids": ragged.token_ids.astype(self._dtype or np.int32, copy=False),
            **{key: array for key, array in own.items() if array is not None},
            "cu_seqlens": ragged.indptr.astype(np.int32),
            "max_seqlen": longest_row(ragged.indptr),
        }

    def _padded(self, ragged: Ragged, targets: Ragged | None, memory: Memory) -> dict[str, Any]:
        lengths = lengths_of(ragged.indptr)
        shape = (len(lengths), width_of(lengths, self._options.pad_to, self._tokens.limit))
        batch: dict[str, Any] = {"token_ids": memory.take(shape, self._dtype or np.int32)}
        mask, pad = memory.take(shape, np.bool_), self._preset.value.pad
        values = None if ragged.values is None else memory.take(shape, ragged.values.dtype)
        pad_rows(ragged, batch["token_ids"], values, mask, self._tokens.pad_id, pad)
        if values is not None:
            batch["values"] = values
        if targets is not None and targets.values is not None:
            batch["targets"] = memory.take(shape, targets.values.dtype)
            pad_flat(ragged.indptr, targets.values, batch["targets"], pad)
        return {**batch, "attention_mask": mask, "n_tokens": backend(ragged.indptr).diff(ragged.indptr)}

    def _dense_batch(
        self, ragged: Ragged, targets: Ragged | None, cells: MadeCells, number: int, memory: Memory
    ) -> dict[str, Any]:
        values = self._dense(ragged, memory)
        missing = self._preset.value.missing
        measured = self._measured_by(cells) if missing is not None or self._task is not None else None
        batch = {"values": values}
        if targets is not None:
            batch["targets"] = self._dense(targets, memory)
        if missing is not None and measured is not None:
            for array in batch.values():
                array[~measured] = missing
        if self._task is not None and measured is not None:
            added = self._task.of_columns(values, self._tokens.map.dense_tokens, measured, cells.draws, number)
            batch |= self._task.new_keys(batch, added)
        return batch

    def _dense(self, ragged: Ragged, memory: Memory) -> Array:
        values = ragged.values
        if values is None:
            before = len(self._preset.genes.prepend) if self._tokens.stored else 0
            values = ranks_from_top(ragged.indptr) - np.int32(before)
        out = memory.take((len(ragged.indptr) - 1, len(self._tokens.map.dense_tokens)), self._dtype or values.dtype)
        dense_rows(Ragged(ragged.indptr, ragged.token_ids, values), self._tokens.map.column_of_token, out)
        return out
