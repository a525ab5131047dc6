"""Which cells of a split a loader streams: those that pass a filter on obs, or the first N of them."""

from dataclasses import dataclass

import numpy as np

from scdata._blocks import I64, Array
from scdata._obs_filter import ObsFilter
from scdata.shard.shard_set import ShardSet
from scdata.stream.obs import iter_obs


@dataclass(frozen=True)
class Selection:
    """The cells of a split that are streamed. A bit a cell of the split, and 16 bytes a block.

    Parameters
    ----------
    n_cells
        int64 (blocks,): how many of each block.
    starts
        int64 (blocks + 1,): where each block's cells begin in the split.
    bits
        uint8: bit i (least significant first) says whether cell i of the split is among them. None: those before
        the first that is not.
    """

    n_cells: I64
    starts: I64
    bits: Array | None = None

    @classmethod
    def of(cls, kept: Array, starts: I64) -> "Selection":
        """The cells of a split at which `kept`, bool, is True."""
        n_cells, some = np.zeros(len(starts) - 1, np.int64), np.diff(starts) > 0
        n_cells[some] = np.add.reduceat(kept, starts[:-1][some], dtype=np.int64)
        return cls(n_cells, starts, np.packbits(kept, bitorder="little"))

    def cells(self) -> Array:
        """bool: which cells of the split are streamed."""
        n = int(self.starts[-1])
        if self.bits is not None:
            return np.unpackbits(self.bits, count=n, bitorder="little").view(bool)
        kept = np.zeros(n, bool)
        kept[: self.n_cells.sum()] = True
        return kept

    def kept(self, block: int) -> Array | None:
        """bool (C,): which cells of a block are streamed; None: all."""
        start, stop = int(self.starts[block]), int(self.starts[block + 1])
        if self.n_cells[block] == stop - start:
            return None
        if self.bits is None:
            return np.arange(stop - start) < self.n_cells[block]
        bits = np.unpackbits(self.bits[start >> 3 : (stop + 7) >> 3], bitorder="little")
        return bits[start & 7 :][: stop - start].astype(bool)


def select_cells(shards: ShardSet, split: str, text: str | None, subset: int | None) -> Selection:
    """The cells of a split that pass a filter, the first `subset` of them in stored order.

    The stored order is a uniform permutation, so these are a fair sample; smaller subsets are parts of larger ones, and only
    the shards that hold them are read.

    Parameters
    ----------
    text
        A filter on the columns of ``obs/``; NaN counts as null, and passes nothing. None: none.
    subset
        How many cells; None: all.

    Raises
    ------
    ValueError
        If the filter is not of the grammar, nothing passes, or there are fewer cells than asked for.
    LayerNotFoundError
        If the filter names a column that ``obs/`` does not have.
    CorruptShardError
        If obs of a shard is missing, or of another length than the shard.
    """
    sizes = shards.blocks(split).n_cells
    starts = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
    n = int(starts[-1])
    if text is None:
        if subset is None:
            return Selection(sizes, starts)
        if subset > n:
            raise ValueError(f"subset = {subset}: split {split!r} of {shards.path} has {n} cells")
        return Selection(np.clip(subset - starts[:-1], 0, sizes), starts)
    own = ObsFilter(text, "filter")
    mask, at, left = np.zeros(n, bool), 0, n if subset is None else subset
    for table in iter_obs(shards, split, own.columns, own.text):
        passes = np.flatnonzero(own.mask(table))[:left]
        mask[at + passes] = True
        at, left = at + len(table), left - len(passes)
        if left == 0:
            break
    found = int(mask.sum())
    if found == 0 or (subset is not None and found < subset):
        wanted = "" if subset is None else f", {subset} are asked for"
        raise ValueError(f"filter {text!r}: {found} of {n} cells of split {split!r} of {shards.path} pass{wanted}")
    return Selection.of(mask, starts)
