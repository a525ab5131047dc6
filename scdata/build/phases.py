"""The phases of a build after its plan: statistics, scatter, gather."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from scdata._storage import is_file
from scdata.build.config import BuildConfig
from scdata.build.corpus_statistics import (
    FITTED,
    TREND,
    clipped_path,
    clipped_task,
    fit,
    fit_trend,
    statistics_path,
    statistics_task,
)
from scdata.build.driver import cluster, run_tasks, running_cluster
from scdata.build.duplicates import range_mark, range_task
from scdata.build.gather import gather_mark, gather_task
from scdata.build.hashed_cells import HASHED, bounds_of_ranges, n_ranges
from scdata.build.output import claim_scratch
from scdata.build.plan import PLAN, Plan, libraries
from scdata.build.progress import Progress
from scdata.build.scatter import SCATTER, scatter_mark, scatter_task
from scdata.build.scattered import check_scattered, merge_marks
from scdata.shard.files import names_in
from scdata.source import CountSource
from scdata.tokens.corpus import Wanted


def run_phases(
    config: BuildConfig,
    sources: Sequence[CountSource],
    plan: Plan,
    progress: Progress,
    check: Callable[[], None],
) -> None:
    """Do what is left of a plan: everything up to the manifest.

    Parameters
    ----------
    check
        Called after every task; raises if the lock was lost.
    """
    folder, scratch, out = plan.path.resolve(), claim_scratch(config), config.out_path.resolve()
    tasks, all_shards = plan.tasks, range(sum(plan.n_shards))
    to_gather = _left(all_shards, partial(gather_mark, folder))
    if not to_gather:
        return

    def rows(i: int) -> str:
        task = tasks[i]
        return f"the task of rows {task.start} to {task.stop} of {sources[task.source].uri}"

    peak_bytes = 0
    with _workers(config, plan, scratch, progress) as (client, n_workers):

        def run(
            name: str,
            task: Callable[..., dict[str, Any]],
            numbers: Sequence[int],
            arguments: Callable[[int], tuple[Any, ...]],
            cells: int,
            what: Callable[[int], str],
        ) -> None:
            if numbers:
                with progress.phase(name, cells) as advance:

                    def done(result: dict[str, Any]) -> None:
                        nonlocal peak_bytes
                        peak_bytes = max(peak_bytes, result["peak_bytes"])
                        check()
                        advance(int(result["cells"]))

                    run_tasks(client, task, arguments, numbers, n_workers, done, what)

        def over_cells(name: str, task: Callable[..., dict[str, Any]], mark: Callable[[Path, int], Path]) -> None:
            left = _left(range(len(tasks)), partial(mark, scratch))

            def arguments(i: int) -> tuple[Any, ...]:
                # of ten thousand sources a task needs its own
                return folder, scratch, {tasks[i].source: sources[tasks[i].source]}, i

            run(name, task, left, arguments, sum(tasks[i].stop - tasks[i].start for i in left), rows)

        def compare(phase: str) -> None:
            left = _left(range(n_ranges(plan)), partial(range_mark, scratch, phase))
            if left:
                bounds = bounds_of_ranges(plan, scratch, phase)
                n_cells = np.diff(bounds).sum(axis=0)[left].sum() // HASHED.itemsize

                def arguments(i: int) -> tuple[Any, ...]:
                    return scratch, phase, i, bounds[:, i], bounds[:, i + 1]

                run("equal cells", range_task, left, arguments, int(n_cells), lambda i: f"range {i} of hashes of cells")

        if plan.tokenizer.unfitted and not is_file(folder / FITTED):
            over_cells("statistics", statistics_task, statistics_path)
            if Wanted.by(plan.tokenizer).second_pass:
                if not is_file(folder / TREND):
                    fit_trend(plan, scratch)
                over_cells("clipped variance", clipped_task, clipped_path)
            fitted = fit(plan, scratch)
            if (selected := fitted.fitted.selected) is not None:
                flavor = fitted.preset.genes.flavor
                progress.note(f"{len(selected):,} of {len(plan.genes.var):,} genes chosen by flavor {flavor}")
        over_cells("scatter", partial(scatter_task, device=config.device), scatter_mark)
        compare(SCATTER)
        found = merge_marks(plan, scratch)
        check_scattered(plan, found, [source.uri for source in sources])
        cells = found.kept * len(to_gather) // len(all_shards)
        run("gather", gather_task, to_gather, lambda i: (folder, scratch, out, i), cells, lambda i: f"shard {i}")
    progress.note(f"memory: at most {peak_bytes / 1e9:.2f} GB a worker process")


def _left(numbers: Sequence[int], mark: Callable[[int], Path]) -> list[int]:
    """Which of the numbers have no mark yet."""
    there: dict[Path, set[str]] = {}
    left = []
    for number in numbers:
        path = mark(number)
        if path.parent not in there:
            there[path.parent] = names_in(path.parent)
        if path.name not in there[path.parent]:
            left.append(number)
    return left


@contextmanager
def _workers(config: BuildConfig, plan: Plan, scratch: Path, progress: Progress) -> Iterator[tuple[Any, int]]:
    """A client of those that do the work, and their number."""
    if config.scheduler == "local":
        with cluster(config.workers, scratch) as client:
            yield client, config.workers
        return
    with running_cluster(config.scheduler, (plan.path / PLAN).resolve(), libraries) as (client, n_workers):
        progress.note(f"{n_workers} worker thread(s) of {config.scheduler}; dashboard: {client.dashboard_link}")
        yield client, n_workers
