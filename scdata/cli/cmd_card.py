"""``scdata card``."""

from pathlib import Path

import click

from scdata.hub.card import dataset_card
from scdata.hub.preview import preview_bytes
from scdata.shard.shard_set import ShardSet


@click.command(name="card", short_help="Show the dataset card that a set gets on the Hub.")
@click.argument("path", metavar="SET")
@click.option(
    "--repo", default="USER/NAME", show_default=True, help="Name of the dataset on the Hub, for the card's examples."
)
@click.option(
    "--preview", type=click.Path(path_type=Path), metavar="FILE", help="Also write the preview of cells: Parquet."
)
def command(path: str, repo: str, preview: Path | None) -> None:
    """Print the card (Markdown with the Hub's YAML) that `scdata publish` puts beside a set: what it holds, where it comes
    from, how it was made, how to load and check it, and its limits. It is made of the manifest alone; no network is needed.

    \b
    Example:
      scdata build synthetic:cells=2000 -o /tmp/try.set
      scdata card /tmp/try.set --repo you/try
    """
    shards = ShardSet(path)
    click.echo(dataset_card(shards, repo))
    if preview is not None:
        preview.write_bytes(preview_bytes(shards))
