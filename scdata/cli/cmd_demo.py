"""``scdata demo``."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

from scdata._errors import ScdataError
from scdata.build.pipeline import build_shards
from scdata.cli.cmd_inspect import sample_cells
from scdata.resources import resource
from scdata.shard.shard_set import ShardSet
from scdata.shard.verify import verify_shards

_CELLS = "demo/demo_pbmc_ifnb_1k.h5ad"
_BATCH = 32


@click.command(name="demo", short_help="The whole way on 1,000 real cells.")
@click.option(
    "-o",
    "--out",
    default="scdata-demo",
    show_default=True,
    help="Folder for the sets, the model and the plot.",
)
@click.option("--seconds", default=25.0, show_default=True, help="Time for training the small model.")
def command(out: str, seconds: float) -> None:
    """Go the whole way on 1,000 real cells that come with scdata, in about a minute.

    Counts become verified shards, stream back exactly once, resume after a kill, turn into Geneformer ranks, and train a
    small masked gene model, judged beside predictors without parameters.

    \b
    Example:
      scdata demo --out /tmp/scdata-demo
    """
    begin = time.monotonic()
    folder = Path(out)
    counts, ranks = folder / "counts.set", folder / "geneformer.set"
    click.echo(
        "1,000 blood cells of lupus patients, half of them treated with interferon-beta (Kang et al. 2018, GEO GSE96583).\n"
    )
    _build(counts)
    _verify(counts)
    _stream(counts)
    _kill_and_resume(counts)
    _ranks(ranks)
    _train(counts, folder / "model", seconds)
    click.echo(
        f"\nDone in {time.monotonic() - begin:.0f} s. Everything is in {folder}. Look around: scdata inspect {counts}"
    )


def _build(out: Path) -> None:
    click.echo("1. Build: counts become shards, shuffled over the whole corpus, a tenth kept aside.")
    begin = time.monotonic()
    manifest = build_shards(resource(_CELLS), out, splits=["val=0.1"], block_size=128, overwrite=True)
    splits = ", ".join(f"{s['n_cells']} {name}" for name, s in manifest["splits"].items())
    n_bytes = sum(s["bytes"] for s in manifest["splits"].values())
    source = resource(_CELLS).stat().st_size
    click.echo(
        f"   {manifest['n_cells']:,} cells ({splits}) of {manifest['n_genes']:,} genes in {time.monotonic() - begin:.1f} s: "
        f"{n_bytes / manifest['n_cells']:.0f} bytes a cell, the h5ad takes {source / manifest['n_cells']:,.0f}."
    )
    for name, n in _by_column(out, "condition").items():
        click.echo(f"   train holds {n} cells with condition {name!r}")


def _by_column(path: Path, column: str) -> dict[str, int]:
    values = ShardSet(path).read_obs("train")[column].cast("string").value_counts().to_pylist()
    return {pair["values"]: pair["counts"] for pair in sorted(values, key=lambda pair: str(pair["values"]))}


def _verify(path: Path) -> None:
    click.echo("\n2. Verify: every byte is read again and compared with the manifest.")
    report = verify_shards(path)
    if not report.ok:
        raise ScdataError("; ".join(report.problems))
    click.echo(
        f"   {report.n_shards} shards, {report.n_blocks} blocks, {report.n_cells:,} cells: all as they were written."
    )


def _stream(path: Path) -> None:
    from scdata.batch.dataset import ShardDataset

    click.echo("\n3. Stream: an epoch of shuffled batches, each cell exactly once.")
    dataset = ShardDataset(path, batch_size=_BATCH, output="packed")
    list(dataset)  # the first pass compiles the kernels
    begin, epochs, ids = time.perf_counter(), 0, []
    while time.perf_counter() - begin < 1:
        dataset.set_epoch(epochs)
        ids = [int(i) for batch in dataset for i in batch["cell_id"]]
        epochs += 1
    rate = epochs * len(ids) / (time.perf_counter() - begin)
    once = "each once" if len(set(ids)) == len(ids) == dataset.n_cells else "NOT each once"
    click.echo(f"   {len(ids)} cells, {once}; {rate:,.0f} cells/s as packed tensors, on this machine, one process.")


def _kill_and_resume(path: Path) -> None:
    from scdata.batch.dataset import ShardDataset

    click.echo("\n4. Kill and resume: another process streams, is killed in the middle (kill -9), and we take over.")
    child = subprocess.Popen(
        [sys.executable, "-m", "scdata.cli.demo_stream", str(path), str(_BATCH)], stdout=subprocess.PIPE
    )
    assert child.stdout is not None  # a pipe was asked for
    before: list[int] = []
    state: Any = None
    for _ in range(10):
        line = json.loads(child.stdout.readline())
        before += line["cell_id"]
        state = line["state"]
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    dataset = ShardDataset(path, batch_size=_BATCH, output="packed")
    dataset.load_state_dict(state)
    after = [int(i) for batch in dataset for i in batch["cell_id"]]
    both, union = len(set(before) & set(after)), len(set(before) | set(after))
    if both or union != dataset.n_cells:
        raise ScdataError(f"resuming was not exact: {both} cells twice, {union} of {dataset.n_cells} seen")
    click.echo(
        f"   {len(before)} cells before the kill, {len(after)} after it: none twice, none lost of {dataset.n_cells}."
    )


def _ranks(out: Path) -> None:
    click.echo("\n5. Geneformer's tokens: genes by falling count / total / median of the gene.")
    build_shards(resource(_CELLS), out, tokenizer="geneformer-v2", assets="fit", overwrite=True)
    click.echo("   The published vocabulary is not part of scdata, so genes and medians are these cells' own ('fit'):")
    for cell in sample_cells(ShardSet(out), 3):
        click.echo(f"   cell {cell['cell_id']:>3}: {', '.join(cell['top'])} … ({cell['n_tokens']} tokens)")


def _train(path: Path, out: Path, seconds: float) -> None:
    click.echo(f"\n6. Train: a small masked gene model for {seconds:.0f} s, beside predictors without parameters.")
    if (out / "log.jsonl").is_file():  # of an earlier demo
        shutil.rmtree(out)
    script = resource("recipes") / "masked_gene_modelling" / "train.py"
    arguments = [
        "--set",
        str(path),
        "--size",
        "tiny",
        "--max-minutes",
        str(seconds / 60),
        "--out",
        str(out),
        "--json",
    ]
    done = subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise ScdataError(f"training failed:\n{done.stderr.strip()}")
    result = json.loads(done.stdout.strip().splitlines()[-1])
    unit = result["unit"].replace("^2", "²")
    click.echo(
        f"   {result['n_params']:,} parameters. Mean squared error on hidden values of the val split, in {unit}:"
    )
    baselines = {name.replace("_", " "): loss for name, loss in result["baselines"].items()}
    rows = [(f"the model after {result['steps']} steps", result["val_loss"]), *baselines.items()]
    for name, loss in sorted(rows, key=lambda row: -row[1]):
        click.echo(f"     {name:<30} {loss:8.2f}")
    beaten = [name for name, loss in baselines.items() if result["val_loss"] < loss]
    click.echo(
        f"   The model beats {_and(beaten)}. 900 cells are no corpus: this shows that the plumbing works, no more."
    )
    click.echo(f"   The curve: {out / 'curve.png'}")


def _and(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:]))) or "none of them"
