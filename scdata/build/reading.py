"""What every task does first: read obs, leave out cells, read the others in slices, map their genes."""

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scdata._blocks import I32, I64, Array, CellBlock
from scdata._errors import SourceError
from scdata.build.ahead import one_ahead
from scdata.build.dropped import read_dropped
from scdata.build.filters import planned_filters
from scdata.build.limit import limit_keys
from scdata.build.obs_columns import read_obs
from scdata.build.plan import Plan, Task
from scdata.counts.csr import gather_genes, take_rows
from scdata.counts.distinct import distinct_columns
from scdata.normalize.library_size import library_size
from scdata.source import CountSource

# A slice holds about this many non-zeros: enough to be read fast, little beside the memory of a task; two are held
_SLICE_NNZ = 4_000_000
_SLICE_ROWS = 4096
_OBS_ROWS = 1 << 16  # rows of obs held at once
# Rows that are left out are read all the same where they are fewer than this in a row: storage has chunks of about as many
_GAP_ROWS = 512

EMPTY = "no counts"
UNMAPPED = "no gene of the vocabulary"
LIMITED = "beyond the limit"
COPY = "duplicate"

# Cells that a reason leaves out; a cell is dropped for the first that holds
_LeftOut = list[tuple[str, npt.NDArray[np.bool_]]]


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


def read_mapped(
    plan: Plan, sources: Mapping[int, CountSource], task: Task, number: I32, with_copies: bool = False
) -> Iterator[MappedCells]:
    """The cells of a task, slice by slice. Counts of cells that obs alone leaves out are not read, where they stand together.

    Parameters
    ----------
    sources
        The sources of the plan by number; that of the task is enough.
    number
        int32 (G,): what to call each gene of the set (its code, its place in the vocabulary).
    with_copies
        Keep duplicates, also of a plan that drops them: it does not know them yet.

    Raises
    ------
    ScdataError
        From the source; with a note that names the rows.
    """
    source = sources[task.source]
    target = plan.targets[task.source]
    target = np.where(target >= 0, number[target], -1).astype(np.int32) if len(number) else target
    with closing(one_ahead(_read(plan, source, task, with_copies))) as parts:
        for part in parts:
            yield part if isinstance(part, MappedCells) else _mapped(plan, source, *part, target, task.source)


def _read(
    plan: Plan, source: CountSource, task: Task, with_copies: bool
) -> Generator[MappedCells | tuple[CellBlock, pa.Table, npt.NDArray[np.bool_]], None, None]:
    """All that a task reads: cells as stored, with obs and which of them are wanted; drops where obs leaves out cells."""
    first_dataset, first_cell = np.int32(plan.dataset_offsets[task.source]), plan.offsets[task.source]
    for start in range(task.start, task.stop, _OBS_ROWS):
        window = slice(start, min(start + _OBS_ROWS, task.stop))
        with _noting(source, window):
            obs = read_obs(source.obs, source.obs_schema, window, plan.fields, list(plan.fields))
            left_out = _left_out_by_obs(plan, task.source, obs, first_cell + np.arange(window.start, window.stop))
            if plan.drop_duplicates and not with_copies:
                # these were found among cells that nothing else leaves out, also none of what is not known yet
                left_out.append((COPY, read_dropped(plan.path, first_cell + window.start, first_cell + window.stop)))
            if left_out:
                drops, keep = _account(left_out, source.dataset(window) + first_dataset)
                yield _no_cells(obs, drops)
            else:
                keep = np.ones(len(obs), bool)
        for rows in _slices(source, window.start, keep):
            with _noting(source, rows):
                block = source.read(rows)
            own = slice(rows.start - window.start, rows.stop - window.start)
            yield block, obs.slice(own.start, block.n_cells), keep[own]


def _mapped(
    plan: Plan,
    source: CountSource,
    block: CellBlock,
    obs: pa.Table,
    wanted: npt.NDArray[np.bool_],
    target: I32,
    source_number: int,
) -> MappedCells:
    """The cells of a block that are `wanted` and that no bound leaves out, over the genes of the set."""
    rows = block.rows
    try:
        indptr, genes, counts = gather_genes(
            block.indptr, block.indices, block.data, target, int(target.max(initial=-1)) + 1
        )
    except OverflowError as error:
        raise SourceError(f"{source.uri}, rows {rows[0]} to {rows[-1] + 1}: {error}") from error
    total, config = library_size(block.indptr, block.data), plan.table["config"]
    left_out: _LeftOut = [(EMPTY, total == 0)]
    bounded = {"counts": total}
    if not {"min_genes", "max_genes"}.isdisjoint(config):
        bounded["genes"] = distinct_columns(block.indptr, block.indices, len(block.genes))
    for what, found in bounded.items():
        if (low := config.get(f"min_{what}")) is not None:
            left_out.append((f"fewer than {low} {what}", found < low))
        if (high := config.get(f"max_{what}")) is not None:
            left_out.append((f"more than {high} {what}", found > high))
    left_out.append((UNMAPPED, np.diff(indptr) == 0))
    dataset = block.dataset + np.int32(plan.dataset_offsets[source_number])
    drops, kept = _account(left_out, dataset, wanted)
    cell_id, obs_names = plan.offsets[source_number] + rows, block.obs_names
    keep = np.flatnonzero(kept)
    if len(keep) < block.n_cells:
        indptr, [genes, counts] = take_rows(indptr, keep, genes, counts)
        obs, obs_names = obs.take(pa.array(keep)), obs_names.take(pa.array(keep))
    return MappedCells(indptr, genes, counts, cell_id[keep], total[keep], dataset[keep], obs, obs_names, drops)


def _left_out_by_obs(plan: Plan, source_number: int, obs: pa.Table, cell_id: I64) -> _LeftOut:
    left_out: _LeftOut = planned_filters(plan.table["sources"][source_number], plan.obs_filter).left_out(obs)
    if plan.limit_key is not None:
        left_out.append((LIMITED, limit_keys(cell_id, plan.table["config"]["seed"]) > np.uint64(plan.limit_key)))
    return left_out


def _account(
    left_out: _LeftOut, dataset: I32, among: npt.NDArray[np.bool_] | None = None
) -> tuple[dict[tuple[int, str], int], npt.NDArray[np.bool_]]:
    """Cells dropped, by dataset and the first reason that holds; and which of `among` (None: all) are kept."""
    drops: dict[tuple[int, str], int] = {}
    open_ = np.ones(len(dataset), bool) if among is None else among
    for text, mask in left_out:
        codes, cells = np.unique(dataset[mask & open_], return_counts=True)
        drops.update({(int(code), text): int(n) for code, n in zip(codes, cells, strict=True)})
        open_ = open_ & ~mask
    return drops, open_


def _no_cells(obs: pa.Table, drops: dict[tuple[int, str], int]) -> MappedCells:
    """What tells of drops and nothing else."""
    i32, i64 = np.empty(0, np.int32), np.empty(0, np.int64)
    names = pa.array([], pa.string())
    return MappedCells(np.zeros(1, np.int64), i32, i32, i64, i64, i32, obs.slice(0, 0), names, drops)


@contextmanager
def _noting(source: CountSource, rows: slice) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        error.add_note(f"while reading rows {rows.start} to {rows.stop} of {source.uri}")
        raise


def _slices(source: CountSource, first: int, wanted: npt.NDArray[np.bool_]) -> Iterator[slice]:
    """Slices of rows that hold all that are `wanted` of those from `first` on, and no long run of others."""
    for begin, end in _runs(wanted):
        start = first + begin
        while start < first + end:
            stop = min(start + _SLICE_ROWS, first + end)
            nnz = source.row_nnz(slice(start, stop))
            if nnz is not None:
                stop = start + max(1, int(np.searchsorted(np.cumsum(nnz), _SLICE_NNZ, side="right")))
                stop = min(stop, start + len(nnz))
            yield slice(start, stop)
            start = stop


def _runs(wanted: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and end of runs that hold all that is wanted, and nowhere `_GAP_ROWS` others together."""
    places = np.flatnonzero(wanted)
    if not len(places):
        return []
    breaks = np.flatnonzero(np.diff(places) > _GAP_ROWS)
    begins, ends = places[np.concatenate([[0], breaks + 1])], places[np.concatenate([breaks, [len(places) - 1]])] + 1
    return list(zip(begins.tolist(), ends.tolist(), strict=True))
