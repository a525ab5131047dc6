"""Building against only reading: the same cells as h5ad and as SOMA, in processes of their own.

    python benchmarks/bench_build.py CELLS.h5ad [--copies 12] [--rounds 3]

The corpus is the file `copies` times over, in random order. Reading is h5py's, and tiledbsoma's with its default threads, in
slices of 4,096 rows, checking nothing; once in one process, and once in one a core, each with its own part of the rows: that
saturates the cores. A build reads, checks, maps, shuffles, encodes, compresses and hashes; its `work` is scatter and gather,
the rest of its seconds (imports, sample, workers that start) does not grow with the corpus.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import run_child, write_result

CORPUS = """
import sys, warnings
warnings.simplefilter("ignore")
import anndata, numpy as np, scipy.sparse as sp, tiledbsoma.io
cells = anndata.read_h5ad(sys.argv[1])
n = cells.n_obs * int(sys.argv[4])
order = np.random.default_rng(0).permutation(n) % cells.n_obs
obs = cells.obs.iloc[order].copy()
obs.index = [f"cell-{i}" for i in range(n)]
corpus = anndata.AnnData(sp.csr_matrix(cells.X, dtype=np.float32)[order], obs=obs, var=cells.var)
corpus.write_h5ad(sys.argv[2])
tiledbsoma.io.from_anndata(sys.argv[3], corpus, measurement_name="RNA", X_layer_name="raw")
"""
# each part of the rows in a process, which waits until all are ready
_READ = """
import json, multiprocessing, sys, time

def slices(n, part, parts):
    return range(n * part // parts, n * (part + 1) // parts, 4096), n * (part + 1) // parts

def h5ad(path, part, parts, ready):
    import h5py
    with h5py.File(path) as file:
        indptr, nnz = file["X/indptr"][:], 0
        starts, end = slices(len(indptr) - 1, part, parts)
        ready()
        for start in starts:
            own = slice(indptr[start], indptr[min(start + 4096, end)])
            nnz += len(file["X/data"][own]) + 0 * len(file["X/indices"][own])
    return nnz

def soma(path, part, parts, ready):
    import tiledbsoma
    with tiledbsoma.Experiment.open(path) as experiment:
        matrix, nnz = experiment.ms["RNA"].X["raw"], 0
        starts, end = slices(experiment.obs.count, part, parts)
        ready()
        for start in starts:
            nnz += sum(map(len, matrix.read((slice(start, min(start + 4096, end) - 1),)).tables()))
    return nnz

def work(name, path, part, parts, barrier, results):
    nnz = {"h5ad": h5ad, "soma": soma}[name](path, part, parts, barrier.wait)
    results.put((nnz, time.perf_counter()))

if __name__ == "__main__":
    name, path, parts = sys.argv[1], sys.argv[2], int(sys.argv[3])
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(parts + 1), spawn.Queue()
    processes = [spawn.Process(target=work, args=(name, path, part, parts, barrier, results)) for part in range(parts)]
    for process in processes:
        process.start()
    barrier.wait()
    begin = time.perf_counter()
    done = [results.get() for _ in processes]
    for process in processes:
        process.join()
    print(json.dumps({"nnz": sum(nnz for nnz, _ in done), "work_seconds": max(end for _, end in done) - begin}))
"""
BUILD = """
import io, json, sys, time
import scdata
from scdata.build import Progress
if __name__ == "__main__":
    events, begin = io.StringIO(), time.perf_counter()
    manifest = scdata.build_shards(sys.argv[1], sys.argv[2], workers=int(sys.argv[3]), overwrite=True, shard_size=16 << 20,
                                   progress=Progress("json", events))
    seconds = time.perf_counter() - begin
    lines = [json.loads(line) for line in events.getvalue().splitlines()]
    work = sum(line["seconds"] for line in lines if line["event"] == "phase" and line["phase"] in ("scatter", "gather"))
    print(json.dumps({"nnz": sum(s["n_tokens"] for s in manifest["splits"].values()), "cells": manifest["n_cells_read"],
                      "all_seconds": seconds, "work_seconds": work, "notes": [line.get("text") for line in lines]}))
"""


def _peak_mb(run: dict[str, Any]) -> int:
    """Of the largest worker, as the build says it."""
    [note] = [note for note in run["notes"] if note and note.startswith("memory: ")]
    return round(1000 * float(note.split()[3]))


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of some runs."""
    table = {"M_nnz_s": statistics.median(run["nnz"] / run["work_seconds"] / 1e6 for run in runs)}
    if "notes" in runs[0]:
        table["M_nnz_s_with_start"] = statistics.median(run["nnz"] / run["all_seconds"] / 1e6 for run in runs)
        table["worker_peak_mb"] = statistics.median(map(_peak_mb, runs))
    return {name: float(f"{value:.3g}") for name, value in table.items()}


def run(h5ad: str, copies: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Read and build, alternating."""
    paths = {"h5ad": str(folder / "corpus.h5ad"), "soma": str(folder / "corpus.soma")}
    run_child(CORPUS, h5ad, paths["h5ad"], paths["soma"], str(copies))
    cores = os.cpu_count() or 1
    todo: dict[str, Callable[[], dict[str, Any]]] = {}
    for name, path in paths.items():
        for n in sorted({1, cores}):
            todo[f"read {name}, {n} process(es)"] = lambda name=name, path=path, n=n: run_child(
                _READ, name, path, str(n)
            )
            todo[f"build {name}, {n} worker(s)"] = lambda path=path, n=n: run_child(
                BUILD, path, str(folder / "set"), str(n)
            )
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in todo}
    for _ in range(rounds):
        for name, once in todo.items():
            runs[name].append(once())
    found = {name: summary(own) for name, own in runs.items()}
    one, all_ = "1 process(es)", f"{cores} process(es)"
    ratios = {}
    for name in paths:
        best = found[f"build {name}, {cores} worker(s)"]["M_nnz_s"]
        ratios[f"build {name} beside a read in 1 process"] = best / found[f"read {name}, {one}"]["M_nnz_s"]
        ratios[f"build {name} beside a read in all cores"] = best / found[f"read {name}, {all_}"]["M_nnz_s"]
        ratios[f"build {name}, {cores} workers beside 1"] = best / found[f"build {name}, 1 worker(s)"]["M_nnz_s"]
    built = runs["build h5ad, 1 worker(s)"][0]
    return {
        "source": Path(h5ad).name,
        "cells": built["cells"],
        "nnz": built["nnz"],
        "rounds": rounds,
        "runs": found,
        "ratios": {name: round(value, 2) for name, value in ratios.items()},
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("h5ad")
    parser.add_argument("--copies", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", help="folder for bench_build.json")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        result = run(arguments.h5ad, arguments.copies, arguments.rounds, Path(folder))
        write_result("bench_build", result, arguments.out)


if __name__ == "__main__":
    main()
