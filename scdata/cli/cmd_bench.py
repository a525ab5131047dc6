"""``scdata bench``."""

import time
from typing import Any

import click

from scdata.cli.main import print_json

_MODES = ("packed", "padded", "dense")


@click.command(name="bench", short_help="Measure how fast a set streams.")
@click.argument("path", metavar="SET")
@click.option("--split", default="train", show_default=True, help="Which split to stream.")
@click.option("--tokenizer", help="Another tokenizer, on the fly, such as scgpt+fit.  [default: the set's own]")
@click.option(
    "--batch-size",
    "batch_sizes",
    multiple=True,
    type=int,
    default=(64, 1024),
    show_default=True,
    help="Repeatable.",
)
@click.option(
    "--seconds",
    default=2.0,
    show_default=True,
    help="Time for each line, after a warm-up of one epoch or as long.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(
    path: str, split: str, tokenizer: str | None, batch_sizes: tuple[int, ...], seconds: float, as_json: bool
) -> None:
    """Stream a set and print cells per second by output mode and batch size, per second and per second of a core.

    \b
    Example:
      scdata build synthetic:cells=20000 -o /tmp/try.set
      scdata bench /tmp/try.set
    """
    rows = [
        {"output": output, "batch_size": size, **measure(path, split, tokenizer, output, size, seconds)}
        for output in _MODES
        for size in batch_sizes
    ]
    if as_json:
        print_json({"path": path, "split": split, "tokenizer": tokenizer, "modes": rows})
        return
    click.echo(f"{'output':<8}{'batch':>7}{'cells/s':>14}{'cells/core-s':>14}")
    for row in rows:
        click.echo(f"{row['output']:<8}{row['batch_size']:>7}{row['cells_s']:>14,.0f}{row['cells_core_s']:>14,.0f}")


def measure(
    path: str, split: str, tokenizer: str | None, output: str, batch_size: int, seconds: float
) -> dict[str, Any]:
    """Cells per second, and per second of CPU time of this process."""
    from scdata.batch.dataset import ShardDataset

    dataset = ShardDataset(path, split=split, tokenizer=tokenizer, output=output, batch_size=batch_size)
    _stream(dataset, seconds, 0)
    wall, cpu = time.perf_counter(), time.process_time()
    cells = _stream(dataset, seconds, 1)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"cells": cells, "cells_s": cells / wall, "cells_core_s": cells / cpu}


def _stream(dataset: Any, seconds: float, epoch: int) -> int:
    begin, cells = time.perf_counter(), 0
    while True:
        dataset.set_epoch(epoch)
        for batch in dataset:
            cells += len(batch["cell_id"])
            if time.perf_counter() - begin > seconds:
                return cells
        epoch += 1
