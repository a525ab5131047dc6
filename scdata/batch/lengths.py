"""How many tokens the cells of a set have, before one is read: for batches of like lengths, and for budgets of tokens."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scdata._blocks import Array
from scdata._errors import CorruptShardError
from scdata.batch.cell_tokens import CellTokens
from scdata.shard.shard_set import ShardSet
from scdata.stream.obs import iter_obs
from scdata.stream.places import Places
from scdata.stream.selection import Selection


class CellLengths:
    """Most tokens of each of the N cells of a selection: two bytes a cell, or four where cells are longer than 65,535.

    Exact for tokens as stored. For a tokenizer on the fly a bound: it may leave genes out.

    Parameters
    ----------
    tokens
        What the cells become.
    """

    def __init__(self, shards: ShardSet, split: str, selection: Selection, tokens: CellTokens) -> None:
        preset = tokens.tokenizer.preset
        around = 0 if tokens.stored else preset.n_around
        limit = tokens.limit
        most = (1 << 32) - 1 if limit is None else limit
        if preset.genes.with_zeros or preset.genes.fill != "none":
            # genes that a cell does not express become tokens too
            self._lengths: Array = np.full(1, min(most, len(tokens.tokenizer.chosen_tokens) + around), np.uint32)
            self._first = np.zeros(len(selection.n_cells), np.int64)
            return
        kept, start, parts = selection.cells(), 0, []
        for table in iter_obs(shards, split, ["n_tokens"], "n_tokens"):
            own = table["n_tokens"]
            if own.null_count or not pa.types.is_integer(own.type) or (len(own) and pc.min(own).as_py() < 0):
                raise CorruptShardError(
                    f"{shards.path}: n_tokens in obs/ of split {split!r} is no number of tokens: restore it"
                )
            own = np.asarray(own.to_numpy(), np.int64)
            parts.append(np.minimum(own[kept[start : start + len(own)]] + around, most).astype(np.uint32))
            start += len(own)
            if parts[-1].max(initial=0) < 1 << 16:
                parts[-1] = parts[-1].astype(np.uint16)
        self._lengths = np.concatenate(parts)
        self._first = np.concatenate(([0], np.cumsum(selection.n_cells)))[:-1]

    @property
    def longest(self) -> int:
        """Tokens of the longest cell."""
        return int(self._lengths.max(initial=0))

    def of(self, places: Places) -> Array:
        """(P,): most tokens of the cells at some places."""
        at = self._first[places.block] + places.row if len(self._lengths) > 1 else np.zeros(len(places.block), np.int64)
        return self._lengths[at]
