"""The objective of a loader, and what it adds to a batch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from scdata._backend import backend, beside, longest_row
from scdata._blocks import I32, I64, Array
from scdata.batch.cell_tokens import CellTokens
from scdata.batch.collate import lengths_of, pad_flat, width_of
from scdata.batch.objectives.base import Cells, Column, Objective, Rows, Setting, eligible_tokens
from scdata.batch.objectives.joint_embedding import JointEmbedding
from scdata.batch.options import Options
from scdata.tokens.sequence import Draws, Ragged

Take = Callable[[tuple[int, int], npt.DTypeLike], Array]


@dataclass(frozen=True)
class Task:
    """An objective with what it is used with.

    Parameters
    ----------
    objective
        The objective.
    setting
        The tokenizer, the output, the length of cells.
    pad_to
        Width of padded batches, as a loader is asked for it.
    """

    objective: Objective
    setting: Setting
    pad_to: int | str | None

    def of_tokens(
        self, ragged: Ragged, draws: Draws, number: int, dtype: npt.DTypeLike | None, take: Take
    ) -> dict[str, Any]:
        """What is added to a padded or packed batch of cells, on their machine.

        Parameters
        ----------
        ragged, draws
            The cells, and where their random numbers come from.
        number
            Number of the global batch.
        dtype
            Type of token ids; None: as they are.
        take
            Where padded arrays come from.
        """
        eligible = eligible_tokens(ragged, self.setting)
        packed = self.setting.output == "packed"
        width = None if packed else self._width(ragged.indptr)
        cells = Cells(ragged.indptr, ragged.token_ids, ragged.values, eligible, draws, number, width)
        own = Rows(ragged.indptr, "", width)
        batch: dict[str, Any] = {}
        widths: dict[int, int] = {}  # by the id of rows: a device is asked once for each
        for key, found in self.objective.apply(cells, self.setting).items():
            if not isinstance(found, Column):
                batch[key] = found
                continue
            is_id = key.endswith("token_ids") and found.array.dtype == np.int32
            kind = np.dtype(dtype) if is_id and dtype is not None else found.array.dtype
            rows = found.rows or own
            if not packed:
                width = rows.width
                if width is None:
                    if id(rows) not in widths:
                        widths[id(rows)] = self._width(rows.indptr)
                    width = widths[id(rows)]
                batch[key] = take((cells.n_cells, width), kind)
                pad_flat(rows.indptr, found.array, batch[key], found.pad)
                continue
            batch[key] = found.array.astype(kind, copy=False)
            if rows is not own and f"{rows.name}_cu_seqlens" not in batch:
                batch[f"{rows.name}_cu_seqlens"] = rows.indptr.astype(np.int32)
                batch[f"{rows.name}_max_seqlen"] = longest_row(rows.indptr)
        return batch

    def _width(self, indptr: I64) -> int:
        return width_of(lengths_of(indptr), self.pad_to, self.setting.limit)

    def new_keys(self, batch: dict[str, Any], added: dict[str, Any]) -> dict[str, Any]:
        """What is `added`, which must be new to the batch: an objective never changes what a cell is."""
        if taken := sorted(added.keys() & batch.keys()):
            raise ValueError(
                f"{type(self.objective).__name__} gives {taken}, which batches have already: name them otherwise"
            )
        return added

    def of_columns(self, values: Array, tokens: I32, measured: Array, draws: Draws, number: int) -> dict[str, Any]:
        """What is added to a dense batch: `values` (B, G) of genes `tokens` (G,), of which `measured` bool (B, G) tells."""
        xp = backend(values)
        indptr = xp.arange(len(values) + 1, dtype=np.int64) * values.shape[1]
        if xp is np:
            flat = np.tile(tokens, len(values))
        else:
            flat = beside(values, tokens)[xp.arange(values.size) % max(values.shape[1], 1)]
        cells = Cells(indptr, flat, values.ravel(), measured.ravel(), draws, number)
        added = self.objective.apply(cells, self.setting)
        return {k: v.array.reshape(values.shape) if isinstance(v, Column) else v for k, v in added.items()}


def task_of(options: Options, tokens: CellTokens) -> Task | None:
    """The objective that a loader was asked for, or that of the preset's ``[mask]``; None where there is neither.

    Raises
    ------
    TokenizerError, ValueError
        If the tokenizer or the output does not go with it.
    """
    objective, mask = options.objective, tokens.tokenizer.preset.mask
    if objective is None:
        if mask is None:
            return None
        objective = JointEmbedding(rate=mask.fraction)
    limits = [limit for limit in (tokens.limit, options.pad_to) if isinstance(limit, int)]
    setting = Setting(tokens.tokenizer, options.output, min(limits, default=None), tokens.pad_id)
    objective.check(setting)
    return Task(objective, setting, options.pad_to)
