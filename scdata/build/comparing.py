"""Comparing all cells of a corpus by their hashes, range after range; and which copies are to be dropped."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from scdata._blocks import I64
from scdata._store_files import read_files
from scdata.build.dropped import write_dropped
from scdata.build.duplicates import Duplicates, equal_cells
from scdata.build.hashed_cells import (
    HASHED,
    bounds_of_ranges,
    hashed,
    hashes_path,
    n_ranges,
    read_range,
    write_hashes,
)
from scdata.build.plan import Plan, load_plan
from scdata.build.reading import read_mapped
from scdata.build.running import Runner, left_of
from scdata.build.scatter import numbered_genes
from scdata.shard.files import write_bytes, write_json
from scdata.source import CountSource

COPIES = "copies"  # the phase that finds what `drop_duplicates` drops


def range_mark(scratch: Path, phase: str, number: int) -> Path:
    """What was found in one range of hashes."""
    return scratch / f"{phase}-range-{number:04d}.json"


def copies_path(scratch: Path, number: int) -> Path:
    """cell_ids (int64, rising) of the copies in one range of hashes."""
    return scratch / f"{COPIES}-range-{number:04d}.ids"


def find_copies(runner: Runner, plan: Plan, sources: Mapping[int, CountSource], scratch: Path) -> None:
    """Read all cells, and write beside the plan which of them equal one with a smaller cell_id."""
    runner.over_cells("hashes", hash_task, partial(hashes_path, phase=COPIES), plan, sources, scratch)
    compare(runner, plan, scratch, COPIES)
    n_cells = sum(int(source["n_obs"]) for source in plan.table["sources"])
    found = (
        np.frombuffer(data, "<i8") for data in read_files([copies_path(scratch, i) for i in range(n_ranges(plan))])
    )
    write_dropped(plan.path, n_cells, found)


def hash_task(folder: Path, scratch: Path, sources: Mapping[int, CountSource], number: int) -> dict[str, Any]:
    """Hash the cells of one task that nothing else leaves out; the file is the mark that it is done."""
    plan = load_plan(folder)
    task = plan.tasks[number]
    slices = read_mapped(plan, sources, task, numbered_genes(plan), with_copies=True)
    write_hashes(hashes_path(scratch, number, COPIES), [hashed(plan, cells) for cells in slices], n_ranges(plan))
    return {"cells": task.stop - task.start}


def compare(runner: Runner, plan: Plan, scratch: Path, phase: str) -> None:
    """Find the equal cells among those that the tasks of a phase have hashed."""
    left = left_of(range(n_ranges(plan)), partial(range_mark, scratch, phase))
    if left:
        bounds = bounds_of_ranges(plan, scratch, phase)
        n_cells = np.diff(bounds).sum(axis=0)[left].sum() // HASHED.itemsize

        def arguments(i: int) -> tuple[Any, ...]:
            return scratch, phase, i, bounds[:, i], bounds[:, i + 1]

        runner.run("equal cells", range_task, left, arguments, int(n_cells), lambda i: f"range {i} of hashes of cells")


def range_task(scratch: Path, phase: str, number: int, begins: I64, ends: I64) -> dict[str, Any]:
    """Find the equal cells of one range of hashes, which stands between two bytes of each task's file."""
    cells = read_range(scratch, phase, begins, ends)
    own, first = equal_cells(cells)
    if phase == COPIES:
        write_bytes(copies_path(scratch, number), np.sort(np.delete(own["cell_id"], first)).tobytes())
    found = asdict(Duplicates.of(own, first))
    found["pairs"] = [[*pair, *numbers] for pair, numbers in sorted(found["pairs"].items())]
    write_json(range_mark(scratch, phase, number), found)
    return {"cells": len(cells)}


def found_duplicates(plan: Plan, scratch: Path, phase: str) -> Duplicates:
    """What was found in all ranges."""
    return Duplicates.merge(_marks(plan, scratch, phase))


def _marks(plan: Plan, scratch: Path, phase: str) -> Iterator[Duplicates]:
    for data in read_files([range_mark(scratch, phase, i) for i in range(n_ranges(plan))]):
        mark = json.loads(data)
        yield Duplicates(**{**mark, "pairs": {(a, b): numbers for a, b, *numbers in mark["pairs"]}})
