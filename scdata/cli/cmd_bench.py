"""``scdata bench``."""

from typing import Any

import click
from click.core import ParameterSource

from scdata.cli.main import print_json
from scdata.report.throughput import MODES, measure


@click.command(name="bench", short_help="Measure how fast a set streams, or how well it is shuffled.")
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
@click.option("--shuffle", is_flag=True, help="Measure how well the set is shuffled, not how fast it is.")
@click.option(
    "--label", help="obs column that should be mixed.  [default: dataset, else the column of largest entropy]"
)
@click.option("--epochs", default=3, show_default=True, help="Epochs to compare.")
@click.option("--seed", default=0, show_default=True, help="Seed of the order.")
@click.option("--lanes", default=16, show_default=True, help="Lanes of the order.")
@click.option("--window", default=16384, show_default=True, help="Cells of a window of all lanes.")
@click.option("--plot", metavar="FILE.png", help="Draw it, too (needs matplotlib).")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(
    path: str,
    split: str,
    tokenizer: str | None,
    batch_sizes: tuple[int, ...],
    seconds: float,
    shuffle: bool,
    as_json: bool,
    plot: str | None,
    **order: Any,
) -> None:
    """Stream a set and print cells per second by output mode and batch size, per second and per second of a core.

    With --shuffle, measure how well its cells are mixed, without reading a shard. One line for the order of ShardDataset,
    and for others of the same cells: all permuted at once; the set from front to back, or its blocks at random through
    a shuffle buffer as large as --window; and both of these on the sources as they were before the build shuffled them.

    \b
      entropy     of the labels of a batch, over that of a uniform draw of as many cells
                  (mean, and 5th percentile of the batches): 1 is well mixed, 0 is one label a batch
      pairs       how often two cells of a batch share a batch in the next epoch too, over chance
      neighbours  how often two cells that are stored in one block share a batch, over chance

    If pairs or neighbours are far from 1, raise --window (memory grows with it): a lane's part of it, window / lanes, should
    hold a block of the set, 1,000 cells or so.

    \b
    Example:
      scdata build synthetic:cells=20000 -o /tmp/try.set
      scdata bench /tmp/try.set
      scdata bench /tmp/try.set --shuffle --batch-size 64
    """
    if shuffle:
        _shuffle(path, split, batch_sizes, plot, as_json, order)
        return
    source = click.get_current_context().get_parameter_source
    given = [name for name in (*order, "plot") if source(name) is ParameterSource.COMMANDLINE]
    if given:
        raise click.UsageError(f"--{given[0]} is for the measure of the shuffle: add --shuffle")
    rows = [
        {"output": output, "batch_size": size, **measure(path, split, tokenizer, output, size, seconds)}
        for output in MODES
        for size in batch_sizes
    ]
    if as_json:
        print_json({"path": path, "split": split, "tokenizer": tokenizer, "modes": rows})
        return
    click.echo(f"{'output':<8}{'batch':>7}{'cells/s':>14}{'cells/core-s':>14}")
    for row in rows:
        click.echo(f"{row['output']:<8}{row['batch_size']:>7}{row['cells_s']:>14,.0f}{row['cells_core_s']:>14,.0f}")


def _shuffle(
    path: str, split: str, batch_sizes: tuple[int, ...], plot: str | None, as_json: bool, order: dict[str, Any]
) -> None:
    from scdata.cli.shuffle_report import draw_quality, print_quality
    from scdata.stream.shuffle_quality import shuffle_quality

    found = [shuffle_quality(path, split=split, batch_size=size, **order) for size in batch_sizes]
    if plot is not None:
        draw_quality(found, plot)
    if as_json:
        print_json({"path": path, "split": split, **order, "shuffle": [one.as_json() for one in found]})
        return
    for one in found:
        print_quality(one)
