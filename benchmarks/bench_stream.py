"""Streaming against slicing a CSR matrix in memory: cells per core-second, in one run, alternating.

    python benchmarks/bench_stream.py [--cells 40000] [--genes 20000] [--mean-genes 1839] [--rounds 3] [--seconds 2]

Every loader yields torch tensors. Memory: rows of a scipy CSR in a random order, as ids and counts (packed), padded with the
loader's own kernel, or dense. Ours: the whole loader, from files. CPU time is that of all threads of the process.

Beside that, by the clock: `threads_cells_s`, with one thread and with two, where work dominates (ranks on the fly, from the
zstd set); and `start`, each in a process of its own: seconds to import ShardDataset (torch, above all), seconds from there to
the first batch (numba, and compiled code from its cache), and the most anonymous memory (RssAnon) while it streams, above that
of a process that only imports (also numba and scipy).
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from measure import run_child, write_result

import scdata
from scdata.batch.collate import pad_rows
from scdata.source import SyntheticSource
from scdata.tokens import preset_names
from scdata.tokens.sequence import Ragged

RANKS = "geneformer-v2+fit"
STARTS: dict[str, dict[str, Any]] = {
    **{output: {"output": output} for output in ("packed", "padded", "dense")},
    f"padded, {RANKS}": {"output": "padded", "tokenizer": RANKS},
}
_ANONYMOUS = """
import json, sys, time

def anonymous():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024
"""
_IMPORTS = f"""{_ANONYMOUS}
import numba, scipy.sparse
from scdata import ShardDataset
print(json.dumps({{"anonymous_mb": anonymous()}}))
"""
_START = f"""{_ANONYMOUS}
path, options, seconds = json.loads(sys.argv[1])
begin = time.perf_counter()
from scdata import ShardDataset
imported, cpu = time.perf_counter(), time.process_time()
loader = ShardDataset(path, **options)
next(iter(loader))
first, cpu, most, epoch = time.perf_counter(), time.process_time() - cpu, anonymous(), 0
while epoch == 0 or time.perf_counter() < first + seconds:
    loader.set_epoch(epoch)
    for number, batch in enumerate(loader):
        if number % 16 == 0:
            most = max(most, anonymous())
    epoch += 1
times = {{"import_s": imported - begin, "first_batch_s": first - imported, "first_batch_cpu_s": cpu}}
print(json.dumps({{**times, "anonymous_mb": most}}))
"""

_TIMES = ("import_s", "first_batch_s", "first_batch_cpu_s")
OUTPUTS, BATCHES = ("packed", "padded", "dense"), (64, 1024)


def matrix_of(source: SyntheticSource) -> sp.csr_matrix:
    """All cells of a source that have counts."""
    parts = []
    for start in range(0, source.n_obs, 4096):
        block = source.read(slice(start, min(start + 4096, source.n_obs)))
        parts.append(sp.csr_matrix((block.data, block.indices, block.indptr), (block.n_cells, len(source.genes))))
    X = sp.vstack(parts, format="csr")
    return X[np.diff(X.indptr) > 0]


def in_memory(X: sp.csr_matrix, output: str, batch_size: int) -> Iterator[int]:
    """Batches of random rows; yields the cells of each."""
    while True:
        order = np.random.default_rng().permutation(X.shape[0])
        for start in range(0, len(order), batch_size):
            rows = X[order[start : start + batch_size]]
            if output == "dense":
                torch.from_numpy(rows.toarray())
            elif output == "padded":
                width = -(-int(np.diff(rows.indptr).max()) // 64) * 64
                ids = np.empty((rows.shape[0], width), np.int32)
                values, mask = np.empty_like(ids), np.empty(ids.shape, bool)
                pad_rows(Ragged(rows.indptr.astype(np.int64), rows.indices, rows.data), ids, values, mask, 0, 0)
                torch.from_numpy(ids), torch.from_numpy(values), torch.from_numpy(mask)
            else:
                torch.from_numpy(rows.indices), torch.from_numpy(rows.data)
            yield rows.shape[0]


def from_shards(
    path: Path, output: str, batch_size: int, tokenizer: str | None = None, num_threads: int = 1
) -> Iterator[int]:
    """Batches of a set; yields the cells of each."""
    dataset = scdata.ShardDataset(
        path, output=output, batch_size=batch_size, tokenizer=tokenizer, num_threads=num_threads
    )
    for epoch in range(1 << 30):
        dataset.set_epoch(epoch)
        for batch in dataset:
            yield len(batch["cell_id"])


def rate(loader: Iterator[int], seconds: float, clock: Callable[[], float] = time.process_time) -> float:
    """Cells per second of a clock, that of CPU time unless told, after a warm-up of a third of the time."""
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds / 3:
        next(loader)
    begin, spent, cells = time.perf_counter(), clock(), 0
    while time.perf_counter() - begin < seconds:
        cells += next(loader)
    return cells / (clock() - spent)


def threads(path: Path, rounds: int, seconds: float) -> dict[str, Any]:
    """Cells a second with one thread and with two, alternating, medians; and how many times as many."""
    found: dict[str, Any] = {}
    for output in ("packed", "padded"):
        rates = [
            [rate(from_shards(path, output, 256, RANKS, n), seconds, time.perf_counter) for n in (1, 2)]
            for _ in range(rounds)
        ]
        found[output] = {
            "one": round(statistics.median(one for one, _ in rates)),
            "two": round(statistics.median(two for _, two in rates)),
            "ratio": round(statistics.median(two / one for one, two in rates), 2),
        }
    return found


def starts(path: Path, rounds: int, seconds: float) -> dict[str, Any]:
    """Seconds to the first batch, and memory above the imports: medians."""
    imports = statistics.median(run_child(_IMPORTS)["anonymous_mb"] for _ in range(rounds))
    found: dict[str, Any] = {}
    for name, options in STARTS.items():
        task = json.dumps([str(path), {"batch_size": 256, **options}, seconds])
        runs = [run_child(_START, task) for _ in range(rounds)]
        own = {key: statistics.median(run[key] for run in runs) for key in _TIMES}
        memory = statistics.median(run["anonymous_mb"] for run in runs) - imports
        found[name] = {**{key: round(value, 2) for key, value in own.items()}, "anonymous_mb": round(memory)}
    return found


def run(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Build both sets and measure."""
    torch.set_num_threads(1)
    source = SyntheticSource(arguments.cells, n_genes=arguments.genes, mean_genes=arguments.mean_genes)
    X = matrix_of(source)
    sets, bytes_a_cell = {}, {}
    for codec in ("none", "zstd"):
        manifest = scdata.build_shards(source.uri, folder / codec, codec=codec)
        sets[codec] = folder / codec
        bytes_a_cell[codec] = sum(s["bytes"] for s in manifest["splits"].values()) / manifest["n_cells"]
    rows = []
    for output in OUTPUTS:
        for batch_size in BATCHES:
            loaders: dict[str, Callable[[], Iterator[int]]] = {
                "memory": lambda o=output, b=batch_size: in_memory(X, o, b),
                **{codec: lambda p=path, o=output, b=batch_size: from_shards(p, o, b) for codec, path in sets.items()},
            }
            rounds: dict[str, list[float]] = {name: [] for name in loaders}
            for _ in range(arguments.rounds):
                for name, make in loaders.items():
                    rounds[name].append(rate(make(), arguments.seconds))
            ratios = {
                name: statistics.median(a / b for a, b in zip(rounds[name], rounds["memory"], strict=True))
                for name in sets
            }
            rows.append(
                {
                    "output": output,
                    "batch_size": batch_size,
                    "cells_core_s": {name: round(statistics.median(values)) for name, values in rounds.items()},
                    "ratio_to_memory": {name: round(ratio, 3) for name, ratio in ratios.items()},
                }
            )
    scdata.fit_set(sets["zstd"])
    on_the_fly = {
        name: [
            rate(from_shards(sets["zstd"], "packed", 64, f"{name}+fit"), arguments.seconds)
            for _ in range(arguments.rounds)
        ]
        for name in preset_names()
        if name != "counts"
    }
    return {
        "cells": int(X.shape[0]),
        "genes_a_cell": round(X.nnz / X.shape[0], 1),
        "bytes_a_cell": {codec: round(size) for codec, size in bytes_a_cell.items()},
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "modes": rows,
        "threads_cells_s": threads(sets["zstd"], arguments.rounds, arguments.seconds),
        "start": starts(sets["zstd"], arguments.rounds, arguments.seconds),
        "on_the_fly_packed_64": {name: round(statistics.median(rates)) for name, rates in on_the_fly.items()},
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=40_000)
    parser.add_argument("--genes", type=int, default=20_000)
    parser.add_argument("--mean-genes", type=int, default=1_839)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--out", help="folder for bench_stream.json")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        write_result("bench_stream", run(arguments, Path(folder)), arguments.out)


if __name__ == "__main__":
    main()
