"""``scdata build --dry-run``: what would be built, and what it would cost."""

import dataclasses
import tempfile

import click

from scdata.build.config import BuildConfig
from scdata.build.estimate import Estimate, estimate
from scdata.build.pipeline import plan_build
from scdata.build.plan import Plan
from scdata.build.progress import Progress
from scdata.cli.main import print_json
from scdata.shard.roles import roles_of

_UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def show_plan(config: BuildConfig, progress: Progress, as_json: bool) -> None:
    """Plan a build in a temporary folder, read a little of its sources, and print what it comes to."""
    with tempfile.TemporaryDirectory(prefix="scdata-") as folder:
        sources, plan = plan_build(dataclasses.replace(config, out=folder, scratch=None), progress)
        found = estimate(plan, sources)
    if as_json:
        print_json(
            {
                "event": "plan",
                "tasks": len(plan.tasks),
                "splits": dict(zip(plan.splits, plan.n_shards, strict=True)),
                "genes": len(plan.genes.var),
                "obs": [column.name for column in plan.obs_columns],
                "obs_left_out": plan.table["obs_left_out"],
                "perturbation": plan.table.get("perturbation"),
                "workers": config.workers,
                **dataclasses.asdict(found),
            }
        )
    else:
        for line in _lines(plan, found, config):
            click.echo(line)


def _lines(plan: Plan, found: Estimate, config: BuildConfig) -> list[str]:
    of = "" if found.n_cells == found.n_read else f" of {found.n_read:,}"
    hours = found.core_hours / config.workers
    by = f"on {config.workers} worker(s)" if config.scheduler == "local" else "on one core of the cluster"
    return [
        f"would keep {found.n_cells:,}{of} cells and {len(plan.genes.var):,} genes, {found.nnz:,} non-zeros, "
        f"in {len(plan.tasks):,} task(s)",
        *(
            f"  {split['name']}: {split['n_cells']:,} cells in {split['n_shards']:,} shard(s)"
            for split in plan.table["splits"]
        ),
        f"  obs columns: {', '.join(column.name for column in plan.obs_columns) or 'none'}",
        *(() if (roles := roles_of(plan.table)) is None else (f"  {roles.line()}",)),
        f"  about {_size(found.n_bytes)} of shards; {_size(found.scratch_bytes)} of scratch files in between",
        f"  about {_duration(hours)} {by}, by how fast the sources were just read; at most about "
        f"{_size(found.memory_bytes)} of memory each",
    ]


def _size(n_bytes: float) -> str:
    return next((f"{n_bytes / unit:,.1f} {name}" for unit, name in _UNITS if n_bytes >= unit), f"{n_bytes:,.0f} B")


def _duration(hours: float) -> str:
    seconds = hours * 3600
    if seconds < 120:
        return f"{max(seconds, 1):,.0f} seconds"
    return f"{seconds / 60:,.0f} minutes" if seconds < 7200 else f"{hours:,.1f} hours"
