"""Hashes of cells on their way from tasks to a comparison of all of them: a file a task, a part for each range of hashes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scdata._blocks import I64, Array
from scdata._store_files import read_ranges
from scdata.build.plan import Plan
from scdata.build.reading import MappedCells
from scdata.counts.cell_hash import cell_hashes
from scdata.shard.files import atomic_file

MIN_GENES = 50  # cells that express fewer may be equal by chance
_RANGE_CELLS = 1 << 22  # of a range of hashes, on average at most: 128 MB
# One cell; a row of a file
HASHED = np.dtype([("high", "<u8"), ("low", "<u8"), ("cell_id", "<i8"), ("dataset", "<i4"), ("split", "<i4")])


def hashes_path(scratch: Path, task: int, phase: str) -> Path:
    """Hashes of the cells that a task of a phase has read."""
    return scratch / f"{phase}-{task:06d}.hashes"


def n_ranges(plan: Plan) -> int:
    """Equal ranges of hashes, a power of 2, of which one at a time is held."""
    n_cells = sum(int(source["n_obs"]) for source in plan.table["sources"])
    return 1 << (-(-n_cells // _RANGE_CELLS) - 1).bit_length()


def hashed(plan: Plan, cells: MappedCells) -> Array:
    """`HASHED` of those cells that express at least `MIN_GENES` genes of the set."""
    large = np.flatnonzero(np.diff(cells.indptr) >= MIN_GENES)
    out = np.empty(len(large), HASHED)
    hashes = cell_hashes(cells.indptr, cells.genes, cells.counts)[large]
    out["high"], out["low"] = hashes.T
    out["cell_id"], out["dataset"] = cells.cell_id[large], cells.dataset[large]
    out["split"] = plan.splitter.assign(cells.cell_id, cells.obs)[large]
    return out


def write_hashes(path: Path, parts: Sequence[Array], n_ranges: int) -> None:
    """Write what a task has found: the number of cells in each range (int64), then `HASHED`, range after range.

    Parameters
    ----------
    parts
        From `hashed`, by rising cell_id, which stays the order within a range.
    """
    cells = np.concatenate(parts) if parts else np.empty(0, HASHED)
    number = range_of(cells["high"], n_ranges)
    with atomic_file(path) as file:
        file.write(np.bincount(number, minlength=n_ranges).astype("<i8").tobytes())
        file.write(cells[np.argsort(number, kind="stable")].tobytes())


def range_of(high: Array, n_ranges: int) -> I64:
    """The range that a hash falls in, by the top bits of its high half."""
    bits = n_ranges.bit_length() - 1
    # a shift by 64 is undefined
    return (high >> np.uint64(1) >> np.uint64(63 - bits)).astype(np.int64)


def bounds_of_ranges(plan: Plan, scratch: Path, phase: str) -> I64:
    """int64 (tasks, ranges + 1): at which byte of a task's file each range begins, and the last ends."""
    n = n_ranges(plan)
    paths = [hashes_path(scratch, task, phase) for task in range(len(plan.tasks))]
    heads = read_ranges([(path, 0, 8 * n) for path in paths])
    n_cells = np.stack([np.frombuffer(head, "<i8") for head in heads])
    zero = np.zeros((len(paths), 1), np.int64)
    return 8 * n + HASHED.itemsize * np.cumsum(np.concatenate([zero, n_cells], axis=1), axis=1)


def read_range(scratch: Path, phase: str, begins: I64, ends: I64) -> Array:
    """`HASHED` of one range: what stands between two bytes of each task's file, in order of tasks."""
    bounds = enumerate(zip(begins.tolist(), ends.tolist(), strict=True))
    places = [(hashes_path(scratch, task, phase), begin, end - begin) for task, (begin, end) in bounds if end > begin]
    return np.frombuffer(b"".join(read_ranges(places)), HASHED)
