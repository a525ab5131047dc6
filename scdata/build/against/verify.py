"""`verify_against`: re-read the sources of a set and prove that it holds their cells, each as it is, and no others."""

import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scdata._storage import is_local
from scdata.build.against.difference import differing_cells
from scdata.build.against.digests import Digests, shard_task, source_task
from scdata.build.against.replan import changed_sources, differences, replan
from scdata.build.comparing import find_copies
from scdata.build.driver import cluster
from scdata.build.plan import Plan
from scdata.build.progress import Progress
from scdata.build.running import Runner, rows_of
from scdata.shard.block import COUNTS
from scdata.shard.shard_set import ShardSet
from scdata.shard.verify import VerifyReport
from scdata.source import CountSource

_RANGES, _LINES = 4, 10  # differing ranges that are looked at closely, lines about each of them


def verify_against(
    path: str | os.PathLike[str],
    sources: Sequence[str],
    *,
    orthologs: str | os.PathLike[str] | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> VerifyReport:
    """Read the sources of a set again and compare every cell: split, dataset, name, obs, genes with counts, or tokens.

    The plan is decided again from the sources, all cells are mapped again, and for a set of tokens encoded again. Hashes of
    cells are added up over ranges of cell_id on both sides; where two sums differ, the cells are named.

    Parameters
    ----------
    path
        The set's folder.
    sources
        What it was built from, in the same order; they may have moved.
    orthologs
        The table of orthologs that it was built with, if it was: the same bytes.
    workers
        Processes.
    progress
        Where to say what is happening; None: nowhere.

    Returns
    -------
    VerifyReport
        ``report.ok`` is True when the set is what a build would make of the sources.

    Raises
    ------
    ScdataError
        If the set or a source cannot be read.
    """
    shards, progress = ShardSet(os.fspath(path)), progress or Progress()
    report = VerifyReport(n_shards=len(shards.manifest["shards"]), n_blocks=len(shards.index))
    with tempfile.TemporaryDirectory(prefix="scdata-") as folder:
        opened, plan = replan(
            shards, sources, workers, Path(folder), progress, None if orthologs is None else os.fspath(orthologs)
        )
        report.problems += differences(shards, plan)
        if not report.problems:
            for name in changed_sources(shards, plan):
                progress.note(f"{name}: not the same bytes as when the set was built; its cells are compared")
            with cluster(workers, Path(folder)) as client:
                _compare(report, shards, plan, dict(enumerate(opened)), Runner(client, workers, progress))
    return report


def _compare(
    report: VerifyReport,
    shards: ShardSet,
    plan: Plan,
    sources: dict[int, CountSource],
    runner: Runner,
) -> None:
    n_read, tasks = int(shards.manifest["n_cells_read"]), plan.tasks
    n_genes = shards.n_genes if shards.encoding == COUNTS else 0

    if plan.drop_duplicates:
        find_copies(runner, plan, sources, plan.path)

    def run(name: str, n_cells: int, function: Any, arguments: Any, n_tasks: int, what: Any) -> Digests:
        found = Digests.empty(0, n_read, n_genes, len(shards.datasets))
        runner.run(
            name, function, range(n_tasks), arguments, n_cells, what, lambda result: found.merge(result["digests"])
        )
        return found

    path = shards.path.resolve() if is_local(shards.path) else shards.path
    places = [(str(shard["split"]), int(shard["shard"])) for shard in shards.manifest["shards"]]
    in_set = run(
        "set", shards.manifest["n_cells"], shard_task, lambda i: (path, *places[i], n_read), len(places),
        lambda i: f"shard {places[i][1]} of {places[i][0]}",
    )  # fmt: skip
    in_sources = run(
        "sources", n_read, source_task,
        lambda i: (plan.path, {tasks[i].source: sources[tasks[i].source]}, i), len(tasks),
        lambda i: rows_of(plan, sources, i),
    )  # fmt: skip
    report.n_cells = int(in_set.sums[:, 0].sum())
    report.vocab_counts = int(in_set.datasets.sum())
    report.problems += _findings(shards, plan, in_set, in_sources)
    ranges = in_set.differing_ranges(in_sources)
    for first_cell in ranges[:_RANGES]:
        lines = list(differing_cells(shards, plan, sources, first_cell))
        report.problems += lines[:_LINES]
        if len(lines) > _LINES:
            report.problems.append(f"{len(lines) - _LINES} more cells differ among the {len(lines)} looked at there")
    if len(ranges) > _RANGES:
        report.problems.append(f"cells differ in {len(ranges) - _RANGES} more ranges, from cell {ranges[_RANGES]} on")


def _findings(shards: ShardSet, plan: Plan, in_set: Digests, in_sources: Digests) -> list[str]:
    """Sums that differ, a line each."""
    found = []
    for name, ours, theirs in zip(shards.datasets, in_set.datasets.tolist(), in_sources.datasets.tolist(), strict=True):
        if ours != theirs:
            found.append(f"dataset {name}: {ours:,} counts in the set, {theirs:,} in the source")
    genes = shards.var["feature_id"].to_pylist()
    order = np.argsort(shards.var["code"].to_numpy())
    differing = np.flatnonzero(in_set.genes != in_sources.genes)
    for code in differing[:_LINES].tolist():
        ours, theirs = int(in_set.genes[code]), int(in_sources.genes[code])
        found.append(f"gene {genes[order[code]]}: {ours:,} counts in the set, {theirs:,} in the source")
    if len(differing) > _LINES:
        found.append(f"{len(differing) - _LINES} more genes have other counts")
    names = plan.datasets
    # several datasets may share a name
    said, true = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for drop in shards.manifest["drops"]:
        said[drop["dataset"], drop["reason"]] += drop["n_cells"]
    for (dataset, reason), n in in_sources.drops.items():
        true[names[dataset], reason] += n
    for name, reason in sorted({*said, *true}):
        if said[name, reason] != true[name, reason]:
            found.append(
                f"dataset {name}: {said[name, reason]:,} cell(s) were left out ({reason}) by the manifest, "
                f"{true[name, reason]:,} by the source"
            )
    return found
