"""Scatter: the cells of a task → one file with a part for every shard of the set."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from scdata._backend import device_count
from scdata._blocks import I32, I64, Array
from scdata._errors import BuildError
from scdata._splitmix import keys, stream
from scdata.build.cells_table import concat_cells, ragged_column, take_cells, write_parts
from scdata.build.corpus_statistics import fitted_tokenizer
from scdata.build.hashed_cells import hashed, hashes_path, n_ranges, write_hashes
from scdata.build.plan import Plan, load_plan
from scdata.build.reading import MappedCells, read_mapped
from scdata.build.sides import checked_columns, sides_of
from scdata.normalize.library_size import library_size
from scdata.shard.block import COUNTS
from scdata.shard.files import atomic_file, write_json
from scdata.source import CountSource
from scdata.tokens.device import GeneCounts, tokenize_blocks
from scdata.tokens.sequence import Ragged
from scdata.tokens.tokenizer import Tokenizer

SCATTER = "scatter"  # the phase, in names of files
NO_DEVICE = (
    "--device cuda: CuPy finds no CUDA device here; install scdata-engine[cuda13] (or cuda12, as the driver has it) on a "
    "machine that has one, or use --device cpu, which gives the same bytes"
)


def scatter_path(scratch: Path, task: int) -> Path:
    return scratch / f"scatter-{task:06d}.cells"


def scatter_mark(scratch: Path, task: int) -> Path:
    """Written last: the task is done, and what it counted."""
    return scratch / f"scatter-{task:06d}.json"


def shard_of(key: Array, n_shards: int) -> I64:
    """Which of `n_shards` equal ranges of 64-bit keys each key falls in: ⌊key · n / 2⁶⁴⌋, exactly."""
    high, low = key >> np.uint64(32), key & np.uint64(0xFFFFFFFF)
    n = np.uint64(n_shards)
    return ((high * n + (low * n >> np.uint64(32))) >> np.uint64(32)).astype(np.int64)


def scatter_task(
    folder: Path, scratch: Path, sources: Mapping[int, CountSource], number: int, device: str = "cpu"
) -> dict[str, Any]:
    """Read, map, tokenize the cells of a task and sort them by shard.

    `device` says where tokens are made: ``cpu``, ``cuda``, or ``auto``: a device if this process has one.

    Returns
    -------
    dict
        ``cells`` read; also written to the mark, beside drops and sums of counts.
    """
    plan = load_plan(folder)
    task = plan.tasks[number]
    parts: list[pa.Table] = []
    hashes: list[Array] = []
    drops: dict[tuple[int, str], int] = {}
    # of each dataset: of all genes of the source, and of those of the set
    counts = np.zeros((len(plan.datasets), 2), np.int64)
    for cells, own_counts, ragged in tokens_of(plan, read_mapped(plan, sources, task, numbered_genes(plan)), device):
        for what, n in cells.drops.items():
            drops[what] = drops.get(what, 0) + n
        np.add.at(counts, cells.dataset, np.stack([cells.total_counts, own_counts], axis=1))
        parts.append(_table(plan, cells, own_counts, ragged))
        hashes.append(hashed(plan, cells))
    table = concat_cells(parts)
    del parts
    split = np.searchsorted(np.cumsum(plan.n_shards), table["shard"].to_numpy(), side="right")
    lengths = _write(scatter_path(scratch, number), table, plan)
    write_hashes(hashes_path(scratch, number, SCATTER), hashes, n_ranges(plan))
    mark = {
        "cells": task.stop - task.start,
        "kept": len(table),
        "splits": np.bincount(split, minlength=len(plan.splits)).tolist(),
        "drops": [[dataset, reason, n] for (dataset, reason), n in sorted(drops.items())],
        "counts": [[int(i), *counts[i].tolist()] for i in np.flatnonzero(counts[:, 0])],
        "lengths": lengths,
        "sides": {c.name: sides_of(table[f"obs.{c.name}"].to_numpy(), split) for c in checked_columns(plan)},
    }
    write_json(scatter_mark(scratch, number), mark)
    return {"cells": mark["cells"]}


def numbered_genes(plan: Plan) -> I32:
    """int32 (G,): what each gene of the set is called where cells are scattered: its code, or its place in the vocabulary."""
    return plan.genes.code if plan.table["encoding"] == COUNTS else plan.genes.vocab_index


def tokens_of(plan: Plan, slices: Iterable[MappedCells], device: str) -> Iterator[tuple[MappedCells, I64, Ragged]]:
    """Cells with their counts in the vocabulary and what is stored of them: genes and counts, or tokens."""
    if plan.table["encoding"] == COUNTS:
        for cells in slices:
            yield cells, library_size(cells.indptr, cells.counts), Ragged(cells.indptr, cells.genes, cells.counts)
        return
    tokenizer = fitted_tokenizer(plan)
    # slices go in ahead of the tokens that come out
    waiting: deque[tuple[MappedCells, I64, I64]] = deque()

    def chosen() -> Iterator[GeneCounts]:
        for cells in slices:
            own_counts = library_size(cells.indptr, cells.counts)
            total = tokenizer.denominator(cells.total_counts, own_counts, cells.columns())
            waiting.append((cells, own_counts, total))
            yield GeneCounts(*tokenizer.choose(cells.indptr, cells.genes, cells.counts), total)

    for ragged in _made(tokenizer, chosen(), device):
        cells, own_counts, total = waiting.popleft()
        yield cells, own_counts, tokenizer.finish(ragged, None, depths=(total, total))


def _made(tokenizer: Tokenizer, blocks: Iterator[GeneCounts], device: str) -> Iterator[Ragged]:
    # floats of a device may differ in their last bit from those of a processor, and so would the bytes of the set
    if device != "cpu" and not tokenizer.preset.float_values and device_count():
        yield from tokenize_blocks(tokenizer, blocks)
        return
    if device == "cuda" and not device_count():
        raise BuildError(NO_DEVICE)
    for block in blocks:
        yield tokenizer.tokenize(block.indptr, block.genes, block.counts, block.total)


def _table(plan: Plan, cells: MappedCells, vocab_counts: I64, ragged: Ragged) -> pa.Table:
    splits = plan.splitter.assign(cells.cell_id, cells.obs)
    key = keys(cells.cell_id, stream(plan.table["config"]["seed"], "order"))
    n_shards = np.array(plan.n_shards)
    first = np.cumsum(n_shards) - n_shards
    shard = first[splits] + np.select(
        [splits == i for i in range(len(n_shards))], [shard_of(key, n) for n in n_shards.tolist()]
    )
    columns: dict[str, Any] = {
        "shard": pa.array(shard, pa.int32()),
        "key": pa.array(key),
        "cell_id": pa.array(cells.cell_id),
        "dataset": pa.array(cells.dataset),
        "total_counts": pa.array(cells.total_counts),
        "vocab_counts": pa.array(vocab_counts),
        "obs_name": cells.obs_names.cast(pa.string()),
        "ids": ragged_column(ragged.indptr, ragged.token_ids),
    }
    if ragged.values is not None:
        columns["values"] = ragged_column(ragged.indptr, ragged.values)
    for column in plan.obs_columns:
        columns[f"obs.{column.name}"] = pa.array(column.encode(cells.obs[column.name]))
    return pa.table(columns)


def _write(path: Path, table: pa.Table, plan: Plan) -> list[int]:
    """The cells of one shard after those of another; returns the bytes of each."""
    shard, key = table["shard"].to_numpy(), table["key"].to_numpy()
    order = np.lexsort((key, shard))
    ends = np.searchsorted(shard[order], np.arange(sum(plan.n_shards)), side="right").tolist()
    with atomic_file(path) as file:
        return write_parts(file, take_cells(table, order), ends, plan.obs_columns)
