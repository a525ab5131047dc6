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
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(path: str, as_json: bool) -> int:
    """Read a whole set and compare everything with its manifest: hashes, tar members, decoded cells, obs.

    Ends with status 1 and a line for each thing that differs, naming shard and block.

    \b
    Example:
      scdata build synthetic:cells=2000 -o /tmp/try.set
      scdata verify /tmp/try.set
    """
    begin = time.monotonic()
    total = sum(int(shard["bytes"]) for shard in ShardSet(path).manifest["shards"])
    progress = Progress("bars" if sys.stderr.isatty() and not as_json else "quiet")
    with progress.phase("verify", total, "B") as advance:
        report = verify_shards(path, advance)
    seconds = time.monotonic() - begin
    if as_json:
        print_json({"ok": report.ok, "problems": report.problems, "cells": report.n_cells, "blocks": report.n_blocks,
                    "shards": report.n_shards, "bytes": total, "seconds": round(seconds, 3)})  # fmt: skip
    elif report.ok:
        click.echo(
            f"{path}: {report.n_shards} shard(s), {report.n_blocks} block(s), {report.n_cells:,} cells, "
            f"{total / 1e6:,.1f} MB read in {seconds:.1f} s: every byte is as it was written"
        )
    else:
        for problem in report.problems:
            click.echo(problem)
        click.echo(f"{path}: {len(report.problems)} problem(s)", err=True)
    return 0 if report.ok else 1
