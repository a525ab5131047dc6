"""What a planned build will cost: bytes, hours, memory, from a look at its sources."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from scdata.build.drafting import BYTES_A_NONZERO
from scdata.build.plan import Plan, Task
from scdata.build.reading import read_mapped
from scdata.source import CountSource
from scdata.tokens.corpus import Wanted

_TRIAL_NNZ = 2_000_000  # about what is read to see how fast the sources are
_TRIALS = 4  # places it is read at
# Nanoseconds of one core a non-zero, beside reading it (benchmarks/README.md): a statistics pass, scatter, gather
_STATISTICS_NS, _SCATTER_NS, _GATHER_NS = 40, 60, 40
# Bytes of memory: of the libraries, a non-zero of a scatter task, a non-zero of a shard; of scratch, a non-zero
_LIBRARIES, _TASK_BYTES, _SHARD_BYTES, _SCRATCH_BYTES = 250_000_000, 36, 11, 3.2


@dataclass(frozen=True)
class Estimate:
    """About what a build reads, writes and needs.

    Parameters
    ----------
    n_read, n_cells, nnz
        Cells that the sources have; cells that obs keeps, and their non-zeros.
    n_bytes, scratch_bytes
        Of the shards, and of the files between scatter and gather.
    core_hours
        Of one core like this one's, reading as fast as this process just did.
    memory_bytes
        Of a worker, at most.
    """

    n_read: int
    n_cells: int
    nnz: int
    n_bytes: int
    scratch_bytes: int
    core_hours: float
    memory_bytes: int


def estimate(plan: Plan, sources: Sequence[CountSource]) -> Estimate:
    """Read a little of the sources and tell what the whole will cost."""
    table = plan.table
    n_read = sum(source["n_obs"] for source in table["sources"])
    cells = {split["name"]: split["n_cells"] for split in table["splits"]}
    n_cells = sum(cells.values())
    per_cell = sum(source["nnz"] for source in table["sources"]) / n_read
    nnz = n_cells * per_cell
    wanted = Wanted.by(plan.tokenizer)
    passes = (1 + wanted.second_pass) if plan.tokenizer.unfitted else 0
    read_ns = _read_ns(plan, sources, per_cell)
    core_ns = nnz * ((1 + passes + plan.drop_duplicates) * read_ns + passes * _STATISTICS_NS + _SCATTER_NS + _GATHER_NS)
    largest_task = min(nnz, 1.25 * nnz / len(plan.tasks))
    largest_shard = max(cells[name] * per_cell / n for name, n in zip(plan.splits, plan.n_shards, strict=True))
    return Estimate(
        n_read=n_read,
        n_cells=n_cells,
        nnz=round(nnz),
        n_bytes=round(nnz * BYTES_A_NONZERO[table["encoding"], table["config"]["codec"]]),
        scratch_bytes=round(nnz * _SCRATCH_BYTES),
        core_hours=core_ns / 3.6e12,
        memory_bytes=round(_LIBRARIES + max(_TASK_BYTES * largest_task, _SHARD_BYTES * largest_shard)),
    )


def _read_ns(plan: Plan, sources: Sequence[CountSource], per_cell: float) -> float:
    """Nanoseconds a non-zero of cells that are kept, read and mapped, at places spread over the tasks."""
    tasks, seconds, nnz, of = plan.tasks, 0.0, 0, dict(enumerate(sources))
    first = Task(tasks[0].source, tasks[0].start, tasks[0].start + 1)
    list(read_mapped(plan, of, first, plan.genes.code, with_copies=True))  # what is imported and compiled only once
    for i in range(min(_TRIALS, len(tasks))):
        task = tasks[i * len(tasks) // min(_TRIALS, len(tasks))]
        rows = max(1, round(_TRIAL_NNZ / _TRIALS / max(per_cell, 1.0)))
        part = Task(task.source, task.start, min(task.stop, task.start + rows))
        begin = time.perf_counter()
        nnz += sum(len(cells.genes) for cells in read_mapped(plan, of, part, plan.genes.code, with_copies=True))
        seconds += time.perf_counter() - begin
    return seconds * 1e9 / max(nnz, 1)
