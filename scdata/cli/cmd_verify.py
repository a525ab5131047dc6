"""``scdata verify``."""

import sys
import time

import click

from scdata.build.progress import Progress
from scdata.cli.main import print_json
from scdata.shard.shard_set import ShardSet
from scdata.shard.verify import verify_shards


@click.command(name="verify", short_help="Check every byte of a set.")
@click.argument("path", metavar="SET")
@click.option(
    "--against",
    multiple=True,
    metavar="SOURCE",
    help="Also read again what the set was built from, and compare every cell. Repeatable, in the order of the build.",
)
@click.option("--orthologs", metavar="FILE", help="For --against: the table of orthologs that the set was built with.")
@click.option("--workers", type=click.IntRange(1, 1024), default=1, show_default=True, help="Processes for --against.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(path: str, against: tuple[str, ...], orthologs: str | None, workers: int, as_json: bool) -> int:
    """Read a whole set and compare everything with its manifest: hashes, tar members, decoded cells, obs.

    With --against, also prove that it holds the cells of its sources: the same counts of each gene and dataset, and every
    cell with its split, obs and genes, or tokens; and that all others were left out for the reason that was counted.

    Ends with status 1 and a line for each thing that differs, naming shard and block, or cell and row.

    \b
    Examples:
      scdata build synthetic:cells=2000 -o /tmp/try.set
      scdata verify /tmp/try.set
      scdata verify /tmp/try.set --against synthetic:cells=2000
    """
    begin = time.monotonic()
    total = sum(int(shard["bytes"]) for shard in ShardSet(path).manifest["shards"])
    progress = Progress("bars" if sys.stderr.isatty() and not as_json else "quiet")
    with progress.phase("verify", total, "B") as advance:
        report = verify_shards(path, advance)
    problems = list(report.problems)
    compared = None
    if against and report.ok:
        from scdata.build.against.verify import verify_against

        compared = verify_against(path, against, orthologs=orthologs, workers=workers, progress=progress)
        problems += compared.problems
    elif against:
        problems.append("not compared with its source: the set is damaged")
    seconds = time.monotonic() - begin
    if as_json:
        print_json({"ok": not problems, "problems": problems, "cells": report.n_cells, "blocks": report.n_blocks,
                    "shards": report.n_shards, "bytes": total, "cells_compared": 0 if compared is None else compared.n_cells,
                    "seconds": round(seconds, 3)})  # fmt: skip
        return 1 if problems else 0
    for problem in problems:
        click.echo(problem)
    if problems:
        click.echo(f"{path}: {len(problems)} problem(s)", err=True)
        return 1
    click.echo(
        f"{path}: {report.n_shards} shard(s), {report.n_blocks} block(s), {report.n_cells:,} cells, "
        f"{total / 1e6:,.1f} MB read in {seconds:.1f} s: every byte is as it was written"
    )
    if compared is not None:
        click.echo(
            f"  and every cell is as in {', '.join(against)}: {compared.n_cells:,} cells, {compared.vocab_counts:,} counts, "
            "of every gene and dataset as many; what was left out was left out for the reasons counted"
        )
    return 0
