"""What every task does first: read its rows in slices, filter the cells, map the genes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scdata._blocks import I32, I64, Array, CellBlock
from scdata._errors import SourceError
from scdata.build.limit import limit_keys
from scdata.build.obs_columns import read_obs
from scdata.build.plan import Plan, Task
from scdata.counts.csr import gather_genes, ragged_rows
from scdata.normalize.library_size import library_size
from scdata.source import CountSource

# A slice holds about this many non-zeros: enough to be read fast, little beside the memory of a task
_SLICE_NNZ = 4_000_000
_SLICE_ROWS = 4096

FILTERED = "obs filter"
EMPTY = "no counts"
UNMAPPED = "no gene of the vocabulary"
LIMITED = "beyond the limit"


@dataclass(frozen=True)
class MappedCells:
    """C cells that go into the set.

    Parameters
    ----------
    indptr, genes, counts
        CSR over genes numbered as asked for, ascending within a cell.
    cell_id, total_counts
        int64 (C,).
    dataset
        int32 (C,): code of the set's datasets.
    obs
        The columns that the plan reads.
    obs_names
        Names in the source.
    drops
        Cells left out: (dataset, reason) → how many.
    """

    indptr: I64
    genes: I32
    counts: I32
    cell_id: I64
    total_counts: I64
    dataset: I32
    obs: pa.Table
    obs_names: pa.Array
    drops: dict[tuple[int, str], int]

    def columns(self) -> dict[str, Array]:
        """The obs columns as arrays, for a tokenizer that divides by one of them."""
        return {name: self.obs[name].to_numpy() for name in self.obs.column_names if name}


def read_mapped(plan: Plan, sources: Mapping[int, CountSource], task: Task, number: I32) -> Iterator[MappedCells]:
    """The cells of a task, slice by slice.

    Parameters
    ----------
    sources
        The sources of the plan by number; that of the task is enough.
    number
        int32 (G,): what to call each gene of the set (its code, its place in the vocabulary).

    Raises
    ------
    ScdataError
        From the source; with a note that names the rows.
    """
    source, fields = sources[task.source], plan.fields
    target = plan.targets[task.source]
    target = np.where(target >= 0, number[target], -1).astype(np.int32) if len(number) else target
    n_numbers = int(number.max(initial=-1)) + 1
    obs_filter, config = plan.obs_filter, plan.table["config"]
    for rows in _slices(source, task):
        try:
            block = source.read(rows)
            obs = read_obs(source.obs, source.obs_schema, rows, fields, list(fields))
        except Exception as error:
            error.add_note(f"while reading rows {rows.start} to {rows.stop} of {source.uri}")
            raise
        dataset = block.dataset + np.int32(plan.dataset_offsets[task.source])
        try:
            indptr, genes, counts = gather_genes(block.indptr, block.indices, block.data, target, n_numbers)
        except OverflowError as error:
            raise SourceError(f"{source.uri}, rows {rows.start} to {rows.stop}: {error}") from error
        total = library_size(block.indptr, block.data)
        cell_id = plan.offsets[task.source] + block.rows
        # a cell is dropped for the first reason that holds
        left_out: list[tuple[str, npt.NDArray[np.bool_]]] = []
        if obs_filter is not None:
            left_out.append((FILTERED, ~obs_filter.mask(obs)))
        if plan.limit_key is not None:
            left_out.append((LIMITED, limit_keys(cell_id, config["seed"]) > np.uint64(plan.limit_key)))
        left_out.append((EMPTY, total == 0))
        bounded = {"counts": total}
        if not {"min_genes", "max_genes"}.isdisjoint(config):
            bounded["genes"] = _n_genes(block)
        for what, found in bounded.items():
            if (low := config.get(f"min_{what}")) is not None:
                left_out.append((f"fewer than {low} {what}", found < low))
            if (high := config.get(f"max_{what}")) is not None:
                left_out.append((f"more than {high} {what}", found > high))
        left_out.append((UNMAPPED, np.diff(indptr) == 0))
        drops: dict[tuple[int, str], int] = {}
        open_ = np.ones(block.n_cells, bool)
        for text, mask in left_out:
            codes, cells = np.unique(dataset[mask & open_], return_counts=True)
            drops.update({(int(code), text): int(n) for code, n in zip(codes, cells, strict=True)})
            open_ &= ~mask
        keep = np.flatnonzero(open_)
        if len(keep) < block.n_cells:
            indptr, take = ragged_rows(indptr, keep)
            genes, counts = genes[take], counts[take]
            obs = obs.take(pa.array(keep))
        yield MappedCells(
            indptr,
            genes,
            counts,
            cell_id[keep],
            total[keep],
            dataset[keep],
            obs,
            block.obs_names.take(pa.array(keep)),
            drops,
        )


def _n_genes(block: CellBlock) -> I64:
    """int64 (C,): expressed genes of each cell; a column that stands twice counts once."""
    cell = np.repeat(np.arange(block.n_cells), np.diff(block.indptr))
    pairs = np.unique(cell * len(block.genes) + block.indices)
    return np.bincount(pairs // max(len(block.genes), 1), minlength=block.n_cells)


def _slices(source: CountSource, task: Task) -> Iterator[slice]:
    start = task.start
    while start < task.stop:
        stop = min(start + _SLICE_ROWS, task.stop)
        nnz = source.row_nnz(slice(start, stop))
        if nnz is not None:
            stop = start + max(1, int(np.searchsorted(np.cumsum(nnz), _SLICE_NNZ, side="right")))
            stop = min(stop, start + len(nnz))
        yield slice(start, stop)
        start = stop
