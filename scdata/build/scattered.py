"""After scatter: what all tasks counted, and where in their files the cells of each shard stand."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scdata._errors import BuildError, MappingError
from scdata._store_files import is_file, read_files, read_ranges
from scdata.build.plan import Plan
from scdata.build.scatter import scatter_mark, scatter_path
from scdata.build.sides import Sides, checked_columns
from scdata.shard.files import atomic_file, write_json

PLACES, SCATTERED = "places.bin", "scattered.json"


@dataclass(frozen=True)
class Scattered:
    """Sums over all tasks.

    Parameters
    ----------
    cells
        Cells read.
    kept
        Cells kept.
    splits
        Cells kept, of each split of the plan.
    drops
        Cells left out: code of the dataset, reason, how many.
    empty_shards
        Shards, counted over all splits, that no cell falls in.
    sides
        What `Sides` found, of each column that is checked.
    counts
        Counts of the cells kept, of each dataset: of all genes of the source, and of those of the set.
    """

    cells: int
    kept: int
    splits: list[int]
    drops: list[tuple[int, str, int]]
    empty_shards: list[int]
    sides: list[dict[str, Any]]
    counts: list[tuple[int, int]]


def merge_marks(plan: Plan, scratch: Path) -> Scattered:
    """Add up the marks of all tasks, once, and write down what a gather task needs of them.

    For every shard, ``places.bin`` has an offset (int64, little-endian) for every task, then a length for every task.
    """
    if is_file(scratch / SCATTERED):
        return Scattered(**json.loads((scratch / SCATTERED).read_text()))
    tasks, n_shards = plan.tasks, sum(plan.n_shards)
    lengths = np.zeros((len(tasks), n_shards), np.uint32)
    splits = np.zeros(len(plan.splits), np.int64)
    drops: dict[tuple[int, str], int] = {}
    sides = {column.name: Sides(column, plan.splits) for column in checked_columns(plan)}
    sums = {"cells": 0, "kept": 0}
    counts = np.zeros((len(plan.datasets), 2), np.int64)
    paths = [scatter_mark(scratch, number) for number in range(len(tasks))]
    for number, data in enumerate(read_files(paths)):
        mark = json.loads(data)
        lengths[number] = mark["lengths"]
        splits += mark["splits"]
        for name in sums:
            sums[name] += mark[name]
        for dataset, total, of_the_set in mark["counts"]:
            counts[dataset] += total, of_the_set
        for name, part in mark["sides"].items():
            sides[name].add(part)
        for dataset, reason, n in mark["drops"]:
            drops[dataset, reason] = drops.get((dataset, reason), 0) + n
    offsets = np.zeros(len(tasks), "<i8")
    with atomic_file(scratch / PLACES) as file:
        for shard in range(n_shards):
            own_lengths = lengths[:, shard].astype("<i8")
            file.write(np.concatenate([offsets, own_lengths]).tobytes())
            offsets += own_lengths
    table: dict[str, Any] = {
        **sums,
        "splits": splits.tolist(),
        "drops": [[dataset, reason, n] for (dataset, reason), n in sorted(drops.items())],
        "empty_shards": np.flatnonzero(lengths.sum(axis=0) == 0).tolist(),
        "sides": [own.found() for own in sides.values()],
        "counts": counts.tolist(),
    }
    write_json(scratch / SCATTERED, table)
    return Scattered(**table)


def parts_of_shard(plan: Plan, scratch: Path, number: int) -> list[bytes]:
    """The cells of shard `number` (counted over all splits) as each task wrote them, in order of tasks, empty ones left out."""
    n_tasks = len(plan.tasks)
    size = 2 * n_tasks * np.dtype("<i8").itemsize
    [data] = read_ranges([(scratch / PLACES, number * size, size)])
    offsets, lengths = np.frombuffer(data, "<i8").reshape(2, n_tasks).tolist()
    places = zip(range(n_tasks), offsets, lengths, strict=True)
    return read_ranges([(scatter_path(scratch, task), offset, length) for task, offset, length in places if length])


def check_scattered(plan: Plan, found: Scattered, uris: Sequence[str]) -> None:
    """What only the whole corpus can tell: that cells are left, and that enough counts map.

    Parameters
    ----------
    uris
        Of the sources, for messages.

    Raises
    ------
    BuildError, MappingError
        If not.
    """
    config: dict[str, Any] = plan.table["config"]
    reasons = sorted({reason for _, reason, _ in found.drops})
    if found.kept == 0:
        raise BuildError(f"no cells left of {', '.join(uris)}: every one was dropped ({', '.join(reasons)})")
    for split, n in zip(plan.splits, found.splits, strict=True):
        if not n:
            raise BuildError(
                f"split {split!r} is empty: all of its cells were dropped ({', '.join(reasons)}); give it more cells with "
                "--split, and start anew with --overwrite"
            )
    if found.empty_shards:
        raise BuildError(
            f"{len(found.empty_shards):,} of {sum(plan.n_shards):,} shards are empty: {found.kept:,} of {found.cells:,} cells "
            f"are left ({', '.join(reasons)}), far fewer than obs told; raise --shard-size, and start anew with --overwrite"
        )
    counts = np.array([*found.counts, (0, 0)], np.int64)
    for uri, (total, mapped) in zip(uris, np.add.reduceat(counts, plan.dataset_offsets).tolist(), strict=True):
        if total and mapped < config["min_mapped"] * total:
            raise MappingError(
                f"{uri}: only {mapped / total:.1%} of the counts belong to genes of the vocabulary "
                f"(limit {config['min_mapped']:.0%}): lower --min-mapped or use another vocabulary"
            )
