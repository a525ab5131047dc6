"""Hashes of cells, added up over ranges of cell_id: equal sums, in any order, are equal cells."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from scdata._blocks import I64, Array
from scdata.build.against.records import PlacedCells, cells_of_shard, cells_of_source
from scdata.build.plan import load_plan
from scdata.shard.block import COUNTS
from scdata.shard.shard_set import ShardSet
from scdata.source import CountSource

RANGE_CELLS = 4096  # cell_ids of a range: as many as are looked at closely where two sums differ
_LOW = (1 << 64) - 1


@dataclass
class Digests:
    """What is added up over some cells.

    Parameters
    ----------
    first
        The range that the first row of `sums` is of.
    sums
        uint64 (ranges, 3): cells, and both halves of the sum of their 128-bit hashes, modulo 2⁶⁴ each.
    genes
        int64 (G,): counts of each gene code; empty where tokens are stored.
    datasets
        int64 (D,): counts of each dataset.
    drops
        Cells left out: (dataset, reason) → how many.
    """

    first: int
    sums: npt.NDArray[np.uint64]
    genes: I64
    datasets: I64
    drops: dict[tuple[int, str], int]

    @staticmethod
    def empty(first_cell: int, end_cell: int, n_genes: int, n_datasets: int) -> "Digests":
        """Of no cells, with room for those of ``first_cell:end_cell``."""
        first, end = first_cell // RANGE_CELLS, -(-end_cell // RANGE_CELLS)
        genes, datasets = np.zeros(n_genes, np.int64), np.zeros(n_datasets, np.int64)
        return Digests(first, np.zeros((end - first, 3), np.uint64), genes, datasets, {})

    def add(self, placed: PlacedCells) -> None:
        """Add some cells, none of which is outside the ranges there is room for."""
        cells = placed.cells
        hashes = [xxhash.xxh3_128_intdigest(record) for record in placed.records()]
        parts = np.array([(1, h >> 64, h & _LOW) for h in hashes], np.uint64).reshape(-1, 3)
        np.add.at(self.sums, cells.cell_id // RANGE_CELLS - self.first, parts)
        np.add.at(self.datasets, cells.dataset, cells.vocab_counts)
        if len(self.genes) and cells.values is not None:
            self.genes += np.bincount(cells.ids, cells.values, len(self.genes)).astype(np.int64)
        self._add_drops(placed.drops)

    def merge(self, other: "Digests") -> None:
        """Add what another one added up, over ranges that are all among those of this one."""
        start = other.first - self.first
        self.sums[start : start + len(other.sums)] += other.sums
        self.genes += other.genes
        self.datasets += other.datasets
        self._add_drops(other.drops)

    def _add_drops(self, drops: Any) -> None:
        for what, n in drops.items():
            self.drops[what] = self.drops.get(what, 0) + n

    def differing_ranges(self, other: "Digests") -> list[int]:
        """First cell_id of each range whose sums are not those of `other`, which has the same ranges."""
        rows: Array = np.flatnonzero((self.sums != other.sums).any(axis=1))
        return [int(row + self.first) * RANGE_CELLS for row in rows]


def source_task(folder: Path, sources: dict[int, CountSource], number: int) -> dict[str, Any]:
    """Digests of the cells of one task of a plan."""
    plan = load_plan(folder)
    task = plan.tasks[number]
    offset = plan.offsets[task.source]
    n_genes = len(plan.genes.var) if plan.table["encoding"] == COUNTS else 0
    found = Digests.empty(offset + task.start, offset + task.stop, n_genes, len(plan.datasets))
    for placed in cells_of_source(plan, sources, task):
        found.add(placed)
    return {"cells": task.stop - task.start, "digests": found}


def shard_task(path: Path, split: str, shard: int, n_cells_read: int) -> dict[str, Any]:
    """Digests of the cells of one shard of a set that was built from `n_cells_read` cells."""
    shards = ShardSet(path)
    n_genes = shards.n_genes if shards.encoding == COUNTS else 0
    found = Digests.empty(0, n_cells_read, n_genes, len(shards.datasets))
    n_cells = 0
    for _, placed in cells_of_shard(shards, split, shard):
        found.add(placed)
        n_cells += placed.cells.n_cells
    return {"cells": n_cells, "digests": found}
