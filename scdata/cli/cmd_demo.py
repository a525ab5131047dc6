"""``scdata demo``."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from scdata._errors import ScdataError
from scdata.build.pipeline import build_shards
from scdata.cli.cmd_inspect import sample_cells
from scdata.cli.main import print_json
from scdata.resources import resource
from scdata.shard.shard_set import ShardSet
from scdata.shard.verify import verify_shards

_CELLS = "demo/demo_pbmc_ifnb_1k.h5ad"
_BATCH = 32
Say = Callable[[str], None]


@click.command(name="demo", short_help="The whole way on 1,000 real cells.")
@click.option(
    "-o",
    "--out",
    default="scdata-demo",
    show_default=True,
    help="Folder for the sets, the model and the plot.",
)
@click.option("--seconds", default=25.0, show_default=True, help="Time for training the small model.")
@click.option("--json", "as_json", is_flag=True, help="No story: one JSON object with what was measured.")
def command(out: str, seconds: float, as_json: bool) -> None:
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
    say: Say = (lambda text: None) if as_json else click.echo
    say(
        "1,000 blood cells of lupus patients, half of them treated with interferon-beta (Kang et al. 2018, GEO GSE96583).\n"
    )
    table = {
        "build": _build(counts, say),
        "verify": _verify(counts, say),
        "stream": _stream(counts, say),
        "resume": _kill_and_resume(counts, say),
        "ranks": _ranks(ranks, say),
        "train": _train(counts, folder / "model", seconds, say),
        "seconds": round(time.monotonic() - begin, 1),
    }
    if as_json:
        print_json(table)
    say(f"\nDone in {table['seconds']:.0f} s. Everything is in {folder}. Look around: scdata inspect {counts}")


def _build(out: Path, say: Say) -> Any:
    say("1. Build: counts become shards, shuffled over the whole corpus, a tenth kept aside.")
    begin = time.monotonic()
    manifest = build_shards(resource(_CELLS), out, splits=["val=0.1"], block_size=128, overwrite=True)
    splits = ", ".join(f"{s['n_cells']} {name}" for name, s in manifest["splits"].items())
    n_bytes = sum(s["bytes"] for s in manifest["splits"].values())
    source = resource(_CELLS).stat().st_size
    say(
        f"   {manifest['n_cells']:,} cells ({splits}) of {manifest['n_genes']:,} genes in {time.monotonic() - begin:.1f} s: "
        f"{n_bytes / manifest['n_cells']:.0f} bytes a cell, the h5ad takes {source / manifest['n_cells']:,.0f}."
    )
    for name, n in _by_column(out, "condition").items():
        say(f"   train holds {n} cells with condition {name!r}")
    return {"cells": manifest["n_cells"], "splits": manifest["splits"], "bytes_per_cell": n_bytes / manifest["n_cells"]}


def _by_column(path: Path, column: str) -> dict[str, int]:
    values = ShardSet(path).read_obs("train")[column].cast("string").value_counts().to_pylist()
    return {pair["values"]: pair["counts"] for pair in sorted(values, key=lambda pair: str(pair["values"]))}


def _verify(path: Path, say: Say) -> Any:
    say("\n2. Verify: every byte is read again and compared with the manifest.")
    report = verify_shards(path)
    if not report.ok:
        raise ScdataError("; ".join(report.problems))
    say(f"   {report.n_shards} shards, {report.n_blocks} blocks, {report.n_cells:,} cells: all as they were written.")
    return {"shards": report.n_shards, "blocks": report.n_blocks, "cells": report.n_cells}


def _stream(path: Path, say: Say) -> Any:
    from scdata.batch.dataset import ShardDataset

    say("\n3. Stream: an epoch of shuffled batches, each cell exactly once.")
    dataset = ShardDataset(path, batch_size=_BATCH, output="packed")
    list(dataset)  # the first pass compiles the kernels
    begin, epochs, ids = time.perf_counter(), 0, []
    while time.perf_counter() - begin < 1:
        dataset.set_epoch(epochs)
        ids = [int(i) for batch in dataset for i in batch["cell_id"]]
        epochs += 1
    rate = epochs * len(ids) / (time.perf_counter() - begin)
    if not len(set(ids)) == len(ids) == dataset.n_cells:
        raise ScdataError(f"an epoch had {len(ids)} cells, {len(set(ids))} of them distinct, of {dataset.n_cells}")
    say(f"   {len(ids)} cells, each once; {rate:,.0f} cells/s as packed tensors, on this machine, one process.")
    return {"cells": len(ids), "cells_per_second": rate}


def _kill_and_resume(path: Path, say: Say) -> Any:
    from scdata.batch.dataset import ShardDataset

    say("\n4. Kill and resume: another process streams, is killed in the middle (kill -9), and we take over.")
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
    say(f"   {len(before)} cells before the kill, {len(after)} after it: none twice, none lost of {dataset.n_cells}.")
    return {"before": len(before), "after": len(after), "cells": dataset.n_cells}


def _ranks(out: Path, say: Say) -> Any:
    say("\n5. Geneformer's tokens: genes by falling count / total / median of the gene.")
    build_shards(resource(_CELLS), out, tokenizer="geneformer-v2", assets="fit", overwrite=True)
    say("   The published vocabulary is not part of scdata, so genes and medians are these cells' own ('fit'):")
    cells = sample_cells(ShardSet(out), 3)
    for cell in cells:
        say(f"   cell {cell['cell_id']:>3}: {', '.join(cell['top'])} … ({cell['n_tokens']} tokens)")
    return cells


def _train(path: Path, out: Path, seconds: float, say: Say) -> Any:
    say(f"\n6. Train: a small masked gene model for {seconds:.0f} s, beside predictors without parameters.")
    for path_ in [*out.glob("checkpoint-*.pt"), out / "log.jsonl"]:  # of an earlier demo
        path_.unlink(missing_ok=True)
    script = resource("recipes") / "masked_gene_modelling" / "train.py"
    arguments = ["--set", path, "--size", "tiny", "--max-minutes", seconds / 60, "--out", out, "--json"]
    done = subprocess.run([sys.executable, script, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise ScdataError(f"training failed:\n{done.stderr.strip()}")
    result = json.loads(done.stdout.strip().splitlines()[-1])
    unit = result["unit"].replace("^2", "²")
    say(f"   {result['n_params']:,} parameters. Mean squared error on hidden values of the val split, in {unit}:")
    baselines = {name.replace("_", " "): loss for name, loss in result["baselines"].items()}
    rows = [(f"the model after {result['steps']} steps", result["val_loss"]), *baselines.items()]
    for name, loss in sorted(rows, key=lambda row: -row[1]):
        say(f"     {name:<30} {loss:8.2f}")
    # by what is printed: losses that look alike are none that one beats
    beaten = [name for name, loss in baselines.items() if round(result["val_loss"], 2) < round(loss, 2)]
    say(
        f"   The model beats {_and(beaten)}. A thousand cells are no corpus: this shows that the plumbing works, no more."
    )
    say(f"   The curve: {out / 'curve.png'}")
    return result


def _and(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:]))) or "none of them"
