"""A cell as one string of bytes: the same, whether it comes from a set or from its source."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from scdata._blocks import I64, Array
from scdata.build.plan import Plan, Task
from scdata.build.reading import read_mapped
from scdata.build.scatter import numbered_genes, tokens_of
from scdata.shard.block import parse_block
from scdata.shard.cells import Cells
from scdata.shard.shard_set import ShardSet
from scdata.source import CountSource


@dataclass(frozen=True)
class PlacedCells:
    """C cells, and where they stand.

    Parameters
    ----------
    cells
        As a block holds them.
    obs_names
        Names in the source.
    split
        int64 (C,): number of each one's split, among their sorted names.
    drops
        Cells that the source has beside them: (dataset, reason) → how many.
    """

    cells: Cells
    obs_names: pa.Array
    split: I64
    drops: Mapping[tuple[int, str], int]

    def records(self) -> Iterator[bytes]:
        """All that is known of each cell."""
        cells = self.cells
        obs = [_words(cells.obs[name]) for name in sorted(cells.obs)]
        heads = np.stack(
            [cells.cell_id, _words(cells.dataset), cells.total_counts, cells.vocab_counts, self.split, *obs], axis=1
        )
        ids = np.ascontiguousarray(cells.ids, np.int32).view(np.uint8).data
        values = memoryview(b"") if cells.values is None else _narrow(cells.values).view(np.uint8).data
        bounds = (cells.indptr * 4).tolist()
        for i, name in enumerate(self.obs_names.to_pylist()):
            part = slice(bounds[i], bounds[i + 1])
            yield b"".join((heads[i].tobytes(), ids[part], values[part], (name or "").encode()))


def _narrow(values: Array) -> Array:
    return np.ascontiguousarray(values, np.float32 if values.dtype.kind == "f" else np.int32)


def _words(column: Array) -> I64:
    """int64 (C,): integers as they are, floats by their bits, every NaN by the same ones."""
    if column.dtype.kind != "f":
        return column.astype(np.int64)
    wide = column.astype(np.float64)
    wide[np.isnan(wide)] = np.nan
    return wide.view(np.int64)


def cells_of_source(plan: Plan, sources: Mapping[int, CountSource], task: Task) -> Iterator[PlacedCells]:
    """The cells of a task, read and tokenized again, slice by slice."""
    slices = read_mapped(plan, sources, task, numbered_genes(plan))
    number_of = np.argsort(np.argsort(plan.splits))
    for found, own_counts, ragged in tokens_of(plan, slices, "cpu"):
        values = ragged.values
        cells = Cells(
            indptr=ragged.indptr,
            ids=ragged.token_ids.astype(np.int32),
            values=None if values is None else _narrow(values),
            cell_id=found.cell_id,
            dataset=found.dataset,
            total_counts=found.total_counts,
            vocab_counts=own_counts,
            obs={column.name: column.encode(found.obs[column.name]) for column in plan.obs_columns},
        )
        split = number_of[plan.splitter.assign(found.cell_id, found.obs)]
        yield PlacedCells(cells, found.obs_names.cast(pa.string()), split, found.drops)


def cells_of_shard(shards: ShardSet, split: str, shard: int) -> Iterator[tuple[int, PlacedCells]]:
    """The cells of a shard, block by block, each with its number."""
    blocks, number = shards.blocks(split), sorted(shards.splits).index(split)
    names = shards.read_obs_of(split, shard, ["obs_name"])["obs_name"].combine_chunks()
    data, first = shards.shard_path(split, shard).read_bytes(), 0
    for i in np.flatnonzero(blocks.shard == shard):
        offset, length = int(blocks.offset[i]), int(blocks.length[i])
        cells = parse_block(data[offset : offset + length]).decode()
        own = names.slice(first, cells.n_cells)
        first += cells.n_cells
        yield int(blocks.block[i]), PlacedCells(cells, own, np.full(cells.n_cells, number), {})
