"""Kernels on a CUDA device: the tests that need one, then speeds beside one core of the CPU and a copy of the same bytes.

    python benchmarks/bench_gpu.py --out benchmarks/results/bench_gpu.json

Needs a checkout, numpy, cupy, numba, pyarrow and pytest; nothing else of scdata's dependencies, no installed package. Takes
under eight minutes. Without a device it says so and ends with status 1, as where a test fails or a result is not the CPU's.
"""

import argparse
import importlib
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scdata._backend import backend, device_count  # noqa: E402
from scdata._splitmix import splitmix64  # noqa: E402
from scdata.normalize.library_size import library_size, log1p_normalized, normalize_total  # noqa: E402
from scdata.normalize.thinning import thin  # noqa: E402
from scdata.tokens.device import GeneCounts, tokenize_blocks  # noqa: E402
from scdata.tokens.kernels.edges import depth_edge_bins  # noqa: E402
from scdata.tokens.kernels.quantile_ties import quantile_bins_random, quantile_bins_upper  # noqa: E402
from scdata.tokens.kernels.rank_tokens import rank_tokens  # noqa: E402
from scdata.tokens.kernels.ranking import rank_order  # noqa: E402
from scdata.tokens.kernels.ranking_device import CHUNK_ROWS, rank_packed  # noqa: E402
from scdata.tokens.sequence import Ragged  # noqa: E402

GOAL = 2e6  # cells of 1,800 genes a second on the device, for ranks and for bins
MEAN_GENES, N_GENES = 1800, 1 << 16
CPU_CELLS, BLOCK_CELLS = 2048, 4096
TEST_SECONDS = 270

_rng = np.random.default_rng(1)
BORDERS = np.unique(np.geomspace(500, 50_000, 15).astype(np.int64))  # 16 strata
EDGES = np.sort(_rng.uniform(0, 7, (16, 49)), axis=1)


@dataclass(frozen=True)
class Cells:
    """Cells on one machine, and the tables that rank them."""

    indptr: Any
    genes: Any
    counts: Any
    total: Any
    keys: Any
    relative: Any
    medians: Any
    tokens: Any

    def to(self, xp):
        """The same on the device."""
        return Cells(*map(xp.asarray, vars(self).values()))

    def part(self, start, stop):
        """Some of the cells, on the CPU."""
        a, b = self.indptr[[start, stop]]
        ragged = (self.genes[a:b], self.counts[a:b])
        own = (self.total[start:stop], self.keys[start:stop], self.relative[a:b])
        return Cells(self.indptr[start : stop + 1] - a, *ragged, *own, self.medians, self.tokens)


def synthetic(n_cells):
    """Cells with about 1,800 genes, and counts distributed as 10x cells have them."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.normal(MEAN_GENES, 450, n_cells), 200, 4000).astype(np.int64)
    indptr = np.concatenate(([0], np.cumsum(lengths)))
    running = np.cumsum(rng.integers(1, 17, indptr[-1]))  # at most 16 · 4,000 genes on
    genes = (running - np.repeat(running[indptr[:-1]], lengths)).astype(np.int32)
    counts = np.ceil(np.exp(rng.normal(-0.3, 1.2, indptr[-1]))).astype(np.int32)
    total = library_size(indptr, counts)
    medians, tokens = np.exp(rng.normal(1, 0.5, N_GENES)), rng.permutation(N_GENES).astype(np.int32)
    keys = splitmix64(np.arange(n_cells, dtype=np.uint64))
    return Cells(
        indptr,
        genes,
        counts,
        total,
        keys,
        normalize_total(indptr, counts, total, 1e4) / medians[genes],
        medians,
        tokens,
    )


def packed_order(c):
    """`rank_order` by packed keys alone, without rows that blocks of threads sort."""
    starts = range(0, len(c.total), CHUNK_ROWS)
    bounds = [*c.indptr[::CHUNK_ROWS].tolist(), int(c.indptr[-1])]
    parts = [
        rank_packed(c.indptr[start : start + CHUNK_ROWS + 1] - a, c.relative[a:b]) + a
        for start, a, b in zip(starts, bounds, bounds[1:], strict=False)
    ]
    return backend(c.relative).concatenate(parts)


# kernel, and the bytes a value that must at least be read and written; those of a cell are few beside them
CASES = {
    "x / n · 1e4": (lambda c: normalize_total(c.indptr, c.counts, c.total, 1e4), 4 + 8),
    "lognorm": (lambda c: log1p_normalized(c.indptr, c.counts, c.total, 1e4), 4 + 4),
    "rank order": (lambda c: rank_order(c.indptr, c.relative), 8 + 8),
    "rank order, packed keys": (packed_order, 8 + 8),
    "ranks": (
        lambda c: rank_tokens(c.indptr, c.genes, c.counts, c.total, 1e4, c.medians, c.tokens),
        4 + 4 + 4,
    ),
    "quantile bins, upper": (lambda c: quantile_bins_upper(c.indptr, c.counts, 51), 4 + 4),
    "quantile bins, random": (lambda c: quantile_bins_random(c.indptr, c.counts, c.genes, c.keys, 51), 4 + 4 + 4),
    "depth edges": (lambda c: depth_edge_bins(c.indptr, c.counts, c.total, BORDERS, EDGES, 1e4), 4 + 4),
    "thinning": (
        lambda c: thin(c.indptr, c.counts, c.genes, c.total, c.keys, p=1.0, alpha=2, beta=2, min_counts=0)[0],
        4 + 4 + 4,
    ),
}
WITH_GOAL = ("ranks", "quantile bins, upper", "quantile bins, random")


class Ranks:
    """A tokenizer for `tokenize_blocks`."""

    def __init__(self, medians, tokens):
        self.medians, self.tokens = medians, tokens

    def tokenize(self, indptr, genes, counts, total):
        return Ragged(indptr, rank_tokens(indptr, genes, counts, total, 1e4, self.medians, self.tokens), None)


class Bins:
    """Another."""

    def tokenize(self, indptr, genes, counts, total):
        return Ragged(indptr, genes, quantile_bins_upper(indptr, counts, 51))


def seconds_of(run, wait, at_least):
    """Median seconds of a call after two to warm up; results are thrown away."""
    times = []
    for i in range(1000):
        begin = time.perf_counter()
        run()
        wait()
        times.append(time.perf_counter() - begin)
        if i >= 4 and sum(times) > at_least:
            break
    return statistics.median(times[2:])


def measure(xp, wait, n_cells, at_least=1.0):
    """Speeds of all kernels: {"cells": …, "kernels": {…}, "with_transfers": {…}}."""
    host = synthetic(n_cells)
    few, there = host.part(0, min(CPU_CELLS, n_cells)), host.to(xp)
    n_values, n_few = len(host.genes), len(few.total)
    kernels = {}
    for name, (kernel, value_bytes) in CASES.items():
        expected, found = kernel(few), kernel(there)[: len(few.genes)].get()
        # a logarithm may differ by rounding; all else is the same
        equal = bool(
            np.allclose(found, expected, rtol=1e-6, atol=0) if name == "lognorm" else (found == expected).all()
        )
        device = seconds_of(lambda: kernel(there), wait, at_least)  # noqa: B023
        cpu = seconds_of(lambda: kernel(few), lambda: None, at_least)  # noqa: B023
        n_bytes = value_bytes * n_values
        source, target = xp.zeros(n_bytes // 2, np.uint8), xp.empty(n_bytes // 2, np.uint8)
        copy = seconds_of(lambda: target.__setitem__(slice(None), source), wait, at_least / 4)  # noqa: B023
        kernels[name] = {
            "cells_s": round(n_cells / device),
            "values_s": round(n_values / device),
            "gb_s": round(n_bytes / device / 1e9, 1),
            "copy_gb_s": round(n_bytes / copy / 1e9, 1),
            "cpu_core_cells_s": round(n_few / cpu),
            "times_a_core": round(n_cells / device / (n_few / cpu), 1),
            "equal": equal,
        }
        if name in WITH_GOAL:
            kernels[name]["goal_cells_s"], kernels[name]["goal_met"] = GOAL, n_cells / device >= GOAL
        print(f"{name:26} {kernels[name]}", file=sys.stderr, flush=True)
    parts = [host.part(start, min(start + BLOCK_CELLS, n_cells)) for start in range(0, n_cells, BLOCK_CELLS)]
    blocks = [GeneCounts(c.indptr, c.genes, c.counts, c.total) for c in parts]
    moved = {}
    for name, tokenizer in (("ranks", Ranks(there.medians, there.tokens)), ("quantile bins, upper", Bins())):
        there_and_back = seconds_of(lambda: [None for _ in tokenize_blocks(tokenizer, blocks)], wait, at_least)  # noqa: B023
        moved[name] = {"cells_s": round(n_cells / there_and_back), "block_cells": BLOCK_CELLS}
        print(f"{name:26} with transfers {moved[name]}", file=sys.stderr, flush=True)
    return {
        "cells": {
            "n": n_cells,
            "genes_a_cell": round(n_values / n_cells),
            "molecules_a_cell": round(float(host.total.mean())),
        },
        "kernels": kernels,
        "with_transfers": moved,
    }


def machine(xp):
    """The device, the processor, and versions."""
    found = xp.cuda.runtime.getDeviceProperties(xp.cuda.runtime.getDevice())
    name = found["name"].decode() if isinstance(found["name"], bytes) else str(found["name"])
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    return {
        "device": name,
        "compute_capability": f"{found['major']}.{found['minor']}",
        "multiprocessors": found["multiProcessorCount"],
        "device_memory_gb": round(found["totalGlobalMem"] / 1e9, 1),
        "driver": xp.cuda.runtime.driverGetVersion(),
        "runtime": xp.cuda.runtime.runtimeGetVersion(),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{library: importlib.import_module(library).__version__ for library in ("cupy", "numpy", "numba")},
    }


def run_tests():
    """Outcome of the tests that need a device."""
    # the folder's own conftest is all they need: hypothesis may not be there; warnings of other libraries are not ours
    options = ["-q", "-m", "gpu", "-W", "default", "-p", "no:cacheprovider", f"--confcutdir={ROOT / 'tests' / 'gpu'}"]
    command = [sys.executable, "-m", "pytest", *options, str(ROOT / "tests" / "gpu")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    begin = time.perf_counter()
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TEST_SECONDS, check=False
        )
        text, status = done.stdout + done.stderr, done.returncode
    except subprocess.TimeoutExpired as late:
        text, status = f"{late.stdout or ''}\nstopped after {TEST_SECONDS} s", 124
    print(text[-4000:], file=sys.stderr, flush=True)
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", text)}
    return {"status": status, **counts, "seconds": round(time.perf_counter() - begin, 1)}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="where the result is written as JSON")
    parser.add_argument(
        "--cells", type=int, default=16384, help="synthetic cells on the device (150 KB each; %(default)s)"
    )
    given = parser.parse_args(arguments)
    if not device_count():
        print("bench_gpu: no CUDA device that CuPy can use: nothing was run", file=sys.stderr)
        return 1
    xp = importlib.import_module("cupy")
    tests = run_tests()
    result = {
        "benchmark": "bench_gpu",
        "machine": machine(xp),
        "tests": tests,
        **measure(xp, xp.cuda.runtime.deviceSynchronize, given.cells),
    }
    text = json.dumps(result, indent=1, ensure_ascii=False)
    print(text)
    if given.out is not None:
        Path(given.out).parent.mkdir(parents=True, exist_ok=True)
        Path(given.out).write_text(text + "\n")
    # no test passed: none was there
    right = tests["status"] == 0 and tests.get("passed", 0) > 0
    return 0 if right and all(kernel["equal"] for kernel in result["kernels"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
