"""``scdata export``."""

import time

import click

from scdata.build.progress import Progress
from scdata.cli.events import error_event
from scdata.cli.main import print_json, progress_mode
from scdata.export.formats import FORMATS, export_set
from scdata.shard.roles import roles_of
from scdata.shard.shard_set import ShardSet
from scdata.source.export_facts import SIDE_FILE, UNS_KEY


@click.command(
    name="export",
    short_help="Write a set as the files of another tool.",
    epilog="\b\nFormats:\n" + "\n".join(f"  {name:<17} {one.WHAT}" for name, one in FORMATS.items()),
)
@click.argument("path", metavar="SET")
@click.argument("out")
@click.option("--format", "format_", required=True, type=click.Choice(list(FORMATS)), help="See below.")
@click.option("--split", "splits", multiple=True, help="Which splits, one a flag.  [default: all]")
@click.option("--tokenizer", help="hf-geneformer, of a set of counts: geneformer-v2, geneformer-v2+fit, …")
@click.option("--overwrite", is_flag=True, help="Replace what stands at OUT.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines instead of text.")
def command(
    path: str, out: str, format_: str, splits: tuple[str, ...], tokenizer: str | None, overwrite: bool, as_json: bool
) -> None:
    """Write the cells of a set for another tool, in memory that does not grow with the set but for obs.

    What holds counts can be built from again: scdata build OUT -o SET. obs tells split, dataset and organism;
    uns["scdata"] of h5ad and zarr, scdata.json of the other folders, tell the roles of a perturbation, titles and
    citations of datasets, the genes that each measured, obs columns that are not the set's, and which set it was. The
    build takes that over, but for splits: --split "val=split:'val'".

    \b
    Example:
      scdata build synthetic:cells=2000 -o /tmp/try.set
      scdata export /tmp/try.set /tmp/try.h5ad --format h5ad
    """
    begin = time.monotonic()
    with error_event(as_json):
        n = export_set(
            path,
            out,
            format_,
            splits=splits or None,
            tokenizer=tokenizer,
            overwrite=overwrite,
            progress=Progress(progress_mode(as_json)),
        )
    seconds = round(time.monotonic() - begin, 3)
    if as_json:
        print_json({"event": "done", "set": path, "out": out, "format": format_, "cells": n, "seconds": seconds})
    else:
        click.echo(f"{out}: {n:,} cells as {format_}, {seconds:.1f} s")
        if (roles := roles_of(ShardSet(path).manifest)) is not None:
            click.echo(f"  {roles.line()}; that stands in {_place(format_)}")


def _place(format_: str) -> str:
    return f"uns[{UNS_KEY!r}]" if format_ in ("h5ad", "zarr") else SIDE_FILE
