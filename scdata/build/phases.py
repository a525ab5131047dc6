"""The phases of a build after its plan: copies, statistics, scatter, gather."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from scdata._store_files import is_file
from scdata.build.comparing import compare, find_copies
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
from scdata.build.driver import cluster, running_cluster
from scdata.build.dropped import are_found
from scdata.build.gather import gather_mark, gather_task
from scdata.build.output import claim_scratch
from scdata.build.plan import PLAN, Plan, libraries
from scdata.build.progress import Progress
from scdata.build.running import Runner, left_of
from scdata.build.scatter import SCATTER, scatter_mark, scatter_task
from scdata.build.scattered import check_scattered, merge_marks
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
    plan, of = dataclasses.replace(plan, path=folder), dict(enumerate(sources))
    all_shards = range(sum(plan.n_shards))
    to_gather = left_of(all_shards, partial(gather_mark, folder))
    if not to_gather:
        return
    with _workers(config, plan, scratch, progress) as (client, n_workers):
        runner = Runner(client, n_workers, progress, check)
        if plan.drop_duplicates and not are_found(folder):
            find_copies(runner, plan, of, scratch)
        if plan.tokenizer.unfitted and not is_file(folder / FITTED):
            _fit(runner, plan, of, scratch)
        task = partial(scatter_task, device=config.device)
        runner.over_cells("scatter", task, scatter_mark, plan, of, scratch)
        compare(runner, plan, scratch, SCATTER)
        found = merge_marks(plan, scratch)
        check_scattered(plan, found, [source.uri for source in sources])
        cells = found.kept * len(to_gather) // len(all_shards)
        runner.run("gather", gather_task, to_gather, lambda i: (folder, scratch, out, i), cells, lambda i: f"shard {i}")
    progress.note(f"memory: at most {runner.peak_bytes / 1e9:.2f} GB a worker process")


def _fit(runner: Runner, plan: Plan, sources: Mapping[int, CountSource], scratch: Path) -> None:
    """Collect statistics and fit the tokenizer to them."""
    runner.over_cells("statistics", statistics_task, statistics_path, plan, sources, scratch)
    if Wanted.by(plan.tokenizer).second_pass:
        if not is_file(plan.path / TREND):
            fit_trend(plan, scratch)
        runner.over_cells("clipped variance", clipped_task, clipped_path, plan, sources, scratch)
    fitted = fit(plan, scratch)
    if (selected := fitted.fitted.selected) is not None:
        flavor = fitted.preset.genes.flavor
        runner.progress.note(f"{len(selected):,} of {len(plan.genes.var):,} genes chosen by flavor {flavor}")


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
