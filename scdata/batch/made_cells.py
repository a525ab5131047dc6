"""Cells as tokens, before they are collated: made set by set, joined where a batch has cells of several sets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scdata._backend import backend
from scdata._blocks import Array
from scdata.batch.cell_tokens import CellTokens, Tokens
from scdata.batch.machine import Memory
from scdata.batch.pairs import Pairs
from scdata.shard.block import StoredBlock
from scdata.shard.cells import OBS
from scdata.stream.gather import GatheredCells, gather_cells
from scdata.stream.places import Places
from scdata.tokens.sequence import Draws, JoinedDraws, Ragged

ALWAYS = ("cell_id", "dataset")


@dataclass(frozen=True)
class MadeCells:
    """C cells.

    Parameters
    ----------
    tokens
        Their tokens.
    columns
        Per-cell columns of a batch by key, (C,) each.
    draws
        Where their random numbers come from.
    controls
        The controls beside them, row for row, where cells are paired.
    """

    tokens: Tokens
    columns: Mapping[str, Array]
    draws: Draws
    controls: "MadeCells | None" = None

    @property
    def n_cells(self) -> int:
        return len(self.tokens.ragged.indptr) - 1

    def part(self, part: slice) -> "MadeCells":
        """Some of the cells, without copying."""
        tokens = self.tokens
        own = Tokens(
            tokens.ragged.rows(part),
            None if tokens.targets is None else tokens.targets.rows(part),
            None if tokens.depths is None else tokens.depths[part],
        )
        columns = {key: column[part] for key, column in self.columns.items()}
        controls = None if self.controls is None else self.controls.part(part)
        return MadeCells(own, columns, self.draws.part(part), controls)


def joined(parts: Sequence[MadeCells], seed: int, epoch: int, memory: Memory) -> MadeCells:
    """Cells one after the other; `seed` and `epoch` are for what is drawn once a batch."""
    targets = [part.tokens.targets for part in parts if part.tokens.targets is not None]
    depths = [part.tokens.depths for part in parts if part.tokens.depths is not None]
    concatenate = backend(parts[0].tokens.ragged.indptr).concatenate
    tokens = Tokens(
        Ragged.joined([part.tokens.ragged for part in parts], memory.take),
        Ragged.joined(targets, memory.take) if targets else None,
        concatenate(depths) if depths else None,
    )
    columns = {key: concatenate([part.columns[key] for part in parts]) for key in parts[0].columns}
    controls = [part.controls for part in parts if part.controls is not None]
    draws = JoinedDraws.of([part.draws for part in parts], seed, epoch)
    return MadeCells(tokens, columns, draws, joined(controls, seed, epoch, memory) if controls else None)


class CellMaker:
    """Makes cells of one set; has no state that changes, so threads may share it.

    Parameters
    ----------
    tokens
        How cells become tokens.
    columns
        Keys of a batch and the stored columns behind them.
    recoded
        For some keys, what stands in place of each code (the last entry is for −1), or the type of numbers. None: all are as
        stored.
    number
        The number of the set in a mix, a column ``set``; None: none.
    pairs
        Pairs each cell with a control; None: there are none.
    """

    def __init__(
        self,
        tokens: CellTokens,
        columns: Mapping[str, str],
        recoded: Mapping[str, Array | np.dtype[Any]] | None = None,
        number: int | None = None,
        pairs: Pairs | None = None,
    ) -> None:
        self._tokens, self._recoded, self._number, self._pairs = tokens, recoded or {}, number, pairs
        self._keys = {**dict(zip(ALWAYS, ALWAYS, strict=True)), **columns}
        self._stored = tuple(dict.fromkeys([*self._keys.values(), *tokens.columns]))

    def make(self, places: Places, get: Callable[[int], StoredBlock], memory: Memory, epoch: int) -> MadeCells:
        """The cells at some places: decoded here, made to tokens on the machine of `memory`.

        Parameters
        ----------
        get
            Number of a block → the block.
        memory
            Where large arrays come from.
        epoch
            For random cuts and ties, and which control is whose.
        """
        made = self._make(places, get, memory, epoch)
        if self._pairs is None:
            return made
        controls = self._pairs.places(places, get, epoch)
        return replace(made, controls=self._make(controls, self._pairs.get, memory, epoch))

    def _make(self, places: Places, get: Callable[[int], StoredBlock], memory: Memory, epoch: int) -> MadeCells:
        cells = gather_cells(get, places.block, places.row, self._tokens.table, self._stored, memory.buffer)
        columns = {key: cells.columns[stored] for key, stored in self._keys.items()}
        if self._tokens.aux_column is not None:
            columns["aux_token_ids"] = self._tokens.aux_of_code[cells.columns[OBS + self._tokens.aux_column]]
        for key, other in self._recoded.items():
            columns[key] = columns[key].astype(other) if isinstance(other, np.dtype) else other[columns[key]]
        if self._number is not None:
            columns["set"] = np.full(len(places.block), self._number, np.int32)
        cells, columns, occurrence = _sent(cells, columns, places.occurrence, memory)
        draws = self._tokens.draws(cells, epoch, occurrence)
        return MadeCells(self._tokens.tokens(cells, draws), columns, draws)


def _sent(
    cells: GatheredCells, columns: Mapping[str, Array], occurrence: Array | None, memory: Memory
) -> tuple[GatheredCells, dict[str, Array], Array | None]:
    """The same where `memory` is."""
    arrays: dict[tuple[str, str], Array] = {("", "indptr"): cells.indptr, ("", "ids"): cells.ids}
    if cells.values is not None:
        arrays["", "values"] = cells.values
    if occurrence is not None:
        arrays["", "occurrence"] = occurrence
    arrays |= {("stored", name): column for name, column in cells.columns.items()}
    arrays |= {("made", name): column for name, column in columns.items()}
    there = memory.sent(arrays)
    stored, made = ({name: array for (of, name), array in there.items() if of == kind} for kind in ("stored", "made"))
    own = GatheredCells(there["", "indptr"], there["", "ids"], there.get(("", "values")), stored)
    return own, made, there.get(("", "occurrence"))
