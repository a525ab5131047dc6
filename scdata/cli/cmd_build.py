"""``scdata build``."""

import dataclasses
import re
import time
import tomllib
from pathlib import Path
from typing import Any

import click

from scdata._config import from_table
from scdata.build.config import BuildConfig
from scdata.build.pipeline import run_build
from scdata.build.progress import Progress
from scdata.cli.dry_run import show_plan
from scdata.cli.events import error_event
from scdata.cli.main import print_json, progress_mode
from scdata.report.drops import drop_lines
from scdata.report.leaks import leak_lines
from scdata.report.orthologs import ortholog_lines
from scdata.shard.roles import roles_of

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMG]i?)?B?")
_FACTOR = {None: 1, "k": 10**3, "M": 10**6, "G": 10**9, "ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


class _Bytes(click.ParamType[int]):
    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = _SIZE.fullmatch(str(value))
        if not match:
            self.fail(f"{value!r}: expected a size such as 256MB or 64MiB", param, ctx)
        return int(float(match.group(1)) * _FACTOR[match.group(2)])


@click.command(name="build", short_help="Turn counts into a set of shards.")
@click.argument("sources", nargs=-1, metavar="SOURCE...")
@click.option(
    "-o",
    "--out",
    help="Folder of the set, or s3://BUCKET/…: new, empty, or with an unfinished build of the same command.",
)
@click.option("--endpoint", help="Address of the S3 service behind s3://.  [default: $AWS_ENDPOINT_URL, else Amazon's]")
@click.option("--region", help="Its region.  [default: $AWS_REGION]")
@click.option("--anonymous", is_flag=True, default=None, help="Do not sign requests to S3: for public buckets.")
@click.option("--tokenizer", help="Preset by name, or the path of your own .toml.  [default: counts]")
@click.option("--assets", help="Folder with the published vocabulary, or 'fit' for the source's own genes.")
@click.option(
    "--genes", help="Which genes may be tokens: full, expressed, hvg:N, hvg:N:seurat.  [default: as the preset says]"
)
@click.option("--batch-key", help="obs column of batches, for hvg:N.  [default: none]")
@click.option(
    "--store", type=click.Choice(["counts", "tokens"]), help="What shards hold.  [default: as the preset says]"
)
@click.option(
    "--layer",
    help="Where counts are: X, raw.X, or a layer.  [default: X, or raw.X if X is not counts; SOMA: raw or counts]",
)
@click.option("--measurement", help="Measurement of a SOMA experiment.  [default: RNA]")
@click.option(
    "--dataset-column",
    help="obs column that names each cell's dataset.  [default: as an export says, else dataset_id, else the file]",
)
@click.option(
    "--organism",
    metavar="SPECIES",
    help="Species of all cells.  [default: what a Census, a set or obs column organism says, else by Ensembl ids]",
)
@click.option("--feature-id", help="var column with gene ids.  [default: the one that maps most counts]")
@click.option("--min-mapped", type=float, help="Least fraction of counts in the vocabulary.  [default: 0.5]")
@click.option(
    "--orthologs",
    metavar="FILE",
    help="Table of orthologs (.parquet, .csv, .tsv; a column of ids a species): sources of other species become these genes; "
    "those without an ortholog are lost, and said.",
)
@click.option(
    "--orthologs-to",
    metavar="SPECIES",
    help="Whose genes the set has: human, or a column of the table.  [default: those of the published vocabulary]",
)
@click.option(
    "--many-to-one", is_flag=True, default=None, help="Sum the counts of genes that share an ortholog.  [default: drop]"
)
@click.option("--obs-filter", help="Cells to keep: \"tissue == 'blood' and n_genes > 200\".")
@click.option(
    "--limit",
    type=int,
    help="Keep a uniform sample of so many cells; smaller ones are parts of larger.  [default: all]",
)
@click.option("--min-counts", type=int, help="Least counts of a cell.  [default: 1]")
@click.option("--max-counts", type=int, help="Most counts of a cell.")
@click.option("--min-genes", type=int, help="Least expressed genes of a cell.")
@click.option("--max-genes", type=int, help="Most expressed genes of a cell.")
@click.option(
    "--drop-duplicates",
    is_flag=True,
    default=None,
    help="Of cells (of 50 genes or more) that express exactly the same, in any source, keep the first.",
)
@click.option(
    "--obs",
    help="obs columns to store, separated by commas; '' for none.  [default: all but huge ones, and those that an "
    "export added]",
)
@click.option(
    "--perturbation",
    metavar="COL",
    help="obs column that names what was done to a cell: with --control, a role that the manifest names.  [default: as a "
    "source says that is a set, or an export of one]",
)
@click.option("--control", metavar="VALUE", help="Its value of controls.")
@click.option(
    "--control-match",
    metavar="COL[,COL]",
    help="obs columns in which a cell and its control are alike, beside the dataset; '' for none.  [default: --batch-key, "
    "else donor_id if there is one]",
)
@click.option(
    "--split",
    "splits",
    multiple=True,
    help="NAME=FRACTION (of cells, about), NAME=FRACTION:COL (in whole groups), or NAME=COL:'v'[,'w']; first match "
    "wins, the rest is train. Repeatable.",
)
@click.option("--seed", type=int, help="Decides order and splits.  [default: 0]")
@click.option("--workers", type=int, help="Processes.  [default: 1]")
@click.option(
    "--scheduler",
    help="tcp://HOST:PORT of a running Dask cluster that shares sources and output.  [default: local, processes here]",
)
@click.option("--shard-size", type=_Bytes(), help="Size of a shard.  [default: 256MiB]")
@click.option("--block-size", type=int, help="Cells of a block.  [default: 1024]")
@click.option("--codec", type=click.Choice(["zstd", "none"]), help="Compression of blocks.  [default: zstd]")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    help="Where stored tokens are made.  [default: auto, a GPU if CuPy finds one]",
)
@click.option("--scratch", help="Folder for intermediate files, or s3://BUCKET/….  [default: in the output]")
@click.option("--config", "config_path", type=click.Path(), help="TOML file with these options as keys; the line wins.")
@click.option(
    "--overwrite", is_flag=True, default=None, help="Replace the set, or the unfinished build, at the output."
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Plan only: say what would be built, how long that takes and what it needs, and leave nothing behind.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="JSON lines instead of text, as events.schema.json has them; the last is the summary, or the error.",
)
def command(config_path: str | None, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Turn counts into a set of verified, globally shuffled WebDataset shards.

    SOURCE is an h5ad file, an AnnData zarr store, a 10x .h5 file, a SOMA experiment, Parquet with lists of genes and
    expressions, a folder of X.npz, obs.parquet and var.parquet, WebDataset tars with a cell a sample, or a finished set of
    counts; a folder or 'quoted/**/*.h5ad' pattern of h5ad files, a list of sources (.txt,
    one path a line); here or at an address (s3://, hf://, https://); census:RELEASE/ORGANISM, or `synthetic:cells=1000`.
    Several are read in the order given. Memory stays bounded whatever their size. If the build is stopped, even by kill -9,
    the same command goes on.

    \b
    Examples:
      scdata build synthetic:cells=2000 -o /tmp/try.set --split val=0.1
      scdata build pbmc.h5ad -o pbmc.set --split val=0.1:donor_id --workers 4
      scdata build census:stable/homo_sapiens -o lung.set --obs-filter "tissue_general == 'lung'"
      scdata build pbmc.h5ad -o ranks.set --tokenizer geneformer-v2 --assets fit
      scdata build mouse.h5ad -o mouse.set --orthologs human_mouse.parquet --orthologs-to human
    """
    with error_event(as_json):
        config = _config(config_path, options)
        progress = Progress(progress_mode(as_json))
        if dry_run:
            show_plan(config, progress, as_json)
            return
        begin = time.monotonic()
        manifest = run_build(config, progress)
        _summary(manifest, config, time.monotonic() - begin, as_json)


def _config(path: str | None, options: dict[str, Any]) -> BuildConfig:
    given = {name: value for name, value in options.items() if value not in (None, ())}
    for key in ("obs", "control_match"):
        if key in given:
            given[key] = tuple(name.strip() for name in given[key].split(",") if name.strip())
    if path is not None:
        given = {**_read_toml(path), **given}
    if not given.get("sources"):
        raise click.UsageError("no SOURCE given: name an h5ad file, a SOMA experiment, or synthetic:cells=1000")
    if not given.get("out"):
        raise click.UsageError("no output given: add -o FOLDER")
    return BuildConfig(**given)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _File:
    """The keys of a ``--config`` file: the options, with ``_`` or ``-``."""

    sources: tuple[str, ...] | None = None
    out: str | None = None
    endpoint: str | None = None
    region: str | None = None
    anonymous: bool | None = None
    tokenizer: str | None = None
    assets: str | None = None
    genes: str | None = None
    batch_key: str | None = None
    store: str | None = None
    layer: str | None = None
    measurement: str | None = None
    dataset_column: str | None = None
    organism: str | None = None
    feature_id: str | None = None
    min_mapped: float | None = None
    orthologs: str | None = None
    orthologs_to: str | None = None
    many_to_one: bool | None = None
    obs_filter: str | None = None
    limit: int | None = None
    min_counts: int | None = None
    max_counts: int | None = None
    min_genes: int | None = None
    max_genes: int | None = None
    drop_duplicates: bool | None = None
    obs: tuple[str, ...] | None = None
    perturbation: str | None = None
    control: str | None = None
    control_match: tuple[str, ...] | None = None
    split: tuple[str, ...] | None = None
    seed: int | None = None
    workers: int | None = None
    scheduler: str | None = None
    shard_size: str | None = None
    block_size: int | None = None
    codec: str | None = None
    device: str | None = None
    scratch: str | None = None
    overwrite: bool | None = None


def _read_toml(path: str) -> dict[str, Any]:
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: not a TOML file: {error}") from error
    table = {key.replace("-", "_"): value for key, value in table.items()}
    for key in ("sources", "obs", "control_match", "split"):  # one may stand alone
        if isinstance(table.get(key), str):
            table[key] = [table[key]]
    given = {key: value for key, value in vars(from_table(_File, table, path)).items() if value is not None}
    if "split" in given:
        given["splits"] = given.pop("split")
    if "shard_size" in given:
        given["shard_size"] = _Bytes().convert(given["shard_size"], None, None)
    return given


def _summary(manifest: dict[str, Any], config: BuildConfig, seconds: float, as_json: bool) -> None:
    n_bytes = sum(split["bytes"] for split in manifest["splits"].values())
    table = {
        "event": "done",
        "out": config.out,
        "tokenizer": manifest["tokenizer"],
        "cells": manifest["n_cells"],
        "genes": manifest["n_genes"],
        "counts_mapped": manifest["vocab_counts"] / max(1, manifest["total_counts"]),
        "splits": {name: split["n_cells"] for name, split in manifest["splits"].items()},
        "shards": len(manifest["shards"]),
        "bytes": n_bytes,
        "bytes_per_cell": n_bytes / manifest["n_cells"],
        "drops": manifest["drops"],
        "duplicates": manifest["duplicates"],
        "groups": manifest["groups"],
        "perturbation": manifest.get("perturbation"),
        "seconds": round(seconds, 3),
        "cells_per_second": manifest["n_cells_read"] / seconds,
    }
    if as_json:
        print_json(table)
        return
    splits = ", ".join(f"{name} {n:,}" for name, n in table["splits"].items())
    click.echo(f"{config.out}: {table['cells']:,} cells ({splits}) of {table['genes']:,} genes as {table['tokenizer']}")
    click.echo(
        f"  {table['counts_mapped']:.1%} of the counts belong to genes of the vocabulary; "
        f"{table['shards']} shard(s), {table['bytes_per_cell']:,.0f} bytes a cell"
    )
    for line in (*ortholog_lines(manifest["sources"]), *drop_lines(table["drops"]), *leak_lines(table)):
        click.echo(line)
    if (roles := roles_of(manifest)) is not None:
        click.echo(f"  {roles.line()}")
    if manifest["obs_left_out"]:
        click.echo(f"  obs columns left out (too many distinct strings): {', '.join(manifest['obs_left_out'])}")
    click.echo(f"  {seconds:.1f} s, {table['cells_per_second']:,.0f} cells/s. Next: scdata inspect {config.out}")
