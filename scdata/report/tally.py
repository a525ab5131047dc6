"""One pass over the cells of a set: everything that is counted of all of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scdata._blocks import I32, I64, Array
from scdata.build.progress import Progress
from scdata.normalize.moments import GeneMoments
from scdata.shard.block import COUNTS
from scdata.shard.cells import OBS
from scdata.shard.shard_set import ShardSet
from scdata.stream.blocks import BlockReader
from scdata.stream.gather import GatheredCells, gather_cells

MOST_CELLS = 500_000  # whose depths are kept, for medians
_MOST_VALUES = 20  # whole numbers of a column that is counted value by value
_MOST_WHOLE = 1 << 53
_OF_A_CELL = ("dataset", "total_counts")


@dataclass
class NumberColumn:
    """A column of numbers: exact minimum, maximum and mean, and some values, of all or of a fair sample of the cells.

    Parameters
    ----------
    null
        int64 (S,): NaN, by split.
    low, high, total
        Over the values that are not NaN.
    n
        Such values.
    counts
        By value, int64 (S,): cells, for few whole numbers; None: there are too many, or others.
    sample
        Values of the cells whose depths are kept.
    """

    null: I64
    low: float = np.inf
    high: float = -np.inf
    total: float = 0.0
    n: int = 0
    counts: dict[int, I64] | None = field(default_factory=dict)
    sample: list[Array] = field(default_factory=list)

    def add(self, split: int, values: Array, n_kept: int) -> None:
        """Take in the values of some cells of a split; the first `n_kept` are kept."""
        self.sample.append(values[:n_kept].copy())
        known = values[~np.isnan(values)] if values.dtype.kind == "f" else values
        self.n += len(known)
        self.null[split] += len(values) - len(known)
        if not len(known):
            return
        self.low, self.high = min(self.low, float(known.min())), max(self.high, float(known.max()))
        self.total += float(known.sum(dtype=np.float64))
        if self.counts is None:
            return
        # whole numbers with nulls among them are stored as float64
        if (known.dtype.kind == "f" and not (np.abs(known) < _MOST_WHOLE).all()) or (known != np.floor(known)).any():
            self.counts = None
            return
        distinct, n = np.unique(known, return_counts=True)
        for value, number in zip(distinct.tolist(), n.tolist(), strict=True):
            self.counts.setdefault(int(value), np.zeros_like(self.null))[split] += number
        if len(self.counts) > _MOST_VALUES:
            self.counts = None


@dataclass
class Tally:
    """What was counted; S splits, D datasets, G genes in the order of `ShardSet.var`.

    Parameters
    ----------
    cells
        int64 (S, D): cells by split and dataset.
    categories
        By column of strings: int64 (S, K + 1), cells by split and value, those of null last.
    numbers
        By column of numbers.
    detected
        int64 (G,): cells that express a gene, or have its token.
    counts
        int64 (G,): sum of its counts; None for a set of tokens.
    dataset, total_counts, n_tokens
        Of up to `MOST_CELLS` cells, a fair sample: the first of every split, in proportion.
    """

    cells: I64
    categories: dict[str, I64]
    numbers: dict[str, NumberColumn]
    detected: I64
    counts: I64 | None
    dataset: Array = field(default_factory=lambda: np.empty(0, np.int32))
    total_counts: Array = field(default_factory=lambda: np.empty(0, np.int64))
    n_tokens: Array = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def n_cells(self) -> int:
        return int(self.cells.sum())

    @property
    def sampled(self) -> bool:
        """True if depths are those of a sample."""
        return len(self.dataset) < self.n_cells


def tally(shards: ShardSet, progress: Progress | None = None, most: int = MOST_CELLS) -> Tally:
    """Count all cells of a set, block by block; memory does not grow with their number.

    Parameters
    ----------
    progress
        Where to say how far it is; None: nowhere.
    most
        Cells whose depths are kept.

    Raises
    ------
    CorruptShardError
        If a block is not what was written.
    """
    n_splits, n_genes = len(shards.splits), shards.n_genes
    is_counts = shards.encoding == COUNTS
    columns = [column["name"] for column in shards.manifest["obs"]]
    found = Tally(
        np.zeros((n_splits, len(shards.datasets)), np.int64),
        {name: np.zeros((n_splits, len(shards.categories[name]) + 1), np.int64)
         for name in columns if name in shards.categories},
        {name: NumberColumn(np.zeros(n_splits, np.int64)) for name in columns if name not in shards.categories},
        np.zeros(n_genes, np.int64),
        np.zeros(n_genes, np.int64) if is_counts else None,
    )  # fmt: skip
    n_cells = int(shards.manifest["n_cells"])
    kept: list[tuple[Array, Array, Array]] = []
    row_of_token = None if is_counts else _rows(shards)
    with (progress or Progress()).phase("cells", n_cells) as advance:
        for number, split in enumerate(shards.splits):
            left = -(-most * int(shards.blocks(split).n_cells.sum()) // max(most, n_cells))
            for cells in _blocks(shards, split, columns):
                n = len(cells.indptr) - 1
                dataset, total = (cells.columns[name] for name in _OF_A_CELL)
                found.cells[number] += np.bincount(dataset, minlength=found.cells.shape[1])
                for name, table in found.categories.items():
                    codes = cells.columns[OBS + name]
                    table[number] += np.roll(np.bincount(codes + 1, minlength=table.shape[1]), -1)
                for name, column in found.numbers.items():
                    column.add(number, cells.columns[OBS + name], left)
                kept.append((dataset[:left].copy(), total[:left].copy(), np.diff(cells.indptr)[:left]))
                left = max(0, left - n)
                _count(found, cells, row_of_token)
                advance(n)
    if kept:
        found.dataset, found.total_counts, found.n_tokens = (np.concatenate(part) for part in zip(*kept, strict=True))
    return found


def _blocks(shards: ShardSet, split: str, columns: Sequence[str]) -> Iterator[GatheredCells]:
    """The cells of a split, block after block; ids of counts are rows of `var`."""
    table: I32 | None = None
    if shards.encoding == COUNTS:
        table = np.empty(shards.n_genes, np.int32)
        table[shards.var["code"].to_numpy()] = np.arange(shards.n_genes, dtype=np.int32)
    names = [*_OF_A_CELL, *(OBS + name for name in columns)]
    with BlockReader(shards, split, 1) as reader:
        for number, n in enumerate(shards.blocks(split).n_cells.tolist()):
            if n:
                yield gather_cells(reader.get, np.full(n, number), np.arange(n), table, names, np.empty)


def _rows(shards: ShardSet) -> I32:
    """int32: row of `var` of each token id; −1 for special tokens."""
    out = np.full(shards.tokenizer.genes().n_tokens, -1, np.int32)
    out[shards.var["token_id"].to_numpy()] = np.arange(shards.n_genes, dtype=np.int32)
    return out


def _count(found: Tally, cells: GatheredCells, row_of_token: I32 | None) -> None:
    """Add the genes of some cells."""
    if row_of_token is None:
        assert found.counts is not None  # a set of counts
        values: Any = cells.values
        moments = GeneMoments.of(cells.indptr, cells.ids, values, len(found.detected))
        found.detected += moments.expressing[0]
        found.counts += moments.total[0]
        return
    rows = row_of_token[cells.ids]
    found.detected += np.bincount(rows[rows >= 0], minlength=len(found.detected))


def largest_split(shards: ShardSet) -> str:
    """The split of most cells."""
    return max(shards.splits, key=lambda split: shards.manifest["splits"][split]["n_cells"])
