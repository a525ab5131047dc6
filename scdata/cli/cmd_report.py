"""``scdata report``."""

import time
from pathlib import Path

import click

from scdata._optional import need
from scdata.build.progress import Progress
from scdata.cli.main import print_json, progress_mode

_MOST_SETS = 2


@click.command(name="report", short_help="Write a page to look at: what a set is made of, or two side by side.")
@click.argument("paths", metavar="SET...", nargs=-1, required=True)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default="report.html",
    show_default=True,
    help="The page; one that stands there is replaced.",
)
@click.option("--json", "as_json", is_flag=True, help="Also print the numbers: one JSON object.")
def command(paths: tuple[str, ...], out: Path, as_json: bool) -> None:
    """Go through a set once and write one HTML file about it, which needs no network: datasets, tissues, assays, donors and all
    other obs columns of few values, depth and genes of cells, genes most and least detected, cells left out, splits and leaks,
    tokens by preset, shuffle quality, some decoded cells, throughput, hashes. Two sets are put side by side.

    Needs matplotlib (extra plot), and the extra torch for tokens by preset and throughput.

    \b
    Example:
      scdata build synthetic:cells=2000 -o /tmp/try.set
      scdata report /tmp/try.set -o /tmp/try.html
    """
    if len(paths) > _MOST_SETS:
        raise click.UsageError(f"{len(paths)} sets: a page has room for {_MOST_SETS} beside each other")
    need("matplotlib", "draw the figures of a report")
    from scdata.report.page import report_page
    from scdata.report.set_numbers import set_numbers
    from scdata.shard.files import write_bytes

    begin = time.monotonic()
    progress = Progress("quiet" if as_json else progress_mode(False))
    every = [set_numbers(path, progress) for path in paths]
    data = report_page(every).encode()
    write_bytes(out, data)
    if as_json:
        print_json({"page": str(out), "sets": [one.table for one in every]})
        return
    click.echo(f"{out}: {len(data) / 1e6:.1f} MB, {time.monotonic() - begin:.1f} s")
