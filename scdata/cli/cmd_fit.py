"""``scdata fit``."""

import time

import click

from scdata.build.fit_set import fit_set
from scdata.build.progress import Progress
from scdata.cli.main import print_json, progress_mode


@click.command(name="fit", short_help="Work out medians, variable genes and depth bins of a set of counts.")
@click.argument("path", metavar="SET")
@click.option("--batch-key", help="obs column of batches for the choice of variable genes.  [default: none]")
@click.option("--json", "as_json", is_flag=True, help="JSON lines instead of text.")
def command(path: str, batch_key: str | None, as_json: bool) -> None:
    """Work out, over all cells of a set of counts, what some tokenizers need of a corpus: medians of genes, variable genes,
    and bins by read depth. Writes stats.arrow into the set; nothing else changes. Then these work on the fly:

    \b
      ShardDataset("cells.set", tokenizer="geneformer-v2+fit")
      ShardDataset("cells.set", tokenizer="depth-bins+fit")

    \b
    Example:
      scdata build synthetic:cells=2000 -o /tmp/try.set
      scdata fit /tmp/try.set
    """
    begin = time.monotonic()
    found = fit_set(path, batch_key=batch_key, progress=Progress(progress_mode(as_json)))
    assert found.depth is not None  # always wanted
    table = {
        "event": "done",
        "set": path,
        "cells": int(found.depth.cells.sum()),
        "genes": found.n_genes,
        "batch_key": batch_key,
        "seconds": round(time.monotonic() - begin, 3),
    }
    if as_json:
        print_json(table)
        return
    click.echo(f"{path}: statistics of {table['cells']:,} cells and {table['genes']:,} genes, {table['seconds']:.1f} s")
    click.echo("  now on the fly: geneformer-v2+fit, depth-bins+fit, and presets that choose variable genes (NAME+fit)")
