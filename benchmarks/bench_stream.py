"""Streaming against slicing a CSR matrix in memory: cells per core-second, in one run, alternating.

    python benchmarks/bench_stream.py [--cells 40000] [--genes 20000] [--mean-genes 1839] [--rounds 3] [--seconds 2]

Every loader yields torch tensors. Memory: rows of a scipy CSR in a random order, as ids and counts (packed), padded with the
loader's own kernel, or dense. Ours: the whole loader, from files. CPU time is that of all threads of the process.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from measure import write_result

import scdata
from scdata.batch.collate import pad_rows
from scdata.source import SyntheticSource
from scdata.tokens import preset_names
from scdata.tokens.sequence import Ragged

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


def from_shards(path: Path, output: str, batch_size: int, tokenizer: str | None = None) -> Iterator[int]:
    """Batches of a set; yields the cells of each."""
    dataset = scdata.ShardDataset(path, output=output, batch_size=batch_size, tokenizer=tokenizer)
    for epoch in range(1 << 30):
        dataset.set_epoch(epoch)
        for batch in dataset:
            yield len(batch["cell_id"])


def rate(loader: Iterator[int], seconds: float) -> float:
    """Cells per second of CPU time, after a warm-up of a third of the time."""
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds / 3:
        next(loader)
    begin, cpu, cells = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - begin < seconds:
        cells += next(loader)
    return cells / (time.process_time() - cpu)


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
